"""The package as it is installed: types, stubs, style, what an import brings in, the program."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from conftest import ROOT, installed_program

import r2_router
from r2_router import _core

PACKAGE = ROOT / "python" / "r2_router"


def run(*command: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def needs(module: str) -> None:
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"needs {module}, of the test extra")


def test_the_version_is_the_header_s() -> None:
    header = (ROOT / "include" / "r2router" / "version.h").read_text()
    version = re.search(r'#define R2ROUTER_VERSION "(.+)"', header)
    assert version
    assert r2_router.__version__ == version[1] == _core.__version__
    try:
        assert importlib.metadata.version("r2-router") == version[1]
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("runs from a build folder, not installed")


def test_the_stub_and_the_keywords_are_the_module_s(tmp_path: Path) -> None:
    needs("pybind11_stubgen")
    run("python/make_stubs.py", tmp_path)
    for file in ("_core.pyi", "_constraints.py"):
        assert (tmp_path / file).read_text() == (PACKAGE / file).read_text(), (
            f"{file} is out of date: run python python/make_stubs.py"
        )


def test_types_are_strict() -> None:
    needs("mypy")
    out = run("-m", "mypy", "--strict", "python/r2_router", "tests/python/usage.py")
    checked = re.search(r"no issues found in (\d+) source files", out)
    assert checked, out
    assert int(checked[1]) >= 12


def test_style() -> None:
    needs("ruff")
    folders = ("python", "tests/python", "tests/gateway", "bench")
    run("-m", "ruff", "check", *folders)
    run("-m", "ruff", "format", "--check", *folders)


def test_an_import_brings_in_numpy_alone() -> None:
    optional = (
        *("matplotlib", "pandas", "sklearn", "scipy", "huggingface_hub", "IPython", "json"),
        *("torch", "transformers", "sentence_transformers", "onnxruntime", "llama_cpp"),
    )
    code = f"""
import sys, numpy
before = set(sys.modules)
import r2_router
new = {{name.split(".")[0] for name in set(sys.modules) - before}}
print(sorted(new & set({optional!r})))
"""
    assert run("-c", code) == "[]\n"


def test_every_public_name_is_documented() -> None:
    for name in r2_router.__all__:
        value = getattr(r2_router, name)
        if callable(value):
            assert value.__doc__, name
            assert not value.__doc__.startswith(f"{name}("), name
    for name, method in vars(r2_router.R2Router).items():
        if not name.startswith("_") and callable(method):
            assert method.__doc__, name


def test_the_old_name_of_batches() -> None:
    assert r2_router.RouteBatch is r2_router.DecisionBatch


def test_the_native_program_is_a_command() -> None:
    done = subprocess.run(
        [installed_program(), "version"], capture_output=True, text=True, check=True
    )
    assert r2_router.__version__ in done.stdout


def test_program_and_package_find_the_same_default_checkpoint() -> None:
    program = installed_program()
    environment = {key: value for key, value in os.environ.items() if key != "R2ROUTER_CHECKPOINT"}
    info = subprocess.run(
        [program, "info"], capture_output=True, text=True, check=True, env=environment
    )
    code = "from r2_router import _core; print(_core.default_checkpoint_path())"
    folder = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    ).stdout.strip()
    assert Path(folder).is_relative_to(sysconfig.get_path("data")), "not the installed one"
    assert folder in info.stdout
