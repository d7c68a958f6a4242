#!/usr/bin/env python3
"""Training compared with scikit-learn's Ridge per head, in one run on one machine.

    python3 bench/train_vs_sklearn.py BUILD_FOLDER/bench/train_bench [--heads 187]

Needs numpy and scikit-learn. 30,968 queries x 1,024 dimensions, one alpha. With --heads below 187
scikit-learn fits that many and its time is scaled up; every head takes the same time.
"""

import argparse
import json
import os
import resource
import subprocess
import time

import numpy as np
from sklearn.linear_model import Ridge

QUERIES, DIMENSION, HEADS = 30968, 1024, 187


def run_ours(program, name):
    """Seconds and peak megabytes of one benchmark, in a separate process."""
    process = subprocess.Popen(
        [program, f"--benchmark_filter={name}", "--benchmark_format=json"],
        stdout=subprocess.PIPE,
    )
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit(f"{program} failed with status {status}")
    seconds = json.loads(output)["benchmarks"][0]["real_time"]
    return seconds, usage.ru_maxrss / 1024


def run_sklearn(heads):
    """Seconds for `heads` heads, one Ridge each, as the released checkpoints were made."""
    random = np.random.default_rng(1)
    x = random.uniform(-0.054, 0.054, (QUERIES, DIMENSION)).astype(np.float32)
    y = random.integers(0, 2, (QUERIES, heads)).astype(np.float32)
    start = time.perf_counter()
    for head in range(heads):
        Ridge(alpha=30).fit(x, y[:, head])
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", help="the built train_bench")
    parser.add_argument("--heads", type=int, default=HEADS)
    arguments = parser.parse_args()

    fit, fit_memory = run_ours(arguments.program, "fit_187_heads")
    whole, whole_memory = run_ours(arguments.program, "train_352_heads")
    sklearn = run_sklearn(arguments.heads) * HEADS / arguments.heads
    sklearn_memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    print(f"{QUERIES:,} queries x {DIMENSION:,} dimensions, one alpha")
    print(f"{'':44s} seconds  peak MB")
    print(f"{'r2router, 187 heads':44s} {fit:7.2f}  {fit_memory:7.0f}")
    print(f"{'r2router, 352 heads, cross-validated':44s} {whole:7.2f}  {whole_memory:7.0f}")
    print(
        f"{'scikit-learn, 187 heads, one Ridge a head':44s} {sklearn:7.2f}  {sklearn_memory:7.0f}"
    )
    print(f"ratio for 187 heads: {sklearn / fit:.0f}")


if __name__ == "__main__":
    main()
