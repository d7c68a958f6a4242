"""Compares recognisers of tasks on sources that they were not trained on.

    python bench/recognisers.py MODEL DATA [CACHE.npz]

MODEL is the folder of all-MiniLM-L6-v2 (see checkpoints/sources/make_vectors.py), DATA holds
task_prompts.jsonl.gz and task_groups.json. CACHE keeps the embeddings, which take minutes. Needs
the packages numpy, scipy, scikit-learn, numba and tokenizers.

Six parts of whole sources, which never divide sources that share content (`group`), are each
recognised by a fit to the others. At most 40 prompts of a source and kind are used, and all that
are labelled by hand. All recognisers are multinomial logistic regressions, fitted alike by
stochastic gradient descent with smoothed labels; the learning rate is the best of those listed. The
ten groups are recognised by the sum of their kinds' probabilities.
"""

import collections
import gzip
import json
import re
import sys
from pathlib import Path

import numba
import numpy as np
import scipy.sparse as sp
from sklearn.feature_extraction.text import HashingVectorizer
from tokenizers import Tokenizer

sys.path.insert(0, str(Path(__file__).parent.parent / "checkpoints/sources"))
import make_vectors

FOLDS, EPOCHS, SMOOTHING, MOST_WEIGHT, SLOTS = 6, 10, 0.1, 2.0, 32768


class Prompts:
    """The prompts with their labels and folds."""

    def __init__(self, data: Path) -> None:
        with gzip.open(data / "task_prompts.jsonl.gz", "rt", encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
        self.rows = [rows[i] for i in make_vectors.choose_prompts(rows)]
        groups = json.loads((data / "task_groups.json").read_text())
        self.tasks = sorted(task for tasks in groups.values() for task in tasks)
        group_of = {task: i for i, tasks in enumerate(groups.values()) for task in tasks}
        self.groups = np.array([group_of[task] for task in self.tasks])
        self.labels = np.array([self.tasks.index(row["task"]) for row in self.rows])
        self.by_hand = np.array([row.get("hand_labelled", False) for row in self.rows])
        self.folds = self.divide(rows)

    def divide(self, rows: list[dict]) -> np.ndarray:
        parent = {row["source"]: row["source"] for row in rows}

        def root(source: str) -> str:
            return source if parent[source] == source else root(parent[source])

        first: dict[str, str] = {}
        for row in rows:
            if "group" in row:
                parent[root(row["source"])] = root(first.setdefault(row["group"], row["source"]))
        sizes = collections.Counter(root(row["source"]) for row in rows)
        totals, fold_of = [0] * FOLDS, {}
        for source, size in sorted(sizes.items(), key=lambda item: -item[1]):
            fold_of[source] = int(np.argmin(totals))
            totals[fold_of[source]] += size
        return np.array([fold_of[root(row["source"])] for row in self.rows])

    def weights(self, indices: np.ndarray) -> np.ndarray:
        """Tasks count the same, and the sources of a task by the square root of their size."""
        keys = [(self.labels[i], self.rows[i]["source"]) for i in indices]
        counts = collections.Counter(keys)
        totals = np.zeros(len(self.tasks))
        for (task, _), count in counts.items():
            totals[task] += count**0.5
        each = len(indices) / len(self.tasks)
        return np.minimum(
            [each * counts[key] ** -0.5 / totals[key[0]] for key in keys], MOST_WEIGHT
        )


@numba.njit(fastmath=True)
def fit(pointers, slots, values, labels, weights, order, dimension, tasks, step):
    np.random.seed(0)
    table = np.zeros((dimension, tasks), np.float32)
    intercepts = np.zeros(tasks, np.float32)
    slope = np.zeros(tasks, np.float32)
    steps = EPOCHS * len(order)
    for at in range(steps):
        if at % len(order) == 0:
            np.random.shuffle(order)
        row = order[at % len(order)]
        slope[:] = intercepts
        for k in range(pointers[row], pointers[row + 1]):
            slope += values[k] * table[slots[k]]
        slope[:] = np.exp(slope - slope.max())
        slope[:] = slope / slope.sum() - np.float32(SMOOTHING / tasks)
        slope[labels[row]] -= np.float32(1 - SMOOTHING)
        slope *= np.float32(-step * (1 - at / steps) * weights[row])
        for k in range(pointers[row], pointers[row + 1]):
            table[slots[k]] += values[k] * slope
        intercepts += np.float32(0.1) * slope
    return table, intercepts


def unseen_scores(prompts: Prompts, features: sp.csr_matrix, step: float) -> np.ndarray:
    scores = np.zeros((len(prompts.rows), len(prompts.tasks)), np.float32)
    for fold in range(FOLDS):
        known, unseen = np.flatnonzero(prompts.folds != fold), np.flatnonzero(prompts.folds == fold)
        weights = np.zeros(len(prompts.rows), np.float32)
        weights[known] = prompts.weights(known)
        table, intercepts = fit(
            features.indptr,
            features.indices,
            features.data,
            prompts.labels,
            weights,
            known,
            features.shape[1],
            len(prompts.tasks),
            step,
        )
        scores[unseen] = features[unseen] @ table + intercepts
    return scores


def measure(prompts: Prompts, scores: np.ndarray) -> dict[str, float]:
    """At the temperature of the greatest likelihood."""
    best = None
    for temperature in np.exp(np.linspace(-1, 2, 31)):
        shares = np.exp((scores - scores.max(1, keepdims=True)) / temperature)
        shares /= shares.sum(1, keepdims=True)
        loss = -np.log(shares[np.arange(len(shares)), prompts.labels] + 1e-9).mean()
        if best is None or loss < best[0]:
            best = loss, shares
    loss, shares = best
    found, largest = shares.argmax(1), shares.max(1)
    right = found == prompts.labels
    bins = np.minimum((largest * 10).astype(int), 9)
    group_shares = np.zeros((len(shares), prompts.groups.max() + 1))
    np.add.at(group_shares.T, prompts.groups, shares.T)
    right_group = group_shares.argmax(1) == prompts.groups[prompts.labels]
    f1 = [
        2
        * (right & (found == task)).sum()
        / max(1, (found == task).sum() + (prompts.labels == task).sum())
        for task in range(len(prompts.tasks))
    ]
    return {
        "loss": loss,
        "kinds": right.mean(),
        "groups": right_group.mean(),
        "macro-F1": np.mean(f1),
        "kinds by hand": right[prompts.by_hand].mean(),
        "groups by hand": right_group[prompts.by_hand].mean(),
        "ECE": sum(abs((largest - right)[bins == k].sum()) for k in range(10)) / len(right),
    }


def hashed_features(texts: list[str]) -> sp.csr_matrix:
    """Words, word pairs and trigrams, about as the encoder hashes them."""
    texts = [" " + re.sub(r"\d", "0", " ".join(text.split())) + " " for text in texts]
    families = []
    for options in (
        {"ngram_range": (1, 2), "token_pattern": r"\w+|[^\w\s]"},
        {"ngram_range": (3, 3), "analyzer": "char"},
    ):
        counts = HashingVectorizer(n_features=SLOTS, norm=None, **options).transform(texts)
        counts.data = np.sign(counts.data) * np.sqrt(np.abs(counts.data))
        families.append(counts)
    features = sp.hstack(families).tocsr()
    norms = np.sqrt(np.asarray(features.multiply(features).sum(1)).ravel())
    return sp.diags(1 / np.maximum(norms, 1e-9)) @ features


def normalised(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


def main() -> None:
    model, data = Path(sys.argv[1]), Path(sys.argv[2])
    cache = Path(sys.argv[3]) if len(sys.argv) > 3 else None
    prompts = Prompts(data)
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    texts = [row["query"] for row in prompts.rows]
    pieces = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    if cache and cache.exists():
        loaded = np.load(cache)
        meanings, embeddings = loaded["meanings"], loaded["embeddings"]
    else:
        encode = make_vectors.Bert(make_vectors.read_tensors(model / "model.safetensors"))
        meanings = make_vectors.encode_pieces(encode, tokenizer.get_vocab_size())
        embeddings = make_vectors.encode_prompts(encode, pieces)
        if cache:
            np.savez(cache, meanings=meanings, embeddings=embeddings)
    meanings = make_vectors.weigh(meanings)
    means = np.stack([meanings[own[: make_vectors.MOST_PIECES]].mean(0) for own in pieces])
    vectors, scales = make_vectors.fit(meanings, means, embeddings)
    table = vectors * scales[:, None]
    words = hashed_features(texts)
    minilm = normalised(embeddings) - normalised(embeddings).mean(0)
    vector = sp.csr_matrix(normalised(np.stack([table[own].mean(0) for own in pieces])))
    for name, features, steps in (
        ("words, word pairs, trigrams", words, (0.5, 1, 2)),
        ("static vectors", vector * 3, (0.05, 0.2, 0.5)),
        (
            "words, word pairs, trigrams, static vectors",
            sp.hstack([words, 0.7 * vector]),
            (0.5, 1, 2),
        ),
        ("MiniLM", sp.csr_matrix(4 * minilm), (0.01, 0.03, 0.1)),
        (
            "words, word pairs, trigrams, MiniLM",
            sp.hstack([words, sp.csr_matrix(minilm)]),
            (0.5, 1, 2),
        ),
    ):
        figures = [
            measure(prompts, unseen_scores(prompts, features.tocsr().astype(np.float32), step))
            for step in steps
        ]
        best = min(figures, key=lambda own: own["loss"])
        print(
            f"{name:48s}" + "".join(f"  {key} {value:.3f}" for key, value in best.items()),
            flush=True,
        )


if __name__ == "__main__":
    main()
