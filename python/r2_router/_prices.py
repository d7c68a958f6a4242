"""Synchronising the prices of a pool with a catalogue."""

from __future__ import annotations

import os

from . import _core
from ._errors import DataError
from ._reports import PriceChanges
from ._tables import Path, Pool, Tables, as_path
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
    large_changes: bool = False,
) -> PriceChanges:
    """Compares prices, limits, capabilities and availability of a pool with a catalogue.

    - ``pool``: a dictionary of models, or a JSON file. A model is looked up by its
      ``openrouter_id``
    - ``write``: update the file
    - ``large_changes``: also write if a price becomes more than ten times higher or lower. If
      False, such a change raises ``DataError``: check that the catalogue and the pool use the same
      units
    - ``base_url``: the server whose list of models is the catalogue
    - ``source``: another catalogue: a file or URL with such a list, or with prices in the format of
      model_prices_and_context_window.json
    - ``ignore``: components of prices that your calls are never charged for, such as
      ``"web_search"``
    - ``ca_file``: certificate authorities to trust instead of the system's

    Returns the ``changes``, the ``pool`` with them, and the models that are ``retiring`` within 30
    days or ``unlisted``. Prices that cannot be computed and models that retire are logged as
    warnings by ``r2_router``. Raises ``ConfigError`` for an invalid pool, ``DataError`` if the pool
    and the catalogue have no model in common, and ``ServerConnectionError`` or ``ServerError`` if
    the server fails.
    """
    if write and not isinstance(pool, (str, os.PathLike)):
        raise ValueError("write=True needs the path of a pool file: the pool is a dictionary")
    with Tables() as tables:
        path = tables.pool(pool)
        sync = _core.compare_prices(
            pool=path,
            base_url=base_url,
            source="" if source is None else as_path("source", source),
            ca_file=as_path("ca_file", ca_file),
            ignored=as_names("ignore", ignore),
            log=tables.log,
        )
        written = write and bool(sync.changes)
        if written and sync.large_changes and not large_changes:
            raise DataError(
                "these prices change more than tenfold, so nothing is written unless large_changes "
                "is True: " + "; ".join(sync.large_changes)
            )
        if written:
            _core.write_prices(path, sync)
    return PriceChanges(
        sync.before,
        sync.after,
        sync.changes,
        written,
        large_changes=sync.large_changes,
        retiring=sync.retiring,
        unlisted=sync.unlisted,
    )
