"""Optimisers against independent implementations, and what SimCLR's authors' LARS does."""

import pytest
import torch
from torch import nn

from selfwise.core.rng import generator
from selfwise.methods.method import PaperDefaults
from selfwise.training.optimizers import LARS, build_optimizer, scale_lr


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def train(model: nn.Module, optimizer: torch.optim.Optimizer, lrs: list[float]) -> list:
    x = torch.randn(16, 6, generator=generator(0))
    for lr in lrs:
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
    return [p.detach().clone() for p in model.parameters()]


def by_the_paper(model: nn.Module, lrs: list[float], decay: float) -> list:
    """Google's lars_optimizer.py with classic momentum, one parameter at a time, in a loop."""
    x = torch.randn(16, 6, generator=generator(0))
    buffers = {p: torch.zeros_like(p) for p in model.parameters()}
    for lr in lrs:
        model.zero_grad()
        model(x).square().mean().backward()
        with torch.no_grad():
            for p in model.parameters():
                gradient, scaled = p.grad, lr
                if p.ndim > 1:
                    gradient = gradient + decay * p
                    w, g = p.norm().item(), gradient.norm().item()
                    scaled = lr * (0.001 * w / g if w > 0 and g > 0 else 1.0)
                buffers[p] = 0.9 * buffers[p] + scaled * gradient
                p -= buffers[p]
    return [p.detach().clone() for p in model.parameters()]


@pytest.mark.parametrize("decay", [0.01, 0.5])
def test_lars_is_the_authors_when_the_rate_changes(decay):
    """With a large decay the ratio shows if it is of the gradient alone or of the whole move."""
    lrs = [0.01, 0.05, 0.1, 0.07, 0.02]
    model = net()
    ours = train(model, build_optimizer("lars", model, lr=0.1, weight_decay=decay), lrs)
    for mine, theirs in zip(ours, by_the_paper(net(), lrs, decay)):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


def test_lars_agrees_with_lightly_while_the_rate_is_constant():
    theirs = pytest.importorskip("lightly.utils.lars").LARS
    decay = 1e-12  # it adapts only where it decays, and norms the two parts of a move apart
    a, b = nn.Linear(6, 4, bias=False), nn.Linear(6, 4, bias=False)
    b.load_state_dict(a.state_dict())
    mine = train(a, LARS(a.parameters(), 0.3, weight_decay=decay), [0.3] * 5)
    other = train(b, theirs(b.parameters(), lr=0.3, momentum=0.9, weight_decay=decay), [0.3] * 5)
    torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)


def test_lars_with_a_zero_weight_moves_by_the_plain_rate():
    w = nn.Parameter(torch.zeros(2, 2))
    w.grad = torch.ones(2, 2)
    LARS([w], 0.5).step()
    torch.testing.assert_close(w.detach(), torch.full((2, 2), -0.5))


def test_vectors_are_not_decayed():
    for name in ("adamw", "sgd", "lars"):
        groups = build_optimizer(name, net(), lr=0.1, weight_decay=0.3).param_groups
        decays = {p.ndim > 1: g["weight_decay"] for g in groups for p in g["params"]}
        assert decays == {True: 0.3, False: 0.0}, name


def test_the_rate_grows_with_the_batch_as_in_the_paper():
    paper = PaperDefaults(lr=1.2, base_batch=256, scaling="sqrt")
    assert scale_lr(paper, 4096) == pytest.approx(0.075 * 4096**0.5)  # section 2.2 of SimCLR
    linear = PaperDefaults(lr=0.3, base_batch=256, scaling="linear")
    assert scale_lr(linear, 4096) == pytest.approx(4.8)
    assert scale_lr(PaperDefaults(lr=0.3), 17) == 0.3
