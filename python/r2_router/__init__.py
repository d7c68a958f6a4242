"""r2_router: choose, for each query, a (model, token budget) pair.

    from r2_router import R2Router

    router = R2Router.from_pretrained()              # the built-in checkpoint
    decision = router.route_text("Solve the equation: 2x + 5 = 13")
    decision["model"], decision["budget"]            # the model to call, and its token budget

``r2_router.encoders`` runs embedding models, and ``r2_router.plotting`` plots decisions.
Diagnostics go to the logger ``r2_router``.
"""

from __future__ import annotations

from . import encoders
from ._batch import UNLIMITED, DecisionBatch
from ._calls import AsyncTextStream, TextStream
from ._constraints import Cap, Constraints
from ._core import __version__
from ._decision import Decision
from ._errors import (
    AuthenticationError,
    BudgetError,
    CheckpointError,
    ConfigError,
    CreditError,
    DataError,
    NoAnswerError,
    RateLimitError,
    ServerConnectionError,
    ServerError,
    ServerTimeoutError,
    UnsafeCheckpointError,
)
from ._evaluation import calibrate, compare, evaluate, learning_curve
from ._prices import sync_prices
from ._recipe import LexicalEncoder, LexicalFeatures
from ._reports import (
    AddedFromTasks,
    AddedModel,
    Calibration,
    Evaluation,
    LearningCurve,
    PriceChanges,
    TaskTraining,
    Training,
)
from ._router import R2Router
from ._routing import TOKEN_LIMITS, QualityCurve
from ._save import convert
from ._statistics import Statistics
from ._train import add_model, add_model_from_tasks, train, train_on_tasks
from ._types import Answer, Attempt, Details, Explanation, Option, Usage

__all__ = [
    "TOKEN_LIMITS",
    "UNLIMITED",
    "AddedFromTasks",
    "AddedModel",
    "Answer",
    "AsyncTextStream",
    "Attempt",
    "AuthenticationError",
    "BudgetError",
    "Calibration",
    "Cap",
    "CheckpointError",
    "ConfigError",
    "Constraints",
    "CreditError",
    "DataError",
    "Decision",
    "DecisionBatch",
    "Details",
    "Evaluation",
    "Explanation",
    "LearningCurve",
    "LexicalEncoder",
    "LexicalFeatures",
    "NoAnswerError",
    "Option",
    "PriceChanges",
    "QualityCurve",
    "R2Router",
    "RateLimitError",
    "RouteBatch",
    "ServerConnectionError",
    "ServerError",
    "ServerTimeoutError",
    "Statistics",
    "TaskTraining",
    "TextStream",
    "Training",
    "UnsafeCheckpointError",
    "Usage",
    "__version__",
    "add_model",
    "add_model_from_tasks",
    "calibrate",
    "compare",
    "convert",
    "encoders",
    "evaluate",
    "learning_curve",
    "sync_prices",
    "train",
    "train_on_tasks",
]

RouteBatch = DecisionBatch  # its name in 0.1
