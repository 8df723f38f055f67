"""LAMB as ALBERT's authors have it, against one parameter after the other in float64; AdamW."""

import pytest
import torch
from torch import nn

from selfwise.core.rng import generator
from selfwise.methods import find_method
from selfwise.methods.method import PaperDefaults
from selfwise.training.optimizers import LAMB, build_optimizer

RATES = [0.01, 0.05, 0.1, 0.07, 0.02]


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 3)).double()


def train(model, optimizer, rates=RATES):
    x = torch.randn(16, 6, generator=generator(0)).double()
    for lr in rates:
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
    return [p.detach().clone() for p in model.parameters()]


def by_the_authors(model, decay, betas=(0.9, 0.999), eps=1e-6, rates=RATES):
    """google-research/albert, lamb_optimizer.py: no bias correction, no decay of vectors."""
    x = torch.randn(16, 6, generator=generator(0)).double()
    m = {p: torch.zeros_like(p) for p in model.parameters()}
    v = {p: torch.zeros_like(p) for p in model.parameters()}
    for lr in rates:
        model.zero_grad()
        model(x).square().mean().backward()
        with torch.no_grad():
            for p in model.parameters():
                m[p] = betas[0] * m[p] + (1 - betas[0]) * p.grad
                v[p] = betas[1] * v[p] + (1 - betas[1]) * p.grad**2
                update, ratio = m[p] / (v[p].sqrt() + eps), 1.0
                if p.ndim > 1:
                    update = update + decay * p
                    w, u = p.norm().item(), update.norm().item()
                    ratio = w / u if w > 0 and u > 0 else 1.0
                p -= lr * ratio * update
    return [p.detach().clone() for p in model.parameters()]


@pytest.mark.parametrize("decay", [0.0, 0.01, 0.5])
@pytest.mark.parametrize("moments", [((0.9, 0.999), 1e-6), ((0.8, 0.9), 1e-3)])
def test_lamb_is_the_authors(decay, moments):
    model, (betas, eps) = net(), moments
    told = {"lr": 0.1, "weight_decay": decay, "betas": betas, "eps": eps}
    ours = train(model, build_optimizer("lamb", model, **told))
    for mine, theirs in zip(ours, by_the_authors(net(), decay, betas, eps)):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-14)


def test_lamb_with_a_zero_weight_moves_by_the_plain_rate():
    w = nn.Parameter(torch.zeros(2, 2))
    w.grad = torch.full((2, 2), 1e-3)
    LAMB([w], 0.5, eps=0.0).step()
    # m / sqrt(v) of a first gradient: 0.1 / sqrt(0.001), whatever its size
    torch.testing.assert_close(w.detach(), torch.full((2, 2), -0.5 * 0.1 / 0.001**0.5))


def test_lamb_with_a_zero_gradient_stays():
    w = nn.Parameter(torch.ones(2, 2))
    w.grad = torch.zeros(2, 2)
    LAMB([w], 0.5).step()
    assert torch.equal(w.detach(), torch.ones(2, 2))


def test_lamb_goes_on_from_its_state():
    whole, first = net(), net()
    wanted = train(whole, build_optimizer("lamb", whole, lr=0.1, weight_decay=0.1))
    half = build_optimizer("lamb", first, lr=0.1, weight_decay=0.1)
    train(first, half, RATES[:2])
    second = net()
    second.load_state_dict(first.state_dict())
    rest = build_optimizer("lamb", second, lr=0.1, weight_decay=0.1)
    rest.load_state_dict(half.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(train(second, rest, RATES[2:]), wanted))


def test_adamw_has_the_betas_and_eps_of_the_method():
    for name in ("simclr", "bert", "roberta", "gpt"):
        d = find_method(name).paper
        optimizer = build_optimizer(
            "adamw", net(), lr=0.1, weight_decay=0.1, betas=d.betas, eps=d.eps
        )
        assert all(g["betas"] == d.betas and g["eps"] == d.eps for g in optimizer.param_groups)


def test_adamw_is_torchs_where_a_method_says_nothing():
    """Bitwise: image methods train as before betas and eps could be told."""
    d = PaperDefaults()
    ours, theirs = net(), net()
    told = {"lr": 0.1, "weight_decay": 0.0, "betas": d.betas, "eps": d.eps}
    mine = train(ours, build_optimizer("adamw", ours, **told))
    plain = torch.optim.AdamW(theirs.parameters(), 0.1, weight_decay=0.0, fused=True)
    assert all(torch.equal(a, b) for a, b in zip(mine, train(theirs, plain)))
    assert d.grad_clip == 0.0


def test_the_step_has_the_methods_betas_and_clip():
    """From the method's defaults through the options into the loop."""
    from selfwise.training.config import TrainingConfig, resolve_training
    from selfwise.training.step import build_state
    from tests.helpers import cases

    method = cases.build("bert")
    options = resolve_training(
        TrainingConfig(steps=1, precision="float32", device="cpu"), type(method), num_workers=0
    )
    assert options.grad_clip == 1.0
    groups = build_state(method, options).optimizer.param_groups
    assert all(g["eps"] == 1e-6 for g in groups)
    told = TrainingConfig(steps=1, grad_clip=0.0, device="cpu")
    assert resolve_training(told, type(method), num_workers=0).grad_clip == 0.0
    assert (
        resolve_training(
            TrainingConfig(steps=1, device="cpu"), find_method("simclr"), num_workers=0
        ).grad_clip
        == 0.0
    )
