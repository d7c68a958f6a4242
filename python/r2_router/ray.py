"""Routes a data set of Ray Data.

import ray
import r2_router.ray

routed = r2_router.ray.route(ray.data.read_parquet("prompts/"), text="prompt")
routed.write_parquet("routed/")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import _core
from ._router import R2Router
from ._totals import as_total

if TYPE_CHECKING:
    import pyarrow
    import ray.data

__all__ = ["route"]


class _Worker:
    """An actor's router."""

    def __init__(
        self, router: R2Router, allowance: _core.Allowance | None, options: dict[str, Any]
    ) -> None:
        self.router = router
        self.allowance = allowance
        self.options = options

    def __call__(self, table: pyarrow.Table) -> pyarrow.Table:
        return self.router._route_within(self.allowance, table, **self.options)


class _Pricer:
    """An actor's router in the first pass of a total: each batch becomes its curve."""

    def __init__(self, router: R2Router, worst_case: bool, options: dict[str, Any]) -> None:
        self.router = router
        self.worst_case = worst_case
        self.options = options

    def __call__(self, table: pyarrow.Table) -> pyarrow.Table:
        import pyarrow

        curve = _core.TotalCurve(self.worst_case, 0)
        self.router._add_to_curve(curve, table, **self.options)
        return pyarrow.table({"curve": [curve.to_bytes()]})


def route(
    dataset: ray.data.Dataset,
    router: R2Router | None = None,
    *,
    concurrency: int | tuple[int, int] = (1, 64),
    batch_size: int = 8192,
    total_usd: float | None = None,
    total_worst_case_usd: float | None = None,
    **options: Any,
) -> ray.data.Dataset:
    """Appends the columns of ``R2Router.route_table`` to a data set, with the same options.

    ``router=None`` uses the default checkpoint. ``concurrency``: the number of actors, each with
    one core, or its minimum and maximum. Each receives the router once. Ray restarts those that
    fail.

    At least 99.9 % of a total can be spent. The data set is executed once by this call and once
    when the result is read, and must have the same rows both times: use ``materialize()`` if they
    may differ.
    """
    options.setdefault("threads", 1)
    router = router or R2Router.from_pretrained()

    def mapped(worker: type, *arguments: Any) -> ray.data.Dataset:
        return dataset.map_batches(
            worker,
            fn_constructor_args=(router, *arguments, options),
            batch_format="pyarrow",
            batch_size=batch_size,
            concurrency=concurrency,
            num_cpus=1,
            zero_copy_batch=True,
        )

    total = as_total(total_usd, total_worst_case_usd)
    if total is None:
        return mapped(_Worker, None)
    curve = total.curve(0)
    for row in mapped(_Pricer, total.worst_case).iter_rows():
        curve.merge(_core.TotalCurve.from_bytes(row["curve"]))
    return mapped(_Worker, curve.allowance(total.usd))
