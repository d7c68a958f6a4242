"""Decisions for many queries, as columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from . import _core
from ._types import Option

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

__all__ = ["UNLIMITED", "DecisionBatch"]

#: An unlimited budget in an array of budgets.
UNLIMITED: int = _core.UNLIMITED

#: By attribute, the native library's column.
_COLUMNS = {
    "model_index": "model",
    "budget": "budget",
    "quality": "predicted_quality",
    "output_tokens": "predicted_output_tokens",
    "cost_usd": "predicted_cost_usd",
    "risk": "risk",
}


class DecisionBatch(Sequence[Option]):
    """The decision for each row of an array of embeddings.

    A sequence of dictionaries with the keys of a decision, except ``all_options``. It can be
    indexed, sliced and iterated over. A slice, a mask or an array of row numbers gives a batch of
    those rows. Its columns are read-only arrays with one element for each row; ``to_pandas``,
    ``to_polars`` and ``to_arrow`` convert them to a table.
    """

    __slots__ = (*_COLUMNS, "models", "openrouter_ids")

    #: Names of the router's models.
    models: tuple[str, ...]
    #: The name of each of ``models`` at the endpoint.
    openrouter_ids: tuple[str, ...]
    #: The chosen one of ``models``.
    model_index: NDArray[np.int32]
    #: Its token budget, or ``UNLIMITED`` (-1).
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
        self,
        models: Sequence[str],
        openrouter_ids: Sequence[str],
        columns: Mapping[str, NDArray[Any]],
    ) -> None:
        self.models = tuple(models)
        self.openrouter_ids = tuple(openrouter_ids)
        for name, column in _COLUMNS.items():
            setattr(self, name, columns[column])

    def __len__(self) -> int:
        return len(self.model_index)

    @overload
    def __getitem__(self, index: int | np.integer[Any], /) -> Option: ...

    @overload
    def __getitem__(
        self, index: slice | NDArray[Any] | list[int] | list[bool], /
    ) -> DecisionBatch: ...

    def __getitem__(self, index: Any, /) -> Option | DecisionBatch:
        if isinstance(index, slice) or np.ndim(index) == 1:
            return self._rows(index)
        try:
            position = index.__index__()
        except (AttributeError, TypeError):
            raise TypeError(
                f"the index is {index!r}: expected a row number, a slice, a mask or an array of "
                "row numbers; columns are attributes, such as batch.quality"
            ) from None
        rows = len(self)
        if not -rows <= position < rows:
            raise IndexError(f"row {position} does not exist: the batch has {rows} rows")
        return next(self._rows(slice(position, position + 1 or None))._options())

    def _rows(self, index: Any) -> DecisionBatch:
        columns = {column: getattr(self, name)[index] for name, column in _COLUMNS.items()}
        return DecisionBatch(self.models, self.openrouter_ids, columns)

    def __iter__(self) -> Iterator[Option]:
        return self._options()

    def _options(self) -> Iterator[Option]:
        columns = (getattr(self, name).tolist() for name in _COLUMNS)
        for model, budget, quality, tokens, cost, risk in zip(*columns, strict=True):
            yield {
                "model": self.models[model],
                "openrouter_id": self.openrouter_ids[model],
                "budget": "unlimited" if budget == UNLIMITED else budget,
                "predicted_quality": quality,
                "predicted_output_tokens": budget if tokens == budget else tokens,
                "predicted_cost_usd": cost,
                "risk": risk,
            }

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DecisionBatch):
            return NotImplemented
        return self.models == other.models and all(
            np.array_equal(getattr(self, name), getattr(other, name)) for name in _COLUMNS
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<DecisionBatch of {len(self)} decisions among {len(self.models)} models>"

    def to_dicts(self) -> list[Option]:
        """A dictionary for each row."""
        return list(self)

    def to_pandas(self) -> pandas.DataFrame:
        """A data frame whose columns are a decision's keys; an unlimited budget is missing."""
        import pandas

        columns = self._columns()
        columns["model"] = pandas.Categorical.from_codes(self.model_index, list(self.models))
        columns["budget"] = pandas.array(self.budget, dtype="Int64")
        columns["budget"][self.budget == UNLIMITED] = pandas.NA
        return pandas.DataFrame(columns)

    def to_polars(self) -> polars.DataFrame:
        """As ``to_pandas``."""
        import polars

        budget = polars.col("budget")
        return polars.DataFrame(self._columns()).with_columns(
            polars.col("model", "openrouter_id").cast(polars.String),
            polars.when(budget != UNLIMITED).then(budget).alias("budget"),
        )

    def to_arrow(self) -> pyarrow.Table:
        """As ``to_pandas``."""
        import pyarrow

        columns = self._columns()
        for name in ("model", "openrouter_id"):
            columns[name] = pyarrow.array(columns[name], pyarrow.string())
        columns["budget"] = pyarrow.array(self.budget, mask=self.budget == UNLIMITED)
        return pyarrow.table(columns)

    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[object, object]:
        """For libraries that read Arrow data. Needs pyarrow."""
        import pyarrow

        table = self.to_arrow()
        columns = [column.combine_chunks() for column in table.columns]
        batch = pyarrow.RecordBatch.from_arrays(columns, schema=table.schema)
        capsules: tuple[object, object] = batch.__arrow_c_array__(requested_schema)
        return capsules

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """For libraries that read Arrow data. Needs pyarrow."""
        return self.to_arrow().__arrow_c_stream__(requested_schema)

    def _columns(self) -> dict[str, Any]:
        return {
            "model": np.array(self.models, object)[self.model_index],
            "openrouter_id": np.array(self.openrouter_ids, object)[self.model_index],
            "budget": self.budget,
            "predicted_quality": self.quality,
            "predicted_output_tokens": self.output_tokens,
            "predicted_cost_usd": self.cost_usd,
            "risk": self.risk,
        }
