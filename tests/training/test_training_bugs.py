"""Bugs that the tests of optimisers and schedules notice."""

from functools import partial

import pytest
import torch

from selfwise.training import optimizers, schedules
from selfwise.training.optimizers import LAMB, LARS, build_optimizer, scale_lr
from selfwise.training.schedules import compute_factor
from tests.helpers.planted import Attribute, Bug, assert_caught, changed_arguments, changed_output
from tests.parity import test_optim as parity
from tests.training import test_optimizers as facts
from tests.training import test_schedules

LARS_LOOP = partial(parity.test_lars_is_the_authors_when_the_rate_changes, 0.5)
LARS_ZERO = parity.test_lars_with_a_zero_weight_moves_by_the_plain_rate
LAMB_LOOP = partial(facts.test_lamb_is_the_authors, moments=((0.8, 0.9), 1e-3), decay=0.5)
SHAPE = test_schedules.test_warmup_rises_in_a_line_and_cosine_ends_near_zero


def adapt_all(healthy):
    """Biases and norms are adapted like matrices."""

    def build(*args, **options):
        optimizer = healthy(*args, **options)
        for group in optimizer.param_groups:
            group["adapt"] = True
        return optimizer

    return build


def rate_after_momentum(_):
    """The rate is multiplied into the step and not into the buffer, as others have it."""

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in (p for p in group["params"] if p.grad is not None):
                move = p.grad + group["weight_decay"] * p
                if group["adapt"]:
                    move = move * optimizers._trust_ratios([p], [move], group["trust"])[0]
                buffer = self._buffer(p).mul_(group["momentum"]).add_(move)
                p.sub_(group["lr"] * buffer)

    return step


BUGS = [
    Bug("LARS compares weights with the bare gradient", optimizers._trust_ratios,
        lambda healthy: lambda params, moves, trust: healthy(
            params, [p.grad for p in params], trust), LARS_LOOP),
    Bug("LARS multiplies the rate in after the momentum", LARS.step, rate_after_momentum,
        LARS_LOOP),
    Bug("LARS adapts biases", build_optimizer, adapt_all, LARS_LOOP),
    Bug("LARS has less momentum", LARS.__init__, changed_arguments(momentum=0.5), LARS_LOOP),
    Bug("LARS trusts ten times as much", LARS.__init__, changed_arguments(trust=0.01), LARS_LOOP),
    Bug("weights of zero do not move", optimizers._trust_ratios,
        lambda healthy: lambda params, moves, trust: [
            ratio * (p.norm() > 0) for ratio, p in zip(healthy(params, moves, trust), params)],
        LARS_ZERO),
    Bug("LAMB corrects the bias of its averages", LAMB._moves,
        lambda healthy: lambda self, params, group: tuple(
            move / (1 - group["betas"][0]) for move in healthy(self, params, group)), LAMB_LOOP),
    Bug("LAMB compares weights with the move without decay", optimizers._trust_ratios,
        lambda healthy: lambda params, moves, trust: healthy(
            params, [m - 0.5 * p for m, p in zip(moves, params)], trust), LAMB_LOOP),
    Bug("LAMB adapts biases", build_optimizer, adapt_all, LAMB_LOOP),
    Bug("LAMB does not keep its averages", LAMB._moments,
        lambda _: lambda self, p: {"first": torch.zeros_like(p), "second": torch.zeros_like(p)},
        LAMB_LOOP),
    Bug("biases are decayed", build_optimizer,
        changed_output(lambda optimizer: [
            group.update(weight_decay=0.3) for group in optimizer.param_groups] and optimizer),
        parity.test_vectors_are_not_decayed),
    Bug("AdamW has its own averages", build_optimizer, changed_arguments(betas=(0.9, 0.99)),
        facts.test_adamw_has_the_betas_and_eps_of_the_method),
    Bug("the rate does not grow with the batch", scale_lr, lambda _: lambda paper, batch: paper.lr,
        parity.test_the_rate_grows_with_the_batch_as_in_the_paper),
    Bug("the rate starts at 0", compute_factor,
        lambda healthy: lambda name, step, *, steps, warmup: healthy(
            name, max(step - 1, 0), steps=steps, warmup=warmup), SHAPE),
    Bug("the cosine ends at a tenth", Attribute(schedules, "SHAPES"),
        lambda shapes: {**shapes, "cosine": lambda done: 0.1 + 0.9 * shapes["cosine"](done)},
        SHAPE),
    Bug("warm-up steps are left out of the fall", compute_factor,
        lambda healthy: lambda name, step, *, steps, warmup: healthy(
            name, step, steps=steps + warmup, warmup=warmup), SHAPE),
]  # fmt: skip


@pytest.mark.parametrize("bug", BUGS, ids=str)
def test_a_planted_bug_is_noticed(bug):
    assert_caught(bug)
