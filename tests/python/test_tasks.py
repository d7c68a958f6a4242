"""Training on results by task."""

from __future__ import annotations

import itertools
import json
import pickle
from pathlib import Path
from typing import Any

import pytest

import r2_router

POOL = {
    name: {"input_price_per_million": 1, "output_price_per_million": price}
    for name, price in (("coder", 2), ("writer", 4), ("unused", 1))
}
WORDS = {
    "code": ["function", "python", "loop", "compile", "bug", "array"],
    "facts": ["who", "when", "capital", "year", "inventor", "country"],
    "stories": ["once", "dragon", "poem", "verse", "fairy", "tale"],
}
RESULTS = [
    {"model": model, "task": task, "score": score, "output_tokens": tokens, "questions": 100}
    for model, task, score, tokens in (
        ("coder", "code", 0.9, 400),
        ("coder", "facts", 0.8, 50),
        ("coder", "stories", 0.2, 700),
        ("writer", "code", 0.3, 300),
        ("writer", "facts", 0.8, 40),
        ("writer", "stories", 0.9, 900),
    )
]
PROMPTS = [
    {"query": " ".join(words), "task": task, "source": f"source {number % 3}"}
    for task, own in WORDS.items()
    for number, words in enumerate(itertools.islice(itertools.permutations(own, 4), 60))
]


@pytest.fixture(scope="module")
def training() -> r2_router.TaskTraining:
    return r2_router.train_on_tasks(RESULTS, PROMPTS, POOL)


def test_it_recognises_tasks(training: r2_router.TaskTraining) -> None:
    router = training.router
    code = router.route_text("compile this python function", objective="best")
    assert code["model"] == "coder"
    explanation = code.explain()
    assert next(iter(explanation["tasks"])) == "code"
    assert sum(explanation["tasks"].values()) == pytest.approx(explanation["familiarity"], abs=0.03)
    assert router.route_text("a fairy tale in verse", objective="best")["model"] == "writer"


def test_the_report(training: r2_router.TaskTraining) -> None:
    assert training["prompts"] == 180
    assert training["sources"] == 3
    assert training["accuracy"] > 0.95
    assert training["best_model"] == "writer"
    assert "best single model" in str(training)
    pytest.importorskip("pandas")
    frame = training.to_pandas()
    assert list(frame["task"]) == ["code", "facts", "stories"]
    assert (frame["prompts"] == 60).all()
    assert "<td>stories</td>" in training._repr_html_()


def test_tables_of_every_kind(tmp_path: Path, training: r2_router.TaskTraining) -> None:
    pandas = pytest.importorskip("pandas")
    pool = tmp_path / "models.json"
    pool.write_text(json.dumps({"models": POOL}))
    prompts = tmp_path / "prompts.csv"
    pandas.DataFrame(PROMPTS).to_csv(prompts, index=False)
    other = r2_router.train_on_tasks(
        pandas.DataFrame(RESULTS), prompts, pool, tmp_path / "router", token_limits=[200]
    )
    loaded = r2_router.R2Router.from_pretrained(tmp_path / "router")
    for text in ("compile this python function", "who when", "something else"):
        assert loaded.route_text(text) == other.router.route_text(text)
    budgets = {option["budget"] for option in other.router.route_text("who").all_options}
    assert budgets == {200, "unlimited"}
    assert training["tasks"] == other["tasks"]


def test_vectors_of_wordpieces(tmp_path: Path) -> None:
    folder = tmp_path / "router"
    training = r2_router.train_on_tasks(RESULTS, PROMPTS, POOL, folder, vectors="default")
    assert json.loads((folder / "config.json").read_text())["format_version"] == 5
    loaded = r2_router.R2Router.from_pretrained(folder)
    copy = pickle.loads(pickle.dumps(training.router))
    for text in ("compile this python function", "who when", "words of no prompt"):
        assert loaded.route_text(text) == training.router.route_text(text) == copy.route_text(text)
    with pytest.raises(r2_router.CheckpointError, match="wordpieces"):
        r2_router.train_on_tasks(RESULTS, PROMPTS, POOL, vectors="r2-router")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": 87.5}, r"results, row 1.*percent"),
        ({"output_tokens": 0}, "results, row 1.*above 0"),
        ({"model": "Coder"}, "coder"),
        ({"task": "facts"}, "row 2.*two results"),
    ],
)
def test_bad_rows_are_named(change: dict[str, Any], message: str) -> None:
    rows = [{**RESULTS[0], **change}, *RESULTS[1:]]
    with pytest.raises(r2_router.DataError, match=message):
        r2_router.train_on_tasks(rows, PROMPTS, POOL)


def test_tasks_of_one_side_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    prompts = [row for row in PROMPTS if row["task"] != "stories"]
    r2_router.train_on_tasks(RESULTS, prompts, POOL)
    assert "tasks without prompts cannot be recognised" in caplog.text
    with pytest.raises(r2_router.DataError, match="0 tasks in common"):
        r2_router.train_on_tasks(
            RESULTS, [{**row, "task": f"my {row['task']}"} for row in PROMPTS], POOL
        )


NEWCOMER = {"newcomer": {"input_price_per_million": 1, "output_price_per_million": 3}}


def test_a_model_is_added_from_its_results(
    training: r2_router.TaskTraining, tmp_path: Path
) -> None:
    results = [
        {"model": "newcomer", "task": task, "score": score, "output_tokens": 100, "questions": 100}
        for task, score in (("facts", 0.99), ("code", 0.3))
    ]
    added = r2_router.add_model_from_tasks(
        training.router, "newcomer", results, NEWCOMER, tmp_path / "added"
    )
    assert (added["tasks"], added["estimated_tasks"]) == (2, 1)
    assert "newcomer" in str(added)
    assert list(added.to_pandas()["model"]) == ["newcomer"]
    for router in (added.router, r2_router.R2Router.from_pretrained(tmp_path / "added")):
        fact = router.route_text("who when capital year", objective="best")
        assert fact["model"] == "newcomer"
        assert router.route_text("compile python function", objective="best")["model"] == "coder"
    assert "newcomer" not in training.router.model_configs
    with pytest.raises(r2_router.DataError, match="no result for a task"):
        r2_router.add_model_from_tasks(
            training.router, "newcomer", [{**results[0], "task": "chess"}], NEWCOMER
        )


def outcomes() -> list[dict[str, Any]]:
    """In which the coder knows the facts, unlike in the results by task, and is brief."""
    rows = []
    for number, prompt in enumerate(PROMPTS):
        row = {"query_id": str(number), "query": f"{prompt['query']} {number}"}
        coder = float(prompt["task"] != "stories")
        writer = float(prompt["task"] != "facts" or number % 2 == 1)
        rows.append({**row, "model": "coder", "score": coder, "output_tokens": 6})
        rows.append({**row, "model": "writer", "score": writer, "output_tokens": 60})
    return rows


def test_outcomes_on_top_of_a_prior(training: r2_router.TaskTraining, tmp_path: Path) -> None:
    refined = r2_router.train(None, outcomes(), prior=training.router, output=tmp_path / "refined")
    assert refined["alpha"] < 1000
    assert len(refined["alphas"]) == 10
    query = "who when capital year"
    assert refined.router.route_text(query, objective="best")["model"] == "coder"
    assert list(refined.router.model_configs) == list(training.router.model_configs)
    few = r2_router.train(None, outcomes()[:20], prior=training.router)
    before = training.router.route_text(query).all_options
    assert few.router.route_text(query).all_options == before
    strong = r2_router.train(None, outcomes(), prior=training.router, alphas=[1e9])
    assert strong["alpha"] == 1e9
    with pytest.raises(ValueError, match="pool is given with prior"):
        r2_router.train(None, outcomes(), POOL, prior=training.router)
    with pytest.raises(ValueError, match="pool is missing"):
        r2_router.train(None, outcomes())


def test_a_learning_curve(training: r2_router.TaskTraining) -> None:
    curve = r2_router.learning_curve(None, outcomes(), training.router, sizes=[30, 60])
    assert [point["queries"] for point in curve["points"][:2]] == [30, 60]
    for point in (curve, *curve["points"]):
        assert point["prior"]["audc"] > curve["mean_curve"]["audc"]
    frame = curve.to_pandas()
    assert list(frame["queries"])[:3] == [0, 30, 60]
    assert frame["prior"].iloc[0] == curve["prior"]["audc"]
    assert "from scratch" in str(curve)
    assert "<table" in curve._repr_html_()
