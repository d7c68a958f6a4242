"""python -m r2_router, with the flags of the reference's route.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from r2_router import R2Router
from r2_router.__main__ import main

KEYS = ["query", "model", "openrouter_id", "budget", "predicted_quality", "predicted_cost_usd"]


def test_text_output(native_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--query", "which one", "--checkpoint-dir", str(native_folder)]) == 0
    decision = R2Router.from_pretrained(native_folder).route_text("which one")
    budget = decision["budget"]
    assert capsys.readouterr().out.splitlines() == [
        "Candidate LLMs:  small",
        "Selected LLM:    small",
        f"Selected budget: {budget}" + ("" if budget == "unlimited" else " tokens"),
    ]


def test_file_and_json(
    native_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "queries.txt"
    file.write_text("first query\n\n  zweite Anfrage: ünï \r\n", encoding="utf-8")
    arguments = ["--file", str(file), "--checkpoint-dir", str(native_folder), "--lambda_val", "0.5"]
    router = R2Router.from_pretrained(native_folder)
    expected = router.route_text(["first query", "zweite Anfrage: ünï"], 0.5)

    assert main([*arguments, "--json"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["query"] for record in records] == ["first query", "zweite Anfrage: ünï"]
    for record, decision in zip(records, expected, strict=True):
        assert list(record) == [*KEYS, "risk"]
        assert record == {"query": record["query"]} | {
            key: decision[key] for key in record.keys() - {"query"}
        }

    # The reference crashes here: its decision is among its own options.
    assert main([*arguments, "--json", "--verbose"]) == 0
    out, err = capsys.readouterr()
    records = [json.loads(line) for line in out.splitlines()]
    for record, decision in zip(records, expected, strict=True):
        assert list(record) == [*KEYS, "risk", "all_options"]
        assert record["all_options"] == decision["all_options"]
    assert "loaded 2 models" in err


def test_text_output_of_several_queries(
    native_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "queries.txt"
    file.write_text("one\ntwo\n")
    assert main(["--file", str(file), "--checkpoint-dir", str(native_folder), "--verbose"]) == 0
    out = capsys.readouterr().out
    assert out.count("Candidate LLMs:") == 1
    assert out.count("Selected LLM:") == 2
    assert out.index("Query:           one") < out.index("Query:           two")
    assert out.count("small, unlimited: quality") == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--query", "x", "--checkpoint-dir", "nowhere"], "does not exist"),
        (["--query", "", "--checkpoint-dir", "NATIVE"], "is empty"),
        (["--query", "x", "--lambda_val", "3", "--checkpoint-dir", "NATIVE"], "lambda_val is 3"),
        (["--file", "nowhere.txt", "--checkpoint-dir", "NATIVE"], "nowhere.txt"),
        (
            ["--query", "x", "--checkpoint-dir", "NATIVE", "--llm-api-base", "localhost"],
            "http",
        ),
    ],
)
def test_what_goes_wrong_is_one_line(
    arguments: list[str], message: str, native_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(native_folder) if a == "NATIVE" else a for a in arguments]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("r2_router: ")
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--query", "a", "--file", "b"],
        ["--query", "a", "--checkpoint-dir", "b", "--hf-repo", "c/d"],
        ["--query", "a", "--lambda_val", "much"],
    ],
)
def test_wrong_flags(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: python -m r2_router" in capsys.readouterr().err


def test_hub_flag(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert main(["--query", "x", "--hf-repo", "owner/name"]) == 1
    assert 'pip install "r2-router[hub]"' in capsys.readouterr().err


def run(*arguments: str, **variables: str) -> Any:
    return subprocess.run(
        [sys.executable, "-m", "r2_router", *arguments],
        capture_output=True,
        check=False,
        env=os.environ | variables,
        timeout=120,
    )


def test_as_a_program(native_folder: Path) -> None:
    done = run(
        *("--json", "--query", "which öne"),
        R2ROUTER_CHECKPOINT=str(native_folder),
        PYTHONIOENCODING="ascii",
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["query"] == "which öne"
    assert done.stderr == b""
