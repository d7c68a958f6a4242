"""Every front end makes the decisions of route_text, row by row, for real prompts.

R2ROUTER_PARITY=10000 takes that many prompts of ../shared; without it, some of this repository.
R2ROUTER_CLI names a program with the gateway. Engines are skipped if they are not installed.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, installed_program, shared, spark_session

from r2_router import UNLIMITED, R2Router, bulk

pyarrow = pytest.importorskip("pyarrow")

COUNT = int(os.environ.get("R2ROUTER_PARITY", "0"))
POLICIES: dict[str, dict[str, Any]] = {
    "risk": {"lambda_val": 0.9},
    "usd": {"willingness_to_pay": 0.01, "max_cost_usd": 0.02},
    "cheapest": {"objective": "cheapest", "quality_fraction": 0.95, "deny": ["*gemini*"]},
}
Columns = dict[str, list[Any]]


@pytest.fixture(scope="module")
def router() -> R2Router:
    return R2Router.from_pretrained(ROOT / "checkpoints" / "default")


def read_texts(path: Path) -> list[str]:
    data = path.read_bytes()
    lines = (gzip.decompress(data) if path.suffix == ".gz" else data).splitlines()
    return [json.loads(line)["query"] for line in lines]


@pytest.fixture(scope="module")
def prompts() -> list[str]:
    if not COUNT:
        return read_texts(ROOT / "checkpoints" / "sources" / "everyday.jsonl")[:200]
    files = ["data/modern/task_prompts.jsonl.gz", "data/queries.jsonl.gz"]
    texts = [text for file in files for text in read_texts(shared(file))]
    step = max(1, len(texts) // COUNT)
    chosen = texts[::step][:COUNT]
    assert len(chosen) == COUNT
    return chosen


@pytest.fixture(scope="module", params=list(POLICIES))
def policy(request: pytest.FixtureRequest) -> dict[str, Any]:
    return POLICIES[request.param]


@pytest.fixture(scope="module")
def expected(router: R2Router, prompts: list[str], policy: dict[str, Any]) -> Columns:
    decisions = [router.route_text(prompt, **policy) for prompt in prompts]
    keys = ("model", "predicted_quality", "predicted_output_tokens", "predicted_cost_usd")
    columns = {key: [decision[key] for decision in decisions] for key in keys}
    columns["budget"] = [no_limit(decision["budget"]) for decision in decisions]
    for key in ("max_tokens", "worst_case_cost_usd", "reason"):
        columns[key] = [decision.details[key] for decision in decisions]
    assert len(set(columns["model"])) > 1, "a policy that chooses one model shows little"
    return columns


def no_limit(budget: Any) -> Any:
    """As in tables, None for a budget without a limit."""
    return None if budget in ("unlimited", UNLIMITED) else budget


def check(found: Columns, expected: Columns, *, without: tuple[str, ...] = ()) -> None:
    for name in expected.keys() - set(without):
        assert len(found[name]) == len(expected[name])
        differing = [
            row
            for row, pair in enumerate(zip(found[name], expected[name], strict=True))
            if pair[0] != pair[1]
        ]
        assert not differing, f"{name} differs in {len(differing)} rows, first {differing[0]}"


def test_route_text_of_a_list(
    router: R2Router, prompts: list[str], policy: dict[str, Any], expected: Columns
) -> None:
    decisions = router.route_text(prompts, **policy)
    assert [decision["model"] for decision in decisions] == expected["model"]
    assert [no_limit(decision["budget"]) for decision in decisions] == expected["budget"]
    costs = [decision["predicted_cost_usd"] for decision in decisions]
    assert costs == expected["predicted_cost_usd"]


def test_route_batch(
    router: R2Router, prompts: list[str], policy: dict[str, Any], expected: Columns
) -> None:
    batch = router.route_batch(router.embed(prompts), texts=prompts, **policy)
    found = {
        "model": [batch.models[index] for index in batch.model_index],
        "budget": [no_limit(budget) for budget in batch.budget.tolist()],
        "predicted_quality": batch.quality.tolist(),
        "predicted_output_tokens": batch.output_tokens.tolist(),
        "predicted_cost_usd": batch.cost_usd.tolist(),
    }
    check(found, expected, without=("max_tokens", "worst_case_cost_usd", "reason"))


@pytest.mark.parametrize("kind", ["pyarrow", "pandas", "polars", "dictionary", "stream"])
def test_route_table(
    kind: str, router: R2Router, prompts: list[str], policy: dict[str, Any], expected: Columns
) -> None:
    table: Any = {"prompt": prompts}
    if kind == "pyarrow":
        table = pyarrow.table(table)
    elif kind != "dictionary":
        module = pytest.importorskip("duckdb" if kind == "stream" else kind)
        if kind == "stream":
            table = module.connect().from_arrow(pyarrow.table(table))
        else:
            table = module.DataFrame(table)
    routed = router.route_table(table, text="prompt", **policy)
    if kind == "pandas":
        objects = routed.astype(object)
        columns = objects.where(routed.notna(), None).to_dict("list")
    elif kind == "polars":
        columns = routed.to_dict(as_series=False)
    else:
        columns = routed if kind == "dictionary" else routed.to_pydict()
    check(columns, expected)


def test_route_dataset(
    router: R2Router,
    prompts: list[str],
    policy: dict[str, Any],
    expected: Columns,
    tmp_path: Path,
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table({"prompt": prompts}), tmp_path / "in.parquet")
    bulk.route_dataset(
        tmp_path / "in.parquet", tmp_path / "out", text="prompt", router=router, **policy
    )
    check(parquet.read_table(tmp_path / "out" / "in.parquet").to_pydict(), expected)


def as_lines(prompts: list[str], policy: dict[str, Any]) -> list[dict[str, Any]]:
    settings = {name.removesuffix("_val"): value for name, value in policy.items()}
    return [{"query": prompt} | settings for prompt in prompts]


def columns_of_json(decisions: list[dict[str, Any]]) -> Columns:
    assert all("error" not in decision for decision in decisions)
    columns = {name: [decision[name] for decision in decisions] for name in decisions[0]}
    columns["budget"] = [no_limit(budget) for budget in columns["budget"]]
    return columns


def test_the_command(
    prompts: list[str], policy: dict[str, Any], expected: Columns, tmp_path: Path
) -> None:
    lines = tmp_path / "in.jsonl"
    lines.write_text("".join(json.dumps(line) + "\n" for line in as_lines(prompts, policy)))
    command = [str(installed_program()), "route", "--input", str(lines)]
    command += ["--checkpoint-dir", str(ROOT / "checkpoints" / "default")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = columns_of_json([json.loads(line) for line in done.stdout.splitlines()])
    check(found, expected, without=("reason",))


def test_the_gateway(prompts: list[str], policy: dict[str, Any], expected: Columns) -> None:
    program = os.environ.get("R2ROUTER_CLI")
    if program is None:
        pytest.skip("R2ROUTER_CLI names no program with the gateway")
    command = [program, "serve", "--listen", "127.0.0.1:0"]
    command += ["--checkpoint-dir", str(ROOT / "checkpoints" / "default")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as gateway:
        try:
            assert gateway.stderr is not None
            notes = iter(gateway.stderr.readline, "")
            port = next(found[1] for note in notes if (found := re.search(r":(\d+)$", note)))
            decisions = []
            lines = as_lines(prompts, policy)
            for begin in range(0, len(lines), 500):
                body = json.dumps(lines[begin : begin + 500]).encode()
                url = f"http://127.0.0.1:{port}/v1/decisions"
                request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
                with urllib.request.urlopen(request, timeout=120) as reply:
                    decisions += json.load(reply)
        finally:
            gateway.terminate()
    check(columns_of_json(decisions), expected, without=("reason",))


def test_polars_expression(
    router: R2Router, prompts: list[str], policy: dict[str, Any], expected: Columns
) -> None:
    polars = pytest.importorskip("polars")
    import r2_router.polars  # noqa: F401

    lazy = polars.LazyFrame({"prompt": prompts}).r2.route(router, text="prompt", **policy)
    check(lazy.collect().to_dict(as_series=False), expected)


def test_duckdb(
    router: R2Router, prompts: list[str], policy: dict[str, Any], expected: Columns
) -> None:
    duckdb = pytest.importorskip("duckdb")
    import r2_router.duckdb

    connection = duckdb.connect()
    r2_router.duckdb.register(connection, router, **policy)
    connection.register("prompts", pyarrow.table({"id": range(len(prompts)), "prompt": prompts}))
    query = "SELECT unnest(r2_route(prompt)) FROM prompts ORDER BY id"
    check(pyarrow.table(connection.sql(query)).to_pydict(), expected)


def in_order(rows: list[dict[str, Any]]) -> Columns:
    ordered = sorted(rows, key=lambda row: row["id"])
    return {name: [row[name] for row in ordered] for name in ordered[0]}


def test_ray(
    ray: Any, router: R2Router, prompts: list[str], policy: dict[str, Any], expected: Columns
) -> None:
    import r2_router.ray

    table = pyarrow.table({"id": range(len(prompts)), "prompt": prompts})
    dataset = ray.data.from_arrow(table).repartition(4)
    routed = r2_router.ray.route(dataset, router, text="prompt", concurrency=2, **policy)
    check(in_order(routed.take_all()), expected)


@pytest.fixture(scope="module")
def spark(workers: None) -> Any:
    session = spark_session("local[2]")
    yield session
    session.stop()


def test_spark(
    spark: Any, router: R2Router, prompts: list[str], policy: dict[str, Any], expected: Columns
) -> None:
    import r2_router.spark

    frame = spark.createDataFrame(list(enumerate(prompts)), "id bigint, prompt string")
    routed = r2_router.spark.route(frame.repartition(4), router, text="prompt", **policy)
    check(in_order([row.asDict() for row in routed.collect()]), expected)
