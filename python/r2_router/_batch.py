"""Decisions for many embeddings, as columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import _core

if TYPE_CHECKING:
    import pandas

__all__ = ["UNLIMITED", "RouteBatch"]

#: How arrays of budgets say that there is no limit.
UNLIMITED: int = _core.UNLIMITED


class RouteBatch:
    """What was decided for each row of an array of embeddings.

    Every attribute but the first two is an array with one element for each row.
    """

    __slots__ = (
        "budget",
        "cost_usd",
        "model_index",
        "models",
        "openrouter_ids",
        "output_tokens",
        "quality",
        "risk",
    )

    #: Names of the router's models.
    models: tuple[str, ...]
    #: What to call each of ``models`` at the endpoint.
    openrouter_ids: tuple[str, ...]
    #: Which of ``models`` was chosen.
    model_index: NDArray[np.int32]
    #: The most tokens that it may spend, or ``UNLIMITED`` (-1).
    budget: NDArray[np.int64]
    #: Predicted quality of the answer, 0 to 1.
    quality: NDArray[np.float64]
    #: Predicted length of the answer.
    output_tokens: NDArray[np.float64]
    #: Predicted cost of the call.
    cost_usd: NDArray[np.float64]
    #: (1 - lambda) * quality - lambda * cost: the higher, the better.
    risk: NDArray[np.float64]

    def __init__(
        self, models: Sequence[str], openrouter_ids: Sequence[str], columns: _core.Batch
    ) -> None:
        self.models = tuple(models)
        self.openrouter_ids = tuple(openrouter_ids)
        self.model_index = columns.model_index
        self.budget = columns.budget
        self.quality = columns.quality
        self.output_tokens = columns.output_tokens
        self.cost_usd = columns.cost_usd
        self.risk = columns.risk

    def __len__(self) -> int:
        return len(self.model_index)

    def __repr__(self) -> str:
        return f"<RouteBatch of {len(self)} decisions among {len(self.models)} models>"

    def to_dicts(self) -> list[dict[str, Any]]:
        """A dictionary for each row, with the keys of a decision except ``all_options``."""
        columns = (
            self.model_index,
            self.budget,
            self.quality,
            self.output_tokens,
            self.cost_usd,
            self.risk,
        )
        return [
            {
                "model": self.models[model],
                "openrouter_id": self.openrouter_ids[model],
                "budget": "unlimited" if budget == UNLIMITED else budget,
                "predicted_quality": quality,
                "predicted_output_tokens": budget if tokens == budget else tokens,
                "predicted_cost_usd": cost,
                "risk": risk,
            }
            for model, budget, quality, tokens, cost, risk in zip(
                *(column.tolist() for column in columns), strict=True
            )
        ]

    def to_pandas(self) -> pandas.DataFrame:
        """A data frame with the same names; an unlimited budget is missing (``pandas.NA``)."""
        import pandas

        return pandas.DataFrame(
            {
                "model": pandas.Categorical.from_codes(self.model_index, list(self.models)),
                "budget": pandas.array(self.budget, dtype="Int64"),
                "predicted_quality": self.quality,
                "predicted_output_tokens": self.output_tokens,
                "predicted_cost_usd": self.cost_usd,
                "risk": self.risk,
            }
        ).assign(budget=lambda frame: frame["budget"].mask(frame["budget"] == UNLIMITED))
