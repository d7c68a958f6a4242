"""Stages 1 to 3 of a router: a query becomes an embedding, predictions and a decision."""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from . import _core
from ._arrays import (
    Floats,
    as_embedding,
    as_embeddings,
    as_floats,
    as_input_tokens,
    as_thread_count,
)
from ._batch import DecisionBatch
from ._calls import run, run_async
from ._columns import Table, as_optional_texts, as_optional_vectors, table_of
from ._decision import Decision
from ._frozen import FrozenDict, freeze
from ._hub import checkpoint_folder
from ._keywords import takes
from ._log import logger
from ._options import INPUT_TOKENS, Constraints, query_size, route_options
from ._predictors import checkpoint_of, predictors_of
from ._save import Saving
from ._servers import ServerKeywords, Servers
from ._texts import as_texts, check_not_blank
from ._totals import as_total
from ._types import Encoder, Strings

if TYPE_CHECKING:  # typing has it from Python 3.11 on
    from typing_extensions import Unpack

__all__ = ["TOKEN_LIMITS", "QualityCurve", "Routing"]

#: The limited budgets of the published checkpoints.
TOKEN_LIMITS = [10, 20, 30, 40, 50, 80, 100, 150, 200, 300, 500, 800, 1200, 2000, 4000]

#: The trade-off and the embedding model of the published checkpoints.
_LAMBDA = 0.99999
_EMBEDDING_MODEL = "Qwen/Qwen3-0.6B"

Self = TypeVar("Self", bound="Routing")


#: Options, size of the queries, threads.
_Call = tuple[_core.RouteOptions, _core.QuerySize, int]
#: Routes a column. The first pass of a total adds to the curve, and returns None.
_Pass = Callable[
    [_core.TotalCurve | _core.PricedBatch | _core.Allowance | None], _core.DecisionBatch | None
]


class QualityCurve(NamedTuple):
    """A model's predictions for each budget, as arrays of equal length."""

    #: Ascending; ``UNLIMITED`` (-1) is last.
    budget: NDArray[np.int64]
    #: Predicted quality, 0 to 1, not rounded.
    quality: NDArray[np.float64]
    output_tokens: NDArray[np.float64]
    cost_usd: NDArray[np.float64]


class Routing(Saving):
    """The part of ``R2Router`` that needs no server for answers."""

    lambda_val: float
    embed_url: str | None
    llm_api_base: str | None
    llm_api_key: str | None
    _model_configs: FrozenDict[str, Any]
    #: The checkpoint's folder, where named policies are found; empty without a checkpoint.
    _folder: str
    #: Computes embeddings in this process; None: the checkpoint or a server does.
    _given_encoder: Encoder | None
    #: None: those of the checkpoint, created on first access.
    _predictors: FrozenDict[str, Any] | None

    @takes(ServerKeywords, cache_bytes=0)
    def __init__(
        self,
        predictors: Mapping[str, Mapping[str, Any]],
        model_configs: Mapping[str, Mapping[str, Any]],
        lambda_val: float = _LAMBDA,
        embed_url: str | None = None,
        llm_api_base: str | None = None,
        llm_api_key: str | None = None,
        *,
        encoder: Encoder | None = None,
        **servers: Unpack[ServerKeywords],
    ) -> None:
        """Creates a router from existing regressors.

        ``predictors``: by model, in the order that breaks ties, ``{"limited": {"10_score": ...},
        "unlimited_score": ..., "unlimited_token": ...}``, each any object with ``coef_`` and
        ``intercept_``. ``model_configs``: by model ``{"openrouter_id": ...,
        "input_price_per_million": ..., "output_price_per_million": ...}``, and the other prices
        that FORMAT.md specifies for a model in config.json. The encoder and the servers are as in
        ``from_pretrained``.
        """
        checkpoint = checkpoint_of(predictors, model_configs, _EMBEDDING_MODEL)
        self._folder = ""
        self._set_up(checkpoint, lambda_val, embed_url, llm_api_base, llm_api_key, encoder, servers)
        self._predictors = freeze(predictors)
        self._model_configs = freeze({model: model_configs[model] for model in predictors})

    @classmethod
    @takes(ServerKeywords, cache_bytes=0)
    def from_pretrained(
        cls: type[Self],
        path: str | os.PathLike[str] | None = None,
        lambda_val: float | None = None,
        embed_url: str | None = None,
        llm_api_base: str | None = None,
        llm_api_key: str | None = None,
        verbose: bool = False,
        *,
        encoder: Encoder | None = None,
        **servers: Unpack[ServerKeywords],
    ) -> Self:
        """Loads a checkpoint: a folder in either layout, or a Hugging Face repository.

        ``path=None`` is the default checkpoint, which routes text without a server.
        ``lambda_val=None`` takes the checkpoint's. ``verbose`` prints on standard error what was
        loaded. The files of a checkpoint are never executed.

        - ``encoder``: makes embeddings in this process, for a checkpoint without an encoder: one of
          ``r2_router.encoders``, or any function from a list of strings to an (N, d) array. If
          threads share the router, it is called from all of them
        - ``embed_url``: a server that computes them instead; ``embed_model``: its name for the
          embedding model, if not the checkpoint's; ``embed_api_key``: its key; ``cache_bytes``:
          size of the cache for its embeddings
        - ``llm_api_base``: an OpenAI-compatible endpoint for answers; ``llm_api_key``: its key,
          else the environment's OPENROUTER_API_KEY
        - ``timeout``: seconds that a call to either may take; ``ca_file``: certificate authorities
          to trust instead of the system's, a PEM file
        """
        folder = checkpoint_folder(path)
        checkpoint = _core.Checkpoint.load(folder, logger.log)
        router = cls._of_checkpoint(
            checkpoint, folder, lambda_val, embed_url, llm_api_base, llm_api_key, encoder, servers
        )
        loaded = f"loaded {len(router.model_configs)} models from {folder}"
        logger.info(loaded)
        if verbose:
            print(f"r2_router: {loaded}", file=sys.stderr)
        return router

    @classmethod
    def _of_checkpoint(
        cls: type[Self],
        checkpoint: _core.Checkpoint,
        folder: str,
        lambda_val: float | None = None,
        embed_url: str | None = None,
        llm_api_base: str | None = None,
        llm_api_key: str | None = None,
        encoder: Encoder | None = None,
        servers: ServerKeywords | None = None,
    ) -> Self:
        """``folder``: where named policies are found, or "". ``lambda_val=None``: as there."""
        router = cls.__new__(cls)
        router._folder = folder
        if lambda_val is None:
            lambda_val = checkpoint.default_lambda
        router._set_up(
            checkpoint, lambda_val, embed_url, llm_api_base, llm_api_key, encoder, servers or {}
        )
        return router

    def _with_checkpoint(self: Self, checkpoint: _core.Checkpoint, folder: str) -> Self:
        """A copy with another checkpoint on the same embeddings."""
        router = copy.copy(self)
        router._folder = folder
        router._use_checkpoint(checkpoint)
        return router

    def _use_checkpoint(self, checkpoint: _core.Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._dimension: int = checkpoint.dimension
        self._native = _core.Router(checkpoint)
        self._model_configs = freeze(checkpoint.model_configs)
        self._predictors = None

    def _set_up(
        self,
        checkpoint: _core.Checkpoint,
        lambda_val: float,
        embed_url: str | None,
        llm_api_base: str | None,
        llm_api_key: str | None,
        encoder: Encoder | None,
        servers: ServerKeywords,
    ) -> None:
        self._use_checkpoint(checkpoint)
        if encoder is not None:
            self._check_encoder(encoder, embed_url)
        self._given_encoder = encoder
        self._servers = Servers(checkpoint.embedding_model, self._dimension, **servers)
        route_options(lambda_val)  # checks it
        self.lambda_val = lambda_val
        self.embed_url = embed_url
        self.llm_api_base = llm_api_base
        self.llm_api_key = llm_api_key

    def _check_encoder(self, encoder: Encoder, embed_url: str | None) -> None:
        if not callable(encoder):
            raise TypeError(
                f"encoder is of the type {type(encoder).__name__}: expected one of "
                "r2_router.encoders, or a function from a list of strings to an (N, d) array"
            )
        if self._checkpoint.has_encoder:
            raise ValueError(
                "this checkpoint has an encoder of its own, and its heads fit no other: leave "
                'encoder out, or load the checkpoint that it is for, such as "r2-router"'
            )
        if embed_url is not None:
            raise ValueError("encoder and embed_url are given: leave one of them out")
        made = getattr(encoder, "dimension", self._dimension)
        if isinstance(made, int) and made != self._dimension:
            raise ValueError(
                f"{encoder!r} makes embeddings of {made} numbers, and this checkpoint takes "
                f"{self._dimension}: use the model that it was trained with, "
                f"{self._checkpoint.embedding_model}"
            )

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} of {len(self._model_configs)} models on embeddings of "
            f"{self._checkpoint.embedding_model}, lambda_val={self.lambda_val!r}>"
        )

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_native"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        # Copies of what is frozen are not.
        self._model_configs, self._predictors = (
            freeze(self._model_configs),
            freeze(self._predictors),
        )
        self._native = _core.Router(self._checkpoint)

    @property
    def predictors(self) -> FrozenDict[str, Any]:
        """The predictors by model, in the order that breaks ties; read-only.

        Those of a loaded checkpoint are objects with ``coef_``, ``intercept_`` and ``predict``.
        Raises ``RuntimeError`` for a checkpoint of nearest neighbours or of a perceptron, which has
        none.
        """
        if self._predictors is None:
            self._predictors = predictors_of(self._checkpoint)
        return self._predictors

    @property
    def model_configs(self) -> FrozenDict[str, Any]:
        """The prices, catalogue name and availability of each model; read-only."""
        return self._model_configs

    @property
    def dimension(self) -> int:
        """Length of the router's embeddings."""
        return self._dimension

    def embed(self, texts: str | Strings) -> Floats:
        """Embeddings of one or several texts, (N, d).

        The checkpoint's own encoder computes them, or else the router's ``encoder`` or the server
        at ``embed_url``. Raises ``RuntimeError`` if there is no encoder, ``ServerConnectionError``
        or ``ServerError`` if the server fails, and what the encoder raises. A subclass may override
        this method: every method that takes text calls it, with a list.
        """
        queries = as_texts(texts)
        check_not_blank(queries)
        if not queries:
            return np.empty((0, self._dimension), np.float32)
        if self._checkpoint.has_encoder:
            return self._encode(queries)
        if self._given_encoder is not None:
            return self._encode_here(self._given_encoder, queries)
        encoder = self._encoder()
        return run(lambda cancel: encoder.embed(queries, cancel))

    def _encode_here(self, encoder: Encoder, queries: list[str]) -> Floats:
        if self.embed_url is not None:
            raise ValueError(
                f"embed_url is {self.embed_url!r}, but this router was created with an encoder: "
                "set embed_url to None"
            )
        rows = as_embeddings(encoder(queries), self._dimension, "the encoder's embeddings")
        self._check_count(rows, queries, "the encoder")
        finite = np.isfinite(rows).all(axis=1)
        if not finite.all():
            raise ValueError(
                f"the encoder returned a number that is not finite for query "
                f"{int(np.argmin(finite))}: expected finite numbers"
            )
        return rows

    def _encode(self, queries: list[str]) -> Floats:
        if self.embed_url is not None:
            raise ValueError(
                f"embed_url is {self.embed_url!r}, but this checkpoint has an encoder of its own, "
                "and its heads fit no other: leave embed_url out, or load the checkpoint that was "
                "trained on that server's embeddings, R2Router.from_pretrained(FOLDER, "
                "embed_url=...)"
            )
        return self._native.embed(queries)

    def _encoder(self) -> _core.HttpEncoder:
        if self.embed_url is None:
            raise RuntimeError(
                f"this checkpoint needs embeddings of {self._servers.embed_model}, and neither a "
                "server nor an encoder for them is set: give embed_url or encoder, pass embeddings "
                "to route(), or use the default checkpoint, which needs none "
                "(R2Router.from_pretrained())"
            )
        return self._servers.encoder(self.embed_url)

    def _embed_all(self, queries: list[str]) -> Floats:
        """One row for each query, from this router's ``embed``."""
        return self._checked_rows(self.embed(queries), queries)

    async def _embed_all_async(self, queries: list[str]) -> Floats:
        """The same, without blocking the event loop."""
        if self._overrides_embed() or self._given_encoder is not None:
            rows: Any = await run_async(lambda cancel: self.embed(queries))
        elif self._checkpoint.has_encoder or not queries:
            rows = self.embed(queries)
        else:
            check_not_blank(queries)
            encoder = self._encoder()
            rows = await run_async(lambda cancel: encoder.embed(queries, cancel))
        return self._checked_rows(rows, queries)

    def _uses_own_encoder(self) -> bool:
        return self._checkpoint.has_encoder and not self._overrides_embed()

    def _overrides_embed(self) -> bool:
        # On a subclass, or set on the object.
        return getattr(self.embed, "__func__", None) is not Routing.embed

    def _checked_rows(self, rows: Any, queries: list[str]) -> Floats:
        embeddings = as_embeddings(rows, self._dimension)
        self._check_count(embeddings, queries, "embed()")
        return embeddings

    @staticmethod
    def _check_count(rows: Floats, queries: list[str], source: str) -> None:
        if len(rows) != len(queries):
            raise ValueError(
                f"{source} returned {len(rows)} embeddings for {len(queries)} queries: expected "
                "one row for each"
            )

    @takes(Constraints)
    def route(
        self,
        embedding: Any,
        lambda_val: float | None = None,
        input_tokens: int = INPUT_TOKENS,
        **constraints: Unpack[Constraints],
    ) -> Decision:
        """Routes one embedding of shape (d,).

        ``lambda_val`` is the weight of cost (USD) against quality: 0 ignores cost, 1 ignores
        quality; None is the router's value. Predictions are made in float64 for every type of
        array. The constraints are described in ``help(R2Router)``.
        """
        options = self._options(lambda_val, constraints)
        row = as_embedding(embedding, self._dimension)
        size = query_size(input_tokens, constraints)
        return self._decision(self._native.route(row, options, size))

    def _options(
        self, lambda_val: float | None, constraints: Constraints, has_total: bool = False
    ) -> _core.RouteOptions:
        return route_options(
            lambda_val,
            constraints,
            default_lambda=None if has_total else self._own_lambda(),
            checkpoint_folder=self._folder,
        )

    def _own_lambda(self) -> float | None:
        """``lambda_val``, if it is not the checkpoint's, whose policy may choose otherwise."""
        return None if self.lambda_val == self._checkpoint.default_lambda else self.lambda_val

    def _decision(self, choice: _core.Choice) -> Decision:
        return Decision(
            choice.values(),
            choice.lambda_val,
            choice.input_tokens,
            self._model_configs,
            choice.rank,
            choice,
        )

    @overload
    def route_text(
        self,
        query: str,
        lambda_val: float | None = None,
        *,
        input_tokens: int | None = None,
        **constraints: Unpack[Constraints],
    ) -> Decision: ...

    @overload
    def route_text(
        self,
        query: Strings,
        lambda_val: float | None = None,
        *,
        input_tokens: int | None = None,
        **constraints: Unpack[Constraints],
    ) -> list[Decision]: ...

    @takes(Constraints)
    def route_text(
        self,
        query: str | Strings,
        lambda_val: float | None = None,
        *,
        input_tokens: int | None = None,
        **constraints: Unpack[Constraints],
    ) -> Decision | list[Decision]:
        """Routes a query, or a list of queries, and returns a decision or a list of decisions.

        ``lambda_val`` and the constraints are as in ``route``. ``input_tokens=None`` estimates each
        query's length from its words.
        """
        queries = as_texts(query)
        decisions = self._route_texts(
            queries, self._embed_all(queries), lambda_val, input_tokens, constraints
        )
        return decisions[0] if isinstance(query, str) else decisions

    @overload
    async def aroute_text(
        self,
        query: str,
        lambda_val: float | None = None,
        *,
        input_tokens: int | None = None,
        **constraints: Unpack[Constraints],
    ) -> Decision: ...

    @overload
    async def aroute_text(
        self,
        query: Strings,
        lambda_val: float | None = None,
        *,
        input_tokens: int | None = None,
        **constraints: Unpack[Constraints],
    ) -> list[Decision]: ...

    @takes(Constraints)
    async def aroute_text(
        self,
        query: str | Strings,
        lambda_val: float | None = None,
        *,
        input_tokens: int | None = None,
        **constraints: Unpack[Constraints],
    ) -> Decision | list[Decision]:
        """``route_text`` for asyncio: the event loop is not blocked while embeddings are made."""
        queries = as_texts(query)
        decisions = self._route_texts(
            queries, await self._embed_all_async(queries), lambda_val, input_tokens, constraints
        )
        return decisions[0] if isinstance(query, str) else decisions

    def _route_texts(
        self,
        queries: list[str],
        embeddings: Floats,
        lambda_val: float | None,
        input_tokens: int | None,
        constraints: Constraints,
    ) -> list[Decision]:
        options = self._options(lambda_val, constraints)
        size = query_size(input_tokens, constraints)
        choices = self._native.route_texts(queries, embeddings, options, size)
        return [self._decision(choice) for choice in choices]

    @takes(Constraints)
    def route_batch(
        self,
        embeddings: Any,
        lambda_val: float | None = None,
        input_tokens: Any = None,
        *,
        texts: str | Strings | None = None,
        threads: int | None = None,
        **constraints: Unpack[Constraints],
    ) -> DecisionBatch:
        """Routes the rows of an (N, d) array: the same choices as those of ``route``, but faster.

        Uses all cores, or this many ``threads``, and releases the GIL.
        ``input_tokens``: an int for all rows, or one for each; None: 100. Alternatively, pass the
        ``texts`` of the embeddings: the choices are then those of ``route_text``, which estimates
        each text's length and, for ``max_cost_usd``, bounds it.
        """
        rows = as_embeddings(embeddings, self._dimension)
        if texts is not None and input_tokens is not None:
            raise ValueError(
                "texts and input_tokens are given, which both say how long the queries are: "
                "leave one of them out"
            )
        queries = [] if texts is None else self._one_each(texts, len(rows))
        for_all = np.ndim(input_tokens) == 0
        each = np.empty(0, np.int64) if for_all else as_input_tokens(input_tokens, len(rows))
        size = query_size(
            INPUT_TOKENS if input_tokens is None or not for_all else input_tokens, constraints
        )
        options = self._options(lambda_val, constraints)
        decisions = self._native.route_batch(
            rows, options, size, each, queries, as_thread_count(threads)
        )
        return DecisionBatch(
            tuple(self._model_configs),
            tuple(config.get("openrouter_id") or "" for config in self._model_configs.values()),
            decisions.columns(),
        )

    @takes(Constraints)
    def route_table(
        self,
        table: Any,
        lambda_val: float | None = None,
        *,
        text: str | None = None,
        embedding: str | None = None,
        input_tokens: int | None = None,
        threads: int | None = None,
        total_usd: float | None = None,
        total_worst_case_usd: float | None = None,
        **constraints: Unpack[Constraints],
    ) -> Any:
        """Routes a table, and returns it with the columns of the decisions appended.

        ``text``: the column of queries; or ``embedding``: the column of their embeddings. A
        ``pyarrow.Table``, a data frame of pandas or polars, a dictionary of columns or a list of
        dictionaries is returned as the same type. Anything else with ``__arrow_c_stream__``, such
        as a relation of DuckDB, is returned as a ``pyarrow.Table``. The choices are those of
        ``route_text`` and ``route``. The columns are ``model``, ``budget`` (missing: unlimited),
        ``max_tokens``, ``predicted_quality``, ``predicted_output_tokens``, ``predicted_cost_usd``,
        ``worst_case_cost_usd`` and ``reason``.

        A row that cannot be routed raises no exception. It has no decision, and its ``reason`` is
        ``"null"``, ``"empty"``, ``"wrong_length"`` or ``"not_finite"`` (of an embedding),
        ``"no_option"`` (none meets the constraints) or ``"no_embedding"`` (the encoder failed).

        ``total_usd``: the most that all rows may cost together, as predicted, or
        ``total_worst_case_usd``: in the worst case. It is spent where it buys the most quality, in
        place of ``lambda_val``, ``willingness_to_pay`` or ``objective``. Of rows for which quality
        costs the same the first ones get it. Raises ``BudgetError``, which says what is enough, if
        the cheapest choices cost more.

        Uses all cores, or this many ``threads``, and releases the GIL. Raises ``ValueError`` if
        there is no such column, or the table already has one of the new columns, and ``TypeError``
        for a column of another type.
        """
        total = as_total(total_usd, total_worst_case_usd)
        source, route = self._table_passes(
            table,
            total is not None,
            lambda_val,
            text=text,
            embedding=embedding,
            input_tokens=input_tokens,
            threads=threads,
            **constraints,
        )
        decisions = route(None) if total is None else total.decisions(route)
        return self._with_decisions(source, decisions)

    def _add_to_curve(self, curve: _core.TotalCurve, table: Any, **options: Any) -> None:
        """The first pass of a total, for a part of its rows."""
        self._table_passes(table, True, **options)[1](curve)

    def _route_within(self, allowance: _core.Allowance | None, table: Any, **options: Any) -> Any:
        """``route_table`` as the second pass of a total, or without one."""
        source, route = self._table_passes(table, allowance is not None, **options)
        return self._with_decisions(source, route(allowance))

    def _with_decisions(self, source: Table, decisions: _core.DecisionBatch | None) -> Any:
        assert decisions is not None  # only the first pass of a total makes none
        return source.with_decisions(decisions, tuple(self._model_configs))

    def _table_passes(
        self,
        table: Any,
        has_total: bool,
        lambda_val: float | None = None,
        *,
        text: str | None = None,
        embedding: str | None = None,
        input_tokens: int | None = None,
        threads: int | None = None,
        **constraints: Unpack[Constraints],
    ) -> tuple[Table, _Pass]:
        """The table, and a function that routes its column, which each pass of a total calls."""
        if (text is None) == (embedding is None):
            raise ValueError(
                "expected text, the name of the column of queries, or embedding, that of the "
                "column of embeddings, and not both"
            )
        name = embedding if text is None else text
        assert name is not None
        source = table_of(table)
        source.check(name, "embedding" if text is None else "text")
        call = (
            self._options(lambda_val, constraints, has_total),
            query_size(input_tokens, constraints),
            as_thread_count(threads),
        )
        column = self._embedding_column if text is None else self._text_column
        return source, column(source, name, call)

    def _text_column(self, source: Table, name: str, call: _Call) -> _Pass:
        table = source.arrow(name)
        if self._uses_own_encoder():
            if table is not None:
                return self._arrow_column(table, name, True, call)
            own = as_optional_texts(source.values(name), name)
            return lambda total: self._native.route_rows(own, None, *call, total)
        if table is not None:
            _core.check_column(table.__arrow_c_stream__(), name, True)
        texts = as_optional_texts(source.values(name), name)
        present = [row for row, text in enumerate(texts) if text and not text.isspace()]
        rows = self._embed_all([texts[row] or "" for row in present])
        embeddings = np.zeros((len(texts), self._dimension), rows.dtype)
        embeddings[present] = rows
        return lambda total: self._native.route_rows(texts, embeddings, *call, total)

    def _arrow_column(self, table: Any, name: str, texts: bool, call: _Call) -> _Pass:
        return lambda total: self._native.route_stream(
            table.__arrow_c_stream__(), name, texts, *call, total
        )

    def _embedding_column(self, source: Table, name: str, call: _Call) -> _Pass:
        matrix = source.matrix(name)
        if matrix is not None:
            rows = as_floats(matrix, f"the column {name!r}")
            return lambda total: self._native.route_rows([], rows, *call, total)
        if (table := source.arrow(name)) is not None:
            return self._arrow_column(table, name, False, call)
        vectors = as_optional_vectors(source.values(name), name)
        return lambda total: self._native.route_vectors(vectors, *call, total)

    @staticmethod
    def _one_each(texts: str | Strings, count: int) -> list[str]:
        queries = as_texts(texts)
        if len(queries) != count:
            raise ValueError(
                f"there are {count} embeddings and {len(queries)} texts: expected the text of each"
            )
        return queries

    def quality_curve(
        self, query_or_embedding: Any, input_tokens: int | None = None
    ) -> dict[str, QualityCurve]:
        """The predicted quality and cost of each model for each budget.

        ``input_tokens=None``: estimated from a text, 100 for an embedding.
        """
        if isinstance(query_or_embedding, str):
            embedding = self._embed_all(as_texts(query_or_embedding))[0]
            if input_tokens is None:
                input_tokens = _core.estimate_input_tokens(query_or_embedding)
        else:
            embedding = as_embedding(query_or_embedding, self._dimension)
        tokens = INPUT_TOKENS if input_tokens is None else input_tokens
        query_size(tokens)  # checks it
        models = list(self._model_configs)
        curves = self._native.quality_curves(embedding, tokens)
        return {
            models[model]: QualityCurve(budget, quality, output_tokens, cost_usd)
            for model, budget, quality, output_tokens, cost_usd in curves
        }
