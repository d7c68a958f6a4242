"""python -m r2_router: the r2-router program, and the flags of the published route.py."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from fault_server import FaultServer

import r2_router
from r2_router import R2Router
from r2_router.__main__ import _translate, main

KEYS = ("model", "openrouter_id", "budget", "predicted_quality", "predicted_cost_usd", "risk")


# The flags of route.py.


def test_text_output(native_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--query", "which one", "--checkpoint-dir", str(native_folder)]) == 0
    decision = R2Router.from_pretrained(native_folder).route_text("which one")
    lines = dict(line.split(":", 1) for line in capfd.readouterr().out.splitlines() if ":" in line)
    assert lines["Candidate LLMs"].strip() == "small"
    assert lines["Selected LLM"].split()[0] == decision["model"]
    assert lines["Selected budget"].split()[0] == str(decision["budget"])


def test_file_and_json(
    native_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "queries.txt"
    file.write_text("first query\n\n  zweite Anfrage: ünï \r\n", encoding="utf-8")
    arguments = ["--file", str(file), "--checkpoint-dir", str(native_folder), "--lambda_val", "0.5"]
    router = R2Router.from_pretrained(native_folder)
    queries = ["first query", "zweite Anfrage: ünï"]
    expected = router.route_text(queries, 0.5)

    assert main([*arguments, "--json"]) == 0
    records = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [record["query"].strip() for record in records] == queries
    for record, decision in zip(records, expected, strict=True):
        assert {key: record[key] for key in KEYS} == {key: decision[key] for key in KEYS}
        assert "all_options" not in record

    # The reference crashes here: its decision is among its own options.
    assert main([*arguments, "--json", "--verbose"]) == 0
    records = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    for record, decision in zip(records, expected, strict=True):
        assert [option["model"] for option in record["all_options"]] == [
            option["model"] for option in decision["all_options"]
        ]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], []),
        (["--help"], ["--help"]),
        (["-h"], ["-h"]),
        (["--version"], ["--version"]),
        (["route", "--query", "x"], ["route", "--query", "x"]),
        (["info", "--json"], ["info", "--json"]),
        (["--query", "x"], ["route", "--query", "x"]),
        (["--json", "--query=x"], ["route", "--json", "--query=x"]),
        (["--query", "x", "--lambda_val", "0.5"], ["route", "--query", "x", "--lambda", "0.5"]),
        (["--lambda_val=1e-3", "--file", "q"], ["route", "--lambda=1e-3", "--file", "q"]),
        (["route", "--lambda_val", "1"], ["route", "--lambda", "1"]),
        (["--query", "--lambda_values"], ["route", "--query", "--lambda_values"]),
        (["rout"], ["rout"]),
    ],
)
def test_flags_are_translated(arguments: list[str], expected: list[str]) -> None:
    assert _translate(arguments) == expected


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--query", "x", "--checkpoint-dir", "nowhere"], 1, "nowhere"),
        (["--query", "", "--checkpoint-dir", "NATIVE"], 1, "is empty"),
        (["--query", "x", "--lambda_val", "3", "--checkpoint-dir", "NATIVE"], 2, "--lambda: exp"),
        (["--query", "x", "--lambda_val", "much"], 2, "--lambda: expected a number from 0"),
        (["--file", "nowhere.txt", "--checkpoint-dir", "NATIVE"], 1, "nowhere.txt"),
        (["--query", "x", "--llm-api-base", "localhost"], 2, "http"),
        (["--query", "a", "--file", "b"], 2, "--query and --file exclude each other"),
        (["--query", "a", "--checkpoint-dir", "b", "--hf-repo", "c/d"], 2, "expected one of them"),
        (["--query", "a", "--checkpoint-dir=b", "--hf-repo=c/d"], 2, "expected one of them"),
        (["--query", "a", "--hf-repo"], 2, "--hf-repo needs a repository"),
        (["--query", "a", "--hf-repo", "--json"], 2, "--hf-repo needs a repository"),
        (["--query", "a", "--hf-repo", "no repository"], 1, "found nothing here"),
        ([], 2, "no command given"),
        (["rout", "--query", "x"], 2, "rout"),
        (["--no-such-flag"], 2, "--no-such-flag"),
    ],
)
def test_what_goes_wrong_is_one_line(
    arguments: list[str],
    code: int,
    message: str,
    native_folder: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert main([str(native_folder) if a == "NATIVE" else a for a in arguments]) == code
    error = capfd.readouterr().err
    assert message in error
    assert error.startswith("r2-router: error: ")
    assert len(error.splitlines()) == 1


def test_hub_flag_without_the_extra(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert main(["--query", "x", "--hf-repo", "owner/name"]) == 1
    assert 'pip install "r2-router[hub]"' in capfd.readouterr().err


@pytest.mark.parametrize("flags", [["--hf-repo", "owner/name"], ["--hf-repo=owner/name"]])
@pytest.mark.parametrize("command", [[], ["route"]])
def test_hub_flag(
    flags: list[str],
    command: list[str],
    native_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    import test_bad_input

    test_bad_input.fake_hub(monkeypatch, lambda repository, allow_patterns: str(native_folder))
    assert main([*command, *flags, "--query", "x", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["model"] == "small"


# The native program's commands.


def test_every_command_is_there(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capfd.readouterr().out
    for word in ("route", "train", "eval", "calibrate", "info", "--lambda_val", "--hf-repo"):
        assert word in out
    assert main(["version"]) == 0
    assert r2_router.__version__ in capfd.readouterr().out
    assert main(["--version"]) == 0
    assert r2_router.__version__ in capfd.readouterr().out
    assert main(["train", "--help"]) == 0
    assert "--hf-repo" not in capfd.readouterr().out


def test_serve_says_how_to_get_the_gateway(capfd: pytest.CaptureFixture[str]) -> None:
    code = main(["serve", "--listen", "127.0.0.1:0", "--check"])
    if code == 0:
        pytest.skip("the package was built with the gateway")
    assert code == 1
    assert "R2ROUTER_BUILD_GATEWAY=ON" in capfd.readouterr().err
    assert main(["--help"]) == 0
    assert "serve" not in capfd.readouterr().out


def test_info(native_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(native_folder)]) == 0
    assert "small" in capfd.readouterr().out


def test_convert(native_folder: Path, tmp_path: Path) -> None:
    assert main(["convert", str(native_folder), str(tmp_path / "new")]) == 0
    assert R2Router.from_pretrained(tmp_path / "new").dimension == 8
    assert main(["convert", str(native_folder), str(tmp_path / "new")]) == 1


# As a process.


PROGRAM = [sys.executable, "-m", "r2_router"]


def run(*arguments: str | bytes, **settings: Any) -> subprocess.CompletedProcess[bytes]:
    variables = settings.pop("variables", {})
    return subprocess.run(
        [*PROGRAM, *arguments],
        capture_output=True,
        check=False,
        env=os.environ | variables,
        timeout=120,
        **settings,
    )


def test_as_a_program(native_folder: Path) -> None:
    done = run(
        *("--json", "--query", "which öne"),
        variables={"R2ROUTER_CHECKPOINT": str(native_folder), "PYTHONIOENCODING": "ascii"},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["query"] == "which öne"
    assert done.stderr == b""


def test_exit_codes_and_streams(native_folder: Path) -> None:
    folder = ("--checkpoint-dir", str(native_folder))
    wrong = run("route", "--query", "x", "--lambda", "7", *folder)
    assert (wrong.returncode, wrong.stdout) == (2, b"")
    failed = run("route", "--query", "x", "--checkpoint-dir", "nowhere")
    assert (failed.returncode, failed.stdout) == (1, b"")
    lines = b'{"query": "one"}\n{"qury": "two"}\n{"query": "three"}\n'
    mixed = run("route", "--input", "-", *folder, input=lines)
    assert mixed.returncode == 1
    assert ["error" in json.loads(line) for line in mixed.stdout.splitlines()] == [
        False,
        True,
        False,
    ]


def test_arguments_are_bytes(native_folder: Path) -> None:
    """As the shell gives them: a file name need not be text."""
    folder = os.fsencode(native_folder)
    done = run("--query", "x", "--checkpoint-dir", folder + b"/../\xff")
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1
    assert b"Traceback" not in done.stderr


def test_a_reader_that_goes_away_is_no_error(native_folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "queries.txt"
    file.write_text("a query\n" * 20_000)
    command = [*PROGRAM, "--file", str(file), "--checkpoint-dir", str(native_folder), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as program:
        assert program.stdout is not None and program.stderr is not None
        program.stdout.readline()
        program.stdout.close()
        assert program.stderr.read() == b""
        assert program.wait(60) == 0


def test_a_full_disk_is_an_error(native_folder: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*PROGRAM, "--query", "x", "--checkpoint-dir", str(native_folder)],
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
    assert done.returncode == 1
    assert b"standard output" in done.stderr


@pytest.fixture
def slow(server: FaultServer) -> str:
    """An endpoint that never answers."""
    return server.script([[{"wait": 60}]])


def interrupted(command: list[str], ready: Any) -> tuple[int, bytes]:
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as program:
        deadline = time.monotonic() + 60
        while not ready(program):
            assert time.monotonic() < deadline
            assert program.poll() is None, program.stderr and program.stderr.read()
            time.sleep(0.01)
        program.send_signal(signal.SIGINT)
        _, err = program.communicate(timeout=30)
        return program.returncode, err


def test_ctrl_c_ends_answers_in_order(server: FaultServer, slow: str, native_folder: Path) -> None:
    command = [*PROGRAM, "--query", "x", "--checkpoint-dir", str(native_folder)]
    command += ["--llm-api-base", server.url(slow)]
    code, err = interrupted(command, lambda program: server.requests(slow))
    assert code == 130
    assert b"Traceback" not in err
    assert b"KeyboardInterrupt" not in err


def test_ctrl_c_ends_other_commands_at_once(tmp_path: Path, native_folder: Path) -> None:
    """A command that waits without end: it reads queries from a pipe that nobody writes to."""
    pipe = tmp_path / "queries.jsonl"
    os.mkfifo(pipe)
    command = [*PROGRAM, "calibrate", "--checkpoint-dir", str(native_folder)]
    command += ["--queries", str(pipe), "--target", "95% of best", "--output", str(tmp_path / "p")]
    writers: list[Any] = []

    def ready(program: Any) -> bool:
        try:  # succeeds once the program has opened the pipe to read
            writers.append(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
            return False
        return True

    code, err = interrupted(command, ready)
    assert code in (-signal.SIGINT, 130)
    assert b"Traceback" not in err
    for writer in writers:
        os.close(writer)


def test_handlers_are_as_before(native_folder: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGPIPE)]
    assert main(["info", str(native_folder)]) == 0
    assert main(["info", "nowhere"]) == 1
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGPIPE)] == before


def test_from_a_thread(native_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from concurrent.futures import ThreadPoolExecutor

    arguments = ["--query", "x", "--json", "--checkpoint-dir", str(native_folder)]
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(main, arguments).result() == 0
    assert json.loads(capfd.readouterr().out)["model"] == "small"


def test_output_goes_where_python_s_goes(native_folder: Path, tmp_path: Path) -> None:
    with open(tmp_path / "out", "w+") as out, contextlib.redirect_stdout(out):
        assert main(["info", str(native_folder)]) == 0
    text = io.StringIO()
    errors = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.redirect_stderr(errors):
        assert main(["info", str(native_folder)]) == 0
        assert main(["info", "nowhere"]) == 1
    assert "small" in text.getvalue()
    assert text.getvalue() == (tmp_path / "out").read_text()
    assert errors.getvalue().startswith("r2-router: error: ")


def test_what_python_printed_comes_first(native_folder: Path) -> None:
    code = (
        "import sys; from r2_router.__main__ import main; print('first'); "
        f"sys.exit(main(['info', {str(native_folder)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=60)
    assert done.stdout.startswith(b"first\n")
    assert b"small" in done.stdout
