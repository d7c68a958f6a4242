"""Keywords of the routing methods; python/make_stubs.py writes this file."""

from __future__ import annotations

import os
from typing import Literal, TypedDict

from ._types import Strings

__all__ = ["Cap", "Constraints"]


class Cap(TypedDict, total=False):
    """From a budget to the cap (``max_tokens``) that is sent with the call.

    - ``margin``: Share of a budget that its cap leaves above it. Default: 0.2; 0 for a checkpoint
      of hard caps. [0 or more]
    - ``minimum``: Smallest cap that may be sent. Default: 16. [tokens, 1 or more]
    - ``unlimited``: Cap of an unlimited budget. Default: 8192. [tokens, 1 or more]
    """

    margin: float | None
    minimum: int | None
    unlimited: int | None


class Constraints(TypedDict, total=False):
    """Keywords of the routing methods; None is as good as absent.

    - ``objective``: What to choose the best by: ``lambda_val`` (risk), ``willingness_to_pay``
      (usd), cost alone (cheapest) or quality alone (best). Default: usd with
      ``willingness_to_pay``, cheapest if only a quality is asked for, else risk.
    - ``willingness_to_pay``: What quality 1 instead of 0 is worth for a query. The pair with the
      highest quality minus cost / USD is chosen. [USD, more than 0]
    - ``min_quality``: Least predicted quality. If no pair has it, the best one is returned. [from 0
      to 1]
    - ``quality_fraction``: Least share of the best predicted quality for the query. If no pair has
      it, the best one is returned. [from 0 to 1]
    - ``risk_aversion``: Penalises uncertainty: subtracts this many standard deviations of its error
      from each predicted quality. [standard deviations, 0 or more]
    - ``max_cost_usd``: Most that a query can cost, however long the answer, with all retries. [USD,
      0 or more]
    - ``max_output_tokens``: Largest cap (max_tokens) that may be sent with a call. [tokens, 1 or
      more]
    - ``max_latency_ms``: Longest predicted time of an answer, for models whose speed the config
      gives. [milliseconds, 0 or more]
    - ``allow``: Names of the only models to consider; * and ? stand for any characters and for one.
    - ``deny``: Names of models to leave out, likewise.
    - ``available_only``: Leave out models that are marked as unavailable. Default: released
      checkpoints consider them, others do not.
    - ``continuous``: Consider budgets between the trained ones too, by linear interpolation.
    - ``monotone``: With ``continuous``: count on a larger budget for at least the quality of a
      smaller one.
    - ``token_floor``: Least number of tokens that an answer is assumed to take. [tokens, 0 or more]
    - ``rules``: reference decides as the published Python package does; corrected fixes its
      rounding and its ties. Default: the checkpoint's.
    - ``cap``: From a budget to the cap that is sent with the call: see ``Cap``.
    - ``images``: Images that are sent with the query, for models that charge for them.
    - ``policy``: A policy file, as ``r2-router calibrate`` writes it, or the name of one in the
      checkpoint's folder. The other keywords override what it sets.
    """

    objective: Literal["risk", "usd", "cheapest", "best"] | None
    willingness_to_pay: float | None
    min_quality: float | None
    quality_fraction: float | None
    risk_aversion: float | None
    max_cost_usd: float | None
    max_output_tokens: int | None
    max_latency_ms: float | None
    allow: Strings | None
    deny: Strings | None
    available_only: bool | None
    continuous: bool | None
    monotone: bool | None
    token_floor: float | None
    rules: Literal["reference", "corrected"] | None
    cap: Cap | None
    images: int | None
    policy: str | os.PathLike[str] | None
