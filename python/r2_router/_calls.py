"""Waiting for native work that takes long: with Ctrl-C, from asyncio, and piece by piece.

Each call runs on a thread of its own, because the one that asks must stay free: for signals, or
for the event loop. A caller that stops waiting cancels the call. So does the end of the program,
which then waits for the threads: one that were still at work would abort the process.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from types import TracebackType
from typing import Any, Generic, TypeVar, cast

from . import _core
from ._types import Answer

__all__ = ["AsyncTextStream", "OnText", "StreamWork", "TextStream", "run", "run_async"]

Result = TypeVar("Result")
Self = TypeVar("Self", bound="_Stream")

#: Native work: it is given what cancels it.
Work = Callable[[_core.CancelSource], Result]
#: Takes the pieces of a text as they come.
OnText = Callable[[str], None]
#: Native work for an answer, which it hands over piece by piece if somebody takes them.
StreamWork = Callable[[_core.CancelSource, OnText | None], dict[str, Any]]


class _Outcome(Generic[Result]):
    """What a call came to: its result, or what it raised."""

    def __init__(self, work: Callable[[], Result]) -> None:
        self._result: Result | None = None
        self._error: BaseException | None = None
        try:
            self._result = work()
        except BaseException as error:  # raised again where it is waited for
            self._error = error

    def get(self) -> Result:
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]


#: The calls under way, by their threads.
_under_way: dict[threading.Thread, _core.CancelSource] = {}


def _start(target: Callable[[], None], cancel: _core.CancelSource) -> None:
    def call() -> None:
        try:
            target()
        finally:
            _under_way.pop(thread, None)

    thread = threading.Thread(target=call, name="r2_router call", daemon=True)
    _under_way[thread] = cancel
    try:
        thread.start()
    except RuntimeError:  # there are too many threads
        del _under_way[thread]
        raise


@atexit.register
def _end_calls() -> None:
    calls = dict(_under_way)
    for cancel in calls.values():
        cancel.cancel()
    for thread in calls:
        if thread.ident is not None:  # it has started
            thread.join()


# The threads of a parent process do not exist in a child.
os.register_at_fork(after_in_child=_under_way.clear)


def run(work: Work[Result]) -> Result:
    """Does the work and returns its result; Ctrl-C cancels it."""
    cancel = _core.CancelSource()
    outcomes: queue.SimpleQueue[_Outcome[Result]] = queue.SimpleQueue()
    try:
        _start(lambda: outcomes.put(_Outcome(lambda: work(cancel))), cancel)
        outcome = outcomes.get()
    except BaseException:
        cancel.cancel()
        raise
    return outcome.get()


async def run_async(work: Work[Result]) -> Result:
    """Does the work without blocking the event loop; cancelling the task cancels it."""
    cancel = _core.CancelSource()
    loop = asyncio.get_running_loop()
    finished: asyncio.Future[_Outcome[Result]] = loop.create_future()

    def finish(outcome: _Outcome[Result]) -> None:
        if not finished.done():
            finished.set_result(outcome)

    def target() -> None:
        _call_soon(loop, finish, _Outcome(lambda: work(cancel)))

    try:
        _start(target, cancel)
        outcome = await finished
    except BaseException:  # the task is cancelled, or nobody runs it any more
        cancel.cancel()
        raise
    return outcome.get()


def _call_soon(loop: asyncio.AbstractEventLoop, call: Callable[..., None], *arguments: Any) -> None:
    try:
        loop.call_soon_threadsafe(call, *arguments)
    except RuntimeError:
        if not loop.is_closed():  # a loop that is gone waits for nothing
            raise


class _Stream:
    """What both kinds of stream have. ``completion`` is there once the last piece has come."""

    def __init__(self, work: StreamWork) -> None:
        self._cancel = _core.CancelSource()
        self._completion: Answer | None = None
        self._ended = False
        self._process = os.getpid()
        cancel, put = self._cancel, self._put()

        def target() -> None:
            # Not a method: the thread must not keep alive a stream that nobody reads any more.
            put(_Outcome(lambda: work(cancel, put)))

        _start(target, cancel)

    def _put(self) -> Callable[[str | _Outcome[dict[str, Any]]], None]:
        """Hands a piece, and at last the outcome, to whoever waits; called on any thread."""
        raise NotImplementedError

    def _is_over(self) -> bool:
        """Whether all has been read."""
        if self._process != os.getpid():
            raise RuntimeError(
                "the stream was opened before fork(), and its answer goes to the parent process: "
                "open another one in this process"
            )
        return self._ended

    def _take(self, item: str | _Outcome[dict[str, Any]]) -> str | None:
        """A piece, or None at the end; raises what the call raised."""
        if isinstance(item, str):
            return item
        self._ended = True
        self._completion = cast(Answer, item.get())
        return None

    @property
    def completion(self) -> Answer:
        """The whole answer, as without streaming."""
        if self._completion is None:
            raise RuntimeError(
                "the stream has not come to its end, where the answer is complete: read it to the "
                "last piece"
            )
        return self._completion

    def close(self) -> None:
        """Stops the answer, if it has not ended."""
        self._ended = True
        self._cancel.cancel()

    def __del__(self) -> None:
        self._cancel.cancel()


class TextStream(_Stream):
    """An answer as it comes: iterate over its pieces, then look at ``completion``.

    What goes wrong is raised by the iteration, after the pieces that had come. Use it as a context
    manager, or call ``close``, to stop early.
    """

    def _put(self) -> Callable[[str | _Outcome[dict[str, Any]]], None]:
        self._items: queue.SimpleQueue[str | _Outcome[dict[str, Any]]] = queue.SimpleQueue()
        return self._items.put

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._is_over():
            raise StopIteration
        try:
            item = self._items.get()
        except BaseException:  # Ctrl-C
            self.close()
            raise
        piece = self._take(item)
        if piece is None:
            raise StopIteration
        return piece

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class AsyncTextStream(_Stream):
    """An answer as it comes, for ``async for``; otherwise as ``TextStream``."""

    def _put(self) -> Callable[[str | _Outcome[dict[str, Any]]], None]:
        loop = asyncio.get_running_loop()
        items = self._items = asyncio.Queue[str | _Outcome[dict[str, Any]]]()
        return lambda item: _call_soon(loop, items.put_nowait, item)

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        if self._is_over():
            raise StopAsyncIteration
        try:
            item = await self._items.get()
        except BaseException:
            self.close()
            raise
        piece = self._take(item)
        if piece is None:
            raise StopAsyncIteration
        return piece

    async def __aenter__(self: Self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
