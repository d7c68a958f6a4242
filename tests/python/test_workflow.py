"""Training, evaluating, calibrating and adding models on data frames, without the shell."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hub_server import HubServer

import r2_router
from r2_router import LexicalEncoder, R2Router

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

POOL = {
    "small": {"input_price_per_million": 0.1, "output_price_per_million": 0.2},
    "large": {"input_price_per_million": 1, "output_price_per_million": 5},
}
EXTENDED = {**POOL, "new": {"input_price_per_million": 0.5, "output_price_per_million": 1}}
QUICK: dict[str, Any] = {"alphas": [1, 10], "encoder": LexicalEncoder(64), "threads": 1}


def make_rows(count: int = 240) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Sums are easy for all models, proofs only for the large one."""
    chance = random.Random(3)
    queries, outcomes = [], []
    for i in range(count):
        hard = i % 2
        text = f"prove theorem {i} of number theory" if hard else f"add {i} and {i + 3} please"
        queries.append({"query_id": i, "query": text, "dataset": ("sums", "proofs")[hard]})
        for model, skill in (("small", 0.95 - 0.9 * hard), ("large", 0.95), ("new", 0.9)):
            score = int(chance.random() < skill)
            tokens = chance.randint(20, 60) + 20 * hard
            outcomes.append(
                {"query_id": i, "model": model, "score": score, "output_tokens": tokens}
            )
    return queries, outcomes


@pytest.fixture(scope="module")
def rows() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    return make_rows()


@pytest.fixture(scope="module")
def training(rows: Any) -> r2_router.Training:
    return r2_router.train(*rows, POOL, token_limits=[100], **QUICK)


@pytest.fixture(autouse=True)
def close_pictures() -> Iterator[None]:
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


def test_every_kind_of_table_trains_the_same_router(rows: Any, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    polars = pytest.importorskip("polars")
    pyarrow = pytest.importorskip("pyarrow")
    queries, outcomes = rows
    for name, table in (("q.jsonl", queries), ("o.jsonl", outcomes)):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in table))
    (tmp_path / "pool.json").write_text(json.dumps({"models": POOL}))
    kinds: dict[str, Any] = {
        "paths": (tmp_path / "q.jsonl", str(tmp_path / "o.jsonl"), tmp_path / "pool.json"),
        "dicts": (queries, outcomes, POOL),
        "pandas": (pandas.DataFrame(queries), pandas.DataFrame(outcomes), {"models": POOL}),
        "polars": (polars.DataFrame(queries), polars.DataFrame(outcomes), POOL),
        "arrow": (pyarrow.Table.from_pylist(queries), pyarrow.Table.from_pylist(outcomes), POOL),
        "one": (None, pandas.DataFrame(outcomes).merge(pandas.DataFrame(queries)), POOL),
    }
    weights = {}
    for kind, tables in kinds.items():
        report = r2_router.train(*tables, tmp_path / kind, **QUICK)
        weights[kind] = (tmp_path / kind / "model.safetensors").read_bytes()
        assert R2Router.from_pretrained(tmp_path / kind).lambda_val == report["default_lambda"]
    assert len(set(weights.values())) == 1, {kind: hash(value) for kind, value in weights.items()}


def test_missing_values_of_data_frames_are_no_outcomes(rows: Any) -> None:
    pandas = pytest.importorskip("pandas")
    queries, outcomes = rows
    frame = pandas.DataFrame(outcomes).astype({"score": "Float64"})
    frame.loc[frame["model"] == "small", "score"] = pandas.NA
    report = r2_router.train(queries, frame, POOL, **QUICK)
    assert list(report.router.model_configs) == ["large"]


def test_training_needs_no_folder(training: r2_router.Training, tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    assert training["heads"] == 8
    assert training.router.route_text("add 17 and 20 please")["model"] == "small"
    assert training.router.route_text("prove theorem 900 of number theory")["model"] == "large"
    assert "Trained on " in str(training)
    assert list(training.to_pandas()["alpha"]) == [1, 10]
    assert "<table" in training._repr_html_()
    assert training.plot().get_xlabel() == "alpha"
    training.save_report(tmp_path / "report.html")
    assert "<svg" in (tmp_path / "report.html").read_text()


def test_a_router_is_evaluated_on_what_its_training_kept_out(
    training: r2_router.Training, rows: Any, tmp_path: Path
) -> None:
    pandas = pytest.importorskip("pandas")
    frames = [pandas.DataFrame(table) for table in rows]
    result = r2_router.evaluate(
        *frames, training.router, resamples=20, by_dataset=True, perturb=True
    )
    assert result.queries == training["held_out_queries"]
    metrics = result.to_pandas().set_index("policy")
    assert metrics.loc["router", "audc"] > metrics.loc["mean curve", "audc"]
    # That needs queries that cost alike: a router cannot save much where the hard ones cost most.
    assert metrics.loc["router", "audc"] > metrics.loc["random mixing", "audc"]
    assert metrics.loc["oracle", "audc"] >= metrics.loc["router", "audc"]
    assert metrics.loc["router", "audc_low"] <= metrics.loc["router", "audc"]
    assert result.metrics[0]["policy"] == "router"
    assert result.best_single["model"] == "large"
    assert set(result.to_pandas("datasets")["dataset"]) == {"sums", "proofs"}
    assert len(result.to_pandas("sweeps")) > 300
    assert result.stability is not None and result.stability["queries"] == result.queries
    assert len(result.plot().lines) >= 4
    html = result._repr_html_()
    assert "random mixing" in html and "you would pay" in html
    assert str(result).startswith(result.summary)
    for suffix, part in (("html", "<svg"), ("csv", "policy,lambda"), ("txt", "AUDC")):
        result.save_report(tmp_path / f"report.{suffix}")
        assert part in (tmp_path / f"report.{suffix}").read_text()
    result.save_report(tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text())["queries"] == result.queries
    with pytest.raises(ValueError, match=r"report.docx ends with '.docx': expected .html"):
        result.save_report(tmp_path / "report.docx")
    with pytest.raises(ValueError, match="expected 'metrics'"):
        result.to_pandas("other")


def test_folds_need_no_router(rows: Any) -> None:
    result = r2_router.evaluate(
        *rows, pool=POOL, folds=2, resamples=0, against=["mean-curve", "knn-router"], **QUICK
    )
    assert result.queries == 240
    assert [policy["policy"] for policy in result.metrics] == [
        "router", "mean curve", "kNN router"
    ]  # fmt: skip
    assert result.metrics[0]["audc"] > result.metrics[1]["audc"]


def test_routers_are_compared_by_name(training: r2_router.Training, rows: Any) -> None:
    other = r2_router.train(
        *rows, POOL, token_limits=[100], alphas=[1e6], encoder=LexicalEncoder(8)
    )
    result = r2_router.compare(
        {"mine": training.router, "other": other.router}, *rows, resamples=10
    )
    names = [policy["policy"] for policy in result.metrics]
    assert names[:1] == ["mine"] and "other" in names and "oracle" in names
    by_name = {policy["policy"]: policy for policy in result.metrics}
    assert by_name["mine"]["audc"] > by_name["other"]["audc"]
    assert "router_minus_policy" in by_name["other"]
    with pytest.raises(ValueError, match="expected a dictionary of routers"):
        r2_router.compare([training.router], *rows)  # type: ignore[arg-type]


def test_calibration_finds_a_setting_that_routes(
    training: r2_router.Training, rows: Any, tmp_path: Path
) -> None:
    pytest.importorskip("pandas")
    queries, outcomes = rows
    router = training.router
    found = r2_router.calibrate(queries, "95% of best", router, outcomes=outcomes, resamples=20)
    assert found.figures["realised"]
    assert found.figures["queries"] == training["held_out_queries"]
    figures = found.to_pandas()
    assert figures.loc["cost_usd", "low"] <= figures.loc["cost_usd", "value"]
    assert "Mean cost" in str(found)
    assert "cost_usd" in found._repr_html_()
    assert found.plot().get_ylabel() == "mean quality"
    found.save_report(tmp_path / "calibration.html")
    text = "add 17 and 20 please"
    by_keywords = router.route_text(text, **found.constraints)
    assert router.route_text(text, policy=found.save_policy(tmp_path / "p.json")) == by_keywords
    router.save_pretrained(tmp_path / "router")
    again = R2Router.from_pretrained(tmp_path / "router")
    r2_router.calibrate(queries, "0.05/1k", again, resamples=20).save_policy(name="cheap")
    assert again.route_text(text, policy="cheap")["model"] == "small"
    with pytest.raises(ValueError, match="no folder"):
        found.save_policy(name="cheap")
    with pytest.raises(ValueError, match="target"):
        r2_router.calibrate(queries, "as good as can be", router)
    with pytest.raises(ValueError, match="holdout is given, which needs outcomes"):
        r2_router.calibrate(queries, "0.05/1k", router, holdout=3)


def test_a_model_is_added(training: r2_router.Training, rows: Any, tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    added = r2_router.add_model(
        training.router, "new", *rows, EXTENDED, tmp_path / "out", probes=60
    )
    assert list(added.router.model_configs) == ["small", "large", "new"]
    assert list(training.router.model_configs) == ["small", "large"]
    assert added["probes"] == 60
    assert added["quality"]["error"] < added["quality"]["mean_error"] * 1.2
    assert set(added["quality"]["shares"]) >= {"small", "large"}
    assert str(added).startswith("Added new from 60 probes.")
    assert list(added.to_pandas()["target"]) == ["quality", "tokens"]
    assert "alpha" in added._repr_html_()
    added.plot()
    added.save_report(tmp_path / "added.json")
    text = "prove theorem 900 of number theory"
    loaded = R2Router.from_pretrained(tmp_path / "out")
    assert loaded.route_text(text) == added.router.route_text(text)
    with pytest.raises(FileNotFoundError, match='no model "nobody"'):
        r2_router.add_model(training.router, "nobody", *rows, EXTENDED)


def test_saved_routers_decide_alike(training: r2_router.Training, tmp_path: Path) -> None:
    default = R2Router.from_pretrained()
    default.lambda_val = 0.9
    for number, router in enumerate((training.router, default)):
        router.save_pretrained(tmp_path / str(number))
        again = R2Router.from_pretrained(tmp_path / str(number))
        assert again.lambda_val == router.lambda_val
        for text in ("add 17 and 20 please", "Prove Fermat's little theorem."):
            assert again.route_text(text) == router.route_text(text)
        with pytest.raises(OSError):
            router.save_pretrained(tmp_path / str(number))


def test_routers_of_regressors_are_saved(tmp_path: Path) -> None:
    class Head:
        def __init__(self, *coefficients: float) -> None:
            self.coef_ = np.array(coefficients)
            self.intercept_ = 0.5

    heads = {
        "limited": {"10_score": Head(0.1, -0.2)},
        "unlimited_score": Head(0.3, 0.1),
        "unlimited_token": Head(1, 2),
    }
    router = R2Router({"m": heads}, {"m": POOL["small"]}, 0.5)
    router.save_pretrained(tmp_path / "router")
    again = R2Router.from_pretrained(tmp_path / "router")
    assert again.route([0.3, 0.4]) == router.route([0.3, 0.4])


def test_a_router_is_pushed_to_the_hub_and_loaded_from_it(
    training: r2_router.Training, rows: Any, tmp_path: Path
) -> None:
    pytest.importorskip("huggingface_hub")
    training.router.save_pretrained(tmp_path / "router")
    router = R2Router.from_pretrained(tmp_path / "router")
    r2_router.calibrate(rows[0], "0.1/1k", router, resamples=1).save_policy(name="cheap")
    code = """
import sys
from r2_router import R2Router

router = R2Router.from_pretrained(sys.argv[1])
print(router.push_to_hub("me/router", token="hf_test", private=True))
again = R2Router.from_pretrained("me/router")
text = "add 17 and 20 please"
assert again.route_text(text, policy="cheap") == router.route_text(text, policy="cheap")
"""
    server = HubServer()
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "router")],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env=os.environ | {"HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "cache")},
        )
    finally:
        server.close()
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{server.url}/me/router/commit/1\n"
    assert sorted(server.files) == ["config.json", "model.safetensors", "policies/cheap.json"]
    for name, content in server.files.items():
        assert content == (tmp_path / "router" / name).read_bytes()
    assert server.created["name"] == "router" and server.created["organization"] == "me"
    assert server.created.get("private", server.created.get("visibility")) in (True, "private")
    assert set(server.keys) == {"Bearer hf_test"}


def test_push_to_hub_says_what_to_install(
    training: r2_router.Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"r2-router\[hub\]"):
        training.router.push_to_hub("me/router")


def test_prices_are_synchronised(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("pandas")
    pool = {"small": {**POOL["small"], "openrouter_id": "v/small"}}
    catalogue = tmp_path / "catalogue.json"
    pricing = {"prompt": "0.0000003", "completion": "0.0000004", "web_search": "0.01"}
    catalogue.write_text(json.dumps({"data": [{"id": "v/small", "pricing": pricing}]}))
    result = r2_router.sync_prices(pool, source=catalogue, ignore=["web_search"])
    assert (
        result.changes
        == [
            "small: input price $0.10 → $0.30 per million tokens",
            "small: output price $0.20 → $0.40 per million tokens",
        ]
        or len(result.changes) == 2
    )
    assert result.pool["models"]["small"]["input_price_per_million"] == 0.3
    assert pool["small"]["input_price_per_million"] == 0.1
    assert not result.written
    assert list(result.to_pandas()["output_after"]) == [0.4]
    assert "small: " in result._repr_html_()
    result.plot()

    file = tmp_path / "pool.json"
    file.write_text(json.dumps({"models": pool, "kept": 1}))
    assert r2_router.sync_prices(file, source=catalogue, write=True).written
    written = json.loads(file.read_text())
    assert written["kept"] == 1
    assert written["models"]["small"]["output_price_per_million"] == 0.4
    assert "the price is unknown" in caplog.text
    again = r2_router.sync_prices(file, source=catalogue, write=True)
    assert not again.written and str(again) == "Nothing has changed."
    with pytest.raises(ValueError, match="write=True needs the path of a pool file"):
        r2_router.sync_prices(pool, source=catalogue, write=True)
    with pytest.raises(r2_router.DataError, match="none of the pool's models"):
        r2_router.sync_prices(
            {"small": {**POOL["small"], "openrouter_id": "v/other"}}, source=catalogue
        )


def test_large_price_changes_are_written_only_on_request(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    last_day = (datetime.now(timezone.utc) + timedelta(days=9)).date().isoformat()
    models = {
        "small": {**POOL["small"], "openrouter_id": "v/small", "retires": last_day},
        "own": {"input_price_per_million": 1, "output_price_per_million": 1},
    }
    file = tmp_path / "pool.json"
    file.write_text(json.dumps({"models": models}))
    catalogue = tmp_path / "catalogue.json"
    pricing = {"prompt": "0.000002", "completion": "0.0000003"}
    limits = {"top_provider": {"max_completion_tokens": 4096}}
    catalogue.write_text(json.dumps({"data": [{"id": "v/small", "pricing": pricing, **limits}]}))

    result = r2_router.sync_prices(file, source=catalogue)
    assert len(result.large_changes) == 1 and result.large_changes[0] in result.changes
    assert result.retiring == ["small"] and result.unlisted == ["own"]
    assert f"small retires on {last_day}" in caplog.text
    assert result.pool["models"]["small"]["max_output_tokens"] == 4096
    before = file.read_text()
    with pytest.raises(r2_router.DataError, match="more than tenfold"):
        r2_router.sync_prices(file, source=catalogue, write=True)
    assert file.read_text() == before
    assert r2_router.sync_prices(file, source=catalogue, write=True, large_changes=True).written
    assert json.loads(file.read_text())["models"]["small"]["input_price_per_million"] == 2


def test_wrong_tables_are_named_with_their_row(rows: Any) -> None:
    queries, outcomes = rows
    bad = [dict(row) for row in outcomes]
    bad[6]["score"] = 7
    with pytest.raises(
        r2_router.DataError, match=r"^outcomes, row 7, column 'score': found .*7"
    ) as caught:
        r2_router.train(queries, bad, POOL, **QUICK)
    assert caught.value.line == 7  # type: ignore[attr-defined]
    assert caught.value.file == "outcomes"  # type: ignore[attr-defined]
    with pytest.raises(r2_router.DataError, match=r"^queries, row 1, column 'query'"):
        r2_router.evaluate([{"query_id": 1}], outcomes, pool=POOL, folds=2)
    with pytest.raises(r2_router.ConfigError, match=r"^pool at /models/small/input_price"):
        r2_router.train(queries, outcomes, {"small": {"input_price_per_million": "x"}})
    with pytest.raises(TypeError, match="outcomes is of the type int: expected a data frame"):
        r2_router.train(queries, 3, POOL)
    with pytest.raises(TypeError, match="queries, row 2 is of the type str"):
        r2_router.train([queries[0], "text"], outcomes, POOL)
    with pytest.raises(TypeError, match="pool is of the type list"):
        r2_router.train(queries, outcomes, [1])  # type: ignore[arg-type]


def test_wrong_requests_are_explained(training: r2_router.Training, rows: Any) -> None:
    def check(message: str, **options: Any) -> None:
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            r2_router.evaluate(*rows, **{"resamples": 0, **options})

    check("folds needs pool", folds=3)
    check("perturb is given with folds", folds=2, pool=POOL, perturb=True)
    check("holdout is given with folds", folds=2, pool=POOL, holdout=0)
    check("predictor is given without folds", router=training.router, predictor="knn")
    check("alphas is given without folds", router=training.router, alphas=np.ones(2))
    check("encoder is given without folds", router=training.router, encoder=LexicalEncoder())
    check("folds is 1: expected 2 to 100", folds=1, pool=POOL)
    check("router is given with folds", folds=2, pool=POOL, router=training.router)
    check("pool is given without folds", pool=POOL, router=training.router)
    check('no policy "nobody"', router=training.router, against=["nobody"])
    check("cross-validation", router=training.router, against=["knn-router"])
    check("240 queries and 2 embeddings", router=training.router, embeddings=np.ones((2, 64)))


def test_progress(training: r2_router.Training, rows: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def see(stage: str, done: int, total: int) -> None:
        seen.append(stage)

    r2_router.evaluate(*rows, pool=POOL, folds=2, resamples=3, progress=see, **QUICK)
    assert {"cross-validating", "fitting", "predicting", "resampling"} <= set(seen)
    seen.clear()
    r2_router.evaluate(*rows, training.router, resamples=3, perturb=True, progress=see)
    assert list(dict.fromkeys(seen)) == ["predicting", "resampling", "editing"]
    assert seen.count("editing") == training["held_out_queries"]
    seen.clear()
    r2_router.calibrate(rows[0], "95% of best", training.router, resamples=7, progress=see)
    assert seen == ["resampling"] * 7

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "resampling":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        r2_router.evaluate(*rows, pool=POOL, folds=2, resamples=3, progress=stop, **QUICK)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.raises(ImportError, match="pip install tqdm"):
        r2_router.train(*rows, POOL, progress=True, **QUICK)
    with pytest.raises(TypeError, match="expected a function"):
        r2_router.train(*rows, POOL, progress="yes", **QUICK)  # type: ignore[arg-type]


def test_a_bar_is_shown_on_request(rows: Any, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tqdm")
    r2_router.train(*rows, POOL, progress=True, **QUICK)
    assert "cross-validating" in capsys.readouterr().err
    r2_router.train(*rows, POOL, **QUICK)  # not a terminal
    assert capsys.readouterr().err == ""


class Interrupted(Exception):
    """Raised by a signal handler."""


@pytest.mark.parametrize("name", ["train", "evaluate", "cross_validate", "calibrate", "add_model"])
def test_signals_end_native_work(
    name: str, training: r2_router.Training, rows: Any, tmp_path: Path
) -> None:
    """As Ctrl-C does. Each call would take minutes."""
    endless: dict[str, Any] = {"resamples": 1_000_000, "progress": False}
    calls: dict[str, Any] = {
        "train": lambda: r2_router.train(
            *rows, POOL, tmp_path / "out", progress=False, predictor="mlp", folds=50, threads=1
        ),
        "evaluate": lambda: r2_router.evaluate(*rows, training.router, **endless),
        "cross_validate": lambda: r2_router.evaluate(*rows, pool=POOL, folds=2, **endless, **QUICK),
        "calibrate": lambda: r2_router.calibrate(
            rows[0] * 1, "95% of best", training.router, resamples=100_000, progress=False
        ),
        "add_model": lambda: r2_router.add_model(
            training.router, "new", *rows, EXTENDED, tmp_path / "out", probes=60, progress=False
        ),
    }
    ended: list[tuple[str, str]] = []

    def watch(frame: Any, event: str, argument: Any) -> None:
        # A signal that arrives during native work is otherwise handled when that has ended.
        if event.startswith("c_") and getattr(argument, "__name__", "") == name:
            if event == "c_call":
                signal.setitimer(signal.ITIMER_REAL, 0.001 if name == "add_model" else 0.2)
            else:
                ended.append((name, event))

    def interrupt(number: int, frame: Any) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    sys.setprofile(watch)
    try:
        with pytest.raises(Interrupted):
            calls[name]()
    finally:
        sys.setprofile(None)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert ended == [(name, "c_exception")]
    assert not (tmp_path / "out").exists()


def test_the_setting_of_a_router_is_evaluated(
    training: r2_router.Training, rows: Any, tmp_path: Path
) -> None:
    training.router.save_pretrained(tmp_path / "router")
    router = R2Router.from_pretrained(tmp_path / "router", lambda_val=1)
    default, cheapest = (
        r2_router.evaluate(*rows, each, resamples=0).to_dict()["default_lambda"]
        for each in (training.router, router)
    )
    assert cheapest["lambda"] == 1 != default["lambda"]
    assert cheapest["cost"] < default["cost"]


class Reversed(R2Router):
    """Embeds texts in another way than its checkpoint."""

    def embed(self, texts: Any) -> Any:
        return -super().embed(texts)


def test_an_overridden_embed_is_used(
    training: r2_router.Training, rows: Any, tmp_path: Path
) -> None:
    training.router.save_pretrained(tmp_path / "router")
    router = Reversed.from_pretrained(tmp_path / "router", llm_api_base="http://127.0.0.1:9")
    own, other = (
        r2_router.evaluate(*rows, each, resamples=0).metrics[0]["audc"]
        for each in (training.router, router)
    )
    assert own > other + 0.05
    queries, outcomes = rows
    embeddings = router.embed([row["query"] for row in queries])
    given = r2_router.evaluate(*rows, training.router, embeddings=embeddings, resamples=0)
    assert given.metrics[0]["audc"] == other
    qualities = [
        r2_router.calibrate(queries, "0.1/1k", each, outcomes=outcomes, resamples=1).figures[
            "predicted_quality"
        ]
        for each in (training.router, router)
    ]
    assert qualities[0] != qualities[1]
    added = r2_router.add_model(router, "new", *rows, EXTENDED, probes=60)
    assert isinstance(added.router, Reversed)
    assert added.router.llm_api_base == "http://127.0.0.1:9"
    with pytest.raises(ValueError, match="perturb needs the encoder of the checkpoint"):
        r2_router.evaluate(*rows, router, perturb=True)
    with pytest.raises(ValueError, match="'reversed' does not use an encoder"):
        r2_router.compare({"own": training.router, "reversed": router}, *rows)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"folds": "x"}, "^folds is 'x': expected a whole number"),
        ({"alphas": 3}, "^alphas is 3: expected a list of numbers"),
        ({"alphas": ["x"]}, r"^alphas is \['x'\]: expected a list"),
        ({"dataset": 3}, "^dataset is 3: expected a string"),
        ({"encoder": "words"}, "^encoder is 'words': expected a LexicalEncoder"),
        ({"output": 3}, "^output is 3: expected a path"),
        ({"embeddings": [["x"]]}, "^the embeddings has values of the type"),
        ({"queries": [{("a", "b"): 2}]}, r"^queries, row 1 has the column \('a', 'b'\): expected"),
        ({"queries": {"query_id": [1]}}, "^queries is of the type dict: expected a data frame"),
        ({"outcomes": b"o"}, "^outcomes is of the type bytes"),
        ({"token_limits": ["x"]}, r"^token_limits is \['x'\]"),
        ({"coverage": "x"}, "^coverage is 'x': expected a number"),
        ({"progress": 3}, "^progress is 3: expected a function"),
    ],
    ids=lambda change: str(change)[:40],
)
def test_wrong_types_are_named(change: dict[str, Any], message: str, rows: Any) -> None:
    arguments: dict[str, Any] = {"queries": rows[0], "outcomes": rows[1], "pool": POOL}
    with pytest.raises(TypeError, match=message) as caught:
        r2_router.train(**arguments | change)
    assert "\n" not in str(caught.value)


def test_wrong_routers_are_named(rows: Any) -> None:
    router: Any = 3
    calls = (
        lambda: r2_router.evaluate(*rows, router),
        lambda: r2_router.calibrate(rows[0], "0.05/1k", router),
        lambda: r2_router.add_model(router, "new", *rows, EXTENDED),
    )
    for call in calls:
        with pytest.raises(TypeError, match="router is of the type int: expected an R2Router"):
            call()
    with pytest.raises(TypeError, match=r"^contenders\['a'\] is of the type int"):
        r2_router.compare({"a": router}, *rows)


def test_missing_columns_are_named(rows: Any) -> None:
    pandas = pytest.importorskip("pandas")
    queries, outcomes = (pandas.DataFrame(table) for table in rows)
    for name in ("query_id", "model", "output_tokens"):
        with pytest.raises(r2_router.DataError, match=f"^outcomes, row 1, column '{name}'"):
            r2_router.train(queries, outcomes.drop(columns=name), POOL, **QUICK)
    with pytest.raises(r2_router.DataError, match="score"):
        r2_router.train(queries, outcomes.drop(columns="score"), POOL, **QUICK)
