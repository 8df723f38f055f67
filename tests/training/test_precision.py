"""Autocast, the rounding of views, and the loss scale, on tensors that one can compute by hand."""

from typing import NamedTuple

import pytest
import torch
from torch import nn
from torch.cuda._utils import _get_device_index

from selfwise.core.types import Step, Term
from selfwise.training.precision import choose_precision
from selfwise.training.step import choose_device


@pytest.mark.parametrize(("name", "index"), [("cuda", 0), ("cuda:0", 0), ("cuda:3", 3)])
def test_a_gpu_has_a_number(name, index):
    """Without one `torch.cuda.set_device` refuses it, on a machine that has a GPU."""
    device = choose_device(name)
    assert device == torch.device("cuda", index)
    assert _get_device_index(device) == index
    assert choose_device("cpu") == torch.device("cpu")


class OneView(NamedTuple):
    x: torch.Tensor
    index: torch.Tensor


class Recording(nn.Module):
    """A linear layer that remembers the types it met; the loss is the mean of its outputs."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 1, bias=False)
        nn.init.ones_(self.linear.weight)

    def forward(self, view: OneView) -> Step:
        out = self.linear(view.x)
        self.types = (view.x.dtype, view.index.dtype, out.dtype)
        return Step({"loss": Term(out.sum(), torch.tensor(2, dtype=out.dtype))}, {})


def one_view(value: float = 1.0) -> OneView:
    return OneView(torch.full((2, 4), value), torch.arange(2))


@pytest.mark.parametrize(
    ("name", "rounds_view", "view_type", "product_type"),
    [
        ("float32", True, torch.float32, torch.float32),
        ("bf16", False, torch.float32, torch.bfloat16),
        ("bf16", True, torch.bfloat16, torch.bfloat16),
    ],
)
def test_half_precision_is_where_it_should_be(name, rounds_view, view_type, product_type):
    method = Recording()
    precision = choose_precision(name, "cpu", rounds_view=rounds_view)
    step = precision.forward(method, one_view())
    assert method.types == (view_type, torch.int64, product_type)
    assert step.terms["loss"].sum.dtype == step.terms["loss"].count.dtype == torch.float32


def test_fp16_scales_the_loss_and_clips_what_was_unscaled():
    method = Recording()
    optimizer = torch.optim.SGD(method.parameters(), lr=1.0)
    precision = choose_precision("fp16", "cpu", rounds_view=False)
    precision.backward(precision.forward(method, one_view(0.5)).loss)
    assert method.linear.weight.grad.min() > 1000  # 0.5 times the scale
    precision.clip_gradients(optimizer, 0.5)  # the norm is 1
    assert method.linear.weight.grad == pytest.approx(torch.full((1, 4), 0.25), abs=1e-4)
    precision.update_weights(optimizer)
    assert method.linear.weight.detach() == pytest.approx(torch.full((1, 4), 0.75), abs=1e-3)


def test_a_step_that_overflows_in_fp16_leaves_the_weights_and_lowers_the_scale():
    method = Recording()
    optimizer = torch.optim.SGD(method.parameters(), lr=1.0)
    precision = choose_precision("fp16", "cpu", rounds_view=False)
    before = 2.0**16
    precision.backward(precision.forward(method, one_view(60_000.0)).loss)
    precision.update_weights(optimizer)
    assert torch.equal(method.linear.weight.detach(), torch.ones(1, 4))
    assert precision.scaler.get_scale() == before / 2
