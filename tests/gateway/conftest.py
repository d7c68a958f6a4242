"""A gateway as its users start it, in front of a scripted server."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from fault_server import FaultServer  # noqa: E402

PROGRAM = os.environ.get("R2ROUTER_CLI", str(ROOT / "build" / "release" / "src" / "r2-router"))
HELLO = [{"role": "user", "content": "Who wrote Faust?"}]


class Reply:
    """A whole HTTP reply."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()

    def json(self) -> Any:
        return json.loads(self.body)

    def events(self) -> list[Any]:
        """The data of the events of a stream."""
        lines = self.body.decode().split("\n")
        data = [line[6:] for line in lines if line.startswith("data: ")]
        return [item if item == "[DONE]" else json.loads(item) for item in data]


class Gateway:
    """A running ``r2-router serve``."""

    def __init__(
        self, config: dict[str, Any], folder: str, options: list[str], survives_full_disk: bool
    ) -> None:
        self.config_file = f"{folder}/gateway.json"
        self.errors = f"{folder}/errors"
        self.configure(config)
        environment = {k: v for k, v in os.environ.items() if k != "OPENROUTER_API_KEY"}
        command = [PROGRAM, "serve", "--config", self.config_file]
        if "listen" not in config:
            command += ["--listen", "127.0.0.1:0"]
        self.process = subprocess.Popen(
            [*command, *options],
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            # Python ignores SIGXFSZ, which would end the program at RLIMIT_FSIZE.
            restore_signals=not survives_full_disk,
        )
        self.notes: list[str] = []
        self.port = int(re.search(r":(\d+)$", self.wait_for("listening on")).group(1))

    def configure(self, config: dict[str, Any] | str) -> None:
        text = config if isinstance(config, str) else json.dumps(config)
        Path(self.config_file).write_text(text)

    def wait_for(self, text: str) -> str:
        """The next line on standard error with this text."""
        for line in self.process.stderr:
            self.notes.append(line.strip())
            if text in line:
                return line.strip()
        raise AssertionError(f"no {text!r} in {self.notes}")

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def stop(self) -> int:
        self.signal(signal.SIGTERM)
        return self.process.wait(40)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)

    def request(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if isinstance(body, (bytes, str, type(None))) else json.dumps(body)
        connection = self.connect()
        connection.request(method, path, data, names)
        reply = Reply(connection.getresponse())
        connection.close()
        return reply

    def chat(self, headers: dict[str, str] | None = None, **body: Any) -> Reply:
        request = {"model": "auto", "messages": HELLO} | body
        return self.request("POST", "/v1/chat/completions", request, **(headers or {}))


@pytest.fixture(scope="session")
def server() -> Iterator[FaultServer]:
    os.environ["no_proxy"] = "*"
    instance = FaultServer()
    yield instance
    instance.close()


@pytest.fixture
def start(server: FaultServer) -> Iterator[Callable[..., Gateway]]:
    """Starts a gateway whose endpoint answers by a script; it has the script's path."""
    gateways: list[Gateway] = []
    with tempfile.TemporaryDirectory() as folder:

        def make(
            script: list[list[dict[str, Any]]] | None = None,
            endpoint: dict[str, Any] | None = None,
            options: list[str] | None = None,
            survives_full_disk: bool = False,
            **settings: Any,
        ) -> Gateway:
            path = server.script(script or [[{"service": {}}]])
            own = Path(folder, str(len(gateways)))
            own.mkdir()
            (own / "key").write_text("upstream-secret-key\n")
            first = {"base_url": server.url(path), "api_key": "file:key", "max_retries": 0}
            config = {"threads": 2, "endpoints": {"main": first | (endpoint or {})}} | settings
            config = {name: value for name, value in config.items() if value is not None}
            gateway = Gateway(config, str(own), options or [], survives_full_disk)
            gateway.path, gateway.config = path, config
            gateways.append(gateway)
            return gateway

        yield make
        for gateway in gateways:
            if gateway.process.poll() is None:
                gateway.process.kill()
                gateway.process.wait()
