"""Files that survive killed processes and full disks."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = ["JsonLines", "append_line", "naming"]

#: The disk, a quota or the limit on the size of a file.
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_ADVICE = "make room, and repeat the call with the same arguments, which continues"


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Makes errors of a full disk name the file, ``path`` if they have none, and say what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL or _ADVICE in str(error):
            raise
        message = f"{os.strerror(error.errno)}: {_ADVICE}"
        raise OSError(error.errno, message, error.filename or str(path)) from error


class JsonLines:
    """A file of JSON lines, to which others are appended. A line that a killed process left
    unfinished is void."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = open(path, "ab+", buffering=0)  # noqa: SIM115

    def __enter__(self) -> JsonLines:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def append(self, entries: Iterable[Mapping[str, Any]], *, durable: bool) -> None:
        """Appends a line for each entry. If they do not fit on the disk, the file stays as it was.
        ``durable``: they are on the disk when the call returns."""
        end = self._file.seek(0, os.SEEK_END)
        lines = [json.dumps(entry).encode() + b"\n" for entry in entries]
        left = memoryview(b"".join([self._end_of_line(end), *lines]))
        with naming(self._path):
            try:
                while left:
                    left = left[self._file.write(left) :]
                if durable:
                    os.fsync(self._file.fileno())
            except OSError:
                self._file.truncate(end)
                raise

    def close(self) -> None:
        self._file.close()

    def _end_of_line(self, size: int) -> bytes:
        """What ends an unfinished last line of a file of this size."""
        if size == 0:
            return b""
        self._file.seek(-1, os.SEEK_END)
        return b"" if self._file.read(1) == b"\n" else b"\n"

    @staticmethod
    def entries(path: Path) -> Iterator[tuple[int, Any]]:
        """The lines of a file with their positions; none if it does not exist."""
        if not path.exists():
            return
        position = 0
        with open(path, "rb") as file:
            for line in file:
                with contextlib.suppress(ValueError):  # it is void
                    yield position, json.loads(line)
                position += len(line)


def append_line(path: Path, entry: Mapping[str, Any]) -> None:
    """Appends a line that is on the disk when the call returns."""
    with JsonLines(path) as lines:
        lines.append([entry], durable=True)
