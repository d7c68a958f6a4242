"""Writes reference/: 256 embeddings with the decisions of the published Python package on its
released checkpoints, for anyone to compare checkpoints/r2-router with.

    python tests/golden/make_reference_rows.py GOLDEN

GOLDEN holds embeddings.npy, (512, 1024) float32, and decisions.jsonl, made by running that package
(0.1.0, scikit-learn 1.7.2) on seeded vectors that have a common direction, as embeddings of
sentences do; every 16th has norm 3, the others 1. The first 256 are kept. The vectors are not
rounded, as decisions would differ.

A line of reference/decisions.jsonl has the row, λ and the input tokens, and

- `ranking`, all 176 options, the chosen one first: for the first 24 rows;
- `chosen`, and `top`, model, budget and risk of the best three: for the others.

An option is [model, budget, predicted_quality, predicted_output_tokens, predicted_cost_usd, risk],
the model by its position in the pool.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

ROWS = 256
HERE = Path(__file__).parent
CONFIG = HERE.parents[1] / "checkpoints/r2-router/config.json"
POOL = list(json.loads(CONFIG.read_text(encoding="utf-8"))["models"])
VALUES = ("budget", "predicted_quality", "predicted_output_tokens", "predicted_cost_usd", "risk")


def compact(option: dict[str, Any]) -> list[Any]:
    return [POOL.index(option["model"]), *(option[name] for name in VALUES)]


def main(golden: Path) -> None:
    target = HERE / "reference"
    target.mkdir(exist_ok=True)
    np.save(target / "embeddings.npy", np.load(golden / "embeddings.npy")[:ROWS])
    with (
        open(golden / "decisions.jsonl", encoding="utf-8") as lines,
        open(target / "decisions.jsonl", "w", encoding="utf-8") as out,
    ):
        for line in map(json.loads, lines):
            if line["row"] >= ROWS:
                continue
            row = {name: line[name] for name in ("row", "lambda", "input_tokens")}
            if "all_options" in line:
                row["ranking"] = [compact(option) for option in line["all_options"]]
                assert row["ranking"][0] == compact(line["decision"])
            else:
                row["chosen"] = compact(line["decision"])
                row["top"] = [[POOL.index(model), *rest] for model, *rest in line["top3"]]
            out.write(json.dumps(row, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
