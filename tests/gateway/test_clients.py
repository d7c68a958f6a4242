"""Clients that people have, with the settings of docs/pages/clients.md. Run by clients.sh."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Gateway
from fault_server import FaultServer
from test_gateway import ANSWER

if os.environ.get("R2ROUTER_CLIENT_TESTS") != "1":
    pytest.skip("R2ROUTER_CLIENT_TESTS=1 tests the clients", allow_module_level=True)

FOLDER = Path(os.environ["R2ROUTER_CLIENTS"])  # what clients.sh installs
SCRIPTS = Path(__file__).parent / "clients"
PROMPT = "Who wrote Faust?"

Start = Callable[..., Gateway]


@pytest.fixture
def gateway(start: Start) -> Gateway:
    return start()


def run(command: list[str], folder: Path, environment: dict[str, str]) -> str:
    """The output of a program that knows nothing of this machine's settings and accounts."""
    program = shutil.which(command[0])
    if program is None:
        pytest.skip(f"{Path(command[0]).name} is not installed")
    home = folder / "home"
    home.mkdir(exist_ok=True)
    clean = {"PATH": os.environ["PATH"], "HOME": str(home), "TERM": "dumb", "NO_COLOR": "1"}
    outcome = subprocess.run(
        command,
        cwd=folder,
        env=clean | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    return outcome.stdout


def paths_of(server: FaultServer, gateway: Gateway) -> list[str]:
    return [request.path.removeprefix(gateway.path) for request in server.requests(gateway.path)]


@pytest.mark.parametrize("script", ["openai", "anthropic", "ai-sdk"])
def test_sdks_for_node(gateway: Gateway, script: str, tmp_path: Path) -> None:
    modules = FOLDER / "node" / "node_modules"
    if not modules.exists():
        pytest.skip("the clients for Node are not installed")
    # Modules are looked up from the script's folder.
    (tmp_path / "node_modules").symlink_to(modules)
    shutil.copy(SCRIPTS / f"{script}.mjs", tmp_path)
    run(["node", f"{script}.mjs"], tmp_path, {"GATEWAY": gateway.url, "ANSWER": ANSWER})


def test_langchain(gateway: Gateway) -> None:
    langchain = pytest.importorskip("langchain_openai")
    for options in ({}, {"use_responses_api": True}):
        model = langchain.ChatOpenAI(
            model="auto",
            base_url=gateway.url + "/v1",
            api_key="any",
            max_retries=0,
            stream_usage=True,
            **options,
        )
        answer = model.invoke(PROMPT)
        assert answer.text == ANSWER
        assert answer.response_metadata["model_name"] not in ("", "auto")
        assert answer.usage_metadata["output_tokens"] == 7
        chunks = list(model.stream(PROMPT))
        assert "".join(chunk.text for chunk in chunks) == ANSWER
        usage = [chunk.usage_metadata for chunk in chunks if chunk.usage_metadata]
        assert usage[-1]["output_tokens"] == 7


def test_langchain_anthropic(gateway: Gateway) -> None:
    langchain = pytest.importorskip("langchain_anthropic")
    model = langchain.ChatAnthropic(
        model="auto", base_url=gateway.url, api_key="any", max_tokens=4000, max_retries=0
    )
    assert model.invoke(PROMPT).text == ANSWER
    assert "".join(chunk.text for chunk in model.stream(PROMPT)) == ANSWER


def test_litellm(gateway: Gateway) -> None:
    litellm = pytest.importorskip("litellm")
    settings: dict[str, Any] = {
        "model": "openai/auto",
        "api_base": gateway.url + "/v1",
        "api_key": "any",
        "messages": [{"role": "user", "content": PROMPT}],
    }
    answer = litellm.completion(**settings, extra_body={"r2": {"objective": "cheapest"}})
    assert answer.choices[0].message.content == ANSWER
    assert answer.usage.completion_tokens == 7
    chunks = litellm.completion(**settings, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == ANSWER


def test_llama_index(gateway: Gateway) -> None:
    llama = pytest.importorskip("llama_index.llms.openai_like")
    model = llama.OpenAILike(
        model="auto",
        api_base=gateway.url + "/v1",
        api_key="any",
        is_chat_model=True,
        context_window=128_000,
        max_retries=0,
    )
    assert model.complete(PROMPT).text == ANSWER
    assert list(model.stream_complete(PROMPT))[-1].text == ANSWER


def test_llm(gateway: Gateway, tmp_path: Path) -> None:
    (tmp_path / "extra-openai-models.yaml").write_text(
        f"- model_id: r2\n  model_name: auto\n  api_base: {gateway.url}/v1\n"
        "  api_key_name: r2-router\n"
    )
    (tmp_path / "keys.json").write_text(json.dumps({"r2-router": "any"}))
    program = str(FOLDER / "python" / "bin" / "llm")
    for options in ([], ["--no-stream"]):
        command = [program, "-m", "r2", *options, PROMPT]
        out = run(command, tmp_path, {"LLM_USER_PATH": str(tmp_path)})
        assert out.strip() == ANSWER


def test_aider(gateway: Gateway, server: FaultServer, tmp_path: Path) -> None:
    program = str(FOLDER / "aider" / "bin" / "aider")
    options = "--no-git --yes-always --no-check-update --analytics-disable --no-pretty"
    command = [program, "--model", "openai/auto", *options.split()]
    command += ["--no-show-model-warnings", "--no-show-release-notes", "--message", PROMPT]
    environment = {"OPENAI_API_BASE": gateway.url + "/v1", "OPENAI_API_KEY": "any"}
    assert "Faust" in run(command, tmp_path, environment | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"})
    assert "/chat/completions" in paths_of(server, gateway)


def test_claude_code(gateway: Gateway, server: FaultServer, tmp_path: Path) -> None:
    program = str(FOLDER / "node" / "node_modules" / ".bin" / "claude")
    environment = {
        "ANTHROPIC_BASE_URL": gateway.url,
        "ANTHROPIC_AUTH_TOKEN": "any",
        "ANTHROPIC_MODEL": "auto",
        "ANTHROPIC_DEFAULT_HAIKU_MODEL": "auto",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    }
    assert "An answer to:" in run([program, "-p", PROMPT], tmp_path, environment)
    assert any(path.startswith("/messages") for path in paths_of(server, gateway))


def test_codex(gateway: Gateway, server: FaultServer, tmp_path: Path) -> None:
    program = str(FOLDER / "node" / "node_modules" / ".bin" / "codex")
    (tmp_path / "config.toml").write_text(
        'model = "auto"\n'
        'model_provider = "r2-router"\n'
        "[model_providers.r2-router]\n"
        'name = "r2-router"\n'
        f'base_url = "{gateway.url}/v1"\n'
        'env_key = "R2_ROUTER_KEY"\n'
        'wire_api = "responses"\n'
        "supports_websockets = false\n"
    )
    environment = {"CODEX_HOME": str(tmp_path), "R2_ROUTER_KEY": "any"}
    command = [program, "exec", "--skip-git-repo-check", "--sandbox", "read-only", PROMPT]
    assert "An answer to:" in run(command, tmp_path, environment)
    assert "/responses" in paths_of(server, gateway)


def test_continue(gateway: Gateway, server: FaultServer, tmp_path: Path) -> None:
    program = str(FOLDER / "node" / "node_modules" / ".bin" / "cn")
    (tmp_path / "config.yaml").write_text(
        "name: r2-router\nversion: 0.0.1\nschema: v1\nmodels:\n"
        "  - name: r2-router\n    provider: openai\n    model: auto\n"
        f"    apiBase: {gateway.url}/v1\n    apiKey: any\n    roles: [chat, edit, apply]\n"
    )
    environment = {"CONTINUE_TELEMETRY_ENABLED": "0"}
    command = [program, "--config", "config.yaml", "-p", PROMPT]
    assert "Faust" in run(command, tmp_path, environment)
    assert "/chat/completions" in paths_of(server, gateway)
