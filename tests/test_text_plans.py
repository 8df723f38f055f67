"""Plans on the disk: removed by others at any time, and still the same plans."""

import shutil

import numpy as np
import pytest

import selfwise
from selfwise import language
from selfwise.arguments import where
from selfwise.data import text_source
from selfwise.data.corpus import open_corpus
from selfwise.data.text_source import TextSource
from selfwise.data.tokenizer import train
from selfwise.types import Draw
from selfwise.views.layout import pairs
from selfwise.views.pairs import next_sentence

TEXTS = ["Hello there. It is so. " * 3 for _ in range(4)]


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setenv("SELFWISE_CACHE", str(tmp_path / "cache"))
    tokenizer = train("chars", TEXTS)
    told = {"length": 64, "batch": 3, "seed": 0, "vocabulary": tokenizer.vocabulary}
    corpus = open_corpus(TEXTS, tokenizer, sentences=True)
    return TextSource(corpus, Draw(next_sentence, pairs, needs_sentences=True), **told)


@pytest.mark.parametrize("part", ["", "pieces.npy", "pair.npy", "ends.none"])
def test_a_plan_that_another_process_removes_is_made_again(source, monkeypatch, part):
    expected = source.batch(source.steps_per_epoch)
    source.plan.cache_clear()
    read, torn = text_source._read, []

    def removed(home):
        if not torn:
            torn.append(home)
            # as `_forget` does, at any moment of the reading
            if part:
                (home / part).unlink()
                with pytest.raises(FileNotFoundError):
                    read(home)
            shutil.rmtree(home)
        return read(home)

    monkeypatch.setattr(text_source, "_read", removed)
    found = source.batch(source.steps_per_epoch)
    assert torn
    assert np.array_equal(found.ids, expected.ids)
    assert np.array_equal(found.pair, expected.pair)


def test_old_plans_are_forgotten_as_a_whole(source):
    for epoch in range(5):
        source.plan(epoch)
    home = text_source.plans() / source.key
    assert sorted(path.name for path in home.iterdir()) == ["00000003", "00000004"]


def test_a_corpus_by_name_keeps_its_name():
    assert where("python-docs") == "python-docs"
    assert where("hub:some/data:test") == "hub:some/data:test"


def test_held_out_text_is_only_that_of_the_same_corpus(tmp_path):
    data = tmp_path / "text"
    data.mkdir()
    for i in range(6):
        (data / f"{i}.txt").write_text("the old sea was calm. " * (20 + i))
    told = {"steps": 1, "batch": 2, "length": 16, "threads": 1, "quiet": True, "held_out": 0.3}
    encoder = {"name": "gpt-tiny", "dim": 16, "heads": 2, "depth": 1}
    run = selfwise.pretrain(
        "gpt", data=data, out=tmp_path / "run", tokenizer="chars", encoder=encoder, **told
    )
    assert language.perplexity(run)["next_token"] > 0
    (data / "6.txt").write_text("the old sea was calm. " * 20)
    with pytest.raises(ValueError, match="not the text"):
        language.perplexity(run)
