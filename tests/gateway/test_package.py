"""The gateway as a part of the Python package: tests/gateway/package.sh builds and installs it."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

PYTHON = os.environ.get("R2ROUTER_GATEWAY_PYTHON", "")
pytestmark = pytest.mark.skipif(not PYTHON, reason="opt-in: bash tests/gateway/package.sh")


class Service:
    """``python -m r2_router serve`` away from the source tree."""

    def __init__(self, folder: Path) -> None:
        environment = {k: v for k, v in os.environ.items() if k != "OPENROUTER_API_KEY"}
        self.process = subprocess.Popen(
            [PYTHON, "-m", "r2_router", "serve", "--listen", "127.0.0.1:0"],
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
            env=environment,
        )
        self.port = int(re.search(r":(\d+)$", self.wait_for("listening on")).group(1))

    def wait_for(self, text: str) -> str:
        for line in self.process.stderr:
            if text in line:
                return line.strip()
        raise AssertionError(f"no {text!r}; the program has ended with {self.process.wait()}")

    def get(self, method: str, path: str, body: object = None) -> tuple[int, object]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, path, json.dumps(body) if body else None)
        response = connection.getresponse()
        return response.status, json.loads(response.read())


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    started = Service(tmp_path)
    yield started
    started.process.kill()
    started.process.wait()


def test_serves_decisions(service: Service) -> None:
    status, ready = service.get("GET", "/health/ready")
    assert (status, ready["status"]) == (200, "ready")
    status, decision = service.get("POST", "/v1/decisions", {"query": "2 + 2?"})
    assert status == 200 and decision["max_tokens"] > 0
    status, refused = service.get("POST", "/v1/chat/completions", {"messages": []})
    assert status == 503 and "OPENROUTER_API_KEY" in refused["error"]["message"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_ends_in_order(service: Service, number: int, code: int) -> None:
    service.process.send_signal(number)
    assert "ending" in service.wait_for("ending")
    assert service.process.wait(30) == code


def test_survives_many_reloads(service: Service) -> None:
    """Threads of NumPy do not block signals, so one that comes during a reload must not end it."""
    for _ in range(200):
        service.process.send_signal(signal.SIGHUP)
        time.sleep(0.002)
    service.wait_for("read again")
    assert service.get("GET", "/health/ready")[0] == 200
