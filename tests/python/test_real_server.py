"""The whole flow against a real OpenAI-compatible server with a real model.

Opt in: ``bash tests/real_server.sh`` starts such a server and runs this; or name one that runs in
R2ROUTER_REAL_SERVER, such as http://127.0.0.1:8080. It must serve embeddings too.
"""

from __future__ import annotations

import json
import os
import urllib.request
from typing import Any

import numpy as np
import pytest

from r2_router import R2Router

BASE = os.environ.get("R2ROUTER_REAL_SERVER", "")
pytestmark = pytest.mark.skipif(not BASE, reason="no R2ROUTER_REAL_SERVER to talk to")

QUERY = "The capital of France is"


class Regressor:
    def __init__(self, coef: Any, intercept: float) -> None:
        self.coef_ = coef
        self.intercept_ = intercept


@pytest.fixture(scope="module")
def model() -> str:
    """What the server calls its model."""
    with urllib.request.urlopen(f"{BASE}/v1/models", timeout=60) as reply:
        return str(json.load(reply)["data"][0]["id"])


@pytest.fixture(scope="module")
def router(model: str) -> R2Router:
    """Heads over the real model's embeddings; that they know nothing does not matter here."""
    request = urllib.request.Request(
        f"{BASE}/v1/embeddings",
        json.dumps({"model": model, "input": [QUERY]}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        dimension = len(json.load(reply)["data"][0]["embedding"])
    random = np.random.default_rng(1)

    def head(intercept: float) -> Regressor:
        return Regressor(random.standard_normal(dimension).astype(np.float32) / 100, intercept)

    predictors = {
        "local": {
            "limited": {"16_score": head(0.5), "32_score": head(0.8)},
            "unlimited_score": head(0.2),
            "unlimited_token": head(64),
        }
    }
    prices = {"input_price_per_million": 0.1, "output_price_per_million": 0.4}
    return R2Router(
        predictors,
        {"local": {"openrouter_id": model, **prices}},
        embed_url=BASE,
        llm_api_base=f"{BASE}/v1",
        embed_model=model,
        timeout=300,
    )


def test_embeddings(router: R2Router) -> None:
    one, two = router.embed([QUERY, "A completely different text about cooking rice."])
    # A batch of another size adds up in another order.
    np.testing.assert_allclose(router.embed(QUERY)[0], one, atol=1e-5)
    assert np.isclose(np.linalg.norm(one), 1, atol=1e-3)
    assert one @ two < 0.999


def test_route_generate_and_stream(router: R2Router) -> None:
    result = router.route_and_generate(QUERY, 0.0, temperature=0)
    print(json.dumps(result, indent=2))
    assert result["budget"] == 32
    assert result["response"]
    assert 0 < result["usage"]["completion_tokens"] <= result["attempts"][0]["max_tokens"]
    assert not result["over_cap"]
    assert result["computed_usd"] == pytest.approx(
        (result["usage"]["prompt_tokens"] * 0.1 + result["usage"]["completion_tokens"] * 0.4) / 1e6
    )
    stream = router.route_and_generate(QUERY, 0.0, temperature=0, stream=True)
    pieces = list(stream)
    assert len(pieces) > 1
    assert "".join(pieces) == stream.completion["response"]
    assert stream.completion["usage"]["completion_tokens"] > 0
    assert stream.completion["first_text_seconds"] < stream.completion["seconds"]


def test_the_cap_is_kept(router: R2Router) -> None:
    result = router.generate("Count from one to one thousand, in words.", "local", 16)
    assert result["usage"]["completion_tokens"] <= result["attempts"][0]["max_tokens"] <= 32
    assert result["truncated"] == (result["finish_reason"] == "length")
