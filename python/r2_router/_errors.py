"""Exceptions for what no built-in one describes; everything else raises the built-in ones.

The message says what was found, what was expected and how to mend it. Where they apply, an
exception also has the attributes ``file``, ``line``, ``byte_offset`` and ``pointer`` (a JSON
pointer).
"""

from __future__ import annotations

__all__ = ["CheckpointError", "ConfigError", "DataError", "UnsafeCheckpointError"]


class CheckpointError(ValueError):
    """A checkpoint's files are truncated, corrupt, unsupported or contradict each other."""


class ConfigError(CheckpointError):
    """A checkpoint's config.json, or a pool, is readable but wrong."""


class UnsafeCheckpointError(CheckpointError):
    """A checkpoint asks for something that it may never do, such as running code."""


class DataError(ValueError):
    """Queries or outcomes to train on are wrong."""
