"""How the package is used, for the type checker: mypy --strict must accept it as it stands."""

from __future__ import annotations

import numpy as np

from r2_router import (
    TOKEN_LIMITS,
    UNLIMITED,
    Decision,
    DecisionBatch,
    LexicalEncoder,
    QualityCurve,
    R2Router,
    TextStream,
    convert,
    train,
)


def route(router: R2Router) -> list[str]:
    decision: Decision = router.route_text("Solve the equation: 2x + 5 = 13")
    decisions: list[Decision] = router.route_text(["one", "two"], lambda_val=0.999)
    embeddings = router.embed(["one", "two"])
    decisions.append(router.route(embeddings[0], 0.5, 20, deny=["a"], available_only=True))
    decisions.append(router.route([0.1, 0.2], allow=("a", "b"), token_floor=20))
    cheapest = min(decision.all_options, key=lambda option: float(option["predicted_cost_usd"]))
    return [str(entry["model"]) for entry in (*decisions, cheapest)]


def batch(router: R2Router) -> float:
    result: DecisionBatch = router.route_batch(np.zeros((3, 2), np.float32), input_tokens=[1, 2, 3])
    limited = result.budget[result.budget != UNLIMITED]
    assert len(result.to_dicts()) == len(result)
    return float(result.cost_usd.sum()) + int(limited.sum()) + max(TOKEN_LIMITS)


def curves(router: R2Router) -> dict[str, float]:
    by_model: dict[str, QualityCurve] = router.quality_curve("a query")
    return {model: float(curve.quality.max()) for model, curve in by_model.items()}


def make() -> R2Router:
    convert("released", "native")
    report = train("q.jsonl", "o.jsonl", "pool.json", "mine", encoder=LexicalEncoder(idf=True))
    router = R2Router.from_pretrained("mine", lambda_val=float(report["default_lambda"]))
    return R2Router(router.predictors, router.model_configs, lambda_val=router.lambda_val)


def ask(router: R2Router) -> str:
    answer = router.route_and_generate("a query", 0.5, temperature=0, max_fallbacks=1, deny=["a"])
    stream: TextStream = router.generate("a query", "a", "unlimited", stream=True, timeout=20)
    pieces = [piece.upper() for piece in stream]
    return str(answer["response"]) + "".join(pieces) + str(stream.completion["seconds"])


async def ask_later(router: R2Router) -> str:
    conversation = [{"role": "user", "content": "a query"}]
    answer = await router.agenerate(conversation, "a", 20)
    return str(answer["response"])
