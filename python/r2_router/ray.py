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

from ._reports import Training
from ._router import R2Router
from ._statistics import Statistics
from ._tables import Path, Pool

if TYPE_CHECKING:
    import pyarrow
    import ray.data

__all__ = ["route", "train"]


class _Worker:
    """An actor's router."""

    def __init__(self, router: R2Router, options: dict[str, Any]) -> None:
        self.router = router
        self.options = options

    def __call__(self, table: pyarrow.Table) -> pyarrow.Table:
        return self.router.route_table(table, **self.options)


def route(
    dataset: ray.data.Dataset,
    router: R2Router | None = None,
    *,
    concurrency: int | tuple[int, int] = (1, 64),
    batch_size: int = 8192,
    **options: Any,
) -> ray.data.Dataset:
    """The data set with the columns that ``R2Router.route_table`` appends, whose options it takes.

    ``router=None`` is the built-in one. ``concurrency``: actors, each with a core, or the fewest
    and the most of them. Each receives the router once. Ray restarts those that fail.
    """
    options.setdefault("threads", 1)
    return dataset.map_batches(
        _Worker,
        fn_constructor_args=(router or R2Router.from_pretrained(), options),
        batch_format="pyarrow",
        batch_size=batch_size,
        concurrency=concurrency,
        num_cpus=1,
        zero_copy_batch=True,
    )


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
