"""The estimator for scikit-learn."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.6")

from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import parametrize_with_checks

from r2_router.sklearn import RouterRegressor


@parametrize_with_checks([RouterRegressor()])
def test_scikit_learn_accepts_it(estimator: Any, check: Any) -> None:
    check(estimator)


def data() -> tuple[Any, Any]:
    chance = np.random.default_rng(1)
    X = chance.standard_normal((120, 6)).astype(np.float32)
    easy = X[:, 0] > 0
    scores = np.column_stack([easy * 0.9, 0.95 - 0.05 * chance.random(120)])
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


def test_columns_are_found_by_their_names() -> None:
    pandas = pytest.importorskip("pandas")
    X, y = data()
    prices = {"small": (0.1, 0.2), "large": (1, 5)}
    frame = pandas.DataFrame({"large": y[:, 1], "small": y[:, 0]})
    found = RouterRegressor(prices).fit(X, frame)
    np.testing.assert_array_equal(found.coef_, RouterRegressor(prices).fit(X, y).coef_)
    assert list(RouterRegressor().fit(X, frame).router_.model_configs) == ["large", "small"]
    with pytest.raises(ValueError, match="the columns are a, b: expected those of prices, small"):
        RouterRegressor(prices).fit(X, frame.set_axis(["a", "b"], axis=1))


def test_parameters_are_those_of_the_constructor() -> None:
    regressor = RouterRegressor(alphas=[1, 2], folds=3)
    assert regressor.get_params() == {
        "prices": None, "alphas": [1, 2], "folds": 3, "seed": 0, "threads": 1
    }  # fmt: skip
    assert clone(regressor).get_params() == regressor.get_params()
    X, y = data()
    search = GridSearchCV(RouterRegressor(), {"alphas": [[1.0], [1e6]]}, cv=2).fit(X, y)
    assert search.best_params_ == {"alphas": [1.0]}


def test_a_fitted_estimator_is_pickled_with_its_router() -> None:
    X, y = data()
    regressor = RouterRegressor(alphas=[0.1]).fit(X, y)
    again = pickle.loads(pickle.dumps(regressor))
    np.testing.assert_array_equal(again.choose(X), regressor.choose(X))
    assert again.training_ == regressor.training_
    assert str(again.training_) == str(regressor.training_)
    with pytest.raises(ValueError, match="without its data"):
        _ = again.training_.evaluation
