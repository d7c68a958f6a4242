"""What one call may set, checked and handed to the native library."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Sequence
from typing import Any, TypedDict

from . import _core

__all__ = ["INPUT_TOKENS", "Constraints", "route_options"]

#: Length of a query that comes as an embedding.
INPUT_TOKENS = 100


class Constraints(TypedDict, total=False):
    """What the routing methods take beside a trade-off; None is as good as absent."""

    #: Names of the only models to consider.
    allow: Sequence[str] | None
    #: Names of models to leave out.
    deny: Sequence[str] | None
    #: Leave out models that are not available. Absent: published checkpoints consider them, the
    #: package's own do not.
    available_only: bool | None
    #: Least number of tokens that any answer is assumed to take.
    token_floor: float | None
    #: Consider only pairs that cannot cost more than this, USD: their cap times the price, and all
    #: that the query can be billed for.
    max_cost_usd: float | None


_EXPECTED = {
    "lambda_val": "a number from 0 (quality alone) to 1 (cost alone)",
    "input_tokens": "a whole number, 0 or more",
    "allow": "a list of names of models",
    "deny": "a list of names of models",
    "available_only": "True, False or None",
    "token_floor": "a number, 0 or more",
    "max_cost_usd": "a number of US dollars, 0 or more",
}


@functools.lru_cache(maxsize=256)
def _usual_options(lambda_val: float, input_tokens: int) -> _core.RouteOptions:
    """Options never change, so that calls which set the same can share them."""
    return _core.RouteOptions(lambda_val, input_tokens)


def route_options(
    lambda_val: float,
    input_tokens: int = INPUT_TOKENS,
    constraints: Constraints | None = None,
    max_input_tokens: int | None = None,
) -> _core.RouteOptions:
    """The options for the native library, or a TypeError that names the wrong one."""
    if not constraints and max_input_tokens is None:
        try:
            return _usual_options(lambda_val, input_tokens)
        except TypeError:
            pass
    given: dict[str, Any] = {
        name: value for name, value in (constraints or {}).items() if value is not None
    }
    for name, value in given.items():
        _check_name(name)
        if name in ("allow", "deny") and isinstance(value, str):
            raise TypeError(f"{name} is {value!r}: expected a list of names, such as [{value!r}]")
    if "allow" in given and len(given["allow"]) == 0:
        raise ValueError("allow is empty, which leaves no model to choose: None admits all")
    given |= {"lambda_val": lambda_val, "input_tokens": input_tokens}
    try:
        return _core.RouteOptions(**given, max_input_tokens=max_input_tokens)
    except TypeError:
        pass
    for name, value in given.items():
        try:
            _core.RouteOptions(**{name: value})
        except TypeError:
            raise TypeError(f"{name} is {value!r}: expected {_EXPECTED[name]}") from None
    raise AssertionError("unreachable")


def _check_name(name: str) -> None:
    names = Constraints.__annotations__
    if name in names:
        return
    near = difflib.get_close_matches(name, names, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(names)}"
    raise TypeError(f"there is no keyword {name!r}: {hint}")
