"""Encoders that run in this process, for checkpoints without an encoder of their own.

    from r2_router import R2Router, encoders

    encoder = encoders.Transformers("Qwen/Qwen3-0.6B")
    router = R2Router.from_pretrained("r2-router", encoder=encoder)

Each loads a language model and returns what ``vllm serve MODEL --runner pooling`` returns: the last
layer at the last token, L2-normalised. The model must be the one that the checkpoint was trained
with. Texts are tokenised with the tokenizer's defaults: an end-of-text token is appended if it is
part of the tokenizer's template, as for Qwen3-Embedding.

Any other function that takes a list of strings and returns an (N, d) array can also be an encoder.

The packages of an encoder are imported when it is created: install ``r2-router[transformers]``,
``[sentence-transformers]``, ``[onnx]`` or ``[llama]``.
"""

from __future__ import annotations

from ._llama_cpp import LlamaCpp
from ._onnx import Onnx
from ._sentence_transformers import SentenceTransformers
from ._text_encoder import TextEncoder
from ._transformers import Transformers

__all__ = ["LlamaCpp", "Onnx", "SentenceTransformers", "TextEncoder", "Transformers"]
