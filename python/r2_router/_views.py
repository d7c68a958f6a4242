"""Shared by plots and HTML: reads a decision from any mapping.

A decision may be a ``Decision``, or any mapping with its keys, such as one read back from JSON.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

Option = Mapping[str, Any]

OPTION_KEYS = ("model", "budget", "predicted_quality", "predicted_cost_usd", "risk")


def options_of(decision: Option) -> Sequence[Option]:
    """The options of a decision; only the decision itself if it does not list them."""
    if not isinstance(decision, Mapping):
        raise TypeError(
            f"expected a decision, as R2Router.route() returns it, not {type(decision).__name__}"
        )
    options: Sequence[Option] = decision.get("all_options") or [decision]
    for option in (decision, *options):
        missing = [key for key in OPTION_KEYS if key not in option]
        if missing:
            raise ValueError(
                f"not a decision: {', '.join(map(repr, missing))} missing; "
                "pass what R2Router.route() returned, with its keys as they were"
            )
    return options


def lambda_of(decision: Option, lambda_val: float | None = None) -> float | None:
    """The λ of the decision: the argument, else the decision's; None if unknown."""
    if lambda_val is None:
        lambda_val = getattr(decision, "lambda_val", None)
    if lambda_val is None:
        lambda_val = decision.get("lambda")
    if lambda_val is None:
        return None
    if not 0 <= lambda_val <= 1:
        raise ValueError(f"lambda_val must be between 0 and 1, not {lambda_val!r}")
    return float(lambda_val)


def lambda_text(lambda_val: float) -> str:
    """λ to three significant digits of its distance from 0 or 1: 0.999995 is not 1."""
    nearest = min(lambda_val, 1 - lambda_val)
    if not nearest:
        return f"{lambda_val:.0f}"
    return f"{lambda_val:.{2 - math.floor(math.log10(nearest))}f}".rstrip("0")


def by_model(decision: Option) -> dict[str, list[Option]]:
    """Each model's options, best first; the models in the order of their best option.

    The chosen pair comes first even among equals: the router's own tie rule picked it.
    """
    options = sorted(options_of(decision), key=lambda option: -option["risk"])
    chosen = (decision["model"], decision["budget"])
    options.sort(key=lambda option: (option["model"], option["budget"]) != chosen)
    models: dict[str, list[Option]] = {}
    for option in options:
        models.setdefault(option["model"], []).append(option)
    return models


def is_unlimited(option: Option) -> bool:
    return isinstance(option["budget"], str)


def budget_label(option: Option) -> str:
    """A budget as a number with thousands separators, or "unlimited"."""
    return str(option["budget"]) if is_unlimited(option) else f"{option['budget']:,}"


def budget_text(option: Option) -> str:
    """A budget within a sentence: ``300 tokens``, or ``unlimited``."""
    return budget_label(option) + ("" if is_unlimited(option) else " tokens")


def budget_phrase(option: Option) -> str:
    """A budget after a model's name: ``at most 300 tokens``, or ``no token limit``."""
    return "no token limit" if is_unlimited(option) else f"at most {budget_text(option)}"


def dollars(usd: float) -> str:
    """An amount to three significant digits, never in scientific notation."""
    if not usd:
        return "$0"
    digits = f"{usd:.2e}"  # decides where three significant digits end
    return f"${usd:,.{max(2, 2 - int(digits.split('e')[1]))}f}"
