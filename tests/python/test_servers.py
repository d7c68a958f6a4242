"""Routers that call servers: real ones, on loopback, that fail in every way they can."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fault_server import FaultServer, Request, embedding_of

import r2_router
from r2_router import R2Router
from r2_router.__main__ import main

KEY = "sk-or-v1-0123456789abcdef"
QUERY = "Solve the equation: 2x + 5 = 13"


@pytest.fixture(autouse=True)
def no_key_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENROUTER_API_KEY", raising=False)


def answer(status: int, body: Any, **headers: str) -> dict[str, Any]:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return {"answer": {"status": status, "json": body, "headers": fields}}


def error(status: int, message: str = "went wrong") -> list[dict[str, Any]]:
    return [answer(status, {"error": {"code": status, "message": message}}, Retry_After="0")]


def service(**settings: Any) -> list[dict[str, Any]]:
    return [{"service": settings}]


def body(request: Request) -> Any:
    return json.loads(request.body)


class Flow:
    """A released checkpoint between two servers."""

    def __init__(self, server: FaultServer, folder: Path, **settings: Any) -> None:
        self.server = server
        self.embeddings = server.script([service(dimension=1024)])
        self.answers = server.script([service(key=KEY, **settings)])
        self.arguments: dict[str, Any] = {
            "embed_url": server.url(self.embeddings),
            "llm_api_base": server.url(self.answers),
            "llm_api_key": KEY,
        }
        self.router = R2Router.from_pretrained(folder, **self.arguments)

    def requests(self) -> list[Request]:
        return self.server.requests(self.answers)


@pytest.fixture
def flow(server: FaultServer, released_folder: Path) -> Flow:
    return Flow(server, released_folder)


@pytest.fixture
def small(native_folder: Path) -> R2Router:
    """A router that needs no embeddings from a server."""
    return R2Router.from_pretrained(native_folder, llm_api_key=KEY)


# The flow of the published package.


def test_route_text_embeds_at_the_server(flow: Flow) -> None:
    decision = flow.router.route_text(QUERY)
    expected = flow.router.route(embedding_of(QUERY, 1024), input_tokens=10)
    assert decision == expected
    (request,) = flow.server.requests(flow.embeddings)
    assert request.path == f"{flow.embeddings}/v1/embeddings"
    assert body(request)["model"] == "Qwen/Qwen3-0.6B"
    assert body(request)["input"] == [QUERY]
    assert "authorization" not in request.headers, "that key is for the other server"


def test_embeddings_of_several_texts_keep_their_order(flow: Flow) -> None:
    texts = [f"text {i}" for i in range(150)]
    embeddings = flow.router.embed(texts)
    assert embeddings.shape == (150, 1024)
    np.testing.assert_array_equal(
        embeddings, np.array([embedding_of(text, 1024) for text in texts], np.float32)
    )


def test_route_and_generate(flow: Flow) -> None:
    result = flow.router.route_and_generate(QUERY, temperature=0.25)
    decision = flow.router.route_text(QUERY, available_only=True)
    assert flow.router.model_configs[decision["model"]]["available"]
    assert list(result)[:8] == [
        *("query", "response", "model", "openrouter_id", "budget"),
        *("predicted_quality", "predicted_cost_usd", "risk"),
    ]
    assert result["query"] == QUERY
    assert result["response"] == f"An answer to: {QUERY}"
    for key in ("model", "openrouter_id", "budget", "predicted_quality", "risk"):
        assert result[key] == decision[key]
    assert result["usage"]["completion_tokens"] == 7
    assert result["finish_reason"] == "stop"
    assert [attempt["error"] for attempt in result["attempts"]] == [None]
    (request,) = flow.requests()
    sent = body(request)
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert sent["model"] == decision["openrouter_id"]
    assert sent["temperature"] == 0.25
    assert sent["messages"][-1] == {"role": "user", "content": QUERY}
    limited = decision["budget"] != "unlimited"
    assert len(sent["messages"]) == 1 + limited
    assert not limited or str(decision["budget"]) in sent["messages"][0]["content"]
    cap = sent["max_tokens"]
    assert cap >= (decision["budget"] if limited else 16)


def test_generate_asks_one_pair(flow: Flow) -> None:
    result = flow.router.generate(QUERY, "gemma-3-4b-it", 300)
    assert result["response"] == f"An answer to: {QUERY}"
    sent = body(flow.requests()[0])
    assert sent["model"] == flow.router.model_configs["gemma-3-4b-it"]["openrouter_id"]
    assert "300" in sent["messages"][0]["content"]
    assert sent["max_tokens"] >= 300
    unlimited = flow.router.generate(QUERY, "gemma-3-4b-it", "unlimited")
    assert unlimited["budget"] == "unlimited"
    sent = body(flow.requests()[1])
    assert sent["messages"] == [{"role": "user", "content": QUERY}]
    assert sent["max_tokens"] > 1000


def test_a_conversation(flow: Flow) -> None:
    conversation = [
        {"role": "user", "content": "2 + 2?"},
        {"role": "assistant", "content": "4"},
        {"role": "user", "content": "and 3 + 3?"},
    ]
    result = flow.router.generate(conversation, "gemma-3-4b-it", "unlimited")
    assert result["response"] == "An answer to: and 3 + 3?"
    assert body(flow.requests()[0])["messages"] == conversation
    with pytest.raises(TypeError, match=r"message 1 .*expected a dictionary with the strings"):
        flow.router.generate([conversation[0], {"role": "user"}], "gemma-3-4b-it", 20)


def test_the_program_prints_what_the_package_returns(
    flow: Flow, released_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = flow.router.route_and_generate(QUERY)
    arguments = ["--checkpoint-dir", str(released_folder), "--query", QUERY]
    for name, value in flow.arguments.items():
        arguments += [f"--{name.replace('_', '-')}", value]
    assert main([*arguments, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    for key in ("query", "response", "model", "budget", "predicted_quality", "risk", "usage"):
        assert printed[key] == expected[key], key
    assert main(arguments) == 0
    assert expected["response"] in capsys.readouterr().out.splitlines()


def test_the_key_may_come_from_the_environment(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    flow.router.llm_api_key = None
    with pytest.raises(r2_router.AuthenticationError, match="OPENROUTER_API_KEY"):
        flow.router.route_and_generate(QUERY)
    monkeypatch.setenv("OPENROUTER_API_KEY", KEY)
    flow.router.route_and_generate(QUERY)
    assert flow.requests()[-1].headers["authorization"] == f"Bearer {KEY}"


def test_addresses_can_change(flow: Flow) -> None:
    other = flow.server.script([service(text="from elsewhere")])
    flow.router.route_and_generate(QUERY)
    flow.router.llm_api_base = flow.server.url(other)
    assert flow.router.route_and_generate(QUERY)["response"] == "from elsewhere"


def test_a_pickled_router_calls_too(flow: Flow) -> None:
    flow.router.route_and_generate(QUERY)
    copy = pickle.loads(pickle.dumps(flow.router))
    assert copy.route_and_generate(QUERY)["response"] == f"An answer to: {QUERY}"


def test_a_cache_asks_once(server: FaultServer, released_folder: Path) -> None:
    path = server.script([service(dimension=1024)])
    router = R2Router.from_pretrained(
        released_folder, embed_url=server.url(path), cache_bytes=1 << 20
    )
    first = router.embed(["one", "two"])
    again = router.embed(["two", "one", "three"])
    np.testing.assert_array_equal(first, again[[1, 0]])
    assert [body(request)["input"] for request in server.requests(path)] == [
        ["one", "two"],
        ["three"],
    ]


# Streams.


def test_a_stream_gives_the_same_text_in_pieces(flow: Flow) -> None:
    whole = flow.router.route_and_generate(QUERY)
    stream = flow.router.route_and_generate(QUERY, stream=True)
    with pytest.raises(RuntimeError, match="has not ended"):
        _ = stream.completion
    pieces = list(stream)
    assert len(pieces) > 3
    assert "".join(pieces) == whole["response"]
    assert list(stream) == []
    completion = stream.completion
    assert completion["response"] == whole["response"]
    assert completion["usage"] == whole["usage"]
    assert completion["first_text_seconds"] is not None


def test_a_stream_comes_as_it_is_written(server: FaultServer, small: R2Router) -> None:
    small.llm_api_base = server.url(server.script([service(pause=0.2, text="a b c d e f")]))
    begin = time.monotonic()
    with small.generate(QUERY, "small", "unlimited", stream=True) as stream:
        assert next(stream) == "a "
        assert time.monotonic() - begin < 0.9, "the first piece waited for the last"


def test_a_stream_that_is_closed_ends_the_request(server: FaultServer, small: R2Router) -> None:
    path = server.script([service(pause=0.05, text="word " * 1000)])
    small.llm_api_base = server.url(path)
    before = threading.active_count()
    with small.generate(QUERY, "small", "unlimited", stream=True) as stream:
        next(stream)
    assert list(stream) == []
    unread = small.generate(QUERY, "small", "unlimited", stream=True)
    next(unread)
    del unread
    # Threads of the calls, not of the server, which runs in this process too.
    deadline = time.monotonic() + 10
    while any(t.name == "r2_router call" for t in threading.enumerate()):
        assert time.monotonic() < deadline, "a call goes on that nobody reads"
        time.sleep(0.01)
    assert before > 0


def test_a_stream_that_breaks(server: FaultServer, small: R2Router) -> None:
    event = json.dumps({"choices": [{"index": 0, "delta": {"content": "Half an "}}]})
    head = (
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    chunk = f"data: {event}\n\n"
    start = {"send": f"{head}{len(chunk):x}\r\n{chunk}\r\n"}
    small.llm_api_base = server.url(server.script([[start, {"wait": 0.1}, {"reset": True}]]))
    pieces = []
    with pytest.raises(r2_router.ServerConnectionError) as caught:
        for piece in small.generate(QUERY, "small", "unlimited", stream=True):
            pieces.append(piece)
    assert pieces == ["Half an "]
    assert caught.value.completion is not None
    assert caught.value.completion["response"] == "Half an "
    assert len(caught.value.completion["attempts"]) == 1, "text had come: no second try"


# asyncio.


def test_the_event_loop_goes_on(server: FaultServer, released_folder: Path) -> None:
    embeddings = server.script([[{"wait": 0.3}, *service(dimension=1024)]])
    answers = server.script([[{"wait": 0.3}, *service()]])
    router = R2Router.from_pretrained(
        released_folder, embed_url=server.url(embeddings), llm_api_base=server.url(answers)
    )

    async def run() -> tuple[int, list[Any]]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        ticking = asyncio.create_task(tick())
        results = await asyncio.gather(
            *(router.aroute_and_generate(f"query {i}") for i in range(20))
        )
        ticking.cancel()
        return ticks, results

    begin = time.monotonic()
    ticks, results = asyncio.run(run())
    assert [result["response"] for result in results] == [
        f"An answer to: query {i}" for i in range(20)
    ]
    assert ticks > 5
    assert time.monotonic() - begin < 20 * 0.6, "the calls waited for each other"


def test_routing_in_asyncio(flow: Flow, small: R2Router) -> None:
    async def run() -> None:
        assert await flow.router.aroute_text(QUERY) == flow.router.route_text(QUERY)
        decisions = await flow.router.aroute_text(["one", "two"])
        assert decisions == flow.router.route_text(["one", "two"])
        assert await small.aroute_text(QUERY) == small.route_text(QUERY)
        result = await flow.router.agenerate(QUERY, "gemma-3-4b-it", 300)
        assert result["response"] == f"An answer to: {QUERY}"

    asyncio.run(run())


def test_streams_in_asyncio(flow: Flow) -> None:
    async def run() -> tuple[list[str], dict[str, Any]]:
        async with await flow.router.aroute_and_generate(QUERY, stream=True) as stream:
            pieces = [piece async for piece in stream]
        return pieces, stream.completion

    pieces, completion = asyncio.run(run())
    assert len(pieces) > 3
    assert "".join(pieces) == completion["response"] == f"An answer to: {QUERY}"


def test_cancelling_a_task_ends_the_request(server: FaultServer, small: R2Router) -> None:
    path = server.script([[{"wait": 30}]])
    small.llm_api_base = server.url(path)

    async def run() -> float:
        task = asyncio.create_task(small.agenerate(QUERY, "small", 20))
        while not server.requests(path):
            await asyncio.sleep(0.01)
        begin = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while any(t.name == "r2_router call" for t in threading.enumerate()):
            await asyncio.sleep(0.005)
        return time.monotonic() - begin

    assert asyncio.run(run()) < 2


# What goes wrong.


@pytest.mark.parametrize(
    ("steps", "kind", "base", "attempts"),
    [
        (error(429), r2_router.RateLimitError, RuntimeError, 4),
        (error(401), r2_router.AuthenticationError, RuntimeError, 1),
        (error(402), r2_router.CreditError, RuntimeError, 1),
        (error(400), r2_router.ServerError, RuntimeError, 1),
        (error(503), r2_router.ServerError, RuntimeError, 4),
        ([{"reset": True}], r2_router.ServerConnectionError, ConnectionError, 4),
        ([{"wait": 30}], r2_router.ServerTimeoutError, TimeoutError, 1),
        (service(reasoning=4_000_000, tokens="all"), r2_router.BudgetError, RuntimeError, 1),
        (service(text=""), r2_router.NoAnswerError, RuntimeError, 1),
        ([answer(200, {"choices": None})], r2_router.NoAnswerError, RuntimeError, 1),
        (error(400, "API key not valid"), r2_router.AuthenticationError, RuntimeError, 1),
        (error(529), r2_router.ServerError, RuntimeError, 4),
        ([answer(200, [1, 2])], r2_router.ServerError, RuntimeError, 1),
    ],
)
def test_failures_are_exceptions(
    steps: list[Any],
    kind: type[Exception],
    base: type[Exception],
    attempts: int,
    server: FaultServer,
    small: R2Router,
) -> None:
    path = server.script([steps])
    small.llm_api_base = server.url(path)
    timeout = 0.5 if "wait" in steps[0] else 60
    with pytest.raises(base) as caught:
        small.generate(QUERY, "small", 20, timeout=timeout)
    assert type(caught.value) is kind
    completion = caught.value.completion  # type: ignore[attr-defined]
    assert len(completion["attempts"]) == attempts
    assert len(server.requests(path)) == attempts
    assert completion["response"] == ""
    assert str(caught.value) == completion["failure"]["message"]
    assert KEY not in f"{caught.value!r} {completion}"


def test_a_model_that_fails_is_stood_in_for(server: FaultServer, flow: Flow) -> None:
    router = flow.router
    best, next_best = [
        o for o in one_of_each(router) if router.model_configs[o["model"]]["available"]
    ][:2]
    path = server.script([error(404, "no such model"), service()])
    router.llm_api_base = server.url(path)
    result = router.route_and_generate(QUERY, available_only=True)
    assert [body(request)["model"] for request in server.requests(path)] == [
        best["openrouter_id"],
        next_best["openrouter_id"],
    ]
    for key in ("model", "openrouter_id", "budget", "predicted_quality", "risk"):
        assert result[key] == next_best[key]
    assert [attempt["http_status"] for attempt in result["attempts"]] == [404, 200]
    assert result["attempts"][1]["error"] is None
    alone = server.script([error(404, "no such model")])
    router.llm_api_base = server.url(alone)
    with pytest.raises(r2_router.ServerError, match="no such model"):
        router.route_and_generate(QUERY, max_fallbacks=0)
    assert len(server.requests(alone)) == 1


def reply(finish_reason: str = "stop", **message: Any) -> list[dict[str, Any]]:
    choice = {"message": {"content": None} | message, "finish_reason": finish_reason}
    return [answer(200, {"choices": [choice]})]


def test_an_answer_without_text_is_stood_in_for(server: FaultServer, flow: Flow) -> None:
    keys = list(flow.router.route_and_generate(QUERY))
    assert keys[:8] == [
        *("query", "response", "model", "openrouter_id", "budget"),
        *("predicted_quality", "predicted_cost_usd", "risk"),
    ]
    for stream in (False, True):
        path = server.script(
            [reply(refusal="I can't help."), reply(reasoning_content="hm"), service()]
        )
        flow.router.llm_api_base = server.url(path)
        result = flow.router.route_and_generate(QUERY, stream=stream)
        if stream:
            assert "".join(result) == f"An answer to: {QUERY}"
            result = result.completion
        assert list(result) == keys
        assert result["response"] == f"An answer to: {QUERY}"
        assert result["refusal"] is None
        assert result["reasoning"] is None
        attempts = result["attempts"]
        assert [attempt["error"] for attempt in attempts] == ["no_answer", "no_answer", None]
        assert len({attempt["model"] for attempt in attempts}) == 3


def test_a_refusal_and_reasoning_have_fields_of_their_own(
    server: FaultServer, small: R2Router
) -> None:
    small.llm_api_base = server.url(
        server.script(
            [
                reply(refusal="I can't help."),
                reply(reasoning="hm"),
                reply("content_filter"),
                reply(content="Paris.", reasoning="hm"),
                service(text="<think>hm</think>Paris."),
            ]
        )
    )
    found = []
    for _ in range(3):
        with pytest.raises(r2_router.NoAnswerError) as caught:
            small.generate(QUERY, "small", 20)
        completion = caught.value.completion
        assert completion is not None
        assert completion["failure"]["error"] == "no_answer"
        found.append((completion["refusal"], completion["reasoning"]))
    assert found == [("I can't help.", None), (None, "hm"), (None, None)]
    for arguments in ({}, {"split_thinking": True}):
        result = small.generate(QUERY, "small", 20, **arguments)
        assert (result["response"], result["reasoning"]) == ("Paris.", "hm")


def test_only_what_is_set_is_sent(server: FaultServer, small: R2Router) -> None:
    path = server.script([service(rejects=["temperature", "max_tokens"])])
    small.llm_api_base = server.url(path)
    small.generate(QUERY, "small", 20)
    small.generate(QUERY, "small", 20, 0.25)
    small.generate(QUERY, "small", 20, temperature=0)
    bodies = [body(request) for request in server.requests(path)]
    # The cap's other field and a temperature that is not taken are learned once.
    assert [sent.get("temperature") for sent in bodies] == [None, None, 0.25, None, None]
    assert ["max_tokens" in sent for sent in bodies] == [True, False, False, False, False]
    with pytest.raises(ValueError, match="temperature"):
        small.generate(QUERY, "small", 20, temperature=-1)


def test_a_base_url_may_have_a_query(server: FaultServer, flow: Flow) -> None:
    flow.router.llm_api_base = f" {server.url(flow.answers)}/v1?api-version=1\n"
    flow.router.embed_url = f"{server.url(flow.embeddings)}/v1/?api-version=1 "
    flow.router.route_and_generate(QUERY)
    assert flow.requests()[-1].path.endswith("/v1/chat/completions?api-version=1")
    (request,) = server.requests(flow.embeddings)
    assert request.path.endswith("/v1/embeddings?api-version=1")


def one_of_each(router: R2Router) -> list[dict[str, Any]]:
    """The best option of each model, best first."""
    best: dict[str, dict[str, Any]] = {}
    for option in router.route_text(QUERY).all_options:
        best.setdefault(option["model"], option)
    return list(best.values())


def test_embedding_failures_are_exceptions(server: FaultServer, released_folder: Path) -> None:
    router = R2Router.from_pretrained(released_folder)
    router.embed_url = f"http://127.0.0.1:{server.closed_port()}"
    with pytest.raises(r2_router.ServerConnectionError, match=r"127\.0\.0\.1"):
        router.route_text(QUERY)
    router.embed_url = server.url(server.script([service(dimension=7)]))
    with pytest.raises(r2_router.ServerError, match=r"7 .*1024"):
        router.route_text(QUERY)


def test_a_checkpoint_with_an_encoder_takes_no_server(native_folder: Path) -> None:
    router = R2Router.from_pretrained(native_folder, embed_url="http://127.0.0.1:9")
    with pytest.raises(ValueError, match=r"encoder of its own.*leave embed_url out"):
        router.embed("text")


def test_what_is_asked_is_checked(flow: Flow) -> None:
    with pytest.raises(ValueError, match="the model is 'gpt-9': expected one of"):
        flow.router.generate(QUERY, "gpt-9", 20)
    with pytest.raises(ValueError, match="the budget is 0"):
        flow.router.generate(QUERY, "gemma-3-4b-it", 0)
    flow.router.llm_api_base = "ftp://example.org"
    with pytest.raises(ValueError, match="ftp"):
        flow.router.generate(QUERY, "gemma-3-4b-it", 20)
    assert flow.requests() == []


def test_no_key_in_a_repr(flow: Flow) -> None:
    assert KEY not in repr(flow.router)
    assert KEY not in repr(flow.router._servers.client("http://127.0.0.1:9", KEY))


_INTERRUPTED = """
import sys
from r2_router import R2Router
router = R2Router.from_pretrained(sys.argv[1], llm_api_base=sys.argv[2])
try:
    router.generate("query", "small", 20)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_ends_a_call(server: FaultServer, native_folder: Path) -> None:
    path = server.script([[{"wait": 60}]])
    command = [sys.executable, "-c", _INTERRUPTED, str(native_folder), server.url(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ) as program:
        deadline = time.monotonic() + 60
        while not server.requests(path):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        program.send_signal(signal.SIGINT)
        out, _ = program.communicate(timeout=30)
    assert out == b"interrupted\n"
