"""Routes a data frame of Spark, or trains a router on one.

import r2_router.spark

routed = r2_router.spark.route(spark.read.parquet("prompts/"), text="prompt")
routed.write.parquet("routed/")
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any

from pyspark.sql.types import DoubleType, LongType, StringType, StructField, StructType

from . import _core
from ._columns import DECISION_TYPES
from ._reports import Training
from ._router import R2Router
from ._statistics import Statistics
from ._tables import Path, Pool
from ._totals import Total, as_total

if TYPE_CHECKING:
    import pyarrow
    from pyspark.sql import DataFrame

__all__ = ["route", "train"]

_TYPES = {str: StringType, int: LongType, float: DoubleType}


def route(
    frame: DataFrame,
    router: R2Router | None = None,
    *,
    total_usd: float | None = None,
    total_worst_case_usd: float | None = None,
    **options: Any,
) -> DataFrame:
    """Appends the columns of ``R2Router.route_table`` to a frame, with the same options.

    ``router=None`` uses the default checkpoint. The router is broadcast, so that each executor
    receives it once.

    At least 99.9 % of a total can be spent. The frame is computed once by this call and once for
    the result, and must have the same rows both times: use ``persist()`` if they may differ.
    """
    options.setdefault("threads", 1)
    name = options.get("text") or options.get("embedding")
    if name is not None and name not in frame.columns:
        raise ValueError(
            f"the frame has no column {name!r}: expected one of {', '.join(frame.columns)}"
        )
    added = [StructField(column, _TYPES[kind]()) for column, kind in DECISION_TYPES.items()]
    shared = frame.sparkSession.sparkContext.broadcast(router or R2Router.from_pretrained())
    total = as_total(total_usd, total_worst_case_usd)
    allowance = None if total is None else _allowance(frame, lambda: shared.value, total, options)
    return frame.mapInArrow(
        _batches(lambda: shared.value, allowance, options),
        StructType([*frame.schema.fields, *added]),
    )


def _batches(
    router: Callable[[], R2Router], allowance: _core.Allowance | None, options: dict[str, Any]
) -> Callable[[Iterator[pyarrow.RecordBatch]], Iterator[pyarrow.RecordBatch]]:
    def route_batches(batches: Iterator[pyarrow.RecordBatch]) -> Iterator[pyarrow.RecordBatch]:
        import pyarrow

        for batch in batches:
            table = pyarrow.Table.from_batches([batch])
            yield from router()._route_within(allowance, table, **options).to_batches()

    return route_batches


def _allowance(
    frame: DataFrame, router: Callable[[], R2Router], total: Total, options: dict[str, Any]
) -> _core.Allowance:
    """The first pass: each partition becomes its curve, and a tree merges them."""

    def price(batches: Iterator[pyarrow.RecordBatch]) -> Iterator[pyarrow.RecordBatch]:
        import pyarrow

        curve = total.curve(0)
        for batch in batches:
            router()._add_to_curve(curve, pyarrow.Table.from_batches([batch]), **options)
        yield pyarrow.record_batch({"curve": [curve.to_bytes()]})

    def merge(first: bytes, second: bytes) -> bytes:
        curve = _core.TotalCurve.from_bytes(first)
        curve.merge(_core.TotalCurve.from_bytes(second))
        return curve.to_bytes()

    curves = frame.mapInArrow(price, "curve binary").rdd.map(lambda row: bytes(row.curve))
    merged = curves.treeAggregate(total.curve(0).to_bytes(), merge, merge)
    return _core.TotalCurve.from_bytes(merged).allowance(total.usd)


def train(
    frame: DataFrame,
    pool: Pool,
    output: Path | None = None,
    *,
    embedding: str | None = None,
    alphas: Sequence[float] = (),
    **options: Any,
) -> Training:
    """Trains a router on a frame with a row for each query, and writes it to the folder ``output``.

    The columns are those of ``Statistics.add_table``, and ``options`` those of ``Statistics``. Each
    partition becomes its statistics, which are merged as a tree; at 1,024 dimensions, those of a
    partition have some 50 megabytes, and their sample as much. The report is that of
    ``Statistics.solve``.
    """
    empty = Statistics(pool, **options)

    def add(batches: Iterator[pyarrow.RecordBatch]) -> Iterator[pyarrow.RecordBatch]:
        import pyarrow

        statistics = copy(empty)
        for batch in batches:
            table = pyarrow.Table.from_batches([batch])
            statistics.add_table(table, embedding=embedding, threads=1)
        yield pyarrow.record_batch({"statistics": [statistics._core.to_bytes()]})

    parts = frame.mapInArrow(add, "statistics binary").rdd.map(
        lambda row: Statistics._of_bytes(bytes(row.statistics))
    )
    merged: Statistics = parts.treeAggregate(empty, Statistics.merge, Statistics.merge)
    return merged.solve(output, alphas=alphas)
