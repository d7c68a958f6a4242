"""In front of a real llama.cpp server with a small model:
R2ROUTER_LLAMA_SERVER=.../llama-server."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from conftest import HELLO, ROOT, Gateway
from test_gateway import spend, wait_until
from test_spending import pool_of, prices

PROGRAM = os.environ.get("R2ROUTER_LLAMA_SERVER")
if PROGRAM is None:
    pytest.skip("R2ROUTER_LLAMA_SERVER is not set", allow_module_level=True)

MODEL = ROOT / "tests" / "golden" / "embedding_model" / "model.gguf"  # which can also write
INPUT_PRICE, OUTPUT_PRICE = 100, 1000  # USD per million
CAP = 9
ON = {"ignore_eos": True}  # of llama.cpp: the random model goes on until its cap

Start = Callable[..., Gateway]


@pytest.fixture(scope="module")
def llama() -> Iterator[str]:
    """The base URL of the server."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    command = [PROGRAM, "-m", str(MODEL), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--chat-template", "chatml", "-c", "16384", "-t", "1"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:

        def is_ready() -> bool:
            assert process.poll() is None
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            try:
                connection.request("GET", "/health")
                return connection.getresponse().status == 200
            except OSError:
                return False
            finally:
                connection.close()

        wait_until(is_ready)
        yield f"http://127.0.0.1:{port}/v1"
        process.terminate()


@pytest.fixture
def gateway(start: Start, llama: str, tmp_path: Path) -> Gateway:
    pool = pool_of(tmp_path, {"gpt-5.4-nano": prices("local", INPUT_PRICE, OUTPUT_PRICE)})
    return start(endpoint={"base_url": llama}, pool=pool)


def cost(prompt_tokens: int, completion_tokens: int) -> float:
    return (prompt_tokens * INPUT_PRICE + completion_tokens * OUTPUT_PRICE) / 1e6


def input_tokens(usage: Any) -> int:
    """Of Anthropic's API, where those that are read from a cache are not in `input_tokens`."""
    return usage.input_tokens + (usage.cache_read_input_tokens or 0)


def settled(gateway: Gateway) -> Any:
    return pytest.approx(spend(gateway)["total"]["settled_usd"], abs=1e-8)


def test_chat(gateway: Gateway) -> None:
    client = openai.OpenAI(base_url=gateway.url + "/v1", api_key="any", max_retries=0)
    raw = client.chat.completions.with_raw_response.create(
        model="auto", messages=HELLO, max_tokens=CAP, extra_body=ON
    )
    answer = raw.parse()
    assert answer.choices[0].finish_reason == "length" and answer.usage.completion_tokens == CAP
    charged = cost(answer.usage.prompt_tokens, CAP)
    assert float(raw.headers["x-r2-cost-usd"]) == pytest.approx(charged)
    assert charged == settled(gateway)
    chunks = list(
        client.chat.completions.create(
            model="auto",
            messages=HELLO,
            max_tokens=CAP,
            stream=True,
            extra_body=ON,
            stream_options={"include_usage": True},
        )
    )
    usage = next(chunk.usage for chunk in chunks if chunk.usage)
    assert usage.completion_tokens == CAP
    assert charged + cost(usage.prompt_tokens, CAP) == settled(gateway)


def test_responses(gateway: Gateway) -> None:
    client = openai.OpenAI(base_url=gateway.url + "/v1", api_key="any", max_retries=0)
    settings: dict[str, Any] = {"model": "auto", "input": "Hello", "max_output_tokens": CAP}
    answer = client.responses.create(**settings)
    assert 0 < answer.usage.output_tokens <= CAP
    charged = cost(answer.usage.input_tokens, answer.usage.output_tokens)
    assert charged == settled(gateway)
    *_, last = client.responses.create(**settings, stream=True)
    charged += cost(last.response.usage.input_tokens, last.response.usage.output_tokens)
    assert charged == settled(gateway)


def test_messages(gateway: Gateway) -> None:
    client = anthropic.Anthropic(base_url=gateway.url, api_key="any", max_retries=0)
    answer = client.messages.create(model="auto", messages=HELLO, max_tokens=CAP, extra_body=ON)
    assert answer.stop_reason == "max_tokens" and answer.usage.output_tokens == CAP
    charged = cost(input_tokens(answer.usage), CAP)
    assert charged == settled(gateway)
    with client.messages.stream(
        model="auto", messages=HELLO, max_tokens=CAP, extra_body=ON
    ) as stream:
        last = stream.get_final_message()
    assert charged + cost(input_tokens(last.usage), CAP) == settled(gateway)


def test_a_disconnect_ends_the_answer(gateway: Gateway, llama: str) -> None:
    client = openai.OpenAI(base_url=gateway.url + "/v1", api_key="any", max_retries=0)
    with client.chat.completions.create(
        model="auto", messages=HELLO, max_tokens=15_000, stream=True, extra_body=ON
    ) as stream:
        next(iter(stream))
    total = wait_until(lambda: (spent := spend(gateway)["total"])["requests"] and spent)
    assert total["unsettled_usd"] > 0 and total["settled_usd"] == 0
    address = llama.removeprefix("http://").removesuffix("/v1")

    def is_idle() -> bool:
        connection = http.client.HTTPConnection(address, timeout=30)
        connection.request("GET", "/slots")
        text = connection.getresponse().read().decode()
        connection.close()
        return '"is_processing":true' not in text.replace(" ", "")

    wait_until(is_idle)
    assert client.chat.completions.create(model="auto", messages=HELLO, max_tokens=CAP).choices
