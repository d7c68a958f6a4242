"""Constraints and objectives, against a search through every option; policies; explanations."""

from __future__ import annotations

import itertools
import json
import pickle
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, make_model_configs, make_predictors

from r2_router import Constraints, R2Router, _core

BUDGETS = [100, 200, 400]


class Line:
    """A regressor of known numbers."""

    def __init__(self, coef: np.ndarray, intercept: float) -> None:
        self.coef_ = coef
        self.intercept_ = intercept


@pytest.fixture(scope="module")
def router() -> R2Router:
    numbers = np.random.default_rng(5)
    predictors, configs = {}, {}
    for i, name in enumerate(["small-a", "small-b", "large-a", "large-b"]):
        predictors[name] = {
            "limited": {
                f"{budget}_score": Line(numbers.normal(size=8), 0.2 + 0.1 * i) for budget in BUDGETS
            },
            "unlimited_score": Line(numbers.normal(size=8), 0.4 + 0.1 * i),
            "unlimited_token": Line(60 * numbers.normal(size=8), 500.0),
        }
        configs[name] = {
            "openrouter_id": f"vendor/{name}",
            "input_price_per_million": 0.1 * (i + 1),
            "output_price_per_million": 0.4 * (i + 1) ** 2,
        }
    return R2Router(predictors, configs, lambda_val=0.999)


def embeddings() -> np.ndarray:
    return np.random.default_rng(6).normal(size=(60, 8)) / 12


def every_option(router: R2Router, embedding: np.ndarray) -> list[dict[str, Any]]:
    """All pairs as they are predicted, not rounded, cheapest first."""
    options = [
        {"model": model, "budget": int(budget), "quality": quality, "tokens": tokens, "cost": cost}
        for model, curve in router.quality_curve(embedding).items()
        for budget, quality, tokens, cost in zip(*curve, strict=True)
    ]
    return sorted(options, key=lambda option: option["cost"])


def worst_case(router: R2Router, option: dict[str, Any], cap: float) -> float:
    config = router.model_configs[option["model"]]
    return float(
        100 * config["input_price_per_million"] / 1e6
        + cap * config["output_price_per_million"] / 1e6
    )


def least_cap(option: dict[str, Any]) -> float:
    if option["budget"] > 0:
        return float(max(16, option["budget"]))
    return float(max(16, np.ceil(option["tokens"])))


def winner(options: list[dict[str, Any]], figure: Callable[[dict[str, Any]], float]) -> Any:
    """The highest figure wins; a tie goes to the largest budget, then to the lowest cost."""
    highest = max(map(figure, options))
    tied = [option for option in options if figure(option) >= highest - 1e-11 * (1 + abs(highest))]
    return max(tied, key=lambda o: (np.inf if o["budget"] < 0 else o["budget"], -o["cost"]))


def chosen_pair(decision: dict[str, Any]) -> tuple[str, int]:
    budget = decision["budget"]
    return decision["model"], -1 if budget == "unlimited" else budget


def test_every_combination_equals_a_search(router: R2Router) -> None:
    choices: dict[str, list[Any]] = {
        "min_quality": [None, 0.5, 0.9],
        "quality_fraction": [None, 0.9],
        "max_cost_usd": [None, 0.0002, 0.001],
        "max_output_tokens": [None, 250],
        "objective": [None, "cheapest", "best"],
    }
    numbers = random.Random(7)
    for embedding in embeddings():
        options = every_option(router, embedding)
        for values in numbers.sample(list(itertools.product(*choices.values())), 12):
            given = dict(zip(choices, values, strict=True))
            admitted = [
                option
                for option in options
                if (limit := given["max_output_tokens"]) is None or least_cap(option) <= limit
                if (usd := given["max_cost_usd"]) is None
                or worst_case(router, option, least_cap(option)) <= usd
            ]
            best = max(option["quality"] for option in admitted)
            floor = max(given["min_quality"] or 0, (given["quality_fraction"] or 0) * best)
            good = [option for option in admitted if option["quality"] >= floor]
            decision = router.route(embedding, **given)
            assert decision.details["constraint_met"] == bool(good)
            weighs_quality = given["min_quality"] or given["quality_fraction"]
            if not good:
                expected = winner(admitted, lambda option: option["quality"])
                reason = "quality_missed"
            elif given["objective"] == "best":
                expected = winner(good, lambda option: option["quality"])
                reason = "best"
            elif given["objective"] == "cheapest" or weighs_quality:
                expected = good[0]
                reason = "cheapest"
            else:
                weight = router.lambda_val
                expected = max(
                    good,
                    key=lambda option: (1 - weight) * option["quality"] - weight * option["cost"],
                )
                reason = "risk"
            assert decision.details["reason"] == reason
            assert chosen_pair(decision) == (expected["model"], expected["budget"])
            cap = decision.details["max_tokens"]
            cost = decision.details["worst_case_cost_usd"]
            assert cost == worst_case(router, expected, cap)
            assert given["max_cost_usd"] is None or cost <= given["max_cost_usd"]
            assert given["max_output_tokens"] is None or cap <= given["max_output_tokens"]
            assert cap >= least_cap(expected)


def test_images_are_billed() -> None:
    configs = make_model_configs()
    configs["alpha"]["price_per_image"] = 0.25
    router = R2Router(make_predictors(), configs)
    query = [1.0, 2.0, 3.0, 4.0]
    plain = router.route(query, allow=["alpha"])
    two = router.route(query, allow=["alpha"], images=2)
    assert two["predicted_cost_usd"] == pytest.approx(plain["predicted_cost_usd"] + 0.5)
    assert two.details["worst_case_cost_usd"] == pytest.approx(
        plain.details["worst_case_cost_usd"] + 0.5
    )
    assert router.route(query, max_cost_usd=0.4, images=2)["model"] == "beta"
    with pytest.raises(ValueError, match="images is -1: expected a whole number of images, 0 or"):
        router.route(query, images=-1)
    with pytest.raises(TypeError, match=r"images is 1\.5: expected a whole number of images"):
        router.route(query, images=1.5)  # type: ignore[arg-type]


def test_queries_require_capabilities() -> None:
    configs = make_model_configs()
    configs["alpha"]["capabilities"] = ["images"]
    configs["beta"]["capabilities"] = ["tools", "reasoning"]
    router = R2Router(make_predictors(), configs)
    query = [1.0, 2.0, 3.0, 4.0]
    others = [name for name in configs if name not in ("alpha", "beta")]
    for requires, model in ((["images"], "alpha"), (("tools", "reasoning"), "beta")):
        assert router.route(query, requires=requires, deny=others)["model"] == model
        assert router.route_batch([query], requires=requires, deny=others)[0]["model"] == model
    assert router.route(query, images=1, deny=others)["model"] == "alpha"
    explanation = router.route(query, requires=["images"], deny=others).explain()
    assert explanation["left_out"]["requirements"] > 0
    with pytest.raises(ValueError, match="The query requires tools"):
        router.route(query, images=1, requires=["tools"], deny=others)
    with pytest.raises(ValueError, match=r"requires is .*: expected a list of capabilities: tools"):
        router.route(query, requires=["vision"])
    with pytest.raises(TypeError, match="requires is 'tools': expected a list of capabilities"):
        router.route(query, requires="tools")  # type: ignore[arg-type]


def test_the_cap_follows_the_predicted_length() -> None:
    configs = make_model_configs()
    configs["alpha"]["max_output_tokens"] = 1000
    router = R2Router(make_predictors(), configs)
    assert router.model_configs["alpha"]["max_output_tokens"] == 1000
    unlimited = 0
    for query in np.random.default_rng(8).normal(size=(20, 4)):
        for model, most in (("alpha", 1000), ("beta", 65536)):
            decision = router.route(query, allow=[model], objective="best")
            if decision["budget"] != "unlimited":
                continue
            unlimited += 1
            length = decision["predicted_output_tokens"] * np.exp(2.326 - 0.5)
            cap = min(max(1024, 64 * np.ceil(length / 64)), most)
            # The reported length is rounded.
            assert abs(decision.details["max_tokens"] - cap) <= 64
    assert unlimited > 10


def test_continuous_reaches_what_the_trained_budgets_do_not(router: R2Router) -> None:
    between = 0
    for embedding in embeddings():
        discrete = router.route(embedding, objective="best", max_output_tokens=300)
        continuous = router.route(
            embedding, objective="best", max_output_tokens=300, continuous=True
        )
        assert continuous["risk"] >= discrete["risk"]
        between += continuous["budget"] not in [*BUDGETS, "unlimited"]
    assert between > 5


def test_willingness_to_pay_is_lambda_in_dollars(router: R2Router) -> None:
    for embedding in embeddings():
        for worth in (1e-4, 1e-3, 1e-2):
            decision = router.route(embedding, willingness_to_pay=worth)
            expected = max(
                every_option(router, embedding),
                key=lambda option: option["quality"] - option["cost"] / worth,
            )
            assert chosen_pair(decision) == (expected["model"], expected["budget"])
            assert decision.lambda_val == 1 / (1 + worth)
            assert decision.details["reason"] == "usd"
            assert decision["all_options"][0]["model"] == decision["model"]


def test_models_are_named_by_patterns(router: R2Router) -> None:
    embedding = embeddings()[0]
    models = {o["model"] for o in router.route(embedding, allow=["small-*"])["all_options"]}
    assert models == {"small-a", "small-b"}
    models = {o["model"] for o in router.route(embedding, deny=["*-a"])["all_options"]}
    assert models == {"small-b", "large-b"}
    with pytest.raises(ValueError, match="no model of the pool matches"):
        router.route(embedding, deny=["huge-*"])


def test_an_explanation_names_the_runner_up(router: R2Router) -> None:
    decision = router.route(embeddings()[0], max_output_tokens=250, min_quality=0.1)
    explanation = decision.explain()
    assert explanation["runner_up"] == decision["all_options"][1]
    assert explanation["margin"] >= 0
    assert explanation["reason"] == decision.details["reason"] == "cheapest"
    assert explanation["left_out"]["max_output_tokens"] >= 4  # each model's 400 at least
    assert explanation["left_out"]["models"] == 0
    assert explanation["win_probability"] is None
    assert explanation["confident"] is False
    copy = pickle.loads(pickle.dumps(decision))
    assert copy.details == decision.details
    with pytest.raises(RuntimeError, match="without its router"):
        copy.explain()


def test_the_published_keys_stay_as_they_are(router: R2Router) -> None:
    plain = router.route(embeddings()[0])
    assert list(router.route(embeddings()[0], max_cost_usd=1)) == list(plain)


def test_a_policy_holds_unless_the_call_says_otherwise(router: R2Router, tmp_path: Path) -> None:
    file = tmp_path / "policy.json"
    file.write_text(json.dumps({"min_quality": 0.5, "deny": ["large-*"], "calibration": {}}))
    embedding = embeddings()[1]
    assert router.route(embedding, policy=file) == router.route(
        embedding, min_quality=0.5, deny=["large-*"]
    )
    assert router.route(embedding, policy=file, min_quality=0.9) == router.route(
        embedding, min_quality=0.9, deny=["large-*"]
    )
    batch = router.route_batch(embeddings(), policy=file)
    for row, each in enumerate(embeddings()):
        assert batch.quality[row] == router.route(each, policy=file)["predicted_quality"]
    file.write_text('{"min_qualty": 1}')
    with pytest.raises(ValueError, match="min_qualty"):
        router.route(embedding, policy=file)
    with pytest.raises(FileNotFoundError):
        router.route(embedding, policy=tmp_path / "none.json")


def test_a_policy_is_found_by_its_name(native_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(native_folder, folder)
    (folder / "policies").mkdir()
    (folder / "policies" / "best.json").write_text('{"objective": "best", "available_only": false}')
    named = R2Router.from_pretrained(folder)
    expected = named.route_text("which one", objective="best", available_only=False)
    assert expected != named.route_text("which one")
    assert named.route_text("which one", policy="best") == expected
    assert pickle.loads(pickle.dumps(named)).route_text("which one", policy="best") == expected
    with pytest.raises(FileNotFoundError, match=r"bset: expected the path.*there are: best"):
        named.route_text("which one", policy="bset")
    without_folder = R2Router(make_predictors(), make_model_configs())
    with pytest.raises(FileNotFoundError, match="no such file"):
        without_folder.route([0.0] * 4, policy="best")


@pytest.mark.parametrize(
    ("constraints", "words"),
    [
        ({"min_quality": 2}, "min_quality"),
        ({"objective": "usd"}, "needs willingness_to_pay"),
        ({"objective": "worst"}, "expected risk, usd"),
        ({"willingness_to_pay": 1, "lambda_val": 0.5}, "contradict"),
        ({"monotone": True}, "without continuous"),
        ({"max_output_tokens": 3}, "cap.minimum"),
        ({"max_latency_ms": 5}, "no pair is left"),
    ],
)
def test_what_cannot_be_is_refused(
    router: R2Router, constraints: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        router.route(embeddings()[0], **constraints)


#: Of each type of setting: a wrong type, and a value that is out of range.
WRONG: dict[str, tuple[Any, Any]] = {
    "float": ("0.5", -1),
    "int": ("5", 0),
    "bool": ("yes", None),
    "name": (1, "worst"),
    "models": ("a", None),
}


def test_every_setting_is_checked_by_its_name(router: R2Router) -> None:
    for setting in _core.settings():
        wrong_type, out_of_range = WRONG[setting["type"]]
        for value, error in ((wrong_type, TypeError), (out_of_range, ValueError)):
            if value is None:
                continue
            group, _, name = setting["name"].rpartition(".")
            keywords: dict[str, Any] = {group: {name: value}} if group else {name: value}
            with pytest.raises(error) as caught:
                router.route(embeddings()[0], **keywords)
            assert str(caught.value).startswith(f"{setting['name']} is {value!r}: expected ")
            assert "SupportsFloat" not in str(caught.value)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"lambda_val": 2}, "lambda_val is 2: expected a number from 0 to 1"),
        ({"policy": [1]}, "policy is [1]: expected the path of a policy file"),
        ({"policy": b"x"}, "policy is b'x': expected"),
        ({"allow": "a"}, "expected a list of at least one model name, such as ['a']"),
        ({"allow": []}, "allow is []: expected a list of at least one model name"),
        ({"cap": 5}, "cap is 5: expected a dict"),
        ({"cap": {"min": 5}}, "there is no setting cap.min: expected one of cap.margin, cap.m"),
        ({"input_tokens": "x"}, "input_tokens is 'x': expected a whole number"),
        ({"input_tokens": -1}, "input_tokens is -1: expected a whole number"),
        ({"max_cost": 1}, "did you mean 'max_cost_usd'?"),
    ]
    for keywords, message in wrong:
        with pytest.raises((TypeError, ValueError), match=re.escape(message)):
            router.route(embeddings()[0], **keywords)


def test_a_call_overrides_a_policy_as_the_program_does(router: R2Router, tmp_path: Path) -> None:
    file = tmp_path / "usd.json"
    file.write_text('{"objective": "usd", "willingness_to_pay": 0.01, "deny": ["large-*"]}')
    embedding = embeddings()[1]
    small = ["small-a", "small-b"]
    assert router.route(embedding, 0.5, policy=file) == router.route(embedding, 0.5, allow=small)
    assert router.route(embedding, policy=file, objective="best") == router.route(
        embedding, objective="best", allow=small
    )
    assert router.route(embedding, policy=file, deny=[]) == router.route(
        embedding, willingness_to_pay=0.01
    )
    # A router's lambda is not a setting of the call.
    assert router.route(embedding, policy=file).lambda_val == 1 / 1.01
    assert router.route(embedding, policy=file, min_quality=0).lambda_val == 1 / 1.01


def test_every_keyword_is_the_setting_of_a_policy(router: R2Router, tmp_path: Path) -> None:
    file = tmp_path / "policy.json"
    settings: list[dict[str, Any]] = [
        {"objective": "best"},
        {"willingness_to_pay": 0.001},
        {"min_quality": 0.5},
        {"quality_fraction": 0.9},
        {"risk_aversion": 0.0},
        {"max_cost_usd": 0.001},
        {"max_output_tokens": 250},
        {"allow": ["small-*"]},
        {"deny": ["large-*"]},
        {"available_only": True},
        {"continuous": True, "monotone": True},
        {"token_floor": 300.0},
        {"rules": "corrected"},
        {"cap": {"margin": 0.5, "minimum": 20, "unlimited": 600}},
    ]
    names = [name for given in settings for name in given]
    of_query = {"images", "requires"}
    assert {*names, "policy"} == Constraints.__annotations__.keys() - {"max_latency_ms", *of_query}
    for given in settings:
        file.write_text(json.dumps(given))
        for embedding in embeddings()[:5]:
            by_keyword = router.route(embedding, **given)
            assert router.route(embedding, policy=file) == by_keyword
            assert router.route(embedding, policy=file).details == by_keyword.details


def test_the_schema_lists_what_policies_take(router: R2Router, tmp_path: Path) -> None:
    schema = json.loads((ROOT / "config" / "policy.schema.json").read_text(encoding="utf-8"))
    examples: dict[str, Any] = {
        "objective": "usd",
        "lambda": 0.5,
        "willingness_to_pay": 0.01,
        "allow": ["small-*"],
        "deny": ["large-*"],
        "available_only": True,
        "token_floor": 2.5,
        "rules": "corrected",
        "min_quality": 0.1,
        "quality_fraction": 0.1,
        "risk_aversion": 0,
        "max_cost_usd": 1,
        "max_output_tokens": 900,
        "max_latency_ms": 1,
        "continuous": True,
        "monotone": False,
        "cap": {"margin": 0.5, "minimum": 16, "unlimited": 900},
        "calibration": {},
    }
    assert schema["properties"].keys() == examples.keys()
    file = tmp_path / "policy.json"
    contradictory = ("lambda", "max_latency_ms")
    usable = {name: value for name, value in examples.items() if name not in contradictory}
    file.write_text(json.dumps(usable))
    assert router.route(embeddings()[0], policy=file)["model"].startswith("small-")
    for name in contradictory:
        file.write_text(json.dumps({**usable, name: examples[name]}))
        with pytest.raises(ValueError, match=r"contradict|no pair"):
            router.route(embeddings()[0], policy=file)
