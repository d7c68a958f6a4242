"""Plots of decisions. Needs matplotlib, which the ``plot`` extra installs.

Plot why a decision was made:

    from r2_router.plotting import plot_curves

    plot_curves(router.route_text("Solve the equation: 2x + 5 = 13"))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ._views import (
    Option,
    budget_label,
    budget_text,
    by_model,
    dollars,
    is_unlimited,
    lambda_of,
    lambda_text,
    options_of,
)

try:
    import matplotlib.pyplot as plt
    from matplotlib import patheffects
    from matplotlib.lines import Line2D
    from matplotlib.ticker import LogFormatterSciNotation, LogLocator
    from matplotlib.transforms import Bbox
except ImportError as error:
    raise ImportError(
        "r2_router.plotting draws with matplotlib, which is not installed; "
        "install it with: pip install matplotlib"
    ) from error

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_curves"]

# Okabe and Ito's colours, which colour-blind readers can distinguish
# (https://jfly.uni-koeln.de/color/), without yellow, which is invisible on white paper.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "*", "d", "8")
_DASHES = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)))
_GREY = "#8a8a8a"
_MOST_LISTED = 12  # models in a legend


def plot_curves(
    decision: Option,
    ax: Axes | None = None,
    *,
    lambda_val: float | None = None,
    model_configs: Mapping[str, Mapping[str, Any]] | None = None,
    highlight: int = 5,
    legend: bool = True,
) -> Axes:
    """Draws each model's predicted quality against its predicted cost, budget by budget.

    A ring marks the chosen pair. The line through it joins all points of equal risk, (1 - lambda) *
    quality - lambda * cost: a point above it would have been chosen instead. Hollow markers are
    answers without a token limit. The cost axis is logarithmic, and includes zero if a pair is
    free.

    Args:
        decision: what ``route`` or ``route_text`` returned, or any mapping with its keys.
        ax: where to draw; None: a new figure.
        lambda_val: the trade-off, if the decision does not contain it; without it there is no line
            of equal risk.
        model_configs: as ``R2Router.model_configs``; None: the decision's own. Its order fixes each
            model's colour and marker, so that plots of one router agree; unavailable models are
            grey.
        highlight: how many models, best first, to highlight; the others are muted.
        legend: list the best models to the right of the plot, at most 12 of them, best first.

    Returns:
        The axes drawn on.
    """
    models = by_model(decision)
    lambda_val = lambda_of(decision, lambda_val)
    if model_configs is None:
        model_configs = getattr(decision, "model_configs", None) or {}
    names = [*model_configs, *sorted(name for name in models if name not in model_configs)]
    styles = {name: _style(i) for i, name in enumerate(names)}

    if ax is None:
        _, ax = plt.subplots(figsize=(8.6, 4.6), layout="constrained")
    _set_up_axes(ax, options_of(decision))

    handles = []
    for name, options in models.items():
        chosen = name == decision["model"]
        available = bool(model_configs.get(name, {}).get("available", True))
        strong = chosen or (available and highlight > 0)
        highlight -= strong
        handles.append(_draw_model(ax, name, options, styles[name], chosen, strong, available))
    if len(handles) > _MOST_LISTED:
        more = len(handles) - _MOST_LISTED + 1
        handles[_MOST_LISTED - 1 :] = [Line2D([], [], linestyle="", label=f"{more} more models")]
    handles.append(_ring(ax, decision))
    if any(map(is_unlimited, options_of(decision))):
        handles.append(_unlimited_key(ax))
    if lambda_val is not None:
        handles.append(_draw_equal_risk(ax, decision, lambda_val))

    title = "" if lambda_val is None else f"λ = {lambda_text(lambda_val)}: "
    title += f"{decision['model']}, {budget_text(decision)}\n"
    title += f"quality {decision['predicted_quality']:.2f}, "
    title += f"{dollars(1000 * decision['predicted_cost_usd'])} per 1,000 queries"
    ax.set_title(title, loc="left", fontsize="medium", parse_math=False)
    if legend:
        key = ax.legend(
            handles=handles,
            loc="upper left",
            bbox_to_anchor=(1.01, 1.0),
            borderaxespad=0,
            frameon=False,
            fontsize="small",
        )
        for text in key.get_texts():
            text.set_parse_math(False)  # a name may have dollar signs
    _label_budgets(ax, models[decision["model"]])
    return ax


def _style(index: int) -> dict[str, Any]:
    """Colour and marker differ between models; dashes mark repeated colours."""
    return {
        "color": _COLOURS[index % len(_COLOURS)],
        "marker": _MARKERS[index % len(_MARKERS)],
        "linestyle": _DASHES[index // len(_COLOURS) % len(_DASHES)],
    }


def _set_up_axes(ax: Axes, options: Sequence[Option]) -> None:
    costs = [float(option["predicted_cost_usd"]) for option in options]
    paid = [cost for cost in costs if cost > 0]
    ax.set_xlabel("predicted cost of the query (USD, logarithmic)")
    if paid:
        low, high = min(paid), max(paid)
        margin = max((high / low) ** 0.1, (10 * low / high) ** 0.5)  # shows a decade or more
        if len(paid) == len(costs):
            ax.set_xscale("log")
            ax.set_xlim(low / margin, high * margin)
            if high / low < 100:  # two powers of ten may not be visible: halve the steps
                ax.xaxis.set_minor_locator(LogLocator(subs=(3,)))
                ax.xaxis.set_minor_formatter(LogFormatterSciNotation(minor_thresholds=(9, 9)))
        else:
            ax.set_xscale("symlog", linthresh=low, linscale=0.5)
            ax.set_xlim(-0.5 * low, high * margin)
    else:
        ax.set_xlim(-0.5, 1)
        ax.set_xticks([0])
        ax.set_xlabel("predicted cost of the query (USD)")
    ax.set_ylim(-0.03, 1.12)  # above 1: room for a label
    ax.set_yticks(np.linspace(0, 1, 6))
    ax.set_ylabel("predicted quality")
    ax.grid(True, color=_GREY, alpha=0.2, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


def _draw_model(
    ax: Axes,
    name: str,
    options: Sequence[Option],
    style: dict[str, Any],
    chosen: bool,
    strong: bool,
    available: bool,
) -> Line2D:
    """Draws one model's curve and returns its entry for the legend."""
    look = style | {
        "linewidth": 2.4 if chosen else 1.4 if strong else 0.9,
        "markersize": 6.5 if chosen else 5.5 if strong else 4,
        "alpha": 1 if strong else 0.45,
        "zorder": 4 if chosen else 3 if strong else 2,
    }
    if not available:
        look |= {"color": _GREY, "alpha": 0.6}
        name += " (unavailable)"
    limited = sorted((o for o in options if not is_unlimited(o)), key=lambda o: int(o["budget"]))
    x = [float(option["predicted_cost_usd"]) for option in limited]
    y = [float(option["predicted_quality"]) for option in limited]
    (curve,) = ax.plot(x, y, label=name, **look)
    for option in options:
        if not is_unlimited(option):
            continue
        end = (float(option["predicted_cost_usd"]), float(option["predicted_quality"]))
        # The end of the curve. It is not connected if its prediction is shorter than the largest
        # limit, since the line would run backwards.
        if x and end[0] >= x[-1]:
            ax.plot((x[-1], end[0]), (y[-1], end[1]), **look | {"marker": ""})
        ax.plot(*end, **look | {"linestyle": "", "markerfacecolor": ax.get_facecolor()})
    return curve


def _draw_equal_risk(ax: Axes, decision: Option, lambda_val: float) -> Line2D:
    look: dict[str, Any] = {
        "color": plt.rcParams["text.color"],
        "linestyle": (0, (6, 3)),
        "linewidth": 1,
        "zorder": 3.5,
        "label": "equal risk (above: better)",
    }
    cost, quality = float(decision["predicted_cost_usd"]), float(decision["predicted_quality"])
    if lambda_val == 1:
        return ax.axvline(cost, **look)
    # Many points, since a straight line is curved on a logarithmic axis.
    left, right = ax.get_xlim()
    transform = ax.transData
    ends = transform.transform([(left, 0), (right, 0)])[:, 0]
    pixels = np.column_stack([np.linspace(ends[0], ends[1], 400), np.zeros(400)])
    x = transform.inverted().transform(pixels)[:, 0]
    (line,) = ax.plot(x, quality + lambda_val / (1 - lambda_val) * (x - cost), **look)
    return line


def _ring(ax: Axes, decision: Option) -> Line2D:
    look: dict[str, Any] = {
        "linestyle": "",
        "marker": "o",
        "markersize": 15,
        "markerfacecolor": "none",
        "markeredgecolor": plt.rcParams["text.color"],
        "markeredgewidth": 1.6,
        "zorder": 5,
    }
    ax.plot(float(decision["predicted_cost_usd"]), float(decision["predicted_quality"]), **look)
    return Line2D([], [], label="chosen", **look | {"markersize": 9})


def _unlimited_key(ax: Axes) -> Line2D:
    look: dict[str, Any] = {"color": _GREY, "linestyle": "", "marker": "o", "markersize": 5.5}
    return Line2D([], [], label="unlimited budget", markerfacecolor=ax.get_facecolor(), **look)


def _label_budgets(ax: Axes, options: Sequence[Option]) -> None:
    """Labels budgets along one curve: the first option's, and others if there is room."""
    figure = ax.figure.canvas.figure
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)  # lays out the axes, so that distances are right
    first, *others = options
    others.sort(key=lambda option: (not is_unlimited(option), option["budget"]))
    points = figure.dpi / 72
    taken: list[Bbox] = []
    for option in (first, *others):
        chosen = option is first
        text = budget_label(option)
        at = (float(option["predicted_cost_usd"]), float(option["predicted_quality"]))
        # A curve rises to the right: there is room above and to the left of its points.
        offset, side = ((0, 10), "center") if chosen else ((-4, 4), "right")
        x, y = ax.transData.transform(at) / points + offset
        width = 6 * len(text)
        box = Bbox.from_bounds(x - width / (2 if chosen else 1) - 7, y, width + 14, 14)
        if any(box.overlaps(other) for other in taken):
            continue
        taken.append(box)
        if chosen:
            taken.append(Bbox.from_bounds(x - 9, y - 20, 18, 20))  # its ring
        ax.annotate(
            text,
            at,
            xytext=offset,
            textcoords="offset points",
            ha=side,
            fontsize="small",
            fontweight="bold" if chosen else "normal",
            path_effects=[patheffects.withStroke(linewidth=3, foreground=ax.get_facecolor())],
            zorder=6,
        )
