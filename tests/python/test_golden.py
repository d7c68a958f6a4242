"""The reference package's own decisions, on its released heads, field by field and type by type."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT

from r2_router import UNLIMITED, R2Router

ROWS = 256


def typed(value: Any) -> Any:
    """The value with its types: 10 and 10.0 differ."""
    if isinstance(value, dict):
        return [(key, typed(item)) for key, item in value.items()]
    if isinstance(value, list):
        return [typed(item) for item in value]
    return type(value), value


def test_every_row(
    released_router: R2Router, golden_embeddings: np.ndarray, golden_rows: list[dict[str, Any]]
) -> None:
    assert len(golden_rows) == ROWS
    rows_with_options = 0
    for golden in golden_rows:
        embedding = golden_embeddings[golden["row"]]
        decision = released_router.route(embedding, golden["lambda"], golden["input_tokens"])
        options = decision["all_options"]
        assert len(options) == 176
        expected = dict(golden["decision"])
        if "all_options" in golden:
            rows_with_options += 1
            expected["all_options"] = golden["all_options"]
            assert json.dumps(decision) == json.dumps(expected)
        else:
            expected["all_options"] = options
            top = [[option["model"], option["budget"], option["risk"]] for option in options[:3]]
            assert top == golden["top3"]
        assert typed(decision) == typed(expected), f"row {golden['row']}"
    assert rows_with_options == 24


def test_every_row_in_a_batch(
    released_router: R2Router, golden_embeddings: np.ndarray, golden_rows: list[dict[str, Any]]
) -> None:
    for value in sorted({golden["lambda"] for golden in golden_rows}):
        rows = [golden for golden in golden_rows if golden["lambda"] == value]
        batch = released_router.route_batch(
            golden_embeddings[[golden["row"] for golden in rows]],
            value,
            [golden["input_tokens"] for golden in rows],
        )
        assert typed(batch.to_dicts()) == typed([golden["decision"] for golden in rows])
        unlimited = np.array([golden["decision"]["budget"] == "unlimited" for golden in rows])
        assert ((batch.budget == UNLIMITED) == unlimited).all()


def test_the_heads_are_the_released_ones(joblib_folder: Path) -> None:
    """Bit for bit, read without this package."""
    joblib = pytest.importorskip("joblib")
    data = (ROOT / "checkpoints/r2-router/model.safetensors").read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + size])
    names = json.loads(header["__metadata__"]["heads"])

    def tensor(name: str, dtype: str) -> np.ndarray:
        begin, end = header[name]["data_offsets"]
        values = np.frombuffer(data[8 + size + begin : 8 + size + end], dtype)
        return values.reshape(header[name]["shape"])

    weights, intercepts = tensor("weights", "<f4"), tensor("intercepts", "<f8")
    config = json.loads((joblib_folder / "config.json").read_text(encoding="utf-8"))
    heads = []
    for model, settings in config["models"].items():
        folder = joblib_folder / "checkpoints" / settings["checkpoint_dir"]
        limited = joblib.load(folder / "limited_score_predictors.joblib")
        for key, regressor in limited.items():
            heads.append(([model, int(key.removesuffix("_score")), "quality"], regressor))
        for target, file in (("quality", "score"), ("tokens", "token")):
            regressor = joblib.load(folder / f"unlimited_{file}_predictor.joblib")
            heads.append(([model, "unlimited", target], regressor))
    assert names == [name for name, _ in heads]
    assert len(heads) == 187
    for row, (name, regressor) in enumerate(heads):
        assert weights[row].tobytes() == regressor.coef_.tobytes(), name
        assert intercepts[row] == float(regressor.intercept_), name


def test_input_tokens() -> None:
    from conftest import shared

    class Router(R2Router):
        def embed(self, texts: Any) -> Any:
            return np.zeros((len(texts), 1024))

    router = Router.from_pretrained("r2-router")
    cases = json.loads(shared("golden/input_tokens.json").read_text(encoding="utf-8"))
    assert len(cases) > 5
    decisions = router.route_text([case["text"] for case in cases])
    assert [d.input_tokens for d in decisions] == [case["input_tokens"] for case in cases]
