"""NT-Xent against its formula, written as a loop in float64."""

import math
from inspect import unwrap

import pytest
import torch

from selfwise.core.rng import generator
from selfwise.losses.contrastive import nt_xent, unit_views


def embeddings(n: int, d: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    a, b = torch.randn(2, n, d, generator=generator(seed, "z"), dtype=torch.float64)
    return a, b


def by_hand(a: torch.Tensor, b: torch.Tensor, temperature: float) -> float:
    z = [v / v.norm() for v in torch.cat([a, b])]
    n, total = len(a), 0.0
    for i in range(2 * n):
        partner = (i + n) % (2 * n)
        top = math.exp(z[i] @ z[partner] / temperature)
        bottom = sum(math.exp(z[i] @ z[k] / temperature) for k in range(2 * n) if k != i)
        total -= math.log(top / bottom)
    return total / (2 * n)


@pytest.mark.parametrize("temperature", [0.07, 0.5, 1.0])
@pytest.mark.parametrize(("n", "d"), [(2, 2), (9, 16)])
def test_nt_xent_against_a_double_loop(n, d, temperature):
    a, b = embeddings(n, d)
    ours = nt_xent(a, b, temperature).item()
    assert ours == pytest.approx(by_hand(a, b, temperature), rel=1e-12, abs=1e-12)


def test_nt_xent_gradient():
    a, b = embeddings(4, 3)
    assert torch.autograd.gradcheck(nt_xent, (a.requires_grad_(), b.requires_grad_()))


def test_nt_xent_agrees_with_lightly_in_float32():
    lightly = pytest.importorskip("lightly.loss")
    a, b = (z.float() for z in embeddings(32, 16))
    theirs = lightly.NTXentLoss(temperature=0.2)(a, b)
    torch.testing.assert_close(nt_xent(a, b, 0.2), theirs, rtol=1e-5, atol=1e-6)


def test_nt_xent_uses_the_cosine_and_every_pair():
    a, b = embeddings(5, 4)
    loss = nt_xent(a, b)
    torch.testing.assert_close(nt_xent(3 * a, 0.1 * b), loss)  # lengths do not matter
    torch.testing.assert_close(nt_xent(b, a), loss)  # both directions
    order = torch.tensor([2, 0, 4, 1, 3])
    torch.testing.assert_close(nt_xent(a[order], b[order]), loss)
    assert not torch.isclose(nt_xent(a[order], b), loss)  # partners do matter


def test_nt_xent_is_computed_in_float32_under_autocast():
    a, b = (z.float() for z in embeddings(8, 64))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = nt_xent(a, b, 0.1)
    assert mixed.dtype == torch.float32
    assert torch.equal(mixed, nt_xent(a, b, 0.1))


def test_nt_xent_widens_embeddings_before_it_normalises_them():
    """A unit vector that is rounded to bf16 is no unit vector any more."""
    a, b = (z.bfloat16() for z in embeddings(8, 64))
    assert torch.equal(nt_xent(a, b, 0.1), nt_xent(a.float(), b.float(), 0.1))
    assert torch.equal(unit_views(a, b), unit_views(a.float(), b.float()))


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_nt_xent_refuses_a_temperature_that_is_not_above_zero(temperature):
    with pytest.raises(ValueError, match="temperature must be above 0"):
        nt_xent(*embeddings(2, 2), temperature)


@pytest.mark.parametrize("shape", [(3, 4), (5, 3), (1, 4), (4,)])
def test_nt_xent_refuses_embeddings_that_are_no_pairs(shape):
    a, b = torch.ones(5, 4), torch.ones(shape)
    user = unwrap(nt_xent)  # as users call it: without the type checker of the tests
    with pytest.raises(ValueError, match="a and b must have one shape") as error:
        user(a, b)
    assert "(5, 4)" in str(error.value)
    assert str(shape) in str(error.value)
