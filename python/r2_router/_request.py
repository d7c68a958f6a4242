"""A call for an answer as an object. The methods of a router differ in how they wait for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypedDict, cast

from . import _core
from ._calls import AsyncTextStream, OnText, TextStream, run, run_async
from ._decision import Decision
from ._errors import server_error_type
from ._keywords import check_names, check_number
from ._options import Constraints
from ._texts import as_messages
from ._types import Answer, Budget, Conversation

__all__ = ["AnswerKeywords", "Request", "RouteAndAnswerKeywords", "make_request", "split"]


class AnswerKeywords(TypedDict, total=False):
    """Keywords of the methods that request an answer."""

    #: Seconds for the whole call with its retries and fallbacks.
    timeout: float | None
    #: Maximum number of other models to try if the chosen one fails.
    max_fallbacks: int
    #: Text between ``<think>`` and ``</think>`` at the start of an answer becomes its reasoning.
    split_thinking: bool


class RouteAndAnswerKeywords(Constraints, AnswerKeywords, total=False):
    """Keywords that choose the pair and request its answer."""


def split(keywords: RouteAndAnswerKeywords) -> tuple[Constraints, AnswerKeywords]:
    """The two groups that the keywords consist of."""
    check_names(keywords, RouteAndAnswerKeywords)
    answer = {
        key: value for key, value in keywords.items() if key in AnswerKeywords.__annotations__
    }
    route = {key: value for key, value in keywords.items() if key not in answer}
    return cast(Constraints, route), cast(AnswerKeywords, answer)


#: The native call. Its arguments are its cancellation and a callback for pieces of the text.
Call = Callable[[_core.CancelSource, OnText | None], dict[str, Any]]


@dataclass(frozen=True)
class Request:
    """A call that is ready to be made."""

    query: Conversation
    #: None: the caller named the pair, and there are no predictions to report.
    decision: Decision | None
    call: Call

    def wait(self, stream: bool) -> Answer | TextStream:
        """The answer, or with ``stream`` its pieces as they arrive."""
        if stream:
            return TextStream(self)
        return cast(Answer, run(lambda cancel: self(cancel, None)))

    async def wait_async(self, stream: bool) -> Answer | AsyncTextStream:
        """``wait`` for asyncio."""
        if stream:
            return AsyncTextStream(self)
        return cast(Answer, await run_async(lambda cancel: self(cancel, None)))

    def __call__(self, cancel: _core.CancelSource, on_text: OnText | None) -> dict[str, Any]:
        """Makes the call on this thread."""
        completion = self.call(cancel, on_text)
        failure = completion.get("failure")
        if failure is not None:
            error = server_error_type(failure["error"])(failure["message"])
            error.completion = completion
            raise error
        if self.decision is not None:
            completion = _routed(self.query, self.decision, completion)
        return completion


def make_request(
    native: _core.Router,
    client: _core.Client,
    models: list[str],
    query: Conversation,
    model: str | Decision,
    budget: Budget | None,
    temperature: float | None,
    keywords: AnswerKeywords,
) -> Request:
    """Checks the arguments. ``model``: a decision of the router, or one of its ``models``."""
    check_names(keywords, AnswerKeywords)
    messages = as_messages(query)
    timeout, max_fallbacks = keywords.get("timeout"), keywords.get("max_fallbacks", 2)
    split_thinking = keywords.get("split_thinking", False)
    if temperature is not None:
        check_number("temperature", temperature, "a number, 0 or more")
    if timeout is not None:
        check_number("timeout", timeout, "a number of seconds, or None")
    check_number("max_fallbacks", max_fallbacks, "a whole number, 0 or more", whole=True)
    if not isinstance(split_thinking, bool):
        raise TypeError(f"split_thinking is {split_thinking!r}: expected True or False")

    if isinstance(model, Decision):
        if budget is not None:
            raise ValueError(
                f"a decision and the budget {budget!r} are given: expected a decision, or the name "
                "of a model and a budget"
            )
        choice = model.choice
        if choice is None:
            raise ValueError(
                "the decision was unpickled without its router: route the query again, or give its "
                'model and budget, generate(query, decision["model"], decision["budget"])'
            )
        return Request(
            query,
            model,
            lambda cancel, on_text: native.generate(
                client,
                messages,
                choice,
                temperature,
                timeout,
                max_fallbacks,
                split_thinking,
                on_text,
                cancel,
            ),
        )
    if model not in models:
        raise ValueError(
            f"the model is {model!r}: expected one of {', '.join(models)}, or a decision"
        )
    index = models.index(model)
    return Request(
        query,
        None,
        lambda cancel, on_text: native.generate_pair(
            client, messages, index, budget, temperature, timeout, split_thinking, on_text, cancel
        ),
    )


def _routed(query: Conversation, decision: Decision, completion: dict[str, Any]) -> dict[str, Any]:
    """An answer with the predictions for the pair that gave it, which may be a fallback."""
    predicted: Mapping[str, Any] = decision
    asked = (completion["model"], completion["budget"])
    if asked != (decision["model"], decision["budget"]):
        predicted = next(
            option
            for option in decision.all_options
            if (option["model"], option["budget"]) == asked
        )
    first = {"query": query, "response": completion["response"]}
    keys = ("model", "openrouter_id", "budget", "predicted_quality", "predicted_cost_usd", "risk")
    return first | {key: predicted[key] for key in keys} | completion
