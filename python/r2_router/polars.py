"""The namespace ``r2`` of polars' frames; importing this module registers it.

import polars
import r2_router.polars

routed = polars.scan_parquet("prompts.parquet").r2.route(router, text="prompt").collect()
"""

from __future__ import annotations

from typing import Any

import polars

from ._columns import DECISION_TYPES
from ._router import R2Router
from ._totals import refuse_total

__all__ = ["DecisionSchema"]

_TYPES: dict[type, Any] = {str: polars.String, int: polars.Int64, float: polars.Float64}
#: Types of the columns of a decision.
DecisionSchema: dict[str, Any] = {name: _TYPES[kind] for name, kind in DECISION_TYPES.items()}


@polars.api.register_dataframe_namespace("r2")
class _FrameNamespace:
    def __init__(self, frame: polars.DataFrame) -> None:
        self._frame = frame

    def route(self, router: R2Router, **options: Any) -> polars.DataFrame:
        """``router.route_table`` of the frame."""
        routed: polars.DataFrame = router.route_table(self._frame, **options)
        return routed


@polars.api.register_lazyframe_namespace("r2")
class _LazyNamespace:
    def __init__(self, frame: polars.LazyFrame) -> None:
        self._frame = frame

    def route(self, router: R2Router, **options: Any) -> polars.LazyFrame:
        """``router.route_table`` of the frame when it is collected; the streaming engine routes it
        in batches, so there can be no total."""
        refuse_total(options, "collect() the frame before it is routed")
        schema = dict(self._frame.collect_schema())
        return self._frame.map_batches(
            lambda frame: router.route_table(frame, **options),
            schema=polars.Schema({**schema, **DecisionSchema}),
            streamable=True,
        )
