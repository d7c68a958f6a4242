"""An encoder that kills its process once, in the middle of a job that runs on several.

Workers of Ray and Spark import it, so this folder must be on their PYTHONPATH.
"""

from __future__ import annotations

import os
import signal
import zlib
from typing import Any

import numpy as np


class MortalEncoder:
    """Embeddings that depend on nothing but the texts.

    ``folder``: where the death is recorded, so that it happens once in the whole job. ``calls``:
    how many a process answers before. ``executor``: Spark's executor dies, not its Python worker.
    """

    dimension = 1024

    def __init__(self, folder: str = "", calls: int = 2, executor: bool = False) -> None:
        self.folder = folder
        self.calls = calls
        self.executor = executor

    def __call__(self, texts: list[str]) -> Any:
        self.calls -= 1
        if self.folder and self.calls < 0:
            self._die_once()
        generators = (np.random.default_rng(zlib.crc32(text.encode())) for text in texts)
        return np.array([random.standard_normal(self.dimension) for random in generators])

    def _die_once(self) -> None:
        process = os.getpid()
        if self.executor:
            process = _parent(os.getppid())  # the parent is the daemon that workers are forked from
        try:
            with open(f"{self.folder}/died", "x") as record:
                record.write(str(process))
        except FileExistsError:
            return
        os.kill(process, signal.SIGKILL)
        signal.pause()


def _parent(process: int) -> int:
    with open(f"/proc/{process}/stat") as stat:
        return int(stat.read().rpartition(")")[2].split()[1])
