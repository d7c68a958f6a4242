"""The engines give the decisions of route_table. Each test needs its package."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, spark_session
from mortal_encoder import MortalEncoder

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


def expect_total(router: R2Router, columns: dict[str, list[Any]]) -> None:
    """What is spent is within 0.1 % of what the exact division of the total spends."""
    exact = router.route_table({"prompt": TEXTS}, text="prompt", total_usd=TOTAL_USD)
    most = sum(cost for cost in exact["predicted_cost_usd"] if cost is not None)
    spent = sum(cost or 0 for cost in columns["predicted_cost_usd"])
    assert len(columns["id"]) == len(TEXTS)
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


def mortal_router(*arguments: Any, **keywords: Any) -> R2Router:
    folder = ROOT / "checkpoints" / "r2-router"
    return R2Router.from_pretrained(folder, encoder=MortalEncoder(*arguments, **keywords))


@pytest.fixture(scope="module")
def expected_of_mortals() -> dict[str, list[Any]]:
    routed: dict[str, list[Any]] = mortal_router().route_table(table(), text="prompt").to_pydict()
    return routed


def check_died(folder: Path) -> None:
    """A process did die, and it was not this one."""
    process = int((folder / "died").read_text())
    assert process != os.getpid()
    with contextlib.suppress(ProcessLookupError, FileNotFoundError):  # unless its parent waits
        assert Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def route_on_ray(ray: Any, router: R2Router, **options: Any) -> dict[str, list[Any]]:
    import r2_router.ray

    dataset = ray.data.from_arrow(table()).repartition(8)
    routed = r2_router.ray.route(
        dataset, router, text="prompt", concurrency=2, batch_size=100, **options
    )
    rows = routed.take_all()
    return by_id({name: [row[name] for row in rows] for name in rows[0]})


def test_ray(ray: Any, lexical_router: R2Router, expected: dict[str, list[Any]]) -> None:
    assert route_on_ray(ray, lexical_router, lambda_val=0.9) == expected


def test_a_total_on_ray(ray: Any, default_router: R2Router) -> None:
    expect_total(default_router, route_on_ray(ray, default_router, total_usd=TOTAL_USD))


def test_an_actor_of_ray_dies(
    ray: Any, expected_of_mortals: dict[str, list[Any]], tmp_path: Path
) -> None:
    assert route_on_ray(ray, mortal_router(str(tmp_path))) == expected_of_mortals
    check_died(tmp_path)


def route_on_spark(session: Any, router: R2Router, **options: Any) -> dict[str, list[Any]]:
    import r2_router.spark

    frame = session.createDataFrame(list(enumerate(TEXTS)), "id bigint, prompt string")
    routed = r2_router.spark.route(frame.repartition(4), router, text="prompt", **options)
    rows = routed.collect()
    return by_id({name: [row[name] for row in rows] for name in routed.columns})


def test_spark(
    workers: None,
    lexical_router: R2Router,
    default_router: R2Router,
    expected: dict[str, list[Any]],
) -> None:
    session = spark_session("local[2]")
    try:
        assert route_on_spark(session, lexical_router, lambda_val=0.9) == expected
        within = route_on_spark(session, default_router, total_usd=TOTAL_USD)
        expect_total(default_router, within)
        import r2_router.spark

        frame = session.createDataFrame([("Who wrote Faust?",)], "prompt string")
        with pytest.raises(ValueError, match="has no column 'query'"):
            r2_router.spark.route(frame, lexical_router, text="query")
        none = frame.filter("prompt IS NULL")
        nothing = r2_router.spark.route(none, lexical_router, text="prompt", total_usd=0)
        assert nothing.count() == 0
    finally:
        session.stop()


@pytest.mark.parametrize(
    ("master", "executor"), [("local[2,4]", False), ("local-cluster[2,1,1024]", True)]
)
def test_a_worker_of_spark_dies(
    workers: None,
    master: str,
    executor: bool,
    expected_of_mortals: dict[str, list[Any]],
    tmp_path: Path,
) -> None:
    session = spark_session(master)
    try:
        router = mortal_router(str(tmp_path), executor=executor)
        assert route_on_spark(session, router) == expected_of_mortals
        check_died(tmp_path)
    finally:
        session.stop()
