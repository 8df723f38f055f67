"""Plans on the disk: removed by others at any time, and still the same plans."""

import os
import shutil
import stat
import tracemalloc

import numpy as np
import pytest
import torch

import selfwise
from selfwise.core.files import cache_dir
from selfwise.core.types import EpochPlan, RowSampler, Vocabulary
from selfwise.data.text import epoch_plans
from selfwise.data.text.batches import TextSource
from selfwise.data.text.corpus import Corpus, open_corpus
from selfwise.runs.names import name_data
from selfwise.tokenizers.tokenizer import train_tokenizer
from selfwise.views.text.collate import collate_packed, collate_pairs, collate_windows
from selfwise.views.text.packing import plan_full_sentences, plan_windows
from selfwise.views.text.sentence_pairs import plan_next_sentence
from selfwise.workflows.perplexity import perplexity

PLAIN = Vocabulary(10**6, torch.ones(0, dtype=torch.bool), ())
ENDS = PLAIN._replace(special=(0, 1), pad=0, first=0, last=1)
TEXTS = ["Hello there. It is so. " * 3 for _ in range(4)]


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setenv("SELFWISE_CACHE", str(tmp_path / "cache"))
    tokenizer = train_tokenizer("chars", TEXTS)
    told = {"length": 64, "batch": 3, "seed": 0, "vocabulary": tokenizer.vocabulary}
    corpus = open_corpus(TEXTS, tokenizer, sentences=True)
    return TextSource(
        corpus, RowSampler(plan_next_sentence, collate_pairs, needs_sentences=True), **told
    )


@pytest.mark.parametrize("part", ["", "pieces.npy", "pair.npy", "ends.none"])
def test_a_plan_that_another_process_removes_is_made_again(source, monkeypatch, part):
    expected = source.batch(source.steps_per_epoch)
    source.plan.cache_clear()
    read, torn = epoch_plans.read_plan, []

    def removed(home):
        if not torn:
            torn.append(home)
            # as `remove_past_plans` does, at any moment of the reading
            if part:
                (home / part).unlink()
                with pytest.raises(FileNotFoundError):
                    read(home)
            shutil.rmtree(home)
        return read(home)

    monkeypatch.setattr(epoch_plans, "read_plan", removed)
    found = source.batch(source.steps_per_epoch)
    assert torn
    assert np.array_equal(found.ids, expected.ids)
    assert np.array_equal(found.pair, expected.pair)


def test_a_folder_that_is_removed_while_a_plan_is_written_is_made_again(source, monkeypatch):
    write, torn = epoch_plans.write_plan, []

    def removed(parts, home):
        if not torn:
            torn.append(home)
            raise FileNotFoundError(home)
        write(parts, home)

    monkeypatch.setattr(epoch_plans, "write_plan", removed)
    assert source.plan(1).size
    assert torn


def test_old_plans_are_forgotten_as_a_whole(source):
    for epoch in range(5):
        source.plan(epoch)
    home = cache_dir("plans") / source.key
    assert sorted(path.name for path in home.iterdir()) == ["00000003", "00000004"]


@pytest.fixture
def divided(tmp_path, monkeypatch):
    """Plans are made of few documents at a time."""
    monkeypatch.setenv("SELFWISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(epoch_plans, "PIECES_PER_SLICE", 16)
    monkeypatch.setattr(epoch_plans, "MIN_PAIRED", 3)


def made(sizes, draw=None, **told):
    """A source of documents of these sizes, whose tokens are 0, 1, 2, ..."""
    documents = spans(sizes)
    halves = spans([part for size in sizes for part in (size // 2, size - size // 2) if part])
    tokens = np.arange(sum(sizes), dtype=np.uint32)
    corpus = Corpus(tokens, documents, halves, documents, f"{sizes}")
    told = {"length": 8, "batch": 1, "seed": 0, "vocabulary": PLAIN} | told
    return TextSource(corpus, draw or RowSampler(plan_windows, collate_windows), **told)


def spans(sizes):
    stops = np.cumsum(sizes)
    return np.stack([stops - sizes, stops], axis=1)


def test_a_share_has_whole_documents_and_enough_of_them(divided):
    mixed = np.random.default_rng(0).integers(1, 90, 300)
    for sizes, count in (([5] * 31, 1), ([5] * 33, 2), ([1000] * 11, 3), (mixed, None)):
        parts = [
            spans(sizes)[part]
            for part in epoch_plans.slice_documents(spans(sizes), 8, min_documents=3)
        ]
        assert np.array_equal(np.concatenate(parts), spans(sizes))
        assert len(parts) == count or count is None
        assert all(len(part) >= 3 for part in parts)
        pieces = [sum((stop - start) // 8 + 1 for start, stop in part) for part in parts]
        assert len(parts) == 1 or min(pieces) >= 16
        assert max(sizes) > 90 or max(pieces) < 2 * 16 + 90 // 8 + 1
    assert len(parts) > 50


def test_every_token_of_a_divided_corpus_is_a_target_once(divided):
    source = made([40, 3, 9, 17, 25, 60, 1, 8] * 9)
    plan = source.plan(0)
    assert len(list(epoch_plans.slice_documents(source.corpus.documents, 8, min_documents=1))) > 3
    targets = np.concatenate([np.arange(start + 1, stop) for start, stop in plan.pieces])
    first = source.corpus.documents[:, 0]
    expected = np.setdiff1d(np.arange(len(source.corpus.tokens)), first)
    assert np.array_equal(np.sort(targets), expected)
    ids = np.concatenate([source.rows(np.array([row])).ids.numpy() for row in range(plan.size)])
    assert np.isin(expected, ids).all()


def draws(rows):
    return RowSampler(
        rows, collate_windows if rows is plan_windows else collate_packed, rows is not plan_windows
    )


@pytest.mark.parametrize("rows", [plan_windows, plan_full_sentences, plan_next_sentence])
def test_what_the_disk_has_is_what_would_be_made_in_memory(divided, rows):
    source = made([40, 3, 9, 17, 25, 60, 2, 8] * 9, draws(rows), vocabulary=ENDS)
    for epoch in (0, 1):
        kept, fresh = source.plan(epoch), epoch_plans.join_plans(source._plan_slices(epoch))
        for name, value in fresh._asdict().items():
            assert np.array_equal(getattr(kept, name), value), name
            assert value is None or getattr(kept, name).dtype == value.dtype
    assert not np.array_equal(kept.pieces, source.plan(0).pieces)


def test_shares_of_a_corpus_are_cut_by_chances_of_their_own(divided):
    source = made([60] * 40)
    first, second = [plan for plan, _ in zip(source._plan_slices(0), range(2))]
    widths = [np.diff(plan.pieces).ravel().tolist() for plan in (first, second)]
    assert widths[0] != widths[1]


def test_sentences_of_a_share_are_those_of_its_documents(divided):
    corpus = made([40, 3, 9, 1, 25, 60, 2, 8] * 9).corpus
    parts = [
        corpus.spans(part)
        for part in epoch_plans.slice_documents(corpus.documents, 8, min_documents=1)
    ]
    assert np.array_equal(np.concatenate([inner for _, inner in parts]), corpus.sentences)
    for documents, inner in parts:
        assert inner[0, 0] == documents[0, 0]
        assert inner[-1, 1] == documents[-1, 1]


def test_documents_without_a_row_are_left_out_and_none_is_an_error(divided):
    source = made([*[1] * 40, *[30] * 40, *[1] * 40])
    assert (source.plan(0).pieces[:, 1] - source.plan(0).pieces[:, 0] > 1).all()
    with pytest.raises(ValueError, match="no document has two tokens"):
        made([1] * 200)
    assert not any(path.name.startswith(".") for path in cache_dir("plans").rglob("*"))


def test_a_plan_of_more_documents_takes_no_more_memory(divided, monkeypatch):
    monkeypatch.setattr(epoch_plans, "PIECES_PER_SLICE", 2**12)

    def peak(documents):
        source = made([1000] * documents)
        tracemalloc.start()
        source.plan(1)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    # 6 and 48 shares of 33 documents
    assert peak(48 * 33) < 1.2 * peak(6 * 33)


def test_a_mistake_in_a_plan_is_not_taken_for_a_share_without_rows(divided):
    def broken(documents, sentences, **told):
        if documents[0, 0]:
            raise ValueError("a mistake")
        return plan_windows(documents, sentences, **told)

    with pytest.raises(ValueError, match="a mistake"):
        made([60] * 40, RowSampler(broken, collate_windows))


def test_documents_that_are_paired_have_others_beside_them(divided):
    source = made(
        [300] * 6, RowSampler(plan_next_sentence, collate_pairs, needs_sentences=True), length=20
    )
    assert len(list(source._plan_slices(0))) == 2
    assert len(list(made([300] * 6)._plan_slices(0))) > 2  # windows have no use for others


def test_what_a_killed_process_left_half_written_goes_a_day_later(source):
    home = cache_dir("plans") / source.key
    old, new = home / ".00000007.abc", home / ".00000008.abc"
    for path in (old, new):
        path.mkdir()
    os.utime(old, (0, 0))
    source.plan(1)
    assert not old.exists()
    assert new.exists()


@pytest.mark.parametrize("first", [True, False])
def test_a_part_is_in_every_share_or_in_none(tmp_path, first):
    plan = EpochPlan(*(np.zeros(2, np.int64) for _ in EpochPlan._fields))
    lacking = plan._replace(pair=None)
    parts = (plan, lacking) if first else (lacking, plan)
    with pytest.raises(AssertionError, match="pair is not in every part"):
        epoch_plans.write_plan(parts, tmp_path / "plan")
    assert list(tmp_path.iterdir()) == []


def test_a_plan_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    seen, sync = [], os.fsync

    def looks(number):
        if stat.S_ISREG(os.fstat(number).st_mode):
            assert not (tmp_path / "plan").exists()
            seen.append(os.fstat(number).st_size)
        sync(number)

    monkeypatch.setattr(os, "fsync", looks)
    epoch_plans.write_plan(
        [EpochPlan(*(np.zeros(2, np.int64) for _ in EpochPlan._fields))], tmp_path / "plan"
    )
    assert sorted(seen) == sorted(p.stat().st_size for p in (tmp_path / "plan").glob("*.npy"))
    assert len(seen) == len(EpochPlan._fields)


def test_a_corpus_by_name_keeps_its_name():
    assert name_data("python-docs") == "python-docs"
    assert name_data("hub:some/data:test") == "hub:some/data:test"


def test_held_out_text_is_only_that_of_the_same_corpus(tmp_path):
    data = tmp_path / "text"
    data.mkdir()
    for i in range(6):
        (data / f"{i}.txt").write_text("the old sea was calm. " * (20 + i))
    told = {"steps": 1, "batch_size": 2, "max_length": 16, "cpu_threads": 1, "quiet": True}
    told["val_fraction"] = 0.3
    encoder = {"encoder": "gpt-tiny", "encoder_options": {"dim": 16, "heads": 2, "depth": 1}}
    run = selfwise.pretrain(
        "gpt", data=data, out=tmp_path / "run", tokenizer="chars", **encoder, **told
    )
    assert perplexity(run)["lm_loss"] > 0
    (data / "6.txt").write_text("the old sea was calm. " * 20)
    with pytest.raises(ValueError, match="not the text"):
        perplexity(run)
