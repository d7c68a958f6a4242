"""Training on data larger than memory: sums over batches, which are merged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from . import _core
from ._arrays import as_rows, as_thread_count
from ._log import logger
from ._prepare import new_folder
from ._progress import Progress, ProgressBar
from ._recipe import LexicalEncoder, native_encoder
from ._reports import Training
from ._router import R2Router
from ._tables import Path, Pool, Table, Tables, as_path
from ._texts import as_names
from ._types import Strings

if TYPE_CHECKING:
    import pyarrow

__all__ = ["Statistics"]


class Statistics:
    """What ``train`` needs of the data for linear heads, in memory that does not grow with it.

        statistics = Statistics("pool.json", dimension=1024)
        for queries, outcomes, embeddings in batches:
            statistics.add(queries, outcomes, embeddings=embeddings)
        router = statistics.solve("my-router").router

    Statistics of parts of the data, made on several machines, are merged; they can be pickled, or
    saved in between. The order and the partition of the data do not matter. Heads are those of
    ``train`` on all of the data to within 1e-9. What depends on single queries (the choice of α,
    length curves, spreads and the default λ) comes from a random sample of at most ``sample`` of
    them, so with fewer queries it is that of ``train`` too.

    - ``pool``, ``models``, ``token_limits``, ``budget_prompt``, ``encoder``, ``embedding_model``,
      ``folds``, ``holdout``, ``seed`` and ``cost``: as in ``train``. All models of the pool that
      have outcomes are trained for, unless ``models`` names some. The encoder has neither ``idf``
      nor ``topics``, which are learned from all texts at once
    - ``dimension``: the length of an embedding, unless there is an encoder
    - ``sample``: at least 100. They are kept in memory, with their embeddings

    One thread at a time may change an object. Raises ``ConfigError`` for an invalid pool, and
    ``ValueError`` for options out of range.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        dimension: int = 0,
        encoder: LexicalEncoder | None = None,
        models: Strings = (),
        token_limits: Sequence[int] = (),
        budget_prompt: str = "",
        embedding_model: str = "",
        folds: int = 5,
        holdout: int = 5,
        seed: int = 0,
        cost: str = "usd",
        sample: int = 20_000,
    ) -> None:
        if encoder is not None and encoder.topics:
            raise ValueError("encoder has topics, which are learned from all texts: use train")
        with Tables() as tables:
            self._core = _core.Statistics(
                pool=tables.pool(pool),
                models=as_names("models", models),
                dimension=dimension,
                encoder=None if encoder is None else native_encoder(encoder),
                embedding_model=embedding_model,
                token_limits=list(token_limits),
                budget_prompt=budget_prompt,
                folds=folds,
                holdout=holdout,
                seed=seed,
                sample=sample,
                cost=cost,
            )

    @property
    def training_queries(self) -> int:
        """How many queries were added, without those that are held out or have no outcome."""
        return self._core.training_queries

    @property
    def held_out_queries(self) -> int:
        """How many queries were held out."""
        return self._core.held_out_queries

    @property
    def sampled_queries(self) -> int:
        """How many of the training queries are in the sample."""
        return self._core.sampled_queries

    def add(
        self,
        queries: Table | None,
        outcomes: Table,
        *,
        embeddings: Any = None,
        ignore_unknown_models: bool = False,
        threads: int | None = None,
    ) -> Statistics:
        """Adds queries with their outcomes, and returns itself.

        The arguments are those of ``train``. A query must be added only once, with all of its
        outcomes; batches of thousands are faster. ``threads=None``: one for each core.

        Raises ``DataError`` for invalid rows, and ``ValueError`` for embeddings that do not fit;
        nothing is added then.
        """
        with Tables() as tables:
            queries_file, outcomes_file = tables.files(queries, outcomes)
            self._core.add(
                queries=queries_file,
                outcomes=outcomes_file,
                embeddings=None if embeddings is None else as_rows(embeddings),
                ignore_unknown_models=ignore_unknown_models,
                threads=as_thread_count(threads),
                log=tables.log,
            )
        return self

    def add_table(
        self,
        table: pyarrow.Table,
        *,
        embedding: str | None = None,
        outcomes: str = "outcomes",
        threads: int | None = None,
    ) -> Statistics:
        """Adds a table of pyarrow with a row for each query, and returns itself.

        It has the columns ``query_id`` and ``query``; ``outcomes``, lists of structs with
        ``model``, ``score``, ``output_tokens`` and optionally ``budget``; and ``embedding``, a
        column of lists of equal lengths, unless the encoder makes the embeddings. Raises as ``add``
        does.
        """
        for name in (outcomes, *([] if embedding is None else [embedding])):
            if name not in table.column_names:
                raise ValueError(
                    f"the table has no column {name!r}: expected one of "
                    f"{', '.join(table.column_names)}"
                )
        if table.num_rows == 0:
            return self
        rows = table.select(["query_id", outcomes]).to_pylist()
        return self.add(
            table.drop_columns([outcomes] if embedding is None else [outcomes, embedding]),
            [
                {"query_id": row["query_id"], **outcome}
                for row in rows
                for outcome in row[outcomes] or ()
            ],
            embeddings=None if embedding is None else table.column(embedding),
            threads=threads,
        )

    def merge(self, other: Statistics) -> Statistics:
        """Adds the statistics of other queries, and returns itself.

        Raises ``ValueError`` if they were made with other options.
        """
        if not isinstance(other, Statistics):
            raise TypeError(f"other is of the type {type(other).__name__}: expected Statistics")
        self._core.merge(other._core)
        return self

    def solve(
        self,
        output: Path | None = None,
        *,
        alphas: Sequence[float] = (),
        threads: int | None = None,
        progress: Progress = None,
    ) -> Training:
        """Trains a router, and writes it to the folder ``output``.

        ``alphas``, ``progress`` and the report are those of ``train``. Its ``evaluation`` is not
        available, since the queries are gone: use ``evaluate``. The statistics do not change.

        Raises ``DataError`` for too few queries or outcomes, ``ValueError`` for options out of
        range, and ``FileExistsError`` if ``output`` is not empty.
        """
        folder = new_folder(output)
        with ProgressBar(progress) as bar:
            checkpoint, report, text = self._core.solve(
                alphas=list(alphas), threads=as_thread_count(threads), progress=bar.function
            )
        if folder:
            checkpoint.save(folder)
            logger.info("trained %d heads, wrote %s", report["heads"], folder)
        return Training(report, text, R2Router._of_checkpoint(checkpoint, folder), None)

    def save(self, file: Path) -> None:
        """Writes or replaces a file, atomically. It contains no text of a query."""
        self._core.save(as_path("file", file))

    @classmethod
    def load(cls, file: Path) -> Statistics:
        """Reads such a file. Raises ``CheckpointError`` if it is invalid."""
        return cls._of_core(_core.Statistics.load(as_path("file", file)))

    @classmethod
    def _of_core(cls, core: _core.Statistics) -> Statistics:
        statistics = cls.__new__(cls)
        statistics._core = core
        return statistics

    @classmethod
    def _of_bytes(cls, contents: bytes) -> Statistics:
        return cls._of_core(_core.Statistics.from_bytes(contents))

    def __reduce__(self) -> Any:
        return Statistics._of_bytes, (self._core.to_bytes(),)

    def __repr__(self) -> str:
        return (
            f"<Statistics of {self.training_queries} queries, {self._core.dimension} dimensions, "
            f"{self.sampled_queries} queries sampled>"
        )
