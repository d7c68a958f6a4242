"""Training from merged sums: the router is that of train on all of the data."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from r2_router import CheckpointError, DataError, LexicalEncoder, R2Router, Statistics, train

QUERIES, DIMENSION = 400, 16
POOL = {
    "small": {"input_price_per_million": 0.1, "output_price_per_million": 0.2},
    "large": {"input_price_per_million": 1.0, "output_price_per_million": 5.0},
}
RANDOM = np.random.default_rng(1)
EMBEDDINGS = RANDOM.standard_normal((QUERIES, DIMENSION)).astype(np.float32)
TABLE = [
    {
        "query_id": i,
        "query": f"question {i} " + "why " * (i % 7),
        "outcomes": [
            {
                "model": model,
                "score": float(row[at] + level + RANDOM.normal() > 0),
                "output_tokens": int(300 + 80 * row[2 + at] + RANDOM.integers(40)),
            }
            for at, (model, level) in enumerate((("small", 0.0), ("large", 0.8)))
            if at == 0 or i % 10
        ],
    }
    for i, row in enumerate(EMBEDDINGS)
]


def queries(begin: int = 0, end: int = QUERIES, step: int = 1) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != "outcomes"} for row in TABLE[begin:end:step]]


def outcomes(begin: int = 0, end: int = QUERIES, step: int = 1) -> list[dict[str, Any]]:
    return [
        {"query_id": row["query_id"], **outcome}
        for row in TABLE[begin:end:step]
        for outcome in row["outcomes"]
    ]


def part(begin: int = 0, end: int = QUERIES, step: int = 1) -> Statistics:
    statistics = Statistics(POOL, dimension=DIMENSION)
    return statistics.add(
        queries(begin, end, step),
        outcomes(begin, end, step),
        embeddings=EMBEDDINGS[begin:end:step],
    )


def predictions(router: R2Router) -> np.ndarray[Any, Any]:
    rows = router.route_batch(EMBEDDINGS[:50], lambda_val=0.5)
    return np.stack([rows.quality, rows.output_tokens])


@pytest.fixture(scope="module")
def expected() -> Any:
    return train(queries(), outcomes(), POOL, embeddings=EMBEDDINGS, models=["small", "large"])


def assert_equal(report: Any, expected: Any) -> None:
    assert report["alpha"] == expected["alpha"]
    assert report["training_queries"] == expected["training_queries"]
    assert report["default_lambda"] == pytest.approx(expected["default_lambda"], abs=1e-12)
    assert report["metrics"] == pytest.approx(expected["metrics"], abs=1e-9)
    assert predictions(report.router) == pytest.approx(predictions(expected.router), rel=1e-5)


def test_parts_are_merged(expected: Any, tmp_path: Path) -> None:
    statistics = part(1, step=3).merge(part(0, step=3))
    statistics.save(tmp_path / "statistics")
    loaded = Statistics.load(tmp_path / "statistics")
    assert loaded.merge(pickle.loads(pickle.dumps(part(2, step=3)))) is loaded
    report = loaded.solve(tmp_path / "router")
    assert_equal(report, expected)
    assert R2Router.from_pretrained(tmp_path / "router").route(EMBEDDINGS[0])["model"] in POOL
    with pytest.raises(ValueError, match="without its data"):
        _ = report.evaluation
    assert loaded.training_queries == loaded.sampled_queries == report["training_queries"]
    assert repr(loaded).startswith(f"<Statistics of {loaded.training_queries} queries, 16 dim")


def test_heads_are_those_of_scikit_learn(tmp_path: Path) -> None:
    """Of each model alone: the heads of the checkpoint, as another program fits them."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    safetensors = pytest.importorskip("safetensors.numpy")
    statistics = Statistics(POOL, dimension=DIMENSION, holdout=0)
    for begin in range(0, QUERIES, 130):
        end = min(begin + 130, QUERIES)
        statistics.add(queries(begin, end), outcomes(begin, end), embeddings=EMBEDDINGS[begin:end])
    statistics.solve(tmp_path / "router", alphas=[7])
    tensors = safetensors.load_file(tmp_path / "router" / "model.safetensors")
    head = 0
    for model in POOL:
        for target in ("score", "output_tokens"):
            seen = [
                (row, outcome[target])
                for row, query in zip(EMBEDDINGS, TABLE, strict=True)
                for outcome in query["outcomes"]
                if outcome["model"] == model
            ]
            features, values = (
                np.asarray(column, np.float64) for column in zip(*seen, strict=True)
            )
            fit = linear_model.Ridge(alpha=7).fit(features, values)
            assert tensors["weights"][head] == pytest.approx(fit.coef_, rel=2e-7, abs=1e-9)
            assert tensors["intercepts"][head] == pytest.approx(fit.intercept_, abs=1e-9)
            head += 1


def test_the_encoder_and_limits_are_those_of_train() -> None:
    encoder = LexicalEncoder(64)
    own = Statistics(POOL, encoder=encoder, token_limits=[280])
    own.add(queries(0, 200), outcomes(0, 200)).add(queries(200), outcomes(200))
    report = own.solve()
    expected = train(
        queries(), outcomes(), POOL, encoder=encoder, token_limits=[280], models=["small", "large"]
    )
    assert report["alpha"] == expected["alpha"]
    texts = [row["query"] for row in TABLE[:20]]
    for text in texts:
        decision, other = report.router.route_text(text), expected.router.route_text(text)
        assert decision["model"] == other["model"] and decision["budget"] == other["budget"]


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    statistics = part()
    with pytest.raises(ValueError, match="their dimension differs"):
        statistics.merge(Statistics(POOL, dimension=DIMENSION + 1))
    with pytest.raises(ValueError, match="their models differs"):
        statistics.merge(Statistics(POOL, models=["small"], dimension=DIMENSION))
    with pytest.raises(TypeError, match="expected Statistics"):
        statistics.merge({})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="has a value that is not a finite number"):
        statistics.add(
            queries(0, 1), outcomes(0, 1), embeddings=np.full((1, DIMENSION), np.nan, np.float32)
        )
    with pytest.raises(DataError, match="outcomes, row 1, column 'score'"):
        statistics.add(
            queries(0, 1),
            [{"query_id": 0, "model": "small", "score": 2, "output_tokens": 1}],
            embeddings=EMBEDDINGS[:1],
        )
    with pytest.raises(DataError, match="too few to fill 5 folds"):
        Statistics(POOL, dimension=DIMENSION).solve()
    with pytest.raises(ValueError, match="dimension is 0"):
        Statistics(POOL)
    with pytest.raises(ValueError, match="models has tiny, which the pool does not have"):
        Statistics(POOL, models=["tiny"], dimension=DIMENSION)
    with pytest.raises(ValueError, match="topics"):
        Statistics(POOL, encoder=LexicalEncoder(topics=True))
    assert statistics.training_queries == part().training_queries
    (tmp_path / "broken").write_bytes(b"what")
    with pytest.raises(CheckpointError, match="the file has 4 bytes"):
        Statistics.load(tmp_path / "broken")


def arrow_table() -> Any:
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.Table.from_pylist(TABLE)
    vectors = pyarrow.FixedSizeListArray.from_arrays(EMBEDDINGS.reshape(-1), DIMENSION)
    return table.append_column("vec", vectors)


def test_tables_have_a_row_for_each_query(expected: Any) -> None:
    table = arrow_table()
    statistics = Statistics(POOL, dimension=DIMENSION)
    statistics.add_table(table.slice(0, 150), embedding="vec")
    statistics.add_table(table.slice(0, 0), embedding="vec")
    statistics.add_table(table.slice(150), embedding="vec")
    assert_equal(statistics.solve(), expected)
    with pytest.raises(ValueError, match="the table has no column 'vector'"):
        statistics.add_table(table, embedding="vector")


def test_ray(expected: Any, tmp_path: Path) -> None:
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.data")
    import r2_router.ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        dataset = ray.data.from_arrow(arrow_table()).repartition(20)
        report = r2_router.ray.train(
            dataset, POOL, tmp_path / "router", embedding="vec", dimension=DIMENSION
        )
    finally:
        ray.shutdown()
    assert_equal(report, expected)
    assert (tmp_path / "router").is_dir()


def test_spark(expected: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyspark")
    pytest.importorskip("pandas")
    from pyspark.sql import SparkSession

    import r2_router.spark

    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", "60")
        .getOrCreate()
    )
    try:
        import pyarrow.parquet

        pyarrow.parquet.write_table(arrow_table(), tmp_path / "table.parquet")
        frame = session.read.parquet(str(tmp_path / "table.parquet")).repartition(5)
        report = r2_router.spark.train(frame, POOL, embedding="vec", dimension=DIMENSION)
    finally:
        session.stop()
    assert_equal(report, expected)
