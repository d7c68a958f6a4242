"""Models of the package sentence-transformers, run with PyTorch."""

from __future__ import annotations

import os
import threading

import numpy as np

from ._text_encoder import Rows, TextEncoder, import_package

__all__ = ["SentenceTransformers"]


class SentenceTransformers(TextEncoder):
    """A model for ``sentence_transformers.SentenceTransformer``, from a folder or the Hub.

    Its files define the pooling, and the prompt that is prepended to texts, if any. The weights are
    converted to float32. The keywords are those of ``Transformers``.
    """

    def __init__(
        self,
        name: str | os.PathLike[str],
        *,
        device: str = "cpu",
        revision: str | None = None,
        max_tokens: int | None = None,
        truncate: bool = False,
    ) -> None:
        package = import_package(
            "sentence_transformers", "sentence-transformers", "sentence-transformers"
        )
        name = os.fspath(name)
        if not package.util.is_sentence_transformer_model(name, revision=revision):
            raise ValueError(
                f"{name} has no modules.json, which says how a model pools: use Transformers, "
                "which pools at the last token"
            )
        model = package.SentenceTransformer(name, device=device, revision=revision)
        self._model = model.float().eval()
        # The tokenizer stores settings of a call in itself, so it must not be used by two threads
        # at once.
        self._using = threading.Lock()
        self._limit(max_tokens, self._model.max_seq_length, truncate)
        self._model.max_seq_length = self._max_tokens
        self._dimension = self._embed(["a"]).shape[1]

    def _embed(self, texts: list[str]) -> Rows:
        with self._using:
            tokens = self._model.tokenizer(texts, truncation=False, padding=False, verbose=False)
            for position, ids in enumerate(tokens["input_ids"]):
                self._check_length(position, len(ids))
            rows = self._model.encode(texts, convert_to_numpy=True, show_progress_bar=False)
        return np.asarray(rows, np.float32)
