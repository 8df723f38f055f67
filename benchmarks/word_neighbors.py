"""How many nearest words two trainings have in common: selfwise, gensim, and gensim's two seeds.

python -m benchmarks.word_neighbors [--novels N] [--epochs E] [--words W] [--neighbors K]

The overlap of gensim with itself over two seeds is the yardstick: no other implementation can be
expected to agree better with it than that.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64

import selfwise
from benchmarks.rows.word2vec import (
    BATCH,
    DIM,
    LENGTH,
    MIN_COUNT,
    Words,
    made,
    novels,
    peer,
    read_words,
    sentences,
)
from benchmarks.scratch import scratch
from selfwise.runs.open import Run

Table = Float32[np.ndarray, "v d"]


def nearest_words(table: Table, rows: int, neighbors: int) -> Int64[np.ndarray, "rows k"]:
    """Return the nearest words of the first `rows` words by cosine, without the word itself."""
    unit = table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-12)
    scores = unit[:rows] @ unit.T
    np.fill_diagonal(scores, -np.inf)
    return np.argpartition(-scores, neighbors - 1, axis=1)[:, :neighbors]


def measure_overlap(a: Table, b: Table, *, rows: int, neighbors: int) -> float:
    """Return the mean fraction of the nearest words that two tables have in common."""
    pairs = zip(nearest_words(a, rows, neighbors), nearest_words(b, rows, neighbors))
    return float(np.mean([len({*x} & {*y}) / neighbors for x, y in pairs]))


def train_selfwise(home: Path, data: list[Path], epochs: float, seed: int) -> Run:
    options = {"batch_size": BATCH, "max_length": LENGTH, "encoder_options": {"dim": DIM}}
    return selfwise.pretrain(
        "word2vec", data=data, out=home / f"run-{seed}", epochs=epochs, seed=seed,
        val_fraction=0.0, min_count=MIN_COUNT, monitor_every=0, quiet=True, **options,
    )  # fmt: skip


def train_gensim(words: Words, epochs: int, seed: int, threads: int) -> dict[str, np.ndarray]:
    model = peer(words, threads, seed=seed)
    text = list(sentences(words.names[words.ids]))
    model.train(text, total_words=len(words.ids), total_examples=len(text), epochs=epochs)
    return {word: model.wv[word] for word in model.wv.index_to_key}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--novels", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--words", type=int, default=2_000, help="the most frequent are compared")
    parser.add_argument("--neighbors", type=int, default=6)
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    home, data = scratch(), novels(quick=False)[: asked.novels]
    words = read_words(made(data))
    gensim = [train_gensim(words, asked.epochs, seed, asked.threads) for seed in (1, 2)]
    order = list(gensim[0])
    tables = {f"gensim {i + 1}": np.stack([m[w] for w in order]) for i, m in enumerate(gensim)}
    for seed in (0, 1):
        run = train_selfwise(home, data, asked.epochs, seed)
        ids = [run.tokenizer.id(word) for word in order]
        tables[f"selfwise {seed}"] = run.encoder.token.weight.detach().numpy()[ids]
    names = list(tables)
    rows = min(asked.words, len(order))
    print(f"{asked.neighbors} nearest of {len(order):,} words, for the {rows:,} most frequent")
    for at, first in enumerate(names):
        for second in names[at + 1 :]:
            part = measure_overlap(
                tables[first], tables[second], rows=rows, neighbors=asked.neighbors
            )
            print(f"{first} and {second}: {part:.1%}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
