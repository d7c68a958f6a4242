"""One total for all rows: never exceeded, spent where it buys the most, in tables and in files."""

from __future__ import annotations

import json
import math
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from r2_router import BudgetError, R2Router, _core, bulk

pyarrow = pytest.importorskip("pyarrow")
for module in ("csv", "dataset", "parquet"):
    pytest.importorskip(f"pyarrow.{module}")

COSTS = {"total_usd": "predicted_cost_usd", "total_worst_case_usd": "worst_case_cost_usd"}
TOTALS = list(COSTS)


@pytest.fixture(scope="module")
def router() -> R2Router:
    return R2Router.from_pretrained()


def texts(count: int, seed: int = 0) -> list[str | None]:
    return [
        None if i % 7 == 3 else f"question {seed} {i} " + "why " * (i % 40) for i in range(count)
    ]


def present(values: list[Any]) -> list[float]:
    return [value for value in values if value is not None]


def spent(columns: dict[str, list[Any]], total: str) -> float:
    return math.fsum(present(columns[COSTS[total]]))


def quality(columns: dict[str, list[Any]]) -> float:
    return math.fsum(present(columns["predicted_quality"]))


def bounds(router: R2Router, table: Any, total: str, **options: Any) -> tuple[float, float]:
    """What the cheapest and the best options cost."""
    curve = _core.TotalCurve(total == "total_worst_case_usd")
    router._add_to_curve(curve, table, **options)
    with pytest.raises(BudgetError, match="expected at least that") as error:
        router.route_table(table, **options, **{total: 0.0})
    least = float(str(error.value).split(" rows cost $")[1].split(" ")[0])
    return least, curve.allowance(1e9).spent_usd


@pytest.mark.parametrize("total", TOTALS)
def test_no_single_policy_buys_more(total: str, router: R2Router) -> None:
    table = {"prompt": texts(300)}
    least, most = bounds(router, table, total, text="prompt")
    before = 0.0
    for share in (0.0, 0.01, 0.1, 0.4, 0.8):
        usd = least + share * (most - least)
        routed = router.route_table(table, text="prompt", **{total: usd})
        assert spent(routed, total) <= usd
        assert spent(routed, total) > usd - (most - least) / 50
        assert quality(routed) >= before
        before = quality(routed)
        assert set(routed["reason"]) == {"usd", "null"}
        singles: list[dict[str, Any]] = [{"objective": "cheapest"}, {"objective": "best"}]
        singles += [{"willingness_to_pay": 10.0**power} for power in np.arange(-6, 2, 0.25)]
        singles += [{"allow": [model]} for model in router.model_configs]
        for single in singles:
            other = router.route_table(table, text="prompt", **single)
            if spent(other, total) <= spent(routed, total):
                assert quality(other) <= quality(routed) + 1e-9, single


def test_every_type_of_table_is_the_same(router: R2Router) -> None:
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    prompts = texts(50)
    expected = router.route_table({"prompt": prompts}, text="prompt", total_usd=0.01)
    for table in (
        pyarrow.table({"prompt": prompts}),
        pyarrow.concat_tables(
            [pyarrow.table({"prompt": part}) for part in (prompts[:9], prompts[9:])]
        ),
        polars.DataFrame({"prompt": prompts}),
        pandas.DataFrame({"prompt": prompts}),
        [{"prompt": prompt} for prompt in prompts],
    ):
        routed = router.route_table(table, text="prompt", total_usd=0.01)
        models = [row["model"] for row in routed] if isinstance(routed, list) else routed["model"]
        if hasattr(models, "to_pylist"):
            models = models.to_pylist()
        found = [None if model != model or model is None else model for model in models]
        assert found == expected["model"], type(table)
    vectors = router.embed(present(prompts))
    by_text = router.route_table(
        {"prompt": present(prompts)}, text="prompt", total_usd=0.01, input_tokens=50
    )
    for column in (vectors, list(vectors), [list(map(float, row)) for row in vectors]):
        routed = router.route_table(
            {"vec": column}, embedding="vec", total_usd=0.01, input_tokens=50
        )
        assert routed["model"] == by_text["model"]


def test_a_sample_of_a_large_table_changes_nothing(router: R2Router) -> None:
    random = np.random.default_rng(1)
    vectors = random.standard_normal((40_000, router.dimension)).astype(np.float32) / 10
    table = {"vec": vectors}
    curve = _core.TotalCurve(False)
    router._add_to_curve(curve, table, embedding="vec")
    least, most = bounds(router, table, "total_usd", embedding="vec")
    usd = least + 0.3 * (most - least)
    routed = router.route_table(table, embedding="vec", total_usd=usd)
    assert spent(routed, "total_usd") == pytest.approx(curve.allowance(usd).spent_usd, rel=1e-12)
    assert usd * 0.999 < spent(routed, "total_usd") <= usd


def test_rows_of_one_price_are_served_in_order(router: R2Router) -> None:
    table = {"prompt": ["Who wrote Faust?"] * 100}
    least, most = bounds(router, table, "total_usd", text="prompt")
    usd = (least + most) / 2
    routed = router.route_table(table, text="prompt", total_usd=usd)
    costs = routed["predicted_cost_usd"]
    assert costs == sorted(costs, reverse=True)
    assert usd - (most - least) / 100 < math.fsum(costs) <= usd


def test_constraints_hold(router: R2Router) -> None:
    table = {"prompt": texts(100)}
    model = next(iter(router.model_configs))
    routed = router.route_table(
        table, text="prompt", total_usd=1.0, allow=[model], max_output_tokens=500
    )
    assert set(present(routed["model"])) == {model}
    assert max(present(routed["max_tokens"])) <= 500
    # A requirement that no option meets takes the best one, whatever the total.
    routed = router.route_table(table, text="prompt", total_usd=1e6, min_quality=1.0)
    assert set(routed["reason"]) == {"quality_missed", "null"}


def test_no_rows_and_rows_without_a_decision(router: R2Router) -> None:
    for rows in ([], [None], ["", None, " "]):
        table = pyarrow.table({"prompt": pyarrow.array(rows, pyarrow.string())})
        routed = router.route_table(table, text="prompt", total_usd=0)
        assert routed["model"].to_pylist() == [None] * len(rows)
    assert router.route_table([], text="prompt", total_usd=0) == []


def test_too_little_says_what_is_enough(router: R2Router) -> None:
    table = {"prompt": texts(100)}
    with pytest.raises(
        BudgetError,
        match=r"total_usd is \$0.0000001, but the cheapest options of the 100 rows cost",
    ) as error:
        router.route_table(table, text="prompt", total_usd=1e-7)
    enough = float(str(error.value).split("cost $")[1].split(" ")[0])
    routed = router.route_table(table, text="prompt", total_usd=enough)
    cheapest = router.route_table(table, text="prompt", objective="cheapest")
    assert spent(routed, "total_usd") == pytest.approx(spent(cheapest, "total_usd"), rel=1e-5)


def test_contradictions_and_bad_amounts(router: R2Router, tmp_path: Path) -> None:
    policy = tmp_path / "policy.json"
    policy.write_text('{"willingness_to_pay": 0.1}')
    cases: list[tuple[dict[str, Any], str]] = [
        ({"lambda_val": 0.5}, "total_usd and lambda_val contradict each other"),
        ({"willingness_to_pay": 0.5}, "total_usd and willingness_to_pay contradict"),
        ({"objective": "cheapest"}, "total_usd and objective contradict"),
        ({"policy": policy}, "total_usd and willingness_to_pay contradict"),
        ({"total_worst_case_usd": 1.0}, "total_usd and total_worst_case_usd are given"),
    ]
    for options, message in cases:
        for table in ({"prompt": ["Who wrote Faust?"]}, {"prompt": []}):
            with pytest.raises(ValueError, match=message):
                router.route_table(table, text="prompt", total_usd=1.0, **options)
    for usd, kind in (
        (-1, ValueError),
        (math.nan, ValueError),
        (math.inf, ValueError),
        ("5", TypeError),
    ):
        with pytest.raises(kind, match="expected a number of USD, 0 or more"):
            router.route_table({"prompt": ["x"]}, text="prompt", total_usd=usd)


def test_the_router_s_own_trade_off_gives_way() -> None:
    table = {"prompt": texts(30)}
    routed = [
        R2Router.from_pretrained(None, value).route_table(table, text="prompt", total_usd=0.01)
        for value in (None, 0.0, 1.0)
    ]
    assert routed[0] == routed[1] == routed[2]


def test_allowances_can_be_pickled() -> None:
    allowance = _core.Allowance(True, 0.25, 7, 1.5)
    arguments = (True, 0.25, 7, 1.5)
    assert pickle.loads(pickle.dumps(allowance)).arguments() == arguments
    assert allowance.after(3).arguments() == (True, 0.25, 4, 1.5)
    assert _core.Allowance(*json.loads(json.dumps(arguments))).arguments() == arguments


def write(folder: Path, files: int = 3, rows: int = 400) -> list[Any]:
    folder.mkdir()
    tables = [pyarrow.table({"prompt": texts(rows, index)}) for index in range(files)]
    for index, table in enumerate(tables):
        pyarrow.parquet.write_table(table, folder / f"part{index}.parquet")
    return tables


def read(folder: Path) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = (
        pyarrow.dataset.dataset(sorted(folder.glob("*.parquet"))).to_table().to_pydict()
    )
    return columns


@pytest.mark.parametrize("total", TOTALS)
def test_files_have_the_decisions_of_one_table(
    total: str, tmp_path: Path, router: R2Router
) -> None:
    tables = write(tmp_path / "in")
    whole = pyarrow.concat_tables(tables).to_pydict()
    least, most = bounds(router, whole, total, text="prompt")
    usd = least + 0.2 * (most - least)
    expected = router.route_table(whole, text="prompt", **{total: usd})

    def run() -> bulk.Summary:
        return bulk.route_dataset(
            tmp_path / "in",
            tmp_path / "out",
            text="prompt",
            router=router,
            batch_rows=90,
            **{total: usd},
        )

    summary = run()
    assert summary.rows == 1200
    assert read(tmp_path / "out") == expected
    # An interrupted run continues with the same allowance.
    (tmp_path / "out" / "part1.parquet").unlink()
    assert run().files_skipped == 2
    assert read(tmp_path / "out") == expected
    # Above the limit of steps, prices are rounded.
    few = pytest.MonkeyPatch()
    few.setattr(bulk, "_MOST_STEPS", 100)
    with few.context():
        bulk.route_dataset(
            tmp_path / "in", tmp_path / "few", text="prompt", router=router, **{total: usd}
        )
    few.undo()
    near = spent(read(tmp_path / "few"), total)
    assert 0.98 * spent(expected, total) <= near <= usd


def test_a_source_that_changes_between_the_passes(tmp_path: Path, router: R2Router) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    write(source)
    changed = pyarrow.table({"prompt": texts(10)})

    def run(target: Path, **options: Any) -> bulk.Summary:
        return bulk.route_dataset(
            source, target, text="prompt", router=router, total_usd=0.5, **options
        )

    def change(rows: int, seconds: float) -> None:
        pyarrow.parquet.write_table(changed, source / "part0.parquet")

    with pytest.raises(RuntimeError, match=r"part0.parquet changed after the total was divided"):
        run(target, progress=change)
    assert list(target.glob("*.parquet")) == []
    with pytest.raises(RuntimeError, match=r"part0.parquet changed .* delete .*_r2_router.jsonl"):
        run(target)
    run(tmp_path / "again")
    pyarrow.parquet.write_table(changed, source / "part3.parquet")
    with pytest.raises(RuntimeError, match=r"part3.parquet changed"):
        run(tmp_path / "again")


def test_no_file_exceeds_the_total_whatever_the_source_does(
    tmp_path: Path, router: R2Router
) -> None:
    """The content changes, but neither the size nor the time of the file."""
    source = tmp_path / "queries.csv"
    source.write_text("prompt\n" + ("x" * 40 + "\n") * 100)
    status = source.stat()
    table = {"prompt": ["x" * 40] * 100}
    least, _ = bounds(router, table, "total_usd", text="prompt")

    def change(rows: int, seconds: float) -> None:
        source.write_text("prompt\n" + ("x " * 20 + "\n") * 100)
        os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns))

    real = bulk._plan_total

    def plan(*arguments: Any) -> Any:
        made = real(*arguments)
        change(0, 0)
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bulk, "_plan_total", plan)
        with pytest.raises(RuntimeError, match="exceeds the total"):
            bulk.route_dataset(
                source, tmp_path / "out", text="prompt", router=router, total_usd=least
            )
    assert not (tmp_path / "out" / "queries.csv").exists()


def test_command_line(tmp_path: Path, native_folder: Path) -> None:
    write(tmp_path / "in", files=1)

    def run(*flags: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "r2_router", "bulk", str(tmp_path / "in")]
        command += [str(tmp_path / "out"), "--text", "prompt", "--quiet"]
        command += ["--checkpoint-dir", str(native_folder), *flags]
        return subprocess.run(command, capture_output=True, text=True)

    assert run("--total-usd", "0.1").returncode == 0
    assert spent(read(tmp_path / "out"), "total_usd") <= 0.1
    other = run("--total-worst-case-usd", "0.1")
    assert other.returncode == 1 and "begun with other arguments" in other.stderr
