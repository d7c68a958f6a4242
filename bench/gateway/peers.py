"""Other gateways in front of the same upstream, installed from their packages into a folder.

They are set up for speed: no database, no log of requests, as many workers as cores where they have
workers.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from harness import CORES, Bench, free_port, wait_until_ready


class Peer(NamedTuple):
    name: str
    pid: int
    port: int
    headers: dict[str, str]


def install_litellm(folder: Path) -> str:
    """Returns the version."""
    python = folder / "litellm" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder / "litellm")], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", "litellm[proxy]"], check=True)
    code = "import importlib.metadata as m; print(m.version('litellm'))"
    return subprocess.run(
        [str(python), "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


@contextlib.contextmanager
def litellm(bench: Bench, folder: Path, upstream: int) -> Iterator[Peer]:
    version, port = install_litellm(folder), free_port()
    config = {
        "model_list": [
            {
                "model_name": "auto",
                "litellm_params": {
                    "model": "openai/bench",
                    "api_base": f"http://127.0.0.1:{upstream}/v1",
                    "api_key": "none",
                },
            }
        ],
        "litellm_settings": {
            "num_retries": 0,
            "telemetry": False,
            "set_verbose": False,
            "request_timeout": 60,
        },
    }
    file = bench.folder / "litellm.yaml"
    file.write_text(json.dumps(config))  # which is YAML too
    environment = dict(
        os.environ,
        LITELLM_LOG="ERROR",
        LITELLM_MODE="PRODUCTION",
        LITELLM_LOCAL_MODEL_COST_MAP="True",
        LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY="true",  # the fastest: no key
    )
    command = [
        folder / "litellm" / "bin" / "litellm",
        "--config",
        file,
        "--host",
        "127.0.0.1",
        "--port",
        port,
    ]
    command += ["--num_workers", CORES]
    quiet = subprocess.DEVNULL
    with bench.process(command, stdout=quiet, stderr=quiet, env=environment) as process:
        wait_until_ready(port, "/health/liveliness", process, 300)
        yield Peer(f"LiteLLM {version}, {CORES} workers", process.pid, port, {})


@contextlib.contextmanager
def portkey(bench: Bench, folder: Path, upstream: int) -> Iterator[Peer]:
    package = folder / "portkey" / "node_modules" / "@portkey-ai" / "gateway"
    if not package.exists():
        (folder / "portkey").mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["npm", "install", "--silent", "--no-audit", "@portkey-ai/gateway"],
            cwd=folder / "portkey",
            check=True,
        )
    version = json.loads((package / "package.json").read_text())["version"]
    port = free_port()
    command = ["node", package / "build" / "start-server.js", f"--port={port}", "--headless"]
    environment = dict(os.environ, NODE_ENV="production")
    quiet = subprocess.DEVNULL
    with bench.process(command, stdout=quiet, stderr=quiet, env=environment) as process:
        wait_until_ready(port, "/", process)
        headers = {
            "x-portkey-provider": "openai",
            "x-portkey-custom-host": f"http://127.0.0.1:{upstream}/v1",
        }
        yield Peer(f"Portkey {version}", process.pid, port, headers)
