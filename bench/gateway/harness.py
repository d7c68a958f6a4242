"""Programs that the benchmarks of the gateway start, and what is measured of them."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import re
import resource
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

SOURCE = Path(__file__).resolve().parents[2]
CONNECTIONS = 64
CORES = os.cpu_count() or 1
TICKS = os.sysconf("SC_CLK_TCK")
KEY = "bench-key"
PATH = "/v1/chat/completions"
# A configuration with everything that a request can be charged for.
LIMITS = {
    "usd_per_day": 1e6,
    "usd_per_month": 1e6,
    "requests_per_minute": 10**9,
    "tokens_per_minute": 10**12,
}


def prompt(size: int = 2048) -> str:
    """Text of a usual kind, of `size` bytes."""
    text_of_words = "the committee asked how a router should divide its questions among many models"
    words = text_of_words.split(" ")
    text, i = "", 0
    while len(text) < size:
        i = (i * 31 + 17) % 9973
        text += words[i % len(words)] + (". " if i % 13 == 0 else " ")
    return text[:size]


def body(**fields: Any) -> bytes:
    return json.dumps(
        {"model": "auto", "messages": [{"role": "user", "content": prompt()}], **fields}
    ).encode()


class Load(NamedTuple):
    """A run of a load generator."""

    requests: int
    per_second: float
    errors: str  # empty: none


class Bench:
    """A temporary folder and the programs of a build. Use as a context manager."""

    def __init__(self, build: Path) -> None:
        self.router = build / "src" / "r2-router"
        self.upstream_program = build / "bench" / "gateway_upstream"
        self.load_program = build / "bench" / "gateway_load"
        for program in (self.router, self.upstream_program, self.load_program):
            if not program.exists():
                raise SystemExit(
                    f"{program} is missing: build r2-router, gateway_upstream and gateway_load"
                )
        # Thousands of streams need as many sockets.
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    def __enter__(self) -> Bench:
        self._stack = contextlib.ExitStack()
        self.folder = Path(
            self._stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-bench-"))
        )
        self.whole = self._file("whole.json", body())
        self.stream = self._file(
            "stream.json", body(stream=True, bench_events=10**6, bench_interval_ms=50)
        )
        self.short_stream = self._file(
            "short.json", body(stream=True, bench_events=5, bench_interval_ms=10)
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _file(self, name: str, content: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content)
        return path

    @contextlib.contextmanager
    def process(self, command: list[Any], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
        process = subprocess.Popen([str(part) for part in command], **options)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    @contextlib.contextmanager
    def upstream(self) -> Iterator[int]:
        """The scripted upstream's port."""
        with self.process([self.upstream_program], stdout=subprocess.PIPE) as process:
            assert process.stdout
            yield int(process.stdout.readline().split()[-1])

    @contextlib.contextmanager
    def gateway(
        self, upstream: int, *, limited: bool = False, log: Any = subprocess.DEVNULL
    ) -> Iterator[Gateway]:
        """`limited`: with a key, its limits, and a ledger in a file."""
        port = free_port()
        config: dict[str, Any] = {
            "listen": f"127.0.0.1:{port}",
            "checkpoint": str(SOURCE / "checkpoints" / "default"),
            "endpoints": {"bench": {"base_url": f"http://127.0.0.1:{upstream}/v1"}},
        }
        if limited:
            hash_of_key = "sha256:" + hashlib.sha256(KEY.encode()).hexdigest()
            config |= {
                "ledger": str(self.folder / f"ledger-{port}.sqlite"),
                "keys": [{"name": "bench", "hash": hash_of_key, "limits": LIMITS}],
                # Of the scripted upstream; unknown fields are refused under a limit.
                "accepted_fields": ["bench_events", "bench_interval_ms"],
            }
        file = self._file(f"gateway-{port}.json", json.dumps(config).encode())
        begin = time.monotonic()
        with self.process([self.router, "serve", "--config", file], stderr=log) as process:
            wait_until_ready(port, "/health/ready", process)
            yield Gateway(process.pid, port, time.monotonic() - begin)

    def wrk(self, port: int, seconds: float, headers: dict[str, str] | None = None) -> Load:
        """As many requests as possible from CONNECTIONS connections."""
        lines = [
            f'local file = io.open("{self.whole}", "rb")',
            'wrk.method = "POST"',
            'wrk.body = file:read("*a")',
        ]
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"} | (
            headers or {}
        )
        lines += [f'wrk.headers["{name}"] = "{value}"' for name, value in headers.items()]
        script = self._file("wrk.lua", "\n".join(lines).encode())
        threads = min(CORES, 4)
        command = [
            "wrk",
            f"-t{threads}",
            f"-c{CONNECTIONS}",
            f"-d{round(seconds)}s",
            "--timeout",
            "30s",
        ]
        command += ["-s", str(script), f"http://127.0.0.1:{port}{PATH}"]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        done = re.search(r"(\d+) requests in", text)
        rate = re.search(r"Requests/sec: *([\d.]+)", text)
        assert done and rate, text
        errors = " ".join(re.findall(r"(?:Non-2xx|Socket errors).*", text))
        return Load(int(done[1]), float(rate[1]), errors)

    def load(
        self, mode: str, port: int, content: Path, count: float, seconds: float, *more: Any
    ) -> dict[str, Any]:
        """A run of gateway_load; see bench/gateway/load.cc."""
        command = [self.load_program, mode, port, content, count, seconds, *more]
        environment = dict(os.environ, KEY=KEY)
        text = subprocess.run(
            [str(part) for part in command],
            capture_output=True,
            text=True,
            check=True,
            env=environment,
        )
        return json.loads(text.stdout)


class Gateway(NamedTuple):
    pid: int
    port: int
    seconds_to_ready: float


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def get(port: int, path: str, timeout: float = 5) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {KEY}"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def stats(port: int) -> dict[str, int]:
    """Of the scripted upstream."""
    return json.loads(get(port, "/stats")[1])


def wait_until_ready(
    port: int, path: str, process: subprocess.Popen[bytes], patience: float = 120
) -> None:
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args} has ended with {process.returncode}")
        try:
            if get(port, path)[0] == 200:
                return
        except OSError:
            pass
        time.sleep(0.0005)
    raise RuntimeError(f"{process.args} is not ready after {patience} s")


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and its descendants."""
    times, children = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                times[int(entry.name)] = (int(fields[11]) + int(fields[12])) / TICKS
                children.setdefault(int(fields[1]), []).append(int(entry.name))

    def total(one: int) -> float:
        return times.get(one, 0.0) + sum(total(child) for child in children.get(one, []))

    return total(pid)


def memory_bytes(pid: int) -> int:
    """What a process has in memory and shares with no other."""
    fields = dict(
        re.findall(
            r"^(\w+): +(\d+) kB$", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE
        )
    )
    return 1024 * (int(fields["Private_Clean"]) + int(fields["Private_Dirty"]))


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))
