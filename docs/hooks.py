"""Adds to the site what is kept elsewhere: the C++ reference, which Doxygen makes from the headers,
the reference of the gateway's settings, made from their schema, and documents of the repository."""

from __future__ import annotations

import atexit
import json
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
    files.append(File.generated(config, "gateway-settings.md", content=gateway_settings()))
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


def gateway_settings() -> str:
    """A page with a table for each object of gateway.json."""
    schema = json.loads((ROOT / "config" / "gateway.schema.json").read_text(encoding="utf-8"))
    page = [
        "# Settings of the gateway\n",
        "This page lists all settings of `gateway.json`, which [The gateway](serving.md) explains. "
        "An unknown setting is an error. " + schema["description"],
    ]

    def resolved(node: dict[str, Any]) -> dict[str, Any]:
        if "$ref" not in node:
            return node
        return schema["$defs"][node["$ref"].rsplit("/", 1)[1]] | node

    def add(node: dict[str, Any], place: str) -> None:
        node = resolved(node)
        members = node.get("properties", {})
        if members:
            title = f"`{place}`" if place else "The file"
            page.append(f"\n## {title}\n\n| setting | value | |\n|---|---|---|")
            for name, unresolved in members.items():
                page.append(row(name, resolved(unresolved), name in node.get("required", [])))
        for name, member in members.items():
            add(member, f"{place}.{name}" if place else name)
        if isinstance(node.get("additionalProperties"), dict):
            add(node["additionalProperties"], place + ".NAME")
        if "items" in node:
            add(node["items"], place + "[]")
        for member in node.get("oneOf", []):
            add(member, place)

    def row(name: str, member: dict[str, Any], required: bool) -> str:
        about = member["description"]
        if required:
            about += " Required."
        if "default" in member:
            about += f" Default: `{json.dumps(member['default'])}`."
        return f"| `{name}` | {value_of(member)} | {about} |"

    def value_of(member: dict[str, Any]) -> str:
        if "enum" in member:
            return " or ".join(f"`{json.dumps(one)}`" for one in member["enum"])
        if "oneOf" in member:
            return " or ".join(value_of(resolved(one)) for one in member["oneOf"])
        kinds = member["type"] if isinstance(member["type"], list) else [member["type"]]
        text = member.get("title", " or ".join(kinds))
        if "items" in member and "properties" not in resolved(member["items"]):
            text += f" of {value_of(resolved(member['items']))}"
        if "minimum" in member:
            text += f" from {member['minimum']:,} to {member['maximum']:,}"
        return text

    add(schema, "")
    return "\n".join(page) + "\n"
