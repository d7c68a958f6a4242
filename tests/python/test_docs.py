"""The commands and Python programs of the README and the guides, as they are printed there except
for the addresses of servers. tests/integration/manual_test.cc runs the commands of other guides."""

from __future__ import annotations

import ast
import asyncio
import inspect
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, installed_program
from fault_server import FaultServer

from r2_router import R2Router, _core

QUERY = "Who wrote Faust?"


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "pages").glob("*.md"))]

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def all_blocks(page: Path) -> list[tuple[str, str]]:
    """The language and the text of each block, in order."""
    return BLOCK.findall(page.read_text(encoding="utf-8"))


def blocks(page: str, language: str) -> list[str]:
    return [text for name, text in all_blocks(ROOT / page) if name == language]


def commands(page: str) -> list[list[str]]:
    lines = "".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines]


def flags_of_servers() -> list[list[str]]:
    """The flags in the table of servers."""
    text = (ROOT / "docs/pages/answers.md").read_text(encoding="utf-8")
    flags = re.findall(r"`(--[a-z-]+ http[^`]*)`", text)
    return [shlex.split(flag) for flag in flags]


def run_program(command: list[str], folder: Path) -> str:
    assert command[0] == "r2-router"
    done = subprocess.run(
        [installed_program(), *command[1:]],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=os.environ | {"OPENROUTER_API_KEY": "sk-test"},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class Replacement:
    """A local server for the addresses in the documentation."""

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


def run(command: list[str], folder: Path, local: Replacement) -> str:
    (folder / "prompts.txt").write_text(f"{QUERY}\nAnd who set it to music?\n")
    replaced = [local.address(word) if word.startswith("http") else word for word in command]
    return run_program(replaced, folder)


ANSWERING = [
    command for command in commands("docs/pages/answers.md") if "--llm-api-base" in command
]


@pytest.mark.parametrize("command", ANSWERING, ids=lambda command: " ".join(command[2:])[:60])
def test_endpoints(command: list[str], tmp_path: Path, server: FaultServer) -> None:
    assert command[:2] == ["r2-router", "route"]
    local = Replacement(server)
    out = run(command, tmp_path, local)
    assert f"An answer to: {QUERY}" in out
    if "--json" in command:
        answers = [json.loads(line) for line in out.splitlines()]
        assert [answer["query"] for answer in answers] == [QUERY, "And who set it to music?"]
        assert all(answer["usage"]["completion_tokens"] == 7 for answer in answers)
    asked = [request.path for request in server.requests(local.path)]
    assert all(path.endswith("/v1/chat/completions") for path in asked)


@pytest.mark.parametrize("flags", flags_of_servers(), ids=" ".join)
def test_addresses_of_servers(flags: list[str], tmp_path: Path, server: FaultServer) -> None:
    local = Replacement(server)
    command = ["r2-router", "route", "--query", QUERY, *flags]
    out = run(command, tmp_path, local)
    if "--embed-url" in flags:
        (request,) = server.requests(local.embeddings)
        assert request.path.endswith("/v1/embeddings")
    else:
        assert f"An answer to: {QUERY}" in out


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

    for command in commands("docs/pages/limits-and-targets.md"):
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


def write_outcomes(folder: Path) -> None:
    """A table in which the small model knows nothing of history, and a pool."""
    queries, outcomes, others = [], [], []
    for i in range(500):
        history = i % 2 == 1
        text = f"Who was the king in {1000 + i}?" if history else f"What is {i} and {i + 3}?"
        dataset = "history" if history else "sums"
        queries.append({"query_id": str(i), "query": text, "dataset": dataset})
        scores = {"small": not history, "large": i % 20 != 0, "new-model": i % 3 != 0}
        for model, score in scores.items():
            row = {"query_id": str(i), "model": model, "score": int(score)}
            row["output_tokens"] = 40 + 11 * i % 60
            others.append(row)
            if model != "new-model":
                outcomes.append(row)
    write_lines(folder / "queries.jsonl", queries)
    write_lines(folder / "outcomes.jsonl", outcomes)
    write_lines(folder / "new-model-outcomes.jsonl", others)
    prices = {"small": (0.1, 0.4), "large": (3, 15), "new-model": (1, 2)}
    models = {
        name: {
            "openrouter_id": f"vendor/{name}",
            "input_price_per_million": price[0],
            "output_price_per_million": price[1],
        }
        for name, price in prices.items()
    }
    (folder / "models.json").write_text(json.dumps({"models": models}), encoding="utf-8")


def test_your_own_router(tmp_path: Path) -> None:
    """The tutorial leads to a router that knows what the small model is good at."""
    write_outcomes(tmp_path)
    steps = commands("docs/pages/your-own-router.md")
    assert [step[1] for step in steps] == [
        "eval",
        "train",
        "eval",
        "calibrate",
        "route",
        "add-model",
    ]
    before, train, after, calibrate, route, add_model = (
        run_program(step, tmp_path) for step in steps
    )
    assert "Evaluated on 500 queries, each by a router trained on the other 4 of 5 folds" in before
    assert "Wrote my-router." in train
    assert "history" in after and "sums" in after
    for report in ("before.html", "after.html"):
        assert "<svg" in (tmp_path / report).read_text(encoding="utf-8")
    assert "Figures:            realised" in calibrate
    assert "Selected LLM:      " in route
    assert "my-router-2" in add_model
    assert "new-model" in R2Router.from_pretrained(tmp_path / "my-router-2").model_configs
    policy = json.loads((tmp_path / "my-router/policies/good.json").read_text(encoding="utf-8"))
    found = policy["calibration"]
    assert found["quality"]["value"] >= 0.95 * found["best_quality"] - 1e-9
    # Sums go to the model that is as good at them and costs a fortieth.
    router = R2Router.from_pretrained(tmp_path / "my-router")
    assert router.route_text("What is 1234 and 1237?", policy="good")["model"] == "small"
    assert router.route_text("Who was the king in 1234?", policy="good")["model"] == "large"


@pytest.mark.parametrize(
    "page",
    [
        page
        for page in PAGES
        if any(language == "python" for language, _ in all_blocks(page)) and page.stem != "bulk"
    ],
    ids=lambda page: page.stem,
)
def test_python_programs(
    page: Path, tmp_path: Path, server: FaultServer, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Those of a page are one program. Each prints the text block that follows it, if any."""
    if page.stem == "python":
        pytest.importorskip("pandas", reason="needs pandas, of the test extra")
        pytest.importorskip("sklearn", reason="needs scikit-learn, of the test extra")
        matplotlib = pytest.importorskip("matplotlib")
        matplotlib.use("agg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("R2ROUTER_CHECKPOINT", str(ROOT / "checkpoints" / "default"))
    monkeypatch.setenv("OPENROUTER_API_KEY", "sk-test")
    write_outcomes(tmp_path)
    local = Replacement(server)
    names: dict[str, Any] = {}
    found = all_blocks(page)
    for (language, text), following in zip(found, [*found[1:], ("", "")], strict=True):
        if language != "python" or "from openai" in text:  # tests/gateway/test_sdks.py runs those
            continue
        source = re.sub(r"https?://[^\"]+", lambda url: local.address(url.group()), text)
        code = compile(source, page.name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        result = eval(code, names)
        if inspect.iscoroutine(result):
            asyncio.run(result)
        out = capsys.readouterr().out
        if following[0] == "text":
            assert out == following[1], text
        if "route_and_generate" in text:
            assert out.count(f"An answer to: {QUERY}") == 2
            assert names["answer"]["response"] == f"An answer to: {QUERY}"


BULK = all_blocks(ROOT / "docs" / "pages" / "bulk.md")
BULK_PROGRAMS = [
    (program, output)
    for (language, program), (_, output) in itertools.pairwise(BULK)
    if language == "python"
]


@pytest.mark.parametrize("number", range(len(BULK_PROGRAMS)))
def test_tables_and_files(
    number: int,
    tmp_path: Path,
    server: FaultServer,
    monkeypatch: pytest.MonkeyPatch,
    capfd: Any,
) -> None:
    """Each program, after those that make the router and the file."""
    local = Replacement(server)
    monkeypatch.setenv("OPENROUTER_API_KEY", "sk-test")
    chosen = sorted({0, min(2, number), number})
    for index in chosen:
        for package in re.findall(r"^import (\w+)", BULK_PROGRAMS[index][0], re.MULTILINE):
            if package != "r2_router":
                pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("R2ROUTER_CHECKPOINT", str(ROOT / "checkpoints" / "default"))
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    names: dict[str, Any] = {}
    for index in chosen:
        program, output = BULK_PROGRAMS[index]
        program = re.sub(r"https?://[^\"]+", lambda url: local.address(url.group()), program)
        capfd.readouterr()
        exec(compile(program, "bulk.md", "exec"), names)
        assert capfd.readouterr().out.endswith(output), program


def test_languages_of_blocks() -> None:
    """A block in another language would be run by no test."""
    for page in PAGES:
        languages = {language for language, _ in all_blocks(page)}
        assert languages <= {"sh", "console", "python", "cpp", "cmake", "json", "text"}, page
        fences = re.findall(r"^```", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert len(fences) == 2 * len(all_blocks(page)), f"a block without a language in {page}"


def test_the_first_screen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first command of the README prints what the README says."""
    monkeypatch.setenv("R2ROUTER_CHECKPOINT", str(ROOT / "checkpoints" / "default"))
    (block,) = blocks("README.md", "console")
    command, expected = block.split("\n", 1)
    words = shlex.split(command.removeprefix("$ "))
    assert words[:2] == ["bash", "examples/quickstart.sh"]
    assert run_program(["r2-router", "route", "--query", words[2]], tmp_path) == expected
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme.index(block) < 1500


def test_the_packages_to_install() -> None:
    """The README names what the quickstart installs, and what Python and the gateway need."""
    (install,) = [words for words in commands("README.md") if words[:2] == ["sudo", "apt-get"]]
    quickstart = (ROOT / "examples" / "quickstart.sh").read_text(encoding="utf-8")
    found = re.search(r"install_packages\.sh\" \\\n((?:.*\\\n)*.*)", quickstart)
    assert found
    packages = found.group(1).replace("\\\n", " ").split()
    gateway = ["libboost1.81-dev", "prometheus-cpp-dev", "libspdlog-dev", "libsqlite3-dev"]
    others = [*gateway, "libssl-dev", "python3-dev", "python3-venv"]
    assert set(install[3:]) == {*packages, *others}


def test_the_readme_is_short() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150
