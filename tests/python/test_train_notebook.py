"""The tutorial on data frames runs from top to bottom."""

from __future__ import annotations

from pathlib import Path

import pytest

for needed in ("nbclient", "nbformat", "ipykernel", "pandas", "matplotlib"):
    pytest.importorskip(needed)

import run_notebook  # noqa: E402


def test_the_tutorial_runs_on_data_frames(tmp_path: Path) -> None:
    notebook = run_notebook.run(tmp_path, path=run_notebook.EXAMPLES / "train_evaluate.ipynb")
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    data = [output.get("data", {}) for output in outputs]
    assert sum("text/html" in each for each in data) >= 8
    assert sum("image/png" in each for each in data) == 1
    text = "".join(output.get("text", "") for output in outputs)
    assert "large, " in text and "small, " in text  # the proof, and the sum
    assert "<svg" in (tmp_path / "after.html").read_text()
    assert (tmp_path / "my-router" / "model.safetensors").exists()
