#!/usr/bin/env python3
"""Bulk routing compared with its parts, and with other ways to do it: ratios, from one run.

    python bench/python/bench_bulk.py [SECTION ...] [--rows N] [--engine-rows N]

Prints a Markdown table for each section, all of them by default; a goal is marked that was missed.
The engines log on standard error.
Needs the extra `bulk`. pandas, polars, Ray, Spark (with Java) and scikit-learn are measured if they
are installed.

    batch     route_batch and NumPy's product; two threads and one
    tables    route_table of pyarrow, pandas and polars, and the hand-over of Arrow data
    totals    one total for all rows
    texts     texts of 300 characters
    parquet   route_dataset, from and to Parquet
    memory    of route_dataset, as the rows become ten times as many
    engines   Ray and Spark with two workers and one
    overhead  all of them, by row, with a loop over the rows and with scikit-learn
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
from pyarrow import parquet

from r2_router import R2Router, bulk
from r2_router._columns import table_of

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "python"))

#: Rows of a call of the encoder or of a block of an engine.
BLOCK = 8192
PARTS = 8
CHARACTERS = 300


def seconds(call: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def best(call: Callable[[], Any], rounds: int = 3) -> float:
    """The least time of several rounds, in seconds."""
    return min(seconds(call) for _ in range(rounds))


def best_of_each(
    *calls: Callable[[], Any], rounds: int = 3, clock: Callable[[], float] = time.perf_counter
) -> list[float]:
    """The least time of each, in seconds. They take turns, since a machine's speed changes."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for call, own in zip(calls, times, strict=True):
            begin = clock()
            call()
            own.append(clock() - begin)
    return [min(own) for own in times]


def has(module: str) -> bool:
    if find_spec(module) is None:
        print(f"\n{module} is not installed: left out")
        return False
    return True


class Ratios:
    """A table of ratios and their goals."""

    def __init__(self, title: str) -> None:
        print(f"\n### {title}\n\n| | ratio | goal | |\n|---|---:|---|---|", flush=True)

    def add(self, what: str, ratio: float, goal: str, figures: str = "") -> None:
        """``goal``: such as ">= 0.9", or empty."""
        missed = ""
        if goal:
            relation, limit = goal.split()
            met = ratio >= float(limit) if relation == ">=" else ratio <= float(limit)
            missed = "" if met else ", missed"
        print(f"| {what} | {ratio:.3g} | {goal}{missed} | {figures} |", flush=True)


class Rows:
    """What is routed: a router, and rows in memory and in files."""

    def __init__(self, router: R2Router, keyword: str, table: pyarrow.Table) -> None:
        self.router = router
        #: "text" or "embedding", and the column.
        self.column = {keyword: table.column_names[0]}
        self.table = table

    def route(self, table: Any, **options: Any) -> Any:
        return self.router.route_table(table, **self.column, **options)

    def parts(self, rows: int) -> list[pyarrow.Table]:
        """Tables of so many rows together."""
        each = rows // PARTS
        return [self.table.slice(part * each, each) for part in range(PARTS)]

    def write(self, folder: Path, rows: int) -> Path:
        """Files of so many rows together."""
        folder.mkdir()
        for index, part in enumerate(self.parts(rows)):
            parquet.write_table(part, folder / f"{index}.parquet", row_group_size=65536)
        return folder


def random_embeddings(rows: int, dimension: int) -> Any:
    """Ten thousand different ones of length 1, as an encoder's are, repeated."""
    few = np.random.default_rng(1).standard_normal((10_000, dimension), np.float32)
    few /= np.linalg.norm(few, axis=1, keepdims=True)
    return np.resize(few, (rows, dimension))


def embedding_rows(rows: int) -> tuple[Rows, Any]:
    """And the embeddings as a matrix."""
    router = R2Router.from_pretrained("r2-router")
    matrix = random_embeddings(rows, router.dimension)
    column = pyarrow.FixedSizeListArray.from_arrays(matrix.reshape(-1), router.dimension)
    return Rows(router, "embedding", pyarrow.table({"vec": column})), matrix


def text_rows(rows: int, characters: int = CHARACTERS) -> tuple[Rows, list[str]]:
    """And the texts as a list. They are cut from the documentation."""
    pages = sorted((ROOT / "docs" / "pages").glob("*.md"))
    prose = " ".join(" ".join(path.read_text(encoding="utf-8").split()) for path in pages)
    begins = np.random.default_rng(2).integers(0, len(prose) - characters, rows)
    texts = [prose[begin : begin + characters] for begin in begins.tolist()]
    return Rows(R2Router.from_pretrained(), "text", pyarrow.table({"prompt": texts})), texts


def bare(router: R2Router, texts: list[str]) -> None:
    """The encoder and the scorer on one thread, and nothing else."""
    for begin in range(0, len(texts), BLOCK):
        router.route_batch(router.embed(texts[begin : begin + BLOCK]), threads=1)


def batch(options: argparse.Namespace) -> None:
    ratios = Ratios("Batches")
    router = R2Router.from_pretrained("r2-router")
    small = random_embeddings(10_000, router.dimension)
    heads = np.random.default_rng(3).standard_normal((router.dimension, 187), np.float32)
    # Not in turns: the threads of BLAS keep cores busy for a while after a product.
    product, routed = best(lambda: small @ heads, 10), best(lambda: router.route_batch(small), 20)
    ratios.add(
        "throughput of `route_batch` / NumPy's product with its default threads, 10,000 rows",
        product / routed,
        ">= 0.8",
        f"{1e2 * routed:.2f} µs a row",
    )
    rows, _ = embedding_rows(options.rows)
    one, two = best_of_each(
        *(lambda n=n: rows.route(rows.table, threads=n) for n in (1, 2)), rounds=5
    )
    ratios.add(
        f"`route_table`, two threads / one, {options.rows:,} embeddings",
        one / two,
        ">= 1.8",
        f"{1e6 * one / options.rows:.2f} µs a row on one",
    )


def tables(options: argparse.Namespace) -> None:
    ratios = Ratios(f"Tables of {options.rows:,} embeddings, all cores")
    rows, matrix = embedding_rows(options.rows)

    def plain() -> None:
        rows.router.route_batch(matrix)

    def add(kind: str, table: Any, goal: str = ">= 0.9") -> None:
        bare, spent = best_of_each(plain, lambda: rows.route(table), rounds=5)
        figures = f"{1e6 * spent / options.rows:.2f} µs a row"
        ratios.add(f"{kind} / `route_batch`", bare / spent, goal, figures)

    add("pyarrow", rows.table)
    if has("polars"):
        import polars

        add("polars", polars.from_arrow(rows.table))
    if has("pandas"):
        import pandas

        add("pandas, Arrow column", rows.table.to_pandas(types_mapper=pandas.ArrowDtype))
        few = min(options.rows, 100_000)
        frame = pandas.DataFrame({"vec": list(matrix[:few])})
        bare, spent = best_of_each(
            lambda: rows.router.route_batch(matrix[:few]), lambda: rows.route(frame)
        )
        figures = f"{1e6 * spent / few:.2f} µs a row"
        ratios.add(f"pandas, {few:,} NumPy arrays / `route_batch`", bare / spent, "", figures)

    source = table_of(rows.table)
    _, route = rows.router._table_passes(rows.table, False, **rows.column)
    decisions = route(None)
    models = tuple(rows.router.model_configs)
    over = best(lambda: rows.table.select(["vec"]).__arrow_c_stream__())
    back = best(lambda: source.with_decisions(decisions, models))
    whole = best(lambda: rows.route(rows.table), 2)
    ratios.add(
        "share of the hand-over of Arrow data, there and back, %",
        100 * (over + back) / whole,
        "<= 1",
        f"{1e9 * (over + back) / options.rows:.1f} ns a row",
    )


def totals(options: argparse.Namespace) -> None:
    ratios = Ratios(f"One total for {options.rows:,} rows, processor time / one plain pass")
    rows, _ = embedding_rows(options.rows)

    def spent(column: str, objective: str) -> float:
        return float(np.sum(rows.route(rows.table, objective=objective)[column].to_numpy()))

    for total, column in (
        ("total_usd", "predicted_cost_usd"),
        ("total_worst_case_usd", "worst_case_cost_usd"),
    ):
        least, most = spent(column, "cheapest"), spent(column, "best")
        for share in (0.05, 0.3):
            within = {total: least + share * (most - least)}
            plain, took = best_of_each(  # all threads together
                lambda: rows.route(rows.table),
                lambda within=within: rows.route(rows.table, **within),
                clock=time.process_time,
            )
            what = f"`{total}`, {share:.0%} of the way to the best options"
            ratios.add(what, took / plain, "<= 3")


def texts(options: argparse.Namespace) -> None:
    ratios = Ratios(f"{options.rows:,} texts of {CHARACTERS} characters")
    rows, strings = text_rows(options.rows)
    alone, one, two = best_of_each(
        lambda: bare(rows.router, strings),
        *(lambda n=n: rows.route(rows.table, threads=n) for n in (1, 2)),
        rounds=2,
    )
    ratios.add(
        "`route_table` / the bare encoder and scorer, one thread",
        alone / one,
        ">= 0.9",
        f"{1e6 * alone / options.rows:.2f} and {1e6 * one / options.rows:.2f} µs a row",
    )
    ratios.add("`route_table`, two threads / one", one / two, "")


def from_parquet(options: argparse.Namespace) -> None:
    ratios = Ratios(f"{options.rows:,} texts of {CHARACTERS} characters, from and to Parquet")
    rows, strings = text_rows(options.rows)
    alone = best(lambda: bare(rows.router, strings), 2)
    with scratch(options) as folder:
        source = rows.write(folder / "in", options.rows)

        def route(**more: Any) -> float:
            target = folder / "out"
            shutil.rmtree(target, ignore_errors=True)
            return seconds(
                lambda: bulk.route_dataset(
                    source, target, router=rows.router, **rows.column, **more
                )
            )

        one = min(route(threads=1) for _ in range(2))
        every = min(route() for _ in range(2))
    in_memory = best(lambda: rows.route(rows.table), 2)
    figures = f"{1e6 * one / options.rows:.2f} µs a row"
    ratios.add("one thread / the bare encoder and scorer", alone / one, ">= 0.8", figures)
    figures = f"{1e6 * every / options.rows:.2f} µs a row"
    ratios.add("all cores / `route_table` in memory", in_memory / every, "", figures)


def memory(options: argparse.Namespace) -> None:
    ratios = Ratios("Memory of `route_dataset`, texts of 40 characters, from and to Parquet")
    with scratch(options) as folder:
        rows, _ = text_rows(options.rows // PARTS, 40)
        part = folder / "part.parquet"
        parquet.write_table(rows.table, part, row_group_size=65536)
        most = {}
        for times in (1, 10):
            source = folder / f"in{times}"
            source.mkdir()
            for index in range(PARTS * times):
                os.link(part, source / f"{index}.parquet")
            command = [sys.executable, __file__, "--child", str(source), str(folder / "out")]
            most[times] = json.loads(subprocess.check_output(command))
            shutil.rmtree(folder / "out")
    each = PARTS * rows.table.num_rows
    ratios.add(
        f"most resident memory of {10 * each:,} rows / {each:,} rows",
        most[10]["mb"] / most[1]["mb"],
        "<= 1.05",
        f"{most[1]['mb']:,.0f} and {most[10]['mb']:,.0f} MB, {most[10]['rows_s']:,.0f} rows/s",
    )


def memory_child(source: str, target: str) -> None:
    summary = bulk.route_dataset(source, target, text="prompt")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"mb": peak, "rows_s": summary.rows / summary.seconds}))


@contextmanager
def scratch(options: argparse.Namespace) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        yield Path(folder)


@contextmanager
def ray_cluster() -> Iterator[Any]:
    import ray

    # More than the workers take: reading needs some too.
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    ray.data.DataContext.get_current().enable_progress_bars = False
    try:
        yield ray
    finally:
        ray.shutdown()


def ray_seconds(dataset: Any, rows: Rows, workers: int) -> float:
    import r2_router.ray

    routed = r2_router.ray.route(
        dataset, rows.router, concurrency=workers, batch_size=BLOCK, **rows.column
    )
    return seconds(routed.materialize)


@contextmanager
def spark_session(workers: int) -> Iterator[Any]:
    os.environ["PYSPARK_PYTHON"] = sys.executable
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master(f"local[{workers}]")
    for name, value in {
        "spark.ui.enabled": "false",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.memory": "4g",
        "spark.log.level": "ERROR",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.files.minPartitionNum": str(PARTS),
    }.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    try:
        yield session
    finally:
        session.stop()


def spark_seconds(session: Any, rows: Rows, source: Path) -> float:
    import r2_router.spark

    frame = session.read.parquet(str(source))
    routed = r2_router.spark.route(frame, rows.router, **rows.column)
    return seconds(routed.write.format("noop").mode("overwrite").save)


def by_row(run: Callable[[Any], float], few: Any, many: Any, added: int) -> float:
    """Seconds that each further row takes, so that the start of an engine does not count."""
    run(few)  # warms up
    return (min(run(many) for _ in range(2)) - min(run(few) for _ in range(2))) / added


def engine_times(rows: Rows, options: argparse.Namespace) -> dict[str, dict[int, float]]:
    """By engine and number of workers, seconds for each row."""
    times: dict[str, dict[int, float]] = {}
    few, many = options.engine_rows // 4, options.engine_rows
    if has("ray"):
        with ray_cluster() as ray:
            datasets = [ray.data.from_arrow(rows.parts(count)) for count in (few, many)]
            times["Ray"] = {
                workers: by_row(
                    lambda dataset, n=workers: ray_seconds(dataset, rows, n), *datasets, many - few
                )
                for workers in (1, 2)
            }
    if has("pyspark"):
        times["Spark"] = {}
        with scratch(options) as folder:
            sources = rows.write(folder / "few", few), rows.write(folder / "many", many)
            for workers in (1, 2):
                with spark_session(workers) as session:
                    times["Spark"][workers] = by_row(
                        lambda source, session=session: spark_seconds(session, rows, source),
                        *sources,
                        many - few,
                    )
    return times


def engines(options: argparse.Namespace) -> None:
    rows, _ = text_rows(options.engine_rows)
    times = engine_times(rows, options)
    ratios = Ratios(f"Engines, {options.engine_rows:,} texts of {CHARACTERS} characters")
    for engine, of in times.items():
        figures = f"{1e6 * of[1]:.2f} and {1e6 * of[2]:.2f} µs a row"
        ratios.add(f"{engine}, two workers / one", of[1] / of[2], ">= 1.6", figures)


def overhead(options: argparse.Namespace) -> None:
    text, strings = text_rows(options.engine_rows)
    times = {"embed and `route_batch`": best(lambda: bare(text.router, strings)) / len(strings)}
    times |= table_times(text) | {
        f"{engine}, one worker": of[1] for engine, of in engine_times(text, options).items()
    }
    few = strings[: options.loop_rows]
    loop = best(lambda: [text.router.route_text(query) for query in few])
    times["a loop over `route_text`"] = loop / len(few)
    if has("pyspark"):
        with spark_session(1) as session:
            times["Spark, `route_text` in a Python UDF"] = udf_seconds(session, text, options)
    print_overhead(f"Texts of {CHARACTERS} characters", times)

    embedded, matrix = embedding_rows(options.engine_rows)
    router = embedded.router
    plain = best(lambda: router.route_batch(matrix, threads=1)) / len(matrix)
    times = {"`route_batch`": plain} | table_times(embedded)
    times |= {
        f"{engine}, one worker": of[1] for engine, of in engine_times(embedded, options).items()
    }
    vectors = matrix[: options.loop_rows]
    loop = best(lambda: [router.route(vector) for vector in vectors])
    times["a loop over `route`"] = loop / len(vectors)
    if has("sklearn"):
        reference = reference_router(router)
        vectors = matrix[:50].astype(np.float64)
        assert all(reference.route(v)["model"] == router.route(v)["model"] for v in vectors)
        loop = best(lambda: [reference.route(vector) for vector in vectors])
        times["187 times `Ridge.predict`, as the reference package"] = loop / len(vectors)
    print_overhead(f"Embeddings of {router.dimension:,} float32", times)


def table_times(rows: Rows) -> dict[str, float]:
    """By kind of table, seconds for each row on one thread."""
    kinds = {"pyarrow": rows.table}
    if has("polars"):
        import polars

        kinds["polars"] = polars.from_arrow(rows.table)
    if has("pandas"):
        import pandas

        kinds["pandas"] = rows.table.to_pandas(types_mapper=pandas.ArrowDtype)
    return {
        f"`route_table`, {kind}": best(lambda table=table: rows.route(table, threads=1))
        / rows.table.num_rows
        for kind, table in kinds.items()
    }


def udf_seconds(session: Any, rows: Rows, options: argparse.Namespace) -> float:
    """For each row, in a function of Spark that its user writes."""
    from pyspark.sql.functions import udf

    router = session.sparkContext.broadcast(rows.router)
    model_of = udf(lambda query: router.value.route_text(query)["model"])

    def run(source: Path) -> float:
        frame = session.read.parquet(str(source)).select(model_of("prompt"))
        return seconds(frame.write.format("noop").mode("overwrite").save)

    few, many = options.loop_rows, 5 * options.loop_rows
    with scratch(options) as folder:
        sources = rows.write(folder / "few", few), rows.write(folder / "many", many)
        return by_row(run, *sources, many - few)


def reference_router(router: R2Router) -> Any:
    """The reference package's arithmetic with the heads of a router."""
    from reference_rendering import ReferenceRouter
    from sklearn.linear_model import Ridge

    def ridge(head: Any) -> Any:
        made = Ridge()
        made.coef_, made.intercept_ = head.coef_, head.intercept_
        made.n_features_in_ = router.dimension
        return made

    predictors = {
        model: {
            "limited": {key: ridge(head) for key, head in heads["limited"].items()},
            "unlimited_score": ridge(heads["unlimited_score"]),
            "unlimited_token": ridge(heads["unlimited_token"]),
        }
        for model, heads in router.predictors.items()
    }
    return ReferenceRouter(predictors, dict(router.model_configs), router.lambda_val)


def print_overhead(title: str, times: dict[str, float]) -> None:
    plain = next(iter(times.values()))
    print(f"\n### {title}, one thread or worker\n\n| | µs a row | more than the first | times |")
    print("|---|---:|---:|---:|")
    for what, spent in times.items():
        more = 1e6 * (spent - plain)
        print(f"| {what} | {1e6 * spent:.2f} | {more:.2f} | {spent / plain:.3g} |", flush=True)


SECTIONS = {
    "batch": batch,
    "tables": tables,
    "totals": totals,
    "texts": texts,
    "parquet": from_parquet,
    "memory": memory,
    "engines": engines,
    "overhead": overhead,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--rows", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--engine-rows", type=int, default=200_000, metavar="N")
    parser.add_argument("--loop-rows", type=int, default=2_000, metavar="N", help="one by one")
    parser.add_argument("--folder", help="for files; default: that of temporary files")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        memory_child(*options.child)
        return
    if unknown := set(options.sections) - SECTIONS.keys():
        parser.error(f"{', '.join(unknown)}: expected sections of {', '.join(SECTIONS)}")
    for name in options.sections or SECTIONS:
        SECTIONS[name](options)


if __name__ == "__main__":
    main()
