"""Keywords of the routing methods; python/make_stubs.py writes this file."""

from __future__ import annotations

import os
from typing import Literal, TypedDict

from ._types import Strings

__all__ = ["Cap", "Constraints"]


class Cap(TypedDict, total=False):
    """From a budget to the cap (``max_tokens``) that is sent with the call.

    - ``margin``: Margin of a cap above its budget, as a fraction. Default: 0.2; 0 for a checkpoint
      of hard caps. [0 or more]
    - ``minimum``: Smallest cap that may be sent. Default: 16. [tokens, 1 or more]
    - ``unlimited``: Cap of an unlimited budget. Default: the 99th percentile of the predicted
      length, within the model's own limit. [tokens, 1 or more]
    """

    margin: float | None
    minimum: int | None
    unlimited: int | None


class Constraints(TypedDict, total=False):
    """Keywords of the routing methods; None is as good as absent.

    - ``objective``: What to optimise: ``lambda_val`` (risk), ``willingness_to_pay`` (usd), only
      cost (cheapest) or only quality (best). Default: usd with ``willingness_to_pay``, cheapest if
      only a quality is required, else risk.
    - ``willingness_to_pay``: Value of quality 1 over quality 0 for a query. Chooses the pair with
      the highest quality minus cost / USD. [USD, more than 0]
    - ``min_quality``: Minimum predicted quality. If no pair has it, the best one is returned. [from
      0 to 1]
    - ``quality_fraction``: Minimum predicted quality as a fraction of the query's best. If no pair
      has it, the best one is returned. [from 0 to 1]
    - ``risk_aversion``: Penalises uncertainty: subtracts this many standard deviations of its error
      from each predicted quality. [standard deviations, 0 or more]
    - ``max_cost_usd``: Maximum cost of a query in the worst case, with all retries. [USD, 0 or
      more]
    - ``max_output_tokens``: Maximum cap (max_tokens) sent with a call. [tokens, 1 or more]
    - ``max_latency_ms``: Maximum predicted time of an answer. Excludes models of unknown speed.
      [milliseconds, 0 or more]
    - ``allow``: Models to consider; * matches any characters and ? matches one.
    - ``deny``: Models to exclude, in the same form as ``allow``.
    - ``available_only``: Exclude models that are marked as unavailable. Default: released
      checkpoints include them, others do not.
    - ``continuous``: Also consider budgets between the trained ones, by linear interpolation.
    - ``monotone``: With ``continuous``: assume that a larger budget has at least the quality of a
      smaller one.
    - ``token_floor``: Minimum predicted length of an answer. [tokens, 0 or more]
    - ``rules``: reference decides like the published Python package; corrected fixes its rounding
      and ties. Default: the checkpoint's.
    - ``cap``: From a budget to the cap that is sent with the call: see ``Cap``.
    - ``images``: Images that are sent with the query, for models that charge for them. The model
      must read images.
    - ``requires``: What the query requires of a model: ``"tools"``, ``"images"``, ``"audio"``,
      ``"json_schema"`` or ``"reasoning"``. Models that are known to lack it are left out.
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
    requires: Strings | None
    policy: str | os.PathLike[str] | None
