"""The comparison with gensim: equal vocabularies and chances, and overlaps of nearest words."""

import numpy as np
import pytest

from benchmarks.row import Setting
from benchmarks.rows import word2vec
from benchmarks.word_neighbors import measure_overlap, nearest_words

pytest.importorskip("gensim")


def test_the_nearest_words_are_by_cosine_and_without_the_word_itself():
    table = np.array([[1, 0], [5, 1], [0, 1], [-1, 0], [1, 1]], np.float32)
    assert [{*row} for row in nearest_words(table, 3, 2)] == [{1, 4}, {0, 4}, {4, 1}]


def test_an_overlap_is_the_mean_part_in_common():
    angles = np.array([0.0, 0.1, 0.3, 2.0, 2.2, 2.5])
    a = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    assert measure_overlap(a, 3 * a, rows=6, neighbors=2) == 1.0
    b = a[[0, 3, 2, 1, 4, 5]]  # words 1 and 3 exchanged
    # word 0: {1, 2} and {3, 2}; word 1: {0, 2} and {4, 5}; word 2: {1, 0} and {3, 0}
    assert measure_overlap(a, b, rows=3, neighbors=2) == pytest.approx((0.5 + 0 + 0.5) / 3)


@pytest.mark.run
def test_all_sides_run_on_equal_words(tmp_path, monkeypatch):
    corpus = tmp_path / "english_novels_100" / "corpus"
    corpus.mkdir(parents=True)
    numbers = np.random.default_rng(0).zipf(1.3, 20_000) % 300
    (corpus / "a.txt").write_text(" ".join(f"w{n}" for n in numbers))
    monkeypatch.setenv("SELFWISE_DATA", str(tmp_path))
    monkeypatch.setenv("SELFWISE_CACHE", str(tmp_path / "cache"))
    prepared = word2vec.prepare("novels", Setting(threads=1, quick=True))
    assert {*prepared.sides} == {word2vec.OURS, word2vec.LISTS, word2vec.FILES}
    assert "chances to stay agree" in prepared.equal
    done = {name: run(0) for name, run in prepared.sides.items()}
    assert done[word2vec.LISTS] == done[word2vec.FILES] == prepared.told["words"]
    assert 0.8 * 2_048 < done[word2vec.OURS] <= 2_048


def test_missing_novels_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("SELFWISE_DATA", str(tmp_path))
    with pytest.raises(ValueError, match="SELFWISE_DATA must name"):
        word2vec.novels(quick=True)
