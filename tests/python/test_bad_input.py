"""Bad input: the exception that a Python user expects, with the remedy in its message."""

from __future__ import annotations

import json
import shutil
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Regressor, make_model_configs, make_predictors

import r2_router
from r2_router import BudgetError, R2Router

GOOD = [1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize(
    ("embedding", "error", "message"),
    [
        ([1.0, 2.0], ValueError, "has 2 numbers, expected 4"),
        ([], ValueError, "has 0 numbers, expected 4"),
        (3.5, ValueError, r"has the shape \(\): expected one of shape \(4,\)"),
        (np.ones((2, 4)), ValueError, r"\(2, 4\).*route_batch\(\) takes many"),
        (np.ones((1, 1, 4)), ValueError, r"shape \(1, 1, 4\)"),
        ([[1.0], [2.0, 3.0]], ValueError, "rows of unequal lengths"),
        ([1.0, None, 3.0, 4.0], TypeError, "NoneType or float: expected numbers"),
        ([1.0, "2", 3.0, 4.0], TypeError, "expected numbers"),
        ("text", TypeError, r"route_text\(\) takes text"),
        (None, TypeError, "NoneType"),
        ({"a": 1}, TypeError, "dict"),
        (np.ones(4, complex), TypeError, "complex128"),
        (np.ones(4, bool), TypeError, "bool"),
        (np.ones(4, "M8[s]"), TypeError, "datetime64"),
        ([1.0, float("nan"), 3.0, 4.0], ValueError, "element 1 of the embedding is NaN"),
        (np.array([1, 2, np.inf, 4], np.float32), ValueError, "element 2 of the embedding is NaN"),
    ],
)
def test_embeddings(embedding: Any, error: Any, message: str, small_router: R2Router) -> None:
    with pytest.raises(error, match=message):
        small_router.route(embedding)


@pytest.mark.parametrize(
    ("embeddings", "error", "message"),
    [
        (GOOD, ValueError, r"shape \(4,\): expected \(N, 4\).*embeddings\[None\]"),
        (np.ones((3, 5)), ValueError, r"shape \(3, 5\): expected \(N, 4\)"),
        (np.ones((2, 2, 4)), ValueError, r"shape \(2, 2, 4\)"),
        ([GOOD, [1.0]], ValueError, "rows of unequal lengths"),
        ([GOOD, ["a", 1, 2, 3]], TypeError, "expected numbers"),
        (["one", "two"], TypeError, "expected numbers"),
    ],
)
def test_batches(embeddings: Any, error: Any, message: str, small_router: R2Router) -> None:
    with pytest.raises(error, match=message):
        small_router.route_batch(embeddings)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"lambda_val": 1.5}, ValueError, "lambda_val is 1.5"),
        ({"lambda_val": float("nan")}, ValueError, "lambda_val is nan"),
        ({"lambda_val": "0.5"}, TypeError, "lambda_val is '0.5': expected a number"),
        ({"input_tokens": -1}, ValueError, "input_tokens is -1"),
        ({"input_tokens": 2.5}, TypeError, "input_tokens is 2.5: expected a whole number"),
        ({"input_tokens": 2**80}, TypeError, "input_tokens is 1208925819614629174706176"),
        ({"allow": "alpha"}, TypeError, r"list of at least one model name, such as \['alpha'\]"),
        ({"deny": "alpha"}, TypeError, "deny is 'alpha'"),
        ({"allow": []}, ValueError, r"allow is \[\]: expected a list of at least one model name"),
        ({"allow": [1]}, TypeError, r"allow is \[1\]: expected a list of at least"),
        ({"deny": 1}, TypeError, "deny is 1: expected a list of model names"),
        (
            {"deny": ["gamma"]},
            ValueError,
            'deny has "gamma", which is not in the pool; expected alpha, beta',
        ),
        ({"available_only": "yes"}, TypeError, "available_only is 'yes'"),
        ({"token_floor": -2}, ValueError, "token_floor is -2"),
        ({"token_floor": float("inf")}, ValueError, "token_floor is inf"),
        ({"token_floor": [1]}, TypeError, r"token_floor is \[1\]"),
    ],
)
def test_options(options: Any, error: Any, message: str, small_router: R2Router) -> None:
    with pytest.raises(error, match=message):
        small_router.route(GOOD, **options)
    with pytest.raises(error, match=message):
        small_router.route_batch([GOOD], **options)


@pytest.mark.parametrize(
    ("input_tokens", "error", "message"),
    [
        ([1, 2, 3], ValueError, r"shape \(3,\): expected \(2,\)"),
        ([1, -2], ValueError, "input_tokens is -2"),
        ([1.0, 2.0], TypeError, r"array of float64: expected whole numbers; use .astype\(int\)"),
        ([[1, 2]], ValueError, r"shape \(1, 2\)"),
        (["a", "b"], TypeError, "expected whole numbers"),
        ([], ValueError, r"shape \(0,\)"),
        (np.array([1, 2**64 - 1], np.uint64), ValueError, r"above 2\*\*63 - 1"),
    ],
)
def test_input_tokens_of_a_batch(
    input_tokens: Any, error: Any, message: str, small_router: R2Router
) -> None:
    with pytest.raises(error, match=message):
        small_router.route_batch([GOOD, GOOD], input_tokens=input_tokens)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("", ValueError, "the query is empty: expected a text"),
        ([""], ValueError, "the query is empty"),
        (" \t\n", ValueError, "the query is nothing but white space"),
        ("\u2003", ValueError, "the query is nothing but white space"),
        (["fine", ""], ValueError, "query 1 is empty"),
        (("fine", "too", " "), ValueError, "query 2 is nothing but white space"),
        ({"fine"}, TypeError, "of the type set: expected a string or a list"),
        (["fine", 3], TypeError, "query 1 is of the type int"),
        (["fine", None], TypeError, "query 1 is of the type NoneType"),
        (b"bytes", TypeError, "of the type bytes"),
        (17, TypeError, "of the type int: expected a string or a list"),
        ("half a \ud800 pair", ValueError, "query 0 .*surrogate"),
    ],
)
def test_texts(text: Any, error: Any, message: str, lexical_router: R2Router) -> None:
    with pytest.raises(error, match=message):
        lexical_router.route_text(text)
    with pytest.raises(error, match=message):
        lexical_router.embed(text)


def test_text_without_an_encoder(small_router: R2Router) -> None:
    with pytest.raises(RuntimeError, match=r"needs embeddings of Qwen/Qwen3-0.6B.*embed_url"):
        small_router.route_text("hello")
    with pytest.raises(RuntimeError, match="R2Router"):
        small_router.quality_curve("hello")
    assert small_router.route_text([]) == []


def test_generation_without_an_endpoint(lexical_router: R2Router) -> None:
    with pytest.raises(RuntimeError, match="give llm_api_base"):
        lexical_router.generate("hello", "small", 20)
    with pytest.raises(RuntimeError, match="give llm_api_base"):
        lexical_router.route_and_generate("hello")


# The constructor.


def broken(*path: str, value: Any) -> Any:
    """Predictors with one of their parts replaced."""
    predictors: Any = make_predictors()
    place = predictors
    for key in path[:-1]:
        place = place[key]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return predictors


NAN = Regressor(np.array([1, np.nan, 2, 3], np.float32))


@pytest.mark.parametrize(
    ("predictors", "error", "message"),
    [
        ({}, ValueError, "predictors is empty"),
        ([1, 2], ValueError, "predictors is empty or not a dictionary"),
        ({3: {}}, TypeError, "has the key 3: expected the name"),
        ({"alpha": []}, TypeError, r"predictors\['alpha'\] is a list"),
        (broken("gamma", value={}), ValueError, "model_configs has no entry for 'gamma'"),
        (broken("beta", "unlimited_score", value=None), ValueError, "no 'unlimited_score'"),
        (broken("beta", "unlimted", value=1), ValueError, "has the key 'unlimted'"),
        (broken("beta", "limited", value=[1]), TypeError, r"\['limited'\] is a list"),
        (broken("beta", "limited", "x_score", value=NAN), ValueError, 'such as "300_score"'),
        (broken("beta", "limited", "0_score", value=NAN), ValueError, 'such as "300_score"'),
        (broken("beta", "limited", "9" * 30, value=NAN), ValueError, 'such as "300_score"'),
        (broken("beta", "limited", "10_score", value=NAN), ValueError, "NaN or infinite"),
        (broken("beta", "limited", "10_score", value="text"), TypeError, r"is a str: .*coef_"),
        (
            broken("beta", "limited", "10_score", value=Regressor(np.ones(5))),
            ValueError,
            r"predictors\['beta'\]\['limited'\]\['10_score'\] has 5 coefficients, .* has 4",
        ),
        (
            broken("beta", "unlimited_token", value=Regressor(np.ones((2, 4)), np.ones(2))),
            ValueError,
            r"coef_ of shape \(2, 4\)",
        ),
        (
            broken("beta", "unlimited_token", value=Regressor(["a"] * 4)),
            TypeError,
            "expected numbers",
        ),
        (broken("beta", "unlimited_token", value=Regressor(GOOD, None)), TypeError, "numbers"),
        (
            broken("beta", "limited", "010", value=Regressor(GOOD)),
            ValueError,
            "occurs twice",
        ),
    ],
)
def test_predictors(predictors: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        R2Router(predictors, make_model_configs())


@pytest.mark.parametrize("price", [None, "free", -1, float("nan"), float("inf"), [1]])
def test_prices(price: Any) -> None:
    configs = make_model_configs()
    configs["beta"]["output_price_per_million"] = price
    with pytest.raises(ValueError, match=r"\['output_price_per_million'\].*USD per million"):
        R2Router(make_predictors(), configs)
    del configs["beta"]["output_price_per_million"]
    with pytest.raises(ValueError, match=r"\['output_price_per_million'\].*USD per million"):
        R2Router(make_predictors(), configs)


def test_model_configs_of_the_wrong_kind() -> None:
    with pytest.raises(ValueError, match="model_configs has no entry for 'alpha'"):
        R2Router(make_predictors(), [])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"model_configs\['alpha'\] is 3"):
        R2Router(make_predictors(), {"alpha": 3, "beta": 3})  # type: ignore[dict-item]


def test_lambda_of_a_router() -> None:
    with pytest.raises(TypeError, match="lambda_val is 'much'"):
        R2Router(make_predictors(), make_model_configs(), lambda_val="much")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="lambda_val is 2"):
        R2Router(make_predictors(), make_model_configs(), lambda_val=2)
    router = R2Router(make_predictors(), make_model_configs())
    router.lambda_val = -1
    with pytest.raises(ValueError, match="lambda_val is -1"):
        router.route(GOOD)


# Checkpoints.


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere: found nothing here"):
        R2Router.from_pretrained(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="default, r2-router; or a repository"):
        R2Router.from_pretrained("nowhere")


def test_a_file_in_place_of_a_folder(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text("{}")
    with pytest.raises(NotADirectoryError, match="is a file: expected a checkpoint"):
        R2Router.from_pretrained(file)


def test_a_folder_that_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="a folder without config") as caught:
        R2Router.from_pretrained(tmp_path)
    assert caught.value.file == str(tmp_path)  # type: ignore[attr-defined]


@pytest.mark.parametrize("path", [3, b"bytes", ["a"]])
def test_a_path_of_the_wrong_type(path: Any) -> None:
    with pytest.raises(TypeError):
        R2Router.from_pretrained(path)


def test_no_default_checkpoint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("R2ROUTER_CHECKPOINT", str(tmp_path / "gone"))
    with pytest.raises(FileNotFoundError, match="gone"):
        R2Router.from_pretrained()


def test_a_bad_config(tmp_path: Path, native_folder: Path) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(native_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    config["models"]["small"]["input_price_per_million"] = "cheap"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(r2_router.ConfigError, match="cheap") as caught:
        R2Router.from_pretrained(folder)
    assert isinstance(caught.value, ValueError)
    assert caught.value.pointer == "/models/small/input_price_per_million"  # type: ignore[attr-defined]
    assert caught.value.file == str(folder / "config.json")  # type: ignore[attr-defined]


def test_a_truncated_checkpoint(tmp_path: Path, native_folder: Path) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(native_folder, folder)
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.raises(r2_router.CheckpointError, match="safetensors"):
        R2Router.from_pretrained(folder)


def test_a_checkpoint_that_would_run_code(tmp_path: Path, joblib_folder: Path) -> None:
    import pickle

    class Evil:
        def __reduce__(self) -> Any:
            return print, ("owned",)

    folder = tmp_path / "checkpoint"
    shutil.copytree(joblib_folder, folder)
    file = next(folder.glob("checkpoints/*/unlimited_score_predictor.joblib"))
    file.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(r2_router.UnsafeCheckpointError, match="print") as caught:
        R2Router.from_pretrained(folder)
    assert caught.value.file == str(file)  # type: ignore[attr-defined]


# The Hub.


def test_a_hub_id_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r'pip install "r2-router\[hub\]"'):
        R2Router.from_pretrained("owner/name")


class RepositoryNotFoundError(Exception):
    pass


def fake_hub(monkeypatch: pytest.MonkeyPatch, download: Any) -> None:
    hub, errors = types.ModuleType("huggingface_hub"), types.ModuleType("huggingface_hub.errors")
    hub.snapshot_download = download  # type: ignore[attr-defined]
    errors.RepositoryNotFoundError = RepositoryNotFoundError  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", errors)


def test_a_hub_id(monkeypatch: pytest.MonkeyPatch, native_folder: Path) -> None:
    asked: list[Any] = []

    def download(repository: str, allow_patterns: list[str]) -> str:
        asked.append(repository)
        assert "config.json" in allow_patterns
        return str(native_folder)

    fake_hub(monkeypatch, download)
    assert R2Router.from_pretrained("owner/name").dimension == 8
    assert asked == ["owner/name"]
    # Only a plain owner/name can be a repository.
    for path in ("./owner/name", "owner/name/more", "../name", "owner/", "/owner", Path("a/b")):
        with pytest.raises(FileNotFoundError):
            R2Router.from_pretrained(path)
    assert asked == ["owner/name"]


def test_a_hub_that_does_not_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(repository: str, allow_patterns: list[str]) -> str:
        raise RepositoryNotFoundError("404")

    fake_hub(monkeypatch, download)
    with pytest.raises(FileNotFoundError, match="neither a folder here nor a repository"):
        R2Router.from_pretrained("owner/name")


def test_a_hub_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(repository: str, allow_patterns: list[str]) -> str:
        raise OSError("no route to host")

    fake_hub(monkeypatch, download)
    with pytest.raises(ConnectionError, match=r"no route to host.*or give a folder"):
        R2Router.from_pretrained("owner/name")


def test_keywords(lexical_router: R2Router) -> None:
    with pytest.raises(TypeError, match="no keyword 'alow': did you mean 'allow'"):
        lexical_router.route_text("hello", alow=["small"])  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="no keyword 'x': expected one of objective"):
        lexical_router.route_batch([[0.0] * 8], x=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="max_cost_usd is 'much': expected a number of USD"):
        lexical_router.route_text("hello", max_cost_usd="much")  # type: ignore[arg-type]
    with pytest.raises(BudgetError, match="max_cost_usd"):
        lexical_router.route_text("hello", max_cost_usd=0)
