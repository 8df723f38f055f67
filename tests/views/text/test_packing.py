"""Rows are full, no token is lost or there twice, and two documents never pass for one."""

import numpy as np
import pytest
import torch

from selfwise.views.text import collate, packing
from selfwise.views.text.packing import pack_best_fit
from tests.helpers import cases

PLANS = ("full_sentences", "best_fit", "windows")


def of(plan, documents, sentences=None, *, length=24, seed=0, vocabulary=None):
    return getattr(packing, f"plan_{plan}")(
        documents,
        sentences,
        length=length,
        vocabulary=vocabulary or cases.vocabulary(),
        random=np.random.default_rng(seed),
    )


def read(plan, found, tokens, length=24, vocabulary=None):
    collate_rows = collate.collate_windows if plan == "windows" else collate.collate_packed
    told = {"length": length, "vocabulary": vocabulary or cases.vocabulary()}
    return collate_rows(tokens, found, np.arange(found.size), **told)


def documents_of(sizes, gap=0):
    stops = (np.asarray(sizes) + gap).cumsum()
    return np.stack([stops - sizes, stops], axis=1)


def mixed(n=300, seed=0):
    """Documents from one token to many rows."""
    random = np.random.default_rng(seed)
    return documents_of(np.exp(random.uniform(0, 5, n)).astype(np.int64))


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("length", [8, 24, 61])
def test_no_token_is_lost_and_none_is_there_twice(plan, length):
    documents = mixed()
    sentences = np.concatenate([_sentences(*span) for span in documents])
    found = of(plan, documents, sentences, length=length)
    seen = np.zeros(documents[-1, 1], np.int64)
    for start, stop in found.pieces:
        seen[start:stop] += 1
    if plan == "windows":  # windows of one document overlap by one token
        assert seen.min() == 1
        assert seen.max() == 2
    else:
        assert (seen == 1).all()
    assert found.rows[0] == 0
    assert found.rows[-1] == len(found.pieces)
    assert (np.diff(found.rows) >= 1).all()


def _sentences(start, stop):
    cuts = np.unique(np.r_[np.arange(start, stop, 7), stop])
    return np.stack([cuts[:-1], cuts[1:]], axis=1)


@pytest.mark.parametrize("plan", PLANS)
def test_a_piece_lies_in_one_document_and_each_has_a_start(plan):
    documents = mixed()
    sentences = np.concatenate([_sentences(*span) for span in documents])
    found = of(plan, documents, sentences)
    owner = np.searchsorted(documents[:, 0], found.pieces[:, 0], side="right") - 1
    assert (found.pieces[:, 1] <= documents[owner, 1]).all()
    tokens = np.arange(documents[-1, 1]) % 50 + 5
    batch = read(plan, found, tokens)
    width = batch.ids.shape[1]
    for row in range(found.size):
        pieces = slice(found.rows[row], found.rows[row + 1])
        starts = batch.starts[row][batch.starts[row] < width].tolist()
        assert starts[0] == 0
        assert len(starts) == pieces.stop - pieces.start
        assert starts == sorted(set(starts))
        # what lies between two starts is the piece, with special tokens around it
        for (a, b), (first, last) in zip(
            zip(starts, [*starts[1:], width]), found.pieces[pieces].tolist()
        ):
            ids = batch.ids[row, a:b]
            assert ids[ids >= 5].tolist() == tokens[first:last].tolist()


def test_documents_that_fill_rows_alone_need_no_starts():
    found = of("best_fit", documents_of([22, 22, 44]))
    batch = read("best_fit", found, np.full(88, 9))
    assert batch.starts is None
    assert batch.valid is not None  # the third is cut at a random place


@pytest.mark.parametrize("plan", ["best_fit", "windows"])
def test_best_fit_leaves_hardly_any_place_empty(plan):
    random = np.random.default_rng(0)
    documents = documents_of(random.integers(3, 300, 3000))
    for seed in range(2):
        batch = read(plan, of(plan, documents, length=128, seed=seed), np.full(10**6, 9), 128)
        assert batch.valid.float().mean() > 0.99


def naive(sizes, capacity):
    """Best-fit decreasing, one piece after the other."""
    rows: list[int] = []
    for size in sorted(sizes, reverse=True):
        fitting = [i for i, room in enumerate(rows) if room >= size]
        if fitting:
            rows[min(fitting, key=lambda i: rows[i])] -= size
        else:
            rows.append(capacity - size)
    return sorted(rows)


@pytest.mark.parametrize(("capacity", "largest"), [(10, 10), (24, 9), (100, 60), (7, 3)])
def test_best_fit_is_the_sequential_one(capacity, largest):
    for seed in range(5):
        random = np.random.default_rng(seed)
        sizes = random.integers(1, largest, size=200, endpoint=True)
        row = pack_best_fit(sizes, capacity, random)
        fill = np.bincount(row, weights=sizes).astype(int)
        assert sorted((capacity - fill).tolist()) == naive(sizes.tolist(), capacity)


def test_which_documents_share_a_row_changes_from_epoch_to_epoch():
    documents = documents_of(np.full(100, 5))
    a, b = (of("best_fit", documents, seed=s).pieces for s in (0, 1))
    assert not np.array_equal(a, b)
    assert sorted(a.tolist()) == sorted(b.tolist())


def test_a_full_sentences_row_takes_every_sentence_that_fits():
    """RoBERTa, section 4.2: "sampled contiguously from one or more documents"."""
    tokens, documents, sentences = cases.corpus(60, sentences=9)
    found = of("full_sentences", documents, sentences)
    starts, stops = sentences[:, 0].tolist(), sentences[:, 1].tolist()
    assert set(found.pieces[:, 0].tolist()) <= set(starts)
    assert set(found.pieces[:, 1].tolist()) <= set(stops)
    ends = set(documents[:, 1].tolist())
    for row in range(found.size):
        pieces = found.pieces[found.rows[row] : found.rows[row + 1]]
        used = 1 + (pieces[:, 1] - pieces[:, 0] + 1).sum()  # <s>, and </s> after each
        assert used <= 24
        assert all(stop in ends for stop in pieces[:-1, 1].tolist())  # whole to the end
        if row + 1 == found.size:
            continue
        following = found.pieces[found.rows[row + 1]]
        first = following[0]
        size = stops[starts.index(first)] - first
        fresh = first in set(documents[:, 0].tolist())
        assert used + size + fresh > 24
        if not fresh:  # it goes on where this row ended
            assert first == pieces[-1, 1]
    batch = read("full_sentences", found, tokens)
    assert (batch.ids[:, 0] == 2).all()
    last = batch.valid.sum(dim=1) - 1
    assert (batch.ids.gather(1, last[:, None]) == 3).all()
    # one </s> for every document of a row, the last one included
    assert torch.equal((batch.ids == 3).sum(dim=1), torch.from_numpy(np.diff(found.rows)))


def test_a_sentence_longer_than_a_row_is_cut():
    documents = np.array([[0, 60]])
    found = of("full_sentences", documents, np.array([[0, 57], [57, 60]]))
    assert found.pieces.tolist() == [[0, 22], [22, 44], [44, 60]]


def test_the_order_of_documents_is_drawn():
    _, documents, sentences = cases.corpus(60)
    a, b = (of("full_sentences", documents, sentences, seed=s).pieces[:, 0] for s in (0, 1))
    assert not np.array_equal(a, b)


def test_every_token_of_a_document_is_a_target_once():
    """With [CLS] before and [SEP] behind it: its first token too, and where it ends."""
    documents = mixed()
    tokens = np.arange(documents[-1, 1])
    found = of("windows", documents, length=16)
    targets = _targets(found, tokens + 5, 16)
    real = targets[targets >= 5] - 5
    assert np.array_equal(np.sort(real), tokens)
    assert (targets == 3).sum() == len(documents)  # [SEP]
    assert (targets == 2).sum() == 0  # [CLS] is never a target


def test_without_special_tokens_the_first_token_is_no_target():
    few = cases.vocabulary()._replace(first=None, last=None, pad=None)
    documents = mixed()
    documents = documents[documents[:, 1] - documents[:, 0] > 1]
    found = of("windows", documents, length=16, vocabulary=few)
    targets = _targets(found, np.arange(documents[-1, 1]) + 5, 16, few) - 5
    inner = np.concatenate([np.arange(a + 1, b) for a, b in documents])
    assert np.array_equal(np.sort(targets), inner)


def _targets(found, tokens, length, vocabulary=None):
    batch = read("windows", found, tokens, length, vocabulary)
    first = np.zeros((found.size, length + 2), bool)
    starts = batch.starts.numpy()
    np.put_along_axis(first, starts, True, axis=1)
    real = np.ones_like(first[:, 1:-1]) if batch.valid is None else batch.valid.numpy()[:, 1:]
    return batch.ids.numpy()[:, 1:][real & ~first[:, 1:-1]]


def test_windows_of_a_long_document_are_full_rows_at_a_random_phase():
    """nanoGPT's character recipe: contiguous blocks, one token more than the context."""
    documents = np.array([[0, 1000]])
    phases = set()
    for seed in range(60):
        found = of("windows", documents, length=16, seed=seed)
        size = np.diff(found.pieces, axis=1)[:, 0]
        assert (size == 17).sum() >= 60  # all but the first and the last window
        assert found.size <= 64
        order = np.array(sorted(found.pieces.tolist()))
        assert (order[1:, 0] == order[:-1, 1] - 1).all()  # stride 16
        phases.add(int(order[0, 1]))
    assert len(phases) > 12


def test_short_documents_are_never_cut():
    documents = documents_of([16, 16, 5, 10, 1])
    for plan in ("windows", "best_fit"):
        pieces = of(plan, documents, length=19).pieces
        assert sorted(pieces.tolist()) == documents.tolist()


def test_nothing_to_train_on_is_said():
    empty = np.zeros((2, 2), np.int64)
    with pytest.raises(ValueError, match="no tokens"):
        of("best_fit", empty)
    with pytest.raises(ValueError, match="no tokens"):
        of("full_sentences", empty, empty)
    with pytest.raises(ValueError, match="no document has two tokens"):
        of("windows", empty)


def test_laying_out_is_fast_and_reads_a_memory_map(tmp_path):
    """Rows in any order and tokens of two bytes."""
    tokens, documents, _ = cases.corpus(60)
    tokens.tofile(tmp_path / "tokens")
    mapped = np.memmap(tmp_path / "tokens", np.uint16, "r")
    found = of("best_fit", documents)
    told = {"length": 24, "vocabulary": cases.vocabulary()}
    some = collate.collate_packed(mapped, found, np.array([7, 2]), **told)
    whole = read("best_fit", found, tokens)
    assert torch.equal(some.ids, whole.ids[[7, 2]])
    assert some.index.tolist() == [7, 2]
