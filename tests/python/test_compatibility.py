"""One script, run against this package and against the reference's arithmetic in scikit-learn."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reference_rendering import ReferenceRouter

from r2_router import TOKEN_LIMITS, R2Router

sklearn = pytest.importorskip("sklearn", reason="needs scikit-learn, of the test extra")

QUERIES = ["Solve the equation: 2x + 5 = 13", "one", "tabs\tand\u2003wide   spaces", "x " * 400]


@pytest.fixture(scope="module", autouse=True)
def same_scikit_learn() -> Iterator[None]:
    if sklearn.__version__ != "1.7.2":
        pytest.skip(f"scikit-learn is {sklearn.__version__}, the released files are from 1.7.2")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def embeddings(count: int) -> np.ndarray:
    random = np.random.default_rng(2602)
    rows = random.standard_normal((count, 1024)) + 0.5 * random.standard_normal(1024)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def script(router: Any) -> list[Any]:
    """What a user of the reference package does with a router; returns everything seen."""
    rows = embeddings(len(QUERIES))
    router.embed = lambda texts: rows[: len(texts)]
    seen: list[Any] = [
        router.lambda_val,
        router.embed_url,
        router.llm_api_base,
        router.llm_api_key,
        list(router.predictors),
        [list(entry["limited"]) for entry in router.predictors.values()],
        json.dumps(router.model_configs),
    ]
    for embedding in embeddings(3):
        seen.append(router.route(embedding))
        seen.append(router.route(list(embedding)))
        seen.append(router.route(embedding, 0.0))
        seen.append(router.route(embedding, lambda_val=1.0, input_tokens=0))
        seen.append(router.route(embedding, input_tokens=123_456))
        seen.append(router.route(3 * embedding, 0.9999, 7))
    seen.append(router.route_text(QUERIES[0]))
    seen.append(router.route_text(QUERIES, lambda_val=0.5))
    seen.append(router.route_text([]))
    router.lambda_val = 0.999
    seen.append(router.route(rows[1]))
    for entry in router.predictors.values():
        for regressor in (*entry["limited"].values(), entry["unlimited_token"]):
            seen.append((regressor.coef_.tolist(), float(regressor.intercept_)))
            seen.append(regressor.n_features_in_)
            assert regressor.coef_.dtype == np.float32
    prediction = router.predictors["gemma-3-4b-it"]["unlimited_score"].predict(rows)
    assert prediction.shape == (len(rows),)
    assert prediction.dtype == np.float64
    seen.append(np.round(prediction, 12).tolist())
    return seen


def assert_same(ours: Any, theirs: Any, place: str = "seen") -> None:
    """Equal down to the types; names the first difference rather than show 176 options."""
    if isinstance(theirs, dict):
        assert isinstance(ours, dict), place
        assert list(ours) == list(theirs), place
        for key, value in theirs.items():
            assert_same(ours[key], value, f"{place}[{key!r}]")
    elif isinstance(theirs, (list, tuple)):
        assert isinstance(ours, type(theirs)), place
        assert len(ours) == len(theirs), place
        for i, value in enumerate(theirs):
            assert_same(ours[i], value, f"{place}[{i}]")
    else:
        assert type(ours) is type(theirs), f"{place}: {ours!r}, expected {theirs!r}"
        assert ours == theirs, place


SETTINGS: dict[str, Any] = {
    "embed_url": "http://localhost:1",
    "llm_api_base": "http://localhost:2",
    "llm_api_key": "key",
}


def test_the_same_script_sees_the_same(joblib_folder: Path) -> None:
    ours = script(R2Router.from_pretrained(joblib_folder, **SETTINGS))
    theirs = script(ReferenceRouter.from_pretrained(joblib_folder, **SETTINGS))
    assert_same(ours, theirs)


def test_a_router_made_of_the_reference_s_predictors(joblib_folder: Path) -> None:
    reference = ReferenceRouter.from_pretrained(joblib_folder)
    # Another order of models and of budgets, which settles ties, and a model less.
    names = list(reversed(reference.predictors))[1:]
    reference.predictors = {
        name: reference.predictors[name]
        | {"limited": dict(reversed(reference.predictors[name]["limited"].items()))}
        for name in names
    }
    reference.model_configs = {name: reference.model_configs[name] for name in names}
    router = R2Router(reference.predictors, reference.model_configs, lambda_val=0.99)
    reference.lambda_val = 0.99
    assert_same(script(router), script(reference))
    given = reference.predictors[names[0]]["unlimited_score"]
    assert router.predictors[names[0]]["unlimited_score"] is given


def test_a_float64_regressor_fitted_here() -> None:
    from sklearn.linear_model import Ridge

    random = np.random.default_rng(5)
    inputs = random.standard_normal((50, 16))

    def fit(scale: float, shape: tuple[int, ...] = (50,)) -> Any:
        return Ridge(1.0).fit(inputs, scale * random.standard_normal(shape))

    predictors = {
        "m": {
            "limited": {"10_score": fit(1), "20_score": fit(1)},
            "unlimited_score": fit(1),
            "unlimited_token": fit(900),
        }
    }
    configs = {
        "m": {
            "openrouter_id": "v/m",
            "input_price_per_million": 2,
            "output_price_per_million": 7,
        }
    }
    ours, theirs = R2Router(predictors, configs), ReferenceRouter(predictors, configs)
    for embedding in inputs:
        for weight in (0.0, 0.9, 0.99999):
            assert_same(ours.route(embedding, weight), theirs.route(embedding, weight))


def test_token_limits() -> None:
    assert TOKEN_LIMITS == [10, 20, 30, 40, 50, 80, 100, 150, 200, 300, 500, 800, 1200, 2000, 4000]
