"""A decision is a dictionary in every use, whether or not somebody looked at all_options first."""

from __future__ import annotations

import copy
import json
import operator
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from r2_router import Decision, R2Router

OPTION = {"model": "a", "budget": 3}
COMPLETE = {
    "model": "a",
    "budget": 3,
    "all_options": [OPTION, {"model": "b", "budget": "unlimited"}],
}


class Ranking:
    """Counts how often the options are worked out."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> list[dict[str, Any]]:
        self.calls += 1
        return copy.deepcopy(COMPLETE["all_options"])  # type: ignore[return-value]


@pytest.fixture
def ranking() -> Ranking:
    return Ranking()


@pytest.fixture
def decision(ranking: Ranking) -> Decision:
    return Decision(OPTION, 0.5, 100, {"a": {}, "b": {}}, ranking)


def through_keyword_arguments(decision: Decision) -> dict[str, Any]:
    return (lambda **keywords: keywords)(**decision)


def through_update(decision: Decision) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    plain.update(decision)
    return plain


def through_match(decision: Decision) -> dict[str, Any]:
    match decision:
        case {"model": model, "budget": budget, "all_options": options}:
            return {"model": model, "budget": budget, "all_options": options}
    return {}


def through_pure_python_json(decision: Decision) -> Any:
    encode = json.encoder._make_iterencode(  # type: ignore[attr-defined]
        {}, json.JSONEncoder().default, json.encoder.encode_basestring, None, repr, ": ", ", ",
        False, False, False,
    )  # fmt: skip
    return json.loads("".join(encode(decision, 0)))


WAYS: dict[str, Callable[[Decision], Any]] = {
    "itself": lambda decision: decision,
    "dict()": dict,
    "**": lambda decision: {**decision},
    "keyword arguments": through_keyword_arguments,
    "update": through_update,
    "match": through_match,
    "copy()": lambda decision: decision.copy(),
    "copy.copy": copy.copy,
    "copy.deepcopy": copy.deepcopy,
    "| {}": lambda decision: decision | {},
    "{} |": lambda decision: {} | decision,
    "zip": lambda decision: dict(zip(decision.keys(), decision.values(), strict=True)),
    "items": lambda decision: dict(decision.items()),
    "iteration": lambda decision: {key: decision[key] for key in decision},
    "reversed": lambda decision: {key: decision[key] for key in reversed(decision)},
    "get": lambda decision: {key: decision.get(key) for key in COMPLETE},
    "pop": lambda decision: OPTION | {"all_options": decision.pop("all_options")},
    "popitem": lambda decision: OPTION | dict([decision.popitem()]),
    "setdefault": lambda decision: OPTION | {"all_options": decision.setdefault("all_options", [])},
    "repr": lambda decision: eval(repr(decision)),
    "json": lambda decision: json.loads(json.dumps(decision)),
    "json, indented": lambda decision: json.loads(json.dumps(decision, indent=1)),
    "json, sorted": lambda decision: json.loads(json.dumps(decision, sort_keys=True)),
    "json in a list": lambda decision: json.loads(json.dumps([decision]))[0],
    "json, pure Python": through_pure_python_json,
    **{
        f"pickle {protocol}": lambda decision, protocol=protocol: pickle.loads(
            pickle.dumps(decision, protocol)
        )
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    },
}


@pytest.mark.parametrize("looked_at", [False, True], ids=["fresh", "looked at"])
@pytest.mark.parametrize("way", WAYS)
def test_everything_sees_all_keys(
    way: str, looked_at: bool, decision: Decision, ranking: Ranking
) -> None:
    if looked_at:
        assert decision["all_options"] == COMPLETE["all_options"]
    assert WAYS[way](decision) == COMPLETE
    assert ranking.calls == 1


def test_looking_at_the_choice_costs_no_ranking(decision: Decision, ranking: Ranking) -> None:
    assert decision["model"] == "a"
    assert decision.get("budget") == 3
    assert "all_options" in decision
    assert "risk" not in decision
    assert decision.get("risk", 7) == 7
    assert len(decision) == 3
    assert decision
    with pytest.raises(KeyError, match="risk"):
        decision["risk"]
    assert ranking.calls == 0
    assert decision.all_options is decision["all_options"]
    assert decision.get("all_options") is decision["all_options"]
    assert ranking.calls == 1


def test_equality_completes_both_sides(ranking: Ranking) -> None:
    def make() -> Decision:
        return Decision(OPTION, 0.5, 100, {}, ranking)

    for same in (make, lambda: COMPLETE):
        assert operator.eq(make(), same()) is operator.eq(same(), make()) is True
        assert operator.ne(make(), same()) is operator.ne(same(), make()) is False
    assert operator.eq(make(), OPTION) is operator.eq(OPTION, make()) is False
    assert operator.ne(make(), OPTION) is operator.ne(OPTION, make()) is True


def test_writing_keeps_the_order_of_keys(decision: Decision) -> None:
    decision["note"] = "mine"
    assert list(decision) == ["model", "budget", "all_options", "note"]
    decision |= {"rank": 1}
    assert type(decision) is Decision
    assert list(decision)[-1] == "rank"


def test_what_is_removed_stays_away(decision: Decision) -> None:
    del decision["all_options"]
    assert "all_options" not in decision
    assert decision == OPTION
    with pytest.raises(KeyError):
        decision["all_options"]
    decision.clear()
    assert not decision
    assert dict(decision) == {}


def test_what_is_replaced_stays_replaced(decision: Decision) -> None:
    decision["all_options"] = []
    assert decision["all_options"] == []
    assert decision == OPTION | {"all_options": []}


def test_copies_keep_what_a_decision_knows(decision: Decision) -> None:
    for make_copy in (copy.copy, copy.deepcopy, lambda d: pickle.loads(pickle.dumps(d))):
        twin = make_copy(decision)
        assert type(twin) is Decision
        assert (twin.lambda_val, twin.input_tokens) == (0.5, 100)
        assert twin.model_configs == {"a": {}, "b": {}}
    deep = copy.deepcopy(decision)
    deep["all_options"][0]["model"] = "changed"
    assert decision["all_options"][0]["model"] == "a"


def test_a_router_s_decision(small_router: R2Router) -> None:
    decision = small_router.route([1.0, 2.0, 3.0, 4.0], 0.75, 50)
    assert list(decision) == [
        "model",
        "openrouter_id",
        "budget",
        "predicted_quality",
        "predicted_output_tokens",
        "predicted_cost_usd",
        "risk",
        "all_options",
    ]
    assert (decision.lambda_val, decision.input_tokens) == (0.75, 50)
    assert decision.model_configs is small_router.model_configs
    first = decision["all_options"][0]
    assert {key: decision[key] for key in first} == first
    assert all(type(option) is dict for option in decision["all_options"])
    assert len(decision["all_options"]) == 6
    assert json.loads(json.dumps(decision)) == decision


def test_the_embedding_may_change_before_the_options_are_looked_at(small_router: R2Router) -> None:
    import numpy as np

    embedding = np.array([1.0, 2.0, 3.0, 4.0])
    expected = json.dumps(small_router.route(embedding))
    decision = small_router.route(embedding)
    embedding[:] = -9
    assert json.dumps(decision) == expected


def test_print_shows_one_line(small_router: R2Router, capsys: pytest.CaptureFixture[str]) -> None:
    decision = small_router.route([1.0, 2.0, 3.0, 4.0], 0.75, 50)
    print(decision)
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert len(out) < 120
    assert out.startswith(f"{decision['model']}, ")
    assert f"quality {decision['predicted_quality']:.3f}" in out
    assert "$0.00" in out
    assert "e-" not in out, "money in scientific notation"
    assert f"{decision}" == f"{decision!s}" == out.rstrip("\n")
    assert "all_options" not in dict.keys(decision), "it was not needed"


def test_the_line_for_each_kind_of_decision() -> None:
    def line(**changed: Any) -> str:
        values = {
            "model": "m",
            "budget": 1000,
            "predicted_quality": 0.66197,
            "predicted_output_tokens": 127.58,
            "predicted_cost_usd": 3.1e-6,
        }
        return str(Decision(values | changed, 0.5, 100, {}))

    assert line() == (
        "m, at most 1,000 tokens: quality 0.662, 128 output tokens, $0.00000310 (predicted)"
    )
    assert line(budget="unlimited").startswith("m, no token limit: ")
    assert "$0 (" in line(predicted_cost_usd=0)
    assert "\n" not in line(model="two\nlines")
    assert line(predicted_quality=None).startswith("{'model': 'm'"), "what a user made of it"


def test_repr_counts_a_long_list_of_options(small_router: R2Router) -> None:
    decision = small_router.route([1.0, 2.0, 3.0, 4.0])
    shown = repr([decision])
    assert shown.endswith("'all_options': [6 options]}]")
    assert f"'model': {decision['model']!r}" in shown
    decision["all_options"] = [decision]
    assert "{...}" in repr(decision)


def test_copies_can_still_be_asked_about(small_router: R2Router) -> None:
    decision = small_router.route([1.0, 2.0, 3.0, 4.0])
    for twin in (copy.copy(decision), copy.deepcopy(decision), decision.copy()):
        assert type(twin) is Decision
        assert twin == decision
        assert twin.details == decision.details
        assert twin.explain() == decision.explain()
    unpickled = pickle.loads(pickle.dumps(decision))
    assert unpickled.details == decision.details
    with pytest.raises(RuntimeError, match="unpickled without its router"):
        unpickled.explain()


def test_many_threads_may_look_at_once(small_router: R2Router) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        for _ in range(50):
            decision = small_router.route([1.0, 2.0, 3.0, 4.0])
            lengths = pool.map(lambda d: len(d["all_options"]), [decision] * 8)
            assert list(lengths) == [6] * 8
