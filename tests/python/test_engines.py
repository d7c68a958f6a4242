"""The engines give the decisions of route_table. Each test needs its package."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import pytest

from r2_router import R2Router

pyarrow = pytest.importorskip("pyarrow")

TEXTS = [None if i % 11 == 5 else f"question {i} " + "why " * (i % 30) for i in range(2000)]


@pytest.fixture(scope="module")
def expected(lexical_router: R2Router) -> dict[str, list[Any]]:
    table = {"id": list(range(2000)), "prompt": TEXTS}
    routed: dict[str, list[Any]] = lexical_router.route_table(table, text="prompt", lambda_val=0.9)
    return routed


TOTAL_USD = 1.5


@pytest.fixture(scope="module")
def default_router() -> R2Router:
    return R2Router.from_pretrained()


def expect_total(router: R2Router, rows: list[dict[str, Any]]) -> None:
    """What is spent is within 0.1 % of what the exact division of the total spends."""
    exact = router.route_table({"prompt": TEXTS}, text="prompt", total_usd=TOTAL_USD)
    most = sum(cost for cost in exact["predicted_cost_usd"] if cost is not None)
    spent = sum(row["predicted_cost_usd"] or 0 for row in rows)
    assert len(rows) == len(TEXTS)
    assert 0.999 * most <= spent <= TOTAL_USD


def by_id(columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """In Spark and Ray rows come in any order."""
    order = sorted(range(len(columns["id"])), key=columns["id"].__getitem__)
    return {name: [values[i] for i in order] for name, values in columns.items()}


def table() -> Any:
    return pyarrow.table({"id": range(2000), "prompt": TEXTS})


def test_polars(lexical_router: R2Router, expected: dict[str, list[Any]]) -> None:
    polars = pytest.importorskip("polars")
    import r2_router.polars  # noqa: F401

    frame = polars.from_arrow(table())
    eager = frame.r2.route(lexical_router, text="prompt", lambda_val=0.9)
    assert eager.to_dict(as_series=False) == expected
    lazy = frame.lazy().r2.route(lexical_router, text="prompt", lambda_val=0.9)
    assert lazy.collect_schema() == eager.schema
    assert lazy.collect().to_dict(as_series=False) == expected
    assert lazy.filter(polars.col("reason") == "null").collect().height == TEXTS.count(None)
    with pytest.raises(ValueError, match=r"total_usd is for all rows, .*: collect\(\) the frame"):
        frame.lazy().r2.route(lexical_router, text="prompt", total_usd=1)


def test_duckdb(lexical_router: R2Router, expected: dict[str, list[Any]]) -> None:
    duckdb = pytest.importorskip("duckdb")
    import r2_router.duckdb

    connection = duckdb.connect()
    r2_router.duckdb.register(connection, lexical_router, lambda_val=0.9)
    connection.register("prompts", table())
    query = "SELECT id, prompt, unnest(r2_route(prompt)) FROM prompts ORDER BY id"
    assert pyarrow.table(connection.sql(query)).to_pydict() == expected
    empty = "SELECT r2_route(prompt) FROM prompts WHERE id < 0"
    assert connection.sql(empty).fetchall() == []
    with pytest.raises(ValueError, match="total_usd is for all rows"):
        r2_router.duckdb.register(connection, lexical_router, "r2_total", total_usd=1)


def test_ray(
    lexical_router: R2Router, default_router: R2Router, expected: dict[str, list[Any]]
) -> None:
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.data")
    import r2_router.ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        dataset = ray.data.from_arrow(table()).repartition(8)
        routed = r2_router.ray.route(
            dataset, lexical_router, text="prompt", lambda_val=0.9, concurrency=1, batch_size=100
        )
        rows = routed.take_all()
        within = r2_router.ray.route(
            dataset, default_router, text="prompt", total_usd=TOTAL_USD, batch_size=100
        ).take_all()
    finally:
        ray.shutdown()
    expect_total(default_router, within)
    columns = {name: [row[name] for row in rows] for name in expected}
    assert by_id(columns) == expected


def test_spark(
    lexical_router: R2Router,
    default_router: R2Router,
    expected: dict[str, list[Any]],
    tmp_path: Any,
    monkeypatch: Any,
) -> None:
    pytest.importorskip("pyspark")
    pytest.importorskip("pandas")
    from pyspark.sql import SparkSession

    import r2_router.spark

    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    flag = str(tmp_path / "killed")

    def killing(batches: Any) -> Any:
        """Kills its worker process the first time."""
        if not os.path.exists(flag):
            open(flag, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        yield from batches

    session = (
        SparkSession.builder.master("local[2,4]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", "300")
        .getOrCreate()
    )
    try:
        frame = session.createDataFrame(
            list(enumerate(TEXTS)), "id bigint, prompt string"
        ).repartition(4)
        survivors = frame.mapInArrow(killing, frame.schema)  # a worker dies; its task runs again
        routed = r2_router.spark.route(survivors, lexical_router, text="prompt", lambda_val=0.9)
        rows = [row.asDict() for row in routed.collect()]
        with pytest.raises(ValueError, match="has no column 'query'"):
            r2_router.spark.route(frame, lexical_router, text="query")
        within = r2_router.spark.route(
            frame, default_router, text="prompt", total_usd=TOTAL_USD
        ).collect()
        nothing = r2_router.spark.route(
            frame.filter("id < 0"), default_router, text="prompt", total_usd=0
        )
        assert nothing.count() == 0
    finally:
        session.stop()
    expect_total(default_router, [row.asDict() for row in within])
    assert os.path.exists(flag)
    assert by_id({name: [row[name] for row in rows] for name in expected}) == expected
