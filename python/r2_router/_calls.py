"""Waits for long native calls: with Ctrl-C, from asyncio, and as streams.

Each call runs on a separate thread, so that the caller's stays free for signals or the event loop.
A caller that stops waiting cancels the call. So does the end of the program, which then waits for
the threads: a running thread would abort the process.
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

#: Native work, called with its cancellation.
Work = Callable[[_core.CancelSource], Result]
#: Called with the chunks of a text as they arrive.
OnText = Callable[[str], None]
#: Native work for an answer, which passes its chunks to a callback if there is one.
StreamWork = Callable[[_core.CancelSource, OnText | None], dict[str, Any]]


class _Outcome(Generic[Result]):
    """The outcome of a call: its result or its exception."""

    def __init__(self, work: Callable[[], Result]) -> None:
        self._result: Result | None = None
        self._error: BaseException | None = None
        try:
            self._result = work()
        except BaseException as error:  # raised again in the waiting thread
            self._error = error

    def get(self) -> Result:
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]


#: The calls in progress, by thread.
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


# The parent's threads do not exist in a child process.
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
    except BaseException:  # the task was cancelled or abandoned
        cancel.cancel()
        raise
    return outcome.get()


def _call_soon(loop: asyncio.AbstractEventLoop, call: Callable[..., None], *arguments: Any) -> None:
    try:
        loop.call_soon_threadsafe(call, *arguments)
    except RuntimeError:
        if not loop.is_closed():  # a closed loop has no waiters
            raise


class _Stream:
    """Base of both kinds of stream. ``completion`` is available after the last chunk."""

    def __init__(self, work: StreamWork) -> None:
        self._cancel = _core.CancelSource()
        self._completion: Answer | None = None
        self._ended = False
        self._process = os.getpid()
        cancel, put = self._cancel, self._put()

        def target() -> None:
            # Not a method: the thread must not keep an abandoned stream alive.
            put(_Outcome(lambda: work(cancel, put)))

        _start(target, cancel)

    def _put(self) -> Callable[[str | _Outcome[dict[str, Any]]], None]:
        """Passes a chunk, and finally the outcome, to the reader; called on any thread."""
        raise NotImplementedError

    def _is_over(self) -> bool:
        """Whether the stream has been read to the end."""
        if self._process != os.getpid():
            raise RuntimeError(
                "the stream was opened before fork(), and its answer goes to the parent process: "
                "open another one in this process"
            )
        return self._ended

    def _take(self, item: str | _Outcome[dict[str, Any]]) -> str | None:
        """A chunk, or None at the end; raises what the call raised."""
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
                "the stream has not ended: the answer is complete after its last chunk"
            )
        return self._completion

    def close(self) -> None:
        """Cancels the answer if it has not ended."""
        self._ended = True
        self._cancel.cancel()

    def __del__(self) -> None:
        self._cancel.cancel()


class TextStream(_Stream):
    """A streamed answer: iterate over its chunks, then read ``completion``.

    The iteration raises errors after the chunks received before them. Use it as a context manager,
    or call ``close``, to stop early.
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
    """A streamed answer for ``async for``; otherwise like ``TextStream``."""

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
