"""The tutorial on data frames runs from the first cell to the last."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

for needed in ("nbclient", "nbformat", "ipykernel", "pandas", "matplotlib"):
    pytest.importorskip(needed, reason=f"needs {needed}, of the test extra")

import run_notebook  # noqa: E402

from r2_router import R2Router  # noqa: E402

PATH = run_notebook.EXAMPLES / "your_own_router.ipynb"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tutorial")


@pytest.fixture(scope="module")
def outputs(folder: Path) -> list[Any]:
    notebook = run_notebook.run(folder, path=PATH)
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def test_reports_are_shown(outputs: list[Any]) -> None:
    shown = [output.get("data", {}) for output in outputs]
    html = [data["text/html"] for data in shown if "text/html" in data]
    assert sum("image/png" in data for data in shown) == 1
    (before,) = (each for each in html if "random mixing" in each and "you would pay" in each)
    assert "oracle" in before
    assert any("alpha" in each and "Trained on" in each for each in html)
    assert any("willingness" in each.lower() or "cost_usd" in each for each in html)
    assert any("share_penalty" in each for each in html)
    assert any("with the new model" in each and "without it" in each for each in html)
    # Progress bars need ipywidgets for HTML, and a warning about that is noise.
    assert not any("IProgress" in output.get("text", "") for output in outputs)


def test_the_router_knows_what_the_small_model_is_good_at(outputs: list[Any], folder: Path) -> None:
    printed = "".join(o.get("text", "") for o in outputs if o.get("name") == "stdout")
    assert printed == "history: large\nsums: small\n"
    for report in ("before.html", "after.html"):
        assert "<svg" in (folder / report).read_text(encoding="utf-8")
    policy = json.loads((folder / "my-router" / "policies" / "good.json").read_text())
    found = policy["calibration"]
    assert found["figures"] == "realised"
    assert found["quality"]["value"] >= 0.95 * found["best_quality"] - 1e-9
    extended = R2Router.from_pretrained(folder / "my-router-2")
    assert list(extended.model_configs) == ["small", "large", "new"]
    assert extended.route_text("Who was the king in 1234?", 0)["model"] == "large"


def test_the_shell_is_not_used() -> None:
    source = [
        line
        for cell in json.loads(PATH.read_text(encoding="utf-8"))["cells"]
        if cell["cell_type"] == "code"
        for line in "".join(cell["source"]).splitlines()
    ]
    assert len(source) > 30
    assert not any(line.lstrip().startswith(("!", "%")) or "subprocess" in line for line in source)
