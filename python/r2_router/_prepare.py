"""Arguments shared by training, evaluation and calibration."""

from __future__ import annotations

import os

from . import _core
from ._router import R2Router
from ._tables import Path, as_path

__all__ = ["add_embeddings", "as_router", "new_folder"]


def as_router(router: R2Router | Path | None, name: str = "router") -> R2Router:
    """The router; loads it from a path, or the default checkpoint for None."""
    if isinstance(router, R2Router):
        return router
    if router is not None and not isinstance(router, (str, os.PathLike)):
        raise TypeError(
            f"{name} is of the type {type(router).__name__}: expected an R2Router, or the path of "
            "a checkpoint folder"
        )
    return R2Router.from_pretrained(router)


def add_embeddings(router: R2Router, data: _core.Data) -> None:
    """Adds embeddings if the router does not make them with its checkpoint's encoder."""
    if not data.has_embeddings and not router._uses_own_encoder():
        data.set_embeddings(router._embed_all(data.texts))


def new_folder(output: Path | None) -> str:
    """The folder to write to, which is new or empty; "" for None."""
    if output is None:
        return ""
    folder = as_path("output", output)
    if os.path.exists(folder) and (not os.path.isdir(folder) or os.listdir(folder)):
        raise FileExistsError(f"{folder} exists already: name a new folder, or remove this one")
    return folder
