"""The types of the package, as mypy and pyright see them in code that uses it."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import r2_router

SNIPPETS = Path(__file__).with_name("typed_snippets.py")


def needs(module: str) -> None:
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"needs {module}, of the test extra")


def marked_lines() -> set[int]:
    lines = SNIPPETS.read_text(encoding="utf-8").splitlines()
    return {number for number, line in enumerate(lines, 1) if line.endswith("# E")}


def run(*command: str, cwd: Path) -> str:
    # The package as it is imported here; in MYPYPATH, mypy refuses to have site-packages.
    environment = os.environ | {"PYTHONPATH": str(Path(r2_router.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-m", *command],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=environment,
    )
    assert done.stdout, done.stderr
    return done.stdout


def compare(found: dict[int, str]) -> None:
    expected = marked_lines()
    assert len(expected) > 30
    unexpected = {line: message for line, message in found.items() if line not in expected}
    assert not unexpected
    assert sorted(expected - found.keys()) == [], "these lines should be errors"


def test_mypy(tmp_path: Path) -> None:
    needs("mypy")
    config = tmp_path / "mypy.ini"
    config.write_text(
        "[mypy]\nstrict = True\npython_version = 3.10\n"
        + "".join(
            f"[mypy-{name}.*]\nignore_missing_imports = True\n"
            for name in ("pandas", "polars", "pyarrow")
        )
    )
    out = run("mypy", "--config-file", str(config), "--no-pretty", str(SNIPPETS), cwd=tmp_path)
    found = re.findall(r"typed_snippets\.py:(\d+): error: (.*)", out)
    assert "Found" in out, out
    compare({int(line): message for line, message in found})


def test_pyright(tmp_path: Path) -> None:
    needs("pyright")
    folder = str(Path(r2_router.__file__).parents[1])
    settings = {
        "include": [SNIPPETS.name],
        "extraPaths": [folder],
        "pythonVersion": "3.10",
        "typeCheckingMode": "standard",
        "reportMissingTypeStubs": False,
        "reportUnusedExpression": False,
        "reportMissingImports": False,
        "reportMissingModuleSource": False,
    }
    shutil.copy(SNIPPETS, tmp_path)  # it checks what is beside its settings
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    out = run(
        "pyright", "--outputjson", "--pythonpath", sys.executable, "-p", str(tmp_path), cwd=tmp_path
    )
    report = json.loads(out[out.index("{") :])
    found = {}
    for diagnostic in report["generalDiagnostics"]:
        assert diagnostic["file"].endswith("typed_snippets.py"), diagnostic
        if diagnostic["severity"] == "error":
            found[diagnostic["range"]["start"]["line"] + 1] = diagnostic["message"]
    compare(found)
