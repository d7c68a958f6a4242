"""A function of DuckDB that routes a column of texts.

connection = duckdb.connect()
r2_router.duckdb.register(connection, router, max_cost_usd=0.01)
connection.sql("SELECT *, unnest(r2_route(prompt)) FROM 'prompts.parquet'")
"""

from __future__ import annotations

from typing import Any

import duckdb
import pyarrow

from ._columns import DECISION_COLUMNS, DECISION_TYPES
from ._router import R2Router
from ._totals import refuse_total

__all__ = ["register"]

_NAMES = {str: "VARCHAR", int: "BIGINT", float: "DOUBLE"}


def register(
    connection: duckdb.DuckDBPyConnection,
    router: R2Router,
    name: str = "r2_route",
    **options: Any,
) -> None:
    """Defines the function ``name(text)`` in a connection.

    The function returns a struct of the columns that ``R2Router.route_table`` appends. The options
    are those of ``route_table``, except ``text``, ``embedding`` and totals. A NULL row also has a
    reason.
    """
    refuse_total(options, "pass the relation to R2Router.route_table()")

    def route(texts: Any) -> Any:
        table = pyarrow.table({"text": texts})
        routed = router.route_table(table, text="text", **options).combine_chunks()
        columns = [
            routed[column].chunk(0) if len(routed) else pyarrow.array([], routed[column].type)
            for column in DECISION_COLUMNS
        ]
        return pyarrow.StructArray.from_arrays(columns, DECISION_COLUMNS)

    # Strings, since DuckDB's enumerations have moved between its versions.
    kinds: dict[str, Any] = {"type": "arrow", "null_handling": "special"}
    connection.create_function(
        name,
        route,
        ["VARCHAR"],
        duckdb.struct_type({name: _NAMES[kind] for name, kind in DECISION_TYPES.items()}),
        **kinds,
    )
