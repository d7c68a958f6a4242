"""Adds to the site what is kept elsewhere: the C++ reference, which Doxygen makes from the headers,
and documents of the repository."""

from __future__ import annotations

import atexit
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent

DOCUMENTS = {
    "changelog.md": "CHANGELOG.md",
    "checkpoint-format.md": "checkpoints/FORMAT.md",
    "default-checkpoint.md": "checkpoints/default/README.md",
    "r2-router-checkpoint.md": "checkpoints/r2-router/README.md",
}


def on_files(files: Any, config: Any) -> Any:
    for page, document in DOCUMENTS.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / document)))
    for path in sorted(cpp_reference().rglob("*")):
        if path.is_file():
            name = f"cpp-reference/{path.name}"
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def cpp_reference() -> Path:
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    settings = (ROOT / "docs" / "Doxyfile").read_text(encoding="utf-8")
    settings += f'OUTPUT_DIRECTORY = "{folder.name}"\n'
    try:
        done = subprocess.run(
            ["doxygen", "-"], input=settings, text=True, capture_output=True, cwd=ROOT, check=False
        )
    except FileNotFoundError:
        raise PluginError("doxygen is not installed: apt-get install doxygen") from None
    if done.returncode != 0:
        raise PluginError(f"doxygen failed:\n{done.stderr}")
    return Path(folder.name) / "html"
