"""Ratios of the bulk functions to their parts, from one run: python bench_bulk.py [ROWS]."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow

from r2_router import R2Router


def best(call: Callable[[], Any], rounds: int = 5) -> float:
    """The least time of several rounds, in seconds."""
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return min(times)


def processor_seconds(call: Callable[[], Any], rounds: int = 3) -> float:
    """The least processor time of several rounds, of all threads together."""
    times = []
    for _ in range(rounds):
        begin = time.process_time()
        call()
        times.append(time.process_time() - begin)
    return min(times)


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    router = R2Router.from_pretrained("r2-router")
    random = np.random.default_rng(1)
    small = random.standard_normal((10_000, router.dimension), np.float32)
    heads = random.standard_normal((router.dimension, 187), np.float32)
    product = best(lambda: small @ heads)
    routed = best(lambda: router.route_batch(small))
    print(f"route_batch / NumPy's product, 10,000 rows: {product / routed:.2f}x its throughput")

    large = np.tile(small, (-(-rows // len(small)), 1))[:rows]
    column = pyarrow.FixedSizeListArray.from_arrays(large.reshape(-1), router.dimension)
    table = pyarrow.table({"vec": column})
    one = best(lambda: router.route_batch(large, threads=1), 2)
    two = best(lambda: router.route_batch(large, threads=2), 2)
    all_cores = best(lambda: router.route_batch(large), 2)
    print(f"two threads / one: {one / two:.2f}x; {1e6 * one / rows:.2f} µs a row on one")
    in_table = best(lambda: router.route_table(table, embedding="vec"), 2)
    print(f"route_table / route_batch, {rows:,} rows: {all_cores / in_table:.2f}x")

    def spent(column: str, objective: str) -> float:
        routed = router.route_table(table, embedding="vec", objective=objective)
        return float(np.sum(routed[column].to_numpy()))

    def within(total: str, column: str, share: float) -> float:
        least, most = spent(column, "cheapest"), spent(column, "best")
        usd = least + share * (most - least)
        return processor_seconds(lambda: router.route_table(table, embedding="vec", **{total: usd}))

    plain = processor_seconds(lambda: router.route_table(table, embedding="vec"))
    for total, column in (
        ("total_usd", "predicted_cost_usd"),
        ("total_worst_case_usd", "worst_case_cost_usd"),
    ):
        for share in (0.05, 0.3):
            ratio = within(total, column, share) / plain
            print(f"{total}, {share:.0%} of the way to the best options / plain: {ratio:.2f}x")


if __name__ == "__main__":
    main()
