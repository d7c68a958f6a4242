"""The base of the encoders: converts texts to tokens, and embeddings to unit vectors."""

from __future__ import annotations

import importlib
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from .._keywords import check_number
from .._texts import as_texts
from .._types import Strings

__all__ = ["TextEncoder", "groups", "import_package"]

Rows = NDArray[np.float32]
Self = TypeVar("Self", bound="TextEncoder")


class TextEncoder(ABC):
    """A function from texts to embeddings, ``encoder(["a text"])``.

    It may be called from many threads. Copies share the model. A pickle contains only the
    arguments, and loading it loads the model again.
    """

    _arguments: tuple[tuple[Any, ...], dict[str, Any]]
    _dimension: int
    _max_tokens: int
    _truncate: bool
    #: Number of tokens that the tokenizer appends to every text.
    _appended: int = 0

    def __new__(cls: type[Self], *arguments: Any, **keywords: Any) -> Self:
        encoder = super().__new__(cls)
        encoder._arguments = (arguments, keywords)
        return encoder

    @property
    def dimension(self) -> int:
        """Length of every embedding."""
        return self._dimension

    @property
    def max_tokens(self) -> int:
        """The longest accepted text, in tokens."""
        return self._max_tokens

    def __call__(self, texts: str | Strings) -> Rows:
        """Embeddings of length 1, (N, d).

        Raises ``ValueError`` for a text without tokens, and for one of more than ``max_tokens``
        unless the encoder was created with ``truncate=True``, which drops the rest.
        """
        queries = as_texts(texts)
        if not queries:
            return np.empty((0, self._dimension), np.float32)
        rows = self._embed(queries)
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        for position in np.flatnonzero(~(np.isfinite(norms[:, 0]) & (norms[:, 0] > 0))):
            raise ValueError(
                f"the model's embedding of text {position} is not a finite vector other than 0: "
                "check the model's files, and compute in float32"
            )
        return np.asarray(rows / norms, np.float32)

    @abstractmethod
    def _embed(self, texts: list[str]) -> Rows:
        """One row for each of one or more texts, of any length."""

    def _limit(self, max_tokens: int | None, of_model: int | None, truncate: bool) -> None:
        """Sets the limit on texts. ``of_model``: the model's own; None: it has none."""
        most = sys.maxsize if of_model is None else of_model
        if max_tokens is not None:
            check_number("max_tokens", max_tokens, "a whole number above 0, or None", whole=True)
            if not 0 < max_tokens <= most:
                raise ValueError(
                    f"max_tokens is {max_tokens}: expected 1 to {most}, the context of the model"
                )
            most = max_tokens
        if not isinstance(truncate, bool):
            raise TypeError(f"truncate is {truncate!r}: expected True or False")
        self._max_tokens, self._truncate = most, truncate

    def _accepted(self, tokens: list[list[int]]) -> list[list[int]]:
        """The tokens of each text. Texts that are too long are truncated or raise an exception."""
        return [self._fit(position, ids) for position, ids in enumerate(tokens)]

    def _fit(self, position: int, ids: list[int]) -> list[int]:
        self._check_length(position, len(ids))
        if len(ids) <= self._max_tokens:
            return ids
        end = ids[len(ids) - self._appended :]
        return (ids[: max(self._max_tokens - len(end), 0)] + end)[: self._max_tokens]

    def _check_length(self, position: int, tokens: int) -> None:
        if tokens == 0:
            raise ValueError(f"text {position} has no tokens: expected a text")
        if tokens > self._max_tokens and not self._truncate:
            raise ValueError(
                f"text {position} has {tokens} tokens, more than the {self._max_tokens} that the "
                f"model reads: shorten it, or drop the rest with {type(self).__name__}(..., "
                "truncate=True)"
            )

    def __reduce__(self) -> tuple[Any, ...]:
        arguments, keywords = self._arguments
        return _create, (type(self), arguments, keywords)

    def __copy__(self: Self) -> Self:
        return self

    def __deepcopy__(self: Self, memo: Any) -> Self:
        return self

    def __repr__(self) -> str:
        arguments, keywords = self._arguments
        named = (f"{name}={value!r}" for name, value in keywords.items())
        return f"{type(self).__name__}({', '.join([*map(repr, arguments), *named])})"


def _create(
    kind: type[TextEncoder], arguments: tuple[Any, ...], keywords: dict[str, Any]
) -> TextEncoder:
    return kind(*arguments, **keywords)


def groups(lengths: Sequence[int], most_tokens: int, most_texts: int) -> Iterator[list[int]]:
    """Positions of the texts in groups of similar lengths.

    Padded to its longest text, a group has at most ``most_tokens`` tokens, unless it is one text.
    """
    group: list[int] = []
    for position in sorted(range(len(lengths)), key=lengths.__getitem__):
        full = len(group) == most_texts or (len(group) + 1) * lengths[position] > most_tokens
        if group and full:
            yield group
            group = []
        group.append(position)
    if group:
        yield group


def import_package(module: str, package: str, extra: str) -> Any:
    """The module of an optional package."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if error.name is not None and error.name.split(".")[0] != module.split(".")[0]:
            raise  # it is installed, and something that it needs is not
        raise ImportError(
            f'this encoder needs the package {package}: run pip install "r2-router[{extra}]"',
            name=error.name,
        ) from error
