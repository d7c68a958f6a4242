"""Training a router, and adding a model to one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from . import _core
from ._log import logger
from ._prepare import add_embeddings, as_router, new_folder
from ._progress import Progress, ProgressBar
from ._recipe import LexicalEncoder, make_recipe
from ._reports import AddedFromTasks, AddedModel, Evaluation, TaskTraining, Training
from ._router import R2Router
from ._tables import Path, Pool, Table, Tables
from ._texts import as_names
from ._types import Strings

__all__ = ["add_model", "add_model_from_tasks", "train", "train_on_tasks"]


def train(
    queries: Table,
    outcomes: Table,
    pool: Pool | None = None,
    output: Path | None = None,
    *,
    prior: R2Router | Path | None = None,
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
    """Trains a router on outcomes of your own models, and writes it to the folder ``output``.

    - ``queries``: rows with ``query_id`` and ``query``, and optionally ``dataset``; None:
      ``outcomes`` has the queries too
    - ``outcomes``: rows with ``query_id``, ``model``, ``score`` (0 to 1, or a boolean),
      ``output_tokens``, and optionally ``budget``
    - ``pool``: models and their prices (USD per million tokens), as a dictionary or a JSON file
      with ``models`` like that of a checkpoint's config.json
    - ``output``: None: nothing is written; ``save_pretrained`` of the router can do it later
    - ``prior``: a router or checkpoint to start from, such as one of ``train_on_tasks``. Its
      models, encoder, budgets and default policy are kept, so ``pool``, ``models``,
      ``token_limits``, ``encoder`` and ``predictor`` must not be set, and ``alphas`` are penalties
      on the distance from it. With few outcomes its predictions hardly change

    Queries and outcomes are data frames (pandas, polars), Arrow tables, lists of dictionaries, or
    files: JSON lines, a JSON array or CSV, plain or compressed with gzip, or Parquet if pyarrow is
    installed. The format is detected from the contents.

    - ``models``: the models to train for; by default those with outcomes for at least the share
      ``coverage`` of the queries. ``dataset``: use only queries whose ``dataset`` begins with this
    - ``token_limits``: derive these budgets from unlimited answers. An answer that is longer than
      the budget is cut off and scores 0. By default budgets are those of the outcomes
    - ``budget_prompt``: the instruction for a limited budget, with ``{budget}`` in place of the
      number; required if outcomes have limited budgets
    - ``encoder``: settings of the built-in encoder. Alternatively, ``embeddings``: an array with a
      row for each row of ``queries``, and ``embedding_model``, the model that computed them
    - ``augment``: also train on edits of each query that keep its meaning
    - ``predictor``: ``"ridge"`` (linear heads), ``"knn"`` (k-nearest neighbours) or ``"mlp"`` (a
      multilayer perceptron)
    - ``alphas``, ``neighbours``: ridge penalties, or numbers of nearest neighbours, to choose from
      by cross-validation with ``folds``
    - ``holdout``: keep one query in this many out of training, for evaluation; 0: none
    - ``threads``: number of threads; 0: one for each core. The result does not depend on it
    - ``cost``: compare settings by ``"usd"``, ``"length"`` or ``"latency"``
    - ``ignore_unknown_models``: ignore outcomes of models that ``pool`` has under another spelling;
      otherwise they are an error
    - ``progress``: a function of (stage, done, total); True or False: a bar of tqdm, or none;
      None: a bar in terminals and notebooks if tqdm is installed

    Unused outcomes are logged as warnings by ``r2_router``: how many, of which models, and why.
    Ctrl-C and exceptions of ``progress`` end the training; nothing is written.

    Returns a report, which is a dictionary of figures. Its ``router`` is ready to use. Raises
    ``DataError`` for invalid rows, naming the table, the row (from 1) and the column,
    ``ConfigError`` for an invalid pool, ``ValueError`` for options out of range and
    ``FileExistsError`` if ``output`` is not empty.
    """
    folder = new_folder(output)
    base = None if prior is None else as_router(prior, "prior")
    selection: dict[str, Any] = {}
    if base is not None:
        for value, name in (
            (pool, "pool"),
            (models, "models"),
            (token_limits, "token_limits"),
            (budget_prompt, "budget_prompt"),
            (encoder, "encoder"),
        ):
            if value:
                raise ValueError(f"{name} is given with prior, which has its own")
        if predictor != "ridge":
            raise ValueError(f'predictor is {predictor!r}: with prior, expected "ridge"')
        selection["checkpoint"] = base._own_checkpoint()
    elif pool is None:
        raise ValueError("pool is missing: the models and their prices")
    with Tables() as tables, ProgressBar(progress) as bar:
        if pool is not None:
            selection = {
                "pool": tables.pool(pool),
                "models": as_names("models", models),
                "coverage": coverage,
                "token_limits": token_limits,
            }
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
            budget_prompt=budget_prompt,
            embedding_model=embedding_model,
            prior=selection.get("checkpoint"),
            progress=bar.function,
            log=tables.log,
        )
        data = tables.read(
            queries,
            outcomes,
            embeddings=embeddings,
            dataset=dataset,
            cost=cost,
            ignore_unknown_models=ignore_unknown_models,
            **selection,
        )
        if base is not None:
            add_embeddings(base, data)
        checkpoint, report, text = _core.train(data=data, recipe=recipe)
    if folder:
        checkpoint.save(folder)
        logger.info("trained %d heads, wrote %s", report["heads"], folder)

    def evaluate() -> Evaluation:
        options = _core.EvaluationOptions(against=["standard"], log=logger.log)
        return Evaluation(
            _core.evaluate(checkpoint=checkpoint, data=data, holdout=holdout, options=options)
        )

    return Training(report, text, R2Router._of_checkpoint(checkpoint, folder), evaluate)


def train_on_tasks(
    results: Table,
    prompts: Table,
    pool: Pool,
    output: Path | None = None,
    *,
    vectors: Path | None = None,
    token_limits: Sequence[int] = (),
    data_date: str = "",
    seed: int = 0,
    threads: int = 0,
    progress: Progress = None,
) -> TaskTraining:
    """Trains a router on results by task, such as a benchmark's published table.

    - ``results``: a row for each model and task: ``model``, ``task``, ``score`` (0 to 1),
      ``output_tokens``, and optionally ``questions`` (how many were averaged), ``length_spread``
      and ``cost_usd``
    - ``prompts``: rows with ``query``, ``task`` and ``source``, from which the router learns to
      recognise tasks
    - ``pool`` and ``output``: as in ``train``; tables too
    - ``vectors``: a checkpoint, such as ``"default"``; its wordpiece vectors are used for words
      that occur in no prompt
    - ``token_limits``: limited budgets; empty: 100, 300, 1000, 4000 and 16000
    - ``data_date``: the date of the results, such as ``"2026-08-22"``, which ``info`` shows
    - ``progress``: as in ``train``

    Returns a report, which is a dictionary of figures. Its ``router`` is ready to use. Raises as
    ``train`` does.
    """
    import json

    folder = new_folder(output)
    with Tables() as tables, ProgressBar(progress) as bar:
        checkpoint, report, text = _core.train_on_tasks(
            results=tables.file("results", results),
            prompts=tables.file("prompts", prompts),
            pool=tables.pool(pool),
            vectors="" if vectors is None else os.fspath(vectors),
            token_limits=list(token_limits),
            data_date=data_date,
            seed=seed,
            threads=threads,
            progress=bar.function,
            log=tables.log,
        )
    if folder:
        checkpoint.save(folder)
        logger.info("trained on tasks, wrote %s", folder)
    return TaskTraining(json.loads(report), text, R2Router._of_checkpoint(checkpoint, folder))


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

    - ``router``: a router, a checkpoint folder, or None for the default checkpoint. It does not
      change
    - ``queries``, ``outcomes``: tables as in ``train``
    - ``pool``: has the new model's prices
    - ``output``: the folder that the new router is written to, or None
    - ``probes``: how many queries the new heads are fitted to, 20 to 2,000; ``seed`` varies which
    - ``embeddings``: a row for each row of ``queries``; None: the router makes them
    - ``holdout``: keep one query in this many out; None: as the checkpoint was trained

    Returns a report, which is a dictionary of figures. Its ``router`` has the new model, and the
    servers of ``router``. Raises ``DataError`` for outcomes that are invalid or too few,
    ``RuntimeError`` for a router whose heads are not linear, and ``FileExistsError`` if ``output``
    is not empty.
    """
    folder = new_folder(output)
    base = as_router(router)
    with Tables() as tables, ProgressBar(progress) as bar:
        data = tables.read(
            queries,
            outcomes,
            embeddings=embeddings,
            pool=tables.pool(pool),
            checkpoint=base._checkpoint,
            model=model,
            dataset=dataset,
            ignore_unknown_models=ignore_unknown_models,
        )
        add_embeddings(base, data)
        checkpoint, report, text = _core.add_model(
            checkpoint=base._checkpoint,
            data=data,
            model=model,
            probes=probes,
            holdout=holdout,
            seed=seed,
            threads=threads,
            progress=bar.function,
            log=tables.log,
        )
    if folder:
        checkpoint.save(folder)
        logger.info("added %s, wrote %s", model, folder)
    return AddedModel(report, text, base._with_checkpoint(checkpoint, folder))


def add_model_from_tasks(
    router: R2Router | Path | None,
    model: str,
    results: Table,
    pool: Pool,
    output: Path | None = None,
) -> AddedFromTasks:
    """Adds ``model`` to a router of ``train_on_tasks`` from its results by task.

    - ``router``: a router, a checkpoint folder, or None for the default checkpoint. It does not
      change
    - ``results``: rows as in ``train_on_tasks``; those of other models are ignored. Tasks without a
      result are estimated from the others
    - ``pool``: has the new model's prices
    - ``output``: the folder that the new router is written to, or None

    Returns a report, which is a dictionary of figures. Its ``router`` has the new model, and the
    servers of ``router``. Raises ``DataError`` for invalid rows, or none for a task of the router;
    ``RuntimeError`` for a router that does not recognise tasks, and ``FileExistsError`` if
    ``output`` is not empty.
    """
    import json

    folder = new_folder(output)
    base = as_router(router)
    with Tables() as tables:
        checkpoint, report, text = _core.add_model_from_tasks(
            checkpoint=base._own_checkpoint(),
            results=tables.file("results", results),
            model=model,
            pool=tables.pool(pool),
            log=tables.log,
        )
    if folder:
        checkpoint.save(folder)
        logger.info("added %s, wrote %s", model, folder)
    return AddedFromTasks(json.loads(report), text, base._with_checkpoint(checkpoint, folder))
