#!/usr/bin/env python3
"""Routing from Python compared with the reference's, in one run on one machine.

    python bench/python/bench_route.py [--checkpoint FOLDER] [--json]

Needs the installed package, NumPy, scikit-learn 1.7.2 and a released checkpoint folder
(default: ../shared/released). The reference's way is one scikit-learn predict a
head, 187 a decision: tests/python/reference_rendering.py.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from r2_router import R2Router

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "python"))
from reference_rendering import ReferenceRouter  # noqa: E402

HEADS = 187
ROWS = 10_000

IMPORT = """
import time, numpy
start = time.perf_counter()
import r2_router
print(time.perf_counter() - start)
"""


def seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def median(call: Callable[[], Any], repeats: int) -> float:
    """Median seconds of a call, after one that warms up."""
    call()
    return statistics.median(seconds(call) for _ in range(repeats))


def import_seconds() -> float:
    def once() -> float:
        done = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, check=True)
        return float(done.stdout)

    once()
    return statistics.median(once() for _ in range(7))


def two_threads(call: Callable[[], Any], repeats: int) -> float:
    """How many times the work of one thread two threads do in the same time."""

    def both() -> None:
        threads = [threading.Thread(target=call) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    # Alternating, so that both see the same machine.
    call()
    pairs = [(seconds(call), seconds(both)) for _ in range(repeats)]
    return 2 * statistics.median(one / two for one, two in pairs)


def measure(folder: Path) -> dict[str, float]:
    random = np.random.default_rng(0)
    # Like sentence embeddings: of norm 1, and similar to each other.
    rows = random.standard_normal((ROWS, 1024)) + random.standard_normal(1024)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rows32 = rows.astype(np.float32)
    weights = random.standard_normal((1024, HEADS)).astype(np.float32)
    router = R2Router.from_pretrained(folder)
    reference = ReferenceRouter.from_pretrained(folder)
    assert router.route(rows[0]) == reference.route(rows[0])

    results = {
        "import_ms": 1e3 * import_seconds(),
        "from_pretrained_ms": 1e3 * median(lambda: R2Router.from_pretrained(folder), 20),
    }
    queries = iter(np.tile(np.arange(ROWS), 10))
    results["route_us"] = 1e6 * median(lambda: router.route(rows[next(queries)]), 10_000)
    results["route_float32_us"] = 1e6 * median(lambda: router.route(rows32[next(queries)]), 10_000)
    results["route_and_all_options_us"] = 1e6 * median(
        lambda: router.route(rows[next(queries)])["all_options"], 3_000
    )
    with threadpool_limits(1):
        results["reference_us"] = 1e6 * median(lambda: reference.route(rows[next(queries)]), 20)
    results["times_faster"] = results["reference_us"] / results["route_us"]

    def batch() -> Any:
        return router.route_batch(rows32)

    # Alternating, as above; the product makes no decisions.
    for threads, name in ((1, "one_blas_thread"), (None, "all_blas_threads")):
        with threadpool_limits(threads):
            pairs = [(seconds(batch), seconds(lambda: rows32 @ weights)) for _ in range(16)][1:]
        results[f"batch_us_a_query_{name}"] = 1e6 / ROWS * statistics.median(p[0] for p in pairs)
        results[f"product_us_a_query_{name}"] = 1e6 / ROWS * statistics.median(p[1] for p in pairs)
        results[f"throughput_ratio_{name}"] = statistics.median(p[1] / p[0] for p in pairs)
    results["two_threads_speedup"] = two_threads(batch, 9)
    return results


def report(results: dict[str, float]) -> str:
    r = results
    lines = [
        ("import r2_router, numpy imported before", f"{r['import_ms']:8.1f} ms", "≤ 60 ms"),
        ("from_pretrained, released folder", f"{r['from_pretrained_ms']:8.1f} ms", "≤ 15 ms"),
        ("route, float64, p50", f"{r['route_us']:8.1f} µs", "≤ 30 µs"),
        ("route, float32, p50", f"{r['route_float32_us']:8.1f} µs", ""),
        ("route and read all_options, p50", f"{r['route_and_all_options_us']:8.1f} µs", "≤ 250 µs"),
        ("the reference's way, p50", f"{r['reference_us']:8.0f} µs", ""),
        ("  times slower than route", f"{r['times_faster']:8.0f} ×", "≥ 500 ×"),
    ]
    for threads in ("one", "all"):
        name = f"{threads}_blas_thread" + ("" if threads == "one" else "s")
        goal = "≥ 0.8 ×" if threads == "one" else ""
        lines += [
            (f"route_batch of {ROWS:,}", f"{r[f'batch_us_a_query_{name}']:8.2f} µs a query", ""),
            (
                f"NumPy float32 product, {threads} BLAS thread" + name[15:],
                f"{r[f'product_us_a_query_{name}']:8.2f} µs a query",
                "",
            ),
            ("  throughput over the product's", f"{r[f'throughput_ratio_{name}']:8.2f} ×", goal),
        ]
    lines.append(
        ("two threads over one, route_batch", f"{r['two_threads_speedup']:8.2f} ×", "≥ 1.7 ×")
    )
    return "\n".join(f"{what:42}{value:24}{goal}".rstrip() for what, value, goal in lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    default = ROOT.parent / "shared" / "released"
    parser.add_argument("--checkpoint", type=Path, default=default, metavar="FOLDER")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    settings = parser.parse_args()
    if not settings.checkpoint.is_dir():
        parser.error(f"{settings.checkpoint} is not a folder: give that of a released checkpoint")
    results = measure(settings.checkpoint)
    print(json.dumps(results) if settings.json else report(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
