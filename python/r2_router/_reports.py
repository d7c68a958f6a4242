"""Reports of training, evaluation, calibration and price changes. Notebooks display them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any

from . import _core
from ._tables import Path, as_path

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

    from ._router import R2Router

__all__ = ["AddedModel", "Calibration", "Evaluation", "PriceChanges", "TaskTraining", "Training"]

_METRICS = ("audc", "qnc", "peak", "c95")
_STYLE = "font-variant-numeric:tabular-nums;text-align:right"


def _pandas() -> Any:
    try:
        import pandas
    except ImportError:
        raise ImportError("to_pandas() needs pandas: pip install pandas") from None
    return pandas


def _axes(ax: Any) -> Any:
    if ax is not None:
        return ax
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        raise ImportError('plot() needs matplotlib: pip install "r2-router[plot]"') from None
    return plt.subplots()[1]


def _shown(value: Any) -> str:
    if value is None:
        return "never"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """An HTML table. Every value is escaped."""
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(_shown(value))}</td>" for value in row) + "</tr>"
        for row in rows
    )
    # The classes keep notebooks from reading text between two dollar signs as a formula.
    return (
        f'<table class="tex2jax_ignore mathjax_ignore" style="{_STYLE}">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def _paragraphs(text: str) -> str:
    return "".join(f"<div>{escape(line)}</div>" for line in text.splitlines())


def _page(body: str) -> str:
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>r2router</title></head><body>{body}</body></html>\n"
    )


def _parse(text: str) -> dict[str, Any]:
    import json

    return dict(json.loads(text))


def _write_json(value: Any) -> str:
    import json

    return json.dumps(value, indent=2) + "\n"


class _Report:
    """A report that can be written to a file."""

    def save_report(self, path: Path) -> None:
        """Writes the report as ``.html``, ``.json`` or ``.txt``."""
        file = as_path("path", path)
        suffix = os.path.splitext(file)[1].lower()
        contents = self._contents()
        if suffix not in contents:
            raise ValueError(f"{file} ends with {suffix!r}: expected {', '.join(contents)}")
        text = contents[suffix]()
        with open(file, "w", encoding="utf-8", newline="") as output:
            output.write(text)

    def _contents(self) -> dict[str, Callable[[], str]]:
        """By suffix, a function that returns the file's text."""
        return {
            ".html": lambda: _page(self._repr_html_()),
            ".json": lambda: _write_json(self._json()),
            ".txt": lambda: str(self).rstrip() + "\n",
        }

    def _json(self) -> Any:
        return self

    def _repr_html_(self) -> str:
        raise NotImplementedError


class Evaluation(_Report):
    """A router and the contenders that it was compared with, on queries with known outcomes.

    Scores are from 0 to 1. Costs on curves are fractions of the best single model's. ``print``
    shows the table of ``r2-router eval``. A notebook displays a shorter one.
    """

    def __init__(self, native: _core.RouterEvaluation, stability: str | None = None) -> None:
        self._native = native
        #: Shares of choices that stay the same when queries are edited; None if not measured.
        self.stability = None if stability is None else _parse(stability)

    @cached_property
    def _figures(self) -> dict[str, Any]:
        return _parse(self._native.json())

    @property
    def queries(self) -> int:
        """Number of evaluated queries."""
        return int(self._figures["queries"])

    @property
    def summary(self) -> str:
        """The possible saving, its significance, and the result of the default setting."""
        return self._native.summary()

    @property
    def best_single(self) -> dict[str, Any]:
        """The best single model: its name, mean score and mean cost for a query."""
        return dict(self._figures["best_single"])

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """For each contender its name ("policy") and metrics; the router is first.

        ``audc``, the area under the deferral curve; ``qnc`` and ``c95``, the lowest cost that
        reaches the best single model's score and 95 % of it, or None; ``peak``, the highest score;
        ``routerarena``; with resamples their 95 % "intervals" and the router's advantage,
        "router_minus_policy".
        """
        return [dict(policy) for policy in self._figures["policies"]]

    def to_dict(self) -> dict[str, Any]:
        """Every figure, as ``r2-router eval --json`` prints it."""
        figures = dict(self._figures)
        if self.stability is not None:
            figures["perturbed"] = dict(self.stability)
        return figures

    def to_pandas(self, table: str = "metrics") -> pandas.DataFrame:
        """A data frame of the ``"metrics"`` of each contender with their intervals; of its
        ``"sweeps"``, a row for each setting; or of the metrics of each of the ``"datasets"``."""
        pandas = _pandas()
        if table == "metrics":
            rows = [_flat(policy) for policy in self._figures["policies"]]
        elif table == "sweeps":
            rows = [
                {"policy": sweep["policy"], **point}
                for sweep in self._figures["sweeps"]
                for point in sweep["points"]
            ]
        elif table == "datasets":
            rows = [
                {"dataset": part["dataset"], "queries": part["queries"], **_flat(policy)}
                for part in self._figures.get("datasets", [])
                for policy in part["policies"]
            ]
        else:
            raise ValueError(f"table is {table!r}: expected 'metrics', 'sweeps' or 'datasets'")
        return pandas.DataFrame(rows)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draws the score that each contender reaches at each cost; single models are dots."""
        ax = _axes(ax)
        cost_key = next(key for key in self._figures["best_single"] if key.startswith("cost_"))
        unit = self._figures["best_single"][cost_key] or 1
        for position, sweep in enumerate(self._figures["sweeps"]):
            points = sorted((point[cost_key] / unit, point["score"]) for point in sweep["points"])
            if len(points) == 1:
                ax.plot(*points[0], "k.")
                ax.annotate(
                    sweep["policy"], points[0], textcoords="offset points", xytext=(4, -3), size=8
                )
                continue
            best, costs, scores = -1.0, [], []
            for cost, score in points:
                if score > best and cost <= 1:
                    best = score
                    costs.append(cost)
                    scores.append(score)
            ax.plot(
                [*costs, 1],
                [*scores, best],
                drawstyle="steps-post" if sweep["policy"] != "random mixing" else "default",
                linewidth=2.5 if position == 0 else 1.2,
                label=sweep["policy"],
            )
        ax.set_xlabel("mean cost, as a share of the best single model's")
        ax.set_ylabel("mean score")
        ax.legend(fontsize=8)
        return ax

    def save_report(self, path: Path) -> None:
        """Writes the report: a page with charts (``.html``), every sweep (``.csv``), every figure
        (``.json``) or the tables (``.txt``)."""
        super().save_report(path)

    def _contents(self) -> dict[str, Callable[[], str]]:
        own = {".html": self._native.html, ".csv": self._native.csv, ".txt": self._native.text}
        return super()._contents() | own

    def _json(self) -> Any:
        return self.to_dict()

    def __str__(self) -> str:
        return self._native.text()

    def __repr__(self) -> str:
        return f"<Evaluation of {len(self.metrics)} contenders on {self.queries} queries>"

    def _repr_html_(self) -> str:
        rows = [[policy["policy"], *map(policy.get, _METRICS)] for policy in self.metrics]
        return _paragraphs(self.summary) + _table(["", *_METRICS], rows)


def _flat(policy: Mapping[str, Any]) -> dict[str, Any]:
    row = {key: value for key, value in policy.items() if not isinstance(value, dict)}
    for prefix, key in (("", "intervals"), ("router_minus_", "router_minus_policy")):
        for metric, (low, high) in policy.get(key, {}).items():
            row[f"{prefix}{metric}_low"], row[f"{prefix}{metric}_high"] = low, high
    return row


class Training(_Report, dict[str, Any]):
    """The report of a training: a dictionary of figures, with the trained ``router``.

    Keys: ``training_queries``, ``held_out_queries``, ``heads``, ``predictor``; what was chosen
    (``alpha`` and all ``alphas``; ``neighbours``, ``weighting`` and all ``neighbour_counts``; or
    ``epochs``); the cross-validated ``metrics``, ``mean_curve``, ``default_lambda``,
    ``default_score`` and ``default_cost`` (a fraction of the best available model's).
    """

    def __init__(
        self,
        figures: Mapping[str, Any],
        text: str,
        router: R2Router,
        evaluate: Callable[[], Evaluation] | None,
    ) -> None:
        super().__init__(figures)
        self._text = text
        self._evaluate = evaluate
        #: The trained router.
        self.router = router

    @cached_property
    def evaluation(self) -> Evaluation:
        """The evaluation on the queries that were held out; computed when it is first used.

        Raises ``ValueError`` if no query was held out.
        """
        if self._evaluate is None:
            raise ValueError(
                "the report is without its data, since it was pickled or is of Statistics: use "
                "r2_router.evaluate(queries, outcomes, report.router)"
            )
        if not self["held_out_queries"]:
            raise ValueError(
                "no query was held out, so the router cannot be evaluated: train with holdout=5, "
                "or evaluate with folds"
            )
        return self._evaluate()

    def __getstate__(self) -> dict[str, Any]:
        # Pickles do not contain the outcomes.
        state = {key: value for key, value in self.__dict__.items() if key != "evaluation"}
        return state | {"_evaluate": None}

    def _settings(self) -> list[dict[str, Any]]:
        return list(self.get("alphas") or self.get("neighbour_counts") or [self["metrics"]])

    def to_pandas(self) -> pandas.DataFrame:
        """A data frame of the settings that were tried, with their cross-validated metrics."""
        return _pandas().DataFrame(self._settings())

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draws the cross-validated area under the deferral curve of each setting."""
        ax = _axes(ax)
        settings = self._settings()
        key = next((key for key in ("alpha", "neighbours") if key in settings[0]), None)
        ax.plot([s[key] if key else 0 for s in settings], [s["audc"] for s in settings], "o")
        ax.axhline(self["mean_curve"]["audc"], linestyle="--", color="grey", label="mean curve")
        if key:
            ax.set_xscale("log")
        ax.set_xlabel(key or "")
        ax.set_ylabel("AUDC, cross-validated")
        ax.legend()
        return ax

    def save_report(self, path: Path) -> None:
        """Writes the report of ``evaluation``, as ``Evaluation.save_report`` does."""
        super().save_report(path)

    def _contents(self) -> dict[str, Callable[[], str]]:
        return self.evaluation._contents()

    def __str__(self) -> str:
        return self._text

    def _repr_html_(self) -> str:
        settings = self._settings()
        rows = [list(setting.values()) for setting in settings]
        return _paragraphs(self._text) + _table(list(settings[0]), rows)


class TaskTraining(_Report, dict[str, Any]):
    """The report of a training on results by task: a dictionary, with the trained ``router``.

    Keys: ``prompts``, ``sources``; on sources that the recogniser was not trained on, its
    ``accuracy``, ``macro_f1``, ``calibration_error`` and for each of ``tasks`` the ``prompts``,
    ``recall`` and ``precision``; ``default_lambda`` with ``default_score`` and
    ``default_cost_usd``; ``best_model`` with ``best_score`` and ``best_cost_usd``.
    """

    def __init__(self, figures: Mapping[str, Any], text: str, router: R2Router) -> None:
        super().__init__(figures)
        self._text = text
        #: The trained router.
        self.router = router

    def to_pandas(self) -> pandas.DataFrame:
        """A data frame with a row for each task."""
        return _pandas().DataFrame(
            [{"task": task, **figures} for task, figures in self["tasks"].items()]
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draws the share of each task's prompts that were recognised."""
        ax = _axes(ax)
        tasks = self["tasks"]
        ax.barh(list(tasks), [figures["recall"] for figures in tasks.values()])
        ax.set_xlabel("recall on unseen sources")
        return ax

    def __str__(self) -> str:
        return self._text

    def _repr_html_(self) -> str:
        columns = ["task", "prompts", "recall", "precision"]
        rows = [[task, *figures.values()] for task, figures in self["tasks"].items()]
        return _paragraphs(self._text) + _table(columns, rows)


class AddedModel(_Report, dict[str, Any]):
    """The report of adding a model: a dictionary of figures, with the extended ``router``.

    Keys: ``model``, ``probes``; for ``quality`` and ``tokens`` the chosen ``alpha`` and
    ``share_penalty``, the cross-validated ``error``, the ``mean_error`` of predicting the mean and
    the mixture's ``shares``; ``full_training`` compares with heads fitted to all outcomes.
    """

    def __init__(self, figures: Mapping[str, Any], text: str, router: R2Router) -> None:
        super().__init__(figures)
        self._text = text
        #: The router with the new model.
        self.router = router

    def to_pandas(self) -> pandas.DataFrame:
        """A data frame with a row for the quality heads and one for the length heads."""
        rows = []
        for target in ("quality", "tokens"):
            figures = {key: value for key, value in self[target].items() if key != "shares"}
            rows.append({"target": target, **figures, **self[target]["shares"]})
        return _pandas().DataFrame(rows)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draws the shares of the existing models in the new one's quality heads."""
        ax = _axes(ax)
        shares = self["quality"]["shares"]
        ax.barh(list(shares), list(shares.values()))
        ax.set_xlabel(f"share in the quality heads of {self['model']}")
        return ax

    def __str__(self) -> str:
        return self._text

    def _repr_html_(self) -> str:
        keys = ("alpha", "share_penalty", "error", "mean_error")
        rows = [[target, *(self[target][key] for key in keys)] for target in ("quality", "tokens")]
        return _paragraphs(self._text) + _table(["", *keys], rows)


class AddedFromTasks(_Report, dict[str, Any]):
    """The report of adding a model from its results by task, with the extended ``router``.

    Keys: ``model``; the number of ``tasks`` with a result, and of ``estimated_tasks``;
    ``mean_score`` and ``mean_tokens`` over the tasks.
    """

    def __init__(self, figures: Mapping[str, Any], text: str, router: R2Router) -> None:
        super().__init__(figures)
        self._text = text
        #: The router with the new model.
        self.router = router

    def to_pandas(self) -> pandas.DataFrame:
        """A data frame with one row."""
        return _pandas().DataFrame([dict(self)])

    def __str__(self) -> str:
        return self._text

    def _repr_html_(self) -> str:
        return _paragraphs(self._text)


class LearningCurve(_Report, dict[str, Any]):
    """Areas under the deferral curve for increasing numbers of outcomes, as a dictionary.

    Keys: ``held_out_queries`` that were evaluated; ``mean_curve`` and ``prior``, with ``audc`` and
    ``peak``; ``points``, each with the number of ``queries`` trained on, ``prior`` (on top of it),
    its ``prior_alpha``, and ``scratch`` (without it; None: too few queries).
    """

    def __init__(self, figures: Mapping[str, Any], text: str) -> None:
        super().__init__(figures)
        self._text = text

    def _rows(self) -> list[list[Any]]:
        rows: list[list[Any]] = [[0, self["prior"]["audc"], None]]
        for point in self["points"]:
            scratch = point["scratch"]
            rows.append([point["queries"], point["prior"]["audc"], scratch and scratch["audc"]])
        return rows

    def to_pandas(self) -> pandas.DataFrame:
        """A data frame with a row for each number of queries."""
        return _pandas().DataFrame(self._rows(), columns=["queries", "prior", "scratch"])

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draws the areas over the number of queries."""
        ax = _axes(ax)
        queries, prior, scratch = zip(*self._rows(), strict=True)
        ax.plot(queries, prior, marker="o", label="on the prior")
        ax.plot(
            queries,
            [float("nan") if y is None else y for y in scratch],
            marker="o",
            label="from scratch",
        )
        ax.axhline(self["mean_curve"]["audc"], linestyle=":", label="mean curve")
        ax.set_xscale("symlog", linthresh=50)
        ax.set_xlabel("queries with outcomes")
        ax.set_ylabel("area under the deferral curve")
        ax.legend()
        return ax

    def __str__(self) -> str:
        return self._text

    def _repr_html_(self) -> str:
        return _paragraphs(self._text.split("\n\n")[0]) + _table(
            ["queries", "on the prior", "from scratch"], self._rows()
        )


class Calibration(_Report):
    """A setting that meets a target, with the resulting cost and quality.

    To use it, pass ``**calibration.constraints`` to a router's methods, or ``policy=`` with the
    file that ``save_policy`` writes.
    """

    def __init__(self, policy: str, text: str, figures: Mapping[str, Any], folder: str) -> None:
        self._policy = policy
        self._text = text
        self._folder = folder
        #: ``setting``, ``cost_usd`` and ``quality`` per query, each a dictionary of ``value``,
        #: ``low`` and ``high`` (95 % bootstrap interval); ``realised``: whether these are observed
        #: figures; ``predicted_cost_usd``, ``predicted_quality``, ``best_quality``; the number of
        #: ``queries``, and of ``incomplete`` queries that were left out.
        self.figures = dict(figures)

    @property
    def policy(self) -> dict[str, Any]:
        """The policy as a dictionary; "calibration" records the target and the figures."""
        return _parse(self._policy)

    @property
    def constraints(self) -> dict[str, Any]:
        """The policy's settings as keywords of a router's methods."""
        return {key: value for key, value in self.policy.items() if key != "calibration"}

    def save_policy(self, path: Path | None = None, *, name: str | None = None) -> str:
        """Writes the policy to ``path``, or under ``name`` into the checkpoint's folder.

        Returns the file's path.
        """
        if (path is None) == (name is None):
            raise ValueError("expected either a path or a name for the policy")
        if name is not None:
            if not self._folder:
                raise ValueError(
                    "the router has no folder for a policy: save it with save_pretrained() and "
                    "load that, or give a path"
                )
            path = _core.named_policy_path(name, self._folder)
            os.makedirs(os.path.dirname(path), exist_ok=True)
        assert path is not None
        file = os.fspath(path)
        temporary = f"{file}.tmp-{os.getpid()}"
        with open(temporary, "w", encoding="utf-8") as output:
            output.write(self._policy)
        os.replace(temporary, file)
        return file

    def to_pandas(self) -> pandas.DataFrame:
        """A data frame of the figures with their intervals."""
        rows = [{"figure": key, **self.figures[key]} for key in ("setting", "cost_usd", "quality")]
        return _pandas().DataFrame(rows).set_index("figure")

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draws the mean cost and quality at the setting, with their intervals."""
        ax = _axes(ax)
        cost, quality = self.figures["cost_usd"], self.figures["quality"]
        ax.errorbar(
            cost["value"],
            quality["value"],
            xerr=[[max(0, cost["value"] - cost["low"])], [max(0, cost["high"] - cost["value"])]],
            yerr=[
                [max(0, quality["value"] - quality["low"])],
                [max(0, quality["high"] - quality["value"])],
            ],
            fmt="o",
            capsize=3,
        )
        ax.set_xlabel("mean cost of a query, USD")
        ax.set_ylabel("mean quality")
        return ax

    def _json(self) -> Any:
        return self.figures

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"<Calibration on {self.figures['queries']} queries: {self.constraints}>"

    def _repr_html_(self) -> str:
        rows = [
            [key, *(self.figures[key][part] for part in ("value", "low", "high"))]
            for key in ("setting", "cost_usd", "quality")
        ]
        return _table(["", "value", "low", "high"], rows)


class PriceChanges(_Report):
    """The differences between a pool and a catalogue."""

    def __init__(
        self,
        before: str,
        after: str,
        changes: Sequence[str],
        written: bool,
        *,
        large_changes: Sequence[str] = (),
        retiring: Sequence[str] = (),
        unlisted: Sequence[str] = (),
    ) -> None:
        self._before = before
        self._after = after
        #: A line for each change.
        self.changes = list(changes)
        #: The changes in which a price becomes more than ten times higher or lower.
        self.large_changes = list(large_changes)
        #: Models whose last day is within 30 days.
        self.retiring = list(retiring)
        #: Models that the catalogue does not list.
        self.unlisted = list(unlisted)
        #: Whether the pool's file has been updated.
        self.written = written

    @property
    def pool(self) -> dict[str, Any]:
        """The pool with the changes, as a dictionary that ``train`` and other functions accept."""
        return _parse(self._after)

    def to_pandas(self) -> pandas.DataFrame:
        """A data frame of the old and new prices of each model, USD per million tokens."""
        rows = []
        before = _parse(self._before)["models"]
        for name, model in self.pool["models"].items():
            row: dict[str, Any] = {"model": name, "available": model.get("available", True)}
            for kind in ("input", "output"):
                key = f"{kind}_price_per_million"
                row[f"{kind}_before"], row[f"{kind}_after"] = before[name].get(key), model.get(key)
            rows.append(row)
        return _pandas().DataFrame(rows)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draws each model's output price before and after."""
        ax = _axes(ax)
        rows = self.to_pandas()
        ax.plot(rows["output_before"], rows["model"], "o", color="grey", label="before")
        ax.plot(rows["output_after"], rows["model"], "o", label="after")
        ax.set_xlabel("USD per million output tokens")
        ax.legend()
        return ax

    def _json(self) -> Any:
        return self.changes

    def __str__(self) -> str:
        return "\n".join(self.changes) or "Nothing has changed."

    def __repr__(self) -> str:
        return f"<PriceChanges: {len(self.changes)}>"

    def _repr_html_(self) -> str:
        return _paragraphs(str(self))
