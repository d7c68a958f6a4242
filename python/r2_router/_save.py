"""Writing a router as a checkpoint, to a folder or to the Hugging Face Hub."""

from __future__ import annotations

import glob
import os
import shutil
import tempfile
from typing import Any

from . import _core

__all__ = ["Saving"]


class Saving:
    """What a router can be written to."""

    lambda_val: float
    _checkpoint: _core.Checkpoint
    _folder: str

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Writes the router as a checkpoint in the native layout, with the policies of its folder.

        ``from_pretrained(folder)`` makes the same decisions; ``lambda_val`` becomes the
        checkpoint's. Addresses and keys of servers are not written. ``folder`` must not exist or be
        empty; it appears whole or not at all.
        """
        checkpoint = self._checkpoint
        if self.lambda_val != checkpoint.default_lambda:
            checkpoint = checkpoint.with_lambda(self.lambda_val)
        target = os.fspath(folder)
        checkpoint.save(target)
        policies = glob.glob(os.path.join(glob.escape(self._folder), "policies", "*.json"))
        if self._folder and policies:
            os.mkdir(os.path.join(target, "policies"))
            for policy in policies:
                shutil.copy(policy, os.path.join(target, "policies"))

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

        The repository is created if there is none, as ``private`` says. ``token``: None for the one
        of ``huggingface-cli login`` or the environment's HF_TOKEN. ``revision``: a branch. Needs
        ``pip install "r2-router[hub]"``. Returns the address of the commit.
        ``R2Router.from_pretrained(repository)`` loads it.
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
