"""Predictors: one linear regressor for each quantity that a router predicts.

For each model a dictionary with

- ``"limited"``: quality under a limited budget, by budget: ``{"10_score": ..., "20_score": ...}``,
  in the order that breaks ties
- ``"unlimited_score"`` and ``"unlimited_token"``: quality and length without a limit
- ``"limited_token"``, if the checkpoint has them: length under a limited budget,
  ``{"10_token": ..., ...}``; without it, answers are assumed to use the whole budget

Each regressor is any object with ``coef_`` and ``intercept_``, such as scikit-learn's Ridge.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _core
from ._frozen import FrozenDict, freeze

__all__ = ["LinearPredictor", "checkpoint_of", "predictors_of"]

#: Settings of a model that are passed on unchanged; the native library checks them.
_MORE_SETTINGS = (
    "price_tiers",
    "unknown_prices",
    "note",
    "time_to_first_token_ms",
    "output_tokens_per_second",
    "context_tokens",
    "max_output_tokens",
    "capabilities",
    "instruction",
    "instruction_tokens",
    "omit",
    "request",
    "family",
    "endpoint",
    "retires",
)
_MORE_PRICES = (
    "cached_input_price_per_million",
    "cache_write_price_per_million",
    "reasoning_price_per_million",
    "price_per_request",
    "price_per_image",
)

Head = tuple[int, "int | str", str]


class LinearPredictor:
    """A regressor of a loaded checkpoint: prediction = coef_ . x + intercept_."""

    __slots__ = ("coef_", "intercept_")

    #: A read-only view, (d,).
    coef_: NDArray[Any]
    intercept_: Any

    def __init__(self, coef: NDArray[Any], intercept: float) -> None:
        self.coef_ = coef
        self.intercept_ = coef.dtype.type(intercept)

    @property
    def n_features_in_(self) -> int:
        return len(self.coef_)

    def predict(self, embeddings: Any) -> NDArray[Any]:
        """Predictions for embeddings of shape (N, d), like scikit-learn's regressors."""
        prediction: NDArray[Any] = np.asarray(embeddings) @ self.coef_ + self.intercept_
        return prediction

    def __repr__(self) -> str:
        return f"LinearPredictor({len(self.coef_)} {self.coef_.dtype} coefficients)"


def predictors_of(checkpoint: _core.Checkpoint) -> FrozenDict[str, Any]:
    """A checkpoint's predictors, ordered by model."""
    weights = checkpoint.weights
    models = list(checkpoint.model_configs)
    predictors: dict[str, Any] = {name: {"limited": {}} for name in models}
    for row, (model, budget, target) in enumerate(checkpoint.head_names):
        predictor = LinearPredictor(weights[row], checkpoint.intercepts[row])
        suffix = "score" if target == "quality" else "token"
        entry = predictors[models[model]]
        if budget == "unlimited":
            entry[f"unlimited_{suffix}"] = predictor
        else:
            limited = "limited" if target == "quality" else "limited_token"
            entry.setdefault(limited, {})[f"{budget}_{suffix}"] = predictor
    frozen: FrozenDict[str, Any] = freeze(predictors)
    return frozen


def checkpoint_of(
    predictors: Mapping[str, Mapping[str, Any]],
    model_configs: Mapping[str, Mapping[str, Any]],
    embedding_model: str,
) -> _core.Checkpoint:
    """A checkpoint with these predictors and the reference rules."""
    if not isinstance(predictors, Mapping) or not predictors:
        raise ValueError(
            "predictors is empty or not a dictionary: expected a dictionary by model, each with "
            '"limited", "unlimited_score" and "unlimited_token"'
        )
    models = {name: _model(name, model_configs) for name in predictors}
    heads: list[Head] = []
    coefficients: list[NDArray[Any]] = []
    intercepts: list[float] = []
    for index, (model, entry) in enumerate(predictors.items()):
        for place, budget, target, predictor in _walk(f"predictors[{model!r}]", entry):
            coef, intercept = _linear(place, predictor)
            if coefficients and len(coef) != len(coefficients[0]):
                raise ValueError(
                    f"{place} has {len(coef)} coefficients, the first predictor has "
                    f"{len(coefficients[0])}: all must be trained on embeddings of one model"
                )
            heads.append((index, budget, target))
            coefficients.append(coef)
            intercepts.append(intercept)
    config = {
        "format_version": 1,
        "embedding_model": embedding_model,
        "embedding_dim": len(coefficients[0]),
        "models": models,
    }
    import json  # most programs do not need it

    return _core.Checkpoint(json.dumps(config), heads, np.stack(coefficients), intercepts)


def _model(name: str, model_configs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    if not isinstance(name, str) or not name:
        raise TypeError(f"predictors has the key {name!r}: expected the name of a model")
    if not isinstance(model_configs, Mapping) or name not in model_configs:
        raise ValueError(
            f"model_configs has no entry for {name!r}, which predictors has: add its prices"
        )
    config = model_configs[name]
    if not isinstance(config, Mapping):
        raise TypeError(f"model_configs[{name!r}] is {config!r}: expected a dictionary")
    model = {
        "openrouter_id": config.get("openrouter_id") or "",
        "input_price_per_million": _price(name, config, "input_price_per_million"),
        "output_price_per_million": _price(name, config, "output_price_per_million"),
        "available": bool(config.get("available", True)),
    }
    for key in _MORE_PRICES:
        if config.get(key) is not None:
            model[key] = _price(name, config, key)
    for key in _MORE_SETTINGS:
        if config.get(key) is not None:
            model[key] = config[key]
    return model


def _price(name: str, config: Mapping[str, Any], key: str) -> float:
    try:
        price = float(config[key])
    except (KeyError, TypeError, ValueError):
        price = float("nan")
    if not 0 <= price < float("inf"):
        unit = "USD per million tokens" if key.endswith("_per_million") else "USD"
        raise ValueError(
            f"model_configs[{name!r}][{key!r}] is {config.get(key)!r}: expected {unit}, a number "
            "of 0 or more"
        )
    return price


def _walk(place: str, entry: Any) -> Iterator[tuple[str, int | str, str, Any]]:
    """Each predictor of a model with its location, budget and target, in the order of ties."""
    if not isinstance(entry, Mapping):
        raise TypeError(f"{place} is a {type(entry).__name__}: expected a dictionary")
    unknown = set(entry) - {"limited", "limited_token", "unlimited_score", "unlimited_token"}
    if unknown:
        raise ValueError(
            f'{place} has the key {min(map(str, unknown))!r}: expected "limited", '
            '"unlimited_score", "unlimited_token" and optionally "limited_token"'
        )
    for part, suffix, target in (
        ("limited", "_score", "quality"),
        ("limited_token", "_token", "tokens"),
    ):
        by_budget = entry.get(part, {})
        if not isinstance(by_budget, Mapping):
            raise TypeError(
                f"{place}[{part!r}] is a {type(by_budget).__name__}: expected a dictionary"
            )
        for key, predictor in by_budget.items():
            inner = f"{place}[{part!r}][{key!r}]"
            digits = str(key).removesuffix(suffix)
            if not (digits.isascii() and digits.isdigit() and 0 < int(digits) < 2**32 - 1):
                raise ValueError(f'{inner}: expected a key such as "300{suffix}"')
            yield inner, int(digits), target, predictor
        if part == "limited":
            for key, target in (("unlimited_score", "quality"), ("unlimited_token", "tokens")):
                if key not in entry:
                    raise ValueError(f"{place} has no {key!r}: add that predictor")
                yield f"{place}[{key!r}]", "unlimited", target, entry[key]


def _linear(place: str, predictor: Any) -> tuple[NDArray[Any], float]:
    """Coefficients, float32 or float64 of shape (d,), and intercept."""
    try:
        coef, intercept = np.asarray(predictor.coef_), np.asarray(predictor.intercept_)
    except AttributeError:
        raise TypeError(
            f"{place} is a {type(predictor).__name__}: expected a fitted linear regressor with "
            "coef_ and intercept_"
        ) from None
    if coef.dtype.kind not in "iuf" or intercept.dtype.kind not in "iuf":
        raise TypeError(f"{place} has coefficients of the type {coef.dtype}: expected numbers")
    if coef.ndim == 2 and coef.shape[0] == 1:
        coef = coef[0]  # fitted to a target of shape (N, 1)
    if coef.ndim != 1 or coef.size == 0 or intercept.size != 1:
        raise ValueError(
            f"{place} has coef_ of shape {coef.shape} and intercept_ of shape {intercept.shape}: "
            "expected (d,) and one number, a regressor of one target"
        )
    if not (np.isfinite(coef).all() and np.isfinite(intercept).all()):
        raise ValueError(f"{place} has a coefficient that is NaN or infinite: train it again")
    if coef.dtype != np.float32:
        coef = coef.astype(np.float64)
    return coef, float(intercept.reshape(()))
