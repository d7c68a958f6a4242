"""Whatever the arguments, the answer is a decision or one of the exceptions of the contract."""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any

import numpy as np
import pytest
from conftest import make_model_configs, make_predictors
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from r2_router import R2Router, _core

ROUTER = R2Router(make_predictors(), make_model_configs())

# The same examples in every run, so that only a change can break it; R2ROUTER_FUZZ_LENGTH=50 draws
# new ones, 50 times as many.
LENGTH = int(os.environ.get("R2ROUTER_FUZZ_LENGTH", "1"))
REPEATABLE = "R2ROUTER_FUZZ_LENGTH" not in os.environ
EXAMPLES = settings(deadline=None, derandomize=REPEATABLE, database=None)

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.complex_numbers()
    | st.text(st.characters(), max_size=5)
    | st.binary(max_size=9)
    | st.builds(object)
    | st.sampled_from([np.float32(0.5), np.int8(-3), np.datetime64("2026-01-01"), int, "alpha"])
)
things = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)
shapes = npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5)
dtypes = (
    npst.scalar_dtypes()
    | npst.unicode_string_dtypes(max_len=3)
    | npst.array_dtypes(max_size=2)
    | st.sampled_from([np.dtype(object), np.dtype(np.longdouble), np.dtype(">f4")])
)
good_rows = npst.arrays(np.float64, (2, 4), elements=st.floats(-1e3, 1e3))
arrays = dtypes.flatmap(
    lambda dtype: npst.arrays(dtype, shapes, elements=st.none() if dtype.kind == "O" else None)
)
strided = st.builds(lambda a: a[..., ::2] if a.ndim else a, arrays) | arrays.map(np.transpose)
embeddings = things | arrays | strided | st.lists(st.floats(), min_size=3, max_size=5) | good_rows
options = st.fixed_dictionaries(
    {},
    optional={
        "lambda_val": things | st.floats(0, 1),
        "input_tokens": things | st.integers(0, 10**6) | arrays,
        "allow": things | st.lists(st.sampled_from(["alpha", "beta"])),
        "deny": things | st.lists(st.sampled_from(["alpha", "beta"])),
        "available_only": things,
        "token_floor": things | st.floats(0, 1e4),
        "cap": things | st.dictionaries(st.sampled_from(["margin", "minimum"]), things),
        "rules": things | st.sampled_from(["reference", "corrected"]),
        "max_output_tokens": things | st.integers(),
        "continuous": things,
    },
)
EXPECTED = (TypeError, ValueError)


def check_option(option: dict[str, Any]) -> None:
    assert option["model"] in ("alpha", "beta")
    assert option["budget"] in (10, 300, "unlimited")
    assert 0 <= option["predicted_quality"] <= 1
    assert option["predicted_output_tokens"] >= 0
    assert option["predicted_cost_usd"] >= 0


@settings(EXAMPLES, max_examples=600 * LENGTH)
@given(embeddings, options)
@pytest.mark.filterwarnings("ignore")
def test_route(embedding: Any, arguments: dict[str, Any]) -> None:
    try:
        decision = ROUTER.route(embedding, **arguments)
    except EXPECTED as error:
        assert str(error)
        return
    check_option(decision)
    for option in decision.all_options:
        check_option(option)
    json.dumps(decision)


@settings(EXAMPLES, max_examples=400 * LENGTH)
@given(embeddings, options)
@pytest.mark.filterwarnings("ignore")
def test_route_batch(rows: Any, arguments: dict[str, Any]) -> None:
    try:
        batch = ROUTER.route_batch(rows, **arguments)
    except EXPECTED as error:
        assert str(error)
        return
    assert len(batch) == len(rows)
    for option in batch.to_dicts():
        check_option(option)


@settings(EXAMPLES, max_examples=200 * LENGTH)
@given(things, things)
def test_text(text: Any, value: Any) -> None:
    if isinstance(text, list) and not text:
        assert ROUTER.route_text(text) == []
        return
    with pytest.raises((TypeError, ValueError, RuntimeError)):
        ROUTER.route_text(text, value)


@settings(EXAMPLES, max_examples=300 * LENGTH)
@given(
    st.dictionaries(
        st.sampled_from(["alpha", "beta"]),
        st.dictionaries(
            st.sampled_from(["limited", "limited_token", "unlimited_score", "unlimited_token"]),
            things,
        ),
    )
    | things,
    st.just(make_model_configs()) | things,
)
def test_constructor(predictors: Any, configs: Any) -> None:
    with pytest.raises(EXPECTED):
        R2Router(predictors, configs)


@settings(EXAMPLES, max_examples=300 * LENGTH)
@given(st.data())
@pytest.mark.filterwarnings("ignore")
def test_the_native_module_itself(data: st.DataObject) -> None:
    """The facade converts; the module beneath must not trust it."""
    options, size = _core.RouteOptions({"lambda_val": 0.5}), _core.QuerySize(10)
    calls: list[tuple[Any, tuple[Any, ...]]] = [
        (ROUTER._native.route, (arrays | things, st.just(options), st.just(size))),
        (
            ROUTER._native.route_batch,
            (arrays | good_rows, st.just(options), st.just(size), arrays | things, things),
        ),
        (
            ROUTER._native.route_texts,
            (things | st.just(["a"]), arrays | good_rows, st.just(options), st.just(size)),
        ),
        (ROUTER._native.quality_curves, (arrays | things, st.integers() | things)),
        (ROUTER._native.embed, (things,)),
        (_core.Checkpoint, (things, things, arrays, things, things)),
        (_core.Checkpoint.load, (st.text(max_size=5) | things, things)),
        (_core.RouteOptions, (things,) * 3),
        (_core.QuerySize, (things,) * 2),
        (_core.Router, (things | st.just(ROUTER._checkpoint), things)),
        (_core.LexicalEncoder, (things,) * 6),
        (_core.estimate_input_tokens, (things,)),
    ]
    call, strategies = data.draw(st.sampled_from(calls))
    arguments = [data.draw(strategy) for strategy in strategies]
    with contextlib.suppress(TypeError, ValueError, RuntimeError, OSError):
        call(*arguments)


def test_a_native_router_needs_a_checkpoint() -> None:
    with pytest.raises(TypeError):
        _core.Router(None, "")  # type: ignore[arg-type]
