"""Exceptions for what no built-in one describes; everything else raises the built-in ones.

The message says what was found, what was expected and how to mend it. Where they apply, an
exception also has the attributes ``file``, ``line``, ``byte_offset`` and ``pointer`` (a JSON
pointer).

Calls to servers raise ``ServerConnectionError`` (a ``ConnectionError``) where no answer came, and
``ServerError`` (a ``RuntimeError``) where one came that is a failure. Their attribute
``completion`` is what is known of the call, as a dictionary with the partial ``response`` and all
``attempts``, or None where the call was not for an answer.
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
    """A checkpoint's config.json, or a pool, is readable but wrong."""


class UnsafeCheckpointError(CheckpointError):
    """A checkpoint asks for something that it may never do, such as running code."""


class DataError(ValueError):
    """Queries or outcomes to train on are wrong."""


class ServerConnectionError(ConnectionError):
    """A server could not be reached, was not trusted, or the connection to it broke."""

    completion: dict[str, Any] | None = None


class ServerTimeoutError(ServerConnectionError, TimeoutError):
    """A time limit or the deadline of a call to a server passed."""


class ServerError(RuntimeError):
    """A server answered with a failure, or with something that is no answer."""

    completion: dict[str, Any] | None = None


class RateLimitError(ServerError):
    """The server was asked too often (HTTP 429)."""


class AuthenticationError(ServerError):
    """The server refused the key (HTTP 401, 403)."""


class CreditError(ServerError):
    """The account cannot pay for the call (HTTP 402)."""


class BudgetError(ServerError):
    """Nothing fits the cost limit, or the budget was spent before an answer began."""


class NoAnswerError(ServerError):
    """The model gave no text: it refused, a filter withheld it, or it only reasoned.

    ``completion`` has its ``refusal`` and its ``reasoning``.
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
    """The exception for a failure, by the name that the native library gives it."""
    return _BY_CODE.get(code, ServerError)
