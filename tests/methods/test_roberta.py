"""One test for each sentence of the RoBERTa paper (arXiv:1907.11692) that the method keeps."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from selfwise.core.rng import Rng, generator
from selfwise.core.types import TextBatch, map_tensors
from selfwise.methods.roberta import RoBERTa
from selfwise.views.text import packing
from tests.helpers import cases
from tests.helpers.chance import near

B, N, VOCAB = 1500, 128, 1000


def build(**options) -> RoBERTa:
    return cases.build(
        "roberta",
        encoder=cases.tiny_text_encoder("roberta", vocab=VOCAB, length=N),
        vocab=cases.vocabulary(VOCAB),
        **options,
    )


def large(seed: int = 0) -> TextBatch:
    """More than 100,000 tokens: `<s> text </s>` in rows of every length."""
    drawn = generator(seed, "rows")
    ids = torch.randint(5, VOCAB, (B, N), generator=drawn)
    length = torch.randint(4, N + 1, (B,), generator=drawn)
    length[: B // 2] = N
    ids[:, 0], ids[torch.arange(B), length - 1] = 2, 3
    valid = torch.arange(N) < length[:, None]
    epoch = torch.zeros(B, dtype=torch.int64)
    return TextBatch(ids.masked_fill(~valid, 0), torch.arange(B), valid, epoch=epoch)


def mask_large():
    """The method, a large batch, and its view."""
    method, batch = build(), large()
    return method, batch, method.view(batch, Rng(generator(0), seed=0))


@pytest.fixture(scope="module")
def masked():
    return mask_large()


def test_masks_are_a_function_of_seed_epoch_and_example(masked):
    """Section 4.1, and fairseq's mask_tokens_dataset.py: the seed is (seed, epoch, index)."""
    method, batch, view = masked

    def masks(batch, seed=0, stream=0):
        found = method.view(batch, Rng(generator(stream), seed=seed))
        return found.batch.ids

    # not of the place in the batch, of the batch's size, of the step or of its generator
    order = torch.randperm(B, generator=generator(5))[:100]
    assert torch.equal(
        masks(map_tensors(lambda t: t[order], batch), stream=7), view.batch.ids[order]
    )
    # of each of the three
    again = batch._replace(epoch=batch.epoch + 1)
    other = batch._replace(index=batch.index + B)
    for changed in (masks(again), masks(other), masks(batch, seed=1)):
        assert (changed != view.batch.ids).any(dim=1).float().mean() > 0.98


def test_masks_are_dynamic(masked):
    """Section 4.1: a new pattern every time a sequence is fed to the model."""
    method, batch, _ = masked
    one = map_tensors(lambda t: t[:1].expand(300, *t.shape[1:]), batch)
    view = method.view(one._replace(epoch=torch.arange(300)), Rng(generator(0), seed=0))
    patterns = {tuple(sorted(row[c].tolist())) for row, c in zip(view.where, view.chosen)}
    assert len(patterns) == 300
    hits = torch.zeros(N).index_add(0, view.where[view.chosen], torch.ones(int(view.chosen.sum())))
    assert hits[0] == hits[-1] == 0
    assert all(near(float(h) / 300, 300, 0.15 * 128 / 126) for h in hits[1:-1])


def test_the_count_is_rounded_up_or_down_at_random(masked):
    """fairseq: int(mask_prob * size + np.random.rand())."""
    _, batch, view = masked
    length, count = batch.valid.sum(dim=1), view.chosen.sum(dim=1)
    low = (length.double() * 0.15).floor().long()
    # a short row may have fewer tokens of text than it should hide
    assert ((count == low) | (count == low + 1)).all()
    full = count[: B // 2]
    assert near(float((full == 20).float().mean()), B // 2, 0.2)  # 19.2
    expected = float((length * 0.15).sum())
    assert abs(float(count.sum()) - expected) < 4.5 * (B / 6) ** 0.5


def test_80_10_10_and_random_tokens_are_text(masked):
    _, batch, view = masked
    shown, target = view.batch.ids.gather(1, view.where)[view.chosen], view.target[view.chosen]
    n = len(target)
    assert batch.valid.sum() > 100_000
    assert near(float((shown == 4).float().mean()), n, 0.8)
    assert near(float((shown == target).float().mean()), n, 0.1 + 0.1 / (VOCAB - 5))
    random = shown[(shown != 4) & (shown != target)]
    assert random.min() >= 5  # fairseq: weights[:nspecial] = 0
    assert random.max() > 0.98 * VOCAB
    assert near(float((random < 500).float().mean()), len(random), 495 / 995)


def test_special_tokens_are_never_chosen_and_the_rest_stays(masked):
    _, batch, view = masked
    chosen = torch.zeros_like(batch.valid).scatter(1, view.where, view.chosen)
    assert (batch.ids[chosen] >= 5).all()
    assert batch.valid[chosen].all()
    assert torch.equal(view.batch.ids[~chosen], batch.ids[~chosen])


def test_the_loss_is_the_mean_over_the_chosen():
    method = build().double()
    batch = map_tensors(lambda t: t[-6:], large(1))
    view = method.view(batch, Rng(generator(0), seed=0))
    tokens, head, found = method.encoder(view.batch).tokens, method.head, []
    for i in range(6):
        for j, place in enumerate(view.where[i].tolist()):
            if view.chosen[i, j]:
                h = F.gelu(head.dense(tokens[i, place]))
                h = F.layer_norm(h, (32,), head.norm.weight, head.norm.bias, 1e-5)
                scores = method.encoder.token.weight @ h + head.bias
                found.append(scores.logsumexp(0) - scores[batch.ids[i, place]])
    step = method(view)
    assert set(step.terms) == {"mlm_loss"}  # section 4.2: without the NSP loss
    assert step.loss.item() == pytest.approx(torch.stack(found).mean().item(), rel=1e-10)


def test_rows_are_of_full_sentences_or_packed():
    assert build().draw.plan is packing.plan_full_sentences
    assert build().draw.needs_sentences
    assert build(packing="best_fit").draw.plan is packing.plan_best_fit
    assert not build(packing="best_fit").draw.needs_sentences
    with pytest.raises(ValueError, match="unknown packing 'bestfit'; did you mean 'best_fit'"):
        build(packing="bestfit")


def test_attention_stays_inside_documents():
    """What one document says changes nothing in another one of the same row."""
    method = cases.build("roberta", packing="best_fit").eval()
    batch = cases.text_batch(method)
    shared = int((batch.starts < cases.LENGTH).sum(dim=1).argmax())
    second = slice(int(batch.starts[shared, 1]), cases.LENGTH)
    other = batch.ids.clone()
    other[shared, second] = torch.where(other[shared, second] >= 5, 9, other[shared, second])
    a, b = (method.encoder(batch._replace(ids=ids)).tokens for ids in (batch.ids, other))
    assert torch.equal(a[shared, : second.start], b[shared, : second.start])
    assert not torch.equal(a[shared, second], b[shared, second])


def test_the_recipe_is_the_papers():
    """Appendix, table 9: 6e-4 at 8K rows, betas 0.9 and 0.98, 24,000 of 500,000 steps."""
    from selfwise.training.optimizers import scale_lr

    d = RoBERTa.paper
    assert scale_lr(d, 8192) == pytest.approx(6e-4, rel=0.06)
    assert scale_lr(d, 256) == 1e-4  # the authors' table for small batches
    assert (d.betas, d.eps, d.weight_decay, d.grad_clip) == ((0.9, 0.98), 1e-6, 0.01, 0.0)
    assert (d.schedule, d.warmup) == ("linear", 0.06)


def test_an_epoch_that_is_not_told_is_the_first():
    method = build()
    batch = map_tensors(lambda t: t[:4], large())
    a, b = (method.view(x, Rng(generator(0), seed=0)) for x in (batch, batch._replace(epoch=None)))
    assert np.array_equal(a.batch.ids, b.batch.ids)


def test_the_loop_hands_the_seed_on():
    """The same example has other masks in a run from another seed, and in the same run the same
    ones at whatever step it comes."""
    from selfwise.training.config import TrainingConfig, resolve_training
    from selfwise.training.step import build_state, train_step

    def loss(seed, step):
        method = cases.build("roberta")
        told = TrainingConfig(steps=9, batch_size=16, lr=0.0, precision="float32", device="cpu")
        options = resolve_training(told, RoBERTa, num_workers=0)
        parts = build_state(method, options)
        return train_step(parts, cases.text_batch(method), step, seed=seed, options=options).loss

    assert torch.equal(loss(0, 0), loss(0, 5))
    assert not torch.equal(loss(0, 0), loss(1, 0))
