"""Routers that have called servers, in processes that fork: each process gets its own answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from fault_server import FaultServer

# What the scripts share: a router of a server that answers with the query, and a way to fork.
_COMMON = """
import asyncio, json, os, sys, threading, time
import r2_router
from r2_router import R2Router

native, released, chat, embeddings, ca_file = sys.argv[1:]
answers = R2Router.from_pretrained(native, llm_api_base=chat, ca_file=ca_file or None)
router = R2Router.from_pretrained(
    released, embed_url=embeddings, cache_bytes=1 << 22, ca_file=ca_file or None
) if released else None
parent = os.getpid()

def ask(query):
    got = answers.generate(query, "small", 20)["response"]
    assert got == query, f"asked {query!r}, got {got!r}"

def ask_in_pieces(query):
    stream = answers.generate(query, "small", 20, stream=True)
    got = "".join(stream)
    assert got == query == stream.completion["response"], f"asked {query!r}, got {got!r}"

def ask_async(query):
    async def both():
        first, second = f"{query} first", f"{query} second"
        async def pieces():
            stream = await answers.agenerate(second, "small", 20, stream=True)
            return "".join([piece async for piece in stream])
        got, joined = await asyncio.gather(answers.agenerate(first, "small", 20), pieces())
        assert got["response"] == first and joined == second
    asyncio.run(both())

def embed(query):
    if router is None: return
    texts = [query, "cached text", query + "!"]
    got = router.embed(texts)
    # Made by another encoder, which shares nothing with the router's.
    alone = r2_router._core.HttpEncoder(
        r2_router._core.Endpoint(embeddings, None, ca_file), "m", router.dimension, 0
    ).embed(texts, r2_router._core.CancelSource())
    assert (got == alone).all(), "a wrong embedding"

def check(name):
    ask(f"{name}: one"); ask_in_pieces(f"{name}: two"); embed(f"{name}: three")
    ask_async(f"{name}: four"); ask(f"{name}: five")

def fork(body):
    child = os.fork()
    if child == 0:
        status = 1
        try:
            body()
            status = 0
        finally:
            sys.stdout.flush()
            os._exit(status)
    return child

def wait(*children):
    for child in children:
        assert os.waitpid(child, 0)[1] == 0, "a child failed"
"""

_WORKERS = """
check("parent")
for first in range(0, 200, 20):
    children = []
    for number in range(first, first + 20):
        def work():
            check(f"child {number}")
            if number % 4 == 3:
                wait(fork(lambda: check(f"grandchild {number}")))
        children.append(fork(work))
    wait(*children)
check("parent")
"""

# Threads whose calls are under way at each fork, and pieces that are not read yet.
_BUSY = """
problems, stop = [], threading.Event()
def again_and_again(work):
    number = 0
    while not stop.is_set():
        number += 1
        try:
            work(f"parent: {number}")
        except BaseException as error:
            problems.append(repr(error))
            raise
threads = [
    threading.Thread(target=again_and_again, args=[work]) for work in (ask, ask_in_pieces, embed)
]
for thread in threads: thread.start()
unread = answers.generate("parent: a long one " + "word " * 50, "small", 20, stream=True)
first = next(unread)
for round in range(10):
    wait(*[fork(lambda: check(f"child {round}.{number}")) for number in range(20)])
stop.set()
for thread in threads: thread.join()
assert not problems, problems
assert first + "".join(unread) == "parent: a long one " + "word " * 50
"""

_STREAM_OF_THE_PARENT = """
stream = answers.generate("parent: " + "word " * 50, "small", 20, stream=True)
pieces = [next(stream)]
def read_it():
    try:
        next(stream)
    except RuntimeError as error:
        assert "opened before fork()" in str(error), error
    else:
        raise AssertionError("a child read the parent's stream")
    stream.close()
def drop_it():
    global stream
    stream.close()
    del stream
    check("child")
def exit_with_it():
    try:
        sys.exit(5)
    finally:
        check("child")
wait(fork(read_it), fork(drop_it))
child = os.fork()
if child == 0: sys.exit(5)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5
assert "".join([*pieces, *stream]) == "parent: " + "word " * 50
"""

_MULTIPROCESSING = """
import concurrent.futures, multiprocessing
check("parent")
def work(number):
    check(f"child {os.getpid()}")
    return number
context = multiprocessing.get_context("fork")
with context.Pool(4) as pool:
    assert pool.map(work, range(40), chunksize=1) == list(range(40))
def fork_again(number):
    wait(fork(lambda: check(f"grandchild {os.getpid()}")))
with concurrent.futures.ProcessPoolExecutor(4, mp_context=context) as executor:
    list(executor.map(fork_again, range(20)))
process = context.Process(target=work, args=[1])
process.start(); process.join()
assert process.exitcode == 0
check("parent")
"""


@pytest.mark.parametrize("kind", ["http", "good"])
@pytest.mark.parametrize(
    "script",
    [_WORKERS, _BUSY, _STREAM_OF_THE_PARENT, _MULTIPROCESSING],
    ids=["workers", "busy", "stream", "multiprocessing"],
)
def test_children_get_their_own_answers(
    script: str, kind: str, server: FaultServer, native_folder: Path, released_folder: Path
) -> None:
    port = server.listen(kind)
    scheme = "http" if kind == "http" else "https"
    chat = server.script([[{"service": {"text": "{query}", "pause": 0.001}}]])
    embeddings = server.script([[{"service": {}}]])
    arguments = [
        str(native_folder),
        str(released_folder),
        f"{scheme}://127.0.0.1:{port}{chat}",
        f"{scheme}://127.0.0.1:{port}{embeddings}",
        "" if kind == "http" else server.ca_file,
    ]
    result = subprocess.run(
        [sys.executable, "-c", _COMMON + script, *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"no_proxy": "*"},
        timeout=600,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    users: dict[int, set[str]] = defaultdict(set)
    for request in server.requests(chat):
        message: dict[str, Any] = json.loads(request.body)["messages"][-1]
        users[request.connection].add(message["content"].split(":")[0])
    assert len(users) > 1
    shared = {connection: names for connection, names in users.items() if len(names) > 1}
    assert not shared, "connections that several processes used"
