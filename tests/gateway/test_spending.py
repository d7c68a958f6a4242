"""What keys with limits may send, what it is charged, and that a limit is a guarantee."""

from __future__ import annotations

import json
import os
import resource
import select
import socket
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import HELLO, Gateway, Reply
from fault_server import FaultServer
from test_gateway import BODIES, key_of, spend, streamed_text, wait_until

Start = Callable[..., Gateway]
STREAM_HEAD = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
USAGE = {"prompt_tokens": 20, "completion_tokens": 7, "total_tokens": 27}


def pool_of(folder: Path, models: dict[str, Any]) -> str:
    path = folder / "pool.json"
    path.write_text(json.dumps({"models": models}))
    return str(path)


def prices(model: str, input_price: float, output_price: float, **more: Any) -> dict[str, Any]:
    return {
        "openrouter_id": model,
        "input_price_per_million": input_price,
        "output_price_per_million": output_price,
    } | more


def event(data: Any) -> str:
    return f"data: {data if isinstance(data, str) else json.dumps(data)}\n\n"


def delta(reason: str | None = None, **members: str) -> str:
    choice = {"index": 0, "delta": members, "finish_reason": reason}
    return event({"choices": [choice]})


# --- requests whose cost is not known


@pytest.mark.parametrize("path", BODIES)
def test_unknown_fields_are_refused_under_a_limit_only(start: Start, path: str) -> None:
    gateway = start(
        keys=[key_of("open"), key_of("limited", limits={"usd_per_day": 5})],
        accepted_fields=["known_to_us"],
    )

    def ask(key: str, **fields: Any) -> Any:
        return gateway.request(
            "POST", path, BODIES[path] | {"model": "auto"} | fields, x_api_key=key
        )

    assert ask("open", turbo=1).status == 200
    assert ask("limited").status == 200
    assert ask("limited", known_to_us=1).status == 200
    for key, more in (("limited", {}), ("open", {"r2": {"max_cost_usd": 0.5}})):
        reply = ask(key, turbo=1, known_to_us=1, **more)
        assert reply.status == 400
        message = reply.json()["error"]["message"]
        assert "turbo" in message and '"turbo" to accepted_fields' in message
    server_tool = {"type": "web_search_20250305", "name": "web_search"}
    reply = ask("limited", tools=[server_tool])
    assert reply.status == 400 and "tools[0].type" in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "fields", "name"),
    [
        ("/v1/chat/completions", {"web_search_options": {}}, "web_search_options"),
        (
            "/v1/chat/completions",
            {"messages": [{"role": "user", "content": [
                {"type": "image_url", "image_url": {"url": "data:application/pdf;base64,AAAA"}}]}]},
            "messages[0].content[0]",
        ),
        (
            "/v1/chat/completions",
            {"messages": [{"role": "user", "content": [
                {"text": "x", "image_url": {"url": "https://example.org/a"}}]}]},
            "messages[0].content[0].image_url",
        ),
        ("/v1/responses", {"input": [{"id": "msg_1"}]}, "input[0]"),
        ("/v1/responses", {"conversation": {}}, "conversation"),
        (
            "/v1/responses",
            {"tools": [{"type": "namespace", "name": "n", "tools": [{"type": "web_search"}]}]},
            "tools[0].type",
        ),
        ("/v1/messages", {"container": {}}, "container"),
    ],
)  # fmt: skip
def test_what_may_cost_more_is_refused_under_a_limit_however_it_is_written(
    start: Start, server: FaultServer, path: str, fields: dict[str, Any], name: str
) -> None:
    gateway = start(keys=[key_of("limited", limits={"usd_total": 1000})])
    reply = gateway.request(
        "POST", path, BODIES[path] | {"model": "auto"} | fields, x_api_key="limited"
    )
    assert reply.status == 400, reply.body
    assert reply.json()["error"]["message"].startswith(f"{name}: ")
    assert server.requests(gateway.path) == []


def test_embeddings_under_a_limit_are_text_alone(start: Start) -> None:
    gateway = start(
        keys=[
            key_of("open"),
            key_of("limited", limits={"usd_total": 1}),
            key_of("chats", models=["gpt-5.4"]),
            key_of("embeds", models=["embedder"]),
        ],
        embeddings={"endpoint": "main", "input_price_per_million": {"embedder": 1}},
        accepted_fields=["known_to_us"],
    )

    def ask(key: str, **fields: Any) -> Reply:
        body = {"model": "embedder", "input": ["a", "b"]} | fields
        return gateway.request("POST", "/v1/embeddings", body, x_api_key=key)

    for fields in ({}, {"dimensions": 8}, {"known_to_us": 1}):
        assert ask("limited", **fields).status == 200, fields
    for fields in ({"provider": {}}, {"input": [{"image": "https://example.org/a"}]}):
        refused = ask("limited", **fields)
        assert refused.status == 400
        assert refused.json()["error"]["message"].startswith(f"{next(iter(fields))}: ")
    assert ask("open", provider={}).status == 200
    assert ask("embeds").status == 200
    assert ask("chats").status == 403


def test_the_beta_of_long_contexts_needs_their_price_under_a_limit(
    start: Start, server: FaultServer, tmp_path: Path
) -> None:
    tiers = [{"above_input_tokens": 200_000, "input_price_per_million": 6}]
    pool = {
        "claude-sonnet-5": prices("flat", 3, 15),
        "claude-opus-5": prices("tiered", 3, 15, price_tiers=tiers),
    }
    gateway = start(
        pool=pool_of(tmp_path, pool),
        keys=[key_of("open"), key_of("limited", limits={"usd_total": 5})],
    )
    betas = "context-management-2025-06-27, context-1m-2025-08-07,effort-2025-11-24"
    for key, model in (("limited", "claude-sonnet-5"), ("limited", "claude-opus-5"),
                       ("open", "claude-sonnet-5")):  # fmt: skip
        body = BODIES["/v1/messages"] | {"model": model}
        headers = {"x-api-key": key, "anthropic-beta": betas}
        assert gateway.request("POST", "/v1/messages", body, **headers).status == 200
    sent = [request.headers["anthropic-beta"] for request in server.requests(gateway.path)]
    assert sent == ["context-management-2025-06-27,effort-2025-11-24", betas, betas]


# --- the worst case


def test_an_image_of_a_small_model_stays_within_its_limit(
    start: Start, server: FaultServer, tmp_path: Path
) -> None:
    """gpt-4o-mini bills 2,833 tokens for an image and 5,667 for each of up to eight tiles."""
    billed = 2_833 + 8 * 5_667
    pool = pool_of(tmp_path, {"gpt-5.4-mini": prices("small", 1000, 1000)})
    gateway = start(pool=pool, keys=[key_of("alice", limits={"usd_total": 1000})])
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, image]}]
    cost = (billed + 100 + 10) / 1000
    refused = gateway.chat(
        {"x-api-key": "alice"}, messages=messages, max_tokens=10, r2={"max_cost_usd": cost}
    )
    assert refused.status == 400, "the worst case is above what is billed"
    assert "no pair fits" in refused.json()["error"]["message"]
    answered = gateway.chat(
        {"x-api-key": "alice"}, messages=messages, max_tokens=10, r2={"max_cost_usd": 100}
    )
    assert answered.status == 200, answered.body


def test_text_that_grows_under_normalisation_is_within_the_worst_case(
    start: Start, tmp_path: Path
) -> None:
    """Tokenizers that normalise first may make more tokens of it than it has bytes."""
    most: dict[int, tuple[float, str]] = {}  # by 128 characters
    for code in range(0x80, 0x110000):
        if not 0xD800 <= code < 0xE000:
            size = max(
                len(unicodedata.normalize(form, text).encode())
                for form in ("NFC", "NFKC")
                for text in (chr(code), chr(code).lower())
            )
            growth = size / len(chr(code).encode())
            if growth > 1:
                most[code >> 7] = max(most.get(code >> 7, (0, "")), (growth, chr(code)))
    assert len(most) > 20
    assert max(most.values())[0] == 11
    pool = pool_of(tmp_path, {"gpt-5.4-mini": prices("small", 1e6, 0)})  # USD 1 for a token
    gateway = start(pool=pool, keys=[key_of("alice")])
    usual = "x" * 1000
    for escaped in (False, True):
        for _, character in most.values():
            body = json.dumps(
                {"model": "auto", "messages": [{"role": "user", "content": character * 1000}]},
                ensure_ascii=escaped,
            )
            plain = json.dumps({"model": "auto", "messages": [{"role": "user", "content": usual}]})
            worst = [
                gateway.request("POST", "/v1/decisions", text.encode(), x_api_key="alice").json()
                for text in (body, plain)
            ]
            tokens = worst[0]["worst_case_cost_usd"] - worst[1]["worst_case_cost_usd"] + 1000
            grown = max(
                len(unicodedata.normalize(form, text).encode())
                for form in ("NFC", "NFKC")
                for text in (character, character.lower())
            )
            assert tokens >= 1000 * grown, f"U+{ord(character):04X}"


@pytest.mark.parametrize("price", [None, 1250])
def test_what_is_written_to_a_cache_is_reserved_and_charged(
    start: Start, server: FaultServer, tmp_path: Path, price: float | None
) -> None:
    known = {} if price is None else {"cache_write_price_per_million": price}
    pool = pool_of(tmp_path, {"claude-sonnet-5": prices("sonnet", 1000, 0.001, **known)})
    answer = {"id": "1", "type": "message", "role": "assistant", "model": "sonnet"} | {
        "content": [{"type": "text", "text": "Goethe"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 5, "cache_creation_input_tokens": 95, "output_tokens": 10},
    }
    gateway = start([[{"answer": {"json": answer}}]], pool=pool, keys=[key_of("alice")])

    def ask(cached: bool, most: float) -> Any:
        part: dict[str, Any] = {"type": "text", "text": "Who wrote Faust?"}
        if cached:
            part["cache_control"] = {"type": "ephemeral"}
        body = {"model": "auto", "messages": [{"role": "user", "content": [part]}]}
        body |= {"max_tokens": 10, "r2": {"max_cost_usd": most}}
        return gateway.request("POST", "/v1/messages", body, x_api_key="alice")

    def least(cached: bool) -> float:
        """The worst case, in USD: the least limit under which the request is sent."""
        low, high = 0.0, 100.0
        while high - low > 0.01:
            middle = (low + high) / 2
            low, high = (low, middle) if ask(cached, middle).status == 200 else (middle, high)
        return high

    factor = 2 if price is None else price / 1000
    plain, written = least(cached=False), least(cached=True)  # almost all for the input
    marked = len(', "cache_control": {"type": "ephemeral"}') / 1000  # the bytes of the mark
    if price is None:
        assert written == pytest.approx((plain + marked) * factor, rel=0.02)
    else:  # the pool's price counts for every request: a server may write a cache unasked
        assert written == pytest.approx(plain + marked * factor, rel=0.02)
    reply = ask(True, 100)
    assert float(reply.headers["x-r2-cost-usd"]) == pytest.approx(
        (5 * 1000 + 95 * 1000 * factor) / 1e6, abs=1e-6
    )


def test_a_long_conversation_fits_models_with_room_for_it(start: Start, tmp_path: Path) -> None:
    pool = pool_of(
        tmp_path,
        {
            "gpt-5.4-mini": prices("small", 1, 1, context_tokens=60_000),
            "gpt-5.4": prices("large", 10, 10, context_tokens=100_000),
        },
    )
    gateway = start(pool=pool, keys=[key_of("alice", limits={"usd_total": 1000})])
    messages = [{"role": "user", "content": "All work and no play makes Jack a dull boy. " * 5_000}]
    reply = gateway.chat({"x-api-key": "alice"}, messages=messages, max_tokens=100)
    assert reply.status == 200, reply.body
    assert reply.headers["x-r2-model"] == "gpt-5.4", "some 55,000 tokens in 220,000 bytes"
    limited = gateway.chat(
        {"x-api-key": "alice"}, messages=messages, max_tokens=100, r2={"max_cost_usd": 1}
    )
    assert limited.status == 400, "though the bill may be that of 220,000"


def test_a_context_that_was_estimated_too_low_leads_to_another_model(
    start: Start, server: FaultServer, tmp_path: Path
) -> None:
    message = "This model's maximum context length is 8192 tokens. Your messages have more."
    error = {"error": {"message": message, "code": "context_length_exceeded"}}
    pool = {
        "gpt-5.4": prices("small", 1, 1, context_tokens=8192),
        "gpt-5.5": prices("as-small", 2, 2, context_tokens=8000),
        "claude-fable-5": prices("large", 100, 100, context_tokens=200_000),
    }
    gateway = start(
        [[{"answer": {"status": 400, "json": error}}], [{"service": {}}]],
        pool=pool_of(tmp_path, pool),
        policy={"objective": "cheapest"},
        keys=[key_of("alice", limits={"usd_total": 5})],
    )
    reply = gateway.chat({"x-api-key": "alice"})
    assert reply.status == 200 and reply.headers["x-r2-attempts"] == "2"
    tried = [json.loads(request.body)["model"] for request in server.requests(gateway.path)]
    assert tried == ["small", "large"]
    assert spend(gateway, x_api_key="alice")["total"]["unsettled_usd"] == 0


# --- what is left of a key


def test_a_cheaper_pair_is_chosen_if_the_best_one_does_not_fit_the_key(
    start: Start, server: FaultServer, tmp_path: Path
) -> None:
    pool = pool_of(
        tmp_path, {"gpt-5.4": prices("dear", 100, 1000), "gpt-5.4-nano": prices("cheap", 0.1, 1)}
    )
    gateway = start(
        [[{"service": {"tokens": "all"}}]],
        pool=pool,
        keys=[key_of("alice", limits={"usd_total": 3}), key_of("poor", limits={"usd_total": 1e-6})],
    )
    body = {"r2": {"objective": "best"}, "max_tokens": 1000}
    models = []
    for _ in range(30):
        reply = gateway.chat({"x-api-key": "alice"}, **body)
        assert reply.status == 200, reply.body
        models.append(reply.headers["x-r2-model"])
    assert models[0] == "gpt-5.4" and models[-1] == "gpt-5.4-nano"
    named = gateway.chat({"x-api-key": "alice"}, **body | {"model": "gpt-5.4"})
    assert named.status == 429, "a named model is not replaced"
    refused = gateway.chat({"x-api-key": "poor"}, **body)
    assert refused.status == 429 and refused.json()["error"]["code"] == "limit_total"
    assert spend(gateway, x_api_key="alice")["total"]["settled_usd"] <= 3


# --- streams


def test_a_stream_states_its_cost_in_a_comment(start: Start) -> None:
    gateway = start()
    for path, last in (
        ("/v1/chat/completions", b"data: [DONE]"),
        ("/v1/responses", b"event: response.completed"),
        ("/v1/messages", b"event: message_stop"),
    ):
        body = BODIES[path] | {"model": "auto", "stream": True}
        text = gateway.request("POST", path, body).body
        before, comment = text.split(b": x-r2-cost-usd ")
        assert last not in before and last in comment
        before_this = spend(gateway)["total"]["settled_usd"]
        cost = float(comment.split(b"\n")[0])
        assert cost > 0 and before_this >= cost


def test_without_known_cost_a_stream_states_none(start: Start) -> None:
    gateway = start([[{"send": STREAM_HEAD + delta(content="a") + delta("stop") + event("[DONE]")},
                      {"close": True}]])  # fmt: skip
    reply = gateway.chat(stream=True)
    assert streamed_text(reply.events()) == "a" and b"x-r2-cost" not in reply.body
    assert wait_until(lambda: spend(gateway)["total"]["unsettled_usd"]) > 0


@pytest.mark.parametrize(
    ("script", "settled"),
    [
        # The connection breaks after the end of the answer.
        ([{"send": STREAM_HEAD + delta(content="a") + delta("stop") + event("[DONE]")},
          {"reset": True}], False),
        ([{"send": STREAM_HEAD.replace("\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\n")
           + "ffff\r\n" + delta(content="a") + delta("stop")
           + event({"choices": [], "usage": USAGE}) + event("[DONE]")}, {"reset": True}], True),
        # It breaks before [DONE], but the answer has ended.
        ([{"send": STREAM_HEAD.replace("\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\n")
           + "ffff\r\n" + delta(content="a") + delta("stop")
           + event({"choices": [], "usage": USAGE})}, {"close": True}], True),
        # What follows the end does not count.
        ([{"send": STREAM_HEAD + delta(content="a") + delta("stop")
           + event({"choices": [], "usage": USAGE}) + event("[DONE]")
           + event({"error": {"message": "too late"}})}, {"close": True}], True),
        # The cap was spent on reasoning: the answer has no text, but an end.
        ([{"send": STREAM_HEAD + delta(reasoning="a") + delta("length")
           + event({"choices": [], "usage": USAGE}) + event("[DONE]")}, {"close": True}], True),
    ],
)  # fmt: skip
def test_a_stream_that_has_ended_gets_no_error(
    start: Start, server: FaultServer, script: list[dict[str, Any]], settled: bool
) -> None:
    gateway = start([script])
    reply = gateway.chat(stream=True)
    events = reply.events()
    assert reply.status == 200 and b"error" not in reply.body
    assert events[0]["choices"][0]["delta"] and events[-1] != events[0]
    assert len(server.requests(gateway.path)) == 1
    total = wait_until(lambda: spend(gateway)["total"]["requests"] and spend(gateway)["total"])
    assert (total["settled_usd"] > 0) == settled and (total["unsettled_usd"] > 0) != settled


def test_the_field_of_the_cap_is_learned_from_the_server(
    start: Start, server: FaultServer, tmp_path: Path
) -> None:
    gateway = start(
        [[{"service": {"rejects": ["max_tokens"]}}]],
        pool=pool_of(tmp_path, {"gpt-5.4": prices("one", 1, 1)}),
    )
    first, second = gateway.chat(max_tokens=50), gateway.chat(max_tokens=50, stream=True)
    assert first.status == 200 and first.headers["x-r2-attempts"] == "2"
    assert second.status == 200 and second.headers["x-r2-attempts"] == "1"
    sent = [json.loads(request.body) for request in server.requests(gateway.path)]
    assert [("max_tokens" in body, body.get("max_completion_tokens")) for body in sent] == [
        (True, None), (False, 50), (False, 50)
    ]  # fmt: skip
    both = start(
        [[{"service": {"rejects": ["max_tokens", "max_completion_tokens"]}}]], max_fallbacks=0
    )
    assert both.chat().status == 400
    assert len(server.requests(both.path)) == 2


# --- servers that report nonsense


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": -5, "completion_tokens": 7},
        {"prompt_tokens": "many", "completion_tokens": 7},
        {"prompt_tokens": 1e300, "completion_tokens": 1e300},
        {"prompt_tokens": 20, "completion_tokens": 7, "cost": -1},
        {"prompt_tokens": 20, "completion_tokens": 7, "cost": 1e300},
        {"prompt_tokens": 20, "completion_tokens": 7, "cost": "free"},
        {"prompt_tokens": 1, "completion_tokens": 1,
         "prompt_tokens_details": {"cached_tokens": 10**18}},
        [], 5,
    ],
)  # fmt: skip
def test_wrong_usage_neither_fails_nor_gives_credit(start: Start, usage: Any) -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}
    answer = json.dumps({"model": "m", "choices": [choice], "usage": usage})
    send = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "
    gateway = start(
        [[{"send": f"{send}{len(answer)}\r\n\r\n{answer}"}]],
        keys=[key_of("alice", limits={"usd_total": 50})],
        max_fallbacks=0,
    )
    assert gateway.chat({"x-api-key": "alice"}).status == 200
    total = wait_until(lambda: (spent := spend(gateway, x_api_key="alice")["total"])["requests"]
                       and spent)  # fmt: skip
    assert total["settled_usd"] >= 0 and total["unsettled_usd"] >= 0
    assert total["settled_usd"] + total["unsettled_usd"] > 0


def test_a_bill_above_the_cap_is_recorded_and_ends_the_key(
    start: Start, server: FaultServer, tmp_path: Path
) -> None:
    """A server that ignores the cap breaks the guarantee, but once."""
    choice = {"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 10, "completion_tokens": 1_000_000}
    answer = {"model": "m", "choices": [choice], "usage": usage}
    gateway = start(
        [[{"answer": {"json": answer}}]],
        pool=pool_of(tmp_path, {"gpt-5.4": prices("one", 1, 10)}),
        keys=[key_of("alice", limits={"usd_total": 5})],
        ledger="spend.db",
    )
    assert gateway.chat({"x-api-key": "alice"}, max_tokens=100).status == 200
    assert gateway.chat({"x-api-key": "alice"}, max_tokens=100).status == 429
    assert spend(gateway, x_api_key="alice")["total"]["settled_usd"] == pytest.approx(10.00001)


# --- a full disk


def test_a_full_disk_refuses_limited_keys_with_the_reason(start: Start) -> None:
    gateway = start(
        [[{"service": {"tokens": "all"}}]],
        survives_full_disk=True,
        keys=[key_of("open"), key_of("limited", limits={"usd_total": 1000})],
        ledger="spend.db",
    )
    assert gateway.chat({"x-api-key": "limited"}).status == 200
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    resource.prlimit(gateway.process.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))

    def limited() -> Any:
        body = {"r2": {"objective": "best"}}
        return gateway.chat({"x-api-key": "limited"}, **body)

    refused = wait_until(lambda: (reply := limited()).status != 200 and reply)
    assert refused.status == 503, refused.body
    assert refused.json()["error"]["code"] == "limit_ledger"
    assert int(refused.headers["retry-after"]) >= 1
    assert gateway.chat({"x-api-key": "open"}).status == 200
    assert gateway.request("GET", "/health/live").status == 200
    assert (
        b"r2router_ledger_writable 0" in gateway.request("GET", "/metrics", x_api_key="open").body
    )
    resource.prlimit(gateway.process.pid, resource.RLIMIT_FSIZE, unlimited)
    wait_until(lambda: limited().status == 200)


# --- the memory for bodies


def test_bodies_share_a_bound(start: Start, server: FaultServer) -> None:
    gateway = start([[{"wait": 30}]], limits={"buffered_bytes": 200_000})
    text = "x" * 150_000
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 160000\r\n\r\n"

    body = json.dumps({"model": "auto", "messages": [{"role": "user", "content": text}]})

    def decide() -> Any:
        return gateway.request("POST", "/v1/decisions", body)

    waiting = None

    def second_body_is_refused() -> Any:
        """The first one may be, if it arrives later; then it is sent again."""
        nonlocal waiting
        if waiting is None or select.select([waiting], [], [], 0)[0]:
            waiting = socket.create_connection(("127.0.0.1", gateway.port))
            waiting.sendall((head + text).encode())  # not all of it
            return False
        reply = decide()
        return reply.status != 200 and reply

    refused = wait_until(second_body_is_refused)
    assert refused.status == 503 and "memory" in refused.json()["error"]["message"]
    assert gateway.request("GET", "/health").status == 200
    waiting.close()
    # The one that has gone makes room, which one that is answered takes until its end.
    wait_until(lambda: decide().status == 200)
    connection = gateway.connect()

    def chat_is_sent() -> Any:
        """Or refused, while the one that was answered has not ended; then it is sent again."""
        if connection.sock is None or select.select([connection.sock], [], [], 0)[0]:
            connection.close()
            connection.request("POST", "/v1/chat/completions", body)
        return server.requests(gateway.path)

    wait_until(chat_is_sent)
    assert decide().status == 503
    connection.close()
    wait_until(lambda: decide().status == 200)


def test_bodies_without_a_valid_key_take_no_memory(start: Start) -> None:
    gateway = start(keys=[key_of("alice")], limits={"buffered_bytes": 1 << 20})
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: bob\r\n"
    lengths = ("Content-Length: 10000000", "Transfer-Encoding: chunked")
    for length in (*lengths, f"{lengths[0]}\r\nExpect: 100-continue"):
        with socket.create_connection(("127.0.0.1", gateway.port)) as client:
            client.sendall(f"{head}{length}\r\n\r\n".encode())
            assert client.recv(4096).startswith(b"HTTP/1.1 401"), "before the body"
            assert gateway.chat({"x-api-key": "alice"}).status == 200
    # A client that sends all of it gets the reply, too.
    body = json.dumps({"model": "auto", "messages": [{"role": "user", "content": "x" * 900_000}]})
    reply = gateway.request("POST", "/v1/chat/completions", body, x_api_key="bob")
    assert reply.status == 401 and reply.headers["connection"] == "close"


def test_compaction_is_refused_clearly(start: Start) -> None:
    reply = start().request("POST", "/v1/responses/compact", {"model": "auto", "input": "x"})
    assert reply.status == 501 and reply.headers["x-should-retry"] == "false"
    assert "compact" in reply.json()["error"]["message"]


# --- hostile clients and servers


def test_many_half_open_and_slow_connections(start: Start) -> None:
    """R2ROUTER_SLOW_CLIENTS=10000 for the full number, which needs as many descriptors twice."""
    number = int(os.environ.get("R2ROUTER_SLOW_CLIENTS", "500"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, number + 1000), hard))
    try:
        gateway = start(
            limits={"connections": number + 500, "head_seconds": 300, "body_seconds": 300}
        )
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n"
        states = [b"", b"POST", head, head + b"\r\n{"]
        clients = [socket.create_connection(("127.0.0.1", gateway.port)) for _ in range(number)]
        for i, client in enumerate(clients):
            client.sendall(states[i % len(states)])
        for round_number in range(20):  # they go on, byte by byte
            for client in clients[round_number::50]:
                client.sendall(b"x")
            assert gateway.chat().status == 200
        for client in clients:
            client.close()
        assert gateway.chat().status == 200
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_headers_of_the_client_cannot_add_headers(start: Start, server: FaultServer) -> None:
    """Neither to the reply nor to what is sent to the server."""
    policies = {"a\r\nx-evil: 1": {}}
    gateway = start(policies=policies)
    evil = "x\r\nx-evil: 1"
    for body in ({"model": evil}, {"model": "auto:a\r\nx-evil: 1"}, {"r2": {"policy": evil}}):
        reply = gateway.chat(**body)
        assert "x-evil" not in reply.headers
    for name in ("x-request-id", "traceparent", "anthropic-beta"):
        reply = gateway.chat({name: "a b\tc;\xe9"})
        assert "x-evil" not in reply.headers
    for seen in server.requests(gateway.path):
        assert "x-evil" not in seen.headers


def test_a_body_of_the_largest_size_is_served(start: Start, server: FaultServer) -> None:
    gateway = start(limits={"body_bytes": 32 << 20})
    empty = json.dumps({"model": "auto", "messages": [{"role": "user", "content": ""}]})
    for extra, status in ((0, 200), (1, 413)):
        text = "a" * ((32 << 20) - len(empty) + extra)
        body = json.dumps({"model": "auto", "messages": [{"role": "user", "content": text}]})
        reply = gateway.request("POST", "/v1/chat/completions", body)
        assert reply.status == status, reply.body[:300]
    assert len(server.requests(gateway.path)[0].body) > 32 << 20
    assert gateway.chat().status == 200


def test_a_server_that_never_finishes_is_given_up(start: Start) -> None:
    silent = start([[{"wait": 30}]], endpoint={"timeouts": {"first_byte": 0.5}}, max_fallbacks=0)
    assert silent.chat().status == 504
    begun = start(
        [[{"send": STREAM_HEAD + delta(content="a")}, {"wait": 30}]],
        endpoint={"timeouts": {"idle": 1}},
    )
    reply = begun.chat(stream=True)
    assert streamed_text(reply.events()[:1]) == "a" and b'"error"' in reply.body
    endless = start(
        [[{"send": STREAM_HEAD}, {"endless": ": nothing\n\n"}]],
        endpoint={"timeouts": {"total": 2}},
        max_fallbacks=0,
    )
    assert endless.chat(stream=True).status in (502, 504)  # by length or by time


@pytest.mark.parametrize("stream", [False, True])
def test_lines_of_megabytes(start: Start, stream: bool) -> None:
    text = "x" * (3 << 20)
    large = start([[{"service": {"text": text}}]])
    reply = large.chat(stream=stream)
    got = (
        streamed_text(reply.events())
        if stream
        else reply.json()["choices"][0]["message"]["content"]
    )
    assert got == text
    head = STREAM_HEAD if stream else "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
    endless = start(
        [[{"send": head + ("data: " if stream else '{"a": "')}, {"endless": "x" * 65536}]],
        endpoint={"max_response_bytes": 20 << 20},
        max_fallbacks=0,
    )
    assert endless.chat(stream=stream).status == 502
    assert endless.request("GET", "/health").status == 200


def test_a_client_that_leaves_before_its_request_is_complete(
    start: Start, server: FaultServer
) -> None:
    gateway = start()
    body = json.dumps({"model": "auto", "messages": HELLO}).encode()
    head = (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
        % len(body)
    )
    for part in (head[:20], head, head + body[:-1]):
        with socket.create_connection(("127.0.0.1", gateway.port)) as client:
            client.sendall(part)
    assert gateway.chat().status == 200
    assert len(server.requests(gateway.path)) == 1
    assert spend(gateway)["total"]["requests"] == 1


def test_a_client_that_leaves_within_a_retry_sends_no_more(
    start: Start, server: FaultServer
) -> None:
    busy = [{"answer": {"status": 503, "headers": {"Retry-After": "1"}, "json": {}}}]
    gateway = start([busy], endpoint={"max_retries": 5}, max_fallbacks=0)
    connection = gateway.connect()
    connection.request(
        "POST", "/v1/chat/completions", json.dumps({"model": "auto", "messages": HELLO})
    )
    wait_until(lambda: server.requests(gateway.path))
    connection.close()
    wait_until(lambda: b"r2router_active_requests 0" in gateway.request("GET", "/metrics").body)
    time.sleep(1.5)
    assert len(server.requests(gateway.path)) == 1
