"""R2Router: making one, routing with constraints, text, curves, pickles, threads."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Regressor

from r2_router import UNLIMITED, R2Router

EMBEDDING = [1.0, -2.0, 0.5, 3.0]


def by_hand(predictors: Any, model: str, key: str, embedding: Any) -> float:
    entry = predictors[model]
    regressor = entry["limited"][key] if key in entry["limited"] else entry[key]
    return float(np.dot(embedding, regressor.coef_.astype(np.float64)) + regressor.intercept_)


def test_figures_by_hand(predictors: Any, model_configs: Any) -> None:
    router = R2Router(predictors, model_configs, lambda_val=0.5)
    options = {(o["model"], o["budget"]): o for o in router.route(EMBEDDING).all_options}
    quality = min(max(by_hand(predictors, "beta", "300_score", EMBEDDING), 0), 1)
    assert options["beta", 300]["predicted_quality"] == round(quality, 4)
    assert options["beta", 300]["predicted_cost_usd"] == (100 * 1 + 300 * 3) / 1e6
    tokens = by_hand(predictors, "alpha", "unlimited_token", EMBEDDING)
    assert options["alpha", "unlimited"]["predicted_output_tokens"] == round(tokens, 1)
    cost = (100 * 0.1 + tokens * 0.4) / 1e6
    assert options["alpha", "unlimited"]["predicted_cost_usd"] == round(cost, 8)


def test_the_router_s_lambda_and_the_call_s(small_router: R2Router) -> None:
    assert small_router.lambda_val == 0.99999
    assert small_router.route(EMBEDDING).lambda_val == 0.99999
    assert small_router.route(EMBEDDING, 0.25).lambda_val == 0.25
    small_router.lambda_val = 0.5
    assert small_router.route(EMBEDDING) == small_router.route(EMBEDDING, 0.5)
    assert small_router.route_batch([EMBEDDING]).risk == small_router.route(EMBEDDING)["risk"]


def test_attributes_are_those_given(predictors: Any, model_configs: Any) -> None:
    router = R2Router(predictors, model_configs, 0.9, "http://e", "http://l", "key")
    assert router.predictors == predictors
    assert list(router.predictors) == ["alpha", "beta"]
    given = predictors["alpha"]["limited"]["10_score"]
    assert router.predictors["alpha"]["limited"]["10_score"] is given
    assert router.model_configs == model_configs
    assert (router.embed_url, router.llm_api_base) == ("http://e", "http://l")
    assert (router.llm_api_key, router.lambda_val) == ("key", 0.9)
    assert router.dimension == 4
    assert "key" not in repr(router)


def test_attributes_refuse_changes_that_would_do_nothing(small_router: R2Router) -> None:
    with pytest.raises(TypeError, match="make a new R2Router"):
        small_router.model_configs["alpha"]["input_price_per_million"] = 0
    with pytest.raises(TypeError, match="make a new R2Router"):
        small_router.predictors.update({})
    with pytest.raises(AttributeError):
        small_router.predictors = {}  # type: ignore[assignment, misc]
    changed = copy.deepcopy(small_router.model_configs)
    changed["alpha"]["output_price_per_million"] = 1e6
    router = R2Router(small_router.predictors, changed)
    assert router.route(EMBEDDING, 0.9)["model"] == "beta"


def test_the_order_of_predictors_settles_ties(predictors: Any, model_configs: Any) -> None:
    same = {"alpha": predictors["alpha"], "beta": predictors["alpha"]}
    assert R2Router(same, model_configs).route(EMBEDDING, 0.0)["model"] == "alpha"
    turned = {"beta": predictors["alpha"], "alpha": predictors["alpha"]}
    assert R2Router(turned, model_configs).route(EMBEDDING, 0.0)["model"] == "beta"


def test_a_regressor_s_shapes(predictors: Any, model_configs: Any) -> None:
    expected = R2Router(predictors, model_configs).route(EMBEDDING)
    entry = predictors["alpha"]["limited"]
    old = entry["10_score"]
    entry["10_score"] = Regressor(old.coef_[None, :], np.array([old.intercept_]))
    assert R2Router(predictors, model_configs).route(EMBEDDING) == expected
    entry["10_score"] = Regressor(old.coef_.tolist(), np.float32(old.intercept_))
    assert R2Router(predictors, model_configs).route(EMBEDDING) == expected


def test_predictors_of_a_checkpoint_are_views(native_folder: Path) -> None:
    router = R2Router.from_pretrained(native_folder)
    predictors = router.predictors
    assert predictors is router.predictors
    assert list(predictors) == ["small", "large / ünï"]
    score = predictors["small"]["unlimited_score"]
    assert score.coef_.shape == (8,)
    assert score.n_features_in_ == 8
    assert not score.coef_.flags.writeable
    assert score.coef_.base is not None
    with pytest.raises(ValueError, match="read-only"):
        score.coef_[0] = 1
    rows = np.eye(8)
    np.testing.assert_allclose(score.predict(rows), score.coef_ + score.intercept_)
    assert router.model_configs["large / ünï"]["available"] is False
    del router  # the views keep what they look at
    assert np.isfinite(score.coef_).all()


def test_text_by_the_checkpoint_s_own_encoder(lexical_router: R2Router) -> None:
    decision = lexical_router.route_text("how long is a piece of string")
    assert decision["model"] == "small"
    assert decision.input_tokens == 9
    [embedding] = lexical_router.embed("how long is a piece of string")
    assert embedding.dtype == np.float32
    assert np.linalg.norm(embedding) == pytest.approx(1, abs=1e-6)
    assert lexical_router.route(embedding, input_tokens=9) == decision
    assert lexical_router.route_text("x", input_tokens=77).input_tokens == 77


def test_a_list_of_texts(lexical_router: R2Router) -> None:
    texts = ["one", "two words", "ünïcode 文字"]
    decisions = lexical_router.route_text(texts, 0.3)
    assert decisions == [lexical_router.route_text(text, 0.3) for text in texts]
    assert lexical_router.route_text(tuple(texts), 0.3) == decisions
    assert lexical_router.route_text(["one"]) == [lexical_router.route_text("one")]
    assert lexical_router.route_text([]) == []
    assert lexical_router.embed([]).shape == (0, 8)
    assert lexical_router.embed(texts).shape == (3, 8)


def test_an_encoder_of_one_s_own(released_folder: Path) -> None:
    class Router(R2Router):
        def embed(self, texts: Any) -> Any:
            return np.full((len(texts), 1024), 0.01)

    router = Router.from_pretrained(released_folder)
    assert type(router) is Router
    assert router.route_text("a b c") == router.route(np.full(1024, 0.01), input_tokens=3)


def test_constraints(lexical_router: R2Router) -> None:
    def models(**constraints: Any) -> set[str]:
        decision = lexical_router.route_text("which one", **constraints)
        return {option["model"] for option in decision.all_options}

    assert models() == {"small"}
    assert models(available_only=False) == {"small", "large / ünï"}
    assert models(available_only=False, deny=["small"]) == {"large / ünï"}
    assert models(available_only=False, allow=("large / ünï",)) == {"large / ünï"}
    floored = lexical_router.route_text("which one", token_floor=15)
    assert min(option["predicted_output_tokens"] for option in floored.all_options) >= 15
    batch = lexical_router.route_batch(
        lexical_router.embed(["which one"]), available_only=False, deny=["small"]
    )
    assert batch.to_dicts()[0]["model"] == "large / ünï"
    with pytest.raises(ValueError, match='did you mean "small"'):
        models(allow=["smal"])
    with pytest.raises(ValueError, match="no model is left"):
        models(deny=["small"])


def test_quality_curves(lexical_router: R2Router) -> None:
    curves = lexical_router.quality_curve("which one", input_tokens=1000)
    assert list(curves) == ["small", "large / ünï"]
    options = lexical_router.route_text(
        "which one", input_tokens=1000, available_only=False
    ).all_options
    seen = 0
    for model, curve in curves.items():
        assert (np.diff(curve.budget[curve.budget != UNLIMITED]) > 0).all()
        assert (curve.budget[:-1] != UNLIMITED).all()
        for budget, quality, tokens, cost in zip(*curve, strict=True):
            label = "unlimited" if budget == UNLIMITED else budget
            [option] = [o for o in options if (o["model"], o["budget"]) == (model, label)]
            assert option["predicted_quality"] == quality
            assert option["predicted_output_tokens"] == tokens
            assert option["predicted_cost_usd"] == cost
            seen += 1
    assert seen == len(options)


def test_quality_curves_are_not_rounded(released_router: R2Router) -> None:
    embedding = np.random.default_rng(3).standard_normal(1024) / 32
    curves = released_router.quality_curve(embedding)
    assert list(curves) == list(released_router.model_configs)
    for option in released_router.route(embedding).all_options:
        curve = curves[option["model"]]
        budget = UNLIMITED if option["budget"] == "unlimited" else option["budget"]
        [i] = np.flatnonzero(curve.budget == budget)
        assert round(curve.quality[i], 4) == option["predicted_quality"]
        assert round(curve.cost_usd[i], 8) == option["predicted_cost_usd"]
    quality = np.concatenate([curve.quality for curve in curves.values()])
    assert (np.round(quality, 4) != quality).any()


@pytest.mark.parametrize("make_copy", [copy.deepcopy, lambda r: pickle.loads(pickle.dumps(r))])
def test_copies_decide_the_same(make_copy: Any, lexical_router: R2Router) -> None:
    twin = make_copy(lexical_router)
    for text in ("one", "two words", "2 + 2 = ?"):
        assert twin.route_text(text) == lexical_router.route_text(text)
    assert twin.lambda_val == lexical_router.lambda_val
    assert twin.model_configs == lexical_router.model_configs
    with pytest.raises(TypeError, match="make a new R2Router"):
        twin.model_configs.clear()


def test_copies_of_a_router_with_predictors_of_one_s_own(small_router: R2Router) -> None:
    twin = pickle.loads(pickle.dumps(small_router))
    assert twin.route(EMBEDDING) == small_router.route(EMBEDDING)
    assert list(twin.predictors["alpha"]["limited"]) == ["10_score", "300_score"]
    with pytest.raises(TypeError, match="make a new R2Router"):
        twin.predictors.clear()


def test_many_threads(lexical_router: R2Router) -> None:
    texts = [f"query number {i} of many" for i in range(50)]
    expected = lexical_router.route_text(texts)
    rows = lexical_router.embed(texts)
    tokens = [decision.input_tokens for decision in expected]
    results: list[bool] = []

    def work() -> None:
        for _ in range(20):
            results.append(lexical_router.route_text(texts) == expected)
            batch = lexical_router.route_batch(rows, input_tokens=tokens)
            results.append((batch.risk == [d["risk"] for d in expected]).all())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 160
    assert all(results)


def test_default_checkpoint(monkeypatch: pytest.MonkeyPatch, native_folder: Path) -> None:
    monkeypatch.setenv("R2ROUTER_CHECKPOINT", str(native_folder))
    assert list(R2Router.from_pretrained().model_configs) == ["small", "large / ünï"]


def test_installed_checkpoints_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(R2Router.from_pretrained("r2-router").model_configs) == 11
    assert len(R2Router.from_pretrained("default").model_configs) > 11
    monkeypatch.setenv("R2ROUTER_CHECKPOINT", "r2-router")
    assert R2Router.from_pretrained().dimension == 1024


def test_a_folder_is_preferred_to_an_installed_checkpoint(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, native_folder: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("r2-router").write_text("a file does not count")
    assert len(R2Router.from_pretrained("r2-router").model_configs) == 11
    Path("r2-router").unlink()
    shutil.copytree(native_folder, "r2-router")
    assert len(R2Router.from_pretrained("r2-router").model_configs) == 2


def test_the_checkpoint_s_lambda_unless_another_is_given(native_folder: Path) -> None:
    assert R2Router.from_pretrained(native_folder).lambda_val == 0.25
    assert R2Router.from_pretrained(str(native_folder), 0.75).lambda_val == 0.75


def test_remarks_go_to_the_logger(
    joblib_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: Any
) -> None:
    folder = tmp_path / "partial"
    shutil.copytree(joblib_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    shutil.rmtree(folder / "checkpoints" / config["models"]["GLM-4.5-Air"]["checkpoint_dir"])
    with caplog.at_level(logging.INFO, logger="r2_router"):
        router = R2Router.from_pretrained(folder)
    assert "GLM-4.5-Air" not in router.predictors
    assert len(router.predictors) == 10
    [skipped, loaded] = caplog.records
    assert skipped.levelname == "WARNING"
    assert "GLM-4.5-Air" in skipped.message
    assert loaded.message == f"loaded 10 models from {folder}"
    assert capfd.readouterr() == ("", "")
    R2Router.from_pretrained(folder, verbose=True)
    assert capfd.readouterr() == ("", f"r2_router: {loaded.message}\n")
