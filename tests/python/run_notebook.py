"""Runs notebooks of examples/; as a program, runs one and writes its outputs into it.

    python tests/python/run_notebook.py
    python tests/python/run_notebook.py five_dollars ../shared/data/modern/task_prompts.jsonl.gz

Do this after a change to the notebook, to the pictures or to a checkpoint that it uses. The second
routes the prompts of that file.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NOTEBOOK = EXAMPLES / "route_text.ipynb"
FIVE_DOLLARS = EXAMPLES / "five_dollars.ipynb"


def run(folder: Path | str, path: Path = NOTEBOOK) -> Any:
    """The notebook with its cells executed in `folder`."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, timeout=300, record_timing=False, resources={"metadata": {"path": str(folder)}}
    )
    # The kernel's own way of drawing, whatever the shell has set.
    client.execute(env={**os.environ, "MPLBACKEND": ""})
    return notebook


def write_prompts(source: Path, folder: Path | str) -> None:
    """The Parquet file that five_dollars.ipynb routes, of the queries in a JSON-lines file."""
    import pyarrow
    from pyarrow import parquet

    data = source.read_bytes()
    lines = (gzip.decompress(data) if source.suffix == ".gz" else data).splitlines()
    prompts = [json.loads(line)["query"] for line in lines]
    parquet.write_table(pyarrow.table({"prompt": prompts}), Path(folder) / "prompts.parquet")


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


def main(arguments: list[str]) -> None:
    path = EXAMPLES / f"{arguments[0]}.ipynb" if arguments else NOTEBOOK
    with tempfile.TemporaryDirectory() as folder:
        if path == FIVE_DOLLARS:
            write_prompts(Path(arguments[1]), folder)
        notebook = run(folder, path)
    make_small(notebook)
    notebook.metadata["language_info"] = {"name": "python"}  # not the version that ran it
    nbformat.write(notebook, path)


if __name__ == "__main__":
    main(sys.argv[1:])
