"""Writing a router as a checkpoint, to a folder or to the Hugging Face Hub."""

from __future__ import annotations

import glob
import os
import shutil
import tempfile
from typing import Any

from . import _core
from ._hub import checkpoint_folder
from ._log import logger

__all__ = ["Saving", "convert"]


class Saving:
    """The methods of a router that write it."""

    lambda_val: float
    _checkpoint: _core.Checkpoint
    _folder: str

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Writes the router as a checkpoint in the native layout, with the policies of its folder.

        A router loaded from it makes the same decisions; ``lambda_val`` becomes the checkpoint's
        default. Addresses and keys of servers are not written. ``folder`` must not exist or be
        empty. It is written completely or not at all.
        """
        target = os.path.abspath(os.fspath(folder))
        if os.path.exists(target) and (not os.path.isdir(target) or os.listdir(target)):
            raise FileExistsError(f"{folder} exists already: name a new folder, or remove this one")
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with tempfile.TemporaryDirectory(dir=os.path.dirname(target), prefix=".saving-") as scratch:
            written = os.path.join(scratch, "checkpoint")
            self._own_checkpoint().save(written)
            pattern = os.path.join(glob.escape(self._folder), "policies", "*.json")
            policies = glob.glob(pattern) if self._folder else []
            if policies:
                os.mkdir(os.path.join(written, "policies"))
            for policy in policies:
                shutil.copy(policy, os.path.join(written, "policies"))
            os.rename(written, target)

    def push_to_hub(
        self,
        repository: str,
        *,
        private: bool | None = None,
        token: str | None = None,
        revision: str | None = None,
        commit_message: str = "Upload a router",
    ) -> str:
        """Uploads the router to the Hugging Face Hub as the repository ``owner/name``.

        - ``private``: of a repository that is created by this call
        - ``token``: None: the token of ``hf auth login`` or the environment's HF_TOKEN
        - ``revision``: a branch, which must exist

        Returns the address of the commit. ``R2Router.from_pretrained(repository)`` loads the
        router. Needs ``pip install "r2-router[hub]"``.
        """
        try:
            from huggingface_hub import HfApi
        except ImportError as error:
            raise ImportError(
                'push_to_hub() needs the Hugging Face Hub: pip install "r2-router[hub]"'
            ) from error
        api: Any = HfApi(token=token)
        with tempfile.TemporaryDirectory() as scratch:
            folder = os.path.join(scratch, "router")
            self.save_pretrained(folder)
            api.create_repo(repository, private=private, exist_ok=True, repo_type="model")
            commit = api.upload_folder(
                repo_id=repository,
                folder_path=folder,
                repo_type="model",
                revision=revision,
                commit_message=commit_message,
            )
        return str(commit)

    def _own_checkpoint(self) -> _core.Checkpoint:
        """The checkpoint with the router's λ as its default."""
        if self.lambda_val == self._checkpoint.default_lambda:
            return self._checkpoint
        return self._checkpoint.with_lambda(self.lambda_val)


def convert(source: str | os.PathLike[str] | None, destination: str | os.PathLike[str]) -> None:
    """Writes a checkpoint (a folder in either layout, or a Hub repository) in the native layout.

    ``destination`` must not exist or be empty. It is written completely or not at all.
    """
    folder = checkpoint_folder(source)
    _core.Checkpoint.load(folder, logger.log).save(os.fspath(destination))
    logger.info("wrote %s", destination)
