"""Tables with a column of queries, to which the decisions are appended as columns.

There is a small class for each type of table. It lists the columns, passes one to the native
library and appends the columns of the decisions. An unknown type with ``__arrow_c_stream__``
becomes a ``pyarrow.Table``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from . import _core

__all__ = [
    "DECISION_COLUMNS",
    "DECISION_TYPES",
    "Table",
    "as_optional_texts",
    "as_optional_vectors",
    "table_of",
]

#: The columns of a decision in a table, and the types of their values.
DECISION_TYPES: dict[str, type] = {
    "model": str,
    "budget": int,
    "max_tokens": int,
    "predicted_quality": float,
    "predicted_output_tokens": float,
    "predicted_cost_usd": float,
    "worst_case_cost_usd": float,
    "reason": str,
}
DECISION_COLUMNS = tuple(DECISION_TYPES)

_FIGURES = DECISION_COLUMNS[3:7]


class Table:
    """A table of one type."""

    def __init__(self, table: Any) -> None:
        self.table = table

    def names(self) -> list[str]:
        raise NotImplementedError

    def values(self, name: str) -> Sequence[Any]:
        """The column's values in Python."""
        raise NotImplementedError

    def arrow(self, name: str) -> Any:
        """A table with this column that has ``__arrow_c_stream__``, or None."""
        return None

    def matrix(self, name: str) -> np.ndarray[Any, Any] | None:
        """The column as an array of shape (N, d), if it is one."""
        return None

    def with_decisions(self, decisions: _core.DecisionBatch, models: Sequence[str]) -> Any:
        """The table with the columns of the decisions after its own."""
        raise NotImplementedError

    def check(self, name: str, keyword: str) -> None:
        """Raises a ValueError if there is no such column, or one that a decision would replace."""
        names = self.names()
        if name not in names:
            raise ValueError(
                f"{keyword} is {name!r}, and the table has no such column: expected one of "
                f"{', '.join(map(str, names))}"
            )
        taken = [column for column in DECISION_COLUMNS if column in names]
        if taken:
            raise ValueError(
                f"the table has {', '.join(map(repr, taken))} already, which the decisions would "
                "replace: rename or drop them"
            )


class _Arrow(Table):
    def names(self) -> list[str]:
        return list(self.table.schema.names)

    def values(self, name: str) -> Sequence[Any]:
        values: list[Any] = self.table.column(name).to_pylist()
        return values

    def arrow(self, name: str) -> Any:
        return self.table.select([name])

    def with_decisions(self, decisions: _core.DecisionBatch, models: Sequence[str]) -> Any:
        import pyarrow

        batch = pyarrow.record_batch(decisions)
        table = self.table
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            table = table.append_column(name, column)
        return table


class _Polars(Table):
    def names(self) -> list[str]:
        return list(self.table.columns)

    def values(self, name: str) -> Sequence[Any]:
        values: list[Any] = self.table[name].to_list()
        return values

    def arrow(self, name: str) -> Any:
        return self.table.select(name)

    def with_decisions(self, decisions: _core.DecisionBatch, models: Sequence[str]) -> Any:
        import polars

        return self.table.hstack(polars.DataFrame(decisions))


class _Pandas(Table):
    def names(self) -> list[str]:
        return list(self.table.columns)

    def values(self, name: str) -> Sequence[Any]:
        column = self.table[name]
        return [
            None if missing else value
            for value, missing in zip(column.tolist(), column.isna().tolist(), strict=True)
        ]

    def arrow(self, name: str) -> Any:
        column = self.table[name]
        if column.dtype == object:
            first = next((value for value in column if value is not None), None)
            if isinstance(first, np.ndarray):
                return None  # pyarrow would copy each array by itself
        try:
            import pyarrow

            return pyarrow.Table.from_pandas(self.table[[name]], preserve_index=False)
        except (ImportError, ValueError, TypeError):  # pyarrow's errors are of these types
            return None  # columns of several types; the values show which row is wrong

    def with_decisions(self, decisions: _core.DecisionBatch, models: Sequence[str]) -> Any:
        import pandas

        columns = decisions.columns()
        missing = ~columns["decided"]
        unlimited = columns["budget"] == _core.UNLIMITED

        def categories(codes: np.ndarray[Any, Any], values: Sequence[str]) -> Any:
            small = codes.astype(np.int8 if len(values) < 128 else np.int32)
            kind = pandas.CategoricalDtype(list(values))
            return pandas.Categorical.from_codes(small, dtype=kind, validate=False)

        codes = columns["model"].copy()
        codes[missing] = -1
        added: dict[str, Any] = {"model": categories(codes, models)}
        for name, absent in (("budget", missing | unlimited), ("max_tokens", missing)):
            added[name] = pandas.arrays.IntegerArray(columns[name].copy(), absent.copy())
        for name in _FIGURES:
            figures = columns[name]  # which assign() copies
            added[name] = np.where(missing, np.nan, figures) if missing.any() else figures
        added["reason"] = categories(columns["reason"], _core.ROW_REASONS)
        return self.table.assign(**added)


class _Columns(Table):
    """A dictionary of columns: lists or arrays."""

    def names(self) -> list[str]:
        return list(self.table)

    def values(self, name: str) -> Sequence[Any]:
        return list(self.table[name])

    def matrix(self, name: str) -> np.ndarray[Any, Any] | None:
        column = self.table[name]
        return column if isinstance(column, np.ndarray) and column.ndim == 2 else None

    def with_decisions(self, decisions: _core.DecisionBatch, models: Sequence[str]) -> Any:
        return {**self.table, **_lists(decisions, models)}


class _Rows(Table):
    """A list of dictionaries; a key that a row does not have is missing there."""

    def names(self) -> list[str]:
        return list(dict.fromkeys(name for row in self.table for name in row))

    def check(self, name: str, keyword: str) -> None:
        if self.table:
            super().check(name, keyword)

    def values(self, name: str) -> Sequence[Any]:
        return [row.get(name) for row in self.table]

    def with_decisions(self, decisions: _core.DecisionBatch, models: Sequence[str]) -> Any:
        columns = _lists(decisions, models)
        return [
            {**row, **dict(zip(columns, values, strict=True))}
            for row, values in zip(self.table, zip(*columns.values(), strict=True), strict=True)
        ]


def _lists(decisions: _core.DecisionBatch, models: Sequence[str]) -> dict[str, list[Any]]:
    """The values by column; None for a missing value."""
    columns = {name: array.tolist() for name, array in decisions.columns().items()}
    decided = columns["decided"]
    columns["model"] = [models[model] for model in columns["model"]]
    columns["budget"] = [None if b == _core.UNLIMITED else b for b in columns["budget"]]
    lists = {
        name: [v if d else None for v, d in zip(columns[name], decided, strict=True)]
        for name in DECISION_COLUMNS[:-1]
    }
    return {**lists, "reason": [_core.ROW_REASONS[reason] for reason in columns["reason"]]}


def table_of(table: Any) -> Table:
    """The table by its type, which only an imported library can have created."""
    kind = type(table)
    library = kind.__module__.partition(".")[0]
    if library == "polars":
        if kind.__name__ == "LazyFrame":
            raise TypeError(
                "the table is a polars.LazyFrame: use lazy.r2.route(router, ...) of "
                "r2_router.polars, or collect() it"
            )
        return _Polars(table)
    if library == "pandas":
        return _Pandas(table)
    if isinstance(table, Mapping):
        return _Columns(dict(table))
    if hasattr(table, "__arrow_c_stream__"):
        import pyarrow

        return _Arrow(table if isinstance(table, pyarrow.Table) else pyarrow.table(table))
    if isinstance(table, Sequence) and all(isinstance(row, Mapping) for row in table):
        return _Rows(table)
    raise TypeError(
        f"the table is of the type {kind.__name__}: expected a pyarrow.Table, a pandas or polars "
        "data frame, anything with __arrow_c_stream__, a dictionary of columns or a list of "
        "dictionaries"
    )


def as_optional_texts(values: Iterable[Any], name: str) -> list[str | None]:
    """The texts of a column."""
    texts: list[str | None] = []
    for row, value in enumerate(values):
        if value is not None and not isinstance(value, str):
            raise TypeError(
                f"row {row} of the column {name!r} is of the type {type(value).__name__}: "
                "expected a string or None"
            )
        # An unpaired surrogate cannot be encoded; it is replaced, as in every other encoder.
        texts.append(value if value is None else value.encode("utf-8", "replace").decode())
    return texts


def as_optional_vectors(values: Iterable[Any], name: str) -> list[np.ndarray[Any, Any] | None]:
    """The embeddings of a column. Contiguous arrays of float32 or float64 are not copied."""
    vectors: list[np.ndarray[Any, Any] | None] = []
    for row, value in enumerate(values):
        try:
            if isinstance(value, str):  # NumPy reads numbers from texts
                raise TypeError
            vectors.append(None if value is None else _vector(value))
        except (TypeError, ValueError):
            raise TypeError(
                f"row {row} of the column {name!r} is of the type {type(value).__name__}: "
                "expected a list of numbers or None"
            ) from None
    return vectors


def _vector(value: Any) -> np.ndarray[Any, Any]:
    array = np.asarray(value)
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float64)
    return np.ascontiguousarray(array.reshape(-1))
