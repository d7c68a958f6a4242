"""The package's logger."""

from __future__ import annotations

import logging

__all__ = ["logger"]

#: Receives diagnostics. The program decides whether they are shown.
logger = logging.getLogger("r2_router")
logger.addHandler(logging.NullHandler())
