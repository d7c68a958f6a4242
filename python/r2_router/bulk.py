"""Routes files and folders of any size: Parquet, CSV, JSON lines and Arrow.

    from r2_router import bulk

    summary = bulk.route_dataset("prompts/", "routed/", text="prompt", max_cost_usd=0.01)

Needs pyarrow (``pip install 'r2-router[bulk]'``). ``python -m r2_router bulk`` does the same.

Each source file becomes a target file of the same name, with the columns of the decisions after its
own. It is written under a temporary name, and renamed when it is complete and on disk. A line in
``_r2_router.jsonl`` then records it. A run that was interrupted continues with the files that have
no such line. A lock, which is released when the process ends, prevents a second run from using the
target.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import hashlib
import json
import os
import pickle
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from . import _core
from ._answers import Answering, FileAnswers, spent_before
from ._columns import DECISION_COLUMNS, table_of
from ._durable import JsonLines, append_line, naming
from ._router import R2Router
from ._totals import Total, as_total

if TYPE_CHECKING:
    import pyarrow

__all__ = ["Summary", "main", "route_dataset"]

_JOURNAL = "_r2_router.jsonl"
_LOCK = ".r2_router.lock"
#: The line of the journal that has the total, in place of a file.
_TOTAL = ""
#: Steps of a total's curve, above which its memory does not grow: 24 bytes each.
_MOST_STEPS = 4_000_000

#: Formats by the ending of a file's name.
_FORMATS = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".arrow": "ipc",
    ".ipc": "ipc",
    ".feather": "ipc",
}


@dataclasses.dataclass
class Summary:
    """The result of a job, including the interrupted runs that it continued."""

    rows: int = 0
    #: Number of rows for each chosen model.
    models: dict[str, int] = dataclasses.field(default_factory=dict)
    #: Number of rows without a decision, by reason.
    undecided: dict[str, int] = dataclasses.field(default_factory=dict)
    predicted_cost_usd: float = 0.0
    #: Upper bound on the cost of all answers within their caps; infinite if a price is unknown.
    worst_case_cost_usd: float = 0.0
    #: The mean of the rows with a decision.
    predicted_quality: float = 0.0
    #: Rows that a model has answered.
    answered: int = 0
    #: Rows without an answer, by error; "limit": max_total_cost_usd did not suffice for them.
    unanswered: dict[str, int] = dataclasses.field(default_factory=dict)
    #: What the answers of all runs have cost; a request whose outcome is unknown counts in full.
    spent_usd: float = 0.0
    files: int = 0
    #: Files that an earlier run had finished.
    files_skipped: int = 0
    #: Of this run.
    seconds: float = 0.0

    def __str__(self) -> str:
        lines = [
            f"{self.rows} rows in {self.files} files"
            + (f", {self.files_skipped} of them from an earlier run" if self.files_skipped else ""),
            f"predicted cost ${self.predicted_cost_usd:.6g}, at most "
            f"${self.worst_case_cost_usd:.6g}; predicted quality {self.predicted_quality:.4f}",
        ]
        lines += [f"  {rows:>10} {model}" for model, rows in _most_first(self.models)]
        lines += [f"  {rows:>10} not routed: {why}" for why, rows in _most_first(self.undecided)]
        if self.answered or self.unanswered:
            lines.append(f"{self.answered} rows answered for at most ${self.spent_usd:.6g}")
        lines += [f"  {rows:>10} not answered: {why}" for why, rows in _most_first(self.unanswered)]
        return "\n".join(lines)

    def _add(self, other: Summary) -> None:
        decided, others = sum(self.models.values()), sum(other.models.values())
        if others:
            self.predicted_quality += (other.predicted_quality - self.predicted_quality) * (
                others / (decided + others)
            )
        for mine, theirs in (
            (self.models, other.models),
            (self.undecided, other.undecided),
            (self.unanswered, other.unanswered),
        ):
            for key, rows in theirs.items():
                mine[key] = mine.get(key, 0) + rows
        self.rows += other.rows
        self.predicted_cost_usd += other.predicted_cost_usd
        self.worst_case_cost_usd += other.worst_case_cost_usd
        self.answered += other.answered


def route_dataset(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    text: str | None = None,
    embedding: str | None = None,
    router: R2Router | None = None,
    batch_rows: int = 65536,
    progress: Callable[[int, float], None] | None = None,
    total_usd: float | None = None,
    total_worst_case_usd: float | None = None,
    llm_api_base: str | None = None,
    llm_api_key: str | None = None,
    max_total_cost_usd: float | None = None,
    concurrency: int = 16,
    temperature: float | None = None,
    **options: Any,
) -> Summary:
    """Routes a file, or all files of a folder and its folders, into files of the folder ``target``.

    ``text``, ``embedding`` and the other options are those of ``R2Router.route_table``.
    ``router=None`` uses the default checkpoint. Memory does not depend on the size of the files:
    ``batch_rows`` rows are read, routed and written at a time. ``progress(rows, seconds)`` is
    called after each batch.

    ``total_usd`` or ``total_worst_case_usd`` applies to all files together. The files are then read
    twice: the first pass computes what quality costs. Above about half a million rows, up to 0.1 %
    of the total may not be spent.

    ``llm_api_base``: an OpenAI-compatible endpoint that also answers the rows, ``concurrency`` at
    a time. ``llm_api_key``: its key, or else OPENROUTER_API_KEY of the environment. All runs
    together are charged at most ``max_total_cost_usd``: a row is sent only if the worst case of its
    cost fits into the rest. The chosen pair is called, without fallbacks. The columns ``response``,
    ``finish_reason``, ``prompt_tokens``, ``completion_tokens``, ``cost_usd`` (missing: unknown) and
    ``answer_error`` are added. The next run sends the rows that the server failed to answer, and
    with a higher limit those that did not fit. Other rows are never sent twice.

    After an interruption, repeat the call with the same arguments to continue; a file that has
    changed since is routed again. Raises ``ValueError`` if the target was started with other
    arguments, ``FileNotFoundError`` if there is nothing to route, and ``RuntimeError`` if another
    process is writing to the target, or if a source changes while a total is spent on it. The files
    in the target never cost more than the total. ``OSError`` names a file that does not fit on the
    disk, of which nothing is left. ``AuthenticationError`` and ``CreditError`` end the job, if a
    server of answers has them for every row.
    """
    if router is None:
        router = R2Router.from_pretrained()
    begin = time.monotonic()
    files = _source_files(Path(source))
    folder = Path(target)
    answering = None
    if llm_api_base is not None:
        answering = Answering(
            router,
            text,
            llm_api_base,
            llm_api_key,
            max_total_cost_usd,
            concurrency,
            temperature,
        )
        options.setdefault("available_only", True)
    elif max_total_cost_usd is not None:
        raise ValueError("max_total_cost_usd limits the cost of answers: expected llm_api_base too")
    decisive = sorted((name, value) for name, value in options.items() if name != "threads")
    job: dict[str, Any] = {
        "text": text,
        "embedding": embedding,
        "options": repr(decisive),
        "router": f"{router!r}, {_digest(router)}",
    }
    total = as_total(total_usd, total_worst_case_usd)
    if total is not None:
        job["total"] = list(total)
    if answering is not None:
        job["answers"] = [llm_api_base, temperature]
    options |= {"text": text, "embedding": embedding}
    summary = Summary(files=len(files))
    with naming(folder), _locked(folder):
        finished = _read_journal(folder, job)
        allowance = None
        if total is not None:
            if _TOTAL not in finished:
                plan = _plan_total(router, total, files, batch_rows, options)
                append_line(folder / _JOURNAL, {"file": _TOTAL, **plan})
                finished[_TOTAL] = plan
            plan = finished[_TOTAL]
            _check_unchanged(_states(files), plan["states"], folder)
            allowance = _core.Allowance(*plan["allowance"])
        recorded = {name: entry.get("spent_usd", 0.0) for name, entry in finished.items()}
        if answering is not None:
            answering.purse.take(spent_before(folder, recorded))
        for path, relative in files:
            state = _state(path)
            done = finished.get(relative)
            output = folder / relative
            ask_again = answering is not None and done and done["ask_again"]
            if done and done["state"] == state and output.exists() and not ask_again:
                summary.files_skipped += 1
                summary._add(Summary(**done["summary"]))
                continue
            before = summary.rows

            def report(rows: int, before: int = before) -> None:
                if progress is not None:
                    progress(before + rows, time.monotonic() - begin)

            def check(routed: Summary, path: Path = path, relative: str = relative) -> None:
                if total is not None:
                    planned = {relative: plan["states"][relative]}
                    _check_unchanged(_states([(path, relative)]), planned, folder)
                    _check_total(total, summary, routed)

            answers = None
            if answering is not None:
                answers = FileAnswers(answering, output, recorded.get(relative, 0.0), report)
            with answers or contextlib.nullcontext():
                routed = _route_file(
                    router,
                    path,
                    output,
                    batch_rows,
                    report,
                    check,
                    allowance and allowance.after(summary.rows),
                    answers,
                    **options,
                )
            entry: dict[str, Any] = {
                "file": relative,
                "state": state,
                "summary": dataclasses.asdict(routed),
            }
            if answers is not None:
                entry |= {"spent_usd": answers.spent_usd, "ask_again": answers.ask_again}
            append_line(folder / _JOURNAL, entry)
            if answers is not None and not answers.ask_again:
                answers.remove_log()
            summary._add(routed)
    if answering is not None:
        summary.spent_usd = answering.purse.taken_usd
    summary.seconds = time.monotonic() - begin
    return summary


def _state(path: Path) -> list[int]:
    """Changes with the file."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _states(files: list[tuple[Path, str]]) -> dict[str, list[int]]:
    return {relative: _state(path) for path, relative in files}


def _plan_total(
    router: R2Router,
    total: Total,
    files: list[tuple[Path, str]],
    batch_rows: int,
    options: dict[str, Any],
) -> dict[str, Any]:
    """The first pass: what the rows may cost, and the files for which that holds."""
    import pyarrow

    curve = total.curve(_MOST_STEPS)
    states = _states(files)
    for path, _ in files:
        for batch in _batches(path, batch_rows):
            router._add_to_curve(curve, pyarrow.Table.from_batches([batch]), **options)
    return {"allowance": curve.allowance(total.usd).arguments(), "states": states}


def _check_unchanged(
    states: dict[str, list[int]], planned: dict[str, list[int]], folder: Path
) -> None:
    names = sorted(states.keys() | planned.keys())
    changed = [name for name in names if states.get(name) != planned.get(name)]
    if changed:
        raise RuntimeError(
            f"{', '.join(changed)} changed after the total was divided among the rows: choose "
            f"another target, or delete {folder / _JOURNAL} to divide it again"
        )


def _check_total(total: Total, before: Summary, routed: Summary) -> None:
    """Whatever happens to a source, no file becomes visible that would exceed the total."""
    spent = sum(
        part.worst_case_cost_usd if total.worst_case else part.predicted_cost_usd
        for part in (before, routed)
    )
    if spent > total.usd * (1 + 1e-12):
        raise RuntimeError(
            f"the rows cost ${spent:.6g}, which exceeds the total of ${total.usd:.6g}: the source "
            "changed while it was routed; choose another target and route it again"
        )


def _digest(router: R2Router) -> str:
    """Differs between checkpoints that differ."""
    return hashlib.sha256(pickle.dumps(router._checkpoint, protocol=4)).hexdigest()[:16]


def _source_files(source: Path) -> list[tuple[Path, str]]:
    """The files with their paths within the target."""
    if source.is_file():
        _format_of(source)
        return [(source, source.name)]
    if not source.exists():
        raise FileNotFoundError(f"{source} does not exist: expected a file or a folder")
    files = [
        (path, str(path.relative_to(source)))
        for path in sorted(source.rglob("*"))
        if path.is_file() and path.suffix in _FORMATS and not path.name.startswith((".", "_"))
    ]
    if not files:
        raise FileNotFoundError(
            f"{source} has no files to route: expected names that end in {', '.join(_FORMATS)}"
        )
    return files


def _format_of(path: Path) -> str:
    if path.suffix not in _FORMATS:
        raise ValueError(
            f"{path} is of an unknown format: expected a name that ends in {', '.join(_FORMATS)}"
        )
    return _FORMATS[path.suffix]


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Makes the folder, which no other process can use until the end."""
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / _LOCK, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RuntimeError(
                f"another process is writing to {folder}: wait for it, or choose another target"
            ) from None
        yield


def _read_journal(folder: Path, job: dict[str, Any]) -> dict[str, Any]:
    """By file the last line about it. A new journal begins with the job."""
    path = folder / _JOURNAL
    lines = [entry for _, entry in JsonLines.entries(path)]
    if not lines:
        append_line(path, job)
        return {}
    if lines[0] != json.loads(json.dumps(job)):
        raise ValueError(
            f"{folder} was begun with other arguments, {lines[0]}: choose another target, or "
            f"delete {path} to route everything again"
        )
    return {line["file"]: line for line in lines[1:]}


def _route_file(
    router: R2Router,
    source: Path,
    target: Path,
    batch_rows: int,
    report: Callable[[int], None],
    check: Callable[[Summary], None],
    allowance: _core.Allowance | None,
    answers: FileAnswers | None,
    **options: Any,
) -> Summary:
    """``check`` is called when all rows are routed, before the target becomes visible."""
    import pyarrow
    import pyarrow.dataset

    summary = Summary()
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    for stale in target.parent.glob(f".{target.name}.*.tmp"):
        stale.unlink()  # of a process that was killed; the lock is ours
    dataset = pyarrow.dataset.dataset(source, format=_format_of(source))
    name = options.get("text") or options.get("embedding")
    if name is not None:
        empty = dataset.schema.empty_table()
        table_of(empty).check(name, "text" if options.get("text") else "embedding")
    if answers is not None:
        answers.check(dataset.schema.names)

    def routed_part(part: pyarrow.Table) -> pyarrow.Table:
        rest = allowance and allowance.after(summary.rows)
        routed = router._route_within(rest, part, **options)
        return routed if answers is None else answers.added_to(routed)

    try:
        with naming(target), open(temporary, "wb") as file:
            with _writer(file, _format_of(target)) as write:
                wrote = False
                for batch in _batches(source, batch_rows):
                    if batch.num_rows == 0 and wrote:
                        continue
                    routed = routed_part(pyarrow.Table.from_batches([batch]))
                    write(routed)
                    wrote = True
                    summary._add(_summary_of(routed))
                    report(summary.rows)
                if not wrote:
                    write(routed_part(dataset.schema.empty_table()))
            file.flush()
            os.fsync(file.fileno())
        check(summary)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    if answers is not None:
        summary.unanswered = dict(answers.outcomes)
        summary.answered = summary.unanswered.pop("", 0)
    return summary


def _batches(path: Path, batch_rows: int) -> Iterator[pyarrow.RecordBatch]:
    import pyarrow.dataset

    dataset = pyarrow.dataset.dataset(path, format=_format_of(path))
    yield from dataset.to_batches(batch_size=batch_rows, batch_readahead=2, fragment_readahead=1)


def _summary_of(routed: pyarrow.Table) -> Summary:
    import pyarrow.compute as pc

    table = routed.select(DECISION_COLUMNS)

    def count(column: Any) -> dict[str, int]:
        return {
            pair["values"]: pair["counts"]
            for pair in pc.value_counts(column).to_pylist()
            if pair["values"] is not None
        }

    undecided = pc.is_null(table["model"])
    return Summary(
        rows=table.num_rows,
        models=count(table["model"]),
        undecided=count(table["reason"].filter(undecided)),
        predicted_cost_usd=pc.sum(table["predicted_cost_usd"]).as_py() or 0.0,
        worst_case_cost_usd=pc.sum(table["worst_case_cost_usd"]).as_py() or 0.0,
        predicted_quality=pc.mean(table["predicted_quality"]).as_py() or 0.0,
    )


@contextlib.contextmanager
def _writer(file: IO[bytes], format: str) -> Iterator[Callable[[pyarrow.Table], None]]:
    """Writes tables of one schema to a file, one after another."""

    if format == "json":

        def write_lines(table: pyarrow.Table) -> None:
            for row in table.to_pylist():
                line = json.dumps(row, ensure_ascii=False, default=str) + "\n"
                file.write(line.encode())

        yield write_lines
        return

    def opened(schema: pyarrow.Schema) -> Any:
        if format == "parquet":
            from pyarrow import parquet

            return parquet.ParquetWriter(file, schema)
        if format == "csv":
            from pyarrow import csv

            return csv.CSVWriter(file, schema)
        from pyarrow import ipc

        return ipc.new_file(file, schema)

    writers: list[Any] = []

    def write(table: pyarrow.Table) -> None:
        if not writers:
            writers.append(opened(table.schema))
        writers[0].write_table(table)

    try:
        yield write
    finally:
        for writer in writers:
            writer.close()


def _most_first(counts: dict[str, int]) -> list[tuple[str, int]]:
    return collections.Counter(counts).most_common()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="r2-router bulk",
        description="Routes Parquet, CSV, JSON-lines and Arrow files of any size.",
    )
    parser.add_argument("source", help="a file or a folder")
    parser.add_argument("target", help="the folder to write to; an interrupted run continues")
    column = parser.add_mutually_exclusive_group(required=True)
    column.add_argument("--text", metavar="COLUMN", help="the column of queries")
    column.add_argument("--embedding", metavar="COLUMN", help="the column of their embeddings")
    parser.add_argument("--checkpoint-dir", metavar="DIR", help="default: the built-in checkpoint")
    parser.add_argument("--threads", type=int, help="default: all cores")
    parser.add_argument("--batch-rows", type=int, default=65536, metavar="N")
    parser.add_argument("--policy", help="a policy file, or the name of one of the checkpoint's")
    parser.add_argument("--llm-api-base", metavar="URL", help="also ask this endpoint the queries")
    parser.add_argument(
        "--max-total-cost",
        dest="max_total_cost_usd",
        type=float,
        metavar="USD",
        help="what all answers may cost together",
    )
    parser.add_argument(
        "--concurrency", type=int, default=16, metavar="N", help="requests at a time"
    )
    parser.add_argument("--temperature", type=float, metavar="X", help="of the answers")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    parser.add_argument(
        "--total-usd", type=float, metavar="USD", help="the most that all rows may cost, predicted"
    )
    parser.add_argument(
        "--total-worst-case-usd", type=float, metavar="USD", help="the same in the worst case"
    )
    types: dict[str, Any] = {"float": float, "int": int, "name": str}
    for setting in _core.settings():
        name = str(setting["name"])
        if setting["type"] in types:
            flag = "--" + name.removesuffix("_val").replace("_", "-").replace(".", "-")
            parser.add_argument(
                flag,
                dest=name,
                type=types[str(setting["type"])],
                help=str(setting["help"]).replace("%", "%%"),
            )
    return parser


def main(arguments: Sequence[str]) -> int:
    """Runs ``python -m r2_router bulk`` and returns its exit code."""
    parser = _parser()
    given = vars(parser.parse_args(arguments))
    source, target = given.pop("source"), given.pop("target")
    folder, quiet = given.pop("checkpoint_dir"), given.pop("quiet")
    options: dict[str, Any] = {}
    for name, value in given.items():
        if value is None:
            continue
        group, _, member = name.partition(".")
        if member:
            options.setdefault(group, {})[member] = value
        else:
            options[name] = value

    def show(rows: int, seconds: float) -> None:
        rate = rows / seconds if seconds > 0 else 0
        print(f"\r{rows} rows, {rate:,.0f} rows/s", end="", file=sys.stderr, flush=True)

    try:
        router = R2Router.from_pretrained(folder)
        summary = route_dataset(
            source, target, router=router, progress=None if quiet else show, **options
        )
    except ImportError as error:
        print(f"r2-router: error: {error}: pip install 'r2-router[bulk]'", file=sys.stderr)
        return 1
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        print(f"r2-router: error: {error}", file=sys.stderr)
        return 1
    if not quiet:
        print(file=sys.stderr)
    print(summary)
    return 0
