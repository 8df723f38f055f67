"""Kneser-Ney smoothing: every sentence of Chen and Goodman, section 4.1.1, against loops."""

from collections import Counter, defaultdict
from math import log

import numpy as np
import pytest

from selfwise.evaluation.scores import kneser_ney
from selfwise.evaluation.scores.kneser_ney import BOUNDARY, KneserNey

TEXTS = [b"the cat sat on the mat, and a rat sat on the cat", b"on the mat sat a fat cat", b"it"]


def loop_probability(texts, context, byte, *, order):
    """Interpolated modified Kneser-Ney by dictionaries, from the formulas."""
    start = bytes([BOUNDARY]) * max(1, order - 1)
    joined = start + b"".join(text + bytes([BOUNDARY]) for text in texts)
    first = max(1, order - 1)
    grams = Counter(joined[at - order + 1 : at + 1] for at in range(first, len(joined)))
    levels = {order: grams}
    for length in range(order - 1, 0, -1):
        before = defaultdict(set)
        for gram in levels[length + 1]:
            before[gram[1:]].add(gram[0])
        levels[length] = Counter({gram: len(kinds) for gram, kinds in before.items()})

    def probability(length):
        if length == 0:
            return 1 / 256
        counts, history = levels[length], context[len(context) - length + 1 :]
        n = Counter(counts.values())
        discounts = {1: 0.5, 2: 0.5, 3: 0.5}
        if n[1] and n[2] and n[3]:
            y = n[1] / (n[1] + 2 * n[2])
            for c in (1, 2, 3):
                found = c - (c + 1) * y * n[c + 1] / n[c]
                discounts[c] = min(max(found, 0.05), c)
        after = [c for gram, c in counts.items() if gram[:-1] == history]
        if not after:
            return probability(length - 1)
        own = counts[history + bytes([byte])]
        kept = max(own - discounts[min(own, 3)], 0) if own else 0
        left = sum(discounts[min(c, 3)] for c in after)
        return (kept + left * probability(length - 1)) / sum(after)

    return probability(order)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_probabilities_are_those_of_a_loop(order):
    model, text = KneserNey(TEXTS, order=order), b"the rat on zinc"
    nats = model.nats([text])
    padded = bytes([BOUNDARY]) * max(1, order - 1) + text + bytes([BOUNDARY])
    first = max(1, order - 1)
    for at, found in enumerate(nats, first):
        expected = loop_probability(TEXTS, padded[:at], padded[at], order=order)
        assert found == pytest.approx(-log(expected), abs=1e-12)


@pytest.mark.parametrize("context", [b"the ", b"sat o", b"zzz", b""])
def test_probabilities_of_all_bytes_add_up_to_one(context):
    model = KneserNey(TEXTS, order=4)
    last = [model.nats([context + bytes([byte])])[len(context)] for byte in range(BOUNDARY)]
    end = model.nats([context])[-1]
    assert np.exp(-np.array([*last, end])).sum() == pytest.approx(1, abs=1e-9)


def test_a_repeated_text_is_predicted_better_than_random_bytes():
    model = KneserNey([b"abcd" * 200])
    assert model.total_nats([b"abcd" * 20]) / 80 < 0.14
    random = np.random.default_rng(0).integers(0, 255, 400, dtype=np.uint8).tobytes()
    assert model.total_nats([random]) / 400 > log(256)


def test_long_texts_are_measured_in_parts(monkeypatch):
    model, texts = KneserNey(TEXTS, order=5), [b"the rat sat on the cat", b"a cat"]
    whole = model.nats(texts)
    monkeypatch.setattr(kneser_ney, "BYTES_AT_ONCE", 7)
    assert np.array_equal(model.nats(texts), whole)
    assert model.total_nats(texts) == pytest.approx(whole.sum(), rel=1e-12)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="order must be from 1 to 8 bytes, got 9"):
        KneserNey(TEXTS, order=9)
    with pytest.raises(ValueError, match="needs text to count in"):
        KneserNey([b""])
