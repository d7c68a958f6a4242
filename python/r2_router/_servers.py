"""The servers that a router calls, and the shape of what it asks and returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import _core
from ._decision import Decision
from ._errors import server_error_type

__all__ = ["Conversation", "Servers", "as_messages", "checked", "routed"]

#: A query, or a conversation that ends with it: ``[{"role": "user", "content": "..."}, ...]``.
Conversation = str | Sequence[Mapping[str, str]]


class Servers:
    """Connections to the servers of a router, made when first needed and then kept.

    A router's addresses can be set at any time: an object is made anew for each that is new.
    """

    def __init__(
        self,
        embed_model: str,
        dimension: int,
        embed_api_key: str | None,
        ca_file: str | None,
        timeout: float | None,
        cache_bytes: int,
    ) -> None:
        self.embed_model = embed_model
        self._dimension = dimension
        self._embed_api_key = embed_api_key
        self._ca_file = ca_file or ""
        self._timeout = timeout
        self._cache_bytes = cache_bytes
        self._embedder: tuple[str, _core.HttpEmbedder] | None = None
        self._client: tuple[tuple[str, str | None], _core.Client] | None = None

    def embedder(self, url: str) -> _core.HttpEmbedder:
        kept = self._embedder
        if kept is None or kept[0] != url:
            endpoint = self._endpoint(url, self._embed_api_key)
            embedder = _core.HttpEmbedder(
                endpoint, self.embed_model, self._dimension, self._cache_bytes
            )
            self._embedder = kept = (url, embedder)
        return kept[1]

    def client(self, base: str, key: str | None) -> _core.Client:
        if key is None:
            key = _core.api_key_from_environment()
        kept = self._client
        if kept is None or kept[0] != (base, key):
            self._client = kept = ((base, key), _core.Client(self._endpoint(base, key)))
        return kept[1]

    def _endpoint(self, url: str, key: str | None) -> _core.Endpoint:
        return _core.Endpoint(url, key, self._ca_file, self._timeout)

    def __getstate__(self) -> dict[str, Any]:
        # For pickle: connections stay behind.
        return self.__dict__ | {"_embedder": None, "_client": None}


def as_messages(query: Conversation) -> list[tuple[str, str]]:
    """Roles and contents of a conversation."""
    if isinstance(query, str):
        return [("user", query)]
    messages = []
    for position, message in enumerate(query):
        if not isinstance(message, Mapping) or not all(
            isinstance(message.get(field), str) for field in ("role", "content")
        ):
            raise TypeError(
                f"message {position} is {message!r}: expected a dictionary with the strings "
                '"role" and "content"'
            )
        messages.append((message["role"], message["content"]))
    return messages


def checked(completion: dict[str, Any]) -> dict[str, Any]:
    """The completion, if it is an answer; else an exception that carries it."""
    failure = completion.get("failure")
    if failure is None:
        return completion
    error = server_error_type(failure["error"])(failure["message"])
    error.completion = completion
    raise error


def routed(query: Conversation, decision: Decision, completion: dict[str, Any]) -> dict[str, Any]:
    """An answer with what was predicted of the pair that gave it, which after a fallback is not the
    decision's."""
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
