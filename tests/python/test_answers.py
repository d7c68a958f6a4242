"""Rows of files are answered within one limit, and no row is paid twice that need not be."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from fault_server import FaultServer, bill

from r2_router import AuthenticationError, R2Router, bulk
from r2_router._answers import Answering

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

TEXTS = [None if i % 9 == 4 else f"question {i} " + "why " * (i % 12) for i in range(90)]
ASKED = len(TEXTS) - TEXTS.count(None)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for part in range(3):
        table = pyarrow.table({"id": range(30), "prompt": TEXTS[30 * part : 30 * (part + 1)]})
        parquet.write_table(table, tmp_path / "in" / f"part{part}.parquet")
    return tmp_path / "in"


def prices(router: R2Router) -> dict[str, Any]:
    return {config["openrouter_id"]: dict(config) for config in router.model_configs.values()}


def run(source: Path, router: R2Router, url: str, limit: float, **options: Any) -> bulk.Summary:
    return bulk.route_dataset(
        source,
        source.parent / "out",
        text="prompt",
        router=router,
        lambda_val=0.9,
        llm_api_base=url,
        llm_api_key="sk-test",
        max_total_cost_usd=limit,
        **options,
    )


def rows(source: Path) -> list[dict[str, Any]]:
    files = sorted((source.parent / "out").glob("*.parquet"))
    assert len(files) == 3
    return [row for file in files for row in parquet.read_table(file).to_pylist()]


def billed(server: FaultServer, path: str, router: R2Router, tokens: int = 7) -> float:
    """What the server has billed for the requests that it has got, by its own arithmetic."""
    total = 0.0
    for request in server.requests(path):
        body = json.loads(request.body)
        prompt = sum(len(message["content"].encode()) + 8 for message in body["messages"])
        cap = body.get("max_tokens", body.get("max_completion_tokens"))
        total += bill(prices(router)[body["model"]], None, prompt, min(tokens, cap), 0, 0)
    return total


def asked(server: FaultServer, path: str) -> Counter[str]:
    bodies = [json.loads(request.body) for request in server.requests(path)]
    return Counter(body["messages"][-1]["content"] for body in bodies)


def test_every_row_is_answered(source: Path, lexical_router: R2Router, server: FaultServer) -> None:
    path = server.script([[{"service": {"prices": prices(lexical_router), "key": "sk-test"}}]])
    summary = run(source, lexical_router, server.url(path), 1.0)
    found = rows(source)
    assert [row["prompt"] for row in found] == TEXTS
    expected = lexical_router.route_table({"prompt": TEXTS}, text="prompt", lambda_val=0.9)
    for place, row in enumerate(found):
        for name in ("model", "budget", "max_tokens", "worst_case_cost_usd"):
            assert row[name] == expected[name][place]
        decided = row["model"] is not None
        assert row["response"] == (f"An answer to: {row['prompt']}" if decided else None)
        assert row["completion_tokens"] == (7 if decided else None)
        assert row["answer_error"] is None
    sent = {
        json.loads(r.body)["messages"][-1]["content"]: json.loads(r.body)
        for r in server.requests(path)
    }
    for row in found:
        if row["model"] is not None:
            body = sent[row["prompt"]]
            assert body["model"] == lexical_router.model_configs[row["model"]]["openrouter_id"]
            assert row["max_tokens"] in (body.get("max_tokens"), body.get("max_completion_tokens"))
    assert (summary.answered, summary.unanswered) == (ASKED, {})
    assert summary.spent_usd == pytest.approx(billed(server, path, lexical_router))
    assert sum(row["cost_usd"] or 0 for row in found) == pytest.approx(summary.spent_usd)
    again = run(source, lexical_router, server.url(path), 1.0)
    assert len(server.requests(path)) == ASKED
    assert (again.answered, again.files_skipped) == (ASKED, 3)
    assert again.spent_usd == pytest.approx(summary.spent_usd)
    assert not list((source.parent / "out").glob(".*answers*"))


def test_requests_at_a_time(
    source: Path, lexical_router: R2Router, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = server.script([[{"wait": 0.01}, {"service": {}}]])
    lock, running, most = threading.Lock(), 0, 0
    ask = Answering.ask

    def counted(self: Answering, *arguments: Any) -> Any:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        try:
            return ask(self, *arguments)
        finally:
            with lock:
                running -= 1

    monkeypatch.setattr(Answering, "ask", counted)
    run(source, lexical_router, server.url(path), 1.0, concurrency=3)
    assert most == 3


@pytest.mark.parametrize("concurrency", [1, 8])
def test_the_limit(
    concurrency: int, source: Path, lexical_router: R2Router, server: FaultServer
) -> None:
    """Answers are as long as they may be, so that each costs nearly its worst case."""
    service = {"prices": prices(lexical_router), "tokens": "all"}
    path = server.script([[{"service": service}]])
    table = lexical_router.route_table({"prompt": TEXTS}, text="prompt", lambda_val=0.9)
    whole = sum(worst or 0 for worst in table["worst_case_cost_usd"])
    spent = 0.0
    for part in (0.1, 0.5, 0.5):  # what is left of the last one does not do for another row
        limit = part * whole
        summary = run(source, lexical_router, server.url(path), limit, concurrency=concurrency)
        bill_so_far = billed(server, path, lexical_router, 4_000_000)
        assert summary.spent_usd == pytest.approx(bill_so_far)
        assert bill_so_far <= limit
        assert bill_so_far >= spent
        assert summary.unanswered == {"limit": ASKED - summary.answered}
        assert summary.answered == len(server.requests(path))
        spent = bill_so_far
    summary = run(source, lexical_router, server.url(path), 2 * whole, concurrency=concurrency)
    assert summary.unanswered == {}
    assert set(asked(server, path).values()) == {1}
    assert all(row["response"] for row in rows(source) if row["model"])


def test_faults(source: Path, lexical_router: R2Router, server: FaultServer) -> None:
    """A request that the server has refused is free. One without an answer may have been billed."""
    service = [{"service": {"prices": prices(lexical_router)}}]
    busy = [{"answer": {"status": 429, "headers": {"Retry-After": "0"}, "json": {}}}]
    script = []
    for number in range(60):
        script.append([{"reset": True}] if number % 10 == 3 else service)
        if number % 10 == 6:
            script[-1] = busy
    path = server.script([*script, service])
    summary = run(source, lexical_router, server.url(path), 1.0, concurrency=4)
    assert (summary.answered, summary.unanswered) == (ASKED, {})
    found = rows(source)
    worst = {row["prompt"]: row["worst_case_cost_usd"] for row in found}
    unclear = [
        json.loads(request.body)["messages"][-1]["content"]
        for request, steps in zip(server.requests(path), script, strict=False)
        if steps == [{"reset": True}]
    ]
    assert len(unclear) == 6
    known = sum(row["cost_usd"] or 0 for row in found)
    assert summary.spent_usd == pytest.approx(known + sum(worst[text] for text in unclear))


def test_rows_that_stay_without_an_answer(
    source: Path, lexical_router: R2Router, server: FaultServer
) -> None:
    broken = [{"reset": True}]
    path = server.script([broken])
    first = run(source, lexical_router, server.url(path), 1.0)
    assert (first.answered, first.unanswered) == (0, {"connection": ASKED})
    assert {row["answer_error"] for row in rows(source)} == {None, "connection"}
    # The same address works now: the job goes on where it was.
    server._scripts[path] = [[{"service": {"prices": prices(lexical_router)}}]]
    second = run(source, lexical_router, server.url(path), 1.0)
    assert (second.answered, second.unanswered) == (ASKED, {})
    assert second.spent_usd > first.spent_usd


def test_a_wrong_key_ends_the_job(
    source: Path, lexical_router: R2Router, server: FaultServer
) -> None:
    path = server.script([[{"service": {"key": "sk-other"}}]])
    with pytest.raises(AuthenticationError):
        run(source, lexical_router, server.url(path), 1.0, concurrency=2)
    assert len(server.requests(path)) < 10
    server._scripts[path] = [[{"service": {"prices": prices(lexical_router)}}]]
    summary = run(source, lexical_router, server.url(path), 1.0)
    assert summary.answered == ASKED
    found = rows(source)
    known = sum(row["cost_usd"] or 0 for row in found)
    # The other request that was under way may have been billed.
    most = known + max(row["worst_case_cost_usd"] or 0 for row in found)
    assert known - 1e-12 <= summary.spent_usd <= most


PROGRAM = """
import sys
from r2_router import R2Router, bulk
folder, source, target, url = sys.argv[1:]
router = R2Router.from_pretrained(folder)
bulk.route_dataset(source, target, text="prompt", router=router, lambda_val=0.9, llm_api_base=url,
                   llm_api_key="sk-test", max_total_cost_usd=1.0, concurrency=4, batch_rows=10)
"""


def test_a_killed_job_goes_on(
    source: Path, native_folder: Path, lexical_router: R2Router, server: FaultServer
) -> None:
    path = server.script([[{"wait": 0.03}, {"service": {"prices": prices(lexical_router)}}]])
    arguments = [native_folder, source, source.parent / "out", server.url(path)]
    for _ in range(2):
        before = len(server.requests(path))
        command = [sys.executable, "-c", PROGRAM, *map(str, arguments)]
        with subprocess.Popen(command) as process:
            while len(server.requests(path)) < before + 25:
                assert process.poll() is None
            process.send_signal(signal.SIGKILL)
    router = R2Router.from_pretrained(native_folder)
    summary = run(source, router, server.url(path), 1.0, concurrency=4, batch_rows=10)
    assert (summary.answered, summary.unanswered) == (ASKED, {})
    assert [row["prompt"] for row in rows(source)] == TEXTS
    assert all(row["response"] for row in rows(source) if row["model"])
    requests = asked(server, path)
    assert set(requests) == {text for text in TEXTS if text}
    # Only what was under way when the process died is asked again, at most four rows each time.
    assert sum(requests.values()) <= ASKED + 8
    assert billed(server, path, router) <= summary.spent_usd <= 1.0


def test_the_command(source: Path, native_folder: Path, server: FaultServer) -> None:
    path = server.script([[{"service": {}}]])
    command = [sys.executable, "-m", "r2_router", "bulk", str(source), str(source.parent / "out")]
    command += ["--text", "prompt", "--checkpoint-dir", str(native_folder)]
    command += ["--llm-api-base", server.url(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "max_total_cost_usd" in done.stderr
    command += ["--max-total-cost", "1", "--concurrency", "4"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{ASKED} rows answered for at most $" in done.stdout


def test_wrong_arguments(source: Path, lexical_router: R2Router, tmp_path: Path) -> None:
    def fails(message: str, **options: Any) -> None:
        with pytest.raises(ValueError, match=message):
            bulk.route_dataset(source, tmp_path / "out", router=lexical_router, **options)

    base = {"llm_api_base": "http://127.0.0.1:1", "text": "prompt"}
    fails("needs max_total_cost_usd", **base)
    fails("expected a finite amount", max_total_cost_usd=float("inf"), **base)
    fails("concurrency is 0", max_total_cost_usd=1.0, concurrency=0, **base)
    fails("expected llm_api_base", text="prompt", max_total_cost_usd=1.0)
    fails("texts of a column", embedding="id", max_total_cost_usd=1, llm_api_base="http://x")
    table = pyarrow.table({"prompt": ["a"], "response": ["b"]})
    parquet.write_table(table, source / "part0.parquet")
    fails("'response' already", max_total_cost_usd=1.0, **base)
