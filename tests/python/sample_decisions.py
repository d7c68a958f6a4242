"""Made-up decisions with known numbers, for the tests of what a notebook user sees."""

from __future__ import annotations

from typing import Any

LIMITS = (10, 50, 200, 1000)

# name: output price (USD per million tokens), best quality, tokens that half of it takes
MODELS = {
    "small": (0.1, 0.5, 20),
    "medium": (0.5, 0.75, 60),
    "large": (5.0, 0.95, 120),
}


def risk(option: dict[str, Any], lambda_val: float) -> float:
    quality, cost = option["predicted_quality"], option["predicted_cost_usd"]
    return float((1 - lambda_val) * quality - lambda_val * cost)


def make_decision(
    lambda_val: float = 0.999,
    models: dict[str, tuple[float, float, float]] | None = None,
    limits: tuple[int, ...] = LIMITS,
    unlimited: bool = True,
) -> dict[str, Any]:
    """A decision with the reference's keys; quality saturates with the budget."""
    options = []
    for name, (price, best, half) in (models or MODELS).items():
        for budget in (*limits, "unlimited") if unlimited else limits:
            tokens = 1500.0 if budget == "unlimited" else budget
            option = {
                "model": name,
                "openrouter_id": f"maker/{name}",
                "budget": budget,
                "predicted_quality": best * tokens / (tokens + half),
                "predicted_output_tokens": tokens,
                "predicted_cost_usd": tokens * price / 1e6,
            }
            options.append(option | {"risk": risk(option, lambda_val)})
    options.sort(key=lambda option: -option["risk"])
    return options[0] | {"all_options": options}
