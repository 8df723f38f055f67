"""One test for each sentence of the BERT paper (arXiv:1810.04805) that the method keeps."""

import pytest
import torch
import torch.nn.functional as F

from selfwise.core.rng import Rng, generator
from selfwise.core.types import TextBatch, map_tensors
from selfwise.methods.bert import BERT
from tests.helpers import cases
from tests.helpers.chance import near

B, N, VOCAB = 1500, 128, 1000


def large(seed: int = 0) -> TextBatch:
    """More than 100,000 tokens in rows of every length, `[CLS] A [SEP] B [SEP]`."""
    drawn = generator(seed, "rows")
    ids = torch.randint(5, VOCAB, (B, N), generator=drawn)
    length = torch.randint(8, N + 1, (B,), generator=drawn)
    length[: B // 2] = N
    middle = (length.float() * 0.2).long() + 2
    valid = torch.arange(N) < length[:, None]
    ids[:, 0] = 2
    ids[torch.arange(B), middle] = 3
    ids[torch.arange(B), length - 1] = 3
    segment = ((torch.arange(N) > middle[:, None]) & valid).long()
    pair = torch.arange(B) % 2
    return TextBatch(ids.masked_fill(~valid, 0), torch.arange(B), valid, segment, None, pair)


def build(**options) -> BERT:
    return cases.build(
        "bert",
        encoder=cases.tiny_text_encoder("bert", vocab=VOCAB, length=N),
        vocab=cases.vocabulary(VOCAB),
        **options,
    )


def mask_large(**options):
    """The method, a large batch, and its view."""
    method, batch = build(**options), large()
    return method, batch, method.view(batch, Rng(generator(0), seed=0))


@pytest.fixture(scope="module")
def method() -> BERT:
    return build()


@pytest.fixture(scope="module", params=[False, True], ids=["tokens", "words"])
def masked(request):
    return mask_large(whole_word_mask=request.param)


def test_15_percent_of_all_tokens_are_chosen(masked):
    """Section 3.1: "we mask 15% of all WordPiece tokens in each sequence at random"."""
    method, batch, view = masked
    length = batch.valid.sum(dim=1).tolist()
    wanted = torch.tensor([max(1, round(0.15 * n)) for n in length])
    count = view.chosen.sum(dim=1)
    assert (count <= wanted).all()
    if not method.whole_word_mask:
        assert torch.equal(count, wanted)
    else:  # a word that would overshoot is left out; rarely none of the rest fits
        assert (count == wanted).float().mean() > 0.99
    assert view.where.shape == view.target.shape == view.chosen.shape == (B, 19)


def test_80_10_10(masked):
    """Section 3.1: 80 % the mask, 10 % a random token, 10 % unchanged."""
    _, batch, view = masked
    shown, target = view.batch.ids.gather(1, view.where)[view.chosen], view.target[view.chosen]
    n = len(target)
    assert batch.valid.sum() > 100_000
    assert n > 15_000
    assert near(float((shown == 4).float().mean()), n, 0.8 + 0.1 / VOCAB)
    assert near(float((shown == target).float().mean()), n, 0.1 + 0.1 / VOCAB)
    random = shown[(shown != 4) & (shown != target)]
    assert near(len(random) / n, n, 0.1 * (1 - 2 / VOCAB))
    # from the whole vocabulary, special tokens included, as in the authors' code
    assert near(float((random < VOCAB // 2).float().mean()), len(random), 0.5)
    assert (random < 5).any()
    assert random.max() > 0.98 * VOCAB
    assert torch.equal(view.target, batch.ids.gather(1, view.where))


def test_nothing_but_the_chosen_changes_and_special_tokens_are_never_chosen(masked):
    _, batch, view = masked
    chosen = torch.zeros_like(batch.valid).scatter(1, view.where, view.chosen)
    assert torch.equal(chosen.sum(dim=1), view.chosen.sum(dim=1))
    assert torch.equal(view.batch.ids[~chosen], batch.ids[~chosen])
    assert (batch.ids[chosen] >= 5).all()
    assert batch.valid[chosen].all()
    assert view.batch._replace(ids=None) == batch._replace(ids=None)


def test_every_text_token_is_equally_likely_to_be_chosen(masked):
    _, batch, view = masked
    full = slice(0, B // 2)
    chosen = torch.zeros_like(batch.valid).scatter(1, view.where, view.chosen)[full]
    text = (batch.ids >= 5)[full]
    expected = 19 / 125
    share = chosen[text].float().mean()
    assert near(float(share), int(text.sum()), expected)
    for part in (slice(1, 40), slice(40, 80), slice(80, 127)):
        hits, of = chosen[:, part].sum(), text[:, part].sum()
        # words of two tokens are chosen together, so the spread is wider
        assert abs(float(hits / of) - expected) < 0.01


def test_whole_words_are_chosen_as_a_whole():
    method = build(whole_word_mask=True)
    batch = large()
    view = method.view(batch, Rng(generator(0), seed=0))
    chosen = torch.zeros_like(batch.valid).scatter(1, view.where, view.chosen)
    goes_on = (batch.ids[:, 1:] % 3 == 0) & (batch.ids[:, 1:] >= 5) & (batch.ids[:, :-1] >= 5)
    assert torch.equal(chosen[:, 1:][goes_on], chosen[:, :-1][goes_on])
    # within a word each token is masked, replaced or kept by itself
    inside = goes_on & chosen[:, 1:]
    a, b = (view.batch.ids == 4)[:, 1:][inside], (view.batch.ids == 4)[:, :-1][inside]
    assert near(float((a & b).float().mean()), int(inside.sum()), 0.64)


def small(method: BERT) -> TextBatch:
    return map_tensors(lambda t: t[-6:], large(1))


def test_the_loss_is_the_sum_of_both_means(method):
    """Appendix A.2: "the sum of the mean masked LM likelihood and mean NSP likelihood"."""
    double = build().double()
    batch = small(method)
    view = double.view(batch, Rng(generator(0), seed=0))
    step = double(view)
    tokens = double.encoder(view.batch).tokens  # all of them, not only those that are read
    table, head = double.encoder.token.weight, double.head
    masked, following = [], []
    for i in range(6):
        for j in range(19):
            if view.chosen[i, j]:
                h = F.gelu(tokens[i, view.where[i, j]] @ head.dense.weight.T + head.dense.bias)
                h = F.layer_norm(h, (32,), head.norm.weight, head.norm.bias, 1e-12)
                scores = table @ h + head.bias
                masked.append(scores.logsumexp(0) - scores[batch.ids[i, view.where[i, j]]])
        pooler = double.encoder.pooler
        pooled = torch.tanh(pooler.weight @ tokens[i, 0] + pooler.bias)
        scores = double.next.weight @ pooled + double.next.bias
        following.append(scores.logsumexp(0) - scores[batch.pair[i]])
    assert step.terms["mlm_loss"].mean.item() == pytest.approx(torch.stack(masked).mean().item())
    found = step.terms["nsp_loss"].mean.item()
    assert found == pytest.approx(torch.stack(following).mean().item())
    both = torch.stack(masked).mean() + torch.stack(following).mean()
    assert step.loss.item() == pytest.approx(both.item(), rel=1e-10)


def test_the_loss_reads_targets_at_chosen_positions_only(method):
    view = method.view(small(method), Rng(generator(0), seed=0))
    other = (view.target + 1) % VOCAB
    outside = view._replace(target=torch.where(view.chosen, view.target, other))
    inside = view._replace(target=torch.where(view.chosen, other, view.target))
    assert method(outside).loss == method(view).loss
    assert method(inside).loss != method(view).loss
    assert not view.chosen.all()  # short rows have fewer


def test_metrics_are_shares_of_what_is_guessed():
    method = cases.build("bert")
    view = method.view(cases.text_batch(method), Rng(generator(0), seed=0))
    with torch.no_grad():
        method.next.weight.zero_()
        method.next.bias.copy_(torch.tensor([0.0, 1.0]))
        method.head.bias[7] = 1e4
    places = torch.arange(view.target.shape[1])
    view = view._replace(
        target=torch.where(places < 2, 7, 8).expand(16, -1),
        chosen=((places > 0) & (places < 3)).expand(16, -1),
    )
    found = method(view).metrics
    assert float(found["mlm_accuracy"].sum) == 16
    assert float(found["mlm_accuracy"].count) == 32
    share = float((view.batch.pair == 1).float().mean())
    assert float(found["nsp_accuracy"].mean) == pytest.approx(share)


def test_masks_of_a_long_row_are_as_many(method):
    """No cap of 20 predictions, which would be 4 % of 512 tokens."""
    batch = TextBatch(torch.full((2, 120), 9), torch.arange(2), pair=torch.arange(2))
    assert method.view(batch, Rng(generator(0), seed=0)).chosen.sum(dim=1).tolist() == [18, 18]


def test_the_recipe_is_the_papers():
    """Appendix A.2."""
    d = BERT.paper
    assert (d.optimizer, d.lr, d.base_batch, d.scaling) == ("adamw", 1e-4, 256, "none")
    assert (d.betas, d.eps, d.weight_decay, d.grad_clip) == ((0.9, 0.999), 1e-6, 0.01, 1.0)
    assert (d.schedule, d.warmup) == ("linear", 0.01)


WRONG = {
    "causal": ({"encoder": "gpt"}, "sees both sides of a mask"),
    "pooler": ({"encoder": "roberta"}, "with a pooler and two segments"),
    "mask": ({"mask": None}, r"with a mask token \(\[MASK\], <mask>\)"),
    "first": ({"first": None}, "begins a text"),
    "vocabulary": ({"size": 70}, "has 70 tokens, but the encoder only 64"),
    "share": ({"mask_prob": 0.0}, "mask_prob must be above 0 and below 1, got 0"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("kind", ["bert", "albert"])
def test_what_does_not_fit_is_one_sentence(name, kind):
    told, message = WRONG[name]
    options = {}
    if "encoder" in told:
        options["encoder"] = cases.tiny_text_encoder(told["encoder"])
    elif "mask_prob" in told:
        options = told
    else:
        told = {"starts": torch.ones(told.get("size", 64), dtype=torch.bool), **told}
        options["vocab"] = cases.vocabulary()._replace(**told)
    with pytest.raises(ValueError, match=message) as error:
        cases.build(kind, **options)
    assert "\n" not in str(error.value)
