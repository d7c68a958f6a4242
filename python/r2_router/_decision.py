"""Decisions: real dictionaries whose long part is worked out when somebody looks at it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["Decision"]

Option = dict[str, Any]

_ALL_OPTIONS = "all_options"


class Decision(dict[str, Any]):
    """A router's answer for one query.

    Keys, in this order:

    - ``model``: name of the chosen model; ``openrouter_id``: what to call it at the endpoint
    - ``budget``: the most tokens that it may spend, an int, or ``"unlimited"``
    - ``predicted_quality`` (0 to 1), ``predicted_output_tokens``, ``predicted_cost_usd``
    - ``risk``: (1 - lambda) * quality - lambda * cost: the higher, the better
    - ``all_options``: a list of dictionaries with the keys above, one for each (model, budget)
      pair that could have been chosen, best first

    ``all_options`` costs nothing until it is looked at: by its key, by iterating, comparing,
    copying, printing or by ``json.dumps``. From then on this is an ordinary dictionary.
    """

    __slots__ = ("_details", "_rank", "choice", "input_tokens", "lambda_val", "model_configs")

    #: The trade-off that was decided with.
    lambda_val: float
    #: Length of the query that costs were computed with.
    input_tokens: int
    #: Prices and catalogue names of the router's models, as ``R2Router.model_configs``.
    model_configs: Mapping[str, Mapping[str, Any]]

    def __init__(
        self,
        values: Mapping[str, Any],
        lambda_val: float,
        input_tokens: int,
        model_configs: Mapping[str, Mapping[str, Any]],
        rank: Callable[[], list[Option]] | None = None,
        choice: Any = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """``rank`` computes ``all_options``; None: ``values`` is complete as it is. ``choice`` is
        what the native library made, for it to ask the chosen model."""
        dict.__init__(self, values)  # quicker than through super()
        self.lambda_val = lambda_val
        self.input_tokens = input_tokens
        self.model_configs = model_configs
        self._rank = rank
        self.choice = choice
        self._details = details

    @property
    def details(self) -> Mapping[str, Any]:
        """What is known of the choice beyond the published package's keys.

        - ``max_tokens``: the cap to send with the call; ``worst_case_cost_usd``: what an answer of
          that length costs, to the longest reading of the query
        - ``quality_spread``: standard deviation of the error of ``predicted_quality``, or None
        - ``reason``: what it won by: ``"risk"``, ``"usd"``, ``"cheapest"``, ``"best"``, or
          ``"quality_missed"``
        - ``constraint_met``: False if no pair has the quality that was asked for
        """
        if self._details is None:
            self._details = {} if self.choice is None else self.choice.details()
        return self._details

    def explain(self) -> dict[str, Any]:
        """How the decision came about.

        - ``reason``: what it won by, as in ``details``
        - ``runner_up``: the next best option, or None; ``margin``: how much more ``risk`` the
          chosen one has
        - ``win_probability``: the chance that the chosen one is the better of the two, or None
          where the checkpoint does not know how far predictions are off; ``confident``: 95 % or
          more
        - ``left_out``: for each constraint how many of the trained pairs do not meet it
        """
        if self.choice is None:
            raise RuntimeError(
                "this decision is a copy without its router: ask the one that was routed"
            )
        explanation: dict[str, Any] = self.choice.explain()
        return explanation

    @property
    def all_options(self) -> list[Option]:
        """Every pair that could have been chosen, best first."""
        options: list[Option] = self[_ALL_OPTIONS]
        return options

    def _complete(self) -> None:
        if self._rank is not None:
            super().__setitem__(_ALL_OPTIONS, self._rank())
            self._rank = None

    # Lookups of the other keys stay as cheap as a dictionary's: __missing__ is only called for a
    # key that is not there.
    def __missing__(self, key: object) -> Any:
        if key == _ALL_OPTIONS and self._rank is not None:
            self._complete()
            return super().__getitem__(_ALL_OPTIONS)
        raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        return super().__contains__(key) or (key == _ALL_OPTIONS and self._rank is not None)

    def __len__(self) -> int:
        return super().__len__() + (self._rank is not None)

    def get(self, key: str, default: Any = None) -> Any:
        try:
            return self[key]
        except KeyError:
            return default

    def __reduce__(self) -> tuple[Any, ...]:
        # For pickle and copy: the values, not the router that could compute them.
        arguments = (dict(self), self.lambda_val, self.input_tokens, self.model_configs)
        return type(self), (*arguments, None, None, dict(self.details))

    def _repr_html_(self) -> str:
        from ._html import decision_html

        return decision_html(self)


def _completing(name: str) -> Callable[..., Any]:
    """The method of dict with this name, with its operands completed first."""
    method = getattr(dict, name)

    @functools.wraps(method)
    def call(self: Decision, *args: Any, **kwargs: Any) -> Any:
        for decision in (self, *args):
            if isinstance(decision, Decision):
                decision._complete()
        return method(self, *args, **kwargs)

    return call


# Everything else that a dictionary does sees every key; writing comes after all_options, so that
# the order of the keys does not depend on when somebody looked. C code that copies dictionaries
# past their methods (dict(decision), **decision) asks a class with an __iter__ of its own for keys.
for _name in (
    *("__iter__", "__reversed__", "keys", "values", "items", "copy", "__repr__"),
    *("__eq__", "__ne__", "__or__", "__ror__", "__ior__"),
    *("__setitem__", "__delitem__", "setdefault", "update", "pop", "popitem", "clear"),
):
    setattr(Decision, _name, _completing(_name))
del _name
