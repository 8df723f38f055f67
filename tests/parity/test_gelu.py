"""Our GELU with tanh against torch's."""

import pytest
import torch
import torch.nn.functional as F

from selfwise.nn import gelu
from selfwise.nn.gelu import gelu_tanh


@pytest.fixture(autouse=True)
def our_own(monkeypatch):
    """On any processor."""
    monkeypatch.setattr(gelu, "FASTER", True)


def both(x: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """(value, gradient) of ours and of torch's in float64; the gradient's weights are not equal."""
    weight = torch.linspace(-1, 2, x.numel()).view(x.shape)
    found = []
    for function, dtype in ((gelu_tanh, x.dtype), (F.gelu, torch.float64)):
        leaf = x.to(dtype).requires_grad_()
        told = {} if function is gelu_tanh else {"approximate": "tanh"}
        value = function(leaf, **told)
        if function is gelu_tanh:
            assert type(value.grad_fn).__name__ == "_BySigmoidBackward"
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


def test_pieces_make_a_whole_in_any_order_of_the_memory(monkeypatch):
    monkeypatch.setattr(gelu, "PIECE", 1000)
    x = torch.randn(3, 2**15 + 1, generator=torch.Generator().manual_seed(0))
    assert x.numel() > 2 * gelu._piece_size()
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


def test_without_a_gradient_the_values_are_the_same():
    x = torch.randn(3, 2**16 + 1, generator=torch.Generator().manual_seed(0))
    leaf = x.clone().requires_grad_()
    value = gelu_tanh(leaf)
    assert gelu_tanh(x).equal(value)
    with torch.no_grad():
        assert gelu_tanh(leaf).equal(value)
    torch.testing.assert_close(gelu_tanh(x.T), F.gelu(x.T, approximate="tanh"), atol=1e-5, rtol=0)


def test_the_slope_alone_is_kept():
    kept = []
    x = torch.linspace(-3, 3, 64, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda one: kept.append(one) or one, lambda p: p):
        value = gelu_tanh(x)
    assert len(kept) == 1
    (slope,) = torch.autograd.grad(value.sum(), x)
    assert slope.equal(kept[0])


def test_an_empty_tensor_stays_one():
    assert gelu_tanh(torch.zeros(0, 4)).shape == (0, 4)
    assert gelu_tanh(torch.zeros(0, 4, requires_grad=True)).shape == (0, 4)


def test_where_torchs_own_is_as_fast_it_is_taken(monkeypatch):
    monkeypatch.setattr(gelu, "FASTER", False)
    x = torch.linspace(-3, 3, 64, requires_grad=True)
    assert type(gelu_tanh(x).grad_fn).__name__ == "GeluBackward0"


def test_other_dtypes_take_torchs_own():
    x = torch.linspace(-3, 3, 64).bfloat16()
    assert gelu_tanh(x).equal(F.gelu(x, approximate="tanh"))
