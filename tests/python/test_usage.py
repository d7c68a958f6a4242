"""The package as users of notebooks and of the library come upon it: help, completion, subclasses,
asyncio, copies in other processes, exceptions."""

from __future__ import annotations

import asyncio
import inspect
import json
import multiprocessing
import pickle
import pydoc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import make_model_configs, make_predictors
from fault_server import FaultServer

import r2_router
from r2_router import R2Router
from r2_router._options import Constraints
from r2_router._types import Answer, Attempt, Details, Explanation, Option, Usage

# Help and completion.

CONSTRAINTS = set(Constraints.__annotations__)
ANSWERS = {"timeout", "max_fallbacks"}
SERVERS = {"embed_model", "embed_api_key", "ca_file", "timeout", "cache_bytes"}


@pytest.mark.parametrize(
    ("method", "keywords"),
    [
        ("__init__", SERVERS),
        ("from_pretrained", SERVERS),
        ("route", CONSTRAINTS),
        ("route_text", CONSTRAINTS),
        ("aroute_text", CONSTRAINTS),
        ("route_batch", CONSTRAINTS),
        ("route_table", CONSTRAINTS),
        ("generate", ANSWERS),
        ("agenerate", ANSWERS),
        ("route_and_generate", CONSTRAINTS | ANSWERS),
        ("aroute_and_generate", CONSTRAINTS | ANSWERS),
    ],
)
def test_signatures_name_every_keyword(method: str, keywords: set[str]) -> None:
    signature = inspect.signature(getattr(R2Router, method))
    assert keywords <= set(signature.parameters)
    kinds = {parameter.kind for parameter in signature.parameters.values()}
    assert inspect.Parameter.VAR_KEYWORD not in kinds
    shown = pydoc.plain(pydoc.render_doc(getattr(R2Router, method)))
    for name in keywords:
        assert f"{name}: " in shown
    assert "Unpack" not in shown


def test_signatures_have_the_defaults_that_hold(small_router: R2Router) -> None:
    parameters = inspect.signature(small_router.generate).parameters
    assert parameters["max_fallbacks"].default == 2
    assert parameters["timeout"].default is None
    assert "self" not in parameters
    assert inspect.signature(R2Router.from_pretrained).parameters["cache_bytes"].default == 0


def test_completion_of_keywords(small_router: R2Router) -> None:
    pytest.importorskip("IPython", reason="needs IPython, of the test extra")
    from IPython.core.completer import IPCompleter, provisionalcompleter

    completer = IPCompleter(namespace={"router": small_router}, use_jedi=False)
    for text, expected in (
        ("router.route_text('q', max_c", "max_cost_usd="),
        ("router.route_text('q', al", "allow="),
        ("router.generate('q', 'alpha', max_", "max_fallbacks="),
        ("router.rou", ".route_batch"),
    ):
        with provisionalcompleter():
            found = [completion.text for completion in completer.completions(text, len(text))]
        assert expected in found, text


def test_a_list_of_decisions_in_ipython(small_router: R2Router) -> None:
    pretty = pytest.importorskip("IPython.lib.pretty", reason="needs IPython, of the test extra")
    decision = small_router.route([0.0] * 4)
    assert pretty.pretty(decision) == str(decision)
    assert pretty.pretty([decision, decision]).count(str(decision)) == 2


# Typed dictionaries say what the dictionaries hold.


def test_typed_dictionaries_are_up_to_date(server: FaultServer, native_folder: Path) -> None:
    router = R2Router.from_pretrained(native_folder)
    router.llm_api_base = server.url(server.script([[{"service": {}}]]))
    decision = router.route_text("which one")
    answer = router.generate("which one", decision)
    for typed, value in (
        (Option, decision.all_options[0]),
        (Option, router.route_batch(router.embed("x"))[0]),
        (Details, decision.details),
        (Explanation, decision.explain()),
        (Usage, answer["usage"]),
        (Attempt, answer["attempts"][0]),
        (Answer, answer),
    ):
        assert set(value) == set(typed.__annotations__), typed.__name__
    assert set(decision) == {*Option.__annotations__, "all_options"}


# Encoders of one's own.


class Encoder(R2Router):
    """Embeds by itself, and counts how often."""

    calls = 0

    def embed(self, texts: Any) -> Any:
        type(self).calls += 1
        assert isinstance(texts, list), "several texts, even if it is one"
        return [[float(len(text)), 1.0, 0.0, 0.5] for text in texts]


def encoder(**settings: Any) -> Encoder:
    return Encoder(make_predictors(), make_model_configs(), **settings)


def test_every_method_uses_an_overridden_encoder(server: FaultServer) -> None:
    router = encoder(llm_api_base=server.url(server.script([[{"service": {}}]])))
    expected = router.route([5.0, 1.0, 0.0, 0.5], input_tokens=1)

    async def later() -> list[Any]:
        answer = await router.aroute_and_generate("hello")
        return [
            await router.aroute_text("hello"),
            *(await router.aroute_text(["hello", "hello"])),
            answer["model"],
        ]

    calls = Encoder.calls
    assert router.route_text("hello") == expected
    assert router.route_text(["hello", "hello"]) == [expected, expected]
    assert asyncio.run(later()) == [expected] * 3 + [expected["model"]]
    assert router.route_and_generate("hello")["model"] == expected["model"]
    curve = router.quality_curve("hello")
    np.testing.assert_array_equal(
        curve["alpha"].quality, router.quality_curve([5.0, 1.0, 0.0, 0.5])["alpha"].quality
    )
    assert Encoder.calls == calls + 7


def test_an_encoder_set_on_the_object(small_router: R2Router) -> None:
    rows = np.array([[1.0, 2.0, 3.0, 4.0]], np.float32)
    small_router.embed = lambda texts: rows[: len(texts)]  # type: ignore[method-assign]
    expected = small_router.route(rows[0], input_tokens=1)
    assert small_router.route_text("hello") == expected
    assert asyncio.run(small_router.aroute_text("hello")) == expected


def test_an_encoder_does_not_block_the_event_loop() -> None:
    import threading

    started, go_on = threading.Event(), threading.Event()

    class Slow(Encoder):
        def embed(self, texts: Any) -> Any:
            started.set()
            assert go_on.wait(30)
            return super().embed(texts)

    router = Slow(make_predictors(), make_model_configs())

    async def run() -> str:
        task = asyncio.create_task(router.aroute_text("hello"))
        while not started.is_set():
            await asyncio.sleep(0.001)
        go_on.set()  # only a loop that is free gets here
        decision = await task
        return decision["model"]

    assert asyncio.run(run()) in ("alpha", "beta")


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ([], r"embed\(\) returned 0 embeddings for 2 queries"),
        ([[0.0] * 4], r"embed\(\) returned 1 embeddings for 2 queries"),
        ([0.0] * 4, r"the embeddings have the shape \(4,\)"),
        ([[0.0] * 5] * 2, r"shape \(2, 5\): expected \(N, 4\)"),
        ([[float("nan")] * 4] * 2, "is NaN"),
    ],
)
def test_what_an_encoder_returns_is_checked(
    returned: Any, message: str, small_router: R2Router
) -> None:
    small_router.embed = lambda texts: returned  # type: ignore[method-assign]
    with pytest.raises(ValueError, match=message):
        small_router.route_text(["a", "b"])
    with pytest.raises(ValueError, match=message):
        asyncio.run(small_router.aroute_text(["a", "b"]))


# Copies in other processes.


def route_there(router: R2Router, text: str) -> Any:
    return router.route_text(text)


def fail_there(router: R2Router) -> Any:
    return router.generate("hello", "small", 20)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_other_processes(method: str, native_folder: Path) -> None:
    router = R2Router.from_pretrained(native_folder, llm_api_base="http://127.0.0.1:9")
    texts = ["one", "two words"]
    with multiprocessing.get_context(method).Pool(1) as pool:
        decisions = pool.starmap(route_there, [(router, text) for text in texts])
        assert decisions == router.route_text(texts)
        assert decisions[0].details == router.route_text(texts[0]).details
        with pytest.raises(r2_router.ServerConnectionError) as caught:
            pool.apply(fail_there, (router,))
    assert caught.value.completion is not None
    assert caught.value.completion["attempts"]


def test_an_unpickled_decision_says_how_to_ask(native_folder: Path) -> None:
    router = R2Router.from_pretrained(native_folder, llm_api_base="http://127.0.0.1:9")
    decision = pickle.loads(pickle.dumps(router.route_text("hello")))
    with pytest.raises(ValueError, match=r'generate\(query, decision\["model"\]'):
        router.generate("hello", decision)
    with pytest.raises(ValueError, match=r"a decision and the budget 20 are given"):
        router.generate("hello", router.route_text("hello"), 20)  # type: ignore[call-overload]


# Budgets and exceptions.


def test_a_budget_may_be_a_number_of_numpy(server: FaultServer, native_folder: Path) -> None:
    router = R2Router.from_pretrained(native_folder)
    router.llm_api_base = server.url(server.script([[{"service": {}}]]))
    assert router.generate("hello", "small", np.int64(20))["budget"] == 20  # type: ignore[call-overload]
    for wrong in (True, 1.5, -1, 0, "20", None, np.float64(20)):
        with pytest.raises(ValueError, match=r"the budget is .*: expected a positive int"):
            router.generate("hello", "small", wrong)


def test_exceptions_are_the_built_in_kinds() -> None:
    kinds = {
        "CheckpointError": ValueError,
        "ConfigError": ValueError,
        "DataError": ValueError,
        "ServerError": RuntimeError,
        "ServerConnectionError": ConnectionError,
        "ServerTimeoutError": TimeoutError,
    }
    for name, kind in kinds.items():
        error = getattr(r2_router, name)("message")
        assert isinstance(error, kind)
        error.completion = {"attempts": []}
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), again.completion) == (
            type(error),
            "message",
            {"attempts": []},
        )


def test_json_and_data_frames_of_decisions(small_router: R2Router) -> None:
    pandas = pytest.importorskip("pandas", reason="needs pandas, of the test extra")
    decisions = [small_router.route(row) for row in np.eye(4)]
    assert json.loads(json.dumps(decisions)) == decisions
    frame = pandas.DataFrame(decisions)
    assert list(frame["model"]) == [decision["model"] for decision in decisions]
    assert list(frame.columns) == list(decisions[0])
