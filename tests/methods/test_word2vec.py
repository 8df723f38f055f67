"""What word2vec promises: windows, dropped words, negatives, a loss that is a sum over pairs."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import selfwise
from selfwise.core.rng import Rng, generator
from selfwise.core.types import TextBatch
from selfwise.encoders.text import build_text_encoder
from selfwise.methods.roberta import RoBERTa
from selfwise.methods.word2vec import Word2Vec
from selfwise.training.config import TrainingConfig, resolve_training
from selfwise.training.step import build_state, set_lr, train_step
from selfwise.views.text.word_windows import CENTERS, keep_probability
from tests.helpers import cases
from tests.runs.test_lengthen import back_to

SPECIAL = 5  # ids of cases.vocabulary() that are not words


def view_of(method, batch, seed: int = 0):
    return method.view(batch, Rng(generator(0), seed=seed))


def random_batch(rows: int = 6, length: int = 80) -> TextBatch:
    """Rows of several documents, with padding and with special tokens inside."""
    ids = torch.randint(0, 64, (rows, length), generator=generator(0, "ids"))
    valid = torch.arange(length) < torch.arange(length, length - 7 * rows, -7)[:, None]
    starts = torch.tensor([[0, 11, 40]]).repeat(rows, 1)
    return TextBatch(ids, torch.arange(rows), valid, starts=starts)


def make_method(objective: str = "skipgram", **options) -> Word2Vec:
    """A method whose tables both hold numbers of order 1."""
    method = cases.build("word2vec", objective=objective, **options)
    with torch.no_grad():
        for name, p in method.named_parameters():
            p.copy_(0.4 * torch.randn(p.shape, generator=generator(1, name)))
    return method


def list_pairs(view) -> list[tuple[int, int, list[int], list[int]]]:
    """Center, and its contexts and negatives, by a loop over the words that were kept."""
    found = []
    for row in range(len(view.ids)):
        places = view.kept[row].nonzero()[:, 0].tolist()
        for number, place in enumerate(places):
            reach = int(view.reach[row, place])
            contexts = [
                int(view.ids[row, places[other]])
                for other in range(max(0, number - reach), min(len(places), number + reach + 1))
                if other != number
                and view.document[row, places[other]] == view.document[row, place]
            ]
            negatives = view.negatives[row, number // CENTERS].tolist()
            found.append((int(view.ids[row, place]), contexts, negatives))
    return found


def loop_loss(method: Word2Vec, view, vectors=None) -> tuple[torch.Tensor, int]:
    """The loss of the paper, pair after pair, and the number of predicted words."""
    table = method.encoder.token.weight if vectors is None else vectors
    outputs = method.contexts
    total, count = torch.zeros((), dtype=table.dtype), 0
    for center, contexts, negatives in list_pairs(view):
        if method.objective == "skipgram":
            pairs = [(table[center], context) for context in contexts]
        else:
            pairs = [(table[contexts].mean(0), center)] if contexts else []
        for vector, target in pairs:
            count += 1
            total = total - F.logsigmoid(vector @ outputs[target])
            far = torch.stack([F.logsigmoid(-vector @ outputs[n]) for n in negatives])
            total = total - method.negatives * far.mean()
    return total, count


@pytest.mark.parametrize("objective", ["skipgram", "cbow"])
def test_the_loss_is_the_sum_over_all_pairs_of_a_loop(objective):
    method = make_method(objective).double()
    view = view_of(method, random_batch())
    expected, count = loop_loss(method, view)
    step = method(view)
    assert step.terms["word2vec_loss"].sum.item() == pytest.approx(expected.item(), rel=1e-10)
    assert step.metrics["pair_loss"].count.item() == count > 100
    assert step.metrics["pair_loss"].mean.item() == pytest.approx(expected.item() / count)


@pytest.mark.parametrize("objective", ["skipgram", "cbow"])
@pytest.mark.parametrize(("dtype", "near"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_sparse_gradients_are_those_of_the_loop(objective, dtype, near):
    method = make_method(objective).to(dtype)
    view = view_of(method, random_batch())
    method(view).loss.backward()
    tables = [method.encoder.token.weight, method.contexts]
    assert all(table.grad.is_sparse for table in tables)
    expected = torch.autograd.grad(loop_loss(method, view)[0], tables)
    for table, gradient in zip(tables, expected):
        rows = table.grad._indices()[0]
        assert torch.equal(rows, rows.unique())
        torch.testing.assert_close(table.grad.to_dense(), gradient, rtol=near, atol=near)


def test_windows_are_drawn_uniformly_from_one_to_the_largest():
    method = cases.build("word2vec", window=5)
    ids = torch.full((64, 256), 9)
    reach = view_of(method, TextBatch(ids, torch.arange(64))).reach
    shares = torch.bincount(reach.flatten(), minlength=7) / reach.numel()
    assert shares[0] == shares[6] == 0
    # 16,384 draws: a standard error of 0.3 %
    torch.testing.assert_close(shares[1:6], torch.full((5,), 0.2), atol=0.015, rtol=0)


def test_frequent_words_are_dropped_by_the_formula_of_the_code():
    counts = torch.tensor([100_000, 10_000, 1_000, 889_000])
    expected = [min(1.0, math.sqrt(1e-3 / f) + 1e-3 / f) for f in (0.1, 0.01, 1e-3, 0.889)]
    assert expected[:3] == pytest.approx([0.11, 0.4162, 1.0], abs=1e-4)
    assert keep_probability(counts, 1e-3).tolist() == pytest.approx(expected, abs=1e-6)
    assert keep_probability(counts, 0).tolist() == [1] * 4


def test_words_stay_at_the_rate_of_their_probability():
    method = cases.build("word2vec")  # 64 words of similar frequency, each about 2 % of the text
    ids = torch.full((64, 256), 9)
    kept = view_of(method, TextBatch(ids, torch.arange(64))).kept
    assert 0.1 < method.keep[9] < 0.5
    assert kept.float().mean().item() == pytest.approx(method.keep[9].item(), abs=0.015)
    again = view_of(method, TextBatch(ids, torch.arange(64)), seed=1).kept
    assert not torch.equal(kept, again)


def test_negatives_follow_the_counts_to_the_power_three_quarters():
    counts = torch.zeros(64, dtype=torch.int64)
    counts[10:14] = torch.tensor([10_000, 1_000, 100, 10])
    method = cases.build("word2vec", counts=counts)
    negatives = view_of(method, TextBatch(torch.full((256, 64), 9), torch.arange(256))).negatives
    shares = torch.bincount(negatives.flatten(), minlength=64)[10:14] / negatives.numel()
    weights = torch.tensor([1_000.0, 177.8, 31.62, 5.623])
    torch.testing.assert_close(shares, weights / weights.sum(), atol=0.015, rtol=0)
    assert shares.sum() == 1


def test_special_and_unknown_tokens_are_neither_centers_nor_contexts_nor_negatives():
    method = make_method()
    view = view_of(method, random_batch())
    assert not view.kept[view.ids < SPECIAL].any()
    assert not view.kept[~random_batch().valid].any()
    assert view.negatives.min() >= SPECIAL
    method(view).loss.backward()
    for table in (method.encoder.token.weight, method.contexts):
        assert not table.grad.to_dense()[:SPECIAL].any()


def test_windows_reach_over_dropped_words_and_end_with_the_document():
    method = make_method(window=2)
    ids = torch.arange(10, 18)[None]
    view = view_of(method, TextBatch(ids, torch.arange(1), starts=torch.tensor([[0, 5]])))
    kept = torch.tensor([[1, 0, 0, 1, 1, 1, 1, 0]], dtype=torch.bool)
    view = view._replace(kept=kept, reach=torch.full((1, 8), 2))
    pairs = {center: contexts for center, contexts, _ in list_pairs(view)}
    assert pairs == {10: [13, 14], 13: [10, 14], 14: [10, 13], 15: [16], 16: [15]}
    assert method(view).metrics["pair_loss"].count == 8
    near = view._replace(reach=torch.full((1, 8), 1))
    assert method(near).metrics["pair_loss"].count == 6


def test_vectors_start_small_and_contexts_at_zero():
    method = cases.build("word2vec")
    table, dim = method.encoder.token.weight, method.encoder.dim
    words = table[SPECIAL:]
    assert 0.9 * 0.5 / dim < words.abs().max() <= 0.5 / dim
    assert words.std().item() == pytest.approx(1 / dim / math.sqrt(12), rel=0.1)
    assert not table[:SPECIAL].any()
    assert not method.contexts.any()
    step = method(view_of(method, random_batch()))
    # log 2 for the pair and for each of five negatives
    assert step.metrics["pair_loss"].mean.item() == pytest.approx(6 * math.log(2), rel=1e-6)


def test_the_recipe_is_that_of_the_code():
    paper = Word2Vec.paper
    assert (paper.lr, paper.schedule, paper.warmup, paper.epochs) == (0.025, "linear", 0.0, 5.0)
    assert (paper.optimizer, paper.scaling, paper.grad_clip) == ("sparse_sgd", "none", 0.0)
    assert Word2Vec.paper_for({"objective": "cbow"}).lr == 0.05
    assert Word2Vec.paper_for({"objective": "skipgram"}).lr == 0.025


def resolve(**options):
    return resolve_training(
        TrainingConfig(device="cpu", steps=10, **options), Word2Vec, num_workers=0
    )


@pytest.mark.parametrize("objective", ["skipgram", "cbow"])
def test_micro_batches_add_up_to_the_whole_step(objective):
    weights = []
    for accumulate in (1, 2, 3):
        method = make_method(objective)
        options = resolve(batch_size=6, grad_accum_steps=accumulate)
        state = build_state(method, options)
        for number in range(3):
            set_lr(state.optimizer, options, number)
            step = train_step(state, random_batch(), number, seed=0, options=options)
        weights.append([p.detach().clone() for p in method.parameters()])
        assert step.terms["word2vec_loss"].count.item() == pytest.approx(1.0)
        assert step.metrics["grad_norm"].mean > 0
    for other in weights[1:]:
        torch.testing.assert_close(other, weights[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("objective", ["skipgram", "cbow"])
def test_bf16_changes_nothing_since_sums_over_pairs_stay_in_float32(objective):
    losses = []
    for precision in ("float32", "bf16"):
        options = resolve(batch_size=6, precision=precision)
        state = build_state(make_method(objective), options)
        losses.append(train_step(state, random_batch(), 0, seed=0, options=options).loss.item())
    assert losses[0] == losses[1]


def test_a_step_is_rate_times_gradient_and_only_on_rows_that_were_read():
    method, before = make_method(), make_method()
    options = resolve(batch_size=6, lr=1e-3)
    train_step(build_state(method, options), random_batch(), 0, seed=0, options=options)
    view = before.view(random_batch(), Rng(generator(0, "view", 0), slice(0, 6), 6, seed=0))
    before(view).loss.backward()
    for p, old in zip(method.parameters(), before.parameters()):
        torch.testing.assert_close(p.detach(), old.detach() - 1e-3 * old.grad.to_dense())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"optimizer": "adamw", "lr": 1e-3}, "--optimizer adamw is not possible"),
        ({"weight_decay": 0.1}, "--weight-decay 0.1 is not possible"),
        ({"grad_clip": 1.0}, "--grad-clip 1 is not possible"),
        ({"precision": "fp16"}, "--precision fp16 does not work"),
    ],
)
def test_options_that_need_dense_gradients_are_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        resolve(**options)


def test_sparse_sgd_is_refused_where_gradients_are_dense():
    with pytest.raises(ValueError, match="roberta has no sparse gradients"):
        resolve_training(
            TrainingConfig(device="cpu", steps=10, optimizer="sparse_sgd", lr=0.1),
            RoBERTa,
            num_workers=0,
        )


def test_word2vec_needs_a_table_and_other_methods_need_neighbors():
    options = {"dim": 32, "depth": 1, "heads": 2, "length": 24}
    counts = torch.arange(64, 0, -1)
    with pytest.raises(ValueError, match="--encoder word2vec would be right"):
        Word2Vec(
            build_text_encoder("bert-tiny", vocab=64, **options),
            vocab=cases.vocabulary(),
            counts=counts,
        )
    with pytest.raises(ValueError, match="a table of word vectors sees neither"):
        RoBERTa(cases.build("word2vec").encoder, vocab=cases.vocabulary())


def test_a_text_without_a_word_is_refused():
    counts = torch.zeros(64, dtype=torch.int64)
    counts[1] = 10  # [UNK]
    with pytest.raises(ValueError, match="no word to learn"):
        cases.build("word2vec", counts=counts)


def test_the_mean_is_over_known_words():
    encoder = make_method().encoder
    ids = torch.tensor([[2, 10, 1, 11, 3, 0], [2, 12, 3, 0, 0, 0], [2, 1, 3, 0, 0, 0]])
    valid = torch.arange(6) < torch.tensor([5, 3, 3])[:, None]
    pooled = encoder(TextBatch(ids, torch.arange(3), valid)).pooled
    vectors = encoder.token.weight
    expected = torch.stack([(vectors[10] + vectors[11]) / 2, vectors[12], torch.zeros(32)])
    torch.testing.assert_close(pooled, expected)


@pytest.mark.run  # two trainings
@pytest.mark.parametrize("subwords", [False, True])
@pytest.mark.parametrize("objective", ["skipgram", "cbow"])
def test_a_run_on_two_threads_is_resumed_exactly(objective, subwords, tmp_path):
    """The order in which repeated rows are added does not depend on threads."""
    corpus = tmp_path / "text.txt"
    corpus.write_text(" ".join(f"w{n}" for n in np.random.default_rng(0).zipf(1.4, 60_000) % 400))
    options = {"objective": objective, "steps": 6, "save_every": 2, "keep_last": 9}
    options |= {"cpu_threads": 2, "monitor_every": 0, "quiet": True}
    options |= {"encoder_options": {"subwords": subwords, "buckets": 500}}
    runs = [
        selfwise.pretrain("word2vec", data=corpus, out=tmp_path / name, **options)
        for name in ("whole", "stopped")
    ]
    back_to(runs[1].folder, 2)
    resumed = selfwise.resume(runs[1].folder, quiet=True)
    for name, weight in runs[0].method.state_dict().items():
        assert torch.equal(weight, resumed.method.state_dict()[name]), name
    assert float(runs[0].method.contexts.detach().abs().max()) > 0.01
