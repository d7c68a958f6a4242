"""The estimator for scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.6")

from sklearn.linear_model import Ridge
from sklearn.utils.estimator_checks import parametrize_with_checks

from r2_router.sklearn import RouterRegressor

# Why a check of scikit-learn's does not apply.
EXCLUDED: dict[str, str] = {}


def excluded(estimator: Any) -> dict[str, str]:
    return EXCLUDED


@parametrize_with_checks([RouterRegressor()], expected_failed_checks=excluded)
def test_scikit_learn_accepts_it(estimator: Any, check: Any) -> None:
    check(estimator)


def data() -> tuple[Any, Any]:
    chance = np.random.default_rng(1)
    X = chance.standard_normal((120, 6)).astype(np.float32)
    easy = X[:, 0] > 0
    scores = np.column_stack([easy * 0.9, np.full(120, 0.95)])
    return X, scores


def test_heads_are_those_of_ridge_regression() -> None:
    X, y = data()
    regressor = RouterRegressor(alphas=[3.0]).fit(X, y)
    expected = Ridge(3.0).fit(X.astype(np.float64), y)
    np.testing.assert_allclose(regressor.coef_, expected.coef_, atol=1e-6)
    np.testing.assert_allclose(regressor.predict(X), expected.predict(X), atol=1e-6)
    np.testing.assert_allclose(regressor.score(X, y), expected.score(X, y), atol=1e-6)


def test_it_routes() -> None:
    X, y = data()
    regressor = RouterRegressor({"small": (0.1, 0.2), "large": (1, 5)}, alphas=[0.1])
    regressor.fit(X, y, output_tokens=np.full(y.shape, 100))
    assert list(regressor.router_.model_configs) == ["small", "large"]
    assert set(regressor.choose(X, 1.0)) == {0}
    best = regressor.choose(X, 0.0)
    assert np.mean(best == 1) > 0.9
    with pytest.raises(ValueError, match="prices has 1 models and y 2 columns"):
        RouterRegressor({"small": (1, 1)}).fit(X, y)
