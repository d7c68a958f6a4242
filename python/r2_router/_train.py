"""Making checkpoints: training one, adding a model, and writing one in the native layout."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from . import _core
from ._hub import checkpoint_folder
from ._progress import Progress, ProgressBar
from ._reports import AddedModel, Evaluation, Training
from ._router import R2Router
from ._routing import logger
from ._tables import Path, Pool, Table, Tables, as_rows
from ._texts import as_names
from ._types import Strings

__all__ = [
    "LexicalEncoder",
    "LexicalFeatures",
    "add_model",
    "check_predictor_settings",
    "convert",
    "embed_with",
    "make_recipe",
    "native_of",
    "train",
]


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
    queries: Table,
    outcomes: Table,
    pool: Pool,
    output: Path | None = None,
    *,
    models: Strings = (),
    coverage: float = 0.99,
    dataset: str = "",
    token_limits: Sequence[int] = (),
    budget_prompt: str = "",
    encoder: LexicalEncoder | None = None,
    embeddings: Any = None,
    embedding_model: str = "",
    augment: bool = False,
    predictor: str = "ridge",
    alphas: Sequence[float] = (),
    neighbours: Sequence[int] = (),
    folds: int = 5,
    holdout: int = 5,
    seed: int = 0,
    threads: int = 0,
    cost: str = "usd",
    ignore_unknown_models: bool = False,
    progress: Progress = None,
) -> Training:
    """Fits a router to outcomes of your own models; writes it to the folder ``output`` if given.

    ``queries``: rows of ``query_id`` and ``query``, perhaps ``dataset``; ``outcomes``: rows of
    ``query_id``, ``model``, ``score`` (0 to 1, or a boolean), ``output_tokens`` and perhaps
    ``budget``. Both may be data frames (pandas, polars), Arrow tables, lists of dictionaries or
    files: JSON lines, a JSON array or CSV, plain or compressed with gzip, or Parquet if pyarrow is
    installed; the format is detected from the contents. ``queries=None``: ``outcomes`` has the
    queries too. ``pool``: models and their prices (USD per million tokens), a dictionary or a JSON
    file with ``models`` as in a checkpoint's config.json.

    - ``models``: train for these; by default for those that answered the share ``coverage`` of the
      queries. ``dataset``: use only queries whose ``dataset`` begins with this
    - ``token_limits``: derive these budgets from unlimited answers, cut off at the budget, a cut
      one scoring 0; by default budgets are as the outcomes have them
    - ``budget_prompt``: what models were told under a limited budget, ``{budget}`` standing for it
    - ``encoder``: settings of the built-in encoder; or ``embeddings`` from elsewhere, a row for
      each row of ``queries``, and ``embedding_model``, the model that made them
    - ``augment``: train on meaning-preserving edits of each query too
    - ``predictor``: ``"ridge"``, linear heads; ``"knn"``, nearest neighbours; or ``"mlp"``, a
      multilayer perceptron
    - ``alphas``, ``neighbours``: ridge penalties, and numbers of nearest neighbours, to choose from
      by cross-validation with ``folds``
    - ``holdout``: keep one query in this many out of training, for evaluation; 0: none
    - ``threads``: 0 for one each core; the result does not depend on it
    - ``cost``: what settings are compared by, ``"usd"``, ``"length"`` or ``"latency"``
    - ``ignore_unknown_models``: leave out outcomes of models whose name ``pool`` has in another
      spelling, which are an error otherwise
    - ``progress``: called with the stage, how much of it is done, and how much there is; True or
      False: show a bar of tqdm or none; None: show one in terminals and notebooks if tqdm is
      installed

    The logger ``r2_router`` gets a warning for outcomes that are not used: how many, of which
    models, and why. Ctrl-C and exceptions of ``progress`` end the training; nothing is written.

    Returns a report, a dictionary whose ``router`` routes at once. Raises ``DataError`` for rows
    that are wrong, naming the table and the row (from 1), ``ConfigError`` for a pool,
    ``ValueError`` for options out of range and ``FileExistsError`` if ``output`` is not empty.
    """
    folder = _new_folder(output)
    with Tables() as tables, ProgressBar(progress) as bar:
        log = _logger(tables)
        recipe = make_recipe(
            encoder=encoder,
            embeddings=embeddings,
            augment=augment,
            predictor=predictor,
            alphas=alphas,
            neighbours=neighbours,
            folds=folds,
            holdout=holdout,
            seed=seed,
            threads=threads,
            progress=bar.function,
            log=log,
        )
        queries_file, outcomes_file = tables.both(queries, outcomes)
        data = _core.read_data(
            queries=queries_file,
            outcomes=outcomes_file,
            pool=tables.pool(pool),
            checkpoint=None,
            model="",
            dataset=dataset,
            embeddings=None if embeddings is None else as_rows(embeddings),
            cost=cost,
            ignore_unknown_models=ignore_unknown_models,
            sources=tables.sources,
            models=as_names("models", models),
            coverage=coverage,
            token_limits=token_limits,
            log=log,
        )
        if data.limited and "{budget}" not in budget_prompt:
            raise ValueError(
                "the outcomes have limited budgets: give budget_prompt, the words that told the "
                "models, with {budget} in place of the number"
            )
        checkpoint, report, text = _core.train(
            data=data,
            recipe=recipe,
            budget_prompt=budget_prompt,
            embedding_model=embedding_model,
        )
    if folder:
        checkpoint.save(folder)
        logger.info("trained %d heads, wrote %s", report["heads"], folder)

    def evaluate() -> Evaluation:
        options = _core.EvaluationOptions(
            name="router",
            rivals=[],
            against=["standard"],
            available_only=False,
            by_dataset=False,
            resamples=1000,
            seed=0,
            progress=None,
            log=logger.log,
        )
        return Evaluation(
            _core.evaluate(checkpoint=checkpoint, data=data, holdout=holdout, options=options)
        )

    return Training(report, text, _router_of(checkpoint, folder), evaluate)


def add_model(
    router: R2Router | Path | None,
    model: str,
    queries: Table,
    outcomes: Table,
    pool: Pool,
    output: Path | None = None,
    *,
    probes: int = 300,
    dataset: str = "",
    embeddings: Any = None,
    holdout: int | None = None,
    seed: int = 0,
    threads: int = 0,
    ignore_unknown_models: bool = False,
    progress: Progress = None,
) -> AddedModel:
    """Adds ``model`` to a router of linear heads from a few hundred of its outcomes.

    ``router``: a router, a checkpoint folder, or None for the default checkpoint; it stays as it
    is. ``queries`` and ``outcomes`` are tables as in ``train``; ``pool`` has the new model's
    prices. The new router is written to the folder ``output`` if given.

    - ``probes``: how many queries the new heads are fitted to, 20 to 2,000; ``seed`` varies which
    - ``embeddings``: a row for each row of ``queries``; None: the router makes them
    - ``holdout``: keep one query in this many out; None: as the checkpoint was trained

    Returns a report, a dictionary whose ``router`` is the new router. Raises ``DataError`` for
    outcomes that are wrong or too few, ``RuntimeError`` for a router whose heads are not linear,
    and ``FileExistsError`` if ``output`` is not empty.
    """
    folder = _new_folder(output)
    base = native_of(router)
    with Tables() as tables, ProgressBar(progress) as bar:
        log = _logger(tables)
        queries_file, outcomes_file = tables.both(queries, outcomes)
        data = _core.read_data(
            queries=queries_file,
            outcomes=outcomes_file,
            pool=tables.pool(pool),
            checkpoint=base._checkpoint,
            model=model,
            dataset=dataset,
            embeddings=None if embeddings is None else as_rows(embeddings),
            cost="usd",
            ignore_unknown_models=ignore_unknown_models,
            sources=tables.sources,
            models=[],
            coverage=0.99,
            token_limits=[],
            log=log,
        )
        embed_with(base, data, embeddings)
        checkpoint, report, text = _core.add_model(
            checkpoint=base._checkpoint,
            data=data,
            model=model,
            probes=probes,
            holdout=holdout,
            seed=seed,
            threads=threads,
            progress=bar.function,
            log=log,
        )
    if folder:
        checkpoint.save(folder)
        logger.info("added %s, wrote %s", model, folder)
    return AddedModel(report, text, _router_of(checkpoint, folder))


def convert(source: Path | None, destination: Path) -> None:
    """Writes a checkpoint (a folder in either layout, or a Hub repository) in the native layout.

    ``destination`` must not exist or be empty; it appears whole or not at all.
    """
    folder = checkpoint_folder(source)
    _core.Checkpoint.load(folder, logger.log).save(os.fspath(destination))
    logger.info("wrote %s", destination)


def check_predictor_settings(
    predictor: str, alphas: Sequence[float], neighbours: Sequence[int]
) -> None:
    """Raises a ``ValueError`` for settings that the kind of predictor does not have."""
    if len(alphas) and predictor != "ridge":
        raise ValueError(
            f'alphas are given: they are only for predictor="ridge", not {predictor!r}'
        )
    if len(neighbours) and predictor != "knn":
        raise ValueError(
            f'neighbours are given: they are only for predictor="knn", not {predictor!r}'
        )


def make_recipe(
    *,
    encoder: LexicalEncoder | None,
    embeddings: Any,
    augment: bool,
    predictor: str,
    alphas: Sequence[float],
    neighbours: Sequence[int],
    folds: int,
    holdout: int,
    seed: int,
    threads: int,
    progress: Any,
    log: Any,
) -> _core.Recipe:
    """The native recipe, with its settings checked."""
    if embeddings is not None and encoder is not None:
        raise ValueError("encoder and embeddings are given: expected one of them")
    check_predictor_settings(predictor, alphas, neighbours)
    settings = (encoder or LexicalEncoder())._asdict()
    topics = settings.pop("topics")
    return _core.Recipe(
        encoder=_core.LexicalEncoder(**settings),
        topics=topics,
        augment=augment,
        predictor=predictor,
        alphas=alphas,
        neighbours=neighbours,
        folds=folds,
        holdout=holdout,
        seed=seed,
        threads=threads,
        progress=progress,
        log=log,
    )


def native_of(router: R2Router | Path | None) -> R2Router:
    """The router that is meant: a path or None is loaded."""
    if isinstance(router, R2Router):
        return router
    return R2Router.from_pretrained(router)


def embed_with(router: R2Router, data: _core.Data, embeddings: Any) -> None:
    """Gives the data embeddings of a router that does not use its checkpoint's encoder."""
    if embeddings is None and (router._overrides_embed() or not router._checkpoint.has_encoder):
        data.set_embeddings(router._embed_all(data.texts))


def _router_of(checkpoint: _core.Checkpoint, folder: str) -> R2Router:
    router = R2Router.__new__(R2Router)
    router._folder = folder
    router._set_up(checkpoint, checkpoint.default_lambda, None, None, None, {})
    return router


def _new_folder(output: Path | None) -> str:
    """The folder to write to, or nothing."""
    if output is None:
        return ""
    folder = os.fspath(output)
    if os.path.exists(folder) and (not os.path.isdir(folder) or os.listdir(folder)):
        raise FileExistsError(f"{folder} exists already: name a new folder, or remove this one")
    return folder


def _logger(tables: Tables) -> Any:
    return lambda level, message: logger.log(level, tables.original(message))
