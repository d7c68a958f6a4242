"""The files of examples/gateway."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
from collections.abc import Callable

import pytest
from conftest import HELLO, ROOT, Gateway
from fault_server import FaultServer
from test_gateway import ANSWER

EXAMPLES = ROOT / "examples" / "gateway"
METRIC = re.compile(r"\br2router_[a-z_]+")


def test_a_program_embeds_the_gateway(server: FaultServer) -> None:
    program = os.environ.get("R2ROUTER_EMBED_EXAMPLE")
    if program is None:
        pytest.skip("the examples were not built")
    path = server.script([[{"service": {}}]])
    with subprocess.Popen(
        [program, server.url(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:")
        connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=30)
        body = {"model": "auto:cheap", "messages": HELLO}
        connection.request("POST", "/v1/chat/completions", json.dumps(body))
        answer = json.loads(connection.getresponse().read())
        assert answer["choices"][0]["message"]["content"] == ANSWER
        body["r2"] = {"max_cost_usd": 1e-9}
        connection.request("POST", "/v1/chat/completions", json.dumps(body))
        assert connection.getresponse().status == 400
        process.stdin.close()
        assert process.wait(30) == 0


def test_the_dashboard_shows_metrics_that_exist(start: Callable[..., Gateway]) -> None:
    gateway = start([[{"answer": {"status": 500}}], [{"service": {}}]], max_fallbacks=0)
    assert gateway.chat().status == 502
    assert gateway.chat(r2={"allow": ["gpt-5.6-luna"]}).status == 200
    assert gateway.request("GET", "/nothing", b"x\r\n\r\n").status == 404
    assert gateway.chat(model="gtp-99").status == 404  # refused
    text = gateway.request("GET", "/metrics").body.decode()
    exported = {line.split("{")[0].split(" ")[0] for line in text.splitlines() if line[0] != "#"}
    dashboard = json.loads((EXAMPLES / "grafana" / "dashboard.json").read_text())
    shown: set[str] = set()
    for panel in dashboard["panels"]:
        expressions = [target["expr"] for target in panel["targets"]]
        names = {name for expression in expressions for name in METRIC.findall(expression)}
        assert names, panel["title"]
        assert names <= exported, panel["title"]
        shown |= names
    # And every metric is in the dashboard.
    plain = {re.sub("_(bucket|sum|count)$", "", name) for name in exported}
    known = {re.sub("_(bucket|sum|count)$", "", name) for name in shown}
    assert plain - known <= {"r2router_config_reloads"}
    # The table of the guide has all of them.
    guide = (ROOT / "docs" / "pages" / "deploying.md").read_text()
    assert plain <= set(METRIC.findall(guide))
    labels = set(re.findall(r"\bby \(([a-z, ]+)\)", json.dumps(dashboard)))
    for label in {name.strip() for group in labels for name in group.split(",")} - {"le"}:
        assert f'{label}="' in text, label
