"""Options of one call, which the native library checks."""

from __future__ import annotations

import functools
import os
from typing import Any

from . import _core
from ._constraints import Constraints
from ._keywords import check_names

__all__ = ["INPUT_TOKENS", "Constraints", "query_size", "route_options"]

#: Assumed length of a query given as an embedding.
INPUT_TOKENS = 100


@functools.lru_cache(maxsize=256, typed=True)
def _usual_options(lambda_val: float | None) -> _core.RouteOptions:
    """Options are immutable, so that calls with equal arguments share them."""
    return _core.RouteOptions({"lambda_val": lambda_val})


@functools.lru_cache(maxsize=256, typed=True)
def _usual_size(input_tokens: int | None) -> _core.QuerySize:
    return _core.QuerySize(input_tokens)


def query_size(input_tokens: int | None, constraints: Constraints | None = None) -> _core.QuerySize:
    """The size of a query for the native library. Raises an exception that explains what is wrong.

    ``input_tokens=None``: estimated from its text.
    """
    given = constraints or {}
    if given.get("images") is None and given.get("requires") is None:
        try:
            return _usual_size(input_tokens)
        except TypeError:
            pass  # not hashable, or not a number; the native library names it
    return _core.QuerySize(input_tokens, given.get("images"), given.get("requires"))


def route_options(
    lambda_val: float | None,
    constraints: Constraints | None = None,
    *,
    default_lambda: float | None = None,
    checkpoint_folder: str = "",
) -> _core.RouteOptions:
    """The options for the native library. Raises an exception that names the wrong option.

    ``checkpoint_folder``: where named policies are found, or empty. ``default_lambda`` replaces a
    ``lambda_val`` that is None, unless a constraint or a policy sets another trade-off; None is the
    checkpoint's.
    """
    if not constraints:
        usual = default_lambda if lambda_val is None else lambda_val
        try:
            return _usual_options(usual)
        except TypeError:
            pass  # not hashable; the native library names it
    settings: dict[str, Any] = dict(constraints or {})
    check_names(settings, Constraints)
    for of_query in ("images", "requires"):  # of the query's size
        settings.pop(of_query, None)
    policy = settings.pop("policy", None)
    return _core.RouteOptions(
        settings | {"lambda_val": lambda_val},
        None if policy is None else load_policy(policy, checkpoint_folder),
        default_lambda,
    )


def load_policy(policy: Any, checkpoint_folder: str) -> _core.Policy:
    try:
        path = os.fspath(policy)
    except TypeError:
        path = None
    if not isinstance(path, str):
        raise TypeError(
            f"policy is {policy!r}: expected the path of a policy file, or the name of a policy "
            "of the checkpoint"
        )
    return _core.load_policy(path, checkpoint_folder)
