"""Exceptions for errors without a suitable built-in exception.

The message says what was found, what was expected and how to fix it. An exception also has the
attributes ``file``, ``line``, ``byte_offset`` and ``pointer`` (a JSON pointer) if they apply.

Calls to servers raise ``ServerConnectionError`` (a ``ConnectionError``) if there was no answer, and
``ServerError`` (a ``RuntimeError``) if the answer is a failure. Their attribute ``completion``
describes the call, as a dictionary with the partial ``response`` and all ``attempts``; it is None
if the call did not request a completion.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "AuthenticationError",
    "BudgetError",
    "CheckpointError",
    "ConfigError",
    "CreditError",
    "DataError",
    "NoAnswerError",
    "RateLimitError",
    "ServerConnectionError",
    "ServerError",
    "ServerTimeoutError",
    "UnsafeCheckpointError",
]


class CheckpointError(ValueError):
    """A checkpoint's files are truncated, corrupt, unsupported or contradict each other."""


class ConfigError(CheckpointError):
    """A checkpoint's config.json, or a pool, is readable but invalid."""


class UnsafeCheckpointError(CheckpointError):
    """A checkpoint attempts something that it may never do, such as running code."""


class DataError(ValueError):
    """Training queries or outcomes are invalid."""


class ServerConnectionError(ConnectionError):
    """A server could not be reached, was not trusted, or the connection to it broke."""

    completion: dict[str, Any] | None = None


class ServerTimeoutError(ServerConnectionError, TimeoutError):
    """A timeout or the deadline of a call to a server expired."""


class ServerError(RuntimeError):
    """A server answered with a failure, or with an invalid answer."""

    completion: dict[str, Any] | None = None


class RateLimitError(ServerError):
    """Too many requests to the server (HTTP 429)."""


class AuthenticationError(ServerError):
    """The server rejected the key (HTTP 401, 403)."""


class CreditError(ServerError):
    """The account cannot pay for the call (HTTP 402)."""


class BudgetError(ServerError):
    """Nothing fits the cost limit, or the budget was spent before an answer began."""


class NoAnswerError(ServerError):
    """The model returned no text: it refused, a filter withheld the answer, or it only reasoned.

    ``completion`` has ``refusal`` and ``reasoning``.
    """


_BY_CODE: dict[str, type[ServerError] | type[ServerConnectionError]] = {
    "connection": ServerConnectionError,
    "untrusted": ServerConnectionError,
    "timeout": ServerTimeoutError,
    "authentication": AuthenticationError,
    "credit": CreditError,
    "rate_limited": RateLimitError,
    "budget": BudgetError,
    "no_answer": NoAnswerError,
}


def server_error_type(code: str) -> type[ServerError] | type[ServerConnectionError]:
    """The exception for a failure, by its name in the native library."""
    return _BY_CODE.get(code, ServerError)
