"""Training and converting from Python, through files as a user has them."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import pickle
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import r2_router
from r2_router import LexicalEncoder, LexicalFeatures, R2Router, _core, convert, train

QUERIES = 240


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sums are easy for both models, proofs only for the large one, which is dearer."""
    folder = tmp_path_factory.mktemp("data")
    chance = random.Random(3)
    with (
        gzip.open(folder / "queries.jsonl.gz", "wt") as queries,
        open(folder / "outcomes.jsonl", "w") as outcomes,
    ):
        for i in range(QUERIES):
            hard = i % 2
            text = f"prove theorem {i} of number theory" if hard else f"add {i} and {i + 3} please"
            dataset = "proofs" if hard else "sums"
            print(
                json.dumps({"query_id": f"q{i}", "query": text, "dataset": dataset}), file=queries
            )
            for model, skill in (("small", 0.95 - 0.9 * hard), ("large", 0.95)):
                row = {
                    "query_id": f"q{i}",
                    "model": model,
                    "score": int(chance.random() < skill),
                    "output_tokens": chance.randint(20, 60) + 400 * hard,
                }
                print(json.dumps(row), file=outcomes)
    prices = {
        "small": {"input_price_per_million": 0.1, "output_price_per_million": 0.2},
        "large": {"input_price_per_million": 1, "output_price_per_million": 5},
        "unheard of": {"input_price_per_million": 1, "output_price_per_million": 5},
    }
    (folder / "pool.json").write_text(json.dumps({"models": prices}))
    return folder


def files(data: Path) -> tuple[Path, Path, Path]:
    return data / "queries.jsonl.gz", data / "outcomes.jsonl", data / "pool.json"


def test_an_encoder_learns_topics(data: Path, tmp_path: Path) -> None:
    train(*files(data), tmp_path / "router", alphas=[1], encoder=LexicalEncoder(64, topics=True))
    config = json.loads((tmp_path / "router" / "config.json").read_text())
    assert config["encoder"]["topics"] == ["proofs", "sums"]
    router = R2Router.from_pretrained(tmp_path / "router")
    again = pickle.loads(pickle.dumps(router))
    query = "prove theorem 9999 of number theory"
    assert again.route_text(query)["risk"] == router.route_text(query)["risk"]


def test_a_pickled_checkpoint_keeps_every_number(data: Path, tmp_path: Path) -> None:
    encoder = LexicalEncoder(64, idf=True, topics=True)
    for kind in ("ridge", "knn", "mlp"):
        train(*files(data), tmp_path / kind, predictor=kind, encoder=encoder, folds=3)
        checkpoint = _core.Checkpoint.load(str(tmp_path / kind))
        pickle.loads(pickle.dumps(checkpoint)).save(str(tmp_path / f"{kind} again"))
        for file in ("config.json", "model.safetensors"):
            before = (tmp_path / kind / file).read_bytes()
            assert (tmp_path / f"{kind} again" / file).read_bytes() == before


def test_a_trained_router_knows_hard_from_easy(data: Path, tmp_path: Path) -> None:
    stages: list[tuple[str, int, int]] = []
    report = train(
        *files(data),
        tmp_path / "out",
        encoder=LexicalEncoder(256, [LexicalFeatures("words", 1, 2)], fold_digits=True, idf=True),
        alphas=[1, 10],
        folds=3,
        holdout=0,
        threads=1,
        progress=lambda *stage: stages.append(stage),
    )
    assert (report["training_queries"], report["held_out_queries"]) == (QUERIES, 0)
    assert report["heads"] == 4
    assert report["alpha"] in (1, 10)
    assert [entry["alpha"] for entry in report["alphas"]] == [1, 10]
    assert report["metrics"]["audc"] > report["mean_curve"]["audc"] + 0.01
    assert stages[-1] == ("fitting", 1, 1)
    assert ("cross-validating", 3, 3) in stages

    router = R2Router.from_pretrained(tmp_path / "out")
    assert router.lambda_val == report["default_lambda"]
    assert list(router.predictors) == ["small", "large"]
    assert router.route_text("add 17 and 20 please")["model"] == "small"
    assert router.route_text("prove theorem 900 of number theory")["model"] == "large"


def test_limited_budgets_and_a_subset(data: Path, tmp_path: Path) -> None:
    report = train(
        *files(data),
        str(tmp_path / "out"),
        models=["small"],
        dataset="sums",
        token_limits=[30, 50],
        budget_prompt="At most {budget}.",
        alphas=[10],
        folds=2,
        holdout=4,
    )
    assert report["training_queries"] + report["held_out_queries"] == QUERIES // 2
    assert report["held_out_queries"] > 0
    assert report["heads"] == 6
    router = R2Router.from_pretrained(tmp_path / "out")
    assert list(router.predictors) == ["small"]
    assert list(router.predictors["small"]["limited"]) == ["30_score", "50_score"]
    assert list(router.predictors["small"]["limited_token"]) == ["30_token", "50_token"]
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["budget_prompt"] == "At most {budget}."
    # What a checkpoint gives as predictors, the constructor takes.
    twin = R2Router(router.predictors, router.model_configs, router.lambda_val)
    text = router.embed("add 1 and 2 please")
    floor = config["token_floor"]
    ours, theirs = router.route(text, 0.5), twin.route(text, 0.5, token_floor=floor)
    assert (ours["model"], ours["budget"]) == (theirs["model"], theirs["budget"])


def test_embeddings_from_elsewhere(data: Path, tmp_path: Path) -> None:
    hard = np.arange(QUERIES) % 2
    noise = np.random.default_rng(1).standard_normal((QUERIES, 6))
    embeddings = np.column_stack([hard, 1 - hard, noise])
    train(
        *files(data),
        tmp_path / "out",
        embeddings=embeddings,
        embedding_model="mine",
        alphas=[1],
        folds=2,
        dataset="sums",
    )
    router = R2Router.from_pretrained(tmp_path / "out")
    assert router.dimension == 8
    with pytest.raises(RuntimeError, match="needs embeddings of mine"):
        router.embed("text")


def test_kinds_of_predictors(data: Path, tmp_path: Path) -> None:
    reports = {
        "knn": train(
            *files(data), tmp_path / "knn", predictor="knn", neighbours=[3, 9], folds=2, threads=1
        ),
        "mlp": train(*files(data), tmp_path / "mlp", predictor="mlp", folds=3, threads=1),
    }
    assert reports["knn"]["neighbours"] in (3, 9)
    assert reports["knn"]["weighting"] in ("uniform", "similarity")
    assert [entry["neighbours"] for entry in reports["knn"]["neighbour_counts"]] == [3, 3, 9, 9]
    assert reports["mlp"]["epochs"] > 0
    for kind, report in reports.items():
        assert report["predictor"] == kind
        router = R2Router.from_pretrained(tmp_path / kind)
        text = "prove theorem 900 of number theory"
        decision = router.route_text(text, 0)
        assert pickle.loads(pickle.dumps(router)).route_text(text, 0) == decision
        with pytest.raises(RuntimeError, match=f'"{kind}": only linear heads'):
            _ = router.predictors


def test_nearest_neighbours_equal_scikit_learn(data: Path, tmp_path: Path) -> None:
    neighbors = pytest.importorskip("sklearn.neighbors")
    embeddings = np.random.default_rng(2).standard_normal((QUERIES, 24)).astype(np.float32)
    for k in (1, 7):
        folder = tmp_path / str(k)
        options: dict[str, Any] = {"predictor": "knn", "neighbours": [k], "folds": 2, "holdout": 0}
        report = train(*files(data), folder, embeddings=embeddings, **options)
        outcomes = [json.loads(line) for line in files(data)[1].read_text().splitlines()]
        small = {o["query_id"]: o["score"] for o in outcomes if o["model"] == "small"}
        with gzip.open(files(data)[0], "rt") as lines:
            targets = [small[json.loads(line)["query_id"]] for line in lines]
        by_similarity = report["weighting"] == "similarity"
        regressor = neighbors.KNeighborsRegressor(
            k,
            metric="cosine",
            algorithm="brute",
            weights=(lambda distances: 1 - distances) if by_similarity else "uniform",
        )
        regressor.fit(embeddings.astype(np.float64), targets)
        router = R2Router.from_pretrained(folder)
        tests = np.random.default_rng(3).standard_normal((20, 24))
        expected = regressor.predict(tests)
        found = [router.quality_curve(row)["small"].quality[0] for row in tests]
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_bad_requests(data: Path, tmp_path: Path) -> None:
    queries, outcomes, pool = files(data)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()

    def check(error: Any, message: str, **changed: Any) -> None:
        arguments: dict[str, Any] = {
            "queries": queries,
            "outcomes": outcomes,
            "pool": pool,
            "output": tmp_path / "out",
            "folds": 2,
        }
        with pytest.raises(error, match=message):
            train(**arguments | changed)
        assert not (tmp_path / "out").exists()

    check(FileExistsError, "exists already", output=tmp_path / "full")
    check(FileNotFoundError, "nowhere", queries=tmp_path / "nowhere")
    check(ValueError, "expected one of them", encoder=LexicalEncoder(), embeddings=np.ones((1, 2)))
    check(ValueError, r"shape \(3,\): expected \(N, d\)", embeddings=np.ones(3))
    check(r2_router.DataError, "240 queries", embeddings=np.ones((3, 2)))
    letters = LexicalEncoder(features=[LexicalFeatures("letters")])
    check(ValueError, '"letters": expected "words" or "characters"', encoder=letters)
    check(r2_router.DataError, 'begins with "poems"', dataset="poems")
    check(ValueError, "nobody", models=["nobody"])
    check(ValueError, "folds is 1", folds=1)
    check(ValueError, "holdout is 1", holdout=1)
    check(ValueError, "α is -1", alphas=[-1])
    check(ValueError, "found the predictor", predictor="tree")
    check(ValueError, "alphas are given", predictor="knn", alphas=[1])
    check(ValueError, "neighbours are given", neighbours=[1])
    check(TypeError, "threads is 'many': expected a whole number", threads="many")


def test_what_progress_raises_ends_training(data: Path, tmp_path: Path) -> None:
    def stop(stage: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(*files(data), tmp_path / "out", folds=2, progress=stop)
    assert not (tmp_path / "out").exists()


def test_bad_outcomes_name_the_line(data: Path, tmp_path: Path) -> None:
    queries, outcomes, pool = files(data)
    lines = outcomes.read_text().splitlines()
    lines[6] = lines[6].replace('"score": ', '"score": 7')
    bad = tmp_path / "bad.jsonl"
    bad.write_text("\n".join(lines))
    with pytest.raises(r2_router.DataError, match="score") as caught:
        train(queries, bad, pool, tmp_path / "out")
    assert caught.value.line == 7  # type: ignore[attr-defined]
    assert caught.value.file == str(bad)  # type: ignore[attr-defined]


def rows(data: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    with gzip.open(data / "queries.jsonl.gz", "rt") as lines:
        queries = [json.loads(line) for line in lines]
    outcomes = [json.loads(line) for line in (data / "outcomes.jsonl").read_text().splitlines()]
    return queries, outcomes


def heads_of(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def quick(queries: Path, outcomes: Path, pool: Path, output: Path, **options: Any) -> bytes:
    train(queries, outcomes, pool, output, alphas=[1], encoder=LexicalEncoder(32), **options)
    return heads_of(output)


def test_csv_and_json_arrays_are_read_like_json_lines(data: Path, tmp_path: Path) -> None:
    queries, outcomes = rows(data)
    pool = data / "pool.json"
    expected = quick(*files(data), tmp_path / "lines")
    with (tmp_path / "q.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(queries[0]), delimiter=";", quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(queries)
    for outcome in outcomes:
        outcome["score"] = outcome["score"] == 1
    (tmp_path / "o").write_text(json.dumps(outcomes, indent=1))
    assert quick(tmp_path / "q.csv", tmp_path / "o", pool, tmp_path / "array") == expected


def test_parquet_is_read_with_pyarrow(data: Path, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    queries, outcomes = rows(data)
    pool = data / "pool.json"
    expected = quick(*files(data), tmp_path / "lines")
    for row in queries + outcomes:
        row["query_id"] = int(row["query_id"][1:])
    for outcome in outcomes:
        outcome["score"] = outcome["score"] == 1
        outcome["budget"] = None
    parquet.write_table(pyarrow.Table.from_pylist(queries), tmp_path / "q.parquet")
    parquet.write_table(pyarrow.Table.from_pylist(outcomes), tmp_path / "o")
    assert quick(tmp_path / "q.parquet", tmp_path / "o", pool, tmp_path / "out") == expected
    sources = json.loads((tmp_path / "out" / "config.json").read_text())["training"]["data"]
    assert [source["file"] for source in sources] == ["q.parquet", "o"]
    digest = hashlib.sha256((tmp_path / "o").read_bytes()).hexdigest()
    assert sources[1]["sha256"] == digest

    # What is wrong is said of the file that was given.
    outcomes[3]["output_tokens"] = -1
    parquet.write_table(pyarrow.Table.from_pylist(outcomes), tmp_path / "o")
    with pytest.raises(r2_router.DataError, match="found the number -1") as caught:
        quick(tmp_path / "q.parquet", tmp_path / "o", pool, tmp_path / "bad")
    assert str(caught.value).startswith(f"{tmp_path / 'o'}:4 at /output_tokens")
    assert caught.value.file == str(tmp_path / "o")  # type: ignore[attr-defined]
    (tmp_path / "o").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(r2_router.DataError, match="the Parquet file cannot be read"):
        quick(tmp_path / "q.parquet", tmp_path / "o", pool, tmp_path / "bad")


def test_parquet_without_pyarrow_says_what_to_install(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "o").write_bytes(b"PAR1....PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match="pip install pyarrow"):
        quick(data / "queries.jsonl.gz", tmp_path / "o", data / "pool.json", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_outcomes_that_are_left_out_are_logged(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, outcomes = rows(data)
    kept = [o for o in outcomes if o["model"] == "small" or int(o["query_id"][1:]) % 10]
    kept += [{**o, "model": "stranger"} for o in outcomes[:6]]
    kept[0] = {**kept[0], "score": None}
    (tmp_path / "o").write_text("\n".join(json.dumps(row) for row in kept))
    arguments = (data / "queries.jsonl.gz", tmp_path / "o", data / "pool.json")
    quick(*arguments, tmp_path / "out")
    messages = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    for part in (
        '6 outcomes of models that are not in the pool are not used: "stranger" (6)',
        '1 outcome without a score is not used: "small" (1)',
        '"large" (90.0 % of the queries, 216 outcomes)',
        'without outcomes are left out: "unheard of"',
    ):
        assert any(part in message for message in messages), part


def test_a_name_in_another_spelling_is_an_error(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, outcomes = rows(data)
    changed = [{**o, "model": o["model"].replace("large", "Large ")} for o in outcomes]
    (tmp_path / "o").write_text("\n".join(json.dumps(row) for row in changed))
    arguments = (data / "queries.jsonl.gz", tmp_path / "o", data / "pool.json")
    with pytest.raises(r2_router.DataError, match='no model "Large ", but "large"'):
        quick(*arguments, tmp_path / "out")
    quick(*arguments, tmp_path / "out", ignore_unknown_models=True)
    assert '"Large " (240)' in caplog.text


def test_convert(native_folder: Path, tmp_path: Path) -> None:
    convert(native_folder, tmp_path / "copy")
    router, copy = (R2Router.from_pretrained(f) for f in (native_folder, tmp_path / "copy"))
    assert router.route_text("a query") == copy.route_text("a query")
    with pytest.raises(OSError, match="copy"):
        convert(native_folder, tmp_path / "copy")
    with pytest.raises(FileNotFoundError):
        convert(tmp_path / "nowhere", tmp_path / "other")


def test_convert_released(released_router: R2Router, joblib_folder: Path, tmp_path: Path) -> None:
    convert(joblib_folder, str(tmp_path / "native"))
    native = R2Router.from_pretrained(tmp_path / "native")
    embedding = np.random.default_rng(8).standard_normal(1024)
    assert native.route(embedding) == released_router.route(embedding)
    assert list(native.predictors) == list(released_router.predictors)
