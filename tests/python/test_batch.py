"""route_batch: the same choices as one by one, in columns."""

from __future__ import annotations

import copy
import pickle
import signal
from typing import Any

import numpy as np
import pytest

from r2_router import UNLIMITED, DecisionBatch, R2Router, _core


def rows(count: int, dimension: int = 4) -> np.ndarray:
    return np.random.default_rng(11).standard_normal((count, dimension))


def without_options(decision: Any) -> dict[str, Any]:
    return {key: value for key, value in decision.items() if key != "all_options"}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("count", [1, 2, 97, 5000])
def test_the_same_as_one_by_one(count: int, dtype: Any, small_router: R2Router) -> None:
    embeddings = rows(count).astype(dtype)
    tokens = np.arange(count)
    batch = small_router.route_batch(embeddings, 0.9, tokens)
    assert len(batch) == count
    step = max(1, count // 100)
    decisions = batch.to_dicts()
    for i in range(0, count, step):
        single = small_router.route(embeddings[i], 0.9, int(tokens[i]))
        assert decisions[i] == without_options(single)
    last = small_router.route(embeddings[-1], 0.9, count - 1)
    assert decisions[-1] == without_options(last)


@pytest.mark.parametrize("threads", [None, 1, 3])
def test_any_number_of_threads(threads: int | None, small_router: R2Router) -> None:
    embeddings = rows(9000)
    batch = small_router.route_batch(embeddings, 0.9, threads=threads)
    single = [small_router.route(embeddings[i], 0.9) for i in range(0, 9000, 97)]
    assert batch[::97].to_dicts() == [without_options(decision) for decision in single]


@pytest.mark.parametrize("threads", [0, -1, 2**40])
def test_wrong_numbers_of_threads(threads: int, small_router: R2Router) -> None:
    with pytest.raises(ValueError, match="1 or more"):
        small_router.route_batch(rows(2), threads=threads)
    with pytest.raises(TypeError, match="number of threads"):
        small_router.route_batch(rows(2), threads=1.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["fixed", "list"])
def test_arrow_columns(kind: str, small_router: R2Router) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    embeddings = rows(300).astype(np.float32)
    number = pyarrow.float32()
    kinds = {"fixed": pyarrow.list_(number, 4), "list": pyarrow.list_(number)}
    column = pyarrow.array(embeddings.tolist(), kinds[kind])
    chunks = pyarrow.chunked_array([column.slice(0, 100), column.slice(100)])
    assert small_router.route_batch(chunks) == small_router.route_batch(embeddings)
    part = pyarrow.chunked_array([column.slice(37, 50)])
    assert small_router.route_batch(part) == small_router.route_batch(embeddings[37:87])
    missing = pyarrow.chunked_array([pyarrow.array([[1.0, 2, 3, 4], None], kinds[kind])])
    with pytest.raises(ValueError, match="missing rows"):
        small_router.route_batch(missing)


def test_the_arrow_interface(small_router: R2Router) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    batch = small_router.route_batch(rows(30))
    assert pyarrow.record_batch(batch).to_pydict() == batch.to_arrow().to_pydict()
    assert pyarrow.table(batch).to_pydict() == batch.to_arrow().to_pydict()
    assert pyarrow.record_batch(batch[:0]).num_rows == 0


def test_columns(small_router: R2Router) -> None:
    batch = small_router.route_batch(rows(300), 0.999)
    assert isinstance(batch, DecisionBatch)
    assert batch.models == ("alpha", "beta")
    assert batch.openrouter_ids == ("vendor/alpha", "vendor/beta")
    assert batch.model_index.dtype == np.int32
    assert batch.budget.dtype == np.int64
    assert set(batch.budget.tolist()) <= {10, 300, UNLIMITED}
    for column in (batch.quality, batch.output_tokens, batch.cost_usd, batch.risk):
        assert column.dtype == np.float64
        assert column.shape == (300,)
    limited = batch.budget != UNLIMITED
    assert (batch.output_tokens[limited] == batch.budget[limited]).all()
    assert repr(batch) == "<DecisionBatch of 300 decisions among 2 models>"


def test_one_number_of_input_tokens_for_all(small_router: R2Router) -> None:
    embeddings = rows(20)
    for_all = small_router.route_batch(embeddings, input_tokens=7)
    for_each = small_router.route_batch(embeddings, input_tokens=np.full(20, 7, np.uint16))
    assert (for_all.cost_usd == for_each.cost_usd).all()
    assert for_all.to_dicts() == for_each.to_dicts()


def test_input_tokens_need_not_lie_side_by_side(small_router: R2Router) -> None:
    embeddings, tokens = rows(20), np.arange(0, 40_000, 1000)
    strided = small_router.route_batch(embeddings, input_tokens=tokens[::-2])
    assert (
        strided.to_dicts()
        == small_router.route_batch(embeddings, 0.99999, tokens[::-2].copy()).to_dicts()
    )


def test_texts_say_how_long_each_query_is_and_can_be(lexical_router: R2Router) -> None:
    texts = ["short", "as long as a whole sentence with ünï " * 20, "数学" * 9, "x " * 300]
    embeddings = lexical_router.embed(texts)
    # The longest text's bytes alone may cost more than this; the shortest one's do not.
    limits = {"lambda_val": 0.5, "max_cost_usd": 0.003, "available_only": False}
    batch = lexical_router.route_batch(embeddings, texts=texts, **limits)
    one_by_one = lexical_router.route_text(texts, **limits)
    assert batch.to_dicts() == [without_options(decision) for decision in one_by_one]
    assert len({decision["model"] for decision in one_by_one}) > 1
    with pytest.raises(ValueError, match="leave one of them out"):
        lexical_router.route_batch(embeddings, input_tokens=5, texts=texts)
    with pytest.raises(ValueError, match="4 embeddings and 3 texts"):
        lexical_router.route_batch(embeddings, texts=texts[:3])
    with pytest.raises(TypeError, match="query 1 is of the type int"):
        lexical_router.route_batch(embeddings, texts=["a", 1, "b", "c"])  # type: ignore[list-item]


@pytest.mark.parametrize("empty", [[], np.empty((0, 4)), np.empty((0, 4), np.float32)])
def test_no_rows(empty: Any, small_router: R2Router) -> None:
    batch = small_router.route_batch(empty)
    assert len(batch) == 0
    assert batch.to_dicts() == []
    assert batch.risk.shape == (0,)
    with pytest.raises(ValueError, match="lambda"):
        small_router.route_batch(empty, 7.0)


def test_to_pandas(small_router: R2Router) -> None:
    pandas = pytest.importorskip("pandas", reason="needs pandas, of the test extra")
    batch = small_router.route_batch(rows(50), 0.0)
    frame = batch.to_pandas()
    assert list(frame["model"]) == [batch.models[i] for i in batch.model_index]
    for value, budget in zip(frame["budget"], batch.budget, strict=True):
        assert value is pandas.NA if budget == UNLIMITED else value == budget
    assert frame["budget"].isna().any()
    assert (frame["predicted_quality"] == batch.quality).all()
    assert (frame["predicted_cost_usd"] == batch.cost_usd).all()
    assert (frame["risk"] == batch.risk).all()


def test_it_is_a_sequence(small_router: R2Router) -> None:
    batch = small_router.route_batch(rows(7), 0.0)
    options = batch.to_dicts()
    assert len(batch) == 7
    assert list(batch) == options == [batch[i] for i in range(7)]
    assert list(reversed(batch)) == options[::-1]
    assert [batch[i] for i in range(-7, 0)] == options
    for index in (np.int64(3), np.uint8(3), np.array(3)):
        assert batch[index] == options[3]
    assert options[2] in batch
    assert batch.index(options[2]) == options.index(options[2])
    assert {type(value) for value in batch[0].values()} <= {str, int, float}
    for outside in (7, -8, np.int64(7), 2**70):
        with pytest.raises(IndexError, match="the batch has 7 rows"):
            batch[outside]
    with pytest.raises(TypeError, match=r"expected a row number.*columns are attributes"):
        batch["model"]  # type: ignore[call-overload]
    with pytest.raises(IndexError, match="row 0 does not exist"):
        small_router.route_batch([])[0]


def test_parts_of_a_batch(small_router: R2Router) -> None:
    batch = small_router.route_batch(rows(7), 0.0)
    options = batch.to_dicts()
    for part in (slice(None), slice(2, 5), slice(None, None, -1), slice(-2, None), slice(9, 12)):
        assert isinstance(batch[part], DecisionBatch)
        assert batch[part].to_dicts() == options[part]
    best = batch.quality > np.median(batch.quality)
    assert batch[best].to_dicts() == [o for o, keep in zip(options, best, strict=True) if keep]
    assert batch[[5, 0, -1]].to_dicts() == [options[5], options[0], options[6]]
    assert batch[np.argsort(batch.cost_usd)].cost_usd.tolist() == sorted(batch.cost_usd)
    assert len(batch[[]]) == 0


def test_batches_are_compared_and_copied(small_router: R2Router) -> None:
    batch = small_router.route_batch(rows(7), 0.0)
    assert batch == small_router.route_batch(rows(7), 0.0)
    assert batch != small_router.route_batch(rows(7), 1.0)
    assert batch != batch[1:]
    assert batch != batch.to_dicts()
    for twin in (copy.copy(batch), copy.deepcopy(batch), pickle.loads(pickle.dumps(batch))):
        assert twin == batch
    with pytest.raises(TypeError, match="unhashable"):
        hash(batch)


def expected_table(batch: DecisionBatch) -> dict[str, list[Any]]:
    """The columns of a table, in which an unlimited budget is missing."""
    options = batch.to_dicts()
    columns: dict[str, list[Any]] = {key: [o[key] for o in options] for key in options[0]}  # type: ignore[literal-required]
    columns["budget"] = [None if b == "unlimited" else b for b in columns["budget"]]
    return columns


def test_to_polars(small_router: R2Router) -> None:
    polars = pytest.importorskip("polars", reason="needs polars, of the test extra")
    batch = small_router.route_batch(rows(50), 0.0)
    assert batch.to_polars().to_dict(as_series=False) == expected_table(batch)
    empty = small_router.route_batch([]).to_polars()
    assert empty.schema == batch.to_polars().schema
    assert empty.schema["model"] == polars.String


def test_to_arrow(small_router: R2Router) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow, of the test extra")
    batch = small_router.route_batch(rows(50), 0.0)
    assert batch.to_arrow().to_pydict() == expected_table(batch)
    assert pyarrow.table(batch) == batch.to_arrow(), "through __arrow_c_stream__"
    assert small_router.route_batch([]).to_arrow().schema == batch.to_arrow().schema


def test_a_data_frame_of_a_batch(small_router: R2Router) -> None:
    pandas = pytest.importorskip("pandas", reason="needs pandas, of the test extra")
    batch = small_router.route_batch(rows(50), 0.0)
    assert (
        list(batch.to_pandas().columns) == list(batch[0]) == list(pandas.DataFrame(batch).columns)
    )
    assert list(pandas.DataFrame(batch)["budget"]) == [option["budget"] for option in batch]
    assert list(batch.to_pandas()["openrouter_id"]) == [o["openrouter_id"] for o in batch]
    assert len(small_router.route_batch([]).to_pandas()) == 0


def test_arrays_that_have_to_be_converted(small_router: R2Router) -> None:
    embeddings = rows(40)
    expected = small_router.route_batch(embeddings, 0.5).to_dicts()
    unaligned = np.frombuffer(b"x" + embeddings.tobytes(), np.uint8)[1:].view(np.float64)
    for same in (
        np.asfortranarray(embeddings),
        np.repeat(embeddings, 2, axis=1)[:, ::2],
        embeddings.astype(">f8"),
        embeddings.tolist(),
        embeddings.astype(np.longdouble),
        unaligned.reshape(40, 4),
    ):
        assert small_router.route_batch(same, 0.5).to_dicts() == expected
    whole = np.round(embeddings * 4)
    expected = small_router.route_batch(whole, 0.5).to_dicts()
    assert small_router.route_batch(whole.astype(np.int8), 0.5).to_dicts() == expected
    assert small_router.route_batch(whole.astype(np.float16), 0.5).to_dicts() == expected


def test_read_only_arrays(small_router: R2Router) -> None:
    embeddings = rows(3)
    embeddings.flags.writeable = False
    assert len(small_router.route_batch(embeddings)) == 3
    assert small_router.route(embeddings[0])["model"] in ("alpha", "beta")


@pytest.mark.parametrize("row", [0, 5000])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_named(
    row: int, value: float, small_router: R2Router
) -> None:
    embeddings = rows(5001)
    embeddings[row, 2] = value
    with pytest.raises(
        ValueError, match=f"element 2 of the embedding in row {row} is NaN, infinite or"
    ):
        small_router.route_batch(embeddings)


class Stopped(Exception):
    pass


def test_signals_are_handled_during_a_batch(small_router: R2Router) -> None:
    """Ctrl-C works: a handler runs while rows remain, and what it raises ends the batch."""
    embeddings = np.tile(rows(1000), (1000, 1))
    calls: list[int] = []

    def stop(number: int, frame: Any) -> None:
        calls.append(number)
        # Handlers of one signal that comes again and again run once after an uninterruptible call.
        if len(calls) == 3:
            raise Stopped

    previous = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.005, 0.005)
        with pytest.raises(Stopped):
            small_router._native.route_batch(
                embeddings,
                _core.RouteOptions({"lambda_val": small_router.lambda_val}),
                _core.QuerySize(100),
                np.empty(0, np.int64),
                [],
            )
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert len(calls) >= 3
