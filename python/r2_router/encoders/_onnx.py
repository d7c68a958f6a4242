"""Models in the ONNX format, run with ONNX Runtime."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._text_encoder import Rows, TextEncoder, groups, import_package

__all__ = ["Onnx"]

#: Of a padded batch, which bounds the memory that it takes.
_MOST_TOKENS = 8192
_MOST_TEXTS = 64

_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(int64)": np.int64}


class Onnx(TextEncoder):
    """A language model that was exported to ONNX, such as by ``optimum-cli export onnx``.

    ``path``: a file, or a folder with ``model.onnx`` or ``onnx/model.onnx``. ``tokenizer.json``
    and, for the model's context, ``config.json`` are next to it or one folder up. The model returns
    its last layer, of shape (N, tokens, d), or pooled embeddings, (N, d). ``providers``: execution
    providers of ONNX Runtime, by default the CPU. ``max_tokens`` and ``truncate`` are as for
    ``Transformers``.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        providers: Sequence[str] = ("CPUExecutionProvider",),
        max_tokens: int | None = None,
        truncate: bool = False,
    ) -> None:
        runtime = import_package("onnxruntime", "onnxruntime", "onnx")
        tokenizers = import_package("tokenizers", "tokenizers", "onnx")
        file = _model_file(Path(path))
        tokenizer = _near(file, "tokenizer.json")
        if tokenizer is None:
            raise FileNotFoundError(
                f"there is no tokenizer.json next to {file}, nor one folder up: expected the "
                "model's tokenizer there"
            )
        self._tokenizer = tokenizers.Tokenizer.from_file(str(tokenizer))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._session = runtime.InferenceSession(str(file), providers=list(providers))
        self._inputs = {each.name: each for each in self._session.get_inputs()}
        self._output = _output_name(file, self._session.get_outputs())
        for name in self._inputs:
            if not name.startswith("past_key_values.") and name not in _KNOWN:
                raise ValueError(
                    f"{file} has the input {name!r}: expected {', '.join(_KNOWN)}, and empty "
                    "past_key_values; export the model for the task feature-extraction"
                )
        self._limit(max_tokens, _context(file), truncate)
        self._appended = _trailing(self._tokenizer.encode("a").special_tokens_mask)
        plain = self._tokenizer.encode("a", add_special_tokens=False).ids
        self._dimension = self._run([plain]).shape[-1]

    def _embed(self, texts: list[str]) -> Rows:
        tokens = self._accepted([each.ids for each in self._tokenizer.encode_batch(texts)])
        rows = np.empty((len(texts), self._dimension), np.float32)
        for group in groups([len(ids) for ids in tokens], _MOST_TOKENS, _MOST_TEXTS):
            rows[group] = self._run([tokens[position] for position in group])
        return rows

    def _run(self, tokens: list[list[int]]) -> NDArray[Any]:
        lengths = np.array([len(ids) for ids in tokens])
        places = np.arange(lengths.max())
        # Attention is causal, so the padding on the right does not change what comes before.
        mask = places < lengths[:, None]
        padded = np.zeros(mask.shape, np.int64)
        padded[mask] = np.concatenate(tokens)
        values = {
            "input_ids": padded,
            "attention_mask": mask.astype(np.int64),
            "position_ids": np.broadcast_to(places, mask.shape).astype(np.int64),
            "token_type_ids": np.zeros_like(padded),
        }
        feed = {
            name: values[name] if name in values else _empty(each, len(tokens))
            for name, each in self._inputs.items()
        }
        result: NDArray[Any] = self._session.run([self._output], feed)[0]
        return result if result.ndim == 2 else result[np.arange(len(tokens)), lengths - 1]


_KNOWN = ("input_ids", "attention_mask", "position_ids", "token_type_ids")


def _model_file(path: Path) -> Path:
    if path.is_file():
        return path
    for name in ("model.onnx", "onnx/model.onnx"):
        if (path / name).is_file():
            return path / name
    raise FileNotFoundError(
        f"{path} is neither an ONNX file nor a folder with model.onnx or onnx/model.onnx"
    )


def _near(file: Path, name: str) -> Path | None:
    found = [folder / name for folder in file.absolute().parents[:2] if (folder / name).is_file()]
    return found[0] if found else None


def _context(file: Path) -> int | None:
    config = _near(file, "config.json")
    if config is None:
        return None
    import json  # not with the package

    context = json.loads(config.read_text(encoding="utf-8")).get("max_position_embeddings")
    return context if isinstance(context, int) else None


def _output_name(file: Path, outputs: Sequence[Any]) -> str:
    names: dict[str, int] = {each.name: len(each.shape) for each in outputs}
    for name in ("sentence_embedding", "last_hidden_state", "token_embeddings"):
        if name in names:
            return name
    if len(names) == 1 and set(names.values()) <= {2, 3}:
        return next(iter(names))
    raise ValueError(
        f"{file} has the outputs {', '.join(names)}: expected last_hidden_state, token_embeddings "
        "or sentence_embedding; export the model for the task feature-extraction"
    )


def _empty(each: Any, texts: int) -> NDArray[Any]:
    """The keys or values of no earlier tokens."""
    sizes = [size if isinstance(size, int) else 0 for size in each.shape]
    return np.zeros([texts, *sizes[1:]], _TYPES.get(each.type, np.float32))


def _trailing(added: Sequence[int]) -> int:
    """Number of tokens at the end that are not part of the text."""
    return next((i for i, one in enumerate(reversed(added)) if not one), len(added))
