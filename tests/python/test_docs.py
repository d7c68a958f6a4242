"""The README's commands, run as they stand but for the addresses of servers."""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import os
import re
import shlex
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from fault_server import FaultServer

from r2_router import R2Router, _core

QUERY = "Who wrote Faust?"


def section(title: str) -> str:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(rf"^## {title}\n(.*?)^## ", text, re.MULTILINE | re.DOTALL)
    assert found
    return found.group(1)


def blocks(title: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", section(title), re.MULTILINE | re.DOTALL)


def commands(title: str) -> list[list[str]]:
    lines = "".join(blocks(title, "sh")).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines]


def flags_of_servers() -> list[list[str]]:
    """The flags that the table of servers shows."""
    flags = re.findall(r"`(--[a-z-]+ http[^`]*)`", section("Endpoints"))
    return [shlex.split(flag) for flag in flags]


def program() -> str:
    path = Path(sysconfig.get_path("scripts")) / "r2-router"
    if not path.exists():
        pytest.skip("no r2-router program beside this Python")
    return str(path)


def run_program(command: list[str], folder: Path) -> str:
    assert command[0] == "r2-router"
    done = subprocess.run(
        [program(), *command[1:]],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=os.environ | {"OPENROUTER_API_KEY": "sk-test"},
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


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
        else str(released)
        if word == "r2_router"
        else word
        for word in command
    ]
    return run_program(replaced, folder)


@pytest.mark.parametrize(
    "command", commands("Endpoints"), ids=lambda command: " ".join(command[2:])[:60]
)
def test_endpoints(
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
        command += ["--checkpoint-dir", "r2_router"]
    out = run(command, tmp_path, stand, released_folder)
    if "--embed-url" in flags:
        (request,) = server.requests(stand.embeddings)
        assert request.path.endswith("/v1/embeddings")
    else:
        assert f"An answer to: {QUERY}" in out


def test_python(server: FaultServer, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("OPENROUTER_API_KEY", "sk-test")
    stand = Stand(server)
    (block,) = blocks("Endpoints", "python")
    source = re.sub(r"https?://[^\"]+", lambda url: stand.address(url.group()), block)
    names: dict[str, Any] = {"R2Router": R2Router}
    code = compile(source, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(code, names)
    assert inspect.iscoroutine(result)
    asyncio.run(result)
    out = capsys.readouterr().out
    assert out.count(f"An answer to: {QUERY}") == 2
    assert names["answer"]["response"] == f"An answer to: {QUERY}"


QUESTIONS = [
    f"Which of these {noun} is {adjective}, and why? {'Explain each of them. ' * detail}"
    for noun in ("numbers", "organs", "laws", "elements", "empires")
    for adjective in ("prime", "the largest", "not like the others")
    for detail in range(4)
]


def write_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def test_limits_and_targets(tmp_path: Path) -> None:
    """All of the section's commands, in order: a policy must be there before it is used."""
    default = _core.default_checkpoint_path()
    shutil.copytree(default, tmp_path / "my-router")
    models = list(R2Router.from_pretrained().model_configs)
    queries = [{"query_id": str(i), "query": text} for i, text in enumerate(QUESTIONS)]
    outcomes = [
        {
            "query_id": str(i),
            "model": model,
            "score": float((i + rank) % 3 > 0),
            "output_tokens": 40 + 7 * i % 100 + 10 * rank,
        }
        for i in range(len(QUESTIONS))
        for rank, model in enumerate(models)
    ]
    write_lines(tmp_path / "queries.jsonl", queries)
    write_lines(tmp_path / "outcomes.jsonl", outcomes)
    (tmp_path / "prompts.txt").write_text(f"{QUERY}\nAnd who set it to music?\n")

    for command in commands("Limits and targets"):
        out = run_program(command, tmp_path)
        if command[1] == "route":
            assert "Selected LLM:" in out
        else:
            assert command[1] == "calibrate"
            realised = "--outcomes" in command
            assert f"Figures:            {'realised' if realised else 'predicted'}" in out
        if "--explain" in command:
            assert "Runner-up:" in out
    for file in ("cheap.json", "good.json", "paid.json", "my-router/policies/cheap.json"):
        policy = json.loads((tmp_path / file).read_text(encoding="utf-8"))
        assert policy["objective"] == "usd", file
    with_limits, by_name = (
        R2Router.from_pretrained(tmp_path / "my-router").route_text(QUERY, policy=policy)
        for policy in (tmp_path / "my-router/policies/cheap.json", "cheap")
    )
    assert with_limits == by_name


def test_limits_in_python() -> None:
    (block,) = blocks("Limits and targets", "python")
    names: dict[str, Any] = {"router": R2Router.from_pretrained()}
    exec(compile(block, "README.md", "exec"), names)
    details = names["decision"].details
    assert details["worst_case_cost_usd"] <= 0.001
    assert names["decision"].explain()["reason"] == details["reason"] == "cheapest"


def test_your_own_router(tmp_path: Path) -> None:
    """The tutorial, on a table in which the small model knows nothing of history."""
    queries, outcomes = [], []
    for i in range(500):
        history = i % 2 == 1
        text = f"Who was the king in {1000 + i}?" if history else f"What is {i} and {i + 3}?"
        dataset = "history" if history else "sums"
        queries.append({"query_id": str(i), "query": text, "dataset": dataset})
        for model, score in (("small", not history), ("large", i % 20 != 0)):
            row = {"query_id": str(i), "model": model, "score": int(score)}
            outcomes.append(row | {"output_tokens": 40 + 11 * i % 60})
    write_lines(tmp_path / "queries.jsonl", queries)
    write_lines(tmp_path / "outcomes.jsonl", outcomes)
    prices = {"small": (0.1, 0.4), "large": (3, 15)}
    models = {
        name: {
            "openrouter_id": f"vendor/{name}",
            "input_price_per_million": price[0],
            "output_price_per_million": price[1],
        }
        for name, price in prices.items()
    }
    (tmp_path / "models.json").write_text(json.dumps({"models": models}), encoding="utf-8")

    steps = commands("Your own router")
    assert [step[1] for step in steps] == ["eval", "train", "eval", "calibrate", "route"]
    before, train, after, calibrate, route = (run_program(step, tmp_path) for step in steps)
    assert "Evaluated on 500 queries, each by a router trained on the other 4 of 5 folds" in before
    assert "Wrote my-router." in train
    assert "history" in after and "sums" in after
    for report in ("before.html", "after.html"):
        assert "<svg" in (tmp_path / report).read_text(encoding="utf-8")
    assert "Figures:            realised" in calibrate
    assert "Selected LLM:      " in route
    policy = json.loads((tmp_path / "my-router/policies/good.json").read_text(encoding="utf-8"))
    found = policy["calibration"]
    assert found["quality"]["value"] >= 0.95 * found["best_quality"] - 1e-9
    # Sums go to the model that is as good at them and costs a fortieth.
    router = R2Router.from_pretrained(tmp_path / "my-router")
    assert router.route_text("What is 1234 and 1237?", policy="good")["model"] == "small"
    assert router.route_text("Who was the king in 1234?", policy="good")["model"] == "large"


def test_the_first_python_example(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("R2ROUTER_CHECKPOINT", str(ROOT / "checkpoints" / "default"))
    (source,) = blocks("Python", "python")
    (expected,) = blocks("Python", "text")
    exec(compile(source, "README.md", "exec"), {})
    assert capsys.readouterr().out == expected
