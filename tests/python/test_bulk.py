"""Files and folders: complete, resumable, one writer, and the decisions of route_table."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from r2_router import R2Router, bulk

pyarrow = pytest.importorskip("pyarrow")
for module in ("csv", "dataset", "parquet"):
    pytest.importorskip(f"pyarrow.{module}")


def texts(count: int, seed: int = 0) -> list[str | None]:
    return [
        None if i % 7 == 3 else f"question {seed} {i} " + "why " * (i % 40) for i in range(count)
    ]


def write(folder: Path, ending: str = ".parquet", files: int = 3, rows: int = 500) -> None:
    (folder / "more").mkdir(parents=True)
    for index in range(files):
        table = pyarrow.table({"id": range(rows), "prompt": texts(rows, index)})
        path = folder / ("more" if index == 0 else ".") / f"part{index}{ending}"
        if ending == ".parquet":
            pyarrow.parquet.write_table(table, path)
        elif ending == ".csv":
            pyarrow.csv.write_csv(table, path)
        elif ending == ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))
        else:
            with pyarrow.ipc.new_file(path, table.schema) as writer:
                writer.write_table(table, max_chunksize=100)


def read(path: Path) -> Any:
    name = {".parquet": "parquet", ".csv": "csv", ".jsonl": "json"}.get(path.suffix, "ipc")
    return pyarrow.dataset.dataset(path, format=name).to_table()


def visible(folder: Path) -> list[str]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return sorted(p.name for p in paths if not p.name.startswith((".", "_")))


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".jsonl", ".arrow"])
def test_every_format(ending: str, tmp_path: Path, lexical_router: R2Router) -> None:
    write(tmp_path / "in", ending)
    seen: list[int] = []
    summary = bulk.route_dataset(
        tmp_path / "in",
        tmp_path / "out",
        text="prompt",
        router=lexical_router,
        lambda_val=0.9,
        batch_rows=64,
        progress=lambda rows, seconds: seen.append(rows),
    )
    assert summary.rows == 1500
    assert seen == sorted(seen) and seen[-1] == 1500
    cost = worst = 0.0
    decided = 0
    for index, path in enumerate(["more/part0", "part1", "part2"]):
        routed = read(tmp_path / "out" / (path + ending))
        assert routed["id"].to_pylist() == list(range(500))
        expected = lexical_router.route_table(
            {"prompt": routed["prompt"].to_pylist()}, text="prompt", lambda_val=0.9
        )
        if ending != ".csv":  # in which a missing text is an empty one
            assert routed["prompt"].to_pylist() == texts(500, index)
        for name in ("model", "budget", "predicted_cost_usd", "reason"):
            found = [value if value != "" else None for value in routed[name].to_pylist()]
            assert found == expected[name], name
        cost += sum(value for value in expected["predicted_cost_usd"] if value is not None)
        worst += sum(value for value in expected["worst_case_cost_usd"] if value is not None)
        decided += sum(value is not None for value in expected["model"])
    assert summary.predicted_cost_usd == pytest.approx(cost)
    assert summary.worst_case_cost_usd == pytest.approx(worst)
    assert sum(summary.models.values()) == decided
    assert sum(summary.undecided.values()) == 1500 - decided
    assert visible(tmp_path / "out") == [f"part{i}{ending}" for i in range(3)]


def test_only_what_is_missing_is_routed_again(tmp_path: Path, lexical_router: R2Router) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    write(source)

    def run(**options: Any) -> bulk.Summary:
        return bulk.route_dataset(source, target, text="prompt", router=lexical_router, **options)

    first = run()
    times = {path: path.stat().st_mtime_ns for path in target.glob("*.parquet")}
    again = run()
    assert again.files_skipped == 3
    assert (again.rows, again.models) == (first.rows, first.models)
    assert again.predicted_cost_usd == pytest.approx(first.predicted_cost_usd)
    assert times == {path: path.stat().st_mtime_ns for path in target.glob("*.parquet")}
    (target / "part1.parquet").unlink()
    assert run().files_skipped == 2
    pyarrow.parquet.write_table(pyarrow.table({"prompt": texts(20)}), source / "part2.parquet")
    changed = run()
    assert (changed.files_skipped, changed.rows) == (2, 1020)
    # A process that was killed while it wrote to the journal leaves half a line.
    with open(target / "_r2_router.jsonl", "ab") as journal:
        journal.write(b'{"file": "part1.par')
    assert run().files_skipped == 3
    with pytest.raises(ValueError, match="begun with other arguments"):
        run(lambda_val=0.5)


PROGRAM = """
import resource, sys, time
from r2_router import R2Router, bulk
if len(sys.argv) > 4:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[4]),) * 2)
def slow(rows, seconds):
    print(rows, flush=True)
    time.sleep(0.05)
router = R2Router.from_pretrained(sys.argv[1])
bulk.route_dataset(sys.argv[2], sys.argv[3], text="prompt", router=router, batch_rows=50,
                   progress=slow)
"""


def start(*arguments: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_killed_process_loses_and_repeats_no_row(
    tmp_path: Path, native_folder: Path, lexical_router: R2Router
) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    write(source)
    process = start(native_folder, source, target)
    assert process.stdout is not None
    while int(process.stdout.readline()) < 700:  # in the second file
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert visible(target) == ["part0.parquet"]
    assert any(path.name.endswith(".tmp") for path in target.iterdir())
    summary = bulk.route_dataset(source, target, text="prompt", router=lexical_router)
    assert (summary.rows, summary.files_skipped) == (1500, 1)
    for name in ("more/part0", "part1", "part2"):
        assert read(target / f"{name}.parquet")["id"].to_pylist() == list(range(500))
    assert not any(path.name.endswith(".tmp") for path in target.rglob("*"))


def test_a_second_process_is_kept_out(
    tmp_path: Path, native_folder: Path, lexical_router: R2Router
) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    write(source)
    process = start(native_folder, source, target)
    assert process.stdout is not None
    process.stdout.readline()
    with pytest.raises(RuntimeError, match="another process is writing"):
        bulk.route_dataset(source, target, text="prompt", router=lexical_router)
    process.stdout.read()
    assert process.wait() == 0
    assert visible(target) == ["part0.parquet", "part1.parquet", "part2.parquet"]


def test_a_full_disk_leaves_nothing(
    tmp_path: Path, native_folder: Path, lexical_router: R2Router
) -> None:
    """A limit on the size of a file fails in the same way."""
    source, target = tmp_path / "in", tmp_path / "out"
    write(source, ".csv", files=1)
    process = start(native_folder, source, target, 30000)
    _, errors = process.communicate()
    assert process.returncode == 1
    assert "OSError" in errors
    assert [path.name for path in (target / "more").iterdir()] == []
    summary = bulk.route_dataset(source, target, text="prompt", router=lexical_router)
    assert (summary.rows, summary.files_skipped) == (500, 0)


def test_the_command(tmp_path: Path, native_folder: Path) -> None:
    write(tmp_path / "in", files=1)

    def run(*arguments: Any) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "r2_router", "bulk", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    common = (tmp_path / "in", tmp_path / "out", "--checkpoint-dir", native_folder)
    done = run(*common, "--text", "prompt", "--lambda", "0.9", "--max-cost-usd", "0.5")
    assert done.returncode == 0, done.stderr
    assert "500 rows in 1 files" in done.stdout
    assert "not routed: null" in done.stdout
    assert "rows/s" in done.stderr
    failed = run(*common, "--text", "query", "--lambda", "0.9", "--max-cost-usd", "0.5")
    assert failed.returncode == 1
    assert "begun with other arguments" in failed.stderr
    failed = run(tmp_path / "none", tmp_path / "out2", "--text", "prompt")
    assert failed.returncode == 1
    assert "does not exist" in failed.stderr


def test_wrong_sources(tmp_path: Path, lexical_router: R2Router) -> None:
    (tmp_path / "notes.txt").write_text("no table")
    for source, error in ((tmp_path / "notes.txt", ValueError), (tmp_path, FileNotFoundError)):
        with pytest.raises(error, match=r"names? that ends? in \.parquet"):
            bulk.route_dataset(source, tmp_path / "out", text="prompt", router=lexical_router)
