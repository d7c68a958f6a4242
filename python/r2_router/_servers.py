"""The servers that a router calls."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypedDict

from . import _core
from ._keywords import check_names, check_number

if TYPE_CHECKING:  # typing has it from Python 3.11 on
    from typing_extensions import Unpack

__all__ = ["ServerKeywords", "Servers"]


class ServerKeywords(TypedDict, total=False):
    """Options for calls to a router's servers."""

    #: The embedding model's name at the server; by default the checkpoint's name for it.
    embed_model: str | None
    embed_api_key: str | None
    #: PEM file of certificate authorities that replace the system's.
    ca_file: str | os.PathLike[str] | None
    #: Timeout of a call in seconds, including retries.
    timeout: float | None
    #: Bytes of the cache for embeddings from the server; 0: no cache.
    cache_bytes: int


class Servers:
    """Connections to a router's servers, which are opened on first use and reused.

    A router's addresses can change at any time: a new address gets a new object.
    """

    def __init__(self, trained_on: str, dimension: int, **keywords: Unpack[ServerKeywords]) -> None:
        """``trained_on``: the checkpoint's name for the embedding model."""
        check_names(keywords, ServerKeywords)
        for name in ("embed_model", "embed_api_key"):
            _check_text(name, keywords.get(name))
        self.embed_model = keywords.get("embed_model") or trained_on
        self._dimension = dimension
        self._embed_api_key = keywords.get("embed_api_key")
        self._ca_file = os.fspath(keywords.get("ca_file") or "")
        self._timeout = keywords.get("timeout")
        if self._timeout is not None:
            check_number("timeout", self._timeout, "a number of seconds, or None")
        self._cache_bytes = keywords.get("cache_bytes", 0)
        check_number("cache_bytes", self._cache_bytes, "a number of bytes, 0 or more", whole=True)
        self._encoder: tuple[str, _core.HttpEncoder] | None = None
        self._client: tuple[tuple[str, str | None], _core.Client] | None = None

    def encoder(self, url: str) -> _core.HttpEncoder:
        kept = self._encoder
        if kept is None or kept[0] != url:
            _check_text("embed_url", url)
            endpoint = self._endpoint(url, self._embed_api_key)
            encoder = _core.HttpEncoder(
                endpoint, self.embed_model, self._dimension, self._cache_bytes
            )
            self._encoder = kept = (url, encoder)
        return kept[1]

    def client(self, base: str, key: str | None) -> _core.Client:
        _check_text("llm_api_base", base)
        _check_text("llm_api_key", key)
        if key is None:
            key = _core.api_key_from_environment()
        kept = self._client
        if kept is None or kept[0] != (base, key):
            self._client = kept = ((base, key), _core.Client(self._endpoint(base, key)))
        return kept[1]

    def _endpoint(self, url: str, key: str | None) -> _core.Endpoint:
        return _core.Endpoint(url, key, self._ca_file, self._timeout)

    def __getstate__(self) -> dict[str, Any]:
        # For pickle: without connections.
        return self.__dict__ | {"_encoder": None, "_client": None}


def _check_text(name: str, value: Any) -> None:
    if value is not None and not isinstance(value, str):  # not shown: it may be a key
        raise TypeError(f"{name} is of the type {type(value).__name__}: expected a string")
