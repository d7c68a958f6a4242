"""Checks that the workflows, the Dockerfile and the packages refer to what exists in the tree."""

import json
import re
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
problems = []


def check(condition, message):
    if not condition:
        problems.append(message)


workflows = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
check(len(workflows) >= 3, "expected the workflows test, wheels and release")
for path in workflows:
    text = path.read_text(encoding="utf-8")
    workflow = yaml.safe_load(text)
    check("permissions" in workflow, f"{path.name}: no permissions at the top level")
    for name, job in workflow["jobs"].items():
        check("uses" in job or "timeout-minutes" in job, f"{path.name}: job {name} has no timeout")
        for other in [job["needs"]] if isinstance(job.get("needs"), str) else job.get("needs", []):
            check(
                other in workflow["jobs"],
                f"{path.name}: job {name} needs {other}, which is missing",
            )
    for script in re.findall(r"bash ([\w./-]+\.sh)", text):
        check((ROOT / script).is_file(), f"{path.name}: {script} does not exist")
    for local in re.findall(r"uses: \./(\S+)", text):
        check((ROOT / local).is_file(), f"{path.name}: {local} does not exist")

dockerfile = (ROOT / "packaging" / "Dockerfile").read_text(encoding="utf-8")
sources = re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE)
check(sources, "Dockerfile: nothing is copied")
ignored = (ROOT / "packaging" / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
for source in " ".join(sources).split():
    check((ROOT / source).exists(), f"Dockerfile: {source} does not exist")
    check(f"!{source}" in ignored, f"Dockerfile.dockerignore: {source} is ignored")

options = set(
    re.findall(r"\b(R2ROUTER_BUILD_\w+)\b", (ROOT / "CMakeLists.txt").read_text(encoding="utf-8"))
)
url = re.search(
    r'^Repository = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE
)
check(url, "pyproject.toml: no project URL Repository")
for name in (
    "packaging/vcpkg/r2router/portfile.cmake",
    "packaging/conan/conanfile.py",
    "packaging/Dockerfile",
):
    for option in re.findall(r"\bR2ROUTER_BUILD_\w+\b", (ROOT / name).read_text(encoding="utf-8")):
        check(option in options, f"{name}: CMakeLists.txt has no option {option}")
for name in (
    "packaging/vcpkg/r2router/vcpkg.json",
    "packaging/conan/conanfile.py",
    "CITATION.cff",
    "docs/mkdocs.yml",
):
    if url:
        check(
            url.group(1) in (ROOT / name).read_text(encoding="utf-8"),
            f"{name}: not the URL of pyproject.toml",
        )
port = json.loads((ROOT / "packaging/vcpkg/r2router/vcpkg.json").read_text(encoding="utf-8"))
check(port["name"] == "r2router", "vcpkg.json: the port has another name than its folder")

if problems:
    sys.exit("\n".join(problems))
