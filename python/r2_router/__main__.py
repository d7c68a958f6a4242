"""python -m r2_router: the r2-router program, which also accepts the flags of route.py.

The flags of route.py are used without a subcommand. ``--lambda_val X`` is ``--lambda X``, and
``--hf-repo ID`` loads the checkpoint from the Hugging Face Hub.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence

from . import _core
from ._hub import checkpoint_folder

__all__ = ["main"]

_TOP_LEVEL = ("-h", "--help", "-V", "--version")

_HELP = """
python -m r2_router also takes the options of route without a subcommand, and in addition
  --lambda_val X   as --lambda
  --hf-repo ID     a checkpoint of the Hugging Face Hub, owner/name
and the command
  bulk             routes Parquet, CSV, JSON-lines and Arrow files; see bulk --help
"""


class _UsageError(Exception):
    pass


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit code. None: with the arguments of the process."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["bulk"]:  # of Python only
        from .bulk import main as bulk

        return bulk(given[1:])
    try:
        translated = _translate(given)
    except _UsageError as error:
        return _fail(f"{error} (see python -m r2_router --help)", 2)
    except (OSError, ValueError, ImportError) as error:  # errors of the Hub
        return _fail(str(error), 1)
    with _signals(), _redirected("stdout", 1), _redirected("stderr", 2):
        code = _core.run_program([os.fsencode(argument) for argument in translated])
    if given in (["-h"], ["--help"]):
        print(_HELP, end="", flush=True)
    return code


def _fail(message: str, code: int) -> int:
    print("r2-router: error:", " ".join(message.split()), file=sys.stderr)
    return code


def _translate(arguments: list[str]) -> list[str]:
    """Converts the arguments to those of r2-router."""
    bare = bool(arguments) and arguments[0].startswith("-") and arguments[0] not in _TOP_LEVEL
    translated = ["route"] if bare else []
    rest = iter(arguments)
    for argument in rest:
        flag, equals, value = argument.partition("=")
        if flag == "--lambda_val":
            translated.append("--lambda" + equals + value)
        elif flag == "--hf-repo":
            if any(a.partition("=")[0] == "--checkpoint-dir" for a in arguments):
                raise _UsageError("--checkpoint-dir and --hf-repo are given: expected one of them")
            repository = value if equals else next(rest, "")
            if not repository or repository.startswith("-"):
                raise _UsageError("--hf-repo needs a repository, owner/name")
            translated += ["--checkpoint-dir", checkpoint_folder(repository)]
        else:
            translated.append(argument)
    return translated


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """Signals for the native program: Python's handlers would run only after it."""
    previous = {}
    with contextlib.suppress(ValueError):  # only the main thread may set handlers
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            previous[signal.SIGINT] = signal.signal(signal.SIGINT, signal.SIG_DFL)
        previous[signal.SIGPIPE] = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _redirected(name: str, descriptor: int) -> Iterator[None]:
    """Redirects what the native program writes to a file descriptor to ``sys.stdout``.

    They are the same unless Python code has replaced ``sys.stdout`` to capture output.
    """
    stream = getattr(sys, name)
    if stream is None:
        yield
        return
    stream.flush()
    try:
        same = stream.fileno() == descriptor
    except (AttributeError, OSError):
        same = False
    if same:
        yield
        return
    with tempfile.TemporaryFile() as captured:
        original = os.dup(descriptor)
        os.dup2(captured.fileno(), descriptor)
        try:
            yield
        finally:
            os.dup2(original, descriptor)
            os.close(original)
            captured.seek(0)
            stream.write(captured.read().decode(errors="replace"))
            stream.flush()


if __name__ == "__main__":
    sys.exit(main())
