"""Runs notebooks of examples/; as a program, runs route_text.ipynb and writes its outputs into it.

    python tests/python/run_notebook.py

Do this after a change to the notebook, to the pictures or to a checkpoint that it uses.
"""

from __future__ import annotations

import base64
import io
import os
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NOTEBOOK = EXAMPLES / "route_text.ipynb"


def run(folder: Path | str, path: Path = NOTEBOOK) -> Any:
    """The notebook with its cells executed in `folder`."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, timeout=300, record_timing=False, resources={"metadata": {"path": str(folder)}}
    )
    # The kernel's own way of drawing, whatever the shell has set.
    client.execute(env={**os.environ, "MPLBACKEND": ""})
    return notebook


def make_small(notebook: Any) -> None:
    """Pictures in 256 colours, which these need no more of; and no text that repeats a picture."""
    from PIL import Image

    for output in (output for cell in notebook.cells for output in cell.get("outputs", [])):
        data = output.get("data", {})
        if "image/png" in data:
            picture = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
            small = io.BytesIO()
            picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(
                small, format="png", optimize=True
            )
            data["image/png"] = base64.b64encode(small.getvalue()).decode() + "\n"
        if len(data) > 1:
            data.pop("text/plain", None)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        notebook = run(folder)
    make_small(notebook)
    notebook.metadata["language_info"] = {"name": "python"}  # not the version that ran it
    nbformat.write(notebook, NOTEBOOK)


if __name__ == "__main__":
    main()
