"""Models of the Hugging Face Hub, run with PyTorch."""

from __future__ import annotations

import os
import threading

import numpy as np

from ._text_encoder import Rows, TextEncoder, groups, import_package

__all__ = ["Transformers"]

#: Of a padded batch, which bounds the memory that it takes.
_MOST_TOKENS = 8192
_MOST_TEXTS = 64


class Transformers(TextEncoder):
    """A language model in the format of the package transformers, from a folder or the Hub.

    ``device``: where PyTorch computes, such as ``"cuda"``; ``dtype``: the type of the weights, such
    as ``"bfloat16"``, which vLLM uses and which gives slightly different embeddings; ``revision``:
    of the repository. ``max_tokens``: the longest text, by default the model's context;
    ``truncate``: drop the rest of a longer one instead of raising ``ValueError``. The repository's
    own code is not executed.
    """

    def __init__(
        self,
        name: str | os.PathLike[str],
        *,
        device: str = "cpu",
        dtype: str = "float32",
        revision: str | None = None,
        max_tokens: int | None = None,
        truncate: bool = False,
    ) -> None:
        self._torch = torch = import_package("torch", "torch", "transformers")
        transformers = import_package("transformers", "transformers", "transformers")
        weights = getattr(torch, dtype, None)
        if not isinstance(weights, torch.dtype) or not weights.is_floating_point:
            raise ValueError(f"dtype is {dtype!r}: expected float32, bfloat16 or float16")
        name = os.fspath(name)
        self._tokenizer = transformers.AutoTokenizer.from_pretrained(name, revision=revision)
        # The tokenizer stores settings of a call in itself, so it must not be used by two threads
        # at once.
        self._tokenizing = threading.Lock()
        model = transformers.AutoModel.from_pretrained(name, revision=revision)
        config = model.config
        if getattr(config, "is_encoder_decoder", False):
            raise ValueError(f"{name} is an encoder and a decoder: expected a decoder alone")
        self._model = model.to(device=device, dtype=weights).eval()
        self._device = device
        self._dimension = int(config.hidden_size)
        self._limit(max_tokens, getattr(config, "max_position_embeddings", None), truncate)
        self._appended = self._appended_by_template()

    def _appended_by_template(self) -> int:
        plain = self._tokens(["a"], template=False)[0]
        tokens = self._tokens(["a"])[0]
        return len(tokens) - tokens.index(plain[0]) - len(plain)

    def _tokens(self, texts: list[str], *, template: bool = True) -> list[list[int]]:
        with self._tokenizing:
            encoded = self._tokenizer(texts, add_special_tokens=template, verbose=False)
        return list(encoded["input_ids"])

    def _embed(self, texts: list[str]) -> Rows:
        torch = self._torch
        tokens = self._accepted(self._tokens(texts))
        rows = np.empty((len(texts), self._dimension), np.float32)
        for group in groups([len(ids) for ids in tokens], _MOST_TOKENS, _MOST_TEXTS):
            lengths = torch.tensor([len(tokens[position]) for position in group])
            # Attention is causal, so the padding on the right does not change what comes before.
            ids = torch.zeros(len(group), int(lengths.max()), dtype=torch.long)
            for row, position in enumerate(group):
                ids[row, : lengths[row]] = torch.tensor(tokens[position])
            mask = torch.arange(ids.shape[1]) < lengths[:, None]
            with torch.inference_mode():
                hidden = self._model(
                    input_ids=ids.to(self._device),
                    attention_mask=mask.long().to(self._device),
                    use_cache=False,
                ).last_hidden_state
                last = hidden[torch.arange(len(group)), (lengths - 1).to(hidden.device)]
            rows[group] = last.float().cpu().numpy()
        return rows
