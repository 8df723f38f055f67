"""Pairs of sentences, checked against the documents they are made of."""

import numpy as np
import pytest

from selfwise.views.text import sentence_pairs
from selfwise.views.text.packing import tile_sentences
from tests.helpers import cases
from tests.helpers.chance import near

LENGTH = 64
PLANS = {"next_sentence": False, "sentence_order": True}  # whether pairs are swapped


def made(documents=400, *, seed=0, sentences=20, plan="next_sentence", length=LENGTH):
    tokens, whole, spans = cases.corpus(documents, seed=seed, sentences=sentences)
    random = np.random.default_rng(seed)
    told = {"length": length, "vocabulary": cases.vocabulary(), "random": random}
    return tokens, whole, spans, getattr(sentence_pairs, f"plan_{plan}")(whole, spans, **told)


def untruncated(documents=400, *, swap=False, seed=0, most=LENGTH - 3, sentences=20):
    """Pairs as spans before truncation, the document of each, and all sentences."""
    _, whole, spans = cases.corpus(documents, seed=seed, sentences=sentences)
    owner, spans = tile_sentences(whole, spans)
    bounds = np.r_[0, np.flatnonzero(np.diff(owner)) + 1, len(owner)]
    chunks = sentence_pairs.PairSampler(spans, bounds, most, np.random.default_rng(seed))
    a, b, label = (np.array(part) for part in zip(*chunks.draw_pairs(swap=swap)))
    return a, b, label, whole, spans


def document(whole, spans):
    """The document in which each span lies; it lies in one alone."""
    first = np.searchsorted(whole[:, 0], spans[:, 0], side="right") - 1
    assert (spans[:, 1] <= whole[first, 1]).all()
    return first


def test_label_0_follows_and_label_1_is_of_another_document():
    a, b, label, whole, _ = untruncated(30, sentences=400)
    assert (b[label == 0, 0] == a[label == 0, 1]).all()
    own, other = document(whole, a), document(whole, b)
    assert (own[label == 0] == other[label == 0]).all()
    assert (own[label == 1] != other[label == 1]).all()
    assert set(other[label == 1]) == set(range(30))  # any other document


def test_half_of_the_pairs_are_random_where_there_is_a_choice(monkeypatch):
    monkeypatch.setattr(sentence_pairs.PairSampler, "_draw_target", lambda self: self.max_tokens)
    a, _, label, whole, _ = untruncated(1000, sentences=200)
    # only a chunk of the last sentence of its document has one alone, and so no choice
    alone = a[:, 1] == whole[document(whole, a), 1]
    assert alone.any()
    assert (label[alone] == 1).all()
    free = ~alone
    assert free.sum() > 10_000
    assert near(label[free].mean(), int(free.sum()), 0.5)


def test_unused_sentences_are_pushed_back_and_none_is_lost():
    """Every sentence is in one first text, or in the second text of a true pair, once."""
    a, b, label, _, spans = untruncated()
    used = np.concatenate([a, b[label == 0]])
    used = used[used[:, 0].argsort()]
    assert used[0, 0] == spans[0, 0]
    assert (used[1:, 0] == used[:-1, 1]).all()
    assert used[-1, 1] == spans[-1, 1]
    # after a random pair the next one goes on where its first text ended
    follows = (label[:-1] == 1) & (a[1:, 0] == a[:-1, 1])
    assert follows.sum() == (label[:-1] == 1).sum()


def test_texts_end_where_sentences_end():
    a, b, _, _, spans = untruncated()
    starts, stops = set(spans[:, 0].tolist()), set(spans[:, 1].tolist())
    for part in (a, b):
        assert set(part[:, 0].tolist()) <= starts
        assert set(part[:, 1].tolist()) <= stops


def test_a_chunk_ends_with_the_sentence_that_reaches_the_target():
    a, b, label, whole, spans = untruncated(50, seed=1)
    end = whole[document(whole, a), 1]
    size = np.where(label == 0, b[:, 1] - a[:, 0], 0)
    inner = (label == 0) & (b[:, 1] < end)
    last = spans[np.searchsorted(spans[:, 1], b[:, 1])]
    targets: dict[int, set[int]] = {}
    for number in np.flatnonzero(inner):
        # the target is in between: reached with the last sentence and not before it
        low, high = last[number, 0] - a[number, 0] + 1, size[number]
        targets.setdefault(int(document(whole, a[number : number + 1])[0]), set()).add((low, high))
    for bounds in targets.values():  # one target for a document fits all its pairs
        assert max(low for low, _ in bounds) <= min(high for _, high in bounds)


def test_one_pass_in_ten_aims_at_a_shorter_pair():
    chunks = sentence_pairs.PairSampler(
        np.array([[0, 1]]), np.array([0, 1]), 125, np.random.default_rng(0)
    )
    targets = np.array([chunks._draw_target() for _ in range(100_000)])
    # a short target is uniform from 2 to the most
    assert near((targets < 125).mean(), len(targets), 0.1 * 123 / 124)
    assert targets.min() == 2
    assert near((targets < 64).mean(), len(targets), 0.1 * 62 / 124)


def test_where_a_chunk_is_split_is_uniform():
    sentences = np.stack([np.arange(0, 40, 4), np.arange(4, 44, 4)], axis=1)
    found = []
    for seed in range(3000):
        chunks = sentence_pairs.PairSampler(
            sentences, np.array([0, 10]), 40, np.random.default_rng(seed)
        )
        a, b, label = next(chunks.draw_pairs(swap=True))
        first = a if label == 0 else b
        if max(a[1], b[1]) == 40:  # the whole document: no short pass
            found.append((first[1] - first[0]) // 4)
    counts = np.bincount(found, minlength=10)
    assert counts[0] == 0
    assert all(near(c / len(found), len(found), 1 / 9) for c in counts[1:10])


def test_truncation_takes_single_tokens_from_the_longer_text():
    random = np.random.default_rng(0)
    a = np.stack([np.zeros(5000, np.int64), random.integers(1, 90, 5000)], axis=1)
    b = np.stack([np.full(5000, 1000), 1000 + random.integers(1, 90, 5000)], axis=1)
    short_a, short_b = sentence_pairs._truncate_pairs(a, b, 61, random)
    for before, after in ((a, short_a), (b, short_b)):
        assert (after[:, 0] >= before[:, 0]).all()
        assert (after[:, 1] <= before[:, 1]).all()
        lost = (before[:, 1] - before[:, 0]) - (after[:, 1] - after[:, 0])
        front = after[:, 0] - before[:, 0]
        assert near(front.sum() / lost.sum(), int(lost.sum()), 0.5)
    for i in range(5000):
        size = [a[i, 1], b[i, 1] - 1000]
        while sum(size) > 61:  # truncate_seq_pair of create_pretraining_data.py
            size[0 if size[0] > size[1] else 1] -= 1
        assert [short_a[i, 1] - short_a[i, 0], short_b[i, 1] - short_b[i, 0]] == size


def test_swapped_pairs_are_following_texts_in_the_wrong_order():
    """ALBERT, section 3.1: "two consecutive segments but with their order swapped"."""
    a, b, label, whole, _ = untruncated(3000, swap=True)
    swapped, straight = b[:, 1] == a[:, 0], a[:, 1] == b[:, 0]
    own, other = document(whole, a), document(whole, b)
    assert (label[straight] == 0).all()
    assert (label[swapped] == 1).all()
    rest = ~(swapped | straight)
    # chunks of one sentence: another document and label 1, as in the authors' code
    assert (label[rest] == 1).all()
    assert (own[rest] != other[rest]).all()
    both = int((swapped | straight).sum())
    assert both > 5000
    assert near(swapped.sum() / both, both, 0.5)


@pytest.mark.parametrize("plan", PLANS)
def test_rows_are_pairs_that_fit(plan):
    _, whole, _, found = made(plan=plan)
    a, b = found.pieces[0::2], found.pieces[1::2]
    assert found.rows.tolist() == list(range(0, 2 * found.size + 1, 2))
    size = (a[:, 1] - a[:, 0]) + (b[:, 1] - b[:, 0])
    assert size.max() == LENGTH - 3
    assert min((a[:, 1] - a[:, 0]).min(), (b[:, 1] - b[:, 0]).min()) >= 1
    document(whole, a)
    document(whole, b)


@pytest.mark.parametrize("plan", PLANS)
def test_plans_are_functions_of_the_generator(plan):
    first, again, other = (made(40, seed=s, plan=plan)[3] for s in (0, 0, 1))
    assert np.array_equal(first.pieces, again.pieces)
    assert np.array_equal(first.pair, again.pair)
    assert not np.array_equal(first.pieces, other.pieces)


@pytest.mark.parametrize("plan", PLANS)
def test_documents_of_one_sentence_make_no_pairs(plan):
    with pytest.raises(
        ValueError, match="at least two sentences, but no document has two"
    ) as error:
        made(30, sentences=1, plan=plan)
    assert "\n" not in str(error.value)
    _, whole, spans = cases.corpus(5, sentences=2)
    told = {"length": LENGTH, "vocabulary": cases.vocabulary()}
    only = whole[:1], spans[:2]
    # one document alone has no other: after ten tries it is its own, as in the authors' code
    plan = getattr(sentence_pairs, f"plan_{plan}")(*only, **told, random=np.random.default_rng(0))
    assert plan.size >= 1


def test_sentences_without_tokens_and_gaps_are_no_obstacle():
    documents = np.array([[0, 10], [10, 10], [20, 30]])
    sentences = np.array([[0, 4], [4, 4], [5, 10], [20, 25], [26, 30]])
    owner, spans = tile_sentences(documents, sentences)
    assert owner.tolist() == [0, 0, 2, 2]
    assert spans.tolist() == [[0, 5], [5, 10], [20, 26], [26, 30]]


def test_a_row_is_cls_a_sep_b_sep():
    """Section 3.1 and figure 2, token by token."""
    from selfwise.views.text import collate

    tokens, _, _, plan = made()
    rows = np.array([5, 0, 17])
    batch = collate.collate_pairs(tokens, plan, rows, length=LENGTH, vocabulary=cases.vocabulary())
    assert batch.index.tolist() == [5, 0, 17]
    assert batch.pair.tolist() == plan.pair[rows].tolist()
    for i, row in enumerate(rows):
        a, b = (tokens[slice(*plan.pieces[2 * row + j])].tolist() for j in (0, 1))
        wanted = [2, *a, 3, *b, 3]
        rest = LENGTH - len(wanted)
        assert batch.ids[i].tolist() == wanted + [0] * rest
        assert batch.segment[i].tolist() == [0] * (2 + len(a)) + [1] * (1 + len(b)) + [0] * rest
        assert batch.valid[i].tolist() == [True] * len(wanted) + [False] * rest
