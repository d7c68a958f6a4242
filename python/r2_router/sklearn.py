"""A router as an estimator of scikit-learn (extra ``sklearn``).

from r2_router.sklearn import RouterRegressor

regressor = RouterRegressor(prices={"small": (0.1, 0.2), "large": (1, 5)})
regressor.fit(embeddings, scores, output_tokens=lengths)
regressor.predict(embeddings)        # each model's score
regressor.choose(embeddings)         # the model that the router chooses
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ._train import train

try:
    from sklearn.base import BaseEstimator, RegressorMixin
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as error:
    raise ImportError(
        'r2_router.sklearn needs scikit-learn 1.6 or later: pip install "r2-router[sklearn]"'
    ) from error

__all__ = ["RouterRegressor"]


class RouterRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Predicts the score of each model's answer from embeddings, by linear heads.

    Parameters:
        prices: for each model its prices for input and output in USD per million tokens, in the
            order of the columns of ``y``; None: free models with the names of the columns
        alphas: ridge penalties to choose from by cross-validation
        folds: folds of the cross-validation, 2 or more
        seed: varies the folds
        threads: 0: one for each core. The result does not depend on it

    After ``fit``, ``router_`` is the R2Router, ``training_`` is its report, and ``coef_`` and
    ``intercept_`` are the quality heads.
    """

    def __init__(
        self,
        prices: Mapping[str, tuple[float, float]] | None = None,
        *,
        alphas: Sequence[float] = (1.0,),
        folds: int = 2,
        seed: int = 0,
        threads: int = 1,
    ) -> None:
        self.prices = prices
        self.alphas = alphas
        self.folds = folds
        self.seed = seed
        self.threads = threads

    def fit(self, X: Any, y: Any, output_tokens: Any = None) -> RouterRegressor:
        """Fits the heads to embeddings ``X`` (N, d) and scores ``y`` (N,) or (N, models).

        A data frame's columns may be in any order: ``prices`` has their names. Scores outside 0 to
        1 are mapped linearly to that range for the router; ``predict`` maps them back.
        ``output_tokens``: lengths of the answers in the shape of ``y``; None: 1 for each.
        """
        y = self._in_order(y)
        output_tokens = self._in_order(output_tokens)
        names = [str(name) for name in getattr(y, "columns", ())]
        X, y = validate_data(self, X, y, multi_output=True, y_numeric=True, ensure_min_samples=2)
        scores: Any = np.asarray(y, np.float64).reshape(len(X), -1)
        tokens = np.ones_like(scores)
        if output_tokens is not None:
            tokens = np.asarray(output_tokens, np.float64).reshape(scores.shape)
        prices = self.prices
        if prices is None:
            names = names or [str(column) for column in range(scores.shape[1])]
            prices = dict.fromkeys(names, (0.0, 0.0))
        if len(prices) != scores.shape[1]:
            raise ValueError(
                f"prices has {len(prices)} models and y {scores.shape[1]} columns: expected a "
                "column for each model"
            )
        low, high = min(0.0, float(scores.min())), max(1.0, float(scores.max()))
        self._offset, self._scale = low, high - low
        scores = (scores - low) / (high - low)
        # Splits go by the text, so that rows with the same embedding share a fold.
        texts = [row.tobytes().hex() for row in np.ascontiguousarray(X, np.float32)]
        self.training_ = train(
            [{"query_id": i, "query": text, "query_tokens": 1} for i, text in enumerate(texts)],
            [
                {"query_id": i, "model": model, "score": score, "output_tokens": length}
                for i in range(len(X))
                for model, score, length in zip(
                    prices, scores[i].tolist(), tokens[i].tolist(), strict=True
                )
            ],
            {
                model: {"input_price_per_million": paid, "output_price_per_million": answered}
                for model, (paid, answered) in prices.items()
            },
            embeddings=X,
            models=list(prices),
            alphas=list(self.alphas),
            folds=self.folds,
            holdout=0,
            seed=self.seed,
            threads=self.threads,
            progress=False,
        )
        self.router_ = self.training_.router
        checkpoint = self.router_._checkpoint
        quality = [
            i for i, (_, _, target) in enumerate(checkpoint.head_names) if target == "quality"
        ]
        weights = np.asarray(checkpoint.weights, np.float64)[quality]
        intercepts = np.asarray(checkpoint.intercepts)[quality]
        self._one_output = y.ndim == 1
        self.coef_ = weights * self._scale
        self.intercept_ = intercepts * self._scale + self._offset
        return self

    def _in_order(self, table: Any) -> Any:
        """A data frame with its columns in the order of ``prices``; anything else as it is."""
        names = getattr(table, "columns", None)
        if names is None or self.prices is None:
            return table
        if sorted(names) != sorted(self.prices):
            raise ValueError(
                f"the columns are {', '.join(map(str, names))}: expected those of prices, "
                f"{', '.join(self.prices)}"
            )
        return table[list(self.prices)]

    def predict(self, X: Any) -> Any:
        """Scores in the units of ``y``, (N,) or (N, models)."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False)
        scores = np.asarray(X, np.float64) @ self.coef_.T + self.intercept_
        return scores[:, 0] if self._one_output else scores

    def choose(self, X: Any, lambda_val: float | None = None) -> Any:
        """For each embedding the index of the model that the router chooses.

        ``lambda_val`` weighs cost (USD) against quality; None: the default that training found.
        """
        check_is_fitted(self)
        X = validate_data(self, X, reset=False)
        return self.router_.route_batch(X, lambda_val).model_index

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
