"""Options of one call, which the native library checks."""

from __future__ import annotations

import functools
import os
from typing import Any

from . import _core
from ._constraints import Constraints
from ._keywords import check_names

__all__ = ["INPUT_TOKENS", "Constraints", "route_options"]

#: Assumed length of a query given as an embedding.
INPUT_TOKENS = 100


@functools.lru_cache(maxsize=256, typed=True)
def _usual_options(lambda_val: float | None, input_tokens: int) -> _core.RouteOptions:
    """Options are immutable, so equal calls share them."""
    return _core.RouteOptions({"lambda_val": lambda_val}, input_tokens)


def route_options(
    lambda_val: float | None,
    input_tokens: int = INPUT_TOKENS,
    constraints: Constraints | None = None,
    max_input_tokens: int | None = None,
    *,
    default_lambda: float | None = None,
    checkpoint_folder: str = "",
) -> _core.RouteOptions:
    """The options for the native library, or an exception that names the wrong one.

    ``checkpoint_folder``: where policies are found by name, if there is one.
    ``default_lambda`` replaces a ``lambda_val`` that is None, unless a constraint or a
    policy sets another trade-off; None is the checkpoint's.
    """
    if not constraints and max_input_tokens is None:
        usual = default_lambda if lambda_val is None else lambda_val
        try:
            return _usual_options(usual, input_tokens)
        except TypeError:
            pass  # not hashable; the native library names it
    settings: dict[str, Any] = dict(constraints or {})
    check_names(settings, Constraints)
    images, policy = settings.pop("images", None), settings.pop("policy", None)
    return _core.RouteOptions(
        settings | {"lambda_val": lambda_val},
        input_tokens,
        max_input_tokens,
        None if policy is None else _policy(policy, checkpoint_folder),
        default_lambda,
        images,
    )


def _policy(policy: Any, checkpoint_folder: str) -> _core.Policy:
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
