"""The gateway end to end: dialects, routing, limits, failures, connections, reload and drain."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import HELLO, Gateway, Reply
from fault_server import FaultServer

Start = Callable[..., Gateway]

BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": HELLO},
    "/v1/responses": {"input": "Who wrote Faust?"},
    "/v1/messages": {"messages": HELLO, "max_tokens": 4000},
}
ANSWER = "An answer to: Who wrote Faust?"


def key_of(name: str, **fields: Any) -> dict[str, Any]:
    digest = hashlib.sha256(name.encode()).hexdigest()
    return {"name": name, "hash": f"sha256:{digest}"} | fields


def text_of(path: str, data: Any) -> str:
    if path.endswith("completions"):
        return data["choices"][0]["message"]["content"]
    return (data["output"][0]["content"] if "output" in data else data["content"])[0]["text"]


def streamed_text(events: list[Any]) -> str:
    text = ""
    for data in events:
        if data == "[DONE]":
            continue
        if "choices" in data:
            text += "".join(c["delta"].get("content") or "" for c in data["choices"])
        elif data.get("type") == "response.output_text.delta":
            text += data["delta"]
        elif data.get("type") == "content_block_delta":
            text += data["delta"]["text"]
    return text


def wait_until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)
    return value


def spend(gateway: Gateway, query: str = "", **headers: str) -> Any:
    return gateway.request("GET", "/v1/spend?" + query, **headers).json()


# --- answers


@pytest.mark.parametrize("path", BODIES)
def test_answers_in_every_dialect(start: Start, server: FaultServer, path: str) -> None:
    gateway = start()
    body = json.dumps(BODIES[path] | {"model": "auto", "unknown": "NUMBER"})
    reply = gateway.request("POST", path, body.replace('"NUMBER"', '{"a": 1.50}'))
    assert reply.status == 200, reply.body
    data = reply.json()
    assert text_of(path, data) == ANSWER
    assert data["model"] == reply.headers["x-r2-model"]
    (seen,) = server.requests(gateway.path)
    assert seen.path.endswith(path[3:])
    assert seen.headers["authorization"] == "Bearer upstream-secret-key"
    sent = json.loads(seen.body)
    assert b'"unknown": {"a": 1.50}' in seen.body
    assert sent["model"] not in ("auto", "")
    cap = sent.get("max_tokens", sent.get("max_output_tokens", sent.get("max_completion_tokens")))
    assert str(cap) == reply.headers["x-r2-max-tokens"]
    for name in ("x-request-id", "x-r2-budget", "x-r2-predicted-quality", "x-r2-decision-id"):
        assert reply.headers[name]
    assert float(reply.headers["x-r2-predicted-cost-usd"]) > 0
    assert float(reply.headers["x-r2-cost-usd"]) > 0
    assert 0 < float(reply.headers["x-r2-overhead-ms"]) < 60_000
    assert reply.headers["x-r2-attempts"] == "1"


@pytest.mark.parametrize("path", BODIES)
def test_streams_in_every_dialect(start: Start, server: FaultServer, path: str) -> None:
    gateway = start()
    reply = gateway.request("POST", path, BODIES[path] | {"model": "auto", "stream": True})
    assert reply.status == 200, reply.body
    assert reply.headers["content-type"].startswith("text/event-stream")
    events = reply.events()
    assert streamed_text(events) == ANSWER
    assert (events[-1] == "[DONE]") == path.endswith("completions")
    if path.endswith("completions"):  # the client has not asked for it, but the gateway has
        assert all(event == "[DONE]" or "usage" not in event for event in events)
        sent = json.loads(server.requests(gateway.path)[0].body)
        assert sent["stream_options"] == {"include_usage": True}
    row = wait_until(lambda: spend(gateway)["rows"])[0]
    assert row["requests"] == 1 and row["output_tokens"] == 7


def test_an_answer_passes_on_while_it_arrives(start: Start) -> None:
    head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    delta = {"choices": [{"index": 0, "delta": {"content": "first"}}]}
    gateway = start([[{"send": head + f"data: {json.dumps(delta)}\n\n"}, {"wait": 30}]])
    connection = gateway.connect()
    body = json.dumps({"model": "auto", "messages": HELLO, "stream": True})
    connection.request("POST", "/v1/chat/completions", body)
    response = connection.getresponse()
    assert b"first" in response.readline()
    connection.close()


def test_serves_a_named_model_as_requested(start: Start, server: FaultServer) -> None:
    gateway = start()
    listed = gateway.request("GET", "/v1/models").json()["data"]
    name = next(m["id"] for m in listed if not m["id"].startswith("auto"))
    reply = gateway.chat(model=name, max_tokens=11)
    assert reply.status == 200, reply.body
    assert reply.headers["x-r2-model"] == name
    assert reply.headers["x-r2-max-tokens"] == "11"
    assert reply.headers["x-r2-budget"] == "unlimited"
    assert json.loads(server.requests(gateway.path)[0].body)["messages"] == HELLO


def test_the_clients_own_cap_is_a_limit(start: Start) -> None:
    gateway = start()
    for cap in (1, 20, 5000):
        reply = gateway.chat(max_tokens=cap)
        assert reply.status == 200, reply.body
        assert int(reply.headers["x-r2-max-tokens"]) <= cap


def test_policies_of_names_headers_and_bodies(start: Start) -> None:
    policies = {"cheap": {"objective": "cheapest"}, "good": {"objective": "best"}}
    gateway = start(policies=policies)
    cheap = gateway.chat(model="auto:cheap").headers
    good = gateway.chat(model="auto:good").headers
    cost = "x-r2-predicted-cost-usd"
    assert float(cheap[cost]) < float(good[cost])
    assert gateway.chat(r2={"objective": "cheapest"}).headers["x-r2-model"] == cheap["x-r2-model"]
    of_header = gateway.chat({"x-r2-objective": "best"}).headers
    assert of_header["x-r2-model"] == good["x-r2-model"]
    assert gateway.chat({"x-r2-policy": "good"}).headers["x-r2-model"] == good["x-r2-model"]
    for wrong in ({"x-r2-max-cots-usd": "1"}, {"x-r2-max-cost-usd": "x"}, {"x-r2-policy": "none"}):
        assert gateway.chat(wrong).status == 400


def test_bounds_hold_whatever_a_request_sets(start: Start, server: FaultServer) -> None:
    gateway = start(bounds={"max_output_tokens": 2000, "max_cost_usd": 0.002})
    reply = gateway.chat(r2={"max_output_tokens": 60000, "max_cost_usd": 10}, max_tokens=50000)
    assert reply.status == 200, reply.body
    assert int(reply.headers["x-r2-max-tokens"]) <= 2000


def test_no_candidate_says_what_each_limit_leaves_out(start: Start) -> None:
    reply = start().chat(r2={"max_latency_ms": 0.001})
    assert reply.status == 400
    assert "max_latency" in reply.json()["error"]["message"]
    assert reply.headers["x-should-retry"] == "false"


def test_an_endpoint_without_the_dialect_is_no_candidate(start: Start) -> None:
    gateway = start(endpoint={"dialects": ["chat"]})
    assert gateway.chat().status == 200
    reply = gateway.request("POST", "/v1/messages", BODIES["/v1/messages"] | {"model": "auto"})
    assert reply.status == 400
    assert reply.json()["type"] == "error"
    assert "does not serve this API" in reply.json()["error"]["message"]


def test_unknown_models_and_paths(start: Start) -> None:
    gateway = start()
    assert gateway.chat(model="gtp-99").status == 404
    assert gateway.request("GET", "/nothing").status == 404
    assert gateway.request("GET", "/v1/chat/completions").status == 405
    assert gateway.request("HEAD", "/").status == 200


def test_count_tokens_and_models(start: Start) -> None:
    gateway = start(policies={"cheap": {"objective": "cheapest"}})
    body = BODIES["/v1/messages"] | {"model": "claude"}
    count = gateway.request("POST", "/v1/messages/count_tokens?beta=true", body).json()
    assert count["input_tokens"] > 0
    listed = gateway.request("GET", "/v1/models?limit=1000").json()
    ids = [model["id"] for model in listed["data"]]
    assert ids[:2] == ["auto", "auto:cheap"] and len(ids) > 5
    assert listed["has_more"] is False and listed["models"][0]["slug"] == "auto"


def test_one_model(start: Start) -> None:
    gateway = start(keys=[key_of("all"), key_of("bob", models=["gpt-5.4"])])

    def show(name: str, key: str = "all", **headers: str) -> Reply:
        return gateway.request("GET", f"/v1/models/{name}", x_api_key=key, **headers)

    listed = gateway.request("GET", "/v1/models", x_api_key="all").json()["data"]
    for model in listed:
        assert show(model["id"]).json() == model
    for name in ("openai/gpt-5.4", "openai%2Fgpt-5.4", "openai%2fgpt-5%2E4"):
        assert show(name).json()["id"] == "gpt-5.4"
        assert show(name, key="bob").status == 200
    claude = show("claude%2Fauto", anthropic_version="2023-06-01").json()
    assert claude["id"] == "claude/auto" and claude["type"] == "model"
    assert show("auto", anthropic_version="2023-06-01").json() == claude
    for reply in (show("gtp-5.4"), show(""), show("openai/gpt-5.5", key="bob"), show("%")):
        assert reply.status == 404
        assert reply.json()["error"]["code"] == "model_not_found"
    assert 'did you mean "gpt-5.4"' in show("gtp-5.4").json()["error"]["message"]
    unknown = show("gtp-5.4", anthropic_version="2023-06-01").json()
    assert (unknown["type"], unknown["error"]["type"]) == ("error", "not_found_error")
    posted = gateway.request("POST", "/v1/models/auto", {}, x_api_key="all")
    assert posted.status == 405
    refused = show("auto", key="nobody", anthropic_version="2023-06-01")
    assert refused.status == 401 and refused.json()["type"] == "error"


def test_decisions(start: Start, server: FaultServer) -> None:
    gateway = start()
    one = gateway.request("POST", "/v1/decisions", {"query": "2 + 2?", "id": 7}).json()
    assert one["id"] == 7 and one["model"] and one["max_tokens"] > 0
    many = gateway.request("POST", "/v1/decisions", ["a"] * 200 + [{"query": 1}]).json()
    assert len(many) == 201 and many[0]["model"] and "error" in many[-1]
    assert server.requests(gateway.path) == []


def test_embeddings_pass_through(start: Start) -> None:
    prices = {"embedder": 0.02}
    gateway = start(embeddings={"endpoint": "main", "input_price_per_million": prices})
    body = {"model": "embedder", "input": ["a", "b"]}
    assert len(gateway.request("POST", "/v1/embeddings", body).json()["data"]) == 2
    assert gateway.request("POST", "/v1/embeddings", body | {"model": "x"}).status == 404


def test_without_a_server_only_decisions_are_answered(start: Start) -> None:
    gateway = start(endpoints=None)
    reply = gateway.chat()
    assert reply.status == 503
    assert "OPENROUTER_API_KEY" in reply.json()["error"]["message"]
    assert gateway.request("POST", "/v1/decisions", {"query": "2 + 2?"}).json()["model"]
    assert "OPENROUTER_API_KEY" in gateway.request("GET", "/health/ready").json()["chat_problem"]


# --- failures of the endpoint


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "fault",
    [
        [{"answer": {"status": 500, "json": {"error": {"message": "broken"}}}}],
        [{"answer": {"status": 429, "json": {"error": {"message": "slow down"}}}}],
        [{"reset": True}],
        [{"close": True}],
        [{"send": "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{"}, {"close": True}],
        [{"answer": {"json": {"error": {"message": "overloaded", "code": 503}}}}],
    ],
)
def test_falls_back_to_another_model(
    start: Start, server: FaultServer, fault: list[dict[str, Any]], stream: bool
) -> None:
    gateway = start([fault, [{"service": {}}]])
    reply = gateway.chat(stream=stream)
    assert reply.status == 200, reply.body
    assert reply.headers["x-r2-attempts"] == "2"
    first, second = (json.loads(r.body)["model"] for r in server.requests(gateway.path))
    assert first != second
    text = streamed_text(reply.events()) if stream else text_of("completions", reply.json())
    assert text == ANSWER


def test_retries_the_same_model(start: Start, server: FaultServer) -> None:
    busy = [{"answer": {"status": 503, "headers": {"Retry-After": "0"}, "json": {}}}]
    gateway = start([busy, busy, [{"service": {}}]], endpoint={"max_retries": 2})
    reply = gateway.chat()
    assert reply.status == 200 and reply.headers["x-r2-attempts"] == "3"
    assert len({json.loads(r.body)["model"] for r in server.requests(gateway.path)}) == 1


def test_a_stream_that_breaks_after_content_ends_with_an_error(start: Start) -> None:
    head = (
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    delta = 'data: {"choices": [{"index": 0, "delta": {"content": "first"}}]}\n\n'
    chunk = f"{len(delta):x}\r\n{delta}\r\n"
    gateway = start([[{"send": head + chunk}, {"close": True}], [{"service": {}}]])
    events = gateway.chat(stream=True).events()
    assert streamed_text(events[:1]) == "first"
    assert "error" in events[-1] or "error" in events[-2]


def test_errors_of_the_request_pass_through(start: Start, server: FaultServer) -> None:
    error = {"error": {"message": "temperature must be at most 2", "param": "temperature"}}
    gateway = start([[{"answer": {"status": 400, "json": error}}]])
    reply = gateway.chat(temperature=9)
    assert reply.status == 400 and reply.json() == error
    assert reply.headers["x-should-retry"] == "false"
    assert len(server.requests(gateway.path)) == 1


def test_a_bad_key_of_the_gateway_is_not_the_clients(start: Start) -> None:
    error = {"error": {"message": "Incorrect API key: upstream-secret-key"}}
    reply = start([[{"answer": {"status": 401, "json": error}}]]).chat()
    assert reply.status == 502 and b"upstream-secret-key" not in reply.body


def test_failing_models_are_avoided(start: Start, server: FaultServer) -> None:
    down = [{"answer": {"status": 500, "json": {}}}]
    gateway = start([down] * 6 + [[{"service": {}}]], max_fallbacks=1)
    for _ in range(3):
        assert gateway.chat().status == 502
    failed = {json.loads(r.body)["model"] for r in server.requests(gateway.path)}
    assert gateway.chat().json()["choices"]
    assert json.loads(server.requests(gateway.path)[-1].body)["model"] not in failed


# --- clients that go away


@pytest.mark.parametrize("moment", ["before the answer", "within it", "after the first event"])
def test_a_client_that_disconnects_ends_the_call(
    start: Start, server: FaultServer, moment: str
) -> None:
    steps: list[dict[str, Any]] = [{"wait": 30}]
    after_first_event = moment == "after the first event"
    if moment == "within it":
        head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n"
        steps = [{"send": head + '{"choices": [{"index": 0, '}, {"wait": 30}]
    if after_first_event:
        head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
        delta = 'data: {"choices": [{"index": 0, "delta": {"content": "first"}}]}\n\n'
        steps = [{"send": head + delta}, {"wait": 30}]
    gateway = start([steps])
    connection = gateway.connect()
    body = {"model": "auto", "messages": HELLO, "stream": moment != "within it"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body))
    (seen,) = wait_until(lambda: server.requests(gateway.path))
    if after_first_event:
        response = connection.getresponse()
        assert b"first" in response.readline()
        response.close()
    connection.close()
    wait_until(lambda: server.ends.get(seen.connection))  # long before the server's answer
    total = wait_until(lambda: spend(gateway)["total"]["requests"] and spend(gateway)["total"])
    assert total["unsettled_usd"] > 0  # what it cost is not known


def test_a_slow_reader_holds_the_server_back(start: Start, server: FaultServer) -> None:
    head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    delta = json.dumps({"choices": [{"index": 0, "delta": {"content": "x" * 1000}}]})
    gateway = start([[{"send": head}, {"endless": f"data: {delta}\n\n"}]])
    with socket.create_connection(("127.0.0.1", gateway.port)) as client:
        body = json.dumps({"model": "auto", "messages": HELLO, "stream": True})
        client.sendall(
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}"
            f"\r\n\r\n{body}".encode()
        )

        def resident() -> int:
            return int(Path(f"/proc/{gateway.process.pid}/statm").read_text().split()[1]) * 4096

        def has_stopped_growing() -> bool:
            before = resident()
            time.sleep(1)
            return resident() - before < 1 << 20

        wait_until(has_stopped_growing, 60)
        assert resident() < 500 << 20
        assert gateway.request("GET", "/health").status == 200


# --- keys and limits


def test_keys(start: Start) -> None:
    gateway = start(
        policies={"cheap": {"objective": "cheapest"}, "dear": {"objective": "best"}},
        keys=[key_of("alice"), key_of("bob", policies=["cheap"], tags=["team"])],
    )
    assert gateway.chat().status == 401
    assert gateway.chat({"authorization": "Bearer nobody"}).status == 401
    assert gateway.chat({"authorization": "Bearer alice"}).status == 200
    assert gateway.chat({"x-api-key": "bob"}).status == 200
    assert gateway.chat({"x-api-key": "bob"}, model="auto:cheap").status == 200
    assert gateway.chat({"x-api-key": "bob"}, model="auto:dear").status == 403
    assert gateway.chat({"x-api-key": "bob", "x-r2-tag": "other"}).status == 403
    assert gateway.request("GET", "/v1/models").status == 401
    assert gateway.request("GET", "/health/ready").status == 200
    rows = spend(gateway, "by=key,tag", x_api_key="bob")["rows"]
    assert [(row["key"], row["tag"]) for row in rows] == [("bob", "team")]


def test_a_spending_limit_is_never_exceeded(start: Start) -> None:
    limit = 0.2
    # Every answer is as long as its cap, so that it costs almost what was reserved.
    gateway = start(
        [[{"service": {"tokens": "all"}}]],
        keys=[key_of("alice", limits={"usd_per_day": limit})],
        ledger="spend.db",
    )
    replies: list[Reply] = []

    def ask() -> None:
        for _ in range(20):
            body = {"r2": {"objective": "best"}, "max_tokens": 1000}
            replies.append(gateway.chat({"x-api-key": "alice"}, **body))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {reply.status for reply in replies} == {200, 429}
    cost = sum(float(r.headers["x-r2-cost-usd"]) for r in replies if r.status == 200)
    assert limit / 2 < cost <= limit
    total = spend(gateway, x_api_key="alice")["total"]
    assert total["settled_usd"] == pytest.approx(cost, abs=1e-6)
    refused = [reply for reply in replies if reply.status == 429]
    for reply in refused:
        assert reply.json()["error"]["code"] == "limit_per_day"


def test_requests_per_minute(start: Start) -> None:
    gateway = start(keys=[key_of("alice", limits={"requests_per_minute": 2})])
    statuses = [gateway.chat({"x-api-key": "alice"}).status for _ in range(3)]
    assert statuses == [200, 200, 429]
    assert int(gateway.chat({"x-api-key": "alice"}).headers["retry-after"]) > 0


def test_web_pages_of_other_origins_are_refused_without_keys(start: Start) -> None:
    gateway = start()
    assert gateway.chat({"origin": "https://evil.example"}).status == 403
    rebound = {"origin": "http://evil.example:4000", "host": "evil.example:4000"}
    assert gateway.chat(rebound).status == 403
    assert gateway.chat({"origin": f"http://127.0.0.1:{gateway.port}"}).status == 200


LOCAL = ["localhost", "LOCALHOST:4000", "127.0.0.1", "127.9.8.7:80", "[::1]:4000", "192.0.2.1:4000"]
FOREIGN = ["evil.example", "evil.example:4000", "localhost.evil.example", "127.0.0.1.evil.example"]


@pytest.mark.parametrize("path", ["/v1/spend", "/v1/models", "/v1/models/auto", "/metrics"])
def test_without_keys_a_page_cannot_read_under_a_name_of_its_own(start: Start, path: str) -> None:
    """A browser sends no Origin with the requests of a page to its own site."""
    gateway = start(allowed_hosts=["Gateway.example"])
    for host in [*LOCAL, "gateway.example", "gateway.example:4000"]:
        assert gateway.request("GET", path, host=host).status == 200, host
    for host in FOREIGN:
        refused = gateway.request("GET", path, host=host)
        assert refused.status == 403, host
        error = refused.json()["error"]
        assert error["code"] == "unknown_host"
        assert host.split(":")[0] in error["message"] and "allowed_hosts" in error["message"]
    assert gateway.request("GET", "/health/ready", host="evil.example").status == 200


def test_host_names_count_without_keys_only(start: Start, server: FaultServer) -> None:
    gateway = start()
    for path, body in BODIES.items():
        body = body | {"model": "auto"}
        refused = gateway.request("POST", path, body, host="evil.example", x_api_key="any")
        assert refused.status == 403
        assert (refused.json().get("type") == "error") == (path == "/v1/messages")
    assert server.requests(gateway.path) == []
    gateway = start(keys=[key_of("alice")])
    assert gateway.chat({"host": "gateway.example", "x-api-key": "alice"}).status == 200
    assert gateway.chat({"host": "gateway.example"}).status == 401


def test_the_name_to_listen_on_is_known(start: Start) -> None:
    name = socket.gethostname()
    try:
        address = socket.gethostbyname(name)
    except OSError:
        pytest.skip("the name of this machine has no address")
    gateway = start(listen=f"{name}:0", allow_anonymous=True)
    for host, status in ((f"{name}:{gateway.port}", 200), (f"{name}.evil.example", 403)):
        connection = http.client.HTTPConnection(address, gateway.port, timeout=30)
        connection.request("GET", "/v1/models", headers={"host": host})
        assert connection.getresponse().status == status, host
        connection.close()


# --- connections


def raw(gateway: Gateway, data: bytes, seconds: float = 5) -> bytes:
    """What is answered until the connection is closed, or nothing comes any more."""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=seconds) as client:
        client.sendall(data)
        received = b""
        with contextlib.suppress(TimeoutError, ConnectionResetError):
            while block := client.recv(1 << 16):
                received += block
        return received


HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (HEAD + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", 400),
        (HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400),
        (HEAD + b"Content-Length: 2, 2\r\n\r\n{}", 400),
        (HEAD + b"Content-Length: +2\r\n\r\n{}", 400),
        (HEAD + b"Content-Length: -2\r\n\r\n{}", 400),
        (HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n", 400),
        (HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
        (HEAD + b"Transfer-Encoding: identity\r\n\r\n", 400),
        (HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (HEAD + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n", 400),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}garbage\r\n0\r\n\r\n", 400),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\n{}", 400),
        (HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n", 400),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n2 \r\n{}\r\n0\r\n\r\n", 400),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\n{}\n0\n\n", 400),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n10000000000000002\r\n{}\r\n0\r\n\r\n", 400),
        (HEAD + b"Content-Length:\r\n\r\n", 400),
        (HEAD + b"Content-Length : 2\r\n\r\n{}", 400),
        (HEAD.replace(b"\r\n", b"\n") + b"Content-Length: 2\n\n{}", 400),
        (HEAD.replace(b"POST ", b"POST  ") + b"Content-Length: 2\r\n\r\n{}", 400),
        (HEAD.replace(b"completions", b"completions\x01") + b"Content-Length: 2\r\n\r\n{}", 400),
        (HEAD + b"X-A: b\x00c\r\nContent-Length: 2\r\n\r\n{}", 400),
        (HEAD + b"X-A: b\rX-B: c\r\nContent-Length: 2\r\n\r\n{}", 400),
        (HEAD + b"Content-Length: 99999999999999999999\r\n\r\n", 400),
        (HEAD + b"Content-Length: 40000000\r\n\r\n", 413),
        (b"POST /v1/models HTTP/1.1\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET http://x/health HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (HEAD + b"X-Long: " + b"a" * 100_000 + b"\r\n\r\n", 431),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    ],
)
def test_malformed_requests_are_refused_and_closed(
    start: Start, server: FaultServer, request_bytes: bytes, status: int
) -> None:
    gateway = start()
    smuggled = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    received = raw(gateway, request_bytes + smuggled)
    assert received.startswith(f"HTTP/1.1 {status} ".encode()), received[:200]
    assert received.count(b"HTTP/1.1 ") == 1
    assert b"connection: close" in received
    assert server.requests(gateway.path) == []


def test_pipelined_requests_are_answered_in_order(start: Start) -> None:
    gateway = start()
    body = json.dumps({"model": "auto", "messages": HELLO}).encode()
    chat = HEAD + b"Content-Length: " + str(len(body)).encode() + b"\r\n\r\n" + body
    health = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    received = raw(gateway, chat + chat + health)
    assert received.count(b"HTTP/1.1 200 OK") == 3
    assert received.rstrip().endswith(b'{"status": "ok"}')
    assert received.count(ANSWER.encode()) == 2


def test_chunked_and_large_bodies(start: Start, server: FaultServer) -> None:
    gateway = start()
    text = "Faust " * 500_000
    body = json.dumps({"model": "auto", "messages": [{"role": "user", "content": text}]}).encode()
    connection = gateway.connect()
    pieces = (body[i : i + 70_001] for i in range(0, len(body), 70_001))
    connection.request("POST", "/v1/chat/completions", pieces, encode_chunked=True,
                       headers={"Transfer-Encoding": "chunked"})  # fmt: skip
    status = connection.getresponse().status
    assert status in (200, 400)  # it may not fit any model's context
    assert gateway.request("GET", "/health").status == 200


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[" * 100_000, b'{"a":' * 100_000, b'{"model": "auto", "messages": "\xff"}',
     b'{"model": "auto", "model": "auto", "messages": []}', b'{"model": 1}'],
)  # fmt: skip
def test_bad_bodies(start: Start, body: bytes) -> None:
    gateway = start()
    for path in BODIES:
        reply = gateway.request("POST", path, body)
        assert reply.status == 400, (path, reply.body)
        assert reply.json()["error"]["message"]


def test_slow_and_silent_clients_do_not_block_others(start: Start) -> None:
    gateway = start(limits={"head_seconds": 5, "body_seconds": 5})
    clients = [socket.create_connection(("127.0.0.1", gateway.port)) for _ in range(300)]
    for i, client in enumerate(clients):
        client.sendall([b"", b"POST / HT", HEAD + b"Content-Length: 9\r\n\r\n{"][i % 3])
    assert gateway.chat().status == 200
    clients[0].setblocking(False)
    with pytest.raises(BlockingIOError):  # it is still waited for
        clients[0].recv(1)
    for client in clients:
        client.settimeout(60)
        with contextlib.suppress(ConnectionResetError):
            while client.recv(4096):
                pass
        client.close()


def test_the_limit_of_connections_replaces_idle_ones(start: Start) -> None:
    gateway = start(threads=1, limits={"connections": 10})
    clients = [socket.create_connection(("127.0.0.1", gateway.port)) for _ in range(30)]
    assert gateway.chat().status == 200
    for client in clients:
        client.close()


def test_tls(start: Start, server: FaultServer) -> None:
    server.listen("good")
    folder = Path(server.ca_file).parent
    tls = {"certificate": str(folder / "good.pem"), "key": str(folder / "key.pem")}
    gateway = start(tls=tls)
    context = ssl.create_default_context(cafile=server.ca_file)
    with (
        socket.create_connection(("127.0.0.1", gateway.port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as client,
    ):
        client.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 200")


def test_keys_of_an_endpoint_are_never_shown(start: Start, tmp_path: Path) -> None:
    """Neither its key nor those in its headers, whatever the server says about them."""
    secret = tmp_path / "header"
    secret.write_text("Bearer header-secret-key\n")
    words = "bad: upstream-secret-key, Bearer header-secret-key"
    error = {"error": {"message": words}}
    stream = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    delta = {"type": "response.output_text.delta", "delta": "a"}
    failed = {"type": "response.failed", "response": {"status": "failed", "output": []} | error}
    scripts: list[tuple[dict[str, Any], bool]] = [
        ({"answer": {"status": status, "json": error}}, False) for status in (200, 400, 401, 500)
    ]
    scripts.append(
        ({"send": f"{stream}data: {json.dumps(delta)}\n\ndata: {json.dumps(failed)}\n\n"}, True)
    )
    for script, streamed in scripts:
        gateway = start([[script]], {"headers": {"x-account": f"file:{secret}"}}, max_fallbacks=0)
        body = {"model": "auto", "input": "Who wrote Faust?", "stream": streamed}
        reply = gateway.request("POST", "/v1/responses", body)
        assert b"bad: [key]" in reply.body, reply.body
        assert b"secret" not in reply.body


def test_a_reload_with_a_bad_certificate_changes_nothing(
    start: Start, server: FaultServer, tmp_path: Path
) -> None:
    server.listen("good")
    folder = Path(server.ca_file).parent
    certificate = tmp_path / "certificate.pem"
    certificate.write_bytes((folder / "good.pem").read_bytes())
    tls = {"certificate": str(certificate), "key": str(folder / "key.pem")}
    gateway = start(tls=tls, keys=[key_of("alice", limits={"requests_per_minute": 1000})])
    certificate.write_text("none")
    gateway.configure(gateway.config | {"keys": [key_of("alice", limits={"usd_total": 0})]})
    gateway.signal(signal.SIGHUP)
    assert "certificate.pem" in gateway.wait_for("PEM")
    context = ssl.create_default_context(cafile=server.ca_file)
    connection = http.client.HTTPSConnection("localhost", gateway.port, context=context)
    body = json.dumps({"model": "auto", "messages": HELLO})
    connection.request("POST", "/v1/chat/completions", body, {"x-api-key": "alice"})
    assert connection.getresponse().status == 200, "under the previous limits"
    connection.close()


def test_a_reload_cannot_open_an_address_to_everybody(start: Start) -> None:
    gateway = start(keys=[key_of("alice")], listen="0.0.0.0:0")
    gateway.configure(gateway.config | {"listen": "127.0.0.1:0", "keys": []})
    gateway.signal(signal.SIGHUP)
    assert "without keys" in gateway.wait_for("0.0.0.0")
    assert gateway.chat().status == 401


# --- operation


def test_drains_at_the_end(start: Start, server: FaultServer) -> None:
    gateway = start([[{"wait": 1}, {"service": {}}]])
    replies: list[Reply] = []
    thread = threading.Thread(target=lambda: replies.append(gateway.chat()))
    thread.start()
    wait_until(lambda: server.requests(gateway.path))
    gateway.signal(signal.SIGTERM)
    gateway.wait_for("ending")
    with pytest.raises(OSError):
        wait_until(lambda: not socket.create_connection(("127.0.0.1", gateway.port)))
    thread.join()
    assert replies[0].status == 200
    assert gateway.process.wait(60) == 0


def test_reload(start: Start) -> None:
    gateway = start()
    assert gateway.chat(model="auto:new").status == 400
    gateway.configure(gateway.config | {"policies": {"new": {"objective": "cheapest"}}})
    gateway.signal(signal.SIGHUP)
    gateway.wait_for("was read again")
    assert gateway.chat(model="auto:new").status == 200
    gateway.configure('{"polices": {}}')
    gateway.signal(signal.SIGHUP)
    assert "/polices" in gateway.wait_for("not used")
    assert gateway.chat(model="auto:new").status == 200


def test_a_changed_file_is_read_again(start: Start) -> None:
    gateway = start()
    gateway.configure(gateway.config | {"policies": {"new": {"objective": "cheapest"}}})
    gateway.wait_for("has changed")
    assert gateway.chat(model="auto:new").status == 200


def test_a_reload_under_load_fails_no_request(start: Start) -> None:
    gateway = start()
    replies: list[Reply] = []
    running = True

    def ask() -> None:
        while running:
            replies.append(gateway.chat())

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        gateway.signal(signal.SIGHUP)
        gateway.wait_for("was read again")
    wait_until(lambda: len(replies) > 20, 60)
    running = False
    for thread in threads:
        thread.join()
    assert {reply.status for reply in replies} == {200}


def test_metrics_and_access_log(start: Start, tmp_path: Path) -> None:
    log = tmp_path / "access.jsonl"
    gateway = start(log={"access": str(log)})
    reply = gateway.chat()
    text = gateway.request("GET", "/metrics").body.decode()
    model = reply.headers["x-r2-model"]
    assert f'r2router_requests_total{{model="{model}",status="200"}} 1' in text
    assert 'r2router_upstream_attempts_total{outcome="success",code=""} 1' in text
    for name in ("cost_usd_total", "tokens_total", "routing_overhead_ms", "model_available"):
        assert f"r2router_{name}" in text
    line = wait_until(lambda: log.exists() and log.read_text())
    entry = json.loads(line.splitlines()[0])
    assert entry["status"] == 200 and entry["model"] == model and entry["cost_usd"] > 0
    assert "Faust" not in line and "upstream-secret-key" not in line


def test_trace_context_passes_on(start: Start, server: FaultServer) -> None:
    gateway = start()
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    gateway.chat({"traceparent": parent, "anthropic-beta": "x", "cookie": "private"})
    headers = server.requests(gateway.path)[0].headers
    assert headers["traceparent"] == parent and headers["anthropic-beta"] == "x"
    assert "cookie" not in headers


def test_headers_of_the_endpoint_replace_the_clients(start: Start, server: FaultServer) -> None:
    gateway = start(endpoint={"headers": {"Anthropic-Version": "2023-06-01"}})
    for path, body in BODIES.items():
        headers = {"anthropic-version": "1999-01-01", "anthropic-beta": "x"}
        gateway.request("POST", path, body | {"model": "auto"}, **headers)
        sent = server.requests(gateway.path)[-1].headers
        assert (sent["anthropic-version"], sent["anthropic-beta"]) == ("2023-06-01", "x")
