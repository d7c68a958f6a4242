"""Evaluating routers on known outcomes, and finding the setting that meets a target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import _core
from ._options import load_policy
from ._prepare import add_embeddings, as_router
from ._progress import Progress, ProgressBar
from ._recipe import LexicalEncoder, make_recipe
from ._reports import Calibration, Evaluation, LearningCurve
from ._router import R2Router
from ._tables import Path, Pool, Table, Tables
from ._texts import as_names
from ._types import Strings

__all__ = ["calibrate", "compare", "evaluate", "learning_curve"]


def evaluate(
    queries: Table,
    outcomes: Table,
    router: R2Router | Path | None = None,
    *,
    folds: int | None = None,
    pool: Pool | None = None,
    models: Strings = (),
    coverage: float = 0.99,
    dataset: str = "",
    token_limits: Sequence[int] = (),
    encoder: LexicalEncoder | None = None,
    embeddings: Any = None,
    augment: bool = False,
    predictor: str = "ridge",
    alphas: Sequence[float] = (),
    neighbours: Sequence[int] = (),
    threads: int = 0,
    holdout: int | None = None,
    against: Strings = (),
    available_only: bool = False,
    by_dataset: bool = False,
    perturb: bool = False,
    cost: str = "usd",
    resamples: int = 1000,
    seed: int = 0,
    ignore_unknown_models: bool = False,
    progress: Progress = None,
) -> Evaluation:
    """Compares a router, or with ``folds`` a training recipe, with others on known outcomes.

    ``queries`` and ``outcomes`` are tables as in ``train``.

    Without ``folds``, evaluates ``router`` (a router, a checkpoint folder, or None for the default
    checkpoint) on the queries that were kept out of its training: one in ``holdout``; None: as the
    checkpoint was trained; 0: all queries.

    With ``folds``, no router is needed: each query is routed by a router that was trained on the
    other folds. ``pool``, ``models``, ``coverage``, ``token_limits``, ``encoder``, ``augment``,
    ``predictor``, ``alphas``, ``neighbours`` and ``threads`` are those of ``train``.

    - ``against``: contenders to compare with, such as ``["mean-curve", "knn-20", "models"]``; with
      ``folds`` also ``"ridge-router"``, ``"knn-router"`` and ``"mlp-router"``; empty: all except
      these routers
    - ``dataset``: use only queries whose ``dataset`` begins with this; ``by_dataset``: also
      evaluate each dataset on its own
    - ``embeddings``: a row for each row of ``queries``; None: the router makes them
    - ``available_only``: leave out models that are marked as unavailable
    - ``perturb``: also measure how often choices stay the same when queries are edited
    - ``cost``: ``"usd"``, ``"length"`` (output tokens) or ``"latency"`` (seconds)
    - ``resamples``: of the bootstrap for 95 % intervals, varied by ``seed``; 0: no intervals
    - ``progress``: as in ``train``

    Ctrl-C ends the evaluation. Raises ``DataError`` for invalid rows, naming the table, the row
    (from 1) and the column, and ``ValueError`` for an unknown contender or options out of range.
    """
    with Tables() as tables, ProgressBar(progress) as bar:
        options = _core.EvaluationOptions(
            against=as_names("against", against),
            available_only=available_only,
            by_dataset=by_dataset,
            resamples=resamples,
            seed=seed,
            progress=bar.function,
            log=tables.log,
        )
        selection: dict[str, Any] = {
            "embeddings": embeddings,
            "dataset": dataset,
            "cost": cost,
            "ignore_unknown_models": ignore_unknown_models,
        }
        training: dict[str, Any] = {
            "encoder": encoder,
            "augment": augment,
            "predictor": predictor,
            "alphas": alphas,
            "neighbours": neighbours,
            "threads": threads,
        }
        if folds is None:
            _check_no_training(
                training, pool=pool, models=models, coverage=coverage, token_limits=token_limits
            )
            base = as_router(router)
            if perturb and not base._uses_own_encoder():
                raise ValueError(
                    "perturb needs the encoder of the checkpoint, which the router does not use"
                )
            checkpoint = base._own_checkpoint()
            data = tables.read(queries, outcomes, checkpoint=checkpoint, **selection)
            add_embeddings(base, data)
            result = _core.evaluate(
                checkpoint=checkpoint, data=data, holdout=holdout, options=options
            )
            stability = None
            if perturb:
                stability = _core.measure_stability(
                    checkpoint=checkpoint, data=data, holdout=holdout, progress=bar.function
                )
            return Evaluation(result, stability)

        if pool is None:
            raise ValueError("folds needs pool: the models and their prices")
        for given, name in ((router, "router"), (holdout, "holdout"), (perturb, "perturb")):
            if given is not None and given is not False:
                raise ValueError(f"{name} is given with folds, which train routers of their own")
        if not 2 <= folds <= 100:
            raise ValueError(f"folds is {folds}: expected 2 to 100")
        recipe = make_recipe(
            **training, embeddings=embeddings, progress=bar.function, log=tables.log
        )
        data = tables.read(
            queries,
            outcomes,
            pool=tables.pool(pool),
            models=as_names("models", models),
            coverage=coverage,
            token_limits=token_limits,
            **selection,
        )
        return Evaluation(
            _core.cross_validate(data=data, recipe=recipe, folds=folds, options=options)
        )


def compare(
    contenders: Mapping[str, R2Router | Path],
    queries: Table,
    outcomes: Table,
    *,
    against: Strings = ("standard",),
    dataset: str = "",
    embeddings: Any = None,
    holdout: int | None = None,
    available_only: bool = False,
    by_dataset: bool = False,
    cost: str = "usd",
    resamples: int = 1000,
    seed: int = 0,
    ignore_unknown_models: bool = False,
    progress: Progress = None,
) -> Evaluation:
    """Compares several routers on the same outcomes.

    - ``contenders``: routers or checkpoint folders by name. The others are measured against the
      first (``router_minus_policy``), whose models are those of the outcomes that are used. All
      use their own encoder, or the same ``embeddings``
    - ``against``: further contenders as in ``evaluate``
    - ``holdout``: one query in this many is used; None: as the first router was trained. None of
      the routers should have been trained on these queries

    The other keywords are those of ``evaluate``.
    """
    if not isinstance(contenders, Mapping) or not contenders:
        raise ValueError(
            f"contenders is {contenders!r}: expected a dictionary of routers or checkpoint folders "
            "by name"
        )
    routers = {
        name: as_router(router, f"contenders[{name!r}]") for name, router in contenders.items()
    }
    for name, router in routers.items():
        if embeddings is None and not router._uses_own_encoder():
            raise ValueError(
                f"the contender {name!r} does not use an encoder of its checkpoint: pass the "
                "embeddings of the queries, which all contenders then use"
            )
    (first, base), *others = routers.items()
    with Tables() as tables, ProgressBar(progress) as bar:
        options = _core.EvaluationOptions(
            name=first,
            rivals=[(name, router._own_checkpoint()) for name, router in others],
            against=as_names("against", against),
            available_only=available_only,
            by_dataset=by_dataset,
            resamples=resamples,
            seed=seed,
            progress=bar.function,
            log=tables.log,
        )
        checkpoint = base._own_checkpoint()
        data = tables.read(
            queries,
            outcomes,
            embeddings=embeddings,
            checkpoint=checkpoint,
            dataset=dataset,
            cost=cost,
            ignore_unknown_models=ignore_unknown_models,
        )
        return Evaluation(
            _core.evaluate(checkpoint=checkpoint, data=data, holdout=holdout, options=options)
        )


def calibrate(
    queries: Table,
    target: str,
    router: R2Router | Path | None = None,
    *,
    outcomes: Table | None = None,
    policy: Path | None = None,
    setting: str = "willingness-to-pay",
    dataset: str = "",
    embeddings: Any = None,
    holdout: int | None = None,
    resamples: int = 1000,
    seed: int = 0,
    ignore_unknown_models: bool = False,
    progress: Progress = None,
) -> Calibration:
    """Finds the setting of a router that meets a target on average over the queries.

    - ``queries``: a table as in ``train``
    - ``target``: a cost in USD for 1,000 queries (``"0.05/1k"``) or for one (``"0.00005 USD"``), a
      share of the best quality (``"95% of best"``) or a quality (``"quality 0.7"``)
    - ``router``: a router, a checkpoint folder, or None for the default checkpoint
    - ``outcomes``: meet the target by the observed costs and scores of the queries that were kept
      out of training (``holdout`` as in ``evaluate``); None: by predictions for all queries
    - ``policy``: a policy file, or the name of one in the checkpoint's folder, whose constraints
      apply
    - ``setting``: ``"willingness-to-pay"``, which reaches a mean at the lowest cost; or
      ``"fraction"``, which gives every query the same share of its best quality
    - ``dataset``: use only outcomes of queries whose ``dataset`` begins with this
    - ``embeddings``: a row for each row of ``queries``; None: the router makes them
    - ``resamples``: of the bootstrap for 95 % intervals, 1 to 100,000, varied by ``seed``
    - ``progress``: as in ``train``

    Ctrl-C ends the calibration. Raises ``ValueError`` for a target that cannot be met, with the
    reachable range.
    """
    if setting not in ("willingness-to-pay", "fraction"):
        raise ValueError(f"setting is {setting!r}: expected 'willingness-to-pay' or 'fraction'")
    if outcomes is None:
        for given, name in ((dataset, "dataset"), (holdout, "holdout")):
            if given:
                raise ValueError(f"{name} is given, which needs outcomes")
    base = as_router(router)
    with Tables() as tables, ProgressBar(progress) as bar:
        data = tables.read(
            queries,
            outcomes,
            embeddings=embeddings,
            checkpoint=base._checkpoint,
            dataset=dataset,
            ignore_unknown_models=ignore_unknown_models,
        )
        add_embeddings(base, data)
        found, text, figures = _core.calibrate(
            checkpoint=base._checkpoint,
            data=data,
            holdout=holdout,
            target=target,
            fraction=setting == "fraction",
            resamples=resamples,
            seed=seed,
            policy=None if policy is None else load_policy(policy, base._folder),
            progress=bar.function,
            log=tables.log,
        )
    return Calibration(found, text, figures, base._folder)


def _check_no_training(training: dict[str, Any], **more: Any) -> None:
    """Raises a ValueError for training settings if there is no training."""
    defaults = {"predictor": "ridge", "coverage": 0.99}
    for name, value in (training | more).items():
        if name in defaults:
            given = value != defaults[name]
        else:
            given = len(value) > 0 if hasattr(value, "__len__") else bool(value)
        if given:
            raise ValueError(f"{name} is given without folds, and only folds train routers")


def learning_curve(
    queries: Table,
    outcomes: Table,
    prior: R2Router | Path | None = None,
    *,
    sizes: Sequence[int] | None = None,
    dataset: str = "",
    encoder: LexicalEncoder | None = None,
    holdout: int | None = None,
    seed: int = 0,
    threads: int = 0,
    cost: str = "usd",
    ignore_unknown_models: bool = False,
    progress: Progress = None,
) -> LearningCurve:
    """Compares training on top of a prior and from scratch for increasing numbers of outcomes.

    ``queries`` and ``outcomes`` are tables as in ``train``.

    - ``prior``: a router, a checkpoint folder, or None for the default checkpoint
    - ``sizes``: numbers of queries to train on; None: 50 to 5,000. The number of all training
      queries is added
    - ``encoder``: of the routers that are trained from scratch
    - ``holdout``: one query in this many is held out for evaluation; None: as the prior was
      trained; ``seed`` varies which queries come first
    - ``dataset``, ``threads``, ``cost``, ``progress``: as in ``train``

    Raises as ``train`` and ``evaluate`` do.
    """
    import json

    base = as_router(prior, "prior")
    with Tables() as tables, ProgressBar(progress) as bar:
        checkpoint = base._own_checkpoint()
        data = tables.read(
            queries,
            outcomes,
            checkpoint=checkpoint,
            dataset=dataset,
            cost=cost,
            ignore_unknown_models=ignore_unknown_models,
        )
        recipe = make_recipe(
            encoder=encoder,
            embeddings=None,
            predictor="ridge",
            alphas=(),
            neighbours=(),
            threads=threads,
            progress=bar.function,
            log=tables.log,
        )
        figures, text = _core.learning_curve(
            prior=checkpoint,
            data=data,
            sizes=None if sizes is None else list(sizes),
            holdout=holdout,
            seed=seed,
            recipe=recipe,
        )
    return LearningCurve(json.loads(figures), text)
