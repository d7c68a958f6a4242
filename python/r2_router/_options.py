"""What one call may set, checked and handed to the native library."""

from __future__ import annotations

import functools
import os
from typing import Any, Literal, TypedDict

from . import _core
from ._keywords import check_names
from ._texts import as_names
from ._types import Strings

__all__ = ["INPUT_TOKENS", "Constraints", "route_options"]

#: Length of a query that comes as an embedding.
INPUT_TOKENS = 100


class Constraints(TypedDict, total=False):
    """What the routing methods take beside a trade-off; None is as good as absent."""

    #: Names of the only models to consider.
    allow: Strings | None
    #: Names of models to leave out.
    deny: Strings | None
    #: Leave out models that are not available. Absent: published checkpoints consider them, the
    #: package's own do not.
    available_only: bool | None
    #: Least number of tokens that any answer is assumed to take.
    token_floor: float | None
    #: ``"risk"`` (weighed by lambda), ``"usd"``, ``"cheapest"`` or ``"best"``. Absent: ``"usd"``
    #: with ``willingness_to_pay``, ``"cheapest"`` where only a quality is asked for, else risk.
    objective: Literal["risk", "usd", "cheapest", "best"] | None
    #: US dollars that quality 1 instead of 0 is worth for a query.
    willingness_to_pay: float | None
    #: Least predicted quality, 0 to 1. Where no pair has it, the best one is chosen.
    min_quality: float | None
    #: Least share of the best predicted quality for the query, 0 to 1; likewise.
    quality_fraction: float | None
    #: Standard deviations of its error that every predicted quality is lowered by.
    risk_aversion: float | None
    #: Consider only pairs whose cap, which is sent with the call, is at most this.
    max_output_tokens: int | None
    #: Consider only pairs whose predicted answer takes at most so many milliseconds.
    max_latency_ms: float | None
    #: Consider budgets between the trained ones too, by linear interpolation.
    continuous: bool | None
    #: With ``continuous``: count on a larger budget for at least the quality of a smaller one.
    monotone: bool | None
    #: A policy file, as ``r2-router calibrate`` writes, or the name of one in the checkpoint's
    #: folder (``--name``): what it sets holds unless set here.
    policy: str | os.PathLike[str] | None
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
    "objective": "'risk', 'usd', 'cheapest' or 'best'",
    "willingness_to_pay": "a number of US dollars, more than 0",
    "min_quality": "a number from 0 to 1",
    "quality_fraction": "a number from 0 to 1",
    "risk_aversion": "a number, 0 or more",
    "max_output_tokens": "a whole number, 1 or more",
    "max_latency_ms": "a number of milliseconds, 0 or more",
    "continuous": "True, False or None",
    "monotone": "True, False or None",
    "policy": "the path of a policy file, or the name of a policy of the checkpoint",
}


@functools.lru_cache(maxsize=256, typed=True)
def _usual_options(lambda_val: float, input_tokens: int) -> _core.RouteOptions:
    """Options never change, so that calls which set the same can share them."""
    return _core.RouteOptions(lambda_val, input_tokens)


def route_options(
    lambda_val: float | None,
    input_tokens: int = INPUT_TOKENS,
    constraints: Constraints | None = None,
    max_input_tokens: int | None = None,
    *,
    default_lambda: float | None = None,
    checkpoint_folder: str = "",
) -> _core.RouteOptions:
    """The options for the native library, or a TypeError that names the wrong one.

    ``checkpoint_folder``: where policies are found by name, if there is one.
    ``default_lambda`` takes the place of a ``lambda_val`` that is None, unless a constraint or a
    policy says by what else to choose.
    """
    if not constraints and max_input_tokens is None:
        usual = default_lambda if lambda_val is None else lambda_val
        try:
            return _usual_options(usual, input_tokens)
        except TypeError:
            pass
    given: dict[str, Any] = {
        name: value for name, value in (constraints or {}).items() if value is not None
    }
    check_names(given, Constraints)
    for name in given.keys() & {"allow", "deny"}:
        given[name] = as_names(name, given[name])
    if "allow" in given and not given["allow"]:
        raise ValueError("allow is empty, which leaves no model to choose: None admits all")
    given["input_tokens"] = input_tokens
    if lambda_val is not None:
        given["lambda_val"] = lambda_val
    if "policy" in given:
        given["policy"] = _policy(given["policy"], checkpoint_folder)
    try:
        return _core.RouteOptions(
            **given, max_input_tokens=max_input_tokens, default_lambda=default_lambda
        )
    except TypeError:
        pass
    for name, value in given.items():
        try:
            _core.RouteOptions(**{name: value})
        except TypeError:
            raise TypeError(f"{name} is {value!r}: expected {_EXPECTED[name]}") from None
    raise TypeError(f"lambda_val is {default_lambda!r}: expected {_EXPECTED['lambda_val']}")


def _policy(policy: Any, checkpoint_folder: str) -> _core.RouteOptions:
    try:
        return _core.load_policy(os.fspath(policy), checkpoint_folder)
    except TypeError:
        raise TypeError(f"policy is {policy!r}: expected {_EXPECTED['policy']}") from None
