"""The router: the same calls and the same dictionaries as the published package's R2Router."""

from __future__ import annotations

import functools
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from . import _core
from ._arrays import Floats, as_embedding, as_embeddings, as_input_tokens
from ._batch import RouteBatch
from ._decision import Decision
from ._frozen import FrozenDict, freeze
from ._hub import checkpoint_folder
from ._predictors import checkpoint_of, predictors_of

__all__ = ["TOKEN_LIMITS", "QualityCurve", "R2Router"]

logger = logging.getLogger("r2_router")

#: The limited budgets of the published checkpoints.
TOKEN_LIMITS = [10, 20, 30, 40, 50, 80, 100, 150, 200, 300, 500, 800, 1200, 2000, 4000]

#: The trade-off and the embedding model of the published checkpoints.
_LAMBDA = 0.99999
_EMBEDDING_MODEL = "Qwen/Qwen3-0.6B"

_INPUT_TOKENS = 100


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

    The constraints that routing methods take:

    - ``allow``, ``deny``: names of the only models to consider, and of models to leave out
    - ``available_only``: leave out models that are not available (None: published checkpoints
      consider them, the package's own do not)
    - ``token_floor``: least number of tokens that any answer is assumed to take
    """

    lambda_val: float
    embed_url: str | None
    llm_api_base: str | None
    llm_api_key: str | None
    _model_configs: FrozenDict[str, Any]
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
    ) -> None:
        """A router from regressors that are there already.

        ``predictors``: by model, in the order that settles ties, ``{"limited": {"10_score": ...},
        "unlimited_score": ..., "unlimited_token": ...}``, each any object with ``coef_`` and
        ``intercept_``. ``model_configs``: by model ``{"openrouter_id": ...,
        "input_price_per_million": ..., "output_price_per_million": ...}``.
        """
        checkpoint = checkpoint_of(predictors, model_configs, _EMBEDDING_MODEL)
        self._set_up(checkpoint, lambda_val, embed_url, llm_api_base, llm_api_key)
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
    ) -> Self:
        """A router from a checkpoint: a folder in either layout, else a Hugging Face repository.

        ``path=None`` is the default checkpoint, which routes text without any server.
        ``lambda_val=None`` takes the checkpoint's. ``verbose`` says on standard error what was
        loaded. Files are never executed, whatever is in them.
        """
        folder = checkpoint_folder(path)
        checkpoint = _core.Checkpoint.load(folder, logger.log)
        router = cls.__new__(cls)
        if lambda_val is None:
            lambda_val = checkpoint.default_lambda
        router._set_up(checkpoint, lambda_val, embed_url, llm_api_base, llm_api_key)
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
        _options(lambda_val)
        if not 0 <= lambda_val <= 1:
            raise ValueError(
                f"lambda_val is {lambda_val}: expected 0 (quality alone) to 1 (cost alone)"
            )
        self.lambda_val = lambda_val
        self.embed_url = embed_url
        self.llm_api_base = llm_api_base
        self.llm_api_key = llm_api_key

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

        A loaded checkpoint's are objects with ``coef_``, ``intercept_`` and ``predict``.
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

        Raises ``RuntimeError`` where the checkpoint has no encoder of its own. To bring one, derive
        a class from R2Router and override this method: ``route_text`` calls it.
        """
        queries = _as_texts(texts)
        if not queries:
            return np.empty((0, self._dimension), np.float32)
        if self._checkpoint.has_encoder:
            return self._native.embed(queries)
        model = self._checkpoint.embedding_model
        if self.embed_url is None:
            raise RuntimeError(
                f"this checkpoint needs embeddings of {model}, and no server for them is set: give "
                "embed_url, pass embeddings to route(), or use the default checkpoint, which "
                "needs none (R2Router.from_pretrained())"
            )
        raise RuntimeError(
            f"this version does not call embedding servers: fetch embeddings of {model} from "
            f"{self.embed_url} yourself and pass them to route()"
        )

    def route(
        self,
        embedding: Any,
        lambda_val: float | None = None,
        input_tokens: int = _INPUT_TOKENS,
        *,
        allow: Sequence[str] | None = None,
        deny: Sequence[str] | None = None,
        available_only: bool | None = None,
        token_floor: float | None = None,
    ) -> Decision:
        """The choice for one embedding of shape (d,).

        ``lambda_val`` weighs cost (USD) against quality: 0 looks at quality alone, 1 at cost alone;
        None is the router's. Predictions are made in float64 whatever the array's type.
        """
        options = _options(
            self.lambda_val if lambda_val is None else lambda_val,
            input_tokens,
            allow,
            deny,
            available_only,
            token_floor,
        )
        choice = self._native.route(as_embedding(embedding, self._dimension), options)
        return Decision(
            choice.values(),
            choice.lambda_val,
            choice.input_tokens,
            self._model_configs,
            choice.rank,
        )

    @overload
    def route_text(
        self,
        query: str,
        lambda_val: float | None = None,
        *,
        input_tokens: int | None = None,
        allow: Sequence[str] | None = None,
        deny: Sequence[str] | None = None,
        available_only: bool | None = None,
        token_floor: float | None = None,
    ) -> Decision: ...

    @overload
    def route_text(
        self,
        query: list[str] | tuple[str, ...],
        lambda_val: float | None = None,
        *,
        input_tokens: int | None = None,
        allow: Sequence[str] | None = None,
        deny: Sequence[str] | None = None,
        available_only: bool | None = None,
        token_floor: float | None = None,
    ) -> list[Decision]: ...

    def route_text(
        self,
        query: str | Sequence[str],
        lambda_val: float | None = None,
        *,
        input_tokens: int | None = None,
        allow: Sequence[str] | None = None,
        deny: Sequence[str] | None = None,
        available_only: bool | None = None,
        token_floor: float | None = None,
    ) -> Decision | list[Decision]:
        """The choice for a query, or a list of choices for a list of queries.

        ``input_tokens=None`` estimates each query's length from its words.
        """
        queries = _as_texts(query)
        decisions = [
            self.route(
                embedding,
                lambda_val,
                _core.estimate_input_tokens(text) if input_tokens is None else input_tokens,
                allow=allow,
                deny=deny,
                available_only=available_only,
                token_floor=token_floor,
            )
            for text, embedding in zip(queries, self.embed(queries), strict=True)
        ]
        return decisions[0] if isinstance(query, str) else decisions

    def route_batch(
        self,
        embeddings: Any,
        lambda_val: float | None = None,
        input_tokens: Any = _INPUT_TOKENS,
        *,
        allow: Sequence[str] | None = None,
        deny: Sequence[str] | None = None,
        available_only: bool | None = None,
        token_floor: float | None = None,
    ) -> RouteBatch:
        """The choices for the rows of an (N, d) array: the same as ``route`` makes, much faster.

        ``input_tokens``: an int for all rows, or one for each.
        """
        rows = as_embeddings(embeddings, self._dimension)
        for_all = np.ndim(input_tokens) == 0
        options = _options(
            self.lambda_val if lambda_val is None else lambda_val,
            input_tokens if for_all else _INPUT_TOKENS,
            allow,
            deny,
            available_only,
            token_floor,
        )
        for_each = as_input_tokens([] if for_all else input_tokens, 0 if for_all else len(rows))
        return RouteBatch(
            tuple(self._model_configs),
            tuple(config.get("openrouter_id") or "" for config in self._model_configs.values()),
            self._native.route_batch(rows, options, for_each),
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
        tokens = _INPUT_TOKENS if input_tokens is None else input_tokens
        _options(self.lambda_val, tokens)
        models = list(self._model_configs)
        curves = self._native.quality_curves(embedding, tokens)
        return {
            models[model]: QualityCurve(budget, quality, output_tokens, cost_usd)
            for model, budget, quality, output_tokens, cost_usd in curves
        }

    def generate(
        self, query: str, model: str, budget: int | str, temperature: float = 0.7
    ) -> dict[str, Any]:
        """Asks a model for an answer within a budget. Not in this version: raises RuntimeError."""
        raise RuntimeError(self._no_endpoint())

    def route_and_generate(
        self, query: str, lambda_val: float | None = None, temperature: float = 0.7
    ) -> dict[str, Any]:
        """Routes a query and asks the chosen model. Not in this version: raises RuntimeError."""
        raise RuntimeError(self._no_endpoint())

    def _no_endpoint(self) -> str:
        if self.llm_api_base is None:
            return (
                "no endpoint for answers is set: give llm_api_base (and llm_api_key), or call the "
                "model that route_text() chooses with a client of your own"
            )
        return (
            "this version does not call models: call the one that route_text() chooses with a "
            f"client of your own at {self.llm_api_base}"
        )


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


@functools.lru_cache(maxsize=256)
def _usual_options(lambda_val: float, input_tokens: int) -> _core.RouteOptions:
    """Options never change, so that calls which set the same can share them."""
    return _core.RouteOptions(lambda_val, input_tokens)


def _options(
    lambda_val: float,
    input_tokens: int = _INPUT_TOKENS,
    allow: Sequence[str] | None = None,
    deny: Sequence[str] | None = None,
    available_only: bool | None = None,
    token_floor: float | None = None,
) -> _core.RouteOptions:
    """The options for the native library, or a TypeError that names the wrong one."""
    if allow is None and deny is None and available_only is None and token_floor is None:
        try:
            return _usual_options(lambda_val, input_tokens)
        except TypeError:
            pass
    if allow is not None and len(allow) == 0:
        raise ValueError("allow is empty, which leaves no model to choose: None admits all")
    if isinstance(allow, str) or isinstance(deny, str):
        name, value = ("allow", allow) if isinstance(allow, str) else ("deny", deny)
        raise TypeError(f"{name} is {value!r}: expected a list of names, such as [{value!r}]")
    try:
        return _core.RouteOptions(
            lambda_val, input_tokens, allow or (), deny or (), available_only, token_floor
        )
    except TypeError:
        pass
    expected: dict[str, tuple[Any, str]] = {
        "lambda_val": (lambda_val, "a number from 0 (quality alone) to 1 (cost alone)"),
        "input_tokens": (input_tokens, "a whole number, 0 or more"),
        "allow": (allow, "a list of names of models"),
        "deny": (deny, "a list of names of models"),
        "available_only": (available_only, "True, False or None"),
        "token_floor": (token_floor, "a number, 0 or more"),
    }
    for name, (value, description) in expected.items():
        try:
            _core.RouteOptions(**{name: value})
        except TypeError:
            if value is not None:
                raise TypeError(f"{name} is {value!r}: expected {description}") from None
    raise AssertionError("unreachable")
