"""Serves at half load for a while, with clients that disconnect, and looks for leaks.

    python3 bench/gateway/soak.py [--build build/release] [--minutes 10] [--rate RATE]

Whole answers and streams run at once, and one request in twenty is abandoned, before the answer or
after it has begun. The gateway has a key with limits and a ledger in a file. Memory and descriptors
are shown every half a minute. Fails if a request fails, if descriptors remain open, or if the most
memory in the second half of the time is a tenth above that in the first.
"""

from __future__ import annotations

import argparse
import threading
import time
from pathlib import Path
from typing import Any

from harness import SOURCE, Bench, descriptors, memory_bytes, stats

ABORT_EVERY = 20
STREAM_SHARE = 0.2  # of the requests; a stream has 5 events in 40 ms


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--build", type=Path, default=SOURCE / "build" / "release")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--rate", type=float, help="requests/s; default: half of what wrk reaches")
    given = parser.parse_args()
    with (
        Bench(given.build) as bench,
        bench.upstream() as upstream,
        bench.gateway(upstream, limited=True) as gateway,
    ):
        idle = descriptors(gateway.pid)
        rate = given.rate or bench.wrk(gateway.port, 5).per_second / 2
        seconds = given.minutes * 60
        print(f"{rate:,.0f} requests/s for {given.minutes:g} minutes\n")
        print("| seconds | memory (MB) | descriptors |\n|---|---|---|", flush=True)
        results: list[dict[str, Any]] = []

        def send(content: Path, share: float) -> None:
            results.append(
                bench.load("rate", gateway.port, content, rate * share, seconds, ABORT_EVERY)
            )

        threads = [
            threading.Thread(target=send, args=(bench.whole, 1 - STREAM_SHARE)),
            threading.Thread(target=send, args=(bench.short_stream, STREAM_SHARE)),
        ]
        begin = time.monotonic()
        for thread in threads:
            thread.start()
        memory: list[tuple[float, float]] = []
        while any(thread.is_alive() for thread in threads):
            memory.append((time.monotonic() - begin, memory_bytes(gateway.pid) / 1e6))
            print(
                f"| {memory[-1][0]:.0f} | {memory[-1][1]:.1f} | {descriptors(gateway.pid)} |",
                flush=True,
            )
            end = time.monotonic() + min(30, seconds / 10)
            while time.monotonic() < end and any(thread.is_alive() for thread in threads):
                time.sleep(0.1)
        time.sleep(2)  # for the ends of connections
        # Connections to the upstream are kept for later requests.
        left = descriptors(gateway.pid) - idle - stats(upstream)["connections"]
        middle = seconds / 2
        before = max(size for at, size in memory if at <= middle)
        growth = max(size for at, size in memory if at > middle) / before - 1
        failures = sum(one["failures"] for one in results)
        print(f"\n{sum(one['requests'] for one in results):,} requests answered, ", end="")
        print(f"{sum(one['aborted'] for one in results):,} abandoned, {failures} failed.")
        print(f"Memory {100 * growth:+.1f} % in the second half, ", end="")
        print(f"{left:+d} descriptors since the start.")
        if len(results) < len(threads) or failures or left > 0 or growth > 0.1:
            raise SystemExit("The soak has failed.")


if __name__ == "__main__":
    main()
