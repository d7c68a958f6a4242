"""Encoders in the process: functions, and embedding models compared with transformers."""

from __future__ import annotations

import asyncio
import copy
import importlib.util
import json
import os
import pickle
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, make_model_configs, make_predictors
from embedding_model import END, TEXTS, reference, write_folder, write_gguf, write_onnx

from r2_router import R2Router, encoders

GOLDEN = ROOT / "tests" / "golden" / "embedding_model"

#: What each encoder needs, and what makes its model here.
NEEDS = {
    "Transformers": ["torch", "transformers", "tokenizers"],
    "SentenceTransformers": ["sentence_transformers"],
    "Onnx": ["onnxruntime", "onnxscript"],
    "LlamaCpp": ["llama_cpp", "gguf"],
}


#: Cosine distances from float32; llama.cpp keeps keys and values in 16 bits.
LIMITS = dict.fromkeys(NEEDS, 1e-5) | {"LlamaCpp": 1e-3}


def needs(*packages: str) -> None:
    for package in packages:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs {package}")


def embed(texts: list[str]) -> np.ndarray:
    """An encoder of 4 dimensions that depends on nothing but the texts."""
    return np.array([[len(text), text.count("e"), text.count(" "), 1.0] for text in texts]) / 10


class Function:
    """The same as an object that can be pickled."""

    def __call__(self, texts: list[str]) -> np.ndarray:
        return embed(texts)


def router_of(dimension: int, **keywords: Any) -> R2Router:
    return R2Router(make_predictors(dimension), make_model_configs(), **keywords)


# Any function.


@pytest.mark.parametrize("kind", ["array", "lists", "float32", "object"])
def test_a_function_makes_the_embeddings_of_every_method(kind: str) -> None:
    function = {
        "array": embed,
        "lists": lambda texts: embed(texts).tolist(),
        "float32": lambda texts: embed(texts).astype(np.float32),
        "object": Function(),
    }[kind]
    router = router_of(4, encoder=function, lambda_val=0.5)
    rows = router.embed(["Who wrote Faust?", "a"])
    np.testing.assert_allclose(rows, embed(["Who wrote Faust?", "a"]), rtol=1e-6)
    one = router.route_text("Who wrote Faust?")
    assert one == router.route_text(["Who wrote Faust?", "a"])[0]
    assert one == router.route(rows[0], input_tokens=one.input_tokens)
    assert one == asyncio.run(router.aroute_text("Who wrote Faust?"))
    curve = router.quality_curve("Who wrote Faust?")
    expected = router.quality_curve(rows[0], input_tokens=one.input_tokens)
    np.testing.assert_array_equal(curve["alpha"].quality, expected["alpha"].quality)


def test_a_checkpoint_without_an_encoder_takes_one(released_folder: Path) -> None:
    random = np.random.default_rng(3).standard_normal((2, 1024))
    router = R2Router.from_pretrained(released_folder, encoder=lambda texts: random[: len(texts)])
    decisions = router.route_text(["one", "two"], input_tokens=9)
    assert decisions == [router.route(row, input_tokens=9) for row in random]


def test_the_function_gets_a_list_and_no_blank_text() -> None:
    seen: list[Any] = []

    def spy(texts: list[str]) -> np.ndarray:
        seen.append(texts)
        return embed(texts)

    router = router_of(4, encoder=spy)
    router.route_text(("a", "b"))  # type: ignore[arg-type]
    assert seen == [["a", "b"]]
    assert router.embed([]).shape == (0, 4)
    for blank in ("", " \n"):
        with pytest.raises(ValueError, match="expected a text"):
            router.route_text(blank)
    assert len(seen) == 1


def test_the_event_loop_runs_while_the_function_does() -> None:
    started, release = threading.Event(), threading.Event()

    def slow(texts: list[str]) -> np.ndarray:
        started.set()
        assert release.wait(30)
        return embed(texts)

    async def main() -> Any:
        task = asyncio.create_task(router_of(4, encoder=slow).aroute_text("a"))
        while not started.is_set():
            await asyncio.sleep(0.001)
        release.set()
        return await task

    assert asyncio.run(main()) == router_of(4, encoder=embed).route_text("a")


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (np.zeros((1, 3)), r"encoder's embeddings have the shape \(1, 3\): expected \(N, 4\)"),
        (np.zeros(4), r"encoder's embeddings have the shape \(4,\)"),
        (np.zeros((2, 4)), "the encoder returned 2 embeddings for 1 queries"),
        ([[0.0, 1.0, float("nan"), 0.0]], "not finite for query 0"),
        ([[0.0, 1.0, float("inf"), 0.0]], "not finite for query 0"),
    ],
)
def test_a_wrong_result_is_refused(result: Any, message: str) -> None:
    router = router_of(4, encoder=lambda texts: result)
    with pytest.raises(ValueError, match=message):
        router.route_text("a")
    with pytest.raises(ValueError, match=message):
        asyncio.run(router.aroute_text("a"))


def test_exceptions_of_the_function_are_passed_on() -> None:
    def fail(texts: list[str]) -> np.ndarray:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        router_of(4, encoder=fail).route_text("a")


def test_an_encoder_that_does_not_fit_is_refused_at_once(native_folder: Path) -> None:
    with pytest.raises(TypeError, match="encoder is of the type str"):
        router_of(4, encoder="Qwen/Qwen3-0.6B")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="leave one of them out"):
        router_of(4, encoder=embed, embed_url="http://127.0.0.1:1")
    with pytest.raises(ValueError, match="has an encoder of its own"):
        R2Router.from_pretrained(native_folder, encoder=embed)

    class Wide(Function):
        dimension = 64

    with pytest.raises(ValueError, match="64 numbers, and this checkpoint takes 4"):
        router_of(4, encoder=Wide())
    router = router_of(4, encoder=embed)
    router.embed_url = "http://127.0.0.1:1"
    with pytest.raises(ValueError, match="was created with an encoder"):
        router.embed("a")


def test_without_an_encoder_the_error_names_both_ways() -> None:
    with pytest.raises(RuntimeError, match="give embed_url or encoder"):
        router_of(4).route_text("a")


def test_a_router_is_copied_with_its_encoder() -> None:
    router = router_of(4, encoder=Function())
    expected = router.route_text("a query")
    for twin in (
        copy.copy(router),
        copy.deepcopy(router),
        pickle.loads(pickle.dumps(router)),
    ):
        assert twin.route_text("a query") == expected
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
        pickle.dumps(router_of(4, encoder=lambda texts: embed(texts)))


@pytest.mark.parametrize(
    ("create", "module", "package"),
    [
        (lambda: encoders.Transformers("any"), "torch", "torch"),
        (
            lambda: encoders.SentenceTransformers("any"),
            "sentence_transformers",
            "sentence-transformers",
        ),
        (lambda: encoders.Onnx("any"), "onnxruntime", "onnxruntime"),
        (lambda: encoders.LlamaCpp("any"), "llama_cpp", "llama-cpp-python"),
    ],
)
def test_a_missing_package_is_named(
    create: Any, module: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf'needs the package {package}: run pip install "r2-'):
        create()


# Embedding models.


class Models:
    """The test model in all formats, and what transformers makes of the texts in float32."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = write_folder(folder)
        self.rows = reference(folder, self.model, TEXTS)

    def encoder(self, kind: str, **keywords: Any) -> encoders.TextEncoder:
        needs(*NEEDS[kind])
        path = self.folder
        if kind == "Onnx" and not (path / "model.onnx").exists():
            write_onnx(path / "model.onnx", self.model)
        if kind == "LlamaCpp":
            path = path / "model.gguf"
            if not path.exists():
                write_gguf(path, self.model)
            keywords.setdefault("threads", 1)
        create = getattr(encoders, kind)
        return create(path, **keywords)  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    needs(*NEEDS["Transformers"])
    return Models(tmp_path_factory.mktemp("model"))


def assert_close(rows: np.ndarray, expected: np.ndarray, kind: str) -> None:
    assert rows.shape == expected.shape
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
    similarity = (rows * expected).sum(axis=1) / np.linalg.norm(expected, axis=1)
    assert similarity.min() > 1 - LIMITS[kind], similarity


@pytest.mark.parametrize("kind", NEEDS)
def test_a_model_agrees_with_transformers(models: Models, kind: str) -> None:
    encoder = models.encoder(kind)
    assert (encoder.dimension, encoder.max_tokens) == (32, 2048)
    assert_close(encoder(TEXTS), models.rows, kind)
    for text, row in zip(TEXTS, models.rows, strict=True):
        assert_close(encoder(text), row[None], kind)
    # Several groups, in an order that is not that of the lengths.
    order = np.random.default_rng(5).integers(len(TEXTS), size=90)
    assert_close(encoder([TEXTS[i] for i in order]), models.rows[order], kind)
    assert encoder([]).shape == (0, 32)
    with ThreadPoolExecutor(4) as pool:
        for rows in pool.map(lambda _: encoder(TEXTS), range(8)):
            assert_close(rows, models.rows, kind)


@pytest.mark.parametrize("kind", NEEDS)
def test_an_empty_text_is_the_token_that_ends_every_text(models: Models, kind: str) -> None:
    import torch

    with torch.inference_mode():
        row = models.model(input_ids=torch.tensor([[0]])).last_hidden_state[0].numpy()
    assert_close(models.encoder(kind)([""]), row, kind)


@pytest.mark.parametrize("kind", NEEDS)
def test_long_texts_are_refused_or_cut(models: Models, kind: str) -> None:
    text = "a b c d e f"
    with pytest.raises(ValueError, match=r"text 1 has 12 tokens, more than the 7 that"):
        models.encoder(kind, max_tokens=7)(["a", text])
    # The last of seven tokens is the one that ends every text.
    cut = models.encoder(kind, max_tokens=7, truncate=True)
    np.testing.assert_allclose(cut(["a", text]), cut(["a", "a b c "]), atol=1e-5)
    with pytest.raises(ValueError, match="expected 1 to 2048"):
        models.encoder(kind, max_tokens=2049)


@pytest.mark.parametrize("kind", NEEDS)
def test_routers_decide_the_same_by_every_encoder(models: Models, kind: str) -> None:
    by_rows = router_of(32, lambda_val=0.5).route_batch(models.rows, texts=TEXTS)
    router = router_of(32, lambda_val=0.5, encoder=models.encoder(kind))
    texts = [text for text in TEXTS if text.strip()]
    decisions = router.route_text(texts)
    expected = [by_rows[i] for i, text in enumerate(TEXTS) if text.strip()]
    for decision, by_row in zip(decisions, expected, strict=True):
        assert (decision["model"], decision["budget"]) == (by_row["model"], by_row["budget"])
        assert decision["predicted_quality"] == pytest.approx(by_row["predicted_quality"], abs=2e-3)
    with pytest.raises(ValueError, match="32 numbers, and this checkpoint takes 4"):
        router_of(4, encoder=router._given_encoder)


@pytest.mark.parametrize("kind", NEEDS)
def test_a_pickled_encoder_loads_its_model_again(models: Models, kind: str) -> None:
    encoder = models.encoder(kind, max_tokens=500, truncate=True)
    assert copy.copy(encoder) is copy.deepcopy(encoder) is encoder
    twin = pickle.loads(pickle.dumps(encoder))
    assert twin.max_tokens == 500
    assert repr(twin) == repr(encoder)
    np.testing.assert_allclose(twin(TEXTS[:3]), encoder(TEXTS[:3]), atol=1e-6)


@pytest.mark.parametrize("kind", ["Transformers", "LlamaCpp"])
def test_a_tokenizer_without_an_end_token_appends_none(kind: str, tmp_path: Path) -> None:
    needs(*NEEDS["Transformers"], *NEEDS[kind])
    model = write_folder(tmp_path, append_end=False)
    texts = TEXTS[:4]
    rows = reference(tmp_path, model, texts)
    encoder: encoders.TextEncoder
    if kind == "LlamaCpp":
        write_gguf(tmp_path / "model.gguf", model, append_end=False)
        encoder = encoders.LlamaCpp(tmp_path / "model.gguf", threads=1)
    else:
        encoder = encoders.Transformers(tmp_path)
    assert_close(encoder(texts), rows, kind)
    assert_close(encoder([text + END for text in texts]), Models(tmp_path).rows[:4], kind)
    with pytest.raises(ValueError, match="text 1 has no tokens"):
        encoder(["a", ""])


def test_a_model_that_computes_no_numbers_is_reported(models: Models) -> None:
    import torch

    encoder = encoders.Transformers(models.folder)
    with torch.no_grad():
        encoder._model.norm.weight.fill_(float("nan"))
    with pytest.raises(ValueError, match="embedding of text 0 is not a finite vector"):
        encoder("a")


def test_sentence_transformers_must_know_how_to_pool(models: Models, tmp_path: Path) -> None:
    needs(*NEEDS["SentenceTransformers"])
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((models.folder / name).read_bytes())
    with pytest.raises(ValueError, match=r"no modules\.json"):
        encoders.SentenceTransformers(tmp_path)


def test_onnx_files_are_looked_for(tmp_path: Path) -> None:
    needs("onnxruntime", "tokenizers")
    with pytest.raises(FileNotFoundError, match=r"nor a folder with model\.onnx"):
        encoders.Onnx(tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"no tokenizer\.json next to"):
        encoders.Onnx(tmp_path)


def test_llama_cpp_reads_the_file_of_the_native_tests() -> None:
    needs("llama_cpp")
    entries = json.loads((GOLDEN / "expected.json").read_text(encoding="utf-8"))
    assert [entry["text"] for entry in entries] == TEXTS
    rows = np.array([entry["embedding"] for entry in entries])
    assert_close(encoders.LlamaCpp(GOLDEN / "model.gguf", threads=1)(TEXTS), rows, "LlamaCpp")


def test_llama_cpp_refuses_other_files_without_printing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    needs("llama_cpp")
    with pytest.raises(FileNotFoundError, match="expected a model in the GGUF format"):
        encoders.LlamaCpp(tmp_path / "missing.gguf")
    file = tmp_path / "model.gguf"
    file.write_bytes(b"PK\x03\x04")
    with pytest.raises(ValueError, match="does not begin with GGUF"):
        encoders.LlamaCpp(file)
    whole = (GOLDEN / "model.gguf").read_bytes()
    for size in (4, 1000, len(whole) // 2):
        file.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"cannot load .*model\.gguf"):
            encoders.LlamaCpp(file)
    file.write_bytes(whole)
    encoders.LlamaCpp(os.fspath(file), threads=1)("a")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"attention.causal": False}, "a model of both directions"),
        ({"pooling_type": 1}, r"pools its embeddings by qwen3\.pooling_type 1"),
    ],
)
def test_llama_cpp_refuses_other_pooling(
    models: Models, settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    needs(*NEEDS["LlamaCpp"])
    write_gguf(tmp_path / "model.gguf", models.model, **settings)
    with pytest.raises(ValueError, match=message):
        encoders.LlamaCpp(tmp_path / "model.gguf", threads=1)
    write_gguf(tmp_path / "last.gguf", models.model, pooling_type=3)
    assert_close(
        encoders.LlamaCpp(tmp_path / "last.gguf", threads=1)(TEXTS[:2]), models.rows[:2], "LlamaCpp"
    )
