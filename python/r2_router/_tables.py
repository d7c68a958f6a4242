"""Converts queries, outcomes and pools to files for the native reader."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np

from . import _core
from ._arrays import as_rows
from ._errors import DataError
from ._log import logger

__all__ = ["Path", "Pool", "Table", "Tables", "as_path"]

Path = str | os.PathLike[str]
#: A data frame (pandas, polars), an Arrow table, a list of dictionaries, or the path of a file.
Table = Any
#: ``{"model": {"input_price_per_million": ..., ...}}``, the same under "models", or a path.
Pool = Mapping[str, Any] | Path


class Tables:
    """Files for the native reader, which exist during the ``with`` block.

    Paths are passed on unchanged. Parquet files, data frames and rows are written as JSON lines.
    Messages about such a file are changed to name the argument, the row and the column.
    """

    def __init__(self) -> None:
        self._scratch = tempfile.TemporaryDirectory()
        #: By file that is read, the file that the caller passed.
        self._files: dict[str, str] = {}
        #: By file that is read, the argument with its contents.
        self._arguments: dict[str, str] = {}
        #: The files that a checkpoint names as its data.
        self._sources: list[str] = []

    def __enter__(self) -> Tables:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._scratch.cleanup()
        if error is None or not error.args or not isinstance(error.args[0], str):
            return
        message = self.original(error.args[0])
        if isinstance(error, TypeError):
            message = re.sub(r"^\w+\(\): ", "", message)  # the name of a native function
        error.args = (message, *error.args[1:])
        file = getattr(error, "file", None)
        if isinstance(file, str):
            names = self._files | self._arguments
            error.file = names.get(file, file)  # type: ignore[attr-defined]

    def log(self, level: int, message: str) -> None:
        """Passes a diagnostic of the native library to the logger."""
        logger.log(level, self.original(message))

    def read(
        self,
        queries: Table | None,
        outcomes: Table | None = None,
        *,
        embeddings: Any = None,
        **settings: Any,
    ) -> _core.Data:
        """The data. ``queries=None``: ``outcomes`` has the queries too; ``outcomes=None``: none.

        ``settings``: further keywords of the native function.
        """
        queries_file, outcomes_file = self.files(queries, outcomes)
        return _core.read_data(
            queries=queries_file,
            outcomes=outcomes_file,
            embeddings=None if embeddings is None else as_rows(embeddings),
            sources=self._sources,
            log=self.log,
            **settings,
        )

    def files(self, queries: Table | None, outcomes: Table | None) -> tuple[str, str]:
        """The paths of files with the queries and the outcomes; "" for no outcomes."""
        if queries is None and outcomes is not None:
            queries = outcomes
        queries_file = self.file("queries", queries)
        if outcomes is None:
            return queries_file, ""
        if outcomes is queries or _same_path(outcomes, queries):
            return queries_file, queries_file
        return queries_file, self.file("outcomes", outcomes)

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
            file.write(_to_json("pool", document))
        self._arguments[path] = "pool"
        return path

    def original(self, message: str) -> str:
        """Changes a message about a file to one about the argument that the caller passed."""
        for read, given in self._files.items():
            message = message.replace(read, given)
        for read, name in self._arguments.items():
            message = re.sub(
                re.escape(read) + r"(?::(\d+)(?: at /([^/\s:]+)(?=: ))?)?",
                lambda found, name=name: _place(name, found[1], found[2]),  # type: ignore[misc]
                message,
            )
        return message

    def file(self, name: str, table: Table) -> str:
        """The path of a file with the rows of ``table``."""
        scratch = os.path.join(self._scratch.name, name)
        if isinstance(table, (str, os.PathLike)):
            source = os.fspath(table)
            read = _convert_parquet(source, scratch)
            if read != source:
                self._files[read] = source
        else:
            _write_rows(name, _rows(name, table), scratch)
            self._arguments[scratch] = name
            read = source = scratch
        if source not in self._sources:
            self._sources.append(source)
        return read


def as_path(name: str, value: Any) -> str:
    """The path as a string; ``name`` is the argument's."""
    if isinstance(value, (str, os.PathLike)):
        path = os.fspath(value)
        if isinstance(path, str):
            return path
    raise TypeError(f"{name} is {value!r}: expected a path")


def _place(name: str, row: str | None, column: str | None) -> str:
    return name + (f", row {row}" if row else "") + (f", column {column!r}" if column else "")


def _same_path(first: Any, second: Any) -> bool:
    paths = (str, os.PathLike)
    return (
        isinstance(first, paths)
        and isinstance(second, paths)
        and os.fspath(first) == os.fspath(second)
    )


def _rows(name: str, table: Table) -> Iterator[Mapping[str, Any]]:
    if hasattr(table, "to_pylist"):  # Arrow
        rows: Any = table.to_pylist()
    elif hasattr(table, "to_dicts"):  # polars
        rows = table.to_dicts()
    elif hasattr(table, "to_dict") and hasattr(table, "columns"):  # pandas
        rows = table.to_dict("records")
    elif hasattr(table, "collect"):
        raise TypeError(f"{name} is a lazy data frame: pass {name}.collect()")
    elif isinstance(table, (Mapping, bytes)) or not isinstance(table, Iterable):
        raise TypeError(
            f"{name} is of the type {type(table).__name__}: expected a data frame, an Arrow table, "
            "a list of dictionaries, or a path"
        )
    else:
        rows = table
    for number, row in enumerate(rows, 1):
        if not isinstance(row, Mapping):
            raise TypeError(
                f"{name}, row {number} is of the type {type(row).__name__}: expected a dictionary"
            )
        yield row


def _write_rows(name: str, rows: Iterable[Mapping[str, Any]], path: str) -> None:
    with open(path, "w") as lines:
        for number, row in enumerate(rows, 1):
            lines.write(_to_json(f"{name}, row {number}", row) + "\n")


def _to_json(place: str, value: Mapping[str, Any]) -> str:
    import json

    try:
        return json.dumps(value, default=_plain)
    except (TypeError, ValueError, RecursionError) as error:
        wrong = next((key for key in value if not isinstance(key, str)), None)
        if wrong is not None:
            raise TypeError(f"{place} has the column {wrong!r}: expected a string") from None
        raise TypeError(f"{place} cannot be written as JSON: {error}") from None


def _plain(value: Any) -> Any:
    """A value that JSON lacks: a number of NumPy, a missing value of pandas, or another as text."""
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
    """Writes a Parquet file as JSON lines to ``destination``; any other file is left unchanged."""
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
        with pyarrow.parquet.ParquetFile(path) as source:
            batches = source.iter_batches()
            _write_rows(path, (row for batch in batches for row in batch.to_pylist()), destination)
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: the Parquet file cannot be read: {reason}") from None
    return destination
