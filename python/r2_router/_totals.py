"""One amount of money for all rows of a table, as the callers' keywords say it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from . import _core
from ._keywords import check_number

__all__ = ["Total", "as_total", "refuse_total"]

#: Of so many rows one is in the sample.
_SAMPLED = 32
_KEYWORDS = ("total_usd", "total_worst_case_usd")


class Total(NamedTuple):
    """What all rows may cost together."""

    usd: float
    #: Whether their worst cases may, or else their predicted costs.
    worst_case: bool

    def curve(self, most_steps: int | None = None) -> _core.TotalCurve:
        """For the first pass. ``most_steps``: bounds its memory; 0: rows come in any order."""
        return _core.TotalCurve(self.worst_case, most_steps)

    def decisions(
        self, route: Callable[[_core.TotalCurve | _core.PricedBatch | _core.Allowance], Any]
    ) -> _core.DecisionBatch:
        """The decisions for all rows, from ``route(step)``, which makes a pass over them.

        A sample says near which prices most of the work is needed. The pass over all rows keeps
        the decisions at these prices.
        """
        sample = _core.TotalCurve(self.worst_case, every=_SAMPLED)
        route(sample)
        curve = _core.TotalCurve(self.worst_case, range=sample.range_near(self.usd))
        priced = _core.PricedBatch(curve)
        route(priced)
        if curve.reaches(self.usd):
            return priced.take(curve.allowance(self.usd))
        del priced
        curve = self.curve()
        route(curve)
        decisions: _core.DecisionBatch = route(curve.allowance(self.usd))
        return decisions


def as_total(total_usd: float | None, total_worst_case_usd: float | None) -> Total | None:
    """The total, if there is one."""
    if total_usd is not None and total_worst_case_usd is not None:
        raise ValueError(
            "total_usd and total_worst_case_usd are given, and a job has one total: remove one of "
            "them"
        )
    for worst_case, usd in enumerate((total_usd, total_worst_case_usd)):
        if usd is not None:
            check_number(_KEYWORDS[worst_case], usd, "a number of USD, 0 or more")
            return Total(float(usd), bool(worst_case))
    return None


def refuse_total(options: Mapping[str, Any], remedy: str) -> None:
    """Raises a ValueError where rows are routed in parts that do not know of each other."""
    for name in _KEYWORDS:
        if options.get(name) is not None:
            raise ValueError(f"{name} is for all rows, which are not known here: {remedy}")
