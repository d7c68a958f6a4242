"""Tables as callers have them, as files that the native reader reads."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np

from ._arrays import Floats
from ._errors import DataError

__all__ = ["Path", "Pool", "Table", "Tables", "as_rows"]

Path = str | os.PathLike[str]
#: A data frame (pandas, polars), an Arrow table, a list of dictionaries, or the path of a file.
Table = Any
#: ``{"model": {"input_price_per_million": ..., ...}}``, the same under "models", or a path.
Pool = Mapping[str, Any] | Path


class Tables:
    """Files for the native reader, which live as long as the ``with`` block.

    Paths are passed on; Parquet, data frames and rows are written as JSON lines. A message about
    such a file becomes one about what was given: ``outcomes:7`` is the seventh row of ``outcomes``.
    """

    def __init__(self) -> None:
        self._scratch = tempfile.TemporaryDirectory()
        #: What is read, and how messages name it.
        self._names: dict[str, str] = {}
        #: What a checkpoint names as its data, without repetition.
        self.sources: list[str] = []

    def __enter__(self) -> Tables:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._scratch.cleanup()
        if error is not None and error.args and isinstance(error.args[0], str):
            error.args = (self.original(error.args[0]), *error.args[1:])
            file = getattr(error, "file", None)
            if isinstance(file, str):
                error.file = self.original(file)  # type: ignore[attr-defined]

    def read(self, name: str, table: Table) -> str:
        """The path of a file with the rows of ``table``."""
        scratch = os.path.join(self._scratch.name, name)
        if isinstance(table, (str, os.PathLike)):
            given = os.fspath(table)
            read = _convert_parquet(given, scratch)
            if read != given:
                self._names[read] = given
            source = given
        else:
            with open(scratch, "w") as lines:
                for row in _rows(name, table):
                    print(json.dumps(row, default=_plain), file=lines)
            self._names[scratch] = name
            read = source = scratch
        if source not in self.sources:
            self.sources.append(source)
        return read

    def both(self, queries: Table | None, outcomes: Table) -> tuple[str, str]:
        """The files of two tables, which may be one table or one file."""
        if queries is None:
            queries = outcomes
        first = self.read("queries", queries)
        same = queries is outcomes or (
            isinstance(queries, (str, os.PathLike))
            and isinstance(outcomes, (str, os.PathLike))
            and os.fspath(queries) == os.fspath(outcomes)
        )
        return first, first if same else self.read("outcomes", outcomes)

    def pool(self, pool: Pool) -> str:
        """The path of a pool file."""
        if isinstance(pool, (str, os.PathLike)):
            return os.fspath(pool)
        if not isinstance(pool, Mapping):
            raise TypeError(
                f"pool is of the type {type(pool).__name__}: expected a dictionary of models and "
                "their prices, or the path of a JSON file"
            )
        models = pool.get("models")
        document = pool if isinstance(models, Mapping) else {"models": pool}
        path = os.path.join(self._scratch.name, "pool")
        with open(path, "w") as file:
            json.dump(document, file, default=_plain)
        self._names[path] = "pool"
        return path

    def original(self, message: str) -> str:
        """A message about a file that is read, as one about what was given."""
        for read, given in self._names.items():
            message = message.replace(read, given)
        return message


def _rows(name: str, table: Table) -> Iterable[Mapping[str, Any]]:
    if hasattr(table, "to_pylist"):  # Arrow
        rows: Any = table.to_pylist()
    elif hasattr(table, "to_dicts"):  # polars
        rows = table.to_dicts()
    elif hasattr(table, "to_dict") and hasattr(table, "columns"):  # pandas
        rows = table.to_dict("records")
    elif hasattr(table, "collect"):
        raise TypeError(f"{name} is a lazy data frame: pass {name}.collect()")
    elif isinstance(table, Mapping) or not isinstance(table, Iterable):
        raise TypeError(
            f"{name} is of the type {type(table).__name__}: expected a data frame, an Arrow table, "
            "a list of dictionaries, or a path"
        )
    else:
        rows = table
    for position, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise TypeError(
                f"row {position} of {name} is of the type {type(row).__name__}: expected a "
                "dictionary"
            )
        yield row


def _plain(value: Any) -> Any:
    """What JSON lacks: NumPy's numbers, missing values of pandas, and others as text."""
    if isinstance(value, np.generic):
        return value.item()
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (Sequence, np.ndarray)) and not isinstance(value, (str, bytes)):
        return list(value)
    return str(value)


def _convert_parquet(path: str, destination: str) -> str:
    """Writes a Parquet file as JSON lines to ``destination``; any other file stays as it is."""
    try:
        with open(path, "rb") as file:
            if file.read(4) != b"PAR1":
                return path
    except OSError:
        return path  # the native reader has the better message
    try:
        import pyarrow.parquet
    except ImportError:
        raise ImportError(
            f"{path} is a Parquet file, which needs pyarrow: pip install pyarrow, or write the "
            "table as CSV or JSON lines"
        ) from None
    try:
        with pyarrow.parquet.ParquetFile(path) as source, open(destination, "w") as lines:
            for batch in source.iter_batches():
                for row in batch.to_pylist():
                    print(json.dumps(row, default=_plain), file=lines)
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: the Parquet file cannot be read: {reason}") from None
    return destination


def as_rows(embeddings: Any) -> Floats:
    """Embeddings as an (N, d) array."""
    rows = np.ascontiguousarray(embeddings, np.float32)
    if rows.ndim != 2:
        raise ValueError(
            f"the embeddings have the shape {rows.shape}: expected (N, d), a row for each query"
        )
    return rows
