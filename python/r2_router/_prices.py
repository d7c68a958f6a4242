"""Keeping the prices of a pool up to date."""

from __future__ import annotations

import os

from . import _core
from ._reports import PriceChanges
from ._routing import logger
from ._tables import Path, Pool, Tables
from ._texts import as_names
from ._types import Strings

__all__ = ["sync_prices"]


def sync_prices(
    pool: Pool,
    *,
    base_url: str = "https://openrouter.ai/api/v1",
    source: Path | None = None,
    ignore: Strings = (),
    ca_file: Path = "",
    write: bool = False,
) -> PriceChanges:
    """Compares the prices and the availability of a pool with a catalogue.

    ``pool``: a dictionary of models, or a JSON file, which is updated if ``write`` is set. A model
    is looked up by its ``openrouter_id``. The catalogue is the list of models of the server at
    ``base_url``, or ``source``: a file or URL with such a list, or with prices in the form of
    model_prices_and_context_window.json. ``ignore``: components of prices that your calls are never
    charged for, such as ``"web_search"``. ``ca_file``: certificate authorities to trust instead of
    the system's.

    Returns the ``changes`` and the ``pool`` with them. The logger ``r2_router`` gets a warning for
    a price that cannot be computed. Raises ``ConfigError`` for a bad pool, ``DataError`` if the
    pool and the catalogue have no model in common, and ``ServerConnectionError`` or
    ``ServerError`` if the server fails.
    """
    from_file = isinstance(pool, (str, os.PathLike))
    if write and not from_file:
        raise ValueError("write is set, but the pool is no file: use the returned pool")
    with Tables() as tables:
        path = tables.pool(pool)
        changes = _core.compare_prices(
            pool=path,
            base_url=base_url,
            source="" if source is None else os.fspath(source),
            ca_file=os.fspath(ca_file),
            ignored=as_names("ignore", ignore),
            log=lambda level, message: logger.log(level, tables.original(message)),
        )
        written = write and bool(changes.changes)
        if written:
            _core.write_prices(path, changes)
    return PriceChanges(changes.before, changes.after, changes.changes, written)
