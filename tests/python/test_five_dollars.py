"""The notebook on one amount of money for a table runs, and is committed as it ran."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

for needed in ("nbclient", "nbformat", "ipykernel", "pandas", "matplotlib"):
    pytest.importorskip(needed, reason=f"needs {needed}, of the test extra")
for needed in ("pyarrow.parquet", "pyarrow.dataset"):
    pytest.importorskip(needed)

import nbformat  # noqa: E402
from conftest import ROOT  # noqa: E402
from run_notebook import FIVE_DOLLARS, run, write_prompts  # noqa: E402
from test_notebook import check_outputs, figures, text  # noqa: E402


def check(notebook: Any, rows: int) -> None:
    check_outputs(notebook)
    assert len(figures(notebook)) == 2
    printed = text(notebook)
    assert f"{rows:,} prompts\n" in printed
    assert f"{rows} rows in 1 files" in printed
    predicted = re.search(r"predicted cost \$([0-9.]+), at most", printed)
    assert predicted and 0 < float(predicted[1]) <= 5
    guaranteed = re.search(r"worst_case_cost_usd +([0-9.]+)", printed)
    assert guaranteed and 0 < float(guaranteed[1]) <= 5
    assert re.search(r"takes \d+% of the money", printed)


def test_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("R2ROUTER_CHECKPOINT", str(ROOT / "checkpoints" / "default"))
    prompts = ROOT / "checkpoints" / "sources" / "everyday.jsonl"
    write_prompts(prompts, tmp_path)
    check(run(tmp_path, FIVE_DOLLARS), len(prompts.read_text("utf-8").splitlines()))


def test_is_committed_as_it_ran() -> None:
    notebook = nbformat.read(FIVE_DOLLARS, as_version=4)
    nbformat.validate(notebook)
    assert FIVE_DOLLARS.stat().st_size < 200_000
    check(notebook, 17_951)
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert not re.search(r'"[^"]*(/home/|/tmp/|/root/|/work/)', FIVE_DOLLARS.read_text("utf-8"))
