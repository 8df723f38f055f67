"""One test for each sentence of the ALBERT paper (arXiv:1909.11942) that the method keeps."""

import pytest
import torch
import torch.nn.functional as F

from selfwise.core.rng import Rng, generator
from selfwise.core.types import map_tensors
from selfwise.methods.albert import ALBERT
from selfwise.views.text import sentence_pairs
from tests.helpers import cases
from tests.helpers.chance import near
from tests.methods.test_bert import VOCAB, B, N, large


def build(**options) -> ALBERT:
    return cases.build(
        "albert",
        encoder=cases.tiny_text_encoder("albert", vocab=VOCAB, length=N),
        vocab=cases.vocabulary(VOCAB),
        **options,
    )


def mask_large():
    """The method, a large batch, and its view."""
    method, batch = build(), large()
    return method, batch, method.view(batch, Rng(generator(0), seed=0))


@pytest.fixture(scope="module")
def masked():
    return mask_large()


def spread(batch, view):
    return torch.zeros_like(batch.valid).scatter(1, view.where, view.chosen)


def test_15_percent_are_chosen_and_no_row_has_more(masked):
    _, batch, view = masked
    wanted = [max(1, round(0.15 * n)) for n in batch.valid.sum(dim=1).tolist()]
    count = view.chosen.sum(dim=1)
    assert (count <= torch.tensor(wanted)).all()
    # an n-gram shrinks to what is left, so that hardly anything stays unused
    assert count.sum() > 0.997 * sum(wanted)


def test_80_10_10(masked):
    _, batch, view = masked
    shown, target = view.batch.ids.gather(1, view.where)[view.chosen], view.target[view.chosen]
    n = len(target)
    assert batch.valid.sum() > 100_000
    assert near(float((shown == 4).float().mean()), n, 0.8 + 0.1 / VOCAB)
    assert near(float((shown == target).float().mean()), n, 0.1 + 0.1 / VOCAB)
    random = shown[(shown != 4) & (shown != target)]
    assert (random < 5).any()
    assert near(float((random < 500).float().mean()), len(random), 0.5)


def test_n_grams_of_whole_words_are_chosen_within_a_sentence(masked):
    """Section 3.1: "n-gram masking", of "a span of up to a 3-gram of complete words"."""
    _, batch, view = masked
    chosen = spread(batch, view)
    assert (batch.ids[chosen] >= 5).all()
    goes_on = (batch.ids[:, 1:] % 3 == 0) & (batch.ids[:, 1:] >= 5) & (batch.ids[:, :-1] >= 5)
    assert torch.equal(chosen[:, 1:][goes_on], chosen[:, :-1][goes_on])
    assert torch.equal(view.batch.ids[~chosen], batch.ids[~chosen])
    # neighbours hang together, as they would not if words were chosen one by one
    text = (batch.ids[:, 1:] >= 5) & (batch.ids[:, :-1] >= 5) & ~goes_on
    both = (chosen[:, 1:] & chosen[:, :-1])[text].float().mean()
    single = build(max_ngram=1)
    words = spread(batch, single.view(batch, Rng(generator(0), seed=0)))
    apart = (words[:, 1:] & words[:, :-1])[text].float().mean()
    assert both > 2.5 * apart


def test_the_share_of_n_grams_falls_with_n():
    """Equation 3, seen from outside: runs of chosen words in long rows where few are chosen."""
    method = build(mask_prob=0.02)
    batch = large()
    batch = batch._replace(ids=torch.where(batch.ids >= 5, batch.ids // 3 * 3 + 1, batch.ids))
    batch = batch._replace(ids=batch.ids.clamp_max(VOCAB - 1))
    view = method.view(batch, Rng(generator(0), seed=0))
    chosen = F.pad(spread(batch, view)[: B // 2], (1, 1))
    begin, stop = (chosen[:, 1:] & ~chosen[:, :-1]), (chosen[:, :-1] & ~chosen[:, 1:])
    runs = stop.nonzero()[:, 1] - begin.nonzero()[:, 1]
    # 3 tokens may be hidden: 1+1+1, 1+2, 2+1 or 3, and no longer run unless two of them touch
    share = torch.bincount(runs, minlength=4)[:4].float() / len(runs)
    assert share[1] > share[2] > 0.1
    assert share[3] > 0.05


def test_the_loss_is_the_sum_of_masked_and_order():
    method = build().double()
    batch = map_tensors(lambda t: t[-6:], large(1))
    view = method.view(batch, Rng(generator(0), seed=0))
    tokens, head = method.encoder(view.batch).tokens, method.head
    masked, ordered = [], []
    for i in range(6):
        for j, place in enumerate(view.where[i].tolist()):
            if view.chosen[i, j]:
                h = F.gelu(head.dense(tokens[i, place]), approximate="tanh")
                assert h.shape == (16,)  # from the width of the model to that of the table
                h = F.layer_norm(h, (16,), head.norm.weight, head.norm.bias, 1e-12)
                scores = method.encoder.token.weight @ h + head.bias
                masked.append(scores.logsumexp(0) - scores[batch.ids[i, place]])
        scores = method.order(torch.tanh(method.encoder.pooler(tokens[i, 0])))
        ordered.append(scores.logsumexp(0) - scores[batch.pair[i]])
    step = method(view)
    assert set(step.terms) == {"mlm_loss", "sop_loss"}
    found = [step.terms[name].mean.item() for name in ("mlm_loss", "sop_loss")]
    wanted = [torch.stack(part).mean().item() for part in (masked, ordered)]
    assert found == pytest.approx(wanted, rel=1e-10)
    assert step.loss.item() == pytest.approx(sum(wanted), rel=1e-10)


def test_pairs_are_in_order_or_swapped():
    draw = build().draw
    assert draw.plan is sentence_pairs.plan_sentence_order
    assert draw.needs_sentences


def test_the_recipe_is_the_papers():
    """Section 4.1 and the authors' code: LAMB, 0.00176, batches of 4096."""
    d = ALBERT.paper
    assert (d.optimizer, d.lr, d.base_batch, d.scaling) == ("lamb", 0.00176, 4096, "sqrt")
    assert (d.betas, d.eps, d.weight_decay, d.grad_clip) == ((0.9, 0.999), 1e-6, 0.01, 1.0)
    assert (d.schedule, d.warmup) == ("linear", 3125 / 125_000)


def test_longest_has_bounds():
    with pytest.raises(ValueError, match="max_ngram must be at least 1 and at most 10, got 0"):
        build(max_ngram=0)
