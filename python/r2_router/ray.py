"""Routes a data set of Ray Data, or trains a router on one.

import ray
import r2_router.ray

routed = r2_router.ray.route(ray.data.read_parquet("prompts/"), text="prompt")
routed.write_parquet("routed/")
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import TYPE_CHECKING, Any

from . import _core
from ._reports import Training
from ._router import R2Router
from ._statistics import Statistics
from ._tables import Path, Pool
from ._totals import as_total

if TYPE_CHECKING:
    import pyarrow
    import ray.data

__all__ = ["route", "train"]


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


#: Statistics that a task merges into one.
_MERGED = 8


def train(
    dataset: ray.data.Dataset,
    pool: Pool,
    output: Path | None = None,
    *,
    embedding: str | None = None,
    alphas: Sequence[float] = (),
    **options: Any,
) -> Training:
    """Trains a router on a data set with a row for each query, and writes it to the folder
    ``output``.

    The columns are those of ``Statistics.add_table``, and ``options`` those of ``Statistics``. Each
    block becomes its statistics, which are merged as a tree; at 1,024 dimensions, those of a block
    have some 50 megabytes, and their sample as much. The report is that of ``Statistics.solve``.
    """
    import ray

    empty = Statistics(pool, **options)

    def as_table(statistics: Statistics) -> pyarrow.Table:
        import pyarrow

        contents = pyarrow.array([statistics._core.to_bytes()], pyarrow.large_binary())
        return pyarrow.table({"statistics": contents})

    def add(table: pyarrow.Table) -> pyarrow.Table:
        return as_table(copy(empty).add_table(table, embedding=embedding, threads=1))

    def merge(*tables: pyarrow.Table) -> pyarrow.Table:
        merged = copy(empty)
        for table in tables:
            for contents in table.column("statistics").to_pylist():
                merged.merge(Statistics._of_bytes(contents))
        return as_table(merged)

    parts = dataset.map_batches(add, batch_format="pyarrow", batch_size=None).to_arrow_refs()
    task = ray.remote(merge)
    while len(parts) > 1:
        parts = [task.remote(*parts[i : i + _MERGED]) for i in range(0, len(parts), _MERGED)]
    merged = merge(*ray.get(parts)).column("statistics")[0].as_py()
    return Statistics._of_bytes(merged).solve(output, alphas=alphas)
