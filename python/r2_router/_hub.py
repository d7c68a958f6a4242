"""Locates checkpoints: folders, installed ones by name, or repositories of the Hugging Face Hub."""

from __future__ import annotations

import os
import re

from . import _core

__all__ = ["checkpoint_folder"]

_REPOSITORY_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


def checkpoint_folder(path: str | os.PathLike[str] | None) -> str:
    """The folder for ``path``; None: the default checkpoint."""
    if path is None:
        try:
            return _core.default_checkpoint_path()
        except ValueError as error:
            raise FileNotFoundError(str(error)) from None
    folder = os.fspath(path)
    if not isinstance(folder, str):
        raise TypeError(f"the checkpoint is named {path!r}: expected a string or a path")
    if isinstance(path, str) and _REPOSITORY_ID.fullmatch(path) and not os.path.exists(path):
        return _download(path)
    try:
        folder = _core.checkpoint_folder(folder)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{error}; or a repository of the Hugging Face Hub as owner/name"
        ) from None
    if not os.path.isdir(folder):
        raise NotADirectoryError(
            f"{folder} is a file: expected a checkpoint folder, which holds config.json"
        )
    return folder


def _download(repository: str) -> str:
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import RepositoryNotFoundError
    except ImportError as error:
        raise ImportError(
            f"{repository!r} is not a folder here. To load it from the Hugging Face Hub, "
            'run: pip install "r2-router[hub]"'
        ) from error
    try:
        return str(
            snapshot_download(
                repository,
                allow_patterns=[
                    "config.json",
                    "model.safetensors",
                    "policies/*.json",
                    "checkpoints/**",
                ],
            )
        )
    except RepositoryNotFoundError as error:
        raise FileNotFoundError(
            f"{repository!r} is neither a folder here nor a repository of the Hugging Face Hub"
        ) from error
    except Exception as error:
        raise ConnectionError(
            f"{repository!r} could not be loaded from the Hugging Face Hub ({error}): check the "
            "network, or give a folder"
        ) from error
