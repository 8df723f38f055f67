"""word2vec with sub-words: the vector of a word, its gradients, and what becomes of a run."""

import numpy as np
import pytest
import torch

import selfwise
from selfwise.core.rng import generator
from selfwise.encoders.char_ngrams import hash_ngram, list_ngrams
from selfwise.encoders.word_table import build_word_table
from selfwise.methods.word2vec import Word2Vec
from selfwise.modalities.text.token_table import FirstTokens
from selfwise.workflows.export import export_run
from tests.helpers import cases
from tests.helpers.exchange_cases import QUICK
from tests.methods.test_word2vec import SPECIAL, loop_loss, random_batch, view_of

BUCKETS, DIM = 41, 8
WORDS = [f"[S{n}]" for n in range(SPECIAL)] + [f"walk{'ing' * (n % 3)}{n}" for n in range(59)]


def make_method(objective: str = "skipgram") -> Word2Vec:
    """A method whose three tables hold numbers of order 1."""
    vocabulary = cases.vocabulary()
    options = {"dim": DIM, "subwords": True, "buckets": BUCKETS}
    encoder = build_word_table(vocab=64, special=vocabulary.special, words=WORDS, **options)
    counts = torch.arange(64, 0, -1)
    method = Word2Vec(encoder, vocab=vocabulary, counts=counts, objective=objective)
    with torch.no_grad():
        for name, p in method.named_parameters():
            p.copy_(0.4 * torch.randn(p.shape, generator=generator(1, name)))
    return method.double()


def compose(method: Word2Vec) -> torch.Tensor:
    """Vectors of all words by a loop: the sum of n + 1 rows over sqrt(n + 1)."""
    own, shared = method.encoder.token.weight, method.encoder.ngram.weight
    vectors = []
    for number, word in enumerate(WORDS):
        ngrams = [] if number < SPECIAL else list_ngrams(word, 3, 6)
        rows = [own[number], *(shared[hash_ngram(one) % BUCKETS] for one in ngrams)]
        vectors.append(torch.stack(rows).sum(0) / len(rows) ** 0.5)
    return torch.stack(vectors)


@pytest.mark.parametrize("shape", [(64,), (3, 9), (2, 1, 4)])
def test_a_vector_is_the_sum_of_its_rows_over_the_root_of_their_number(shape):
    method = make_method()
    ids = torch.randint(0, 64, shape, generator=generator(3))
    torch.testing.assert_close(method.encoder.look_up(ids), compose(method)[ids])
    plain = method.encoder.without_ngrams()
    assert plain.ngram is None
    torch.testing.assert_close(plain.look_up(ids), compose(method)[ids])
    factors = torch.rand(64, generator=generator(4)).double()
    scaled = method.encoder.scale(factors).look_up(ids)
    torch.testing.assert_close(scaled, (factors[:, None] * compose(method))[ids])


@pytest.mark.parametrize("objective", ["skipgram", "cbow"])
def test_sparse_gradients_are_those_of_a_dense_loop(objective):
    method = make_method(objective)
    view = view_of(method, random_batch())
    method(view).loss.backward()
    tables = [method.encoder.token.weight, method.encoder.ngram.weight, method.contexts]
    loss, _ = loop_loss(method, view, compose(method))
    assert method(view).loss.item() == pytest.approx(loss.item(), rel=1e-10)
    for table, gradient in zip(tables, torch.autograd.grad(loss, tables)):
        assert table.grad.is_sparse
        rows = table.grad._indices()[0]
        assert torch.equal(rows, rows.unique())
        torch.testing.assert_close(table.grad.to_dense(), gradient, rtol=1e-10, atol=1e-10)


def test_words_start_as_small_as_without_subwords():
    options = {"vocab": 64, "special": cases.vocabulary().special, "dim": 32}
    plain = build_word_table(**options)
    whole = build_word_table(**options, words=WORDS, subwords=True, buckets=5000)
    deviation = whole.look_up(torch.arange(SPECIAL, 64)).std()
    assert deviation.item() == pytest.approx(plain.token.weight[SPECIAL:].std().item(), rel=0.15)
    assert not whole.look_up(torch.arange(SPECIAL)).any()


def test_the_shortest_ngram_is_not_longer_than_the_longest():
    with pytest.raises(ValueError, match="min_ngram 7 is more than max_ngram 6"):
        build_word_table(vocab=64, words=WORDS, subwords=True, min_ngram=7)


@pytest.mark.run
def test_a_run_keeps_its_vectors_through_loading_embedding_and_export(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("the sea was calm and the seas were calmer; a boat, two boats went by. " * 40)
    options = {"encoder_options": {"dim": 6, "subwords": True, "buckets": 50}, **QUICK}
    options |= {"val_fraction": 0.0, "max_length": 16}
    run = selfwise.pretrain("word2vec", data=text, out=tmp_path / "run", **options)
    loaded = selfwise.load(run.folder)
    ids = torch.arange(loaded.encoder.vocab)
    vectors = loaded.encoder.look_up(ids).detach()
    assert torch.equal(vectors, run.encoder.look_up(ids).detach())
    sea, boats = loaded.tokenizer.id("sea"), loaded.tokenizer.id("boats")
    found = selfwise.embed(loaded, ["sea boats", "unknown sea"]).vectors
    expected = torch.stack([(vectors[sea] + vectors[boats]) / 2, vectors[sea]])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-8)
    export_run(run.folder, to="word2vec", out=tmp_path / "out")
    lines = (tmp_path / "out" / "vectors.vec").read_text().splitlines()[1:]
    rows = {line.split(" ")[0]: line.split(" ")[1:] for line in lines}
    np.testing.assert_array_equal(np.array(rows["boats"], np.float32), vectors[boats])
    table = build_word_table(vocab=len(vectors), dim=6)
    FirstTokens(run.folder, selfwise.load).copy(table, run.tokenizer)
    words = [i for i in range(len(vectors)) if i not in run.tokenizer.vocabulary.special]
    expected = vectors - vectors[words].mean(dim=0)
    expected = (expected * (table.token.weight[sea, 0] / expected[sea, 0]))[words]
    found = table.token.weight.detach()[words]
    torch.testing.assert_close(found, expected.detach(), rtol=1e-4, atol=1e-6)


@pytest.mark.run
def test_tokens_that_are_parts_of_words_are_refused(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("the sea was calm and the seas were calmer " * 40)
    options = {"encoder_options": {"subwords": True}, "tokenizer": "wordpiece:64", **QUICK}
    with pytest.raises(ValueError, match=r"encoder.subwords needs a tokenizer of whole words"):
        selfwise.pretrain("word2vec", data=text, out=tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()
