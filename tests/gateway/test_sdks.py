"""The SDKs of OpenAI and Anthropic, with nothing but their base URL changed."""

from __future__ import annotations

import re
from collections.abc import Callable

import anthropic
import openai
import pytest
from conftest import HELLO, ROOT, Gateway

Start = Callable[..., Gateway]
ANSWER = "An answer to: Who wrote Faust?"


@pytest.fixture
def client(start: Start) -> openai.OpenAI:
    return openai.OpenAI(base_url=start().url + "/v1", api_key="any", max_retries=0)


@pytest.fixture
def claude(start: Start) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=start().url, api_key="any", max_retries=0)


@pytest.mark.parametrize("page", ["README.md", "docs/pages/serving.md"])
def test_the_documented_program(
    start: Start, page: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(from openai .*?)```", text, re.DOTALL)
    gateway = start()
    assert "http://127.0.0.1:4000" in program
    exec(program.replace("http://127.0.0.1:4000", gateway.url), {})
    assert re.fullmatch(rf"[\w.-]+ {re.escape(ANSWER)}\n", capsys.readouterr().out)


def test_openai_chat(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model="auto", messages=HELLO)
    answer = raw.parse()
    assert answer.choices[0].message.content == ANSWER
    assert answer.model == raw.headers["x-r2-model"]
    assert answer.usage.completion_tokens == 7


def test_openai_chat_stream(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="auto", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == ANSWER
    assert [c.usage.completion_tokens for c in chunks if c.usage] == [7]


def test_openai_responses(client: openai.OpenAI) -> None:
    answer = client.responses.create(model="auto", input="Who wrote Faust?")
    assert answer.output_text == ANSWER
    with client.responses.stream(model="auto", input="Who wrote Faust?") as stream:
        for _ in stream:
            pass
        assert stream.get_final_response().output_text == ANSWER


def test_openai_settings_and_errors(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="auto", messages=HELLO, extra_body={"r2": {"objective": "cheapest"}}
    )
    assert answer.choices[0].message.content == ANSWER
    with pytest.raises(openai.BadRequestError, match="max_latency"):
        client.chat.completions.create(
            model="auto", messages=HELLO, extra_body={"r2": {"max_latency_ms": 0.001}}
        )
    with pytest.raises(openai.NotFoundError, match="gtp-99"):
        client.chat.completions.create(model="gtp-99", messages=HELLO)
    assert client.models.list().data[0].id == "auto"
    for name in ("auto", "gpt-5.4", "openai/gpt-5.4"):
        assert client.models.retrieve(name).id == name.removeprefix("openai/")
    with pytest.raises(openai.NotFoundError, match="gtp-99"):
        client.models.retrieve("gtp-99")


def test_anthropic_messages(claude: anthropic.Anthropic) -> None:
    answer = claude.messages.create(model="auto", messages=HELLO, max_tokens=4000)
    assert answer.content[0].text == ANSWER
    assert answer.usage.output_tokens == 7
    with claude.messages.stream(model="auto", messages=HELLO, max_tokens=4000) as stream:
        assert "".join(stream.text_stream) == ANSWER
        assert stream.get_final_message().usage.output_tokens == 7


def test_anthropic_counts_tokens_lists_models_and_raises(claude: anthropic.Anthropic) -> None:
    assert claude.messages.count_tokens(model="auto", messages=HELLO).input_tokens > 0
    assert claude.models.list().data[0].id.endswith("auto")
    for model in claude.models.list().data[:3]:
        assert claude.models.retrieve(model.id).display_name == model.display_name
    with pytest.raises(anthropic.NotFoundError, match="gtp-99"):
        claude.models.retrieve("gtp-99")
    with pytest.raises(anthropic.NotFoundError, match="gtp-99"):
        claude.messages.create(model="gtp-99", messages=HELLO, max_tokens=10)
