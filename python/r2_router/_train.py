"""Making checkpoints: training one, and writing one in the native layout."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from . import _core
from ._arrays import Floats
from ._errors import DataError
from ._hub import checkpoint_folder
from ._routing import logger
from ._texts import as_names
from ._types import Strings

__all__ = ["LexicalEncoder", "LexicalFeatures", "convert", "train"]

Path = str | os.PathLike[str]


class LexicalFeatures(NamedTuple):
    """A family of features that the built-in encoder hashes."""

    #: ``"words"`` or ``"characters"``.
    kind: str = "words"
    #: Shortest and longest run of them that counts as a feature.
    min_n: int = 1
    max_n: int = 1
    #: Every feature of the family counts this much.
    weight: float = 1.0


class LexicalEncoder(NamedTuple):
    """Settings of the built-in encoder, which needs no model and no server."""

    dimension: int = 1024
    features: Sequence[LexicalFeatures] = (LexicalFeatures(),)
    seed: int = 0
    #: Every digit counts as 0: numbers matter by their shape alone.
    fold_digits: bool = False
    #: Sums become their signed square roots: repetition counts for less.
    square_root: bool = False
    #: Features count by their inverse document frequency in the training texts.
    idf: bool = False
    #: Learns to recognise the queries' datasets, and lets heads go by a query's share of each.
    topics: bool = False


def train(
    queries: Path,
    outcomes: Path,
    pool: Path,
    output: Path,
    *,
    models: Strings = (),
    coverage: float = 0.99,
    dataset: str = "",
    token_limits: Sequence[int] = (),
    budget_prompt: str = "",
    encoder: LexicalEncoder | None = None,
    embeddings: Any = None,
    embedding_model: str = "",
    predictor: str = "ridge",
    alphas: Sequence[float] = (),
    neighbours: Sequence[int] = (),
    folds: int = 5,
    holdout: int = 5,
    seed: int = 0,
    threads: int = 0,
    ignore_unknown_models: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Any]:
    """Fits a checkpoint to outcomes of your own models and writes it to the folder ``output``.

    ``queries``: rows of ``query_id`` and ``query``; ``outcomes``: rows of ``query_id``, ``model``,
    ``score`` (0 to 1, or a boolean), ``output_tokens`` and perhaps ``budget``. Both may be JSON
    lines, a JSON array or CSV, plain or compressed with gzip, or Parquet if pyarrow is installed;
    the format is detected from the contents. ``pool``: JSON with ``models`` and their prices, as
    in a checkpoint's config.json.

    - ``models``: train for these; by default for those that answered the share ``coverage`` of the
      queries. ``dataset``: use only queries whose ``dataset`` begins with this
    - ``token_limits``: derive these budgets from unlimited answers, cut off at the budget, a cut
      one scoring 0; by default budgets are as the outcomes have them
    - ``budget_prompt``: what models were told under a limited budget, ``{budget}`` standing for it
    - ``encoder``: settings of the built-in encoder; or ``embeddings`` from elsewhere, a row for
      each line of ``queries``, and ``embedding_model``, the model that made them
    - ``predictor``: ``"ridge"``, linear heads; ``"knn"``, nearest neighbours; or ``"mlp"``, a
      multilayer perceptron
    - ``alphas``, ``neighbours``: ridge penalties, and numbers of nearest neighbours, to choose from
      by cross-validation with ``folds``
    - ``holdout``: keep one query in this many out of training, for evaluation; 0: none
    - ``threads``: 0 for one each core; the result does not depend on it
    - ``ignore_unknown_models``: leave out outcomes of models whose name ``pool`` has in another
      spelling, which are an error otherwise
    - ``progress``: called with the stage, how much of it is done, and how much there is

    The logger ``r2_router`` gets a warning for outcomes that are not used: how many, of which
    models, and why.

    Returns a report: how many queries and heads, what was chosen (``alpha``; ``neighbours`` and
    ``weighting``; or ``epochs``), the cross-validated ``metrics`` and the ``default_lambda``.
    """
    folder = os.fspath(output)
    if os.path.exists(folder) and (not os.path.isdir(folder) or os.listdir(folder)):
        raise FileExistsError(f"{folder} exists already: name a new folder, or remove this one")
    if embeddings is not None and encoder is not None:
        raise ValueError("encoder and embeddings are given: expected one of them")
    if alphas and predictor != "ridge":
        raise ValueError(
            f'alphas are given: they are only for predictor="ridge", not {predictor!r}'
        )
    if neighbours and predictor != "knn":
        raise ValueError(
            f'neighbours are given: they are only for predictor="knn", not {predictor!r}'
        )
    settings = (encoder or LexicalEncoder())._asdict() if embeddings is None else None
    topics = settings is not None and settings.pop("topics")
    with tempfile.TemporaryDirectory() as scratch:
        tables = _Tables(os.fspath(queries), os.fspath(outcomes), scratch)
        try:
            checkpoint, report = _core.train(
                queries=tables.queries,
                outcomes=tables.outcomes,
                sources=tables.sources,
                pool=os.fspath(pool),
                models=as_names("models", models),
                coverage=coverage,
                dataset=dataset,
                token_limits=token_limits,
                budget_prompt=budget_prompt,
                encoder=None if settings is None else _core.LexicalEncoder(**settings),
                topics=topics,
                embeddings=None if embeddings is None else _rows(embeddings),
                embedding_model=embedding_model,
                predictor=predictor,
                alphas=alphas,
                neighbours=neighbours,
                folds=folds,
                holdout=holdout,
                seed=seed,
                threads=threads,
                ignore_unknown_models=ignore_unknown_models,
                progress=progress,
                log=lambda level, message: logger.log(level, tables.original(message)),
            )
        except DataError as error:
            error.args = (tables.original(str(error)),)
            if hasattr(error, "file"):
                error.file = tables.original(error.file)
            raise
    checkpoint.save(folder)
    logger.info("trained %d heads, wrote %s", report["heads"], folder)
    return report


def convert(source: Path | None, destination: Path) -> None:
    """Writes a checkpoint (a folder in either layout, or a Hub repository) in the native layout.

    ``destination`` must not exist or be empty; it appears whole or not at all.
    """
    folder = checkpoint_folder(source)
    _core.Checkpoint.load(folder, logger.log).save(os.fspath(destination))
    logger.info("wrote %s", destination)


class _Tables:
    """The tables as files that the native reader reads: Parquet as JSON lines in ``scratch``."""

    def __init__(self, queries: str, outcomes: str, scratch: str) -> None:
        #: Without repetition, the files that were given and those that are read in their place.
        self.sources = list(dict.fromkeys([queries, outcomes]))
        self._read = [
            _convert_parquet(path, os.path.join(scratch, f"{number}.jsonl"))
            for number, path in enumerate(self.sources)
        ]
        self.queries, self.outcomes = self._read[0], self._read[-1]

    def original(self, message: str) -> str:
        """A message about a file that is read, as one about the file that was given."""
        for given, read in zip(self.sources, self._read, strict=True):
            message = message.replace(read, given)
        return message


def _convert_parquet(path: str, destination: str) -> str:
    """Writes a Parquet file as JSON lines to ``destination``; any other file stays as it is."""
    try:
        with open(path, "rb") as file:
            if file.read(4) != b"PAR1":
                return path
    except OSError:
        return path  # the native reader has the better message
    import json

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
                    print(json.dumps(row, default=str), file=lines)
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: the Parquet file cannot be read: {reason}") from None
    return destination


def _rows(embeddings: Any) -> Floats:
    rows = np.ascontiguousarray(embeddings, np.float32)
    if rows.ndim != 2:
        raise ValueError(
            f"the embeddings have the shape {rows.shape}: expected (N, d), a row for each query"
        )
    return rows
