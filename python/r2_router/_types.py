"""Types of arguments and results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol, TypedDict

__all__ = [
    "Answer",
    "Attempt",
    "Budget",
    "Conversation",
    "Details",
    "Encoder",
    "Explanation",
    "Option",
    "Strings",
    "Usage",
]

#: Token budget of an answer.
Budget = int | Literal["unlimited"]

#: A query, or a conversation that ends with it: ``[{"role": "user", "content": "..."}, ...]``.
Conversation = str | Sequence[Mapping[str, str]]

#: A function from N texts to an (N, d) array, or to what NumPy converts to one.
Encoder = Callable[[list[str]], Any]


class Strings(Protocol):
    """A collection of strings, such as a list, tuple or set.

    A string is also a collection of strings, and ``allow="a"`` is a common mistake. Its
    ``__contains__`` accepts only strings, so type checkers reject it here.
    """

    def __contains__(self, value: object, /) -> bool: ...

    def __iter__(self) -> Iterator[str]: ...

    def __len__(self) -> int: ...


class Option(TypedDict):
    """A (model, budget) pair with its predictions."""

    model: str
    #: The model's name at the endpoint.
    openrouter_id: str
    budget: Budget
    #: 0 to 1.
    predicted_quality: float
    predicted_output_tokens: float
    predicted_cost_usd: float
    #: (1 - lambda) * quality - lambda * cost: the higher, the better.
    risk: float


class Details(TypedDict):
    """Further facts about a choice, in addition to the published package's keys."""

    #: The cap to send with the call.
    max_tokens: int
    #: Cost of an answer of ``max_tokens``, with the upper bound of the query's tokens.
    worst_case_cost_usd: float
    #: Standard deviation of the error of ``predicted_quality``, if the checkpoint has it.
    quality_spread: float | None
    #: What was maximised.
    reason: Literal["risk", "usd", "cheapest", "best", "quality_missed"]
    #: False if no pair has the required quality.
    constraint_met: bool


class Explanation(TypedDict):
    """Explanation of a decision."""

    reason: Literal["risk", "usd", "cheapest", "best", "quality_missed"]
    #: The next best option.
    runner_up: Option | None
    #: By how much the chosen option's ``risk`` is higher.
    margin: float
    #: Probability that the chosen option is the better one of the two, if the checkpoint has
    #: prediction errors.
    win_probability: float | None
    #: ``win_probability`` is 0.95 or more.
    confident: bool
    #: For each constraint, the number of trained pairs that violate it.
    left_out: dict[str, int]
    #: The tasks that the encoder has recognised with their shares, the largest first; empty if it
    #: recognises none.
    tasks: dict[str, float]
    #: How similar the text is to the training texts of the tasks, from 0 to 1, if known.
    familiarity: float | None


class Usage(TypedDict):
    """Token usage of an answer; None if the server does not report it."""

    prompt_tokens: int | None
    completion_tokens: int | None
    #: Part of ``completion_tokens``.
    reasoning_tokens: int | None
    #: Part of ``prompt_tokens``.
    cached_tokens: int | None
    #: Part of ``prompt_tokens``.
    cache_write_tokens: int | None


class Attempt(TypedDict):
    """One request to a server."""

    model: str
    openrouter_id: str
    budget: Budget
    max_tokens: int
    http_status: int | None
    error: str | None
    message: str
    seconds: float
    cost_usd: float | None


class _Completion(TypedDict):
    response: str
    model: str
    openrouter_id: str
    budget: Budget
    usage: Usage
    #: As the server reports it.
    charged_usd: float | None
    #: Usage times price.
    computed_usd: float | None
    served_model: str | None
    #: ``served_model`` differs from the requested model.
    redirected: bool
    finish_reason: str | None
    #: The answer was cut off at the cap.
    truncated: bool
    #: None if the server sent none.
    reasoning: str | None
    #: Why the model did not answer; None if it did not refuse.
    refusal: str | None
    over_cap: bool
    empty_after_reasoning: bool
    first_text_seconds: float | None
    seconds: float
    attempts: list[Attempt]


class Answer(_Completion, total=False):
    """An answer, with all requests made for it."""

    # Of a routed query: the query and the predictions for the pair that answered.
    query: Any
    predicted_quality: float
    predicted_cost_usd: float
    risk: float
