"""A decision's HTML: every figure that it states, read back from the markup."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from sample_decisions import make_decision

from r2_router._html import decision_html

VOID = {"br", "hr", "img", "meta"}


class Page(HTMLParser):
    """The cells of the one table, the text outside it, and whether the tags match."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.rows: list[list[str]] = []
        self.text = ""
        self.bars: list[list[float]] = []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
            self.bars.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        width = re.search(r"width:([\d.]+)%", dict(attributes).get("style") or "")
        if width:
            self.bars[-1].append(float(width[1]))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data
        else:
            self.text += data.replace("\xa0", " ")


def test_states_the_choice_and_its_figures() -> None:
    decision = make_decision(lambda_val=0.999)
    text = Page(decision_html(decision, lambda_val=0.999)).text
    assert f"{decision['model']}, at most {decision['budget']:,} tokens" in text
    assert decision["openrouter_id"] in text
    assert f"quality {decision['predicted_quality']:.3f}" in text
    assert "λ = 0.999" in text
    amounts = [float(amount) for amount in re.findall(r"\$([\d.]+)", text)]
    cost = decision["predicted_cost_usd"]
    assert amounts == pytest.approx([cost, 1000 * cost], rel=0.005)


def test_table_has_the_best_of_each_model_chosen_first() -> None:
    decision = make_decision()
    page = Page(decision_html(decision, lambda_val=0.999))
    best = {}
    for option in decision["all_options"]:
        if option["model"] not in best or option["risk"] > best[option["model"]]["risk"]:
            best[option["model"]] = option
    expected = sorted(best.values(), key=lambda option: -option["risk"])
    assert expected[0]["model"] == decision["model"]
    rows = page.rows[1:]
    assert [row[0] for row in rows] == [option["model"] for option in expected]
    assert [row[1] for row in rows] == [f"{option['budget']:,}" for option in expected]
    assert [row[4] for row in rows] == [f"{option['risk']:.8f}" for option in expected]


def test_order_of_all_options_does_not_matter() -> None:
    decision = make_decision()
    shuffled = decision | {"all_options": decision["all_options"][::-1]}
    assert decision_html(shuffled) == decision_html(decision)


def test_tie_keeps_the_pair_that_was_chosen_first() -> None:
    decision = make_decision()
    tied = [option | {"risk": 0.5} for option in decision["all_options"]]
    chosen = tied[-1]
    page = Page(decision_html(chosen | {"all_options": tied}))
    assert page.rows[1][:2] == [chosen["model"], str(chosen["budget"])]


def test_bar_is_quality_less_what_the_cost_takes_back() -> None:
    lambda_val = 0.9999
    decision = make_decision(lambda_val)
    page = Page(decision_html(decision, lambda_val))
    for row, bar in zip(page.rows[1:], page.bars[1:], strict=True):
        quality, value = float(row[2]), float(row[4]) / (1 - lambda_val)
        assert sum(bar) == pytest.approx(100 * quality, abs=0.2)
        assert bar[0] == pytest.approx(100 * max(value, 0), abs=0.2)


@pytest.mark.parametrize("lambda_val", [None, 1.0])
def test_bar_is_whole_where_lambda_gives_quality_no_price(lambda_val: float | None) -> None:
    page = Page(decision_html(make_decision(1.0), lambda_val))
    assert "takes back" not in page.text
    assert all(bar[1] == 0 for bar in page.bars[1:])


def test_many_models_are_cut_short_and_counted() -> None:
    models = {f"model{i:02}": (0.1 + i, 0.5, 20.0) for i in range(20)}
    page = Page(decision_html(make_decision(models=models)))
    rows = len(page.rows) - 1
    assert 3 <= rows <= 10
    assert f"{20 - rows} more models" in page.text


def test_without_all_options_there_is_no_table() -> None:
    decision = make_decision()
    del decision["all_options"]
    page = Page(decision_html(decision))
    assert page.rows == []
    assert decision["model"] in page.text


def test_unlimited_is_put_in_words() -> None:
    decision = make_decision(lambda_val=0, limits=())
    assert decision["budget"] == "unlimited"
    assert "no token limit" in Page(decision_html(decision)).text


def test_everything_is_escaped() -> None:
    nasty = "<script>alert(1)</script>&\"'"
    models = {nasty: (0.1, 0.9, 10.0), "<b>other": (5.0, 0.2, 100.0)}
    decision = make_decision(models=models) | {"openrouter_id": nasty}
    html = decision_html(decision)
    page = Page(html)
    assert "script" not in page.tags
    assert page.text.count(nasty) == 2
    assert [row[0] for row in page.rows[1:]] == [nasty, "<b>other"]


def test_needs_nothing_from_outside_and_keeps_the_colour_of_the_text() -> None:
    html = decision_html(make_decision(), 0.999)
    assert not re.search(r"<(style|script|link|img)|https?:|url\(|id=", html)
    assert re.findall(r'class="([^"]*)"', html) == ["tex2jax_ignore mathjax_ignore"]
    assert not re.search(r"(?<![-\w])color:", html)  # that would be unreadable in some theme
    assert len(html) < 8000


@pytest.mark.parametrize(
    ("lambda_val", "shown"),
    [(0, "0"), (1, "1"), (0.3, "0.3"), (0.99378512, "0.99379"), (0.9999995, "0.9999995")],
)
def test_lambda_close_to_one_is_not_one(lambda_val: float, shown: str) -> None:
    assert f"λ = {shown}\n" in Page(decision_html(make_decision(), lambda_val)).text


def test_amounts_are_never_in_scientific_notation() -> None:
    decision = make_decision(lambda_val=1.0, models={"tiny": (1e-6, 0.5, 10.0)})
    text = Page(decision_html(decision)).text
    assert "$0.0000000000100" in text
    assert "e-" not in text


@pytest.mark.parametrize("key", ["model", "budget", "predicted_quality", "risk"])
def test_missing_key_is_named(key: str) -> None:
    decision = make_decision()
    del decision[key]
    with pytest.raises(ValueError, match=f"'{key}' missing"):
        decision_html(decision)


def test_something_else_is_refused() -> None:
    with pytest.raises(TypeError, match="expected a decision"):
        decision_html([make_decision()])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="between 0 and 1"):
        decision_html(make_decision(), lambda_val=1.5)
