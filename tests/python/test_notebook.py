"""Runs the example notebook as a reader would, and looks at what it shows."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

nbformat = pytest.importorskip("nbformat", reason="needs nbformat, of the test extra")
pytest.importorskip("nbclient", reason="needs nbclient, of the test extra")
pytest.importorskip("ipykernel", reason="needs ipykernel, of the test extra")
image = pytest.importorskip("matplotlib.image", reason="needs matplotlib, of the test extra")

from run_notebook import NOTEBOOK, run  # noqa: E402


def outputs(notebook: Any) -> list[Any]:
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def figures(notebook: Any) -> list[np.ndarray]:
    return [
        image.imread(io.BytesIO(base64.b64decode(output["data"]["image/png"])))[..., :3]
        for output in outputs(notebook)
        if "image/png" in output.get("data", {})
    ]


def text(notebook: Any) -> str:
    return "".join(output.get("text", "") for output in outputs(notebook))


def check_figures(pictures: list[np.ndarray]) -> None:
    for picture in pictures:
        height, width, _ = picture.shape
        assert min(height, width) > 200
        inked = (picture < 0.9).any(axis=2)
        assert 0.01 < inked.mean() < 0.5
        # Curves in several colours, spread over the picture rather than a lone axis or legend.
        coloured = picture.max(axis=2) - picture.min(axis=2) > 0.3
        columns = np.flatnonzero(coloured.any(axis=0))
        assert np.ptp(columns) > width / 3


def check_outputs(notebook: Any) -> None:
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.execution_count is not None
    for output in outputs(notebook):
        assert output["output_type"] != "error"
        assert output.get("name") != "stderr", output["text"]


def test_runs(tmp_path: Path) -> None:
    notebook = run(tmp_path)
    check_outputs(notebook)
    pictures = figures(notebook)
    assert len(pictures) == 5
    check_figures(pictures)
    assert any(
        "<table" in output.get("data", {}).get("text/html", "") for output in outputs(notebook)
    )
    committed = text(nbformat.read(NOTEBOOK, as_version=4))
    assert text(notebook) == committed, "out of date: run tests/python/run_notebook.py"


def test_is_committed_as_it_ran() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert NOTEBOOK.stat().st_size < 400_000
    check_outputs(notebook)
    pictures = figures(notebook)
    assert len(pictures) == 5
    check_figures(pictures)
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    # Nothing of the machine that it ran on.
    assert not re.search(r'"[^"]*(/home/|/tmp/|/root/|/work/)', NOTEBOOK.read_text("utf-8"))
