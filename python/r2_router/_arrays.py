"""Converts arguments to the arrays that the native library reads."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Floats",
    "as_embedding",
    "as_embeddings",
    "as_floats",
    "as_input_tokens",
    "as_rows",
    "as_thread_count",
]

#: A C-contiguous array of float32 or float64.
Floats = NDArray[Any]

_NATIVE = (np.dtype(np.float32), np.dtype(np.float64))


def as_embedding(values: Any, dimension: int) -> Floats:
    """One embedding, (d,); not copied if it is a contiguous float32 or float64 array."""
    if type(values) is np.ndarray and values.ndim == 1 and values.dtype in _NATIVE:
        flags = values.flags
        if flags.c_contiguous and flags.aligned:
            return values  # fast path for the usual case
    array = as_floats(values, "the embedding")
    if array.ndim == 2 and array.shape[0] == 1:
        array = array[0]  # a row as embed() returns it
    if array.ndim != 1:
        hint = "; route_batch() takes many" if array.ndim == 2 else ""
        raise ValueError(
            f"the embedding has the shape {array.shape}: expected one of shape ({dimension},){hint}"
        )
    return array


def as_embeddings(values: Any, dimension: int, what: str = "the embeddings") -> Floats:
    """Many embeddings, (N, d); not copied if they are a contiguous float32 or float64 array."""
    array = as_floats(values, what)
    if array.shape == (0,):
        return array.reshape(0, dimension)  # an empty list
    if array.ndim != 2 or array.shape[1] != dimension:
        hint = "; for one embedding use route(), or embeddings[None]" if array.ndim == 1 else ""
        raise ValueError(
            f"{what} have the shape {array.shape}: expected (N, {dimension}), an embedding a row, "
            f"made by the encoder that the checkpoint was trained with{hint}"
        )
    return array


def as_rows(values: Any) -> NDArray[np.float32]:
    """Embeddings of any length as an (N, d) array of float32."""
    rows = np.ascontiguousarray(as_floats(values, "the embeddings"), np.float32)
    if rows.ndim != 2:
        raise ValueError(
            f"the embeddings have the shape {rows.shape}: expected (N, d), a row for each query"
        )
    return rows


def as_input_tokens(values: Any, count: int) -> NDArray[np.int64]:
    """One number of tokens for each of ``count`` queries."""
    array = np.asarray(values)
    if array.size > 0 and array.dtype.kind not in "iu":
        raise TypeError(
            f"input_tokens is an array of {array.dtype}: expected whole numbers; use .astype(int)"
        )
    if array.shape != (count,):
        raise ValueError(
            f"input_tokens has the shape {array.shape}: expected ({count},), one number for each "
            "query, or an int for all"
        )
    if array.dtype.kind == "u" and array.size > 0 and array.max() > np.iinfo(np.int64).max:
        raise ValueError("input_tokens has a number above 2**63 - 1: expected numbers of tokens")
    return array.astype(np.int64, copy=False)


def as_thread_count(threads: Any) -> int:
    """A number of threads for the native library, where 0 means all cores; None is 0."""
    if threads is None:
        return 0
    if isinstance(threads, bool) or not isinstance(threads, Integral):
        raise TypeError(f"threads is {threads!r}: expected a number of threads, or None")
    if not 1 <= int(threads) < 2**31:
        raise ValueError(
            f"threads is {threads!r}: expected a number of threads of 1 or more, or None for all "
            "cores"
        )
    return int(threads)


def as_floats(values: Any, what: str) -> Floats:
    """Numbers as a C-contiguous array; not copied if they are one of float32 or float64."""
    if isinstance(values, (str, bytes)):
        raise TypeError(f"{what} is text: expected numbers; route_text() takes text")
    try:
        array = np.asarray(values)
    except ValueError:  # NumPy rejects rows of unequal lengths
        raise ValueError(f"{what} has rows of unequal lengths: expected equal ones") from None
    if array.dtype.kind == "O" and hasattr(values, "__arrow_c_stream__"):
        array = _arrow_rows(values, what)
    if array.dtype not in _NATIVE:
        # NumPy would also convert None and numeric text.
        if array.size > 0 and array.dtype.kind not in "iuf":
            raise TypeError(
                f"{what} has values of the type {_element_type(array)}: expected numbers, "
                "best a NumPy array of float32 or float64"
            )
        array = array.astype(np.float64)
    return np.require(array, requirements=("C", "A"))


def _arrow_rows(values: Any, what: str) -> NDArray[Any]:
    """A column of lists of equal lengths as a matrix, without a copy if it is one chunk."""
    import pyarrow

    column = pyarrow.chunked_array(values)
    if not pyarrow.types.is_nested(column.type):
        return np.asarray(values)
    if column.null_count > 0:
        raise ValueError(f"{what} has missing rows: route_table() gives them a reason instead")
    lists = column.combine_chunks()
    if isinstance(lists, pyarrow.ChunkedArray):  # of no chunks
        return np.empty((0,))
    if pyarrow.types.is_fixed_size_list(column.type):
        width = column.type.list_size
    else:
        widths = np.unique(lists.value_lengths())
        if len(widths) > 1:
            raise ValueError(f"{what} has rows of unequal lengths: expected equal ones")
        width = int(widths[0]) if len(widths) else 0
    numbers = lists.flatten()
    if numbers.null_count > 0:
        raise ValueError(f"{what} has missing numbers: expected all of them")
    return np.asarray(numbers).reshape(len(lists), width) if width else np.empty((0,))


def _element_type(array: NDArray[Any]) -> str:
    if array.dtype.kind != "O":
        return str(array.dtype)
    return " or ".join(sorted({type(value).__name__ for value in array.flat}))
