"""What the tests share: the checkpoints and golden rows that they run on."""

from __future__ import annotations

import json
import os
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fault_server import FaultServer

from r2_router import R2Router

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared"
REFERENCE = ROOT / "tests" / "golden" / "reference"


def shared(name: str) -> Path:
    """A file or folder of ../shared, or a skipped test."""
    path = SHARED / name
    if not path.exists():
        pytest.skip("needs ../shared, which is not part of the project")
    return path


def installed_program() -> Path:
    """The command that is installed with the package."""
    program = Path(sysconfig.get_path("scripts")) / "r2-router"
    if not program.exists():
        pytest.skip("no r2-router program in the folder of this Python")
    return program


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    """A server that answers according to a script."""
    instance = FaultServer()
    yield instance
    instance.close()


@pytest.fixture(scope="session")
def native_folder() -> Path:
    """A checkpoint of two models with an encoder of 8 dimensions; it decides by our own rules."""
    return ROOT / "tests" / "golden" / "native_v1"


@pytest.fixture(scope="session")
def lexical_router(native_folder: Path) -> R2Router:
    return R2Router.from_pretrained(native_folder)


@pytest.fixture(scope="session")
def released_folder() -> Path:
    """The published heads, which take embeddings from a server, in the native format."""
    return ROOT / "checkpoints" / "r2-router"


@pytest.fixture(scope="session")
def joblib_folder() -> Path:
    """The same as they were published."""
    return shared("released")


@pytest.fixture(scope="session")
def released_router() -> R2Router:
    return R2Router.from_pretrained("r2-router")


@pytest.fixture(scope="session")
def golden_embeddings() -> np.ndarray:
    """As the golden decisions were made from them: float64."""
    return np.load(REFERENCE / "embeddings.npy").astype(np.float64)


@pytest.fixture(scope="session")
def golden_rows(released_router: R2Router) -> list[dict[str, Any]]:
    """Decisions of the published package as it returns them, expanded from the compact form of
    make_reference_rows.py."""
    pool = [
        {"model": name, "openrouter_id": settings["openrouter_id"]}
        for name, settings in released_router.model_configs.items()
    ]
    names = ("budget", "predicted_quality", "predicted_output_tokens", "predicted_cost_usd", "risk")

    def option(values: list[Any]) -> dict[str, Any]:
        return {**pool[values[0]], **dict(zip(names, values[1:], strict=True))}

    rows = []
    with open(REFERENCE / "decisions.jsonl", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            if "ranking" in row:
                row["all_options"] = [option(values) for values in row["ranking"]]
                row["decision"] = row["all_options"][0]
            else:
                row["decision"] = option(row["chosen"])
                row["top3"] = [[pool[model]["model"], *rest] for model, *rest in row["top"]]
            rows.append(row)
    return rows


class Regressor:
    """The least that a predictor must have."""

    def __init__(self, coef: Any, intercept: Any = 0.0) -> None:
        self.coef_ = coef
        self.intercept_ = intercept


def make_predictors(dimension: int = 4, budgets: tuple[int, ...] = (10, 300)) -> dict[str, Any]:
    """Seeded predictors of two models."""
    random = np.random.default_rng(7)

    def regressor(scale: float, offset: float) -> Regressor:
        return Regressor(scale * random.standard_normal(dimension).astype(np.float32), offset)

    return {
        name: {
            "limited": {f"{budget}_score": regressor(0.1, 0.5) for budget in budgets},
            "unlimited_score": regressor(0.1, 0.6),
            "unlimited_token": regressor(50, 700),
        }
        for name in ("alpha", "beta")
    }


def make_model_configs() -> dict[str, Any]:
    return {
        "alpha": {
            "openrouter_id": "vendor/alpha",
            "input_price_per_million": 0.1,
            "output_price_per_million": 0.4,
        },
        "beta": {
            "openrouter_id": "vendor/beta",
            "input_price_per_million": 1,
            "output_price_per_million": 3,
            "note": "kept as it is",
        },
    }


@pytest.fixture
def predictors() -> dict[str, Any]:
    return make_predictors()


@pytest.fixture
def model_configs() -> dict[str, Any]:
    return make_model_configs()


@pytest.fixture
def small_router() -> R2Router:
    return R2Router(make_predictors(), make_model_configs())


@pytest.fixture(scope="module")
def workers() -> Iterator[None]:
    """What processes of Ray and Spark inherit: this Python, and the folder of MortalEncoder."""
    with pytest.MonkeyPatch.context() as patch:
        paths = [str(ROOT / "tests" / "support"), os.environ.get("PYTHONPATH", "")]
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        yield


@pytest.fixture(scope="module")
def ray(workers: None) -> Iterator[Any]:
    module = pytest.importorskip("ray")
    pytest.importorskip("ray.data")
    # More than the actors take, whatever the machine has: other steps of a job need some too.
    module.init(num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield module
    module.shutdown()


def spark_session(master: str) -> Any:
    pytest.importorskip("pyspark")
    pytest.importorskip("pandas")
    from pyspark.sql import SparkSession

    return (
        SparkSession.builder.master(master)
        .config("spark.ui.enabled", "false")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", "100")
        .getOrCreate()
    )
