"""How a router is trained: the encoder and the predictor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from . import _core

__all__ = ["LexicalEncoder", "LexicalFeatures", "make_recipe", "native_encoder"]


class LexicalFeatures(NamedTuple):
    """A family of features that the built-in encoder hashes."""

    #: ``"words"`` or ``"characters"``.
    kind: str = "words"
    #: Shortest and longest n-gram of them.
    min_n: int = 1
    max_n: int = 1
    #: Weight of every feature of the family.
    weight: float = 1.0


class LexicalEncoder(NamedTuple):
    """Settings of the built-in encoder, which needs no model and no server."""

    dimension: int = 1024
    features: Sequence[LexicalFeatures] = (LexicalFeatures(),)
    seed: int = 0
    #: Replaces every digit by 0, so that only the shape of a number matters.
    fold_digits: bool = False
    #: Takes signed square roots of the sums, so that repetition counts for less.
    square_root: bool = False
    #: Weights features by their inverse document frequency in the training texts.
    idf: bool = False
    #: Learns to recognise the queries' datasets, and appends their shares to the embedding.
    topics: bool = False


def native_encoder(encoder: LexicalEncoder) -> _core.LexicalEncoder:
    """The native settings, without topics, which belong to the recipe."""
    if not isinstance(encoder, LexicalEncoder):
        raise TypeError(f"encoder is {encoder!r}: expected a LexicalEncoder")
    settings = encoder._asdict()
    del settings["topics"]
    return _core.LexicalEncoder(**settings)


def make_recipe(
    *,
    encoder: LexicalEncoder | None,
    embeddings: Any,
    predictor: str,
    alphas: Sequence[float],
    neighbours: Sequence[int],
    **settings: Any,
) -> _core.Recipe:
    """The native recipe. ``settings``: its further keywords."""
    if embeddings is not None and encoder is not None:
        raise ValueError("encoder and embeddings are given: expected one of them")
    if encoder is None:
        encoder = LexicalEncoder()
    native = native_encoder(encoder)
    for name, values, kind in (("alphas", alphas, "ridge"), ("neighbours", neighbours, "knn")):
        if isinstance(values, str) or not hasattr(values, "__len__"):
            raise TypeError(f"{name} is {values!r}: expected a list of numbers")
        if len(values) > 0 and predictor != kind:
            raise ValueError(
                f'{name} are given: they are only for predictor="{kind}", not {predictor!r}'
            )
    return _core.Recipe(
        encoder=native,
        topics=encoder.topics,
        predictor=predictor,
        alphas=alphas,
        neighbours=neighbours,
        **settings,
    )
