"""Keywords shared by several methods: each group is defined once, as a TypedDict.

A method takes a group as ``**keywords: Unpack[Group]``, which type checkers read. ``@takes(Group)``
lists the group's keywords in the method's signature too, for ``help()`` and completion.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable
from numbers import Integral, Real
from typing import Any, TypeVar

__all__ = ["check_names", "check_number", "takes"]

Function = TypeVar("Function", bound=Callable[..., Any])


def takes(*groups: type, **defaults: Any) -> Callable[[Function], Function]:
    """Adds the keywords of these groups to a function's signature; defaults are None if not given.

    Returns the function itself, so calls have no overhead.
    """

    def spell_out(function: Function) -> Function:
        signature = inspect.signature(function)
        named = [p for p in signature.parameters.values() if p.kind != p.VAR_KEYWORD]
        keywords = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=defaults.get(name),
                annotation=getattr(annotation, "__forward_arg__", annotation),
            )
            for group in groups
            for name, annotation in group.__annotations__.items()
        ]
        spelled_out = signature.replace(parameters=[*named, *keywords])
        function.__signature__ = spelled_out  # type: ignore[attr-defined]
        return function

    return spell_out


def check_names(given: Iterable[str], *groups: type) -> None:
    """Raises a TypeError for an unknown keyword, and suggests the most similar one."""
    names = [name for group in groups for name in group.__annotations__]
    for name in given:
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(names)}"
            raise TypeError(f"there is no keyword {name!r}: {hint}")


def check_number(name: str, value: Any, expected: str, *, whole: bool = False) -> None:
    """Raises a TypeError if it is not a number, and a ValueError if it is negative or NaN."""
    is_number = isinstance(value, Integral if whole else Real)
    if not is_number:
        raise TypeError(f"{name} is {value!r}: expected {expected}")
    if not value >= 0:
        raise ValueError(f"{name} is {value!r}: expected {expected}")
