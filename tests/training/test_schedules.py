"""The learning rate at each step, by hand."""

import math
from itertools import pairwise

import pytest
import torch

from selfwise.methods.simclr import SimCLR
from selfwise.training.config import TrainingConfig, resolve_training
from selfwise.training.schedules import compute_factor
from selfwise.training.step import set_lr


def test_warmup_rises_in_a_line_and_cosine_ends_near_zero():
    rates = [compute_factor("cosine", step, steps=100, warmup=10) for step in range(100)]
    assert rates[:10] == pytest.approx([i / 10 for i in range(1, 11)])
    assert rates[10] == pytest.approx(1.0)
    assert rates[55] == pytest.approx(0.5)
    assert rates[99] == pytest.approx(0.5 * (1 + math.cos(math.pi * 89 / 90)))
    assert all(a >= b for a, b in pairwise(rates[10:]))


def test_linear_and_constant():
    assert compute_factor("linear", 5, steps=10, warmup=0) == pytest.approx(0.5)
    assert compute_factor("constant", 9, steps=10, warmup=2) == 1.0


@pytest.mark.parametrize(("warmup", "first"), [(0.1, 0.1), (5, 0.2), (0, 1.0)])
def test_warmup_is_a_share_or_a_number_of_steps(warmup, first):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 1.0)
    given = TrainingConfig(steps=100, lr=2.0, warmup=warmup, schedule="cosine")
    told = resolve_training(given, SimCLR, num_workers=0)
    assert set_lr(optimizer, told, 0) == pytest.approx(2.0 * first)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(2.0 * first)
