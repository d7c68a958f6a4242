"""Texts and conversations as callers pass them, checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ._types import Conversation

__all__ = ["as_messages", "as_names", "as_texts", "check_not_blank"]


def as_texts(values: Any) -> list[str]:
    """One query or several as a list."""
    texts = [values] if isinstance(values, str) else values
    if isinstance(texts, bytes) or not _is_sequence(texts):
        raise TypeError(
            f"the query is of the type {type(values).__name__}: expected a string or a list of "
            "strings"
        )
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(
                f"query {position} is of the type {type(text).__name__}: expected a string"
            )
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError(
                f"query {position} has half of a surrogate pair, which is not a character: decode "
                'its bytes again, with errors="replace" if necessary'
            ) from None
    return list(texts)


def check_not_blank(texts: Sequence[str]) -> None:
    """Raises a ValueError for a text that has no embedding."""
    for position, text in enumerate(texts):
        if not text or text.isspace():
            which = "the query" if len(texts) == 1 else f"query {position}"
            what = "nothing but white space" if text else "empty"
            raise ValueError(f"{which} is {what}: expected a text")


def _is_sequence(values: Any) -> bool:
    # A column of a data frame is not a Sequence.
    return isinstance(values, (Sequence, np.ndarray)) or hasattr(values, "to_list")


def as_names(name: str, value: Any) -> list[str]:
    """Names of models as a list; ``name`` is the keyword's."""
    if isinstance(value, str):
        raise TypeError(f"{name} is {value!r}: expected a list of names, such as [{value!r}]")
    names = list(value) if isinstance(value, Iterable) else [value]
    if not all(isinstance(each, str) for each in names):
        raise TypeError(f"{name} is {value!r}: expected a list of names of models")
    return names


def as_messages(query: Conversation) -> list[tuple[str, str]]:
    """Roles and contents of a conversation."""
    if isinstance(query, str):
        return [("user", query)]
    if isinstance(query, (bytes, Mapping)) or not isinstance(query, Sequence):
        raise TypeError(
            f"the query is of the type {type(query).__name__}: expected a string, or a list of "
            'dictionaries with "role" and "content"'
        )
    messages = []
    for position, message in enumerate(query):
        if not isinstance(message, Mapping) or not all(
            isinstance(message.get(field), str) for field in ("role", "content")
        ):
            raise TypeError(
                f"message {position} is {message!r}: expected a dictionary with the strings "
                '"role" and "content"'
            )
        messages.append((message["role"], message["content"]))
    return messages
