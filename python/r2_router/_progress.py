"""Progress of long calls: a tqdm bar in terminals and notebooks, or the caller's function."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

__all__ = ["Progress", "ProgressBar"]

#: A function of (stage, done, total); True: a bar; False: none; None: a bar in a terminal or
#: notebook if tqdm is installed.
Progress = Callable[[str, int, int], None] | bool | None


class ProgressBar:
    """The bar, or the caller's function. Pass ``function`` to the native library."""

    def __init__(self, progress: Progress) -> None:
        self._bar: Any = None
        self._stage = ""
        self.function: Callable[[str, int, int], None] | None = None
        if progress is not None and not isinstance(progress, bool):
            if not callable(progress):
                raise TypeError(
                    f"progress is {progress!r}: expected a function of (stage, done, total), True, "
                    "False or None"
                )
            self.function = progress
        elif progress or (progress is None and _is_watched()):
            try:
                with warnings.catch_warnings():  # that notebooks need ipywidgets for a nicer bar
                    warnings.simplefilter("ignore")
                    from tqdm.auto import tqdm
            except ImportError:
                if progress:
                    raise ImportError(
                        "progress=True needs tqdm: pip install tqdm, or pass a function"
                    ) from None
            else:
                self._tqdm = tqdm
                self.function = self._show

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *error: object) -> None:
        self._close()

    def _show(self, stage: str, done: int, total: int) -> None:
        if stage != self._stage or self._bar is None:
            self._close()
            self._stage = stage
            self._bar = self._tqdm(total=total, desc=stage, leave=False)
        self._bar.total = total
        self._bar.update(done - self._bar.n)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _is_watched() -> bool:
    """Whether this process is a notebook's kernel, or standard error is a terminal."""
    # Importing ipykernel is not enough: programs that start kernels import it too.
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if getattr(shell, "kernel", None) is not None:
        return True
    return sys.stderr is not None and sys.stderr.isatty()
