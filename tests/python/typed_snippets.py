"""What type checkers must say of code that uses the package: an error in the lines marked "# E",
and in no other. Read by test_typing.py, never run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from typing_extensions import assert_type

from r2_router import (
    Answer,
    AsyncTextStream,
    Calibration,
    Decision,
    DecisionBatch,
    Details,
    Evaluation,
    Explanation,
    Option,
    R2Router,
    TextStream,
    Training,
    add_model,
    calibrate,
    compare,
    encoders,
    evaluate,
    sync_prices,
    train,
)

Budget = int | Literal["unlimited"]


def decisions(router: R2Router) -> None:
    decision = router.route_text("a query")
    assert_type(decision, Decision)
    assert_type(decision["model"], str)
    assert_type(decision["openrouter_id"], str)
    assert_type(decision["budget"], Budget)
    assert_type(decision["predicted_quality"], float)
    assert_type(decision["predicted_output_tokens"], float)
    assert_type(decision["predicted_cost_usd"], float)
    assert_type(decision["risk"], float)
    assert_type(decision["all_options"], list[Option])
    assert_type(decision.all_options[0]["budget"], Budget)
    assert_type(decision.details, Details)
    assert_type(decision.details["max_tokens"], int)
    assert_type(decision.explain(), Explanation)
    assert_type(decision.copy(), Decision)
    decision["note"] = "mine"  # a dictionary still
    plain: dict[str, object] = dict(decision)
    print(plain, decision | {"more": 1})

    name: str = decision["model"]
    number: int = decision["model"]  # E
    length: int = decision["budget"]  # E
    budget = decision["budget"]
    if budget != "unlimited":
        assert_type(budget, int)
    text: str = decision["budget"]  # E
    text = decision["predicted_quality"]  # E
    text = decision.details["max_tokens"]  # E
    text = decision.all_options[0]["modle"]  # E
    print(name, number, length, text)


def lists(router: R2Router, queries: list[str], any_sequence: Sequence[str]) -> None:
    assert_type(router.route_text(queries), list[Decision])
    assert_type(router.route_text(("a", "b")), list[Decision])
    assert_type(router.route_text(any_sequence), list[Decision])
    router.route_text(3)  # E
    router.route_text([1, 2])  # E
    router.route_text(b"bytes")  # E
    router.route_text(["a"])["model"]  # E


def constraints(router: R2Router, row: np.ndarray) -> None:
    router.route_text("q", allow=["a"], deny=("b",), max_cost_usd=0.01)
    router.route_text("q", allow={"a", "b"}, deny={"c": 1}.keys())
    router.route_text("q", allow=None, deny=frozenset({"b"}), objective="best")
    router.route_text("q", allow="a")  # E
    router.route_text("q", deny="a")  # E
    router.route_text("q", allow=[1])  # E
    router.route_text("q", allow=b"a")  # E
    router.route(row, allow="a")  # E
    router.route_batch(row, allow="a")  # E
    router.route_batch(row, deny="a")  # E
    router.route_and_generate("q", allow="a")  # E
    router.route_text("q", objective="worst")  # E
    router.route_text("q", max_cost_usd="much")  # E
    router.route_text("q", alow=["a"])  # E
    router.route(row, 0.5, 20, continuous=True, policy="cheap")
    router.route(row, "0.5")  # E
    train("q", "o", "p", "out", models=["a"])
    train("q", "o", "p", "out", models="a")  # E


def batches(router: R2Router, rows: np.ndarray) -> None:
    batch = router.route_batch(rows, input_tokens=[1, 2])
    assert_type(batch, DecisionBatch)
    assert_type(batch[0], Option)
    assert_type(batch[-1], Option)
    print(batch[np.int64(-1)]["model"])
    assert_type(batch[1:], DecisionBatch)
    assert_type(batch[batch.quality > 0.5], DecisionBatch)
    for option in batch:
        assert_type(option["budget"], Budget)
    assert_type(list(batch), list[Option])
    assert_type(len(batch), int)
    frame: pd.DataFrame = batch.to_pandas()
    print(frame, batch.to_polars(), batch.to_arrow())
    batch["model"]  # E
    text: str = batch[0]["risk"]  # E
    print(text)


def answers(router: R2Router, decision: Decision) -> None:
    answer = router.generate("q", decision)
    assert_type(answer, Answer)
    assert_type(answer["response"], str)
    assert_type(answer["attempts"][0]["http_status"], int | None)
    assert_type(answer["usage"]["completion_tokens"], int | None)
    assert_type(router.generate("q", "a", "unlimited", stream=True), TextStream)
    assert_type(router.route_and_generate("q", 0.5, max_fallbacks=1, deny=["a"]), Answer)
    assert_type(router.route_and_generate("q", stream=True), TextStream)
    assert_type(router.route_and_generate("q", stream=True).completion, Answer)
    router.generate("q", "a", "infinite")  # E
    router.generate("q", "a", 20, max_fallback=1)  # E
    router.generate("q", "a", 20, timeout="soon")  # E
    router.generate(["q"], "a", 20)  # E


async def later(router: R2Router, decision: Decision) -> None:
    assert_type(await router.aroute_text("q"), Decision)
    assert_type(await router.aroute_text(["q"]), list[Decision])
    assert_type(await router.agenerate("q", decision), Answer)
    assert_type(await router.agenerate("q", decision, stream=True), AsyncTextStream)
    assert_type(await router.aroute_and_generate("q", allow=["a"]), Answer)
    assert_type(await router.aroute_and_generate("q", stream=True), AsyncTextStream)
    await router.aroute_text("q", allow="a")  # E
    await router.aroute_and_generate("q", deny="a")  # E
    await router.agenerate("q", "a", None, "hot")  # E


class Mine(R2Router):
    extra: int = 0


def construct() -> None:
    assert_type(Mine.from_pretrained(None, 0.5, cache_bytes=0), Mine)
    R2Router.from_pretrained("folder", embed_url="http://localhost:1", timeout=3)
    R2Router.from_pretrained("folder", encoder=encoders.LlamaCpp("model.gguf", threads=2))
    R2Router.from_pretrained("folder", encoder=lambda texts: [[len(text)] for text in texts])
    R2Router.from_pretrained("folder", encoder="model.gguf")  # E
    assert_type(encoders.Transformers("name")(["text"]), NDArray[np.float32])
    R2Router.from_pretrained("folder", embed_uri="http://localhost:1")  # E
    R2Router.from_pretrained("folder", timeout="3")  # E
    R2Router.from_pretrained(3)  # E
    R2Router({}, {}, ca_file=None, embed_model="m")
    R2Router({}, {}, ca_fil=None)  # E


def reports(frame: pd.DataFrame, router: R2Router) -> None:
    training = train(frame, frame, {"m": {"input_price_per_million": 1}}, predictor="knn")
    assert_type(training, Training)
    assert_type(training.router, R2Router)
    assert_type(training.evaluation, Evaluation)
    evaluation = evaluate(frame, frame, router, progress=lambda stage, done, total: None)
    assert_type(evaluation.queries, int)
    table: pd.DataFrame = evaluation.to_pandas("sweeps")
    found = calibrate(frame, "95% of best", router)
    assert_type(found, Calibration)
    router.route_text("q", **found.constraints)
    assert_type(add_model(router, "m", frame, frame, "pool.json").router, R2Router)
    assert_type(compare({"a": router, "b": "folder"}, frame, frame), Evaluation)
    assert_type(sync_prices("pool.json", ignore=["web_search"]).changes, list[str])
    print(table)
    evaluate(frame, frame, 3)  # E
    train(frame, frame, 3)  # E
    train(frame, frame, "pool.json", models="a")  # E
    calibrate(frame, 0.95)  # E
    compare([router], frame, frame)  # E
    sync_prices("pool.json", ignore="web_search")  # E
