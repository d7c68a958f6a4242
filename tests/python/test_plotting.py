"""plot_curves, checked by the data of what it drew and by the pixels of what came out."""

from __future__ import annotations

import importlib
import io
import sys
from typing import Any

import numpy as np
import pytest
from sample_decisions import LIMITS, MODELS, make_decision, risk

matplotlib = pytest.importorskip("matplotlib", reason="needs matplotlib, of the test extra")
matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.colors import to_hex  # noqa: E402

from r2_router.plotting import plot_curves  # noqa: E402

EQUAL_RISK = "equal risk (above: better)"


@pytest.fixture(autouse=True)
def _close_figures() -> Any:
    yield
    plt.close("all")


def pixels(ax: Any) -> np.ndarray:
    buffer = io.BytesIO()
    ax.figure.savefig(buffer, format="png", dpi=60)
    buffer.seek(0)
    return plt.imread(buffer)


def line(ax: Any, label: str) -> Any:
    (found,) = [drawn for drawn in ax.get_lines() if drawn.get_label() == label]
    return found


def has_line(ax: Any, label: str) -> bool:
    return any(drawn.get_label() == label for drawn in ax.get_lines())


def points(ax: Any, marker_face: str | None = None) -> set[tuple[float, float]]:
    """Where lone markers stand: those with this face colour."""
    return {
        (float(drawn.get_xdata()[0]), float(drawn.get_ydata()[0]))
        for drawn in ax.get_lines()
        if len(drawn.get_xdata()) == 1 and drawn.get_markerfacecolor() == marker_face
    }


def test_each_curve_is_one_models_quality_against_its_cost() -> None:
    decision = make_decision()
    ax = plot_curves(decision, lambda_val=0.999)
    for name in MODELS:
        options = {o["budget"]: o for o in decision["all_options"] if o["model"] == name}
        drawn = line(ax, name)
        assert list(drawn.get_xdata()) == [options[b]["predicted_cost_usd"] for b in LIMITS]
        assert list(drawn.get_ydata()) == [options[b]["predicted_quality"] for b in LIMITS]
    assert ax.get_xscale() == "log"
    unlimited = {
        (o["predicted_cost_usd"], o["predicted_quality"])
        for o in decision["all_options"]
        if o["budget"] == "unlimited"
    }
    assert points(ax, ax.get_facecolor()) == unlimited


def test_chosen_pair_is_ringed_and_labelled() -> None:
    decision = make_decision()
    ax = plot_curves(decision, lambda_val=0.999)
    chosen = (decision["predicted_cost_usd"], decision["predicted_quality"])
    assert points(ax, "none") == {chosen}
    (label,) = [text for text in ax.texts if text.get_fontweight() == "bold"]
    assert label.xy == chosen
    assert label.get_text() == f"{decision['budget']:,}"
    assert decision["model"] in ax.get_title(loc="left")
    assert "λ = 0.999" in ax.get_title(loc="left")


@pytest.mark.parametrize("lambda_val", [0.0, 0.3, 0.999, 0.99999])
def test_line_joins_equal_risk_and_nothing_lies_above_it(lambda_val: float) -> None:
    decision = make_decision(lambda_val)
    x, y = line(plot_curves(decision, lambda_val=lambda_val), EQUAL_RISK).get_data()
    np.testing.assert_allclose(
        (1 - lambda_val) * y - lambda_val * x, decision["risk"], rtol=1e-9, atol=1e-15
    )
    for option in decision["all_options"]:
        highest = np.interp(option["predicted_cost_usd"], x, y)
        assert option["predicted_quality"] <= highest + 1e-3 * max(1, abs(highest))


def test_line_is_upright_at_lambda_one() -> None:
    decision = make_decision(1.0)
    x = line(plot_curves(decision, lambda_val=1.0), EQUAL_RISK).get_xdata()
    assert list(x) == [decision["predicted_cost_usd"]] * 2


def test_no_line_where_lambda_is_not_known() -> None:
    ax = plot_curves(make_decision())
    assert not has_line(ax, EQUAL_RISK)
    assert "λ" not in ax.get_title(loc="left")


def test_lambda_comes_from_the_decision() -> None:
    class Decision(dict[str, Any]):
        lambda_val = 0.9

    assert "λ = 0.9:" in plot_curves(Decision(make_decision(0.9))).get_title(loc="left")
    ax = plot_curves(make_decision(0.9) | {"lambda": 0.9})
    assert "λ = 0.9:" in ax.get_title(loc="left")


def free(decision: dict[str, Any], *names: str) -> dict[str, Any]:
    options = [
        option | {"predicted_cost_usd": 0.0} if option["model"] in names else option
        for option in decision["all_options"]
    ]
    options = [option | {"risk": risk(option, 0.999)} for option in options]
    options.sort(key=lambda option: -option["risk"])
    return options[0] | {"all_options": options}


def test_zero_cost_has_a_place_on_the_axis() -> None:
    ax = plot_curves(free(make_decision(), "small"), lambda_val=0.999)
    at_zero, one = ax.transData.transform([(0, 0), (1e-5, 0)])[:, 0]
    left, right = ax.bbox.x0, ax.bbox.x1
    assert left < at_zero < one < right
    assert set(line(ax, "small").get_xdata()) == {0}
    assert 0 in ax.get_xticks()


def test_everything_free() -> None:
    ax = plot_curves(free(make_decision(), *MODELS), lambda_val=0.999)
    assert pixels(ax).std() > 0.02
    assert "logarithmic" not in ax.get_xlabel()


@pytest.mark.parametrize(
    ("limits", "unlimited"), [((100,), False), ((), True), ((100,), True)], ids=str
)
@pytest.mark.parametrize("models", [None, {"only": (0.5, 0.5, 50.0)}], ids=["three", "one"])
def test_few_budgets_and_models(limits: tuple[int, ...], unlimited: bool, models: Any) -> None:
    decision = make_decision(models=models, limits=limits, unlimited=unlimited)
    ax = plot_curves(decision, lambda_val=0.999)
    low, high = ax.get_xlim()
    costs = [option["predicted_cost_usd"] for option in decision["all_options"]]
    assert low < min(costs) <= max(costs) < high
    ax.figure.canvas.draw()
    labelled = [t for t in ax.get_xticklabels(which="both") if t.get_text()]
    assert len([t for t in labelled if low <= t.get_position()[0] <= high]) >= 1


def test_decision_without_all_options() -> None:
    decision = make_decision()
    del decision["all_options"]
    assert has_line(plot_curves(decision), decision["model"])


def test_unavailable_models_are_grey_and_say_so() -> None:
    configs = {name: {"available": name != "large"} for name in MODELS}
    ax = plot_curves(make_decision(), lambda_val=0.999, model_configs=configs)
    red, green, blue = matplotlib.colors.to_rgb(line(ax, "large (unavailable)").get_color())
    assert red == green == blue
    colour = matplotlib.colors.to_rgb(line(ax, "small").get_color())
    assert max(colour) - min(colour) > 0.2


def test_styles_follow_the_router_not_the_ranking() -> None:
    configs: dict[str, Any] = {name: {} for name in MODELS}
    fewer = {name: MODELS[name] for name in ("medium", "large")}
    whole = plot_curves(make_decision(0.9), model_configs=configs)
    part = plot_curves(make_decision(0.99999, models=fewer), model_configs=configs)
    for name in fewer:
        for look in ("get_color", "get_marker"):
            assert getattr(line(whole, name), look)() == getattr(line(part, name), look)()


def test_many_models_can_be_told_apart_without_colour() -> None:
    models = {f"model{i:02}": (0.1 * (i + 1), 0.5 + i / 60, 30.0) for i in range(24)}
    ax = plot_curves(make_decision(models=models))
    looks = [line(ax, name) for name in models]
    assert len({(to_hex(d.get_color()), d.get_marker(), d.get_linestyle()) for d in looks}) == 24
    assert len({d.get_marker() for d in looks[:14]}) == 14


def test_labels_and_key_keep_clear() -> None:
    models = MODELS | {"steep": (0.2, 0.99, 5.0)}
    limits = (10, 12, 14, 17, 20, 30, 40, 50, 80, 100, 200, 500, 1000)
    ax = plot_curves(make_decision(models=models, limits=limits), lambda_val=0.999)
    ax.figure.canvas.draw()
    boxes = [text.get_window_extent() for text in ax.texts]
    assert 3 <= len(boxes) < len(limits)
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:i])
    assert not ax.get_legend().get_window_extent().overlaps(ax.bbox)
    assert [text.get_text() for text in ax.get_legend().get_texts()][-3:] == [
        "chosen",
        "unlimited budget",
        EQUAL_RISK,
    ]


def test_draws_on_given_axes_without_a_key() -> None:
    figure, axes = plt.subplots(1, 2, layout="constrained")
    assert plot_curves(make_decision(), ax=axes[1], legend=False) is axes[1]
    assert axes[1].get_legend() is None
    assert not axes[0].get_lines()
    assert plt.get_fignums() == [figure.number]


def test_picture_is_not_empty_in_colour_grey_or_dark() -> None:
    image = pixels(plot_curves(make_decision(), lambda_val=0.999))[..., :3]
    assert image.std() > 0.05
    assert (image.max(axis=2) - image.min(axis=2)).max() > 0.5
    assert image.mean(axis=2).min() < 0.3
    with plt.style.context("dark_background"):
        ax = plot_curves(make_decision(), lambda_val=0.999)
        dark = pixels(ax)[..., :3]
    assert line(ax, EQUAL_RISK).get_color() == "white"
    assert np.median(dark) < 0.1 < 0.9 < dark.mean(axis=2).max()


@pytest.mark.parametrize("name", [r"$\frac{", r"$\frac{$"], ids=["title", "legend"])
def test_names_are_not_read_as_formulas(name: str) -> None:
    ax = plot_curves(make_decision(models={name: (0.5, 0.5, 50.0)}))
    assert pixels(ax).std() > 0.02


def test_wrong_arguments() -> None:
    with pytest.raises(TypeError, match="expected a decision"):
        plot_curves("gpt")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="between 0 and 1"):
        plot_curves(make_decision(), lambda_val=-1)
    with pytest.raises(ValueError, match="'predicted_cost_usd' missing"):
        plot_curves(dict.fromkeys(("model", "budget", "predicted_quality", "risk"), 1))
    assert plt.get_fignums() == []


def test_missing_matplotlib_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "r2_router.plotting")
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)  # type: ignore[arg-type]
    with pytest.raises(ImportError, match="pip install matplotlib"):
        importlib.import_module("r2_router.plotting")
