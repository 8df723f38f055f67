"""Our dropout against what dropout is: rates, means, independence, gradients."""

import pytest
import torch

from selfwise.nn.dropout import STEPS, dropout, dropout_mask

N = 400_000


def drawn(p: float, shape=(N,), dtype=torch.float32, seed: int = 0) -> torch.Tensor:
    torch.manual_seed(seed)
    return dropout(torch.ones(shape, dtype=dtype), p)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_share_that_is_lost(p, dtype):
    lost = drawn(p, dtype=dtype).eq(0).float().mean().item()
    assert abs(lost - p) < 4 * (p * (1 - p) / N) ** 0.5


@pytest.mark.parametrize("p", [0.1, 0.37, 0.9, 1e-9, 1 - 1e-9])
def test_what_stays_is_larger_so_that_the_mean_is_exactly_kept(p):
    torch.manual_seed(0)
    values = dropout_mask(torch.ones(9 * STEPS, dtype=torch.float64), p).unique()
    lost = min(STEPS - 1, max(1, round(p * STEPS)))
    assert values[-1].item() == pytest.approx(STEPS / (STEPS - lost))
    assert len(values) == 2


def test_all_four_numbers_of_a_draw_are_independent_and_alike():
    lost = drawn(0.3).eq(0).float().unflatten(0, (-1, 4))
    rates = lost.mean(dim=0)
    assert (rates - 0.3).abs().max() < 4 * (0.3 * 0.7 / len(lost)) ** 0.5
    assert (torch.corrcoef(lost.T) - torch.eye(4)).abs().max() < 4 / len(lost) ** 0.5
    again = torch.corrcoef(torch.stack([lost[1:, 0], lost[:-1, 3]]))
    assert again[0, 1].abs() < 4 / len(lost) ** 0.5


def test_it_is_a_function_of_the_global_seed():
    assert torch.equal(drawn(0.3, seed=1), drawn(0.3, seed=1))
    assert not torch.equal(drawn(0.3, seed=1), drawn(0.3, seed=2))


@pytest.mark.parametrize("shape", [(1,), (2, 3), (5, 1, 7), (0, 4)])
def test_shapes(shape):
    assert drawn(0.3, shape).shape == shape


def test_the_gradient_is_lost_where_the_value_is():
    torch.manual_seed(0)
    x = torch.randn(1000, dtype=torch.float64, requires_grad=True)
    y = dropout(x, 0.4)
    y.sum().backward()
    torch.testing.assert_close(x.grad, torch.where(y == 0, 0.0, y / x).detach())


def test_nothing_is_drawn_for_probability_0():
    x, state = torch.randn(10), torch.get_rng_state()
    assert dropout(x, 0.0) is x
    assert torch.equal(state, torch.get_rng_state())
