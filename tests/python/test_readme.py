"""The README's commands that call servers, run as they stand but for the addresses."""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import os
import re
import shlex
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from fault_server import FaultServer

from r2_router import R2Router

QUERY = "Who wrote Faust?"


def endpoints() -> str:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(r"^## Endpoints\n(.*?)^## ", text, re.MULTILINE | re.DOTALL)
    assert found
    return found.group(1)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", endpoints(), re.MULTILINE | re.DOTALL)


def commands() -> list[list[str]]:
    lines = "".join(blocks("sh")).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines]


def flags_of_servers() -> list[list[str]]:
    """The flags that the table of servers shows."""
    return [shlex.split(flags) for flags in re.findall(r"`(--[a-z-]+ http[^`]*)`", endpoints())]


def program() -> str:
    path = Path(sysconfig.get_path("scripts")) / "r2-router"
    if not path.exists():
        pytest.skip("no r2-router program beside this Python")
    return str(path)


class Stand:
    """Where requests go in place of the servers that the README names."""

    def __init__(self, server: FaultServer) -> None:
        self.server = server
        self.path = server.script([[{"service": {"dimension": 1024, "key": "sk-test"}}]])
        self.embeddings = server.script([[{"service": {"dimension": 1024}}]])

    def address(self, url: str) -> str:
        """The path of the address is kept: it is what differs between servers."""
        found = re.fullmatch(r"https?://[^/]+(/.*)?", url)
        assert found
        if found.group(1):
            return self.server.url(self.path) + found.group(1)
        return self.server.url(self.embeddings)


def run(command: list[str], folder: Path, stand: Stand, released: Path) -> str:
    (folder / "prompts.txt").write_text(f"{QUERY}\nAnd who set it to music?\n")
    replaced = [
        stand.address(word)
        if word.startswith("http")
        else word.replace("RELEASED_FOLDER", str(released))
        for word in command
    ]
    done = subprocess.run(
        [program(), *replaced[1:]],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=os.environ | {"OPENROUTER_API_KEY": "sk-test"},
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("command", commands(), ids=lambda command: " ".join(command[2:])[:60])
def test_commands(
    command: list[str], tmp_path: Path, server: FaultServer, released_folder: Path
) -> None:
    assert command[:2] == ["r2-router", "route"]
    stand = Stand(server)
    out = run(command, tmp_path, stand, released_folder)
    assert f"An answer to: {QUERY}" in out
    if "--json" in command:
        answers = [json.loads(line) for line in out.splitlines()]
        assert [answer["query"] for answer in answers] == [QUERY, "And who set it to music?"]
        assert all(answer["usage"]["completion_tokens"] == 7 for answer in answers)
    asked = [request.path for request in server.requests(stand.path)]
    assert all(path.endswith("/v1/chat/completions") for path in asked)


@pytest.mark.parametrize("flags", flags_of_servers(), ids=" ".join)
def test_addresses_of_servers(
    flags: list[str], tmp_path: Path, server: FaultServer, released_folder: Path
) -> None:
    stand = Stand(server)
    command = ["r2-router", "route", "--query", QUERY, *flags]
    if "--embed-url" in flags:
        command += ["--checkpoint-dir", "RELEASED_FOLDER"]
    out = run(command, tmp_path, stand, released_folder)
    if "--embed-url" in flags:
        (request,) = server.requests(stand.embeddings)
        assert request.path.endswith("/v1/embeddings")
    else:
        assert f"An answer to: {QUERY}" in out


def test_python(server: FaultServer, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("OPENROUTER_API_KEY", "sk-test")
    stand = Stand(server)
    (block,) = blocks("python")
    source = re.sub(r"https?://[^\"]+", lambda url: stand.address(url.group()), block)
    names: dict[str, Any] = {"R2Router": R2Router}
    code = compile(source, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(code, names)
    assert inspect.iscoroutine(result)
    asyncio.run(result)
    out = capsys.readouterr().out
    assert out.count(f"An answer to: {QUERY}") == 2
    assert names["answer"]["response"] == f"An answer to: {QUERY}"
