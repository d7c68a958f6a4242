"""Explains wrong arguments of a call to the native module in one line.

The native module calls ``explain`` with pybind11's message, which lists the function's signature.
See ``bindings/errors.cc``.
"""

from __future__ import annotations

import contextlib
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np

__all__ = ["explain"]


class _Parameter(NamedTuple):
    name: str
    #: In pybind11's spelling.
    type: str
    required: bool


def explain(message: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> str:
    """``message``: pybind11's, whose second line is ``1. (self: ..., name: type = default) -> ...``
    or ``1. Class(name: type)``."""
    name, _, rest = message.partition("(): ")
    if rest.startswith("incompatible constructor"):
        arguments = arguments[1:]  # self
    signature = message.split("\n    1. ", 1)[1].split("\n", 1)[0]
    if name == "__init__":
        name = signature.split("(", 1)[0].rpartition(".")[2]
    parameters = list(_parameters(signature))
    method = bool(parameters and arguments) and parameters[0].name == "self"
    if method and _fits(parameters[0].type, arguments[0]):
        parameters, arguments = parameters[1:], arguments[1:]
    problem = _problem(parameters, arguments, keywords)
    return f"{name}(): {problem}" if name else problem


def _problem(
    parameters: list[_Parameter], arguments: tuple[Any, ...], keywords: Mapping[str, Any]
) -> str:
    names = [parameter.name for parameter in parameters]
    if len(arguments) > len(names):
        takes = f"expected {', '.join(names)}" if names else "expected none"
        return f"{len(arguments)} arguments are given: {takes}"
    given = dict(zip(names, arguments, strict=False))
    for key, value in keywords.items():
        if key in given:
            return f"{key} is given twice"
        if key not in names:
            return f"there is no argument {key!r}: expected {', '.join(names) or 'none'}"
        given[key] = value
    for parameter in parameters:
        if parameter.required and parameter.name not in given:
            return f"{parameter.name} is missing"
    present = [parameter for parameter in parameters if parameter.name in given]
    wrong = [p for p in present if not _fits(p.type, given[p.name])]
    if not wrong:  # the types match, but an integer is out of range
        wrong = [p for p in present if _is_whole(p.type, given[p.name])] or present
    return "; ".join(
        f"{p.name} is {_shown(p.name, given[p.name])}"
        + (", which is out of range" if _is_whole(p.type, given[p.name]) else "")
        + f": expected {_expected(p.type)}"
        for p in wrong
    )


def _is_whole(kind: str, value: Any) -> bool:
    return "typing.SupportsInt" in kind and isinstance(value, Integral)


def _parameters(signature: str) -> Iterator[_Parameter]:
    """The parameters of ``...(name: type = default, ...)...``."""
    inside = signature[signature.index("(") + 1 : signature.rindex(")")]
    if " -> " in signature:
        inside = signature[signature.index("(") + 1 : signature.rindex(") -> ")]
    for part in _split(inside, ", "):
        name, _, rest = part.partition(": ")
        if rest:  # not the "*" before keywords
            kind, _, default = rest.partition(" = ")
            # A property's getter has no name for its object.
            yield _Parameter("self" if name == "arg0" else name, kind, not default)


def _split(text: str, separator: str) -> Iterator[str]:
    """Splits outside of brackets."""
    depth = begin = 0
    for i, character in enumerate(text):
        depth += (character in "[(") - (character in "])")
        if depth == 0 and text.startswith(separator, i):
            yield text[begin:i]
            begin = i + len(separator)
    yield text[begin:]


_EXPECTED = {
    "None": "None",
    "bool": "True or False",
    "str": "a string",
    "typing.SupportsFloat": "a number",
    "typing.SupportsInt": "a whole number",
    "numpy.ndarray": "a NumPy array",
}


def _expected(kind: str) -> str:
    words = []
    for part in _split(kind, " | "):
        if part.startswith("collections.abc.Sequence["):
            item = _expected(part[part.index("[") + 1 : -1])
            words.append("a list of strings" if item == "a string" else "a list")
        elif part.startswith(("typing.Annotated[", "numpy.typing.NDArray[")):
            words.append("an array")
        elif part != "typing.SupportsIndex":
            words.append(_EXPECTED.get(part, f"a {part.rpartition('.')[2]}"))
    return " or ".join(words)


def _fits(kind: str, value: Any) -> bool:
    return any(_fits_one(part, value) for part in _split(kind, " | "))


def _fits_one(kind: str, value: Any) -> bool:
    if kind.startswith("collections.abc.Sequence["):
        inner = kind[kind.index("[") + 1 : -1]
        sequence = isinstance(value, (Sequence, np.ndarray)) and not isinstance(value, (str, bytes))
        return sequence and all(_fits(inner, item) for item in value)
    types: dict[str, type | tuple[type, ...]] = {
        "None": type(None),
        "bool": bool,
        "str": str,
        "typing.SupportsFloat": Real,
        "typing.SupportsInt": Integral,
        "typing.SupportsIndex": Integral,
        "numpy.ndarray": np.ndarray,
    }
    if kind in types:
        return isinstance(value, types[kind])
    if kind.startswith("r2_router._core."):
        return type(value).__name__ == kind.rpartition(".")[2]
    return True  # only pybind11 can check other types


def _shown(name: str, value: Any) -> str:
    if not name.endswith("key"):  # a secret
        with contextlib.suppress(Exception):  # a repr may raise anything
            return reprlib.repr(value)
    return f"of the type {type(value).__name__}"
