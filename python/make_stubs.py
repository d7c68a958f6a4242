"""Writes the stub of r2_router._core as the installed module has it.

- ``python python/make_stubs.py`` writes python/r2_router/_core.pyi
- ``python python/make_stubs.py FILE`` writes FILE, for a test to compare
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path


def make_stub() -> str:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pybind11_stubgen", "r2_router._core", "--exit-code"]
        subprocess.run([*command, "-o", folder], check=True, stdout=subprocess.DEVNULL)
        return (Path(folder) / "r2_router" / "_core.pyi").read_text(encoding="utf-8")


if __name__ == "__main__":
    default = Path(__file__).parent / "r2_router" / "_core.pyi"
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    target.write_text(make_stub(), encoding="utf-8")
