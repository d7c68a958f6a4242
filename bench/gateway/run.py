"""What the gateway adds to a request, and how much it serves.

    python3 bench/gateway/run.py [--build build/release] [--only NAME,...] [--peers FOLDER]

Starts gateway_upstream (a scripted server that answers at once), the gateway with the default
checkpoint and its text encoder, and the load: wrk for as many requests as possible, gateway_load
for fixed rates and streams. Prompts have 2 KB, and there are 64 connections. Server, upstream and
load share the cores of this machine. Prints a Markdown table with the best round and, in brackets,
all rounds. On a machine that does other work too, only CPU times mean much.

--peers installs LiteLLM's proxy (pip) and Portkey's gateway (npm) into FOLDER, or uses those there.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from harness import (
    CORES,
    PATH,
    SOURCE,
    Bench,
    Gateway,
    body,
    cpu_seconds,
    get,
    memory_bytes,
    stats,
)


class Row(NamedTuple):
    what: str
    goal: str
    best: str
    rounds: Sequence[str] = ()


def shown(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def row(
    what: str,
    goal: str,
    values: Sequence[float],
    best: Callable[[Sequence[float]], float],
    unit: str = "",
) -> Row:
    return Row(what, goal, shown(best(values)) + unit, [shown(value) for value in values])


class Measured(NamedTuple):
    per_second: float
    cpu: float  # seconds per request


class Runner:
    def __init__(
        self, bench: Bench, upstream: int, seconds: float, rounds: int, streams: int
    ) -> None:
        self.bench, self.upstream = bench, upstream
        self.seconds, self.rounds, self.streams = seconds, rounds, streams
        self.rate: float | None = None  # of the requests whose latency is measured
        self.throughput_seen = 0.0

    def measure(self, pid: int, port: int, headers: dict[str, str] | None = None) -> Measured:
        before = cpu_seconds(pid)
        load = self.bench.wrk(port, self.seconds, headers)
        if load.errors:
            raise RuntimeError(f"requests have failed: {load.errors}")
        return Measured(load.per_second, (cpu_seconds(pid) - before) / load.requests)

    def throughput(self) -> list[Row]:
        direct, through = [], []
        with self.bench.gateway(self.upstream) as gateway:
            self.bench.wrk(gateway.port, 1)
            for _ in range(self.rounds):
                direct.append(self.bench.wrk(self.upstream, self.seconds).per_second)
                through.append(self.measure(gateway.pid, gateway.port))
        self.throughput_seen = max(one.per_second for one in through)
        return [
            row("requests/s without the gateway", "", direct, max),
            row("requests/s through it", "", [one.per_second for one in through], max),
            row(
                "CPU time of the gateway per request",
                "≤ 100 µs",
                [one.cpu * 1e6 for one in through],
                min,
                " µs",
            ),
            row(
                "requests/s per core of the gateway",
                "≥ 10,000",
                [1 / one.cpu for one in through],
                max,
            ),
        ]

    def latency(self) -> list[Row]:
        p50, p99 = [], []
        with self.bench.gateway(self.upstream) as gateway:
            rate = self.rate or self.throughput_seen / 2
            rate = rate or self.bench.wrk(gateway.port, self.seconds).per_second / 2
            for _ in range(self.rounds):
                runs = [
                    self.bench.load("rate", port, self.bench.whole, rate, self.seconds)
                    for port in (self.upstream, gateway.port)
                ]
                if any(run["failures"] for run in runs):
                    raise RuntimeError(f"requests have failed: {runs}")
                p50.append(runs[1]["p50_ms"] - runs[0]["p50_ms"])
                p99.append(runs[1]["p99_ms"] - runs[0]["p99_ms"])
        return [
            row(f"added latency at {rate:,.0f} requests/s, p50", "≤ 0.2 ms", p50, min, " ms"),
            row("the same, p99", "≤ 1 ms", p99, min, " ms"),
        ]

    def limits(self) -> list[Row]:
        """Both gateways run at once, and are measured in turn."""
        cost = []
        with (
            self.bench.gateway(self.upstream) as plain,
            self.bench.gateway(self.upstream, limited=True) as limited,
        ):
            for gateway in (plain, limited):
                self.bench.wrk(gateway.port, 1)
            for _ in range(self.rounds):
                base = self.measure(plain.pid, plain.port).cpu
                with Scraping(limited):
                    cost.append((self.measure(limited.pid, limited.port).cpu / base - 1) * 100)
        return [
            row(
                "CPU time of keys, limits, ledger and metrics",
                "≤ 5 %",
                cost,
                statistics.median,
                " %",
            )
        ]

    def start(self) -> list[Row]:
        times = []
        for _ in range(3 * self.rounds):
            with self.bench.gateway(self.upstream) as gateway:
                times.append(gateway.seconds_to_ready * 1e3)
        return [row("start to ready", "≤ 50 ms", sorted(times), min, " ms")]

    def reload(self) -> list[Row]:
        with self.bench.gateway(self.upstream, limited=True) as gateway:
            stop = threading.Event()

            def reload() -> None:
                while not stop.wait(0.2):
                    os.kill(gateway.pid, signal.SIGHUP)

            thread = threading.Thread(target=reload)
            thread.start()
            try:
                load = self.bench.wrk(gateway.port, self.seconds)
            finally:
                stop.set()
                thread.join()
            metrics = get(gateway.port, "/metrics")[1]
            reloads = next(
                line.split()[-1]
                for line in metrics.splitlines()
                if line.startswith("r2router_config_reloads ")
            )
        failed = load.errors or "none failed"
        return [
            Row(
                "requests during reloads",
                "none fails",
                f"{failed} of {load.requests:,}, {reloads} reloads",
            )
        ]

    def disconnect(self) -> list[Row]:
        """From a client's disconnect to the end of the call at the upstream."""
        times = []
        content = body(stream=True, bench_events=10**6, bench_interval_ms=50)
        head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}\r\n\r\n"
        with self.bench.gateway(self.upstream) as gateway:
            for _ in range(10 * self.rounds):
                before = stats(self.upstream)["aborted"]
                with socket.create_connection(("127.0.0.1", gateway.port)) as client:
                    client.sendall(head.encode() + content)
                    while b"data:" not in client.recv(65536):
                        pass
                closed = time.monotonic_ns()
                while (now := stats(self.upstream))["aborted"] == before:
                    if time.monotonic_ns() - closed > 10e9:
                        raise RuntimeError("a call goes on although its client has gone")
                times.append((now["last_abort_ns"] - closed) / 1e6)
        return [
            Row("disconnect to the end of the call, worst", "≤ 100 ms", shown(max(times)) + " ms")
        ]

    def sse(self) -> list[Row]:
        direct = self.bench.load(
            "streams", self.upstream, self.bench.stream, self.streams, self.seconds
        )
        with self.bench.gateway(self.upstream) as gateway:
            self.bench.wrk(gateway.port, 1)
            memory, cpu = memory_bytes(gateway.pid), cpu_seconds(gateway.pid)
            most = memory
            stop = threading.Event()

            def watch() -> None:
                nonlocal most
                while not stop.wait(0.5):
                    most = max(most, memory_bytes(gateway.pid))

            thread = threading.Thread(target=watch)
            thread.start()
            try:
                through = self.bench.load(
                    "streams", gateway.port, self.bench.stream, self.streams, self.seconds
                )
            finally:
                stop.set()
                thread.join()
            cpu = cpu_seconds(gateway.pid) - cpu
        # All events since the first stream began, not only those that were measured.
        ramp = self.streams / 1000
        events = through["events_per_second"] * (self.seconds + 3 + ramp / 2)
        name = f"{self.streams:,} streams of 20 events/s"
        wanted = f"{20 * self.streams:,}/s are due"
        return [
            Row(
                f"{name}: events/s without the gateway",
                wanted,
                f"{direct['events_per_second']:,.0f}",
            ),
            Row("the same, through it", wanted, f"{through['events_per_second']:,.0f}"),
            Row(
                "the same, added delay of an event, p50",
                "",
                shown(through["p50_ms"] - direct["p50_ms"]) + " ms",
            ),
            Row(
                "the same, added p99", "≤ 5 ms", shown(through["p99_ms"] - direct["p99_ms"]) + " ms"
            ),
            Row("the same, CPU time per event", "", shown(cpu / max(events, 1) * 1e6) + " µs"),
            Row(
                "memory per stream", "≤ 40 KB", shown((most - memory) / self.streams / 1000) + " KB"
            ),
        ]

    def peers(self, folder: Path) -> Iterator[Row]:
        from peers import litellm, portkey

        with self.bench.gateway(self.upstream) as gateway:
            for peer_of, goal in ((portkey, 10), (litellm, 50)):
                with peer_of(self.bench, folder, self.upstream) as peer:
                    self.bench.wrk(peer.port, 2, peer.headers)
                    own, other = [], []
                    for _ in range(self.rounds):
                        own.append(self.measure(gateway.pid, gateway.port))
                        other.append(self.measure(peer.pid, peer.port, peer.headers))
                rate = max(one.per_second for one in own) / max(one.per_second for one in other)
                cpu = min(one.cpu for one in other) / min(one.cpu for one in own)
                yield row(f"{peer.name}: requests/s", "", [one.per_second for one in other], max)
                yield row(
                    "the same, CPU time per request",
                    "",
                    [one.cpu * 1e3 for one in other],
                    min,
                    " ms",
                )
                yield Row(
                    "the gateway serves, in the same rounds",
                    f"≥ {goal}×",
                    f"{rate:.0f}× the requests/s",
                )
                yield Row("and needs, of the CPU time per request", "", f"1/{cpu:.0f}")


class Scraping:
    """Reads the metrics once a second meanwhile."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway, self.stop = gateway, threading.Event()

    def __enter__(self) -> None:
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        while not self.stop.wait(1):
            get(self.gateway.port, "/metrics")

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--build", type=Path, default=SOURCE / "build" / "release")
    parser.add_argument("--seconds", type=float, default=5, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", type=float, help="of the latency; default: half of the maximum")
    parser.add_argument("--streams", type=int, default=5000)
    parser.add_argument("--only", default="throughput,latency,limits,start,reload,disconnect,sse")
    parser.add_argument("--peers", type=Path, metavar="FOLDER")
    given = parser.parse_args()
    busy = os.getloadavg()[0]
    with Bench(given.build) as bench, bench.upstream() as upstream:
        runner = Runner(bench, upstream, given.seconds, given.rounds, given.streams)
        runner.rate = given.rate
        print(f"{CORES} cores; load average at the start: {busy:.1f}\n")
        print("| figure | goal | best | rounds |\n|---|---|---|---|", flush=True)
        parts = [getattr(runner, name) for name in given.only.split(",") if name]
        if given.peers:
            parts.append(lambda: runner.peers(given.peers))
        for part in parts:
            for one in part():
                print(
                    f"| {one.what} | {one.goal} | {one.best} | {', '.join(one.rounds)} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
