"""Writes what the package's files say of the native library, as the installed module has it:
the stub _core.pyi, and _constraints.py, the settings of a policy as keywords.

- ``python python/make_stubs.py`` writes both to python/r2_router/
- ``python python/make_stubs.py FOLDER`` writes both to FOLDER, for a test to compare
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any

CONSTRAINTS = '''"""Keywords of the routing methods; python/make_stubs.py writes this file."""

from __future__ import annotations

import os
from typing import Literal, TypedDict

from ._types import Strings

__all__ = ["Cap", "Constraints"]


class Cap(TypedDict, total=False):
    """From a budget to the cap (``max_tokens``) that is sent with the call.

{cap_list}
    """

{cap_members}


class Constraints(TypedDict, total=False):
    """Keywords of the routing methods; None is as good as absent.

{list}
    - ``images``: Images that are sent with the query, for models that charge for them. The model
      must read images.
    - ``requires``: What the query requires of a model: ``"tools"``, ``"images"``, ``"audio"``,
      ``"json_schema"`` or ``"reasoning"``. Models that are known to lack it are left out.
    - ``policy``: A policy file, as ``r2-router calibrate`` writes it, or the name of one in the
      checkpoint's folder. The other keywords override what it sets.
    """

{members}
    images: int | None
    requires: Strings | None
    policy: str | os.PathLike[str] | None
'''


def make_stub() -> str:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pybind11_stubgen", "r2_router._core", "--exit-code"]
        subprocess.run([*command, "-o", folder], check=True, stdout=subprocess.DEVNULL)
        stub = (Path(folder) / "r2_router" / "_core.pyi").read_text(encoding="utf-8")
    # Of tuples, pybind11 does not know the elements.
    stub = stub.replace("-> tuple:", "-> tuple[typing.Any, ...]:")
    return re.sub(r"^(\w+): tuple = ", r"\1: tuple[typing.Any, ...] = ", stub, flags=re.MULTILINE)


def make_constraints() -> str:
    # In another process, whose module path does not include the folder of this file.
    code = "import json; from r2_router import _core; print(json.dumps(_core.settings()))"
    settings: list[Any] = json.loads(subprocess.check_output([sys.executable, "-c", code]))
    # The trade-off that every routing method has as a parameter.
    settings = [setting for setting in settings if setting["name"] != "lambda_val"]
    caps = [setting for setting in settings if "." in setting["name"]]
    own = [setting for setting in settings if "." not in setting["name"]]
    cap = {"name": "cap", "help": "From a budget to the cap that is sent with the call: see `Cap`."}
    return CONSTRAINTS.format(
        cap_list="\n".join(map(entry, caps)),
        cap_members="\n".join(map(member, caps)),
        list="\n".join(map(entry, [*own, cap])),
        members="\n".join([*map(member, own), "    cap: Cap | None"]),
    )


def keyword(setting: Any) -> str:
    return str(setting["name"]).rpartition(".")[2]


def entry(setting: Any) -> str:
    """Its line of a docstring's list."""
    text = f"``{keyword(setting)}``: {setting['help']}"
    text = re.sub(r"(?<!`)`(\w+)`(?!`)", r"``\1``", text).replace("``lambda``", "``lambda_val``")
    if limits := ", ".join(filter(None, (setting.get("unit"), setting.get("range")))):
        text += f" [{limits}]"
    return textwrap.fill(text, 100, initial_indent="    - ", subsequent_indent="      ")


def member(setting: Any) -> str:
    names = ", ".join(f'"{name}"' for name in setting["names"])
    types = {
        "models": "Strings",
        "name": f"Literal[{names}]",
    }
    return f"    {keyword(setting)}: {types.get(setting['type'], setting['type'])} | None"


if __name__ == "__main__":
    default = Path(__file__).parent / "r2_router"
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    (folder / "_constraints.py").write_text(make_constraints(), encoding="utf-8")
    (folder / "_core.pyi").write_text(make_stub(), encoding="utf-8")
