"""Routes a data frame of Spark.

import r2_router.spark

routed = r2_router.spark.route(spark.read.parquet("prompts/"), text="prompt")
routed.write.parquet("routed/")
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from pyspark.sql.types import DoubleType, LongType, StringType, StructField, StructType

from ._columns import DECISION_TYPES
from ._router import R2Router

if TYPE_CHECKING:
    import pyarrow
    from pyspark.sql import DataFrame

__all__ = ["route"]

_TYPES = {str: StringType, int: LongType, float: DoubleType}


def route(frame: DataFrame, router: R2Router | None = None, **options: Any) -> DataFrame:
    """Appends the columns of ``R2Router.route_table`` to a frame, with the same options.

    ``router=None`` uses the default checkpoint. The router is broadcast, so that each executor
    receives it once.
    """
    options.setdefault("threads", 1)
    name = options.get("text") or options.get("embedding")
    if name is not None and name not in frame.columns:
        raise ValueError(
            f"the frame has no column {name!r}: expected one of {', '.join(frame.columns)}"
        )
    added = [StructField(column, _TYPES[kind]()) for column, kind in DECISION_TYPES.items()]
    shared = frame.sparkSession.sparkContext.broadcast(router or R2Router.from_pretrained())
    return frame.mapInArrow(
        _batches(lambda: shared.value, options), StructType([*frame.schema.fields, *added])
    )


def _batches(
    router: Callable[[], R2Router], options: dict[str, Any]
) -> Callable[[Iterator[pyarrow.RecordBatch]], Iterator[pyarrow.RecordBatch]]:
    def route_batches(batches: Iterator[pyarrow.RecordBatch]) -> Iterator[pyarrow.RecordBatch]:
        import pyarrow

        for batch in batches:
            routed = router().route_table(pyarrow.Table.from_batches([batch]), **options)
            yield from routed.to_batches()

    return route_batches
