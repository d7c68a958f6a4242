"""``serve --check``: it names the place and the remedy of each common mistake."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from conftest import PROGRAM, ROOT
from jsonschema import Draft202012Validator
from test_gateway import key_of

SCHEMA = json.loads((ROOT / "config" / "gateway.schema.json").read_text())
ENDPOINT = {"base_url": "https://llm.example.org/v1"}
SECRET = "sk-or-v1-0123456789abcdef"


def check(config: Any, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    file = folder / "gateway.json"
    if config is not None:
        file.write_text(config if isinstance(config, str) else json.dumps(config))
    environment = {k: v for k, v in os.environ.items() if k != "OPENROUTER_API_KEY"}
    return subprocess.run(
        [PROGRAM, "serve", "--config", str(file), "--check", *options],
        capture_output=True,
        text=True,
        env=environment | {"SET": SECRET},
    )


def without_comments(text: str) -> str:
    return re.sub(r"^\s*//.*|\s//.*", "", text, flags=re.MULTILINE)


def endpoint(**fields: Any) -> dict[str, Any]:
    return {"endpoints": {"main": ENDPOINT | fields}}


MISTAKES: dict[str, tuple[Any, str, list[str]]] = {
    "no JSON": ('{"listen": "127.0.0.1:4000",}', "", ["gateway.json"]),
    "a list": ([], "", ["expected an object"]),
    "a misspelt setting": ({"endponts": {}}, "/endponts", ['did you mean "endpoints"']),
    "an unknown setting": (
        endpoint(url="x"),
        "/endpoints/main/url",
        ["no such setting", "base_url"],
    ),
    "a repeated setting": ('{"threads": 1, "threads": 2}', "", ["threads"]),
    "a text for a number": ({"threads": "4"}, "/threads", ['the string "4"', "whole number"]),
    "a number for a text": ({"checkpoint": 1}, "/checkpoint", ["the number 1", "a path"]),
    "a text for a boolean": ({"allow_anonymous": "yes"}, "/allow_anonymous", ["true or false"]),
    "an object for a list": ({"keys": {}}, "/keys", ["an object", "an array of keys"]),
    "a fraction": ({"max_fallbacks": 1.5}, "/max_fallbacks", ["1.5", "whole number"]),
    "a wrong address": ({"listen": "4000:127.0.0.1"}, "/listen", ["HOST:PORT"]),
    "an open address": ({"listen": "0.0.0.0:4000"}, "", ["keys", "--allow-anonymous"]),
    "an unknown policy": ({"policy": "chaep"}, "/policy", ['"chaep"', "policy"]),
    "an unknown policy of a key": (
        {"keys": [key_of("a", policies=["chaep"])], "policies": {"cheap": {}}},
        "/keys/0/policies",
        ['"chaep"', "cheap"],
    ),
    "a wrong policy": (
        {"policies": {"cheap": {"max_cost_usd": -1}}},
        "/policies/cheap",
        ["max_cost_usd", "-1"],
    ),
    "an unknown model of a policy": (
        {"policies": {"cheap": {"allow": ["gpt-5.4-mimi"]}}},
        "/policies/cheap",
        ['"gpt-5.4-mimi"', 'did you mean "gpt-5.4-mini"'],
    ),
    "an unknown model of a key": (
        {"keys": [key_of("a", models=["gpt-5.4-mimi"])]},
        "/keys/0/models",
        ['did you mean "gpt-5.4-mini"'],
    ),
    "an unknown model as the baseline": ({"baseline": "gtp-5.4"}, "/baseline", ['"gtp-5.4"']),
    "a setting that bounds nothing": (
        {"bounds": {"objective": "best"}},
        "/bounds",
        ["max_cost_usd"],
    ),
    "an unknown endpoint": (
        endpoint() | {"embeddings": {"endpoint": "man"}},
        "/embeddings/endpoint",
        ['"man"', "main"],
    ),
    "an endpoint without an address": (
        {"endpoints": {"main": {}}},
        "/endpoints/main/base_url",
        ["missing"],
    ),
    "the address of a call": (
        endpoint(base_url="https://llm.example.org/v1/chat/completions"),
        "/endpoints/main/base_url",
        ['"/chat/completions"', "remove it"],
    ),
    "a header of the connection": (
        endpoint(headers={"Host": "a"}),
        "/endpoints/main/headers",
        ["Host", "remove it"],
    ),
    "a key in the file": (endpoint(api_key=SECRET), "/endpoints/main/api_key", ["env:NAME"]),
    "a missing variable": (
        endpoint(api_key="env:NOT_SET"),
        "/endpoints/main/api_key",
        ["NOT_SET is not set"],
    ),
    "a missing file of a key": (
        endpoint(api_key="file:none"),
        "/endpoints/main/api_key",
        ["none", "No such file"],
    ),
    "a folder as the file of a key": (
        endpoint(api_key="file:."),
        "/endpoints/main/api_key",
        ["a folder"],
    ),
    "a missing pool": ({"pool": "none.json"}, "", ["none.json", "No such file"]),
    "a missing checkpoint": ({"checkpoint": "none"}, "", ["none"]),
    "a missing certificate": (
        {"tls": {"certificate": "none.pem", "key": "none.pem"}},
        "",
        ["none.pem"],
    ),
    "a key without a hash": ({"keys": [{"name": "a"}]}, "/keys/0/hash", ["missing", "sha256:"]),
    "a key itself as its hash": (
        {"keys": [{"name": "a", "hash": SECRET}]},
        "/keys/0/hash",
        ["sha256:"],
    ),
    "a key without a name": (
        {"keys": [{"hash": key_of("a")["hash"]}]},
        "/keys/0/name",
        ["no name"],
    ),
    "two keys of one name": (
        {"keys": [key_of("a"), key_of("b") | {"name": "a"}]},
        "/keys/1/name",
        ['"a"', "must differ"],
    ),
    "two keys of one hash": (
        {"keys": [key_of("a"), key_of("a") | {"name": "b"}]},
        "/keys/1/hash",
        ["same hash"],
    ),
    "a negative limit": (
        {"keys": [key_of("a", limits={"usd_per_day": -5})]},
        "/keys/0/limits/usd_per_day",
        ["-5", "from 0"],
    ),
    "a limit as a text": (
        {"keys": [key_of("a", limits={"usd_per_day": "5"})]},
        "/keys/0/limits/usd_per_day",
        ['"5"', "USD"],
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named_with_its_place(mistake: str, tmp_path: Path) -> None:
    config, pointer, words = MISTAKES[mistake]
    outcome = check(config, tmp_path)
    assert outcome.returncode == 1, outcome.stdout
    [line] = outcome.stderr.splitlines()
    assert line.startswith("r2-router: error: ")
    assert (f" at {pointer}: " in line) or not pointer, line
    for word in words:
        assert word in line
    assert SECRET not in line


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    outcome = check(None, tmp_path)
    assert outcome.returncode == 1 and "gateway.json" in outcome.stderr
    outcome = check({}, tmp_path, "--llm-api-base", "http://127.0.0.1:8000/v1/embeddings")
    assert outcome.returncode == 1
    assert "llm_api_base" in outcome.stderr and "remove it" in outcome.stderr


def documented() -> list[Any]:
    """Configurations in the guides and examples."""
    found = []
    for page in ("serving.md", "deploying.md"):
        text = (ROOT / "docs" / "pages" / page).read_text()
        for block in re.findall(r"```text\n(\{.*?\})\n```", text, re.DOTALL):
            found.append(pytest.param(block, id=f"{page}-{len(found)}"))
    found.append(pytest.param((ROOT / "examples/gateway/gateway.json").read_text(), id="compose"))
    kubernetes = (ROOT / "examples/gateway/kubernetes.yml").read_text()
    found.append(pytest.param(kubernetes.split("gateway.json: |\n")[1].split("---")[0], id="k8s"))
    return found


@pytest.mark.parametrize("config", documented())
def test_documented_configurations_are_valid(config: str, tmp_path: Path) -> None:
    settings = json.loads(without_comments(config))
    Draft202012Validator(SCHEMA).validate(settings)
    # What is on other machines.
    text = config.replace("env:OPENROUTER_API_KEY", "env:SET").replace("/var/lib/r2-router/", "")
    text = re.sub(r"file:/run/credentials/[^\"]*", "env:SET", text)
    outcome = check(text, tmp_path)
    assert outcome.returncode == 0, outcome.stderr


def test_guides_name_settings_that_exist() -> None:
    def resolved(node: Any) -> Any:
        return SCHEMA["$defs"][node["$ref"].rsplit("/", 1)[1]] | node if "$ref" in node else node

    def names(node: Any, place: str) -> set[str]:
        node = resolved(node)
        found = {place} if place else set()
        for name, member in node.get("properties", {}).items():
            found |= names(member, f"{place}.{name}" if place else name)
        return found

    known = names(SCHEMA, "")
    mentioned = set()
    for page in ("serving.md", "deploying.md", "clients.md"):
        spans = re.findall(r"`([a-z_]+\.[a-z_]+)`", (ROOT / "docs" / "pages" / page).read_text())
        mentioned |= {span for span in spans if span.split(".")[0] in SCHEMA["properties"]}
    assert "limits.buffered_bytes" in mentioned
    assert mentioned <= known
