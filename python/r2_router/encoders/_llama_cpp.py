"""Models in the GGUF format, run with llama.cpp.

For every token whose embedding is requested, llama.cpp also computes the logits of the whole
vocabulary and keeps them, 600 kB for each token of Qwen3. A text is therefore processed in two
steps: first all tokens except the last, without output, and then the last tokens of a group of
texts.
"""

from __future__ import annotations

import ctypes
import logging
import os
import threading
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._keywords import check_number
from ._text_encoder import Rows, TextEncoder, groups, import_package

__all__ = ["LlamaCpp"]

#: Of a group of texts that are computed together; a longer text is computed alone.
_MOST_TOKENS = 512
_MOST_TEXTS = 32


class LlamaCpp(TextEncoder):
    """A language model in the GGUF format: a file, quantised or not.

    ``threads``: number of threads that compute, by default one for each CPU; calls from several
    threads wait for each other. ``max_tokens`` and ``truncate`` are as for ``Transformers``. Memory
    grows with the longest text so far: for Qwen3-0.6B by 0.1 MB for each token.

    The model must use causal attention, and no pooling other than that of the last token; other
    models, such as BERT, raise ``ValueError``. Unlike Qwen's tokenizers, llama.cpp does not
    normalise Unicode: convert texts to NFC first if they may contain decomposed accents. Create the
    encoder in the process that uses it, not before a fork.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        threads: int | None = None,
        max_tokens: int | None = None,
        truncate: bool = False,
    ) -> None:
        if threads is not None:
            check_number("threads", threads, "a whole number, or None", whole=True)
        self._threads = threads or os.cpu_count() or 1
        self._llama = llama = import_package("llama_cpp", "llama-cpp-python", "llama")
        self._file = file = os.fspath(path)
        _check_file(file)
        log = logging.getLogger("llama-cpp-python")
        if log.level == logging.NOTSET:  # then it prints everything
            log.setLevel(logging.CRITICAL + 1)
        llama.llama_backend_init()
        self._model = llama.llama_model_load_from_file(
            os.fsencode(file), llama.llama_model_default_params()
        )
        if not self._model:
            raise ValueError(
                f"llama.cpp cannot load {file}: it is damaged, or needs a newer llama-cpp-python; "
                'logging.getLogger("llama-cpp-python").setLevel("DEBUG") prints the reason'
            )
        #: The context of the calls, once there is one.
        self._contexts: list[Any] = []
        weakref.finalize(self, _free, llama, self._model, self._contexts)
        self._check_kind()
        self._vocabulary = llama.llama_model_get_vocab(self._model)
        self._using = threading.Lock()
        self._dimension = llama.llama_model_n_embd(self._model)
        self._limit(max_tokens, llama.llama_model_n_ctx_train(self._model), truncate)
        self._appended = int(llama.llama_vocab_get_add_eos(self._vocabulary))

    def _check_kind(self) -> None:
        architecture = self._metadata("general.architecture")
        if self._metadata(f"{architecture}.attention.causal") == "false":
            raise ValueError(
                f"{self._file} is a model of both directions ({architecture}): expected one that "
                "reads from left to right; SentenceTransformers runs others"
            )
        pooling = self._metadata(f"{architecture}.pooling_type")
        if pooling not in ("", "0", str(self._llama.LLAMA_POOLING_TYPE_LAST)):
            raise ValueError(
                f"{self._file} pools its embeddings by {architecture}.pooling_type {pooling}: "
                f"expected {self._llama.LLAMA_POOLING_TYPE_LAST}, by the last token; "
                "SentenceTransformers runs others"
            )

    def _metadata(self, key: str) -> str:
        value = ctypes.create_string_buffer(256)
        self._llama.llama_model_meta_val_str(self._model, key.encode(), value, len(value))
        return value.value.decode(errors="replace")

    def _tokens(self, text: str) -> list[int]:
        data = text.encode()
        room = len(data) + 8
        while True:
            ids = (ctypes.c_int32 * room)()
            # Like other tokenizers, with names of special tokens in the text read as such.
            count = self._llama.llama_tokenize(
                self._vocabulary, data, len(data), ids, room, True, True
            )
            if count >= 0:
                return ids[:count]
            room = -count

    def _embed(self, texts: list[str]) -> Rows:
        tokens = self._accepted([self._tokens(text) for text in texts])
        rows = np.empty((len(texts), self._dimension), np.float32)
        with self._using:
            for group in groups([len(ids) for ids in tokens], _MOST_TOKENS, _MOST_TEXTS):
                rows[group] = self._read([tokens[position] for position in group])
        return rows

    def _read(self, tokens: Sequence[Sequence[int]]) -> Rows:
        llama = self._llama
        context = self._context(sum(map(len, tokens)))
        llama.llama_memory_clear(llama.llama_get_memory(context), True)
        each = [list(enumerate(ids)) for ids in tokens]
        llama.llama_set_embeddings(context, False)
        self._decode(context, [(text, *at) for text, ids in enumerate(each) for at in ids[:-1]])
        llama.llama_set_embeddings(context, True)
        self._decode(context, [(text, *ids[-1]) for text, ids in enumerate(each)], result=True)
        return np.stack(
            [
                np.ctypeslib.as_array(
                    llama.llama_get_embeddings_seq(context, text), (self._dimension,)
                ).copy()
                for text in range(len(tokens))
            ]
        )

    def _decode(
        self, context: Any, tokens: Sequence[tuple[int, int, int]], result: bool = False
    ) -> None:
        """``tokens``: of each the text, the position in it and the number."""
        if not tokens:
            return
        llama = self._llama
        batch = llama.llama_batch_init(len(tokens), 0, 1)
        try:
            batch.n_tokens = len(tokens)
            for i, (text, position, token) in enumerate(tokens):
                batch.token[i], batch.pos[i] = token, position
                batch.n_seq_id[i], batch.seq_id[i][0] = 1, text
                batch.logits[i] = result
            status = llama.llama_decode(context, batch)
        finally:
            llama.llama_batch_free(batch)
        if status != 0:
            raise RuntimeError(f"llama.cpp failed to run {self._file} (llama_decode: {status})")

    def _context(self, tokens: int) -> Any:
        """The context, after making it large enough."""
        llama = self._llama
        if self._contexts and llama.llama_n_ctx(self._contexts[0]) >= tokens:
            return self._contexts[0]
        while self._contexts:
            llama.llama_free(self._contexts.pop())
        settings = llama.llama_context_default_params()
        settings.n_ctx = settings.n_batch = max(_MOST_TOKENS, 1 << (tokens - 1).bit_length())
        settings.n_ubatch = _MOST_TOKENS
        settings.n_seq_max = _MOST_TEXTS
        settings.kv_unified = True
        settings.n_threads = settings.n_threads_batch = self._threads
        settings.embeddings = True
        settings.pooling_type = llama.LLAMA_POOLING_TYPE_LAST
        context = llama.llama_init_from_model(self._model, settings)
        if not context:
            raise MemoryError(f"llama.cpp has no memory for {tokens} tokens of {self._file}")
        self._contexts.append(context)
        return context


def _check_file(file: str) -> None:
    if not os.path.isfile(file):
        raise FileNotFoundError(f"{file} is not a file: expected a model in the GGUF format")
    with open(file, "rb") as data:
        if data.read(4) != b"GGUF":
            raise ValueError(f"{file} does not begin with GGUF: expected a model in that format")


def _free(llama: Any, model: Any, contexts: list[Any]) -> None:
    for context in contexts:
        llama.llama_free(context)
    llama.llama_model_free(model)
