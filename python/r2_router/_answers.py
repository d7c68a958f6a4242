"""Answers for the rows of routed tables, within one limit for all of them.

A row is asked in three steps. What its answer can cost at most is reserved, the request is sent,
and what it has cost is settled. Rows wait while the limit has no room for their reservation, and
stay without an answer if no other request can return money any more.

A file's log has a line for each reservation, on disk before the request is sent, and one for each
outcome. A row that has an outcome in the log is not asked again. A reservation without one is of a
process that was killed, or that a full disk has stopped: nobody knows what became of the request,
so it counts in full.
"""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from . import _core
from ._durable import JsonLines
from ._errors import server_error_type
from ._keywords import check_number

if TYPE_CHECKING:
    import pyarrow

    from ._router import R2Router

__all__ = ["Answering", "FileAnswers", "spent_before"]

#: The columns of an answer, and their Arrow types.
_COLUMNS = {
    "response": "string",
    "finish_reason": "string",
    "prompt_tokens": "int64",
    "completion_tokens": "int64",
    "cost_usd": "float64",
    "answer_error": "string",
}

#: The error of rows for which the limit had no room.
_LIMIT = "limit"
#: After these errors a row is asked again: at once a few times, and when the job is run again.
_PASSING = {"connection", "timeout", "rate_limited", "server", "bad_response"}
_REQUESTS_PER_ROW = 3
#: These concern all rows, so they end the job.
_FATAL = {"authentication", "credit", "untrusted", "cancelled"}


class _Purse:
    """What may be spent. Amounts are whole numbers, so that sums are exact; they round up."""

    _UNITS_PER_USD = 10**12

    def __init__(self, limit_usd: float) -> None:
        self._limit = math.floor(limit_usd * self._UNITS_PER_USD)
        self._taken = 0

    def _units(self, usd: float) -> int:
        return math.ceil(usd * self._UNITS_PER_USD)

    def reserve(self, usd: float) -> bool:
        """Takes an amount if there is room for it."""
        if not math.isfinite(usd) or self._taken + self._units(usd) > self._limit:
            return False
        self.take(usd)
        return True

    def take(self, usd: float) -> None:
        self._taken += self._units(usd)

    def settle(self, reserved_usd: float, cost_usd: float) -> None:
        """Ends a reservation. A bill above it takes from what is left."""
        self._taken += self._units(cost_usd) - self._units(reserved_usd)

    @property
    def taken_usd(self) -> float:
        return self._taken / self._UNITS_PER_USD


class _Row(NamedTuple):
    """A row to ask, and its place in the batch."""

    place: int
    #: In the log: its number in the file, and a digest of what is asked.
    key: str
    text: str
    model: int
    budget: int | None
    max_tokens: int
    worst_case_usd: float
    #: Requests that were made for it.
    requests: int = 0


class _Log:
    """A file's reservations and outcomes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        #: By the key of a row with a final outcome, the position of its line.
        self._outcomes: dict[str, int] = {}
        self._settled_usd = 0.0
        #: By the key of a row whose outcome is not known.
        self._reserved_usd: dict[str, float] = {}
        #: Whether it has a line, of which the first says what was spent before.
        self.begun = False
        for position, entry in JsonLines.entries(path):
            self.begun = True
            self._take(entry)
            if "outcome" in entry:
                self._outcomes[entry["key"]] = position

    def _take(self, entry: Mapping[str, Any]) -> None:
        key = entry.get("key", "")
        if "reserved_usd" in entry:
            self._settled_usd += self._reserved_usd.pop(key, 0.0)  # its process was killed
            self._reserved_usd[key] = entry["reserved_usd"]
        else:
            self._settled_usd += entry["spent_usd"]
            self._reserved_usd.pop(key, None)

    @property
    def spent_usd(self) -> float:
        """What the rows have cost, or may have."""
        return self._settled_usd + sum(self._reserved_usd.values())

    def outcome(self, key: str) -> dict[str, Any] | None:
        if key not in self._outcomes:
            return None
        with open(self.path, "rb") as file:
            file.seek(self._outcomes[key])
            outcome: dict[str, Any] = json.loads(file.readline())["outcome"]
        return outcome

    def open(self, carried_usd: float) -> None:
        """``carried_usd``: spent before the log began."""
        self._lines = JsonLines(self.path)
        if not self.begun:
            self.write([{"spent_usd": carried_usd}], durable=True)

    def write(self, entries: Sequence[Mapping[str, Any]], *, durable: bool = False) -> None:
        self._lines.append(entries, durable=durable)
        for entry in entries:
            self._take(entry)

    def close(self) -> None:
        self._lines.close()


class Answering:
    """How the rows of a job are asked, and what they may cost together."""

    def __init__(
        self,
        router: R2Router,
        text: str | None,
        llm_api_base: str,
        llm_api_key: str | None,
        max_total_cost_usd: float | None,
        concurrency: int,
        temperature: float | None,
    ) -> None:
        if text is None:
            raise ValueError("llm_api_base asks models the texts of a column: expected text")
        if max_total_cost_usd is None:
            raise ValueError("llm_api_base needs max_total_cost_usd, what all answers may cost")
        check_number("max_total_cost_usd", max_total_cost_usd, "an amount of USD")
        if not math.isfinite(max_total_cost_usd):
            raise ValueError(
                f"max_total_cost_usd is {max_total_cost_usd}: expected a finite amount"
            )
        check_number("concurrency", concurrency, "a number of requests, 1 or more", whole=True)
        if concurrency == 0:
            raise ValueError("concurrency is 0: expected 1 or more")
        if temperature is not None:
            check_number("temperature", temperature, "a number, 0 or more")
        self.text = text
        self.concurrency = concurrency
        self.temperature = temperature
        self.limit_usd = max_total_cost_usd
        self.purse = _Purse(max_total_cost_usd)
        self._native = router._native
        self._client = router._servers.client(llm_api_base, llm_api_key)
        self.models = list(router.model_configs)

    def ask(self, row: _Row, cancel: _core.CancelSource) -> dict[str, Any]:
        """Makes at most one request that may be billed. Runs on a thread of its own."""
        return self._native.generate_pair(
            self._client,
            [("user", row.text)],
            row.model,
            "unlimited" if row.budget is None else row.budget,
            self.temperature,
            None,
            False,
            None,
            cancel,
            row.max_tokens,
            row.worst_case_usd,
        )


def _log_path(target: Path) -> Path:
    return target.with_name(f".{target.name}.answers.jsonl")


def spent_before(folder: Path, recorded_usd: Mapping[str, float]) -> float:
    """What earlier runs have spent on the files of a target. ``recorded_usd``: by file, for those
    that have no log any more."""
    spent = {_log_path(folder / name): usd for name, usd in recorded_usd.items()}
    for path in folder.rglob(str(_log_path(Path("*")))):
        log = _Log(path)
        if log.begun:
            spent[path] = log.spent_usd
    return sum(spent.values())


class FileAnswers:
    """The answers to the rows of one file, which come in batches."""

    def __init__(
        self,
        answering: Answering,
        target: Path,
        carried_usd: float,
        report: Callable[[int], None],
    ) -> None:
        """``carried_usd``: what was spent on the file before, if it has no log. ``report``: called
        with the number of rows that have an outcome."""
        self._answering = answering
        self._carried_usd = carried_usd
        self._report = report
        self._log = _Log(_log_path(target))
        self._rows = 0
        #: By error, the rows without an answer; those with one are under "".
        self.outcomes: collections.Counter[str] = collections.Counter()

    def check(self, names: Iterable[str]) -> None:
        """Raises a ValueError if a table with these columns has some of an answer already."""
        taken = [name for name in _COLUMNS if name in names]
        if taken:
            raise ValueError(
                f"the table has {', '.join(map(repr, taken))} already, which the answers would "
                "replace: rename or drop them"
            )

    def __enter__(self) -> FileAnswers:
        self._log.open(self._carried_usd)
        return self

    def __exit__(self, *error: object) -> None:
        self._log.close()

    @property
    def spent_usd(self) -> float:
        """What all runs have spent on the file, or may have."""
        return self._log.spent_usd

    @property
    def ask_again(self) -> bool:
        """Whether some rows may have another outcome when they are asked again."""
        return not self.outcomes.keys().isdisjoint({*_PASSING, _LIMIT})

    def remove_log(self) -> None:
        self._log.path.unlink()

    def added_to(self, table: pyarrow.Table) -> pyarrow.Table:
        """A routed table, the next rows of the file, with the columns of the answers."""
        import pyarrow

        outcomes: list[dict[str, Any]] = [{}] * table.num_rows
        rows = collections.deque[_Row]()
        for row in self._decided(table):
            known = self._log.outcome(row.key)
            if known is None:
                rows.append(row)
            else:
                outcomes[row.place] = known
        self._rows += table.num_rows
        for left, (row, outcome) in enumerate(self._ask_all(rows), 1 - len(rows)):
            outcomes[row.place] = outcome
            self._report(self._rows + left)
        self.outcomes.update(o.get("answer_error") or "" for o in outcomes if o)
        for name, kind in _COLUMNS.items():
            values = [outcome.get(name) for outcome in outcomes]
            table = table.append_column(name, pyarrow.array(values, getattr(pyarrow, kind)()))
        return table

    def _decided(self, table: pyarrow.Table) -> Iterator[_Row]:
        names = (self._answering.text, "model", "budget", "max_tokens", "worst_case_cost_usd")
        columns = [table[name].to_pylist() for name in names]
        for place, (text, model, *numbers) in enumerate(zip(*columns, strict=True)):
            if model is not None:
                asked = json.dumps([text, model, *numbers, self._answering.temperature])
                digest = hashlib.sha256(asked.encode()).hexdigest()[:16]
                key = f"{self._rows + place}:{digest}"
                yield _Row(place, key, text, self._answering.models.index(model), *numbers)

    def _ask_all(self, rows: collections.deque[_Row]) -> Iterator[tuple[_Row, dict[str, Any]]]:
        """Rows with their outcomes, in the order in which they end."""
        most = self._answering.concurrency
        cancel = _core.CancelSource()
        with concurrent.futures.ThreadPoolExecutor(most, "r2_router answer") as threads:
            running: dict[concurrent.futures.Future[dict[str, Any]], _Row] = {}
            try:
                while rows or running:
                    reserved = self._reserve(rows, most - len(running))
                    for row in reserved:
                        running[threads.submit(self._answering.ask, row, cancel)] = row
                    if not running:
                        yield rows.popleft(), {"answer_error": _LIMIT}
                        continue
                    done, _ = concurrent.futures.wait(
                        running, return_when=concurrent.futures.FIRST_COMPLETED
                    )
                    for future in done:
                        row, completion = running.pop(future), future.result()
                        outcome = self._settle(row, completion)
                        if outcome["answer_error"] in _FATAL:
                            failure = completion["failure"]
                            raise server_error_type(failure["error"])(failure["message"])
                        again = outcome["answer_error"] in _PASSING
                        if again and row.requests + 1 < _REQUESTS_PER_ROW:
                            rows.append(row._replace(requests=row.requests + 1))
                        else:
                            yield row, outcome
            except BaseException:
                cancel.cancel()
                for future, row in running.items():
                    with contextlib.suppress(Exception):
                        self._settle(row, future.result())
                raise

    def _reserve(self, rows: collections.deque[_Row], most: int) -> list[_Row]:
        """Takes the next rows for which there is room."""
        reserved: list[_Row] = []
        while rows and len(reserved) < most:
            if not self._answering.purse.reserve(rows[0].worst_case_usd):
                break
            reserved.append(rows.popleft())
        if reserved:
            entries = [{"key": row.key, "reserved_usd": row.worst_case_usd} for row in reserved]
            self._log.write(entries, durable=True)
        return reserved

    def _settle(self, row: _Row, completion: dict[str, Any]) -> dict[str, Any]:
        costs = [attempt["cost_usd"] for attempt in completion["attempts"]]
        spent = sum(row.worst_case_usd if cost is None else cost for cost in costs)
        error = completion["failure"]["error"] if "failure" in completion else None
        outcome = {
            "response": completion["response"] if error is None else None,
            "finish_reason": completion["finish_reason"],
            "prompt_tokens": completion["usage"]["prompt_tokens"],
            "completion_tokens": completion["usage"]["completion_tokens"],
            "cost_usd": None if None in costs else spent,
            "answer_error": error,
        }
        self._answering.purse.settle(row.worst_case_usd, spent)
        entry: dict[str, Any] = {"key": row.key, "spent_usd": spent}
        if error not in _PASSING | _FATAL:
            entry["outcome"] = outcome
        self._log.write([entry])
        return outcome
