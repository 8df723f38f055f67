"""The logged norm of the gradient: before clipping, of the whole batch, and finite."""

import json
import math

import pytest
import torch
from torch import nn

from selfwise.core.types import Term
from selfwise.methods.supervised import Supervised
from selfwise.training.metrics_log import GRAD_NORM, Meter
from selfwise.training.precision import Precision, choose_precision
from selfwise.training.step import build_state, train_step
from tests.helpers import cases
from tests.training.test_loop import options


def take_step(**given) -> tuple[float, float]:
    """The logged norm of one step, and the norm of the gradients that the optimizer was given."""
    told = options(Supervised, **given)
    state = build_state(cases.build("supervised"), told)
    step = train_step(state, cases.batch(Supervised), 0, seed=0, options=told)
    squares = [p.grad.double().square().sum() for p in state.method.parameters()]
    return step.metrics[GRAD_NORM].mean.item(), math.sqrt(sum(squares))


def test_the_norm_is_that_of_all_gradients():
    logged, given = take_step()
    assert logged == pytest.approx(given, rel=1e-6)
    assert logged > 0.1


def test_the_norm_is_logged_before_clipping():
    logged, given = take_step(grad_clip=1e-3)
    assert given == pytest.approx(1e-3, rel=1e-4)
    assert logged == take_step()[0]


def test_micro_batches_have_the_norm_of_the_whole_batch():
    """Without batch norm, whose statistics are those of a micro-batch."""
    found = []
    for accumulate in (1, 4):
        told = options(Supervised, grad_accum_steps=accumulate)
        state = build_state(cases.build("supervised"), told)
        state.method.eval()
        step = train_step(state, cases.batch(Supervised), 0, seed=0, options=told)
        found.append(step.metrics[GRAD_NORM].mean.item())
    assert found[0] == pytest.approx(found[1], rel=1e-4)


def test_an_overflow_of_fp16_is_not_counted():
    weight = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([weight], 0.1)
    precision = Precision("cpu", torch.float16, scaler=torch.amp.GradScaler("cpu", init_scale=4.0))
    precision.backward((weight * torch.tensor([3.0, 4.0])).sum())
    assert weight.grad.tolist() == [12.0, 16.0]
    term = precision.clip_gradients(optimizer, 0.0)
    assert (term.sum.item(), term.count.item()) == (5.0, 1.0)  # without the loss scale
    precision.update_weights(optimizer)
    weight.grad = torch.tensor([math.inf, 1.0])
    term = precision.clip_gradients(optimizer, 0.0)
    assert (term.sum.item(), term.count.item()) == (0.0, 0.0)


def test_a_line_without_a_finite_gradient_has_no_norm():
    meter, zero, one = Meter(), torch.tensor(0.0), torch.tensor(1.0)
    meter.terms = {"loss": Term(one, one), GRAD_NORM: Term(zero, zero)}
    assert meter.compute_means() == {"loss": 1.0}
    meter.terms[GRAD_NORM] = Term(2 * one, one)
    assert meter.compute_means() == {"loss": 1.0, GRAD_NORM: 2.0}


def test_no_gradient_is_changed_where_nothing_is_clipped():
    weight = nn.Parameter(torch.ones(3))
    weight.grad = torch.tensor([1.0, -2.0, 2.0])
    term = choose_precision("float32", "cpu", rounds_view=False).clip_gradients(
        torch.optim.SGD([weight], 0.1), 0.0
    )
    assert term.sum.item() == 3.0
    assert weight.grad.tolist() == [1.0, -2.0, 2.0]


def test_each_log_line_has_the_mean_norm(tmp_path):
    from tests.training.loggers.test_loggers import train

    train(tmp_path / "each", log_every=1)
    train(tmp_path / "pairs", log_every=2)
    each, pairs = (
        [json.loads(line)[GRAD_NORM] for line in path.read_text().splitlines()]
        for path in (tmp_path / "each" / "metrics.jsonl", tmp_path / "pairs" / "metrics.jsonl")
    )
    means = [(a + b) / 2 for a, b in zip(each[::2], each[1::2])]
    assert pairs == pytest.approx(means, rel=1e-12)
