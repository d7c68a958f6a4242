"""What a router from results by task is worth, and what outcomes add to it.

    python3 bench/priors.py DATA [--set rg|mmlu] [--program build/release/src/r2-router]

DATA has outcomes of single questions: `queries.jsonl.gz`, `outcomes.jsonl.gz` and `models.json`
(MMLU-Pro among them) and in `modern/` `rg_queries.jsonl.gz` and `rg_outcomes.jsonl.gz`
(reasoning-gym). One question in five is kept out of training, by its hash. From the others come

- routers trained on single questions, of which the best is compared with;
- a table of results by task, with which the questions are the prompts, and a router trained on it;
- routers trained on outcomes on top of that one (`eval --learning-curve`).

With --tasks K, the tasks are divided into K parts too, and each part is routed by a router that
does not know its tasks. It is compared with two mean curves: of the questions that the table is
made of, which is all that can be known in advance, and of the very questions it is measured on.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

HOLDOUT = 5
# Encoders of the routers trained on single questions.
ENCODERS = {
    "words": [],
    "character trigrams": ["--features", "characters:3-3"],
    "words and trigrams, topics": ["--features", "words:1-2,characters:3-3", "--topics"],
}
# Models of reasoning-gym whose lengths include their reasoning, with list prices of 2025.
REASONING_GYM = {
    "claude-3.5-sonnet": (3, 15),
    "gemma-3-27b-it": (0.1, 0.2),
    "llama-3.3-70b-instruct": (0.1, 0.25),
    "llama-4-maverick": (0.2, 0.6),
    "llama-4-scout": (0.08, 0.3),
    "mistral-small-3.1-24b-instruct": (0.1, 0.3),
}
MMLU_PRO = (
    "Meta-Llama-3_1-8B-Instruct",
    "Meta-Llama-3_1-70B-Instruct",
    "gemini-1.5-flash-002",
    "gemini-1.5-pro-002",
    "Mixtral-8x7B-Instruct-v0.1",
    "Mistral-7B-Instruct-v0.2",
    "Phi-3-mini-4k-instruct",
    "mathstral-7B",
)


class Benchmark(NamedTuple):
    name: str
    queries: list[dict[str, Any]]  # each with its "task"
    outcomes: list[dict[str, Any]]
    models: dict[str, Any]
    budgets: str


def rows(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def complete(
    queries: Iterable[dict[str, Any]], outcomes: list[dict[str, Any]], models: Iterable[str]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The queries that every model answered, with these outcomes."""
    wanted = set(models)
    answered = defaultdict(set)
    for row in outcomes:
        if row["model"] in wanted:
            answered[row["query_id"]].add(row["model"])
    kept = [query for query in queries if answered[query["query_id"]] == wanted]
    ids = {query["query_id"] for query in kept}
    return kept, [row for row in outcomes if row["query_id"] in ids and row["model"] in wanted]


def reasoning_gym(data: Path) -> Benchmark:
    queries = rows(data / "modern/rg_queries.jsonl.gz")
    for query in queries:
        query["dataset"] = query["task"]
    models = {
        name: {"input_price_per_million": prices[0], "output_price_per_million": prices[1]}
        for name, prices in REASONING_GYM.items()
    }
    outcomes = rows(data / "modern/rg_outcomes.jsonl.gz")
    kept = complete(queries, outcomes, models)
    return Benchmark("reasoning-gym", *kept, models, "100,300,1000,4000")


def mmlu_pro(data: Path) -> Benchmark:
    pool = json.loads((data / "models.json").read_text(encoding="utf-8"))["models"]
    queries = [
        {**query, "task": query["dataset"]}
        for query in rows(data / "queries.jsonl.gz")
        if query["dataset"].startswith("mmlu_pro")
    ]
    models = {name: pool[name] for name in MMLU_PRO}
    kept = complete(queries, rows(data / "outcomes.jsonl.gz"), models)
    budgets = "10,20,30,40,50,80,100,150,200,300,500,800,1200,2000,4000"
    return Benchmark("MMLU-Pro", *kept, models, budgets)


BENCHMARKS = {"rg": reasoning_gym, "mmlu": mmlu_pro}


def query_hash(text: str) -> int:
    """As r2-router divides queries."""
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001B3 & (1 << 64) - 1
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        value = (value ^ value >> shift) * factor & (1 << 64) - 1
    return value ^ value >> 31


def held_out(query: dict[str, Any]) -> bool:
    return query_hash(query["query"]) % HOLDOUT == 0


class Runner:
    """Runs the program in a folder."""

    def __init__(self, program: str, folder: Path) -> None:
        self.program = program
        self.folder = folder

    def __call__(self, *arguments: str) -> Any:
        command = [self.program, *arguments, "--json"]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)}\n{done.stderr}")
        return json.loads(done.stdout)

    def write(self, name: str, content: Iterable[Any]) -> None:
        with open(self.folder / name, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in content)


def table_of(queries: list[dict[str, Any]], outcomes: list[dict[str, Any]]) -> Iterator[Any]:
    """The results by task of these queries."""
    task_of = {query["query_id"]: query["task"] for query in queries}
    cells = defaultdict(list)
    for row in outcomes:
        if row["query_id"] in task_of:
            cells[row["model"], task_of[row["query_id"]]].append(row)
    for (model, task), own in cells.items():
        lengths = [max(1, row["output_tokens"]) for row in own]
        logarithms = [math.log(length) for length in lengths]
        mean = sum(logarithms) / len(own)
        spread = math.sqrt(sum((value - mean) ** 2 for value in logarithms) / len(own))
        yield {
            "model": model,
            "task": task,
            "score": sum(row["score"] for row in own) / len(own),
            "output_tokens": sum(lengths) / len(own),
            "questions": len(own),
            "length_spread": max(0.05, spread),
        }


def train_on_tasks(run: Runner, benchmark: Benchmark, known: list[dict[str, Any]], to: str) -> None:
    run.write(f"{to}.results.jsonl", table_of(known, benchmark.outcomes))
    # Questions of a task are of one generator or exam, and so are those it is asked to recognise.
    prompts = (
        {
            "query": query["query"],
            "task": query["task"],
            "source": f"part {query_hash(query['query'] + ' ') % 6}",
        }
        for query in known
    )
    run.write(f"{to}.prompts.jsonl", prompts)
    table = ["--task-table", f"{to}.results.jsonl", "--prompts", f"{to}.prompts.jsonl"]
    limits = ["--token-limits", benchmark.budgets]
    run("train", *table, *limits, "--pool", "pool.json", "--output", to)


def audc(policies: list[dict[str, Any]], name: str) -> float:
    return next(policy["audc"] for policy in policies if policy["policy"] == name)


def measure(run: Runner, benchmark: Benchmark) -> None:
    pool = {"models": benchmark.models}
    (run.folder / "pool.json").write_text(json.dumps(pool), encoding="utf-8")
    run.write("queries.jsonl", benchmark.queries)
    run.write("outcomes.jsonl", benchmark.outcomes)
    known = [query for query in benchmark.queries if not held_out(query)]
    data = ["--queries", "queries.jsonl", "--outcomes", "outcomes.jsonl"]
    print(f"\n{benchmark.name}: {len(known)} questions to train on, ", end="")
    print(f"{len(benchmark.queries) - len(known)} held out\n", flush=True)

    scratch = {}
    for number, (name, features) in enumerate(ENCODERS.items()):
        training = ["--pool", "pool.json", "--budgets", "hard-cap"]
        training += ["--token-limits", benchmark.budgets, "--output", f"questions-{number}"]
        trained = run("train", *data, *training, *features)
        policies = trained["evaluation"]["policies"]
        scratch[name] = audc(policies, "router")
        mean_curve = audc(policies, "mean curve")
    train_on_tasks(run, benchmark, known, "prior")
    curve = run("eval", "--checkpoint-dir", "prior", "--learning-curve", *data)
    prior = curve["prior"]["audc"]

    print("| router | AUDC | share of the gain |\n|---|---|---|")
    best = max(scratch.values())
    lines = {"mean curve": mean_curve, "task table": prior}
    lines |= {f"single questions, {name}": value for name, value in scratch.items()}
    for name, value in lines.items():
        print(f"| {name} | {value:.4f} | {(value - mean_curve) / (best - mean_curve):.0%} |")
    print("\n| outcomes of | on the task table | from scratch |\n|---|---|---|")
    for point in curve["points"]:
        value = point["scratch"]["audc"] if point["scratch"] else math.nan
        print(f"| {point['queries']} questions | {point['prior']['audc']:.4f} | {value:.4f} |")
    sys.stdout.flush()


def measure_unknown_tasks(run: Runner, benchmark: Benchmark, parts: int) -> None:
    tasks = sorted({query["task"] for query in benchmark.queries}, key=query_hash)
    print(
        "\n| tasks that are not in the table | questions | AUDC | mean curve known before ", end=""
    )
    print("| mean curve of these questions |\n|---|---|---|---|---|")
    for part in range(parts):
        unknown = set(tasks[part::parts])
        split: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
        for query in benchmark.queries:
            split[query["task"] in unknown].append(query)
        for name, queries in (("asked", split[True]), ("known", split[False])):
            ids = {query["query_id"] for query in queries}
            run.write(f"{name}.jsonl", queries)
            answers = (row for row in benchmark.outcomes if row["query_id"] in ids)
            run.write(f"{name}-answered.jsonl", answers)
        to = f"without-{part}"
        train_on_tasks(run, benchmark, split[False], to)
        # Ridge with a penalty that leaves the intercepts only.
        known = ["--queries", "known.jsonl", "--outcomes", "known-answered.jsonl"]
        constant = ["--pool", "pool.json", "--budgets", "hard-cap", "--alpha", "1e12"]
        constant += ["--token-limits", benchmark.budgets, "--holdout", "0"]
        run("train", *known, *constant, "--output", f"constant-{part}")
        asked = ["--queries", "asked.jsonl", "--outcomes", "asked-answered.jsonl", "--holdout", "0"]
        against = ["--against", "mean-curve", "--resamples", "0"]
        policies = run("eval", "--checkpoint-dir", to, *asked, *against)["policies"]
        own, fitted = audc(policies, "router"), audc(policies, "mean curve")
        plain = run("eval", "--checkpoint-dir", f"constant-{part}", *asked, *against)["policies"]
        figures = f"{own:.4f} | {audc(plain, 'router'):.4f} | {fitted:.4f}"
        print(f"| part {part + 1}, {len(unknown)} tasks | {len(split[True])} | {figures} |")
        sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, help="folder with the outcomes")
    root = Path(__file__).resolve().parents[1]
    parser.add_argument("--program", default=root / "build/release/src/r2-router", type=Path)
    parser.add_argument("--set", choices=BENCHMARKS, action="append", help="only this benchmark")
    parser.add_argument("--tasks", type=int, default=5, help="parts of the tasks; 0: none")
    settings = parser.parse_args()
    for name in settings.set or BENCHMARKS:
        with tempfile.TemporaryDirectory() as folder:
            run = Runner(str(settings.program.resolve()), Path(folder))
            benchmark = BENCHMARKS[name](settings.data)
            measure(run, benchmark)
            if settings.tasks > 0:
                measure_unknown_tasks(run, benchmark, settings.tasks)


if __name__ == "__main__":
    main()
