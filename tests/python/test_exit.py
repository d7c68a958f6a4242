"""Programs that end while calls are under way: by their own exit status, with their files whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from fault_server import FaultServer

# Every script leaves text in the buffers of standard output and of a file.
_COMMON = """
import asyncio, atexit, concurrent.futures, multiprocessing, os, signal, sys, threading, time
result = open("result.txt", "w")
result.write("important\\n")
def at_exit():
    with open("atexit.txt", "w") as file:
        file.write("written at exit\\n")
atexit.register(at_exit)
import numpy as np
from r2_router import R2Router
def at_end(): print("end")
atexit.register(at_end)

native, released, url = sys.argv[1:]
router = R2Router.from_pretrained(native, llm_api_base=url)
def ask(**settings): return router.generate("query", "small", 20, **settings)
def ask_async(**settings): return router.agenerate("query", "small", 20, **settings)
def embed(): return R2Router.from_pretrained(released, embed_url=url).route_text("query")
def in_background(work):
    def call():
        try: work()
        except BaseException: pass
    threading.Thread(target=call, daemon=True).start()
def ready():
    "Until the server has the request: the test creates this file."
    while not os.path.exists("requested"): time.sleep(0.005)
def alarm():
    def ring(*_): raise TimeoutError("too long")
    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
"""


class Way(NamedTuple):
    """A way to give up a call."""

    script: str
    status: int = 3
    #: What the server does with a request: nothing; or a piece, and then nothing.
    begins: bool = False
    #: How often Ctrl-C is pressed once the server has the request.
    interrupts: int = 0
    #: Requests that come before "requested" is created.
    requests: int = 1
    #: In standard error, which is otherwise empty.
    complaint: str = ""
    #: A daemon thread that still runs keeps the script's globals alive: Python itself then loses
    #: what a global file has in its buffer.
    loses_buffers: bool = False


_STOP = "sys.exit(3)\n"

_WAYS = {
    # Streams.
    "break": Way("for piece in ask(stream=True): break\n" + _STOP, begins=True),
    "exit in a stream": Way("for piece in ask(stream=True): sys.exit(3)\n", begins=True),
    "error in a stream": Way(
        "for piece in ask(stream=True): raise ValueError('mine')\n",
        status=1,
        begins=True,
        complaint="ValueError: mine",
    ),
    "a global stream": Way("stream = ask(stream=True)\nnext(stream)\n" + _STOP, begins=True),
    "a stream that nobody reads": Way("stream = ask(stream=True)\nready()\n" + _STOP),
    "a stream that is dropped": Way("ask(stream=True)\n" + _STOP, requests=0),
    "a closed stream": Way("with ask(stream=True) as stream: next(stream)\n" + _STOP, begins=True),
    "a generator over a stream": Way(
        "def pieces():\n"
        "    with ask(stream=True) as stream: yield from stream\n"
        "kept = pieces()\nnext(kept)\n" + _STOP,
        begins=True,
    ),
    "many streams": Way(
        "streams = [ask(stream=True) for _ in range(20)]\n"
        "for stream in streams: next(stream)\n" + _STOP,
        begins=True,
    ),
    "a stream in a cycle": Way(
        "class Node: pass\n"
        "node = Node(); node.me = node; node.stream = ask(stream=True)\n"
        "next(node.stream); del node\n" + _STOP,
        begins=True,
    ),
    # Ctrl-C and signals.
    "Ctrl-C in a call": Way("try: ask()\nexcept KeyboardInterrupt: sys.exit(3)\n", interrupts=1),
    "Ctrl-C in a call, unhandled": Way(
        "ask()\n", status=-signal.SIGINT, interrupts=1, complaint="KeyboardInterrupt"
    ),
    "Ctrl-C in a stream": Way(
        "try:\n    for piece in ask(stream=True): pass\nexcept KeyboardInterrupt: sys.exit(3)\n",
        begins=True,
        interrupts=1,
    ),
    "Ctrl-C between pieces": Way(
        "try:\n    for piece in ask(stream=True): time.sleep(60)\n"
        "except KeyboardInterrupt: sys.exit(3)\n",
        begins=True,
        interrupts=1,
    ),
    "Ctrl-C in an embedding": Way(
        "try: embed()\nexcept KeyboardInterrupt: sys.exit(3)\n", interrupts=1
    ),
    "Ctrl-C in asyncio": Way(
        "try: asyncio.run(ask_async())\nexcept KeyboardInterrupt: sys.exit(3)\n", interrupts=1
    ),
    "alarm in a call": Way("alarm()\ntry: ask()\nexcept TimeoutError: sys.exit(3)\n"),
    "alarm in a stream": Way(
        "alarm()\ntry:\n    for piece in ask(stream=True): pass\n"
        "except TimeoutError: sys.exit(3)\n",
        begins=True,
    ),
    "alarm in an embedding": Way("alarm()\ntry: embed()\nexcept TimeoutError: sys.exit(3)\n"),
    "exit in a signal handler": Way(
        "signal.signal(signal.SIGINT, lambda *_: sys.exit(3))\nask()\n", interrupts=1
    ),
    # asyncio.
    "wait_for": Way(
        "async def main():\n"
        "    try: await asyncio.wait_for(ask_async(), 0.3)\n"
        "    except asyncio.TimeoutError: pass\n"
        "asyncio.run(main())\n" + _STOP
    ),
    "wait_for an embedding": Way(
        "async def main():\n"
        "    router = R2Router.from_pretrained(released, embed_url=url)\n"
        "    try: await asyncio.wait_for(router.aroute_text('query'), 0.3)\n"
        "    except asyncio.TimeoutError: pass\n"
        "asyncio.run(main())\n" + _STOP
    ),
    "break out of an asynchronous stream": Way(
        "async def main():\n"
        "    async for piece in await ask_async(stream=True): break\n"
        "asyncio.run(main())\n" + _STOP,
        begins=True,
    ),
    "wait_for a piece": Way(
        "async def main():\n"
        "    stream = await ask_async(stream=True)\n"
        "    await anext(stream)\n"
        "    try: await asyncio.wait_for(anext(stream), 0.3)\n"
        "    except asyncio.TimeoutError: pass\n"
        "asyncio.run(main())\n" + _STOP,
        begins=True,
    ),
    "a task that is cancelled": Way(
        "async def main():\n"
        "    task = asyncio.create_task(ask_async())\n"
        "    await asyncio.sleep(0.3)\n"
        "    task.cancel()\n"
        "asyncio.run(main())\n" + _STOP
    ),
    "a task that is left": Way(
        "async def main():\n"
        "    global task\n"
        "    task = asyncio.create_task(ask_async())\n"
        "    await asyncio.to_thread(ready)\n"
        "asyncio.run(main())\n" + _STOP
    ),
    "a closed loop": Way(
        "loop = asyncio.new_event_loop()\n"
        "task = loop.create_task(ask_async())\n"
        "loop.run_until_complete(asyncio.to_thread(ready))\n"
        "task._log_destroy_pending = False\n"
        "loop.close()\n" + _STOP
    ),
    "a coroutine that is closed": Way(
        "call = None\n"
        "async def main():\n"
        "    global call\n"
        "    call = ask_async()\n"
        "    call.send(None)\n"
        "    await asyncio.to_thread(ready)\n"
        "    call.close()\n"
        "asyncio.run(main())\n" + _STOP
    ),
    "gather": Way(
        "async def fail():\n"
        "    await asyncio.to_thread(ready)\n"
        "    raise ValueError('mine')\n"
        "async def main(): await asyncio.gather(fail(), *[ask_async() for _ in range(8)])\n"
        "try: asyncio.run(main())\n"
        "except ValueError: sys.exit(3)\n",
        requests=8,
    ),
    # Threads.
    "a daemon thread in a call": Way("in_background(ask)\nready()\n" + _STOP, loses_buffers=True),
    "a daemon thread in a stream": Way(
        "in_background(lambda: list(ask(stream=True)))\nready()\n" + _STOP,
        begins=True,
        loses_buffers=True,
    ),
    "a daemon thread in an embedding": Way(
        "in_background(embed)\nready()\n" + _STOP, loses_buffers=True
    ),
    "a daemon thread that asks again and again": Way(
        "def work():\n"
        "    while True:\n"
        "        try: ask(timeout=0.02)\n"
        "        except Exception: pass\n"
        "for _ in range(4): in_background(work)\n"
        "ready()\n" + _STOP,
        loses_buffers=True,
    ),
    "a daemon thread that streams again and again": Way(
        "def work():\n"
        "    while True:\n"
        "        for piece in ask(stream=True): break\n"
        "for _ in range(4): in_background(work)\n"
        "ready()\n" + _STOP,
        begins=True,
        loses_buffers=True,
    ),
    "daemon threads that route": Way(
        "rows = np.random.default_rng(1).standard_normal((20_000, router.dimension))\n"
        "def work():\n"
        "    while True: router.route_batch(rows), router.route_text('query')\n"
        "for _ in range(4): in_background(work)\n"
        "time.sleep(0.05)\n" + _STOP,
        requests=0,
        loses_buffers=True,
    ),
    "daemon threads that load": Way(
        "def work():\n"
        "    while True: R2Router.from_pretrained(native)\n"
        "for _ in range(4): in_background(work)\n"
        "time.sleep(0.05)\n" + _STOP,
        requests=0,
        loses_buffers=True,
    ),
    "an executor that is not waited for": Way(
        "executor = concurrent.futures.ThreadPoolExecutor()\n"
        "futures = [executor.submit(ask, timeout=1) for _ in range(3)]\n"
        "ready()\n"
        "executor.shutdown(wait=False, cancel_futures=True)\n" + _STOP
    ),
    "a future's timeout": Way(
        "with concurrent.futures.ThreadPoolExecutor() as executor:\n"
        "    try: executor.submit(ask, timeout=1).result(timeout=0.2)\n"
        "    except concurrent.futures.TimeoutError: pass\n" + _STOP
    ),
    "an executor's streams": Way(
        "executor = concurrent.futures.ThreadPoolExecutor()\n"
        "streams = [executor.submit(ask, stream=True).result() for _ in range(3)]\n" + _STOP,
        begins=True,
    ),
    # The end itself.
    "a call at exit": Way(
        "def last():\n"
        "    try: ask(timeout=0.2)\n"
        "    except TimeoutError: pass\n"
        "atexit.register(last)\n" + _STOP
    ),
    "a stream at exit": Way(
        "def last():\n"
        "    global stream\n"
        "    stream = ask(stream=True)\n"
        "    next(stream)\n"
        "atexit.register(last)\n" + _STOP,
        begins=True,
    ),
    "an unhandled error": Way(
        "stream = ask(stream=True)\nnext(stream)\nraise ValueError('mine')\n",
        status=1,
        begins=True,
        complaint="ValueError: mine",
    ),
    "no exit status": Way("stream = ask(stream=True)\nnext(stream)\n", status=0, begins=True),
    "a child that exits": Way(
        "stream = ask(stream=True)\nnext(stream)\n"
        "sys.stdout.flush(); result.flush()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    atexit.unregister(at_exit); atexit.unregister(at_end); sys.exit(4)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 4\n" + _STOP,
        begins=True,
    ),
    "a child in multiprocessing": Way(
        "def work():\n"
        "    stream = ask(stream=True)\n"
        "    next(stream)\n"
        "    sys.exit(4)\n"
        "child = multiprocessing.get_context('fork').Process(target=work)\n"
        "sys.stdout.flush(); result.flush()\n"
        "child.start(); child.join()\n"
        "assert child.exitcode == 4\n" + _STOP,
        begins=True,
    ),
}

_BEGINNING = (
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    'data: {"choices": [{"index": 0, "delta": {"content": "text "}}]}\n\n'
)


@pytest.mark.parametrize("way", _WAYS.values(), ids=list(_WAYS))
def test_a_program_ends_as_it_means_to(
    way: Way, server: FaultServer, native_folder: Path, released_folder: Path, tmp_path: Path
) -> None:
    steps: list[dict[str, Any]] = [{"wait": 300}]
    if way.begins:
        steps.insert(0, {"send": _BEGINNING})
    path = server.script([steps])
    command = [
        sys.executable,
        "-c",
        _COMMON + way.script,
        str(native_folder),
        str(released_folder),
        server.url(path),
    ]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=os.environ | {"no_proxy": "*"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        deadline = time.monotonic() + 60
        while len(server.requests(path)) < way.requests and program.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        (tmp_path / "requested").touch()
        for _ in range(way.interrupts):
            program.send_signal(signal.SIGINT)
        out, err = program.communicate(timeout=60)
    assert (program.returncode, out) == (way.status, "end\n"), err
    if way.complaint:
        assert way.complaint in err.splitlines()[-1]
    else:
        assert err == ""
    if not way.loses_buffers:
        assert (tmp_path / "result.txt").read_text() == "important\n"
    assert (tmp_path / "atexit.txt").read_text() == "written at exit\n"
