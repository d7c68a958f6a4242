"""Training from sums: rows/s and memory as data grows, compared with scikit-learn's Ridge.

python bench_statistics.py [ROWS] [DIMENSION]; 10,000,000 rows of 1,024 take constant memory. The
outcomes of four models are generated batch by batch. scikit-learn fits the same number of heads to
the first rows, as many as are given by --fit (20,000), once, for one α and without folds.
"""

from __future__ import annotations

import argparse
import resource
import time
from typing import Any

import numpy as np
from sklearn.linear_model import Ridge

from r2_router import Statistics

MODELS = {
    f"model-{i}": {"input_price_per_million": 4.0**i / 5, "output_price_per_million": 4.0**i}
    for i in range(4)
}
BATCH = 10_000


def batch(begin: int, rows: int, dimension: int) -> tuple[list[Any], list[Any], Any]:
    """Queries, outcomes and embeddings; the same for the same begin."""
    random = np.random.default_rng(begin)
    embeddings = random.standard_normal((rows, dimension), np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    scores = embeddings[:, :4] * 3 + random.random((rows, 4)) > 0.5
    tokens = (200 + 500 * np.abs(embeddings[:, 4:8])).astype(int)
    queries = [{"query_id": begin + i, "query": f"question {begin + i}"} for i in range(rows)]
    outcomes = [
        {"query_id": begin + i, "model": model, "score": score, "output_tokens": length}
        for i, (row, lengths) in enumerate(zip(scores.tolist(), tokens.tolist(), strict=True))
        for model, score, length in zip(MODELS, row, lengths, strict=True)
    ]
    return queries, outcomes, embeddings


def resident() -> float:
    """The most memory that the process had so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("rows", type=int, nargs="?", default=100_000)
    arguments.add_argument("dimension", type=int, nargs="?", default=1024)
    arguments.add_argument("--fit", type=int, default=20_000)
    options = arguments.parse_args()

    statistics = Statistics(MODELS, dimension=options.dimension)
    spent = 0.0
    half = 0.0
    for begin in range(0, options.rows, BATCH):
        rows = min(BATCH, options.rows - begin)
        queries, outcomes, embeddings = batch(begin, rows, options.dimension)
        start = time.perf_counter()
        statistics.add(queries, outcomes, embeddings=embeddings)
        spent += time.perf_counter() - start
        if begin <= options.rows / 2:
            half = resident()
    added = options.rows / spent
    print(f"add: {options.rows:,} rows of {options.dimension}, {added:,.0f} rows/s")
    print(f"memory: {half:,.0f} MB at half of the rows, {resident():,.0f} MB at the end")
    start = time.perf_counter()
    report = statistics.solve(progress=False)
    print(f"solve: {time.perf_counter() - start:.1f} s, α = {report['alpha']:g}")

    rows = min(options.fit, options.rows)
    parts = [
        batch(begin, min(BATCH, rows - begin), options.dimension) for begin in range(0, rows, BATCH)
    ]
    features = np.concatenate([part[2] for part in parts]).astype(np.float64)
    targets = np.random.default_rng(0).random((rows, 2 * len(MODELS)))
    start = time.perf_counter()
    Ridge(alpha=80).fit(features, targets)
    fitted = rows / (time.perf_counter() - start)
    print(f"scikit-learn's Ridge on {rows:,} rows: {fitted:,.0f} rows/s")
    print(f"add / Ridge: {added / fitted:.2f}x its rows/s")


if __name__ == "__main__":
    main()
