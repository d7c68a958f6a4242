"""Wrong arguments, to the package and to every function of the native module beneath it: the
message is one line in Python's terms, without a signature."""

from __future__ import annotations

import inspect
import json
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import make_model_configs, make_predictors

from r2_router import DecisionBatch, LexicalEncoder, R2Router, Statistics, _core, convert, train

#: What only a signature or C++ has in it.
SIGNATURE = re.compile(
    r"incompatible|argument types|Invoked with|arg0|self:|->|::|C\+\+|pybind|_core\.|typing\.|"
    r"collections\.|numpy\.ndarray|SupportsInt|<lambda"
)


def check_message(error: BaseException) -> None:
    message = str(error)
    assert message
    assert "\n" not in message
    assert not SIGNATURE.search(message), message


# The native module.


def write_tables(folder: Path) -> dict[str, str]:
    """Files for read_data(), and a catalogue."""
    rows = range(40)
    texts = {
        "queries": [{"query_id": i, "query": f"word{i % 7} number {i}"} for i in rows],
        "outcomes": [
            {"query_id": i, "model": "m", "score": i % 2, "output_tokens": 10} for i in rows
        ],
    }
    prices = {"openrouter_id": "v/m", "input_price_per_million": 1, "output_price_per_million": 2}
    catalogue = {"data": [{"id": "v/m", "pricing": {"prompt": "1e-6", "completion": "2e-6"}}]}
    (folder / "pool.json").write_text(json.dumps({"models": {"m": prices}}))
    (folder / "catalogue.json").write_text(json.dumps(catalogue))
    for name, lines in texts.items():
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return {name: str(folder / name) for name in texts} | {"pool": str(folder / "pool.json")}


def instances() -> dict[str, Any]:
    """An object of each class that has methods."""
    router = R2Router(make_predictors(), make_model_configs())
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "policy.json").write_text("{}")
        policy = _core.load_policy(f"{folder}/policy.json", "")
        files = write_tables(Path(folder))
        data = _core.read_data(**files)
        statistics = Statistics(files["pool"], dimension=4)
        prices = _core.compare_prices(
            pool=files["pool"],
            base_url="",
            source=str(Path(folder, "catalogue.json")),
            ca_file="",
            ignored=[],
            log=None,
        )
    encoder = _core.LexicalEncoder(8, [("words", 1, 1, 1.0)], 0, False, False, False)
    recipe = _core.Recipe(encoder=encoder, alphas=[1.0])
    options = _core.EvaluationOptions(resamples=0)
    endpoint = _core.Endpoint("http://127.0.0.1:9")
    return {
        "Allowance": _core.TotalCurve(False).allowance(1),
        "CancelSource": _core.CancelSource(),
        "Checkpoint": router._checkpoint,
        "Choice": router.route([0.0] * 4).choice,
        "Client": _core.Client(endpoint),
        "Data": data,
        "PricedBatch": _core.PricedBatch(_core.TotalCurve(False)),
        "DecisionBatch": router._native.route_rows(
            [None], None, _core.RouteOptions({}), _core.QuerySize()
        ),
        "Endpoint": endpoint,
        "EvaluationOptions": options,
        "HttpEncoder": _core.HttpEncoder(endpoint, "model", 4, 0),
        "LexicalEncoder": encoder,
        "Policy": policy,
        "PriceSync": prices,
        "QuerySize": _core.QuerySize(),
        "Recipe": recipe,
        "RouteOptions": _core.RouteOptions({}),
        "Router": router._native,
        "RouterEvaluation": _core.cross_validate(
            data=data, recipe=recipe, folds=2, options=options
        ),
        "Statistics": statistics._core,
        "TotalCurve": _core.TotalCurve(False),
    }


def native_functions() -> Iterator[tuple[str, Callable[..., Any], str]]:
    """Name, function and signature of everything that the native module can call."""
    objects = instances()
    for name, value in vars(_core).items():
        if inspect.isclass(value):
            assert name in objects, f"make a {name} in instances()"
            constructor = value.__init__.__doc__ or ""
            if "(self: " in constructor:  # objects of the others are only returned
                yield name, value, constructor
            for method in vars(value):
                bound = getattr(objects[name], method)
                if callable(bound) and not method.startswith("_"):
                    yield f"{name}.{method}", bound, bound.__doc__ or ""
                elif isinstance(vars(value)[method], property):
                    getter = vars(value)[method].fget
                    yield f"{name}.{method}", getter, "(self: x)"
        elif callable(value):
            yield name, value, value.__doc__ or ""


FUNCTIONS = list(native_functions())


def test_the_native_module_is_covered() -> None:
    names = {name for name, _, _ in FUNCTIONS}
    assert len(names) > 40
    assert names >= {"Router.route", "Checkpoint.load", "RouteOptions", "train", "Choice.rank"}


class Stranger:
    """What no function takes."""


WRONG: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("too many", tuple(Stranger() for _ in range(30)), {}),
    ("unknown keyword", (), {"no_such_argument": 1}),
    ("a stranger", (Stranger(),), {}),
    ("two strangers", (Stranger(), Stranger()), {}),
    ("bytes that are no text", (b"\xff", b"\xff"), {}),
    ("lists", ([1], [None], [Stranger()]), {}),
    ("a boolean array", (np.zeros(4, bool),), {}),
    ("an array of objects", (np.array([None] * 4),), {}),
    ("numbers", (1.5, np.float32(1.5), np.datetime64("2026-01-01")), {}),
]


@pytest.mark.parametrize(
    ("name", "function", "signature"), FUNCTIONS, ids=[f[0] for f in FUNCTIONS]
)
def test_native_functions(name: str, function: Callable[..., Any], signature: str) -> None:
    refused = 0
    for _, arguments, keywords in WRONG:
        try:
            function(*arguments, **keywords)
        except TypeError as error:
            check_message(error)
            refused += 1
        except (ValueError, OSError, RuntimeError) as error:
            assert "C++" not in str(error)
    assert refused >= 2, "of too many arguments and of a keyword that does not exist"
    # Each argument by its name, one wrong at a time.
    for argument in re.findall(r"[(,] ?(\w+): ", signature.splitlines()[0]):
        if argument in ("self", "log", "on_text", "progress", "budget"):  # take any object
            continue
        with pytest.raises(TypeError) as caught:
            function(**{argument: Stranger()})
        check_message(caught.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: _core.Router(None), "Router(): checkpoint is None: expected a Checkpoint"),
        (lambda: _core.Router(), "Router(): checkpoint is missing"),
        (
            lambda: _core.Endpoint("http://x", ca_fil="x"),  # type: ignore[call-arg]
            "Endpoint(): there is no argument 'ca_fil': expected base_url, api_key, ca_file, "
            "timeout",
        ),
        (
            lambda: _core.Endpoint("http://x", base_url="http://y"),  # type: ignore[misc]
            "Endpoint(): base_url is given twice",
        ),
        (
            lambda: _core.Endpoint("http://x", None, "", "1"),  # type: ignore[arg-type]
            "Endpoint(): timeout is '1': expected a number or None",
        ),
        (
            lambda: _core.CancelSource().cancel(1),  # type: ignore[call-arg]
            "cancel(): 1 arguments are given: expected none",
        ),
        (
            lambda: _core.RouteOptions({"allow": "a"}),
            "allow is 'a': expected a list of at least one model name, such as ['a']",
        ),
        (
            lambda: _core.RouteOptions({"allow": ["a", 1]}),
            "allow is ['a', 1]: expected a list of at least one model name",
        ),
        (
            lambda: _core.RouteOptions({"cap": 3}),
            "cap is 3: expected a dict",
        ),
        (
            lambda: _core.RouteOptions({"cap": {"margin": "a"}}),
            "cap.margin is 'a': expected a number, 0 or more",
        ),
        (
            lambda: _core.QuerySize(2**70),
            "input_tokens is 1180591620717411303424: expected a whole number of tokens, 0 or more",
        ),
        (
            lambda: _core.QuerySize(2.5),
            "input_tokens is 2.5: expected a whole number of tokens, 0 or more",
        ),
        (
            lambda: _core.estimate_input_tokens(3),  # type: ignore[arg-type]
            "estimate_input_tokens(): text is 3: expected a string",
        ),
    ],
)
def test_messages(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(TypeError) as caught:
        call()
    assert str(caught.value) == message


def test_numbers_of_numpy_are_numbers() -> None:
    _core.RouteOptions({"lambda_val": np.float32(0.5), "max_output_tokens": np.uint8(200)})
    _core.RouteOptions({"lambda_val": 1, "continuous": np.bool_(True)})
    _core.QuerySize(np.int16(7), np.uint8(2))


class Index:
    def __index__(self) -> int:
        raise TypeError("mine")


def test_what_a_call_raises_passes_through() -> None:
    objects = instances()
    arguments = (objects["Client"], [("user", "x")], 0, Index(), 0.5, None, False, None)
    with pytest.raises(TypeError, match=r"^mine$"):
        objects["Router"].generate_pair(*arguments, objects["CancelSource"])


def test_a_repr_that_raises() -> None:
    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError

    with pytest.raises(
        TypeError, match=r"^Router\(\): checkpoint is .*Broken.*: expected a Checkp"
    ):
        _core.Router(Broken())  # type: ignore[arg-type]


# The package.


@pytest.fixture(scope="module")
def router() -> R2Router:
    return R2Router(make_predictors(), make_model_configs(), llm_api_base="http://127.0.0.1:9")


GOOD = [1.0, 2.0, 3.0, 4.0]
Call = Callable[[Any], Any]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: r.route(GOOD, allow=3), "allow is 3: expected a list of at least one"),
        (lambda r: r.route(GOOD, allow=b"a"), "allow is b'a': expected a list of at least one"),
        (
            lambda r: r.route(GOOD, deny="a"),
            r"deny is 'a': expected a list of model names, such as \['a'",
        ),
        (lambda r: r.route(GOOD, deny=[b"a"]), r"deny is \[b'a'\]: expected a list of model names"),
        (lambda r: r.route(GOOD, "1"), "lambda_val is '1': expected a number from 0"),
        (lambda r: r.route(GOOD, 1j), "lambda_val is 1j: expected a number from 0"),
        (
            # After a call with an equal int, whose options are cached.
            lambda r: (r.route(GOOD, input_tokens=1), r.route(GOOD, input_tokens=np.float64(1))),
            r"input_tokens is .*expected a whole",
        ),
        (lambda r: r.route(GOOD, objective=1), "objective is 1: expected risk, usd"),
        (lambda r: r.route(GOOD, max_output_tokens=1.5), "max_output_tokens is 1.5: expected a wh"),
        (lambda r: r.route(GOOD, continuous="yes"), "continuous is 'yes': expected True or False"),
        (lambda r: r.route(GOOD, policy=3), "policy is 3: expected the path"),
        (lambda r: r.route_batch([GOOD], "x"), "lambda_val is 'x'"),
        (lambda r: r.route_batch([GOOD], texts=3), "the query is of the type int"),
        (lambda r: r.route_text(3), "the query is of the type int"),
        (lambda r: r.route_text({"a": 1}), "the query is of the type dict"),
        (lambda r: r.route_text(None), "the query is of the type NoneType"),
        (lambda r: r.quality_curve(GOOD, "x"), "input_tokens is 'x': expected a whole number"),
        (lambda r: r.embed(3.5), "the query is of the type float"),
        (lambda r: r.generate("q", "alpha", 10, "hot"), "temperature is 'hot': expected a number"),
        (
            lambda r: r.generate("q", "alpha", 10, timeout="1"),
            "timeout is '1': expected a number of",
        ),
        (
            lambda r: r.generate("q", "alpha", 10, max_fallbacks=1.5),
            "max_fallbacks is 1.5: expected",
        ),
        (lambda r: r.generate("q", "alpha", 10, max_fallback=1), "did you mean 'max_fallbacks'"),
        (
            lambda r: r.generate(3, "alpha", 10),
            "the query is of the type int: expected a string, or",
        ),
        (lambda r: r.generate(b"q", "alpha", 10), "the query is of the type bytes"),
        (lambda r: r.generate({"role": "user"}, "alpha", 10), "the query is of the type dict"),
        (lambda r: r.generate(["q"], "alpha", 10), "message 0 is 'q': expected a dictionary"),
        (lambda r: r.route_and_generate("q", alow=["a"]), "did you mean 'allow'"),
        (
            lambda r: R2Router.from_pretrained(timeout="x"),
            "timeout is 'x': expected a number of sec",
        ),
        (
            lambda r: R2Router.from_pretrained(cache_bytes=1.5),
            "cache_bytes is 1.5: expected a numbe",
        ),
        (
            lambda r: R2Router.from_pretrained(cache_bytes=None),
            "cache_bytes is None: expected a num",
        ),
        (
            lambda r: R2Router.from_pretrained(embed_model=3),
            "embed_model is of the type int: expec",
        ),
        (
            lambda r: R2Router.from_pretrained(embed_api_key=3),
            "embed_api_key is of the type int: exp",
        ),
        (lambda r: R2Router.from_pretrained(embed_ur="x"), "did you mean 'embed_model'|no keyword"),
        (
            lambda r: R2Router.from_pretrained(lambda_val=[]),
            r"lambda_val is \[\]: expected a number",
        ),
        (
            lambda r: train("q", "o", "p", "out", models="a"),
            "models is 'a': expected a list of nam",
        ),
        (lambda r: train("q", "o", "p", "out", folds="5"), "folds is '5': expected a whole number"),
        (lambda r: train("q", "o", "p", "out", seed=-1), "seed is -1, which is out of range"),
        (
            lambda r: train("q", "o", "p", "out", encoder=LexicalEncoder("x")),
            "dimension is 'x': expected a whole number",
        ),
        (lambda r: convert(3, "x"), "int"),
    ],
)
def test_the_package(call: Call, message: str, router: R2Router, native_folder: Path) -> None:
    with pytest.raises(TypeError, match=message) as caught:
        call(router)
    check_message(caught.value)


def test_an_attribute_that_is_set_to_nonsense(native_folder: Path) -> None:
    router = R2Router.from_pretrained(native_folder)
    router.lambda_val = "much"  # type: ignore[assignment]
    for call in (lambda: router.route([0.0] * 8), lambda: router.route_text("hello")):
        with pytest.raises(
            TypeError, match="lambda_val is 'much': expected a number from 0"
        ) as caught:
            call()
        check_message(caught.value)
    router.lambda_val = 0.5
    router.llm_api_base = 3  # type: ignore[assignment]
    with pytest.raises(
        TypeError, match="llm_api_base is of the type int: expected a string"
    ) as caught:
        router.generate("hello", "small", 10)
    check_message(caught.value)


def test_a_key_is_not_shown(native_folder: Path) -> None:
    key: Any = b"sk-secret"
    router = R2Router.from_pretrained(native_folder, llm_api_base="http://x", llm_api_key=key)
    calls: list[Callable[[], Any]] = [
        lambda: router.generate("hello", "small", 10),
        lambda: R2Router.from_pretrained(native_folder, embed_api_key=key),
        lambda: _core.Endpoint("http://x", [key]),
    ]
    for call in calls:
        with pytest.raises(
            TypeError, match=r"key is of the type (bytes|list): expected a str"
        ) as caught:
            call()
        assert "secret" not in str(caught.value)


def test_numbers_of_numpy_everywhere(router: R2Router) -> None:
    plain = router.route(GOOD, 0.5, 7, max_output_tokens=400, allow=["alpha"])
    same = router.route(
        np.array(GOOD),
        np.float32(0.5),
        np.int64(7),
        max_output_tokens=np.uint16(400),
        allow=np.array(["alpha"]),
    )
    assert same == plain
    assert router.route(GOOD, 0.5, 7, max_output_tokens=400, allow={"alpha"}) == plain
    assert router.route(GOOD, 0.5, 7, max_output_tokens=400, allow=iter(["alpha"])) == plain


@pytest.mark.parametrize("index", ["model", 1.5, None, (0, 1), np.float64(1), object()])
def test_the_index_of_a_batch(index: Any, router: R2Router) -> None:
    batch: DecisionBatch = router.route_batch([GOOD, GOOD])
    with pytest.raises((TypeError, IndexError)) as caught:
        batch[index]
    check_message(caught.value)
