"""route_table: every type of table comes back with the decisions of single queries."""

from __future__ import annotations

import gc
import math
from typing import Any

import numpy as np
import pytest
from conftest import make_model_configs, make_predictors

from r2_router import UNLIMITED, R2Router, _core

pyarrow = pytest.importorskip("pyarrow")

TEXTS = ["Solve 2x + 5 = 13", None, "", "Wer schrieb den Faust?", " \t", "x" * 3000, "naïve"]
ADDED = [
    "model",
    "budget",
    "max_tokens",
    "predicted_quality",
    "predicted_output_tokens",
    "predicted_cost_usd",
    "worst_case_cost_usd",
    "reason",
]


def arrow(name: str = "prompt", texts: Any = None, kind: Any = None) -> Any:
    texts = TEXTS if texts is None else texts
    return pyarrow.table({name: pyarrow.array(texts, kind or pyarrow.string())})


def expect_texts(router: R2Router, texts: list[Any], columns: dict[str, list[Any]], **options: Any):
    assert len(columns["reason"]) == len(texts)
    for row, text in enumerate(texts):
        found = {name: columns[name][row] for name in ADDED}
        if text is None or not text.strip():
            reason = "null" if text is None else "empty"
            assert found.pop("reason") == reason
            assert all(value is None or value != value for value in found.values()), found
            continue
        decision = router.route_text(text, **options)
        assert found["model"] == decision["model"]
        budget = found["budget"]
        assert (UNLIMITED if budget is None or budget != budget else budget) == (
            UNLIMITED if decision["budget"] == "unlimited" else decision["budget"]
        )
        assert found["max_tokens"] == decision.details["max_tokens"]
        assert found["predicted_quality"] == decision["predicted_quality"]
        assert found["predicted_output_tokens"] == decision["predicted_output_tokens"]
        assert found["predicted_cost_usd"] == decision["predicted_cost_usd"]
        assert found["worst_case_cost_usd"] == decision.details["worst_case_cost_usd"]
        assert found["reason"] == decision.details["reason"]


POLICIES = [{}, {"lambda_val": 0.5}, {"objective": "cheapest", "min_quality": 0.3}]


@pytest.mark.parametrize("options", POLICIES)
def test_arrow(options: dict[str, Any], lexical_router: R2Router) -> None:
    table = arrow().append_column("id", pyarrow.array(range(len(TEXTS))))
    routed = lexical_router.route_table(table, text="prompt", **options)
    assert isinstance(routed, pyarrow.Table)
    assert routed.column_names == ["prompt", "id", *ADDED]
    assert routed.select(["prompt", "id"]).equals(table)
    routed.validate(full=True)
    expect_texts(lexical_router, TEXTS, routed.to_pydict(), **options)


@pytest.mark.parametrize("kind", ["large_string", "string_view", "dictionary", "sliced", "chunked"])
def test_layouts_of_text(kind: str, lexical_router: R2Router) -> None:
    texts = TEXTS * 3
    column = pyarrow.array(texts)
    if kind == "dictionary":
        column = column.dictionary_encode()
    elif kind == "sliced":
        column, texts = column.slice(3, 10), texts[3:13]
    elif kind == "chunked":
        column = pyarrow.chunked_array([column.slice(0, 5), column.slice(5, 0), column.slice(5)])
    else:
        column = pyarrow.array(texts, getattr(pyarrow, kind)())
    routed = lexical_router.route_table(pyarrow.table({"prompt": column}), text="prompt")
    expect_texts(lexical_router, texts, routed.to_pydict())


def test_a_sliced_record_batch(lexical_router: R2Router) -> None:
    batch = pyarrow.record_batch({"prompt": TEXTS}).slice(3, 3)
    routed = lexical_router.route_table(batch, text="prompt")
    expect_texts(lexical_router, TEXTS[3:6], routed.to_pydict())


def test_pandas(lexical_router: R2Router) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"prompt": TEXTS, "id": range(len(TEXTS))}, index=range(10, 17))
    routed = lexical_router.route_table(frame, text="prompt")
    assert isinstance(routed, pandas.DataFrame)
    assert list(routed.columns) == ["prompt", "id", *ADDED]
    assert list(routed.index) == list(range(10, 17))
    columns = {
        name: [None if pandas.isna(value) else value for value in routed[name]] for name in ADDED
    }
    expect_texts(lexical_router, TEXTS, columns)
    assert list(frame.columns) == ["prompt", "id"]
    # The columns are the caller's to change.
    routed.loc[10, ["predicted_cost_usd", "budget", "model"]] = [1.5, 7, routed["model"][13]]
    assert routed["predicted_cost_usd"][10] == 1.5
    assert routed["budget"][10] == 7
    assert routed["model"][10] == routed["model"][13]


def test_polars(lexical_router: R2Router) -> None:
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"prompt": TEXTS})
    routed = lexical_router.route_table(frame, text="prompt")
    assert isinstance(routed, polars.DataFrame)
    assert routed.columns == ["prompt", *ADDED]
    expect_texts(lexical_router, TEXTS, routed.to_dict(as_series=False))
    with pytest.raises(TypeError, match="collect"):
        lexical_router.route_table(frame.lazy(), text="prompt")


def test_duckdb(lexical_router: R2Router) -> None:
    duckdb = pytest.importorskip("duckdb")
    table = arrow()
    relation = duckdb.connect().from_arrow(table)
    routed = lexical_router.route_table(relation, text="prompt")
    expect_texts(lexical_router, TEXTS, routed.to_pydict())


def test_dictionaries(lexical_router: R2Router) -> None:
    columns = lexical_router.route_table({"prompt": TEXTS}, text="prompt")
    expect_texts(lexical_router, TEXTS, columns)
    rows = lexical_router.route_table([{"prompt": text} for text in TEXTS], text="prompt")
    assert [row["prompt"] for row in rows] == TEXTS
    expect_texts(lexical_router, TEXTS, {name: [row[name] for row in rows] for name in ADDED})


def vectors(count: int, dimension: int) -> Any:
    return np.random.default_rng(5).standard_normal((count, dimension)).astype(np.float32)


@pytest.mark.parametrize("kind", ["fixed", "list", "large_list", "double", "numpy", "rows"])
def test_embeddings(kind: str, small_router: R2Router) -> None:
    embeddings = vectors(300, small_router.dimension)
    embeddings[5, 1] = math.nan
    values: list[Any] = [row.tolist() for row in embeddings]
    values[7] = None
    types = {
        "fixed": pyarrow.list_(pyarrow.float32(), small_router.dimension),
        "list": pyarrow.list_(pyarrow.float32()),
        "large_list": pyarrow.large_list(pyarrow.float32()),
        "double": pyarrow.list_(pyarrow.float64()),
    }
    if kind not in ("fixed", "numpy"):
        values[8], values[9] = values[8] + [1.0], []
    table: Any
    if kind == "numpy":
        table = {"vec": embeddings}
    elif kind == "rows":
        table = [{"vec": value} for value in values]
    else:
        table = pyarrow.table({"vec": pyarrow.array(values, types[kind])})
    routed = small_router.route_table(table, embedding="vec", lambda_val=0.9, threads=2)
    reasons = (
        [row["reason"] for row in routed]
        if kind == "rows"
        else list(routed["reason"] if kind == "numpy" else routed["reason"].to_pylist())
    )
    models = (
        [row["model"] for row in routed]
        if kind == "rows"
        else list(routed["model"] if kind == "numpy" else routed["model"].to_pylist())
    )
    for row in range(300):
        if row == 5:
            assert reasons[row] == "not_finite"
        elif values[row] is None and kind != "numpy":
            assert reasons[row] == "null"
        elif kind not in ("fixed", "numpy") and row in (8, 9):
            assert reasons[row] == "wrong_length"
        else:
            assert models[row] == small_router.route(embeddings[row], 0.9)["model"]
            assert reasons[row] == "risk"


def test_a_wrong_length_in_every_row(small_router: R2Router) -> None:
    column = pyarrow.array([[1.0, 2.0]] * 3, pyarrow.list_(pyarrow.float32(), 2))
    routed = small_router.route_table(pyarrow.table({"vec": column}), embedding="vec")
    assert routed["reason"].to_pylist() == ["wrong_length"] * 3


def test_no_rows(lexical_router: R2Router, small_router: R2Router) -> None:
    routed = lexical_router.route_table(arrow(texts=[]), text="prompt")
    assert routed.column_names == ["prompt", *ADDED]
    assert routed.num_rows == 0
    assert routed.schema.field("budget").type == pyarrow.int64()
    assert lexical_router.route_table([], text="prompt") == []
    empty = np.zeros((0, small_router.dimension), np.float32)
    assert small_router.route_table({"vec": empty}, embedding="vec")["model"] == []


@pytest.fixture
def encoding_router() -> R2Router:
    """Has an encoder in the process."""

    def encode(texts: list[str]) -> Any:
        assert all(text.strip() for text in texts)
        return np.array([[len(text), text.count("e"), 1, 0] for text in texts], np.float32)

    return R2Router(make_predictors(), make_model_configs(), encoder=encode)


def test_an_encoder_in_the_process(encoding_router: R2Router) -> None:
    router = encoding_router
    routed = router.route_table(arrow(), text="prompt", lambda_val=0.9, max_cost_usd=0.05)
    expect_texts(router, TEXTS, routed.to_pydict(), lambda_val=0.9, max_cost_usd=0.05)


def test_rows_without_an_option(lexical_router: R2Router) -> None:
    routed = lexical_router.route_table(arrow(), text="prompt", max_cost_usd=1e-12)
    assert set(routed["reason"].to_pylist()) == {"null", "empty", "no_option"}


def test_wrong_calls(lexical_router: R2Router) -> None:
    route = lexical_router.route_table
    with pytest.raises(ValueError, match="and not both"):
        route(arrow())
    with pytest.raises(ValueError, match=r"'query', and the table has no such column.*prompt"):
        route(arrow(), text="query")
    with pytest.raises(ValueError, match="'model', 'reason' already"):
        route({"prompt": TEXTS, "reason": TEXTS, "model": TEXTS}, text="prompt")
    with pytest.raises(ValueError, match='column "prompt" is of the Arrow type "l"'):
        route(pyarrow.table({"prompt": [1, 2]}), text="prompt")
    with pytest.raises(ValueError, match='column "prompt" is of the Arrow type "l"'):
        route(arrow(texts=[], kind=pyarrow.int64()), text="prompt")
    with pytest.raises(TypeError, match="row 1 of the column 'prompt' is of the type int"):
        route({"prompt": ["a", 2]}, text="prompt")
    with pytest.raises(TypeError, match="the table is of the type int"):
        route(3, text="prompt")
    with pytest.raises(ValueError, match="threads is 0"):
        route(arrow(), text="prompt", threads=0)
    with pytest.raises(ValueError, match="lambda"):
        route(arrow(), text="prompt", lambda_val=2)


@pytest.mark.parametrize("rows", [0, 3])
def test_columns_of_the_other_kind(
    rows: int, lexical_router: R2Router, encoding_router: R2Router, small_router: R2Router
) -> None:
    texts = pyarrow.table({"column": pyarrow.array(["1"] * rows, pyarrow.string())})
    vectors = pyarrow.list_(pyarrow.float32(), 8)
    embeddings = pyarrow.table({"column": pyarrow.array([[0.5] * 8] * rows, vectors)})
    numbers = pyarrow.table({"column": pyarrow.array([1] * rows, pyarrow.int64())})
    for router in (lexical_router, encoding_router):
        with pytest.raises(ValueError, match="holds embeddings: name it with embedding="):
            router.route_table(embeddings, text="column")
        for table in (numbers, numbers.to_pandas()):
            with pytest.raises(ValueError, match='"column" is of the Arrow type "l"'):
                router.route_table(table, text="column")
    for table in (texts, texts.append_column("d", texts["column"].dictionary_encode())):
        with pytest.raises(ValueError, match="holds texts: name it with text="):
            small_router.route_table(table, embedding=table.column_names[-1])
    if rows:
        with pytest.raises(TypeError, match="row 0 of the column 'column' is of the type str"):
            small_router.route_table(texts.to_pydict(), embedding="column")
    nulls = pyarrow.table({"column": pyarrow.nulls(rows)})
    for router, name in (
        (lexical_router, "text"),
        (encoding_router, "text"),
        (small_router, "embedding"),
    ):
        routed = router.route_table(nulls, **{name: "column"})
        assert routed["reason"].to_pylist() == ["null"] * rows


def test_figures_are_shared(lexical_router: R2Router) -> None:
    """Arrow and NumPy read the float64 columns where they lie, also after the batch is gone."""
    decisions = lexical_router._native.route_rows(
        [*TEXTS] * 100, None, _core.RouteOptions({}), _core.QuerySize()
    )
    assert decisions is not None
    batch = pyarrow.record_batch(decisions)
    arrays = decisions.columns()
    values = {name: array.copy() for name, array in arrays.items()}
    del decisions
    gc.collect()
    for name in ADDED[3:7]:
        column = batch.column(name)
        assert column.buffers()[1].address == arrays[name].ctypes.data
        assert column.is_valid().to_pylist() == values["decided"].tolist()
        decided = values["decided"]
        assert column.drop_null().to_numpy().tolist() == values[name][decided].tolist()
        with pytest.raises(ValueError, match="read-only"):
            arrays[name][0] = 1
