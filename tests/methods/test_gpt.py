"""What GPT promises: the next token is the target, everywhere and inside its document alone."""

import numpy as np
import pytest
import torch

from selfwise.core.rng import Rng, generator
from selfwise.core.types import TextBatch
from selfwise.methods.gpt import GPT
from tests.helpers import cases


@pytest.fixture(scope="module")
def method() -> GPT:
    return cases.build("gpt").eval()


def view_of(method, batch):
    return method.view(batch, Rng(generator(0), seed=0))


def test_the_target_is_the_next_token(method):
    batch = TextBatch(torch.arange(5, 5 + 2 * 7).view(2, 7), torch.arange(2))
    view = view_of(method, batch)
    assert torch.equal(view.batch.ids, batch.ids[:, :-1])
    assert torch.equal(view.target, batch.ids[:, 1:])
    assert view.chosen.all()
    assert view.batch.starts is None
    assert torch.equal(view.where, torch.arange(6).expand(2, 6))


def test_no_target_lies_in_padding_or_in_another_document(method):
    starts = torch.tensor([[0, 3, 6], [0, 7, 7], [0, 6, 7]])
    valid = torch.arange(7) < torch.tensor([7, 4, 7])[:, None]
    ids = torch.arange(5, 26).view(3, 7)
    view = view_of(method, TextBatch(ids, torch.arange(3), valid, starts=starts))
    assert view.chosen.tolist() == [
        [True, True, False, True, True, False],
        [True, True, True, False, False, False],
        [True, True, True, True, True, False],
    ]
    assert view.batch.starts.tolist() == [[0, 3, 6], [0, 6, 6], [0, 6, 6]]
    assert float(method.counts(view)["lm_loss"]) == 12


def test_every_token_is_a_target_once_in_an_epoch(method):
    """Through plan, layout and view; with [CLS] before and [SEP] behind each document."""
    _, documents, _ = cases.corpus()
    tokens = np.arange(documents[-1, 1]) + 5
    told = {"length": 24, "vocabulary": cases.vocabulary()}
    plan = method.draw.plan(documents, None, random=np.random.default_rng(0), **told)
    view = view_of(method, method.draw.collate(tokens, plan, np.arange(plan.size), **told))
    targets = view.target[view.chosen]
    assert torch.equal(targets[targets >= 5].sort().values, torch.from_numpy(tokens))
    assert (targets == 3).sum() == len(documents)
    # input and target are neighbours in the text
    inputs = view.batch.ids[view.chosen]
    inner = (inputs >= 5) & (targets >= 5)
    assert torch.equal(targets[inner], inputs[inner] + 1)


def test_gpt2s_documents_begin_and_end_with_the_same_token(method):
    own = cases.vocabulary()._replace(first=3, last=3, pad=None, mask=None)
    told = {"length": 11, "vocabulary": own}
    documents, tokens = np.array([[0, 4], [4, 8]]), np.arange(8) + 5
    plan = method.draw.plan(documents, None, random=np.random.default_rng(0), **told)
    batch = method.draw.collate(tokens, plan, np.arange(plan.size), **told)
    first, second = [3, 5, 6, 7, 8, 3], [3, 9, 10, 11, 12, 3]
    assert batch.ids[0].tolist() in (first + second, second + first)
    assert batch.starts.tolist() == [[0, 6]]


def test_the_loss_is_the_mean_cross_entropy_of_the_targets():
    """The output layer is the token table (GPT-1, section 3.1)."""
    method = cases.build("gpt").double()
    batch = cases.text_batch(method, 6)
    view = view_of(method, batch)
    tokens, found = method.encoder(view.batch).tokens, []
    for i in range(6):
        for j in range(cases.LENGTH):
            if view.chosen[i, j]:
                scores = method.encoder.token.weight @ tokens[i, j]
                found.append(scores.logsumexp(0) - scores[batch.ids[i, j + 1]])
    step = method(view)
    assert float(step.terms["lm_loss"].count) == len(found)
    assert step.loss.item() == pytest.approx(torch.stack(found).mean().item(), rel=1e-10)


def test_the_loss_reads_chosen_targets_only(method):
    view = view_of(method, cases.text_batch(method))
    assert not view.chosen.all()
    other = (view.target + 1) % 64
    outside = view._replace(target=torch.where(view.chosen, view.target, other))
    inside = view._replace(target=torch.where(view.chosen, other, view.target))
    assert method(outside).loss == method(view).loss
    assert method(inside).loss != method(view).loss


def test_a_document_does_not_see_its_neighbours(method):
    view = view_of(method, cases.text_batch(method))
    shared = int((view.batch.starts < cases.LENGTH).sum(dim=1).argmax())
    second = int(view.batch.starts[shared, 1])
    other = view.batch.ids.clone()
    other[shared, :second] = 9
    a, b = (method.encoder(view.batch._replace(ids=i)).tokens for i in (view.batch.ids, other))
    assert torch.equal(a[shared, second:], b[shared, second:])
    assert not torch.equal(a[shared, :second], b[shared, :second])


def test_an_encoder_that_sees_the_target_is_refused():
    with pytest.raises(ValueError, match="gpt needs a causal encoder") as error:
        cases.build("gpt", encoder=cases.tiny_text_encoder("bert"))
    assert "\n" not in str(error.value)


def test_a_vocabulary_without_special_tokens_will_do():
    few = cases.vocabulary()._replace(pad=None, unknown=None, first=None, last=None, mask=None)
    cases.build("gpt", vocab=few._replace(special=()))


def test_the_recipe_is_nanogpts():
    d = GPT.paper
    assert (d.optimizer, d.lr, d.base_batch) == ("adamw", 6e-4, 480)
    assert (d.betas, d.eps, d.weight_decay, d.grad_clip) == ((0.9, 0.95), 1e-8, 0.1, 1.0)
    assert d.schedule == "cosine"
