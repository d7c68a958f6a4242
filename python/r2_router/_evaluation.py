"""How good a router is on queries with known outcomes, and the setting that meets a target."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from . import _core
from ._progress import Progress, ProgressBar
from ._reports import Calibration, Evaluation
from ._router import R2Router
from ._routing import logger
from ._tables import Path, Pool, Table, Tables, as_rows
from ._texts import as_names
from ._train import LexicalEncoder, embed_with, make_recipe, native_of
from ._types import Strings

__all__ = ["calibrate", "compare", "evaluate"]


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
    """Compares a router, or with ``folds`` a way of training one, with others on known outcomes.

    ``queries`` and ``outcomes`` are tables as in ``train``; ``queries=None``: ``outcomes`` has
    both.

    Without ``folds``, evaluates ``router`` (a router, a checkpoint folder, or None for the default
    checkpoint) on the queries that its training kept out: one in ``holdout``, None being what the
    checkpoint was trained with, and 0 all queries.

    With ``folds``, every query is routed by a router that was trained on the other folds, so that
    no checkpoint is needed: ``pool``, ``models``, ``coverage``, ``token_limits``, ``encoder``,
    ``augment``, ``predictor``, ``alphas``, ``neighbours`` and ``threads`` are those of ``train``.

    - ``against``: contenders to compare with, such as ``["mean-curve", "knn-20", "models"]``; with
      ``folds`` also ``"ridge-router"``, ``"knn-router"`` and ``"mlp-router"``; empty: the usual
      ones
    - ``dataset``: use only queries whose ``dataset`` begins with this; ``by_dataset``: also
      evaluate each dataset on its own
    - ``embeddings``: a row for each row of ``queries``; None: the router makes them
    - ``available_only``: leave out models that are marked as unavailable
    - ``perturb``: also measure how often choices stay when queries are edited
    - ``cost``: ``"usd"``, ``"length"`` (output tokens) or ``"latency"`` (seconds)
    - ``resamples``: of the bootstrap for 95 % intervals, varied by ``seed``; 0: no intervals
    - ``progress``: as in ``train``

    Ctrl-C ends the evaluation. Raises ``DataError`` for rows that are wrong, naming the table and
    the row (from 1), and ``ValueError`` for an unknown contender or options out of range.
    """
    with Tables() as tables, ProgressBar(progress) as bar:
        log = _logger(tables)
        options = _core.EvaluationOptions(
            name="router",
            rivals=[],
            against=as_names("against", against),
            available_only=available_only,
            by_dataset=by_dataset,
            resamples=resamples,
            seed=seed,
            progress=bar.function,
            log=log,
        )
        if folds is not None:
            _check_folds(folds, router, pool, holdout, perturb)
            assert pool is not None
            recipe = make_recipe(
                encoder=encoder,
                embeddings=embeddings,
                augment=augment,
                predictor=predictor,
                alphas=alphas,
                neighbours=neighbours,
                folds=5,
                holdout=0,
                seed=0,
                threads=threads,
                progress=bar.function,
                log=log,
            )
            data = _read(
                tables,
                queries,
                outcomes,
                tables.pool(pool),
                None,
                dataset,
                embeddings,
                cost,
                ignore_unknown_models,
                log,
                as_names("models", models),
                coverage,
                token_limits,
            )
            return Evaluation(
                _core.cross_validate(data=data, recipe=recipe, folds=folds, options=options)
            )
        if pool is not None:
            raise ValueError(
                "pool is given without folds: a router's own models and prices are used; load it "
                "with other prices, or give folds"
            )
        base = native_of(router)
        data = _read(
            tables,
            queries,
            outcomes,
            "",
            base,
            dataset,
            embeddings,
            cost,
            ignore_unknown_models,
            log,
        )
        embed_with(base, data, embeddings)
        result = _core.evaluate(
            checkpoint=base._checkpoint, data=data, holdout=holdout, options=options
        )
        stability = None
        if perturb:
            stability = json.loads(
                _core.measure_stability(checkpoint=base._checkpoint, data=data, holdout=holdout)
            )
        return Evaluation(result, stability)


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
    """Compares routers by name on one set of outcomes.

    ``contenders``: routers or checkpoint folders; the first is the one that the others are measured
    against (``router_minus_policy``). Its models are those of the outcomes that are used. All must
    use their own encoder, or the same ``embeddings``. ``against``: further contenders as in
    ``evaluate``, whose other keywords these are. ``holdout=None`` is the first one's: use data that
    none of the routers was trained on, or the same split for all.
    """
    if not isinstance(contenders, Mapping) or not contenders:
        raise ValueError(
            f"contenders is {contenders!r}: expected a dictionary of routers or checkpoint folders "
            "by name"
        )
    routers = {name: native_of(router) for name, router in contenders.items()}
    (first, base), *others = routers.items()
    with Tables() as tables, ProgressBar(progress) as bar:
        log = _logger(tables)
        data = _read(
            tables,
            queries,
            outcomes,
            "",
            base,
            dataset,
            embeddings,
            cost,
            ignore_unknown_models,
            log,
        )
        for name, router in routers.items():
            if embeddings is None and (
                router._overrides_embed() or not router._checkpoint.has_encoder
            ):
                raise ValueError(
                    f"the contender {name!r} does not use an encoder of its checkpoint: pass the "
                    "embeddings of the queries, which all contenders then use"
                )
        options = _core.EvaluationOptions(
            name=first,
            rivals=[(name, router._checkpoint) for name, router in others],
            against=as_names("against", against),
            available_only=available_only,
            by_dataset=by_dataset,
            resamples=resamples,
            seed=seed,
            progress=bar.function,
            log=log,
        )
        return Evaluation(
            _core.evaluate(checkpoint=base._checkpoint, data=data, holdout=holdout, options=options)
        )


def calibrate(
    queries: Table,
    target: str,
    router: R2Router | Path | None = None,
    *,
    outcomes: Table | None = None,
    policy: str | None = None,
    setting: str = "willingness-to-pay",
    dataset: str = "",
    embeddings: Any = None,
    holdout: int | None = None,
    resamples: int = 1000,
    seed: int = 0,
    ignore_unknown_models: bool = False,
) -> Calibration:
    """Finds the setting of a router that meets a target on the average of the queries.

    ``target``: a cost in USD for 1,000 queries (``"0.05/1k"``) or for one (``"0.00005 USD"``), a
    share of the best quality (``"95% of best"``) or a quality (``"quality 0.7"``).
    ``queries``: a table as in ``train``. With ``outcomes`` the target is met by real costs and
    scores of the queries that training kept out (``holdout`` as in ``evaluate``), and otherwise by
    predictions for all of them.

    - ``router``: a router, a checkpoint folder, or None for the default checkpoint
    - ``policy``: a policy file, or a name in the checkpoint's folder, whose constraints shall hold
    - ``setting``: ``"willingness-to-pay"``, the cheapest way to a mean; or ``"fraction"``, the
      share of its best quality that every query gets
    - ``resamples``: of the bootstrap for 95 % intervals, 1 to 100,000, varied by ``seed``

    Raises ``ValueError`` for a target that cannot be met, with the range that can.
    """
    if setting not in ("willingness-to-pay", "fraction"):
        raise ValueError(f"setting is {setting!r}: expected 'willingness-to-pay' or 'fraction'")
    base = native_of(router)
    with Tables() as tables:
        log = _logger(tables)
        if outcomes is None:
            for given, name in ((dataset, "dataset"), (holdout, "holdout")):
                if given:
                    raise ValueError(f"{name} is given, which needs outcomes")
            data = _core.read_queries(tables.read("queries", queries))
            if embeddings is not None:
                data.set_embeddings(as_rows(embeddings))
        else:
            data = _read(
                tables,
                queries,
                outcomes,
                "",
                base,
                dataset,
                embeddings,
                "usd",
                ignore_unknown_models,
                log,
            )
        embed_with(base, data, embeddings)
        json_policy, text, figures = _core.calibrate(
            checkpoint=base._checkpoint,
            data=data,
            holdout=holdout,
            target=target,
            fraction=setting == "fraction",
            resamples=resamples,
            seed=seed,
            policy=None if policy is None else _core.load_policy(policy, base._folder),
            log=log,
        )
    return Calibration(json_policy, text, figures, base._folder)


def _check_folds(
    folds: int,
    router: R2Router | Path | None,
    pool: Pool | None,
    holdout: int | None,
    perturb: bool,
) -> None:
    if router is not None:
        raise ValueError("router and folds are given: folds train routers of their own")
    if holdout is not None or perturb:
        raise ValueError("holdout and perturb are for the evaluation of a router, not for folds")
    if pool is None:
        raise ValueError("folds needs pool: the models and their prices")
    if not 2 <= folds <= 100:
        raise ValueError(f"folds is {folds}: expected 2 to 100")


def _read(
    tables: Tables,
    queries: Table,
    outcomes: Table,
    pool: str,
    router: R2Router | None,
    dataset: str,
    embeddings: Any,
    cost: str,
    ignore_unknown_models: bool,
    log: Any,
    models: Sequence[str] = (),
    coverage: float = 0.99,
    token_limits: Sequence[int] = (),
) -> _core.Data:
    queries_file, outcomes_file = tables.both(queries, outcomes)
    return _core.read_data(
        queries=queries_file,
        outcomes=outcomes_file,
        pool=pool,
        checkpoint=None if router is None else router._checkpoint,
        model="",
        dataset=dataset,
        embeddings=None if embeddings is None else as_rows(embeddings),
        cost=cost,
        ignore_unknown_models=ignore_unknown_models,
        sources=tables.sources,
        models=list(models),
        coverage=coverage,
        token_limits=token_limits,
        log=log,
    )


def _logger(tables: Tables) -> Any:
    return lambda level, message: logger.log(level, tables.original(message))
