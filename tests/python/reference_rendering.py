"""The documented arithmetic of the reference package, one regressor at a time, with scikit-learn.

Slow and plain on purpose: what the package's decisions are compared with, and the way of doing it
that the benchmark measures.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np


class ReferenceRouter:
    def __init__(
        self,
        predictors: dict[str, Any],
        model_configs: dict[str, Any],
        lambda_val: float = 0.99999,
        embed_url: str | None = None,
        llm_api_base: str | None = None,
        llm_api_key: str | None = None,
    ) -> None:
        self.predictors = predictors
        self.model_configs = model_configs
        self.lambda_val = lambda_val
        self.embed_url = embed_url
        self.llm_api_base = llm_api_base
        self.llm_api_key = llm_api_key

    @classmethod
    def from_pretrained(cls, path: Path, **settings: Any) -> ReferenceRouter:
        import joblib

        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        predictors = {}
        for model, entry in config["models"].items():
            folder = path / "checkpoints" / entry["checkpoint_dir"]
            predictors[model] = {
                "limited": joblib.load(folder / "limited_score_predictors.joblib"),
                "unlimited_score": joblib.load(folder / "unlimited_score_predictor.joblib"),
                "unlimited_token": joblib.load(folder / "unlimited_token_predictor.joblib"),
            }
        return cls(predictors, config["models"], **settings)

    def embed(self, texts: Any) -> Any:
        raise NotImplementedError

    def route(
        self, embedding: Any, lambda_val: float | None = None, input_tokens: int = 100
    ) -> dict[str, Any]:
        weight = self.lambda_val if lambda_val is None else lambda_val
        row = np.asarray(embedding).reshape(1, -1)
        options = []
        for model, entry in self.predictors.items():
            for key, regressor in entry["limited"].items():
                budget = int(key.removesuffix("_score"))
                quality = float(regressor.predict(row)[0])
                options.append(self._option(model, budget, quality, budget, weight, input_tokens))
            quality = float(entry["unlimited_score"].predict(row)[0])
            tokens = max(0.0, float(entry["unlimited_token"].predict(row)[0]))
            options.append(self._option(model, "unlimited", quality, tokens, weight, input_tokens))
        best = max(options, key=lambda option: option["risk"])  # the first of equals
        ranked = sorted(options, key=lambda option: option["risk"], reverse=True)  # stable
        return {**best, "all_options": ranked}

    def _option(
        self,
        model: str,
        budget: int | str,
        raw_quality: float,
        tokens: float,
        weight: float,
        input_tokens: int,
    ) -> dict[str, Any]:
        config = self.model_configs[model]
        quality = min(max(raw_quality, 0.0), 1.0)
        cost = (
            input_tokens * config["input_price_per_million"] / 1e6
            + tokens * config["output_price_per_million"] / 1e6
        )
        return {
            "model": model,
            "openrouter_id": config["openrouter_id"],
            "budget": budget,
            "predicted_quality": round(quality, 4),
            "predicted_output_tokens": tokens if budget != "unlimited" else round(tokens, 1),
            "predicted_cost_usd": round(cost, 8),
            "risk": round((1 - weight) * quality - weight * cost, 8),
        }

    def route_text(self, query: str | list[str], lambda_val: float | None = None) -> Any:
        queries = [query] if isinstance(query, str) else query
        decisions = [
            self.route(embedding, lambda_val, max(1, int(len(text.split()) * 1.3)))
            for text, embedding in zip(queries, self.embed(queries), strict=True)
        ]
        return decisions[0] if isinstance(query, str) else decisions
