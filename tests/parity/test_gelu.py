"""Our GELU with tanh against torch's."""

import pytest
import torch
import torch.nn.functional as F

from selfwise.nn.gelu import gelu_tanh


def both(x: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """(value, gradient) of ours and of torch's in float64; the gradient's weights are not equal."""
    weight = torch.linspace(-1, 2, x.numel()).view(x.shape)
    found = []
    for function, dtype in ((gelu_tanh, x.dtype), (F.gelu, torch.float64)):
        leaf = x.to(dtype).requires_grad_()
        told = {} if function is gelu_tanh else {"approximate": "tanh"}
        value = function(leaf, **told)
        (grad,) = torch.autograd.grad(value, leaf, weight.to(dtype))
        found.append((value.detach().double(), grad.double()))
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_and_gradients_are_torchs(dtype: torch.dtype):
    within = 1e-5 if dtype == torch.float32 else 1e-12
    x = torch.cat([torch.linspace(-12, 12, 4001), torch.tensor([0.0, 1e-8, -1e-8])]).to(dtype)
    ours, theirs = both(x)
    assert ours[1].abs().max() > 1
    torch.testing.assert_close(ours[0], theirs[0], atol=within, rtol=within)
    torch.testing.assert_close(ours[1], theirs[1], atol=within, rtol=within)


def test_pieces_make_a_whole_in_any_order_of_the_memory():
    x = torch.randn(3, 2**15, generator=torch.Generator().manual_seed(0))
    for one in (x, x.T):
        ours, theirs = both(one)
        torch.testing.assert_close(ours[0], theirs[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(ours[1], theirs[1], atol=1e-5, rtol=1e-5)


def test_far_from_zero_it_is_x_or_nothing():
    ours, theirs = both(torch.tensor([-1e6, -200.0, 200.0, 1e6]))
    assert ours[0].equal(theirs[0])
    assert ours[1].equal(theirs[1].float().double())


def test_the_gradient_agrees_with_differences():
    x = torch.linspace(-4, 4, 33, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(gelu_tanh, (x,))


def test_other_dtypes_take_torchs_own():
    x = torch.linspace(-3, 3, 64).bfloat16()
    assert gelu_tanh(x).equal(F.gelu(x, approximate="tanh"))
