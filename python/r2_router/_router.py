"""The router: the same calls and the same dictionaries as the published package's R2Router."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from . import _core
from ._arrays import Floats, as_embedding, as_embeddings, as_input_tokens
from ._batch import RouteBatch
from ._calls import AsyncTextStream, OnText, StreamWork, TextStream, run, run_async
from ._decision import Decision
from ._frozen import FrozenDict, freeze
from ._hub import checkpoint_folder
from ._options import INPUT_TOKENS, Constraints, route_options
from ._predictors import checkpoint_of, predictors_of
from ._servers import Conversation, Servers, as_messages, checked, routed

if TYPE_CHECKING:  # typing has it from Python 3.11 on
    from typing_extensions import Unpack

__all__ = ["TOKEN_LIMITS", "QualityCurve", "R2Router"]

logger = logging.getLogger("r2_router")

#: The limited budgets of the published checkpoints.
TOKEN_LIMITS = [10, 20, 30, 40, 50, 80, 100, 150, 200, 300, 500, 800, 1200, 2000, 4000]

#: The trade-off and the embedding model of the published checkpoints.
_LAMBDA = 0.99999
_EMBEDDING_MODEL = "Qwen/Qwen3-0.6B"

Self = TypeVar("Self", bound="R2Router")


class QualityCurve(NamedTuple):
    """What a model is predicted to do with each budget; arrays of one length."""

    #: Ascending; without a limit: ``UNLIMITED`` (-1), last.
    budget: NDArray[np.int64]
    #: Predicted quality, 0 to 1, not rounded.
    quality: NDArray[np.float64]
    output_tokens: NDArray[np.float64]
    cost_usd: NDArray[np.float64]


class R2Router:
    """Chooses, for each query, a model and how many tokens it may spend.

    A router never changes, ``lambda_val`` and the endpoints' addresses apart; every method may be
    called from many threads at once.

    Routing methods take constraints as keywords:

    - ``allow``, ``deny``: names of the only models to consider, and of models to leave out
    - ``available_only``: leave out models that are not available (None: published checkpoints
      consider them, the package's own do not)
    - ``token_floor``: least number of tokens that any answer is assumed to take
    - ``max_cost_usd``: consider only pairs that cannot cost more: their cap times the price, and
      all that the query can be billed for
    - ``objective``, ``willingness_to_pay``, ``min_quality``, ``quality_fraction``,
      ``risk_aversion``: by what to choose, if not by lambda
    - ``max_output_tokens``, ``max_latency_ms``: limits on the answer
    - ``continuous``, ``monotone``: budgets between the trained ones
    - ``policy``: a file that sets some of these, as ``r2-router calibrate`` writes it, or the name
      of one that it keeps in the checkpoint's folder
    """

    lambda_val: float
    embed_url: str | None
    llm_api_base: str | None
    llm_api_key: str | None
    _model_configs: FrozenDict[str, Any]
    #: Of the checkpoint, where policies are found by name; empty if it did not come from one.
    _folder: str
    #: None: those of the checkpoint, for which objects are made when somebody looks.
    _predictors: FrozenDict[str, Any] | None

    def __init__(
        self,
        predictors: Mapping[str, Mapping[str, Any]],
        model_configs: Mapping[str, Mapping[str, Any]],
        lambda_val: float = _LAMBDA,
        embed_url: str | None = None,
        llm_api_base: str | None = None,
        llm_api_key: str | None = None,
        *,
        embed_model: str | None = None,
        embed_api_key: str | None = None,
        ca_file: str | os.PathLike[str] | None = None,
        timeout: float | None = None,
        cache_bytes: int = 0,
    ) -> None:
        """A router from regressors that are there already.

        ``predictors``: by model, in the order that settles ties, ``{"limited": {"10_score": ...},
        "unlimited_score": ..., "unlimited_token": ...}``, each any object with ``coef_`` and
        ``intercept_``. ``model_configs``: by model ``{"openrouter_id": ...,
        "input_price_per_million": ..., "output_price_per_million": ...}``.
        """
        checkpoint = checkpoint_of(predictors, model_configs, _EMBEDDING_MODEL)
        self._folder = ""
        self._set_up(checkpoint, lambda_val, embed_url, llm_api_base, llm_api_key)
        self._set_servers(embed_model, embed_api_key, ca_file, timeout, cache_bytes)
        self._predictors = freeze(predictors)
        self._model_configs = freeze({model: model_configs[model] for model in predictors})

    @classmethod
    def from_pretrained(
        cls: type[Self],
        path: str | os.PathLike[str] | None = None,
        lambda_val: float | None = None,
        embed_url: str | None = None,
        llm_api_base: str | None = None,
        llm_api_key: str | None = None,
        verbose: bool = False,
        *,
        embed_model: str | None = None,
        embed_api_key: str | None = None,
        ca_file: str | os.PathLike[str] | None = None,
        timeout: float | None = None,
        cache_bytes: int = 0,
    ) -> Self:
        """A router from a checkpoint: a folder in either layout, else a Hugging Face repository.

        ``path=None`` is the default checkpoint, which routes text without any server.
        ``lambda_val=None`` takes the checkpoint's. ``verbose`` says on standard error what was
        loaded. Files are never executed, whatever is in them.
        """
        folder = checkpoint_folder(path)
        checkpoint = _core.Checkpoint.load(folder, logger.log)
        router = cls.__new__(cls)
        router._folder = folder
        if lambda_val is None:
            lambda_val = checkpoint.default_lambda
        router._set_up(checkpoint, lambda_val, embed_url, llm_api_base, llm_api_key)
        router._set_servers(embed_model, embed_api_key, ca_file, timeout, cache_bytes)
        loaded = f"loaded {len(router.model_configs)} models from {folder}"
        logger.info(loaded)
        if verbose:
            print(f"r2_router: {loaded}", file=sys.stderr)
        return router

    def _set_up(
        self,
        checkpoint: _core.Checkpoint,
        lambda_val: float,
        embed_url: str | None,
        llm_api_base: str | None,
        llm_api_key: str | None,
    ) -> None:
        self._checkpoint = checkpoint
        self._native = _core.Router(checkpoint)
        self._dimension: int = checkpoint.dimension
        self._model_configs = freeze(checkpoint.model_configs)
        self._predictors = None
        route_options(lambda_val)
        if not 0 <= lambda_val <= 1:
            raise ValueError(
                f"lambda_val is {lambda_val}: expected 0 (quality alone) to 1 (cost alone)"
            )
        self.lambda_val = lambda_val
        self.embed_url = embed_url
        self.llm_api_base = llm_api_base
        self.llm_api_key = llm_api_key

    def _set_servers(
        self,
        embed_model: str | None,
        embed_api_key: str | None,
        ca_file: str | os.PathLike[str] | None,
        timeout: float | None,
        cache_bytes: int,
    ) -> None:
        self._servers = Servers(
            embed_model or self._checkpoint.embedding_model,
            self._dimension,
            embed_api_key,
            None if ca_file is None else os.fspath(ca_file),
            timeout,
            cache_bytes,
        )

    def __repr__(self) -> str:
        return (
            f"<R2Router of {len(self._model_configs)} models on embeddings of "
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
        """By model, in the order that settles ties, as the constructor takes them; read-only.

        A loaded checkpoint's are objects with ``coef_``, ``intercept_`` and ``predict``. One of
        nearest neighbours or of a perceptron has none: a ``RuntimeError`` says so.
        """
        if self._predictors is None:
            self._predictors = predictors_of(self._checkpoint)
        return self._predictors

    @property
    def model_configs(self) -> FrozenDict[str, Any]:
        """By model its prices, its catalogue name and whether it is available; read-only."""
        return self._model_configs

    @property
    def dimension(self) -> int:
        """Length of the embeddings that are routed."""
        return self._dimension

    def embed(self, texts: str | Sequence[str]) -> Floats:
        """Embeddings of one or several texts, (N, d).

        The checkpoint's own encoder makes them, else the server at ``embed_url``. Raises
        ``RuntimeError`` where there is neither, ``ServerConnectionError`` and ``ServerError`` for
        what the server does. To bring an encoder, derive a class from R2Router and override this
        method: ``route_text`` calls it.
        """
        queries = _as_texts(texts)
        if not queries:
            return np.empty((0, self._dimension), np.float32)
        if self._checkpoint.has_encoder:
            if self.embed_url is not None:
                raise ValueError(
                    f"embed_url is {self.embed_url!r}, but this checkpoint has an encoder of its "
                    "own and its heads fit no other: leave embed_url out"
                )
            return self._native.embed(queries)
        embedder = self._embedder()
        return run(lambda cancel: embedder.embed(queries, cancel))

    def _embedder(self) -> _core.HttpEmbedder:
        if self.embed_url is None:
            raise RuntimeError(
                f"this checkpoint needs embeddings of {self._servers.embed_model}, and no server "
                "for them is set: give embed_url, pass embeddings to route(), or use the default "
                "checkpoint, which needs none (R2Router.from_pretrained())"
            )
        return self._servers.embedder(self.embed_url)

    def route(
        self,
        embedding: Any,
        lambda_val: float | None = None,
        input_tokens: int = INPUT_TOKENS,
        **constraints: Unpack[Constraints],
    ) -> Decision:
        """The choice for one embedding of shape (d,).

        ``lambda_val`` weighs cost (USD) against quality: 0 looks at quality alone, 1 at cost alone;
        None is the router's. Predictions are made in float64 whatever the array's type.
        """
        return self._choose(embedding, self._options(lambda_val, input_tokens, constraints))

    def _options(
        self,
        lambda_val: float | None,
        input_tokens: int,
        constraints: Constraints,
        max_input_tokens: int | None = None,
    ) -> _core.RouteOptions:
        return route_options(
            lambda_val,
            input_tokens,
            constraints,
            max_input_tokens,
            default_lambda=self.lambda_val,
            checkpoint_folder=self._folder,
        )

    def _choose(self, embedding: Any, options: _core.RouteOptions) -> Decision:
        choice = self._native.route(as_embedding(embedding, self._dimension), options)
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
        query: list[str] | tuple[str, ...],
        lambda_val: float | None = None,
        *,
        input_tokens: int | None = None,
        **constraints: Unpack[Constraints],
    ) -> list[Decision]: ...

    def route_text(
        self,
        query: str | Sequence[str],
        lambda_val: float | None = None,
        *,
        input_tokens: int | None = None,
        **constraints: Unpack[Constraints],
    ) -> Decision | list[Decision]:
        """The choice for a query, or a list of choices for a list of queries.

        ``input_tokens=None`` estimates each query's length from its words.
        """
        queries = _as_texts(query)
        embeddings = self.embed(queries)
        return self._route_embedded(
            query, queries, embeddings, lambda_val, input_tokens, constraints
        )

    def _route_embedded(
        self,
        query: str | Sequence[str],
        queries: list[str],
        embeddings: Floats,
        lambda_val: float | None,
        input_tokens: int | None,
        constraints: Constraints,
    ) -> Decision | list[Decision]:
        """Choices for texts that are embedded: one for a string, a list for several."""
        decisions = []
        for text, embedding in zip(queries, embeddings, strict=True):
            if input_tokens is None:
                options = self._options(
                    lambda_val,
                    _core.estimate_input_tokens(text),
                    constraints,
                    _core.most_input_tokens(text, self._checkpoint.budget_prompt),
                )
            else:
                options = self._options(lambda_val, input_tokens, constraints)
            decisions.append(self._choose(embedding, options))
        return decisions[0] if isinstance(query, str) else decisions

    def route_batch(
        self,
        embeddings: Any,
        lambda_val: float | None = None,
        input_tokens: Any = None,
        *,
        texts: Sequence[str] | None = None,
        **constraints: Unpack[Constraints],
    ) -> RouteBatch:
        """The choices for the rows of an (N, d) array: the same as ``route`` makes, much faster.

        ``input_tokens``: an int for all rows, or one for each; None: 100. Or give the ``texts``
        that the rows are embeddings of: then the choices are those of ``route_text``, which
        estimates each text's length and, for ``max_cost_usd``, bounds it.
        """
        rows = as_embeddings(embeddings, self._dimension)
        expected: Any = []
        most: list[int] = []
        if texts is not None:
            if input_tokens is not None:
                raise ValueError(
                    "texts and input_tokens are given, which both say how long the queries are: "
                    "leave one of them out"
                )
            expected, most = self._lengths(texts, len(rows))
        for_all = np.ndim(input_tokens) == 0
        if not for_all:
            expected = input_tokens
        options = self._options(
            lambda_val,
            INPUT_TOKENS if input_tokens is None or not for_all else input_tokens,
            constraints,
        )
        for_each = texts is not None or not for_all
        return RouteBatch(
            tuple(self._model_configs),
            tuple(config.get("openrouter_id") or "" for config in self._model_configs.values()),
            self._native.route_batch(
                rows,
                options,
                as_input_tokens(expected, len(rows) if for_each else 0),
                as_input_tokens(most, len(most)),
            ),
        )

    def _lengths(self, texts: Sequence[str], count: int) -> tuple[list[int], list[int]]:
        """For each of ``count`` texts its tokens as estimated, and the most there can be."""
        queries = _as_texts(texts)
        if len(queries) != count:
            raise ValueError(
                f"there are {count} embeddings and {len(queries)} texts: expected the text of each"
            )
        prompt = self._checkpoint.budget_prompt
        return (
            [_core.estimate_input_tokens(text) for text in queries],
            [_core.most_input_tokens(text, prompt) for text in queries],
        )

    def quality_curve(
        self, query_or_embedding: Any, input_tokens: int | None = None
    ) -> dict[str, QualityCurve]:
        """For each model, quality and cost against budget: what a choice is made from.

        ``input_tokens=None``: estimated from a text, 100 for an embedding.
        """
        if isinstance(query_or_embedding, str):
            embedding = self.embed(query_or_embedding)[0]
            if input_tokens is None:
                input_tokens = _core.estimate_input_tokens(query_or_embedding)
        else:
            embedding = as_embedding(query_or_embedding, self._dimension)
        tokens = INPUT_TOKENS if input_tokens is None else input_tokens
        route_options(self.lambda_val, tokens)
        models = list(self._model_configs)
        curves = self._native.quality_curves(embedding, tokens)
        return {
            models[model]: QualityCurve(budget, quality, output_tokens, cost_usd)
            for model, budget, quality, output_tokens, cost_usd in curves
        }

    @overload
    def generate(
        self,
        query: Conversation,
        model: str | Decision,
        budget: int | str | None = None,
        temperature: float = 0.7,
        *,
        stream: Literal[False] = False,
        timeout: float | None = None,
        max_fallbacks: int = 2,
    ) -> dict[str, Any]: ...

    @overload
    def generate(
        self,
        query: Conversation,
        model: str | Decision,
        budget: int | str | None = None,
        temperature: float = 0.7,
        *,
        stream: Literal[True],
        timeout: float | None = None,
        max_fallbacks: int = 2,
    ) -> TextStream: ...

    def generate(
        self,
        query: Conversation,
        model: str | Decision,
        budget: int | str | None = None,
        temperature: float = 0.7,
        *,
        stream: bool = False,
        timeout: float | None = None,
        max_fallbacks: int = 2,
    ) -> dict[str, Any] | TextStream:
        """Asks a model for an answer within a budget: a number of tokens, or ``"unlimited"``.

        In place of a model and a budget it takes a decision of this router. Where the decision's
        model fails in a way that another may not, up to ``max_fallbacks`` others are asked, best
        first. Needs ``llm_api_base``; the key is ``llm_api_key``, else the environment's
        OPENROUTER_API_KEY. ``timeout``: seconds for the whole call with its retries.

        Returns ``response``, the ``model`` that gave it and its ``budget``, and what else is known:
        ``usage`` (``prompt_tokens``, ``completion_tokens`` and the ``reasoning_tokens`` among them;
        None where the server does not say), ``charged_usd`` (the server's own figure) and
        ``computed_usd`` (usage times price), ``served_model`` and whether that was ``redirected``,
        ``finish_reason``, ``truncated`` by the cap, ``seconds``, ``first_text_seconds``, and
        ``attempts``, a dictionary for each request that was made; of a decision also its ``query``
        and what was predicted of the pair that answered. With ``stream=True`` returns a
        ``TextStream`` instead.

        Raises ``ServerConnectionError``, ``ServerTimeoutError``, ``ServerError`` and its kinds; the
        exception's ``completion`` has the partial response and all attempts.
        """
        return _answer(self._ask(query, model, budget, temperature, timeout, max_fallbacks), stream)

    async def agenerate(
        self,
        query: Conversation,
        model: str | Decision,
        budget: int | str | None = None,
        temperature: float = 0.7,
        *,
        stream: bool = False,
        timeout: float | None = None,
        max_fallbacks: int = 2,
    ) -> Any:
        """``generate`` for asyncio; with ``stream=True`` it returns an ``AsyncTextStream``."""
        work = self._ask(query, model, budget, temperature, timeout, max_fallbacks)
        return await _answer_async(work, stream)

    @overload
    def route_and_generate(
        self,
        query: str,
        lambda_val: float | None = None,
        temperature: float = 0.7,
        *,
        stream: Literal[False] = False,
        timeout: float | None = None,
        max_fallbacks: int = 2,
        **constraints: Unpack[Constraints],
    ) -> dict[str, Any]: ...

    @overload
    def route_and_generate(
        self,
        query: str,
        lambda_val: float | None = None,
        temperature: float = 0.7,
        *,
        stream: Literal[True],
        timeout: float | None = None,
        max_fallbacks: int = 2,
        **constraints: Unpack[Constraints],
    ) -> TextStream: ...

    def route_and_generate(
        self,
        query: str,
        lambda_val: float | None = None,
        temperature: float = 0.7,
        *,
        stream: bool = False,
        timeout: float | None = None,
        max_fallbacks: int = 2,
        **constraints: Unpack[Constraints],
    ) -> dict[str, Any] | TextStream:
        """Routes a query and asks the chosen model: ``generate`` of ``route_text``, whose
        constraints it takes. Models that are not available are left out, unless
        ``available_only=False``."""
        self._client()  # before embeddings are asked for in vain
        constraints.setdefault("available_only", True)  # what is asked must be there
        decision = self.route_text(query, lambda_val, **constraints)
        work = self._ask(query, decision, None, temperature, timeout, max_fallbacks)
        return _answer(work, stream)

    async def aroute_text(
        self,
        query: str | Sequence[str],
        lambda_val: float | None = None,
        *,
        input_tokens: int | None = None,
        **constraints: Unpack[Constraints],
    ) -> Any:
        """``route_text`` for asyncio: the event loop goes on while a server makes embeddings."""
        queries = _as_texts(query)
        if self._checkpoint.has_encoder or not queries:
            embeddings = self.embed(queries)
        else:
            embedder = self._embedder()
            embeddings = await run_async(lambda cancel: embedder.embed(queries, cancel))
        return self._route_embedded(
            query, queries, embeddings, lambda_val, input_tokens, constraints
        )

    async def aroute_and_generate(
        self,
        query: str,
        lambda_val: float | None = None,
        temperature: float = 0.7,
        *,
        stream: bool = False,
        timeout: float | None = None,
        max_fallbacks: int = 2,
        **constraints: Unpack[Constraints],
    ) -> Any:
        """``route_and_generate`` for asyncio; with ``stream=True`` it returns an
        ``AsyncTextStream``."""
        self._client()
        constraints.setdefault("available_only", True)
        decision = await self.aroute_text(query, lambda_val, **constraints)
        work = self._ask(query, decision, None, temperature, timeout, max_fallbacks)
        return await _answer_async(work, stream)

    def _client(self) -> _core.Client:
        if self.llm_api_base is None:
            raise RuntimeError(
                "no endpoint for answers is set: give llm_api_base (and llm_api_key), or call the "
                "model that route_text() chooses with a client of your own"
            )
        return self._servers.client(self.llm_api_base, self.llm_api_key)

    def _ask(
        self,
        query: Conversation,
        model: str | Decision,
        budget: int | str | None,
        temperature: float,
        timeout: float | None,
        max_fallbacks: int,
    ) -> StreamWork:
        """The call that ``generate`` is to make."""
        client, messages = self._client(), as_messages(query)
        if isinstance(model, Decision):
            decision = model
            if decision.choice is None:
                raise ValueError(
                    "the decision is a copy, which cannot be asked about: route the query again"
                )

            def ask_choice(cancel: _core.CancelSource, on_text: OnText | None) -> dict[str, Any]:
                completion = self._native.generate(
                    client,
                    messages,
                    decision.choice,
                    temperature,
                    timeout,
                    max_fallbacks,
                    on_text,
                    cancel,
                )
                return routed(query, decision, checked(completion))

            return ask_choice

        models = list(self._model_configs)
        if model not in models:
            raise ValueError(f"the model is {model!r}: expected one of {', '.join(models)}")

        def ask_pair(cancel: _core.CancelSource, on_text: OnText | None) -> dict[str, Any]:
            index = models.index(model)
            return checked(
                self._native.generate_pair(
                    client, messages, index, budget, temperature, timeout, on_text, cancel
                )
            )

        return ask_pair


def _answer(work: StreamWork, stream: bool) -> dict[str, Any] | TextStream:
    return TextStream(work) if stream else run(lambda cancel: work(cancel, None))


async def _answer_async(work: StreamWork, stream: bool) -> dict[str, Any] | AsyncTextStream:
    if stream:
        return AsyncTextStream(work)
    return await run_async(lambda cancel: work(cancel, None))


def _as_texts(texts: str | Sequence[str]) -> list[str]:
    if isinstance(texts, str):
        texts = [texts]
    if isinstance(texts, bytes) or not isinstance(texts, (Sequence, np.ndarray)):
        raise TypeError(
            f"the query is of the type {type(texts).__name__}: expected a string or a list of them"
        )
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(
                f"query {position} is of the type {type(text).__name__}: expected a string"
            )
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError(
                f"query {position} has half of a surrogate pair, which is no text: decode its "
                'bytes again, with errors="replace" if need be'
            ) from None
    return list(texts)
