"""Several sources: one corpus, held-out parts of each, and epochs in given proportions."""

import os
from pathlib import Path

import numpy as np
import pytest

from selfwise.core.data_sources import DataSources, unwrap_sources
from selfwise.core.types import RowSampler
from selfwise.data.text import encode, mixture, token_cache
from selfwise.data.text.batches import TextSource
from selfwise.data.text.corpus import Corpus, open_corpus
from selfwise.data.text.documents import open_documents
from selfwise.data.text.mixture import divide_tokens, draw_layers, list_sources, split_corpus
from selfwise.tokenizers.tokenizer import Tokenizer, train_tokenizer
from selfwise.views.text.collate import collate_pairs, collate_windows
from selfwise.views.text.packing import plan_windows
from selfwise.views.text.sentence_pairs import plan_next_sentence

TEXT = "the old sea was calm and a small boat went out to the far green island again"
WORDS = TEXT.split()
LENGTH = 16


def story(seed: int, sentences: int) -> str:
    random = np.random.default_rng(seed)
    said = [" ".join(random.choice(WORDS, 6)).capitalize() + "." for _ in range(sentences)]
    return " ".join(said)


TEXTS = {f"a/{i}.txt": story(i, 10 + i) for i in range(9)}
TEXTS |= {f"b/{i}.txt": story(50 + i, 14) for i in range(4)}
TEXTS |= {"c.txt": story(99, 40)}
NAMES = ("a", "b", "c.txt")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SELFWISE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path) -> Path:
    folder = tmp_path / "corpus"
    for name, text in TEXTS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer("wordpiece", TEXTS.values(), vocab_size=120)


@pytest.fixture
def sources(root) -> DataSources:
    return DataSources(root / name for name in NAMES)


@pytest.fixture(params=["gpt", "bert"])
def draw(request) -> RowSampler:
    if request.param == "gpt":
        return RowSampler(plan_windows, collate_windows)
    return RowSampler(plan_next_sentence, collate_pairs, needs_sentences=True)


def rows_of(corpus: Corpus, draw, tokenizer: Tokenizer, *, weights=(), batch=4) -> TextSource:
    vocabulary = tokenizer.vocabulary
    told = {"length": LENGTH, "batch": batch, "seed": 3, "vocabulary": vocabulary}
    return TextSource(corpus, draw, **told, weights=weights)


def tokens_read(corpus: Corpus, layers: list[np.ndarray]) -> np.ndarray:
    """How often each token of the corpus is read."""
    counts = np.zeros(len(corpus.tokens), np.int64)
    for layer in layers:
        once = np.zeros(len(corpus.tokens), np.int64)
        for start, stop in layer:
            once[start:stop] += 1
        assert once.max(initial=0) <= 1, "a layer has a token twice"
        assert (layer[1:, 0] >= layer[:-1, 1]).all(), "documents ascend"
        counts += once
    return counts


def test_several_sources_are_read_as_one_folder_of_them(root, sources, tokenizer, draw):
    one = open_corpus(root, tokenizer, sentences=draw.needs_sentences)
    several = open_corpus(sources, tokenizer, sentences=draw.needs_sentences)
    assert np.array_equal(one.tokens, several.tokens)
    assert np.array_equal(one.documents, several.documents)
    assert np.array_equal(one.sizes, several.sizes)
    first, second = (rows_of(corpus, draw, tokenizer) for corpus in (one, several))
    for step in (0, 5, first.steps_per_epoch + 1):
        assert (first[step].ids == second[step].ids).all()
    assert one.fingerprint != several.fingerprint
    assert one.source_ends == ()


def test_each_source_has_its_own_documents(root, sources, tokenizer):
    corpus = open_corpus(sources, tokenizer, sentences=True)
    alone = [open_corpus(place, tokenizer, sentences=True) for place in sources.places]
    assert corpus.source_ends == tuple(np.cumsum([len(one.tokens) for one in alone]))
    for rows, one in zip(list_sources(corpus), alone):
        documents = corpus.documents[rows]
        begin, end = documents[0, 0], documents[-1, 1]
        assert np.array_equal(documents - begin, one.documents)
        assert np.array_equal(corpus.tokens[begin:end], one.tokens)


def test_small_batches_and_parts_without_text_do_not_move_the_borders(
    root, sources, tokenizer, tmp_path, monkeypatch
):
    expected = open_corpus(sources, tokenizer, sentences=True)
    (root / "b" / "0.txt").rename(root / "b" / "00.txt")  # another order of files, and
    (root / "b" / "0.txt").write_text("")  # the first file of b has no text
    monkeypatch.setattr(encode, "CHARACTERS_PER_BATCH", 100)
    monkeypatch.setattr(token_cache, "CHARACTERS_PER_SHARD", 300)
    corpus = open_corpus(sources, tokenizer, sentences=True)
    assert corpus.source_ends == expected.source_ends
    assert corpus.fingerprint != expected.fingerprint


def test_a_build_that_stopped_inside_a_source_gives_the_same_borders(
    sources, tokenizer, tmp_path, monkeypatch
):
    expected = open_corpus(sources, tokenizer, sentences=True)
    monkeypatch.setenv("SELFWISE_CACHE", str(tmp_path / "stopped"))
    monkeypatch.setattr(encode, "CHARACTERS_PER_BATCH", 200)
    monkeypatch.setattr(token_cache, "CHARACTERS_PER_SHARD", 400)
    calls = []

    def stop(done, total):
        calls.append(done)
        if len(calls) in (3, 7, 11):
            raise KeyboardInterrupt

    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            open_corpus(sources, tokenizer, sentences=True, progress=stop)
    corpus = open_corpus(sources, tokenizer, sentences=True)
    assert corpus.source_ends == expected.source_ends
    assert np.array_equal(corpus.tokens, expected.tokens)
    assert np.array_equal(corpus.sentences, expected.sentences)


def test_a_source_without_tokens_is_named(root, tokenizer):
    (root / "blank.txt").write_text(" \n ")
    places = [root / "a", root / "blank.txt", root / "b"]
    with pytest.raises(ValueError, match=r"blank.txt: the corpus is empty"):
        open_corpus(DataSources(places), tokenizer)


def test_the_order_in_which_a_system_lists_files_changes_nothing(sources, tokenizer, monkeypatch):
    walk = os.walk
    expected = open_documents(sources)
    monkeypatch.setattr(
        os, "walk", lambda *a, **k: ((f, d, names[::-1]) for f, d, names in walk(*a, **k))
    )
    documents = open_documents(sources)
    assert documents.fingerprint == expected.fingerprint
    assert [part.path for part in documents.parts] == [part.path for part in expected.parts]


def test_a_list_of_one_source_is_the_source(root):
    assert unwrap_sources([root]) == root
    assert unwrap_sources(DataSources([str(root)])) == str(root)
    assert open_documents([root]).fingerprint == open_documents(root).fingerprint


def test_a_list_of_str_is_one_source_of_documents(root):
    documents = open_documents([str(root), "some text"])
    assert list(documents) == [str(root), "some text"]
    assert not documents.sources


def test_sources_in_memory_and_files_may_be_mixed(root):
    documents = open_documents(DataSources([["one text", "another"], root / "c.txt"]))
    assert list(documents) == ["one text", "another", TEXTS["c.txt"]]
    assert len(documents.sources) == 2


@pytest.mark.parametrize("sentences", [False, True])
def test_every_source_holds_out_what_it_would_alone(root, sources, tokenizer, sentences):
    corpus = open_corpus(sources, tokenizer, sentences=sentences)
    rest, held = split_corpus(corpus, 0.3, seed=0)
    for number, place in enumerate(sources.places):
        alone = open_corpus(place, tokenizer, sentences=sentences).split(0.3, seed=0)
        for mixed, one in zip((rest, held), alone):
            rows = list_sources(mixed)[number]
            shift = corpus.documents[list_sources(corpus)[number]][0, 0]
            assert np.array_equal(mixed.documents[rows] - shift, one.documents)
            assert np.array_equal(mixed.sizes[rows], one.sizes)
            if sentences:
                first, stop = mixed.documents[rows][[0, -1], [0, 1]]
                inside = (mixed.sentences[:, 0] >= first) & (mixed.sentences[:, 0] < stop)
                assert np.array_equal(mixed.sentences[inside] - shift, one.sentences)
    assert rest.fingerprint != held.fingerprint != corpus.fingerprint


def test_one_source_is_split_as_before(root, tokenizer):
    corpus = open_corpus(root, tokenizer)
    for found, expected in zip(split_corpus(corpus, 0.2), corpus.split(0.2)):
        assert found.fingerprint == expected.fingerprint
        assert np.array_equal(found.documents, expected.documents)


WEIGHTS = [(1, 1, 1), (1, 3, 0.5), (20, 1, 4), (0.1, 5, 5)]


@pytest.mark.parametrize("weights", WEIGHTS)
def test_an_epoch_has_the_proportions_of_the_weights(sources, tokenizer, weights):
    corpus = split_corpus(open_corpus(sources, tokenizer), 0.1)[0]
    total, ends = corpus.size, [0, *corpus.source_ends]
    for epoch in range(4):
        counts = tokens_read(corpus, [*draw_layers(corpus, weights, seed=1, epoch=epoch)])
        for number, weight in enumerate(weights):
            read = counts[ends[number] : ends[number + 1]].sum()
            assert read == round(total * weight / sum(weights))
    assert sum(divide_tokens(corpus, weights)) == pytest.approx(total, abs=2)


@pytest.mark.parametrize("sentences", [False, True])
def test_epochs_after_each_other_read_every_token_equally_often(sources, tokenizer, sentences):
    corpus = open_corpus(sources, tokenizer, sentences=sentences)
    counts = sum(
        tokens_read(corpus, [*draw_layers(corpus, (1, 6, 2), seed=1, epoch=epoch)])
        for epoch in range(40)
    )
    for start, stop in zip([0, *corpus.source_ends], corpus.source_ends):
        part = counts[start:stop]
        assert part.max() - part.min() <= 1
        assert part.min() > 0


def test_documents_are_cut_only_where_sentences_begin(sources, tokenizer):
    corpus = open_corpus(sources, tokenizer, sentences=True)
    begins = {*corpus.sentences[:, 0].tolist(), *corpus.documents[:, 1].tolist()}
    whole, cut = {tuple(span) for span in corpus.documents.tolist()}, 0
    for epoch in range(6):
        for layer in draw_layers(corpus, (1, 2, 1), seed=0, epoch=epoch):
            assert {*layer.ravel().tolist()} <= begins
            cut += len({tuple(span) for span in layer.tolist()} - whole)
            inside = mixture.select_sentences(corpus.sentences, layer)
            assert (inside[:, 1] - inside[:, 0]).sum() == (layer[:, 1] - layer[:, 0]).sum()
    assert cut > 6


def test_seed_and_epoch_choose_the_window(sources, tokenizer):
    corpus = open_corpus(sources, tokenizer)

    def window(seed: int, epoch: int) -> list[list[int]]:
        return next(draw_layers(corpus, (1, 1, 1), seed=seed, epoch=epoch)).tolist()

    assert window(0, 0) == window(0, 0)
    assert window(0, 0) != window(1, 0)
    assert window(0, 0) != window(0, 1)


@pytest.mark.parametrize("weights", WEIGHTS[:2])
def test_rows_have_the_proportions_too(sources, tokenizer, draw, weights):
    corpus = open_corpus(sources, tokenizer, sentences=draw.needs_sentences)
    source = rows_of(corpus, draw, tokenizer, weights=weights)
    for epoch in (0, 3):
        pieces = np.asarray(source.plan(epoch).pieces)
        owner = np.searchsorted(corpus.source_ends, pieces[:, 0], side="right")
        read = np.bincount(owner, weights=pieces[:, 1] - pieces[:, 0], minlength=3)
        assert read / read.sum() == pytest.approx(np.array(weights) / sum(weights), abs=0.06)


def test_a_step_is_a_function_of_seed_and_step_with_weights_too(sources, tokenizer, draw):
    corpus = open_corpus(sources, tokenizer, sentences=draw.needs_sentences)
    told = {"weights": (1, 2, 1), "batch": 6}
    straight = rows_of(corpus, draw, tokenizer, **told)
    steps = [*range(2 * straight.steps_per_epoch)]
    batches = {step: straight[step] for step in steps}
    again = rows_of(corpus, draw, tokenizer, **told)
    for step in reversed(steps):
        assert (again[step].ids == batches[step].ids).all()
        parts = [again.read_part(step, i, 2)[0].ids for i in range(2)]
        assert (np.concatenate(parts) == batches[step].ids.numpy()).all()
    other = rows_of(corpus, draw, tokenizer, batch=6, weights=(2, 1, 1))
    assert other.key != again.key
    assert any((other[s].ids != batches[s].ids).any() for s in range(other.steps_per_epoch))


def test_the_tokenizer_is_trained_on_all_sources(root, sources):
    texts = open_documents(sources)
    mixed = train_tokenizer("chars", texts)
    assert mixed.fingerprint == train_tokenizer("chars", open_documents(root)).fingerprint
    alone = train_tokenizer("chars", ["zebra", *open_documents(root / "a")])
    assert mixed.fingerprint != alone.fingerprint


@pytest.mark.parametrize("places", [["x", "x"], ["x", "./x"], [Path("x"), "y", "x"]])
def test_a_source_that_is_named_twice_is_an_error(places, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"--data names \S*x twice: .* --data-weights"):
        DataSources(places)


def test_no_source_is_an_error():
    with pytest.raises(ValueError, match="at least one source"):
        DataSources([])


def test_a_missing_source_among_several_is_named(root):
    with pytest.raises(ValueError, match=r"missing does not exist"):
        open_documents(DataSources([root / "a", root / "missing"]))
