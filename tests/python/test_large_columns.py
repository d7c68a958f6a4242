"""Columns whose values take 2 GiB or more in one chunk, where 32 bits end.

Most of what they hold is missing rows, whose memory is never touched. R2ROUTER_LONG=1 also tests
columns of which every row is there, which takes 8 GB and minutes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from test_table import expect_texts

from r2_router import R2Router

pyarrow = pytest.importorskip("pyarrow")

LIMIT = 2**31
DIMENSION = 1024
ROWS = 530_000  # of 4 KiB: more than 2 GiB
KINDS = ["string", "large_string"]

long = pytest.mark.skipif(
    not os.environ.get("R2ROUTER_LONG"), reason="takes 8 GB and minutes: set R2ROUTER_LONG=1"
)


def bits(present: Sequence[bool]) -> Any:
    return pyarrow.py_buffer(np.packbits(present, bitorder="little"))


def text_column(kind: str, lengths: Any, data: Any, present: Any = None) -> Any:
    """One chunk, whose offsets are of 32 bits or, in large strings, of 64."""
    offsets = np.zeros(len(lengths) + 1, np.int64 if kind == "large_string" else np.int32)
    np.cumsum(lengths, out=offsets[1:])
    buffers = [
        None if present is None else bits(present),
        pyarrow.py_buffer(offsets),
        pyarrow.py_buffer(data),
    ]
    return pyarrow.Array.from_buffers(getattr(pyarrow, kind)(), len(lengths), buffers)


def vector_column(vectors: Any, present: Any = None) -> Any:
    buffers = [None if present is None else bits(present)]
    kind = pyarrow.list_(pyarrow.float32(), vectors.shape[1])
    children = [pyarrow.array(vectors.reshape(-1))]
    return pyarrow.Array.from_buffers(kind, len(vectors), buffers, children=children)


def texts_of(count: int) -> list[str]:
    random = np.random.default_rng(3)
    words = ["why", "prove", "Goethe", "17", "equation", "naïve", "translate", "x²"]
    return [
        f"{i} " + " ".join(random.choice(words, random.integers(500, 800))) for i in range(count)
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_texts_far_apart(kind: str, lexical_router: R2Router) -> None:
    texts: list[Any] = texts_of(6)
    encoded = [text.encode() for text in texts]
    size = LIMIT - 1 if kind == "string" else LIMIT + LIMIT // 2  # as many bytes as there can be
    gap = size - sum(map(len, encoded))
    data = np.zeros(size, np.uint8)
    front, back = b"".join(encoded[:3]), b"".join(encoded[3:])
    data[: len(front)] = np.frombuffer(front, np.uint8)
    data[-len(back) :] = np.frombuffer(back, np.uint8)
    texts.insert(3, None)
    lengths = [gap if text is None else len(text.encode()) for text in texts]
    column = text_column(kind, lengths, data, [text is not None for text in texts])
    routed = lexical_router.route_table(pyarrow.table({"prompt": column}), text="prompt")
    expect_texts(lexical_router, texts, routed.to_pydict())


def test_embeddings_far_apart(released_router: R2Router) -> None:
    vectors = np.zeros((ROWS, DIMENSION), np.float32)
    assert vectors.nbytes > LIMIT
    rows = [0, 1, ROWS // 2, ROWS - 2, ROWS - 1]
    vectors[rows] = np.random.default_rng(4).standard_normal((len(rows), DIMENSION), np.float32)
    present = np.zeros(ROWS, bool)
    present[rows] = True
    table = pyarrow.table({"vec": vector_column(vectors, present)})
    assert table["vec"].num_chunks == 1
    routed = released_router.route_table(table, embedding="vec", lambda_val=0.9)
    for row in rows:
        decision = released_router.route(vectors[row], 0.9)
        assert routed["model"][row].as_py() == decision["model"]
        assert routed["predicted_quality"][row].as_py() == decision["predicted_quality"]
    assert routed["reason"].to_pylist().count("null") == ROWS - len(rows)


def expect_repeated(routed: Any, first: dict[str, list[Any]]) -> None:
    """The rows repeat the first ones."""
    for name in ("model", "budget", "predicted_quality", "predicted_cost_usd", "reason"):
        column = routed[name].combine_chunks()
        expected = pyarrow.array(first[name], column.type)
        order = np.resize(np.arange(len(expected)), len(column))
        assert column.equals(expected.take(order)), name


@long
@pytest.mark.parametrize("kind", KINDS)
def test_texts_in_every_row(kind: str, lexical_router: R2Router) -> None:
    texts = texts_of(1000)
    encoded = [text.encode() for text in texts]
    block = np.frombuffer(b"".join(encoded), np.uint8)
    size = LIMIT - 1 if kind == "string" else LIMIT + LIMIT // 8
    times = size // len(block)
    lengths = np.tile([len(text) for text in encoded], times)
    column = text_column(kind, lengths, np.tile(block, times))
    assert LIMIT - column.nbytes < len(block)
    routed = lexical_router.route_table(pyarrow.table({"prompt": column}), text="prompt")
    expect_repeated(routed, lexical_router.route_table({"prompt": texts}, text="prompt"))


@long
def test_embeddings_in_every_row(released_router: R2Router) -> None:
    first = np.random.default_rng(5).standard_normal((1000, DIMENSION)).astype(np.float32)
    column = vector_column(np.tile(first, (ROWS // 1000, 1)))
    assert column.nbytes > LIMIT
    routed = released_router.route_table(pyarrow.table({"vec": column}), embedding="vec")
    expect_repeated(routed, released_router.route_table({"vec": first}, embedding="vec"))
