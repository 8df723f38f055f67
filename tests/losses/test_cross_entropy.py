"""The cross-entropy of chosen rows, and its gradient, against a loop and against torch."""

import pytest
import torch
import torch.nn.functional as F

from selfwise.core.rng import generator
from selfwise.losses import cross_entropy
from selfwise.losses.cross_entropy import count_correct, masked_cross_entropy


def case(m: int = 11, v: int = 7, dtype=torch.float64):
    rng = generator(0, "logits")
    logits = (3 * torch.randn(m, v, generator=rng, dtype=torch.float64)).to(dtype)
    target = torch.randint(v, (m,), generator=rng)
    return logits.requires_grad_(), target, torch.rand(m, generator=rng) < 0.6


def test_it_is_the_sum_over_the_chosen_rows():
    logits, target, chosen = case()
    expected = 0.0
    for row, goal, take in zip(logits.tolist(), target.tolist(), chosen.tolist()):
        if take:
            total = torch.tensor(row, dtype=torch.float64).exp().sum().log()
            expected += total.item() - row[goal]
    assert 0 < chosen.sum() < len(chosen)
    assert masked_cross_entropy(logits, target, chosen).item() == pytest.approx(expected)


@pytest.mark.parametrize("few", [1, 3, 11, 50])
def test_the_gradient_is_that_of_torch_however_the_rows_are_split(few, monkeypatch):
    monkeypatch.setattr(cross_entropy, "_rows_at_once", lambda logits: few)
    logits, target, chosen = case()
    (0.3 * masked_cross_entropy(logits, target, chosen)).backward()
    other = logits.detach().clone().requires_grad_()
    (0.3 * F.cross_entropy(other[chosen], target[chosen], reduction="sum")).backward()
    torch.testing.assert_close(logits.grad, other.grad)
    assert logits.grad[~chosen].eq(0).all()
    hits = (logits.argmax(dim=1) == target)[chosen].sum()
    assert count_correct(logits, target, chosen) == hits


def test_a_large_vocabulary_takes_several_parts():
    logits, target, chosen = case(40, 30_522, torch.float32)
    assert cross_entropy._rows_at_once(logits) < 40
    found = masked_cross_entropy(logits, target, chosen)
    found.backward()
    other = logits.detach().double().requires_grad_()
    expected = F.cross_entropy(other[chosen], target[chosen], reduction="sum")
    expected.backward()
    torch.testing.assert_close(found, expected.float())
    torch.testing.assert_close(logits.grad, other.grad.float())


def test_bfloat16_is_summed_in_float32():
    logits, target, chosen = case(64, 500, torch.bfloat16)
    found = masked_cross_entropy(logits, target, chosen)
    wide = logits.detach().double().requires_grad_()
    expected = F.cross_entropy(wide[chosen], target[chosen], reduction="sum")
    expected.backward()
    found.backward()
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=0)
    assert logits.grad.dtype == torch.bfloat16
    torch.testing.assert_close(logits.grad.double(), wide.grad, rtol=2**-8, atol=1e-7)


def test_no_rows_are_no_loss():
    logits, target, _ = case()
    none = torch.zeros(11, dtype=torch.bool)
    assert masked_cross_entropy(logits, target, none) == 0
    empty = masked_cross_entropy(logits[:0], target[:0], none[:0])
    assert empty == 0
