"""Decisions: dictionaries whose list of options is computed on first use."""

from __future__ import annotations

import copy
import functools
import reprlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, cast, overload

from ._types import Budget, Details, Explanation, Option
from ._views import budget_phrase, dollars

__all__ = ["Decision"]

_ALL_OPTIONS = "all_options"
#: Longer lists of options are abbreviated in a decision's representation.
_SHOWN_OPTIONS = 3


_FloatKey = Literal["predicted_quality", "predicted_output_tokens", "predicted_cost_usd", "risk"]


class _Count:
    """Replaces a long list of options in a representation."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __repr__(self) -> str:
        return f"[{self._count} options]"


class Decision(dict[str, Any]):
    """A router's answer for one query.

    Keys, in this order:

    - ``model``: name of the chosen model; ``openrouter_id``: its name at the endpoint
    - ``budget``: its token budget, an int, or ``"unlimited"``
    - ``predicted_quality`` (0 to 1), ``predicted_output_tokens``, ``predicted_cost_usd``
    - ``risk``: (1 - lambda) * quality - lambda * cost: the higher, the better
    - ``all_options``: a list of dictionaries with the keys above, one for each (model, budget)
      pair that could have been chosen, best first

    ``all_options`` is computed on first use: by its key, by iterating, comparing or copying, or by
    ``json.dumps``. After that this is an ordinary dictionary. ``print`` shows the choice in one
    line.
    """

    __slots__ = ("_details", "_rank", "choice", "input_tokens", "lambda_val", "model_configs")

    #: The trade-off of the decision.
    lambda_val: float
    #: Query length used for the costs.
    input_tokens: int
    #: Prices and catalogue names of the router's models, as ``R2Router.model_configs``.
    model_configs: Mapping[str, Mapping[str, Any]]

    def __init__(
        self,
        values: Mapping[str, Any],
        lambda_val: float,
        input_tokens: int,
        model_configs: Mapping[str, Mapping[str, Any]],
        rank: Callable[[], list[Any]] | None = None,
        choice: Any = None,
        details: Details | None = None,
    ) -> None:
        """``rank`` computes ``all_options``; None: ``values`` is complete. ``choice`` is the native
        object, needed to call the chosen model."""
        dict.__init__(self, values)  # faster than super()
        self.lambda_val = lambda_val
        self.input_tokens = input_tokens
        self.model_configs = model_configs
        self._rank = rank
        self.choice = choice
        self._details = details

    @property
    def details(self) -> Details:
        """Further facts about the choice, in addition to the published package's keys.

        - ``max_tokens``: the cap to send with the call; ``worst_case_cost_usd``: the maximum cost
          of a call with that cap, with the upper bound of the query's tokens; None if the model's
          price is unknown
        - ``quality_spread``: standard deviation of the error of ``predicted_quality``, or None
        - ``reason``: what was maximised: ``"risk"``, ``"usd"``, ``"cheapest"``, ``"best"``, or
          ``"quality_missed"``
        - ``constraint_met``: False if no pair has the required quality
        """
        if self._details is None:
            details = {} if self.choice is None else self.choice.details()
            self._details = cast(Details, details)
        return self._details

    def explain(self) -> Explanation:
        """Explains the decision.

        - ``reason``: what was maximised, as in ``details``
        - ``runner_up``: the next best option, or None; ``margin``: by how much the chosen one's
          ``risk`` is higher
        - ``win_probability``: the probability that the chosen one is the better of the two, or None
          if the checkpoint has no prediction errors;
          ``confident``: 95 % or more
        - ``left_out``: for each constraint, the number of trained pairs that violate it
        - ``tasks``: the tasks that the encoder has recognised with their shares, the largest first;
          ``familiarity``: how similar the text is to the training texts of the tasks, or None
        """
        if self.choice is None:
            raise RuntimeError(
                "this decision was unpickled without its router: explain it before pickling, or "
                "route the query again"
            )
        return cast(Explanation, self.choice.explain())

    @property
    def all_options(self) -> list[Option]:
        """Every pair that could have been chosen, best first."""
        options: list[Option] = self[_ALL_OPTIONS]
        return options

    def _complete(self) -> None:
        rank = self._rank  # another thread may also compute it
        if rank is not None:
            super().__setitem__(_ALL_OPTIONS, rank())
            self._rank = None

    # Looking up other keys is as cheap as in a dictionary: __missing__ is only called for missing
    # keys.
    def __missing__(self, key: object) -> Any:
        if key == _ALL_OPTIONS and self._rank is not None:
            self._complete()
            return super().__getitem__(_ALL_OPTIONS)
        raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        return super().__contains__(key) or (key == _ALL_OPTIONS and self._rank is not None)

    def __len__(self) -> int:
        return super().__len__() + (self._rank is not None)

    def get(self, key: str, default: Any = None, /) -> Any:
        try:
            return self[key]
        except KeyError:
            return default

    if TYPE_CHECKING:  # the type of each key

        @overload
        def __getitem__(self, key: Literal["model", "openrouter_id"], /) -> str: ...
        @overload
        def __getitem__(self, key: Literal["budget"], /) -> Budget: ...
        @overload
        def __getitem__(self, key: _FloatKey, /) -> float: ...
        @overload
        def __getitem__(self, key: Literal["all_options"], /) -> list[Option]: ...
        @overload
        def __getitem__(self, key: str, /) -> Any: ...
        def __getitem__(self, key: str, /) -> Any: ...

    def __str__(self) -> str:
        """The choice in one line."""
        try:
            name = self["model"]
            return (
                f"{name if name.isprintable() else ascii(name)}, {budget_phrase(self)}: quality "
                f"{self['predicted_quality']:.3f}, {self['predicted_output_tokens']:,.0f} output "
                f"tokens, {dollars(self['predicted_cost_usd'])} (predicted)"
            )
        except (AttributeError, KeyError, TypeError, ValueError):  # the keys were changed
            return repr(self)

    @reprlib.recursive_repr("{...}")
    def __repr__(self) -> str:
        values = dict(self)
        options = values.get(_ALL_OPTIONS)
        if isinstance(options, list) and len(options) > _SHOWN_OPTIONS:
            values[_ALL_OPTIONS] = _Count(len(options))
        return repr(values)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text("{...}" if cycle else str(self))

    def copy(self) -> Decision:
        return self.__copy__()

    def __copy__(self) -> Decision:
        return self._twin(dict(self))

    def __deepcopy__(self, memo: dict[int, Any]) -> Decision:
        twin = self._twin(copy.deepcopy(dict(self), memo))
        memo[id(self)] = twin
        return twin

    def _twin(self, values: dict[str, Any]) -> Decision:
        """A decision with these values, which shares everything else."""
        arguments = (values, self.lambda_val, self.input_tokens, self.model_configs)
        return type(self)(*arguments, None, self.choice, self._details)

    def __reduce__(self) -> tuple[Any, ...]:
        # For pickle: the values, without the router.
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


# The other methods of a dictionary see every key; writing comes after all_options, so that the
# order of the keys does not depend on when it was computed. C code that copies dictionaries without
# their methods (dict(decision), **decision) asks a class with its own __iter__ for the keys.
for _name in (
    *("__iter__", "__reversed__", "keys", "values", "items"),
    *("__eq__", "__ne__", "__or__", "__ror__", "__ior__"),
    *("__setitem__", "__delitem__", "setdefault", "update", "pop", "popitem", "clear"),
):
    setattr(Decision, _name, _completing(_name))
del _name
