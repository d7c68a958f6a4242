"""The router: the same calls and the same dictionaries as the published package's R2Router."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, overload

from . import _core
from ._calls import AsyncTextStream, TextStream
from ._decision import Decision
from ._keywords import takes
from ._options import Constraints
from ._request import AnswerKeywords, Request, RouteAndAnswerKeywords, make_request, split
from ._routing import Routing
from ._types import Answer, Budget, Conversation

if TYPE_CHECKING:  # typing has it from Python 3.11 on
    from typing_extensions import Unpack

__all__ = ["R2Router"]


class R2Router(Routing):
    """Chooses a model and a token budget for each query.

    Only ``lambda_val`` and the endpoints' addresses of a router can be changed. Every method may be
    called from many threads at once.

    Routing methods take the keywords of ``Constraints``, such as ``max_cost_usd`` and ``policy``:
    ``help(r2_router.Constraints)`` describes them.
    """

    @overload
    def generate(
        self,
        query: Conversation,
        model: str | Decision,
        budget: Budget | None = None,
        temperature: float | None = None,
        *,
        stream: Literal[False] = False,
        **keywords: Unpack[AnswerKeywords],
    ) -> Answer: ...

    @overload
    def generate(
        self,
        query: Conversation,
        model: str | Decision,
        budget: Budget | None = None,
        temperature: float | None = None,
        *,
        stream: Literal[True],
        **keywords: Unpack[AnswerKeywords],
    ) -> TextStream: ...

    @takes(AnswerKeywords, max_fallbacks=2)
    def generate(
        self,
        query: Conversation,
        model: str | Decision,
        budget: Budget | None = None,
        temperature: float | None = None,
        *,
        stream: bool = False,
        **keywords: Unpack[AnswerKeywords],
    ) -> Answer | TextStream:
        """Requests an answer from a model within a budget: a number of tokens, or ``"unlimited"``.

        A decision of this router can be passed instead of a model and a budget. If the decision's
        model fails in a way that may not affect another model, or returns no text, up to
        ``max_fallbacks`` other models are tried, best first. Requires ``llm_api_base``. The key is
        ``llm_api_key``, or else the environment variable OPENROUTER_API_KEY. ``timeout``: seconds
        for the whole call with its retries. ``temperature`` is sent only if it is given (the
        published package sends 0.7), and not to models that reject it. ``split_thinking``: text
        between ``<think>`` and ``</think>`` at the start of an answer becomes its ``reasoning``.

        Returns a dictionary with ``response``, the ``model`` that answered, its ``budget``, and
        further facts: ``usage`` (``prompt_tokens`` with the ``cached_tokens`` and
        ``cache_write_tokens`` among them, ``completion_tokens`` with the ``reasoning_tokens`` among
        them; None if the server does not report it), ``charged_usd`` (the server's own figure) and
        ``computed_usd`` (usage times price), ``served_model`` and whether that was ``redirected``,
        ``finish_reason``, ``truncated`` by the cap, ``reasoning`` and ``refusal`` (None if there is
        none), ``seconds``, ``first_text_seconds``, and ``attempts``, a dictionary for each request
        that was made; for a decision also its ``query`` and the predictions for the pair that
        answered. With ``stream=True`` returns a ``TextStream`` instead.

        Raises ``ServerConnectionError``, ``ServerTimeoutError``, ``ServerError`` and its kinds, of
        which ``NoAnswerError`` reports a refusal or another answer without text; the exception's
        ``completion`` has the partial response and all attempts.
        """
        return self._request(query, model, budget, temperature, keywords).wait(stream)

    @overload
    async def agenerate(
        self,
        query: Conversation,
        model: str | Decision,
        budget: Budget | None = None,
        temperature: float | None = None,
        *,
        stream: Literal[False] = False,
        **keywords: Unpack[AnswerKeywords],
    ) -> Answer: ...

    @overload
    async def agenerate(
        self,
        query: Conversation,
        model: str | Decision,
        budget: Budget | None = None,
        temperature: float | None = None,
        *,
        stream: Literal[True],
        **keywords: Unpack[AnswerKeywords],
    ) -> AsyncTextStream: ...

    @takes(AnswerKeywords, max_fallbacks=2)
    async def agenerate(
        self,
        query: Conversation,
        model: str | Decision,
        budget: Budget | None = None,
        temperature: float | None = None,
        *,
        stream: bool = False,
        **keywords: Unpack[AnswerKeywords],
    ) -> Answer | AsyncTextStream:
        """``generate`` for asyncio; with ``stream=True`` it returns an ``AsyncTextStream``."""
        request = self._request(query, model, budget, temperature, keywords)
        return await request.wait_async(stream)

    @overload
    def route_and_generate(
        self,
        query: str,
        lambda_val: float | None = None,
        temperature: float | None = None,
        *,
        stream: Literal[False] = False,
        **keywords: Unpack[RouteAndAnswerKeywords],
    ) -> Answer: ...

    @overload
    def route_and_generate(
        self,
        query: str,
        lambda_val: float | None = None,
        temperature: float | None = None,
        *,
        stream: Literal[True],
        **keywords: Unpack[RouteAndAnswerKeywords],
    ) -> TextStream: ...

    @takes(RouteAndAnswerKeywords, max_fallbacks=2)
    def route_and_generate(
        self,
        query: str,
        lambda_val: float | None = None,
        temperature: float | None = None,
        *,
        stream: bool = False,
        **keywords: Unpack[RouteAndAnswerKeywords],
    ) -> Answer | TextStream:
        """Calls ``generate`` with the decision of ``route_text``, whose constraints it accepts.

        Unavailable models are left out, unless ``available_only=False``.
        """
        constraints, settings = self._routing(keywords)
        decision = self.route_text(query, lambda_val, **constraints)
        return self._request(query, decision, None, temperature, settings).wait(stream)

    @overload
    async def aroute_and_generate(
        self,
        query: str,
        lambda_val: float | None = None,
        temperature: float | None = None,
        *,
        stream: Literal[False] = False,
        **keywords: Unpack[RouteAndAnswerKeywords],
    ) -> Answer: ...

    @overload
    async def aroute_and_generate(
        self,
        query: str,
        lambda_val: float | None = None,
        temperature: float | None = None,
        *,
        stream: Literal[True],
        **keywords: Unpack[RouteAndAnswerKeywords],
    ) -> AsyncTextStream: ...

    @takes(RouteAndAnswerKeywords, max_fallbacks=2)
    async def aroute_and_generate(
        self,
        query: str,
        lambda_val: float | None = None,
        temperature: float | None = None,
        *,
        stream: bool = False,
        **keywords: Unpack[RouteAndAnswerKeywords],
    ) -> Answer | AsyncTextStream:
        """``route_and_generate`` for asyncio; with ``stream=True`` it returns an
        ``AsyncTextStream``."""
        constraints, settings = self._routing(keywords)
        decision = await self.aroute_text(query, lambda_val, **constraints)
        request = self._request(query, decision, None, temperature, settings)
        return await request.wait_async(stream)

    def _routing(self, keywords: RouteAndAnswerKeywords) -> tuple[Constraints, AnswerKeywords]:
        """Returns a function that routes the query, and one that requests its answer."""
        self._client()  # fails before embeddings are made
        constraints, settings = split(keywords)
        constraints.setdefault("available_only", True)
        return constraints, settings

    def _client(self) -> _core.Client:
        if self.llm_api_base is None:
            raise RuntimeError(
                "no endpoint for answers is set: give llm_api_base (and llm_api_key), or call the "
                "model that route_text() chooses with a client of your own"
            )
        return self._servers.client(self.llm_api_base, self.llm_api_key)

    def _request(
        self,
        query: Conversation,
        model: str | Decision,
        budget: Budget | None,
        temperature: float | None,
        keywords: AnswerKeywords,
    ) -> Request:
        models = list(self._model_configs)
        return make_request(
            self._native, self._client(), models, query, model, budget, temperature, keywords
        )
