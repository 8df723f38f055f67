"""Optimisers. LARS is ours, because none that is well kept runs without waiting for the device."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from selfwise.methods.method import Defaults
from selfwise.names import nearest


class LARS(Optimizer):
    """Layer-wise adaptive rates (You et al. 2017, arXiv:1708.03888).

    As in the code of SimCLR's authors (`lars_optimizer.py`, "classic momentum"): the rate is
    multiplied into the momentum buffer, so that a change of the rate does not touch the past.
    lightly, solo-learn and others apply it after; the two agree while the rate is constant. The
    ratio is |w| / |g + decay w| as there, where You et al. have |w| / (|g| + decay |w|).
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        *,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust: float = 0.001,
    ):
        given = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust}
        super().__init__(params, {**given, "adapt": True})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        assert closure is None, "LARS takes one gradient a step"
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            moves: Any = [p.grad for p in params]
            if group["weight_decay"]:
                decay = group["weight_decay"]
                moves = torch._foreach_add(moves, params, alpha=decay)
            if group["adapt"]:
                moves = torch._foreach_mul(moves, _trust_ratios(params, moves, group["trust"]))
            buffers = [self._buffer(p) for p in params]
            torch._foreach_mul_(buffers, group["momentum"])
            torch._foreach_add_(buffers, moves, alpha=group["lr"])
            torch._foreach_sub_(params, buffers)

    def _buffer(self, p: Tensor) -> Tensor:
        state = self.state[p]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(p)
        return state["momentum_buffer"]


def _trust_ratios(params: Sequence[Tensor], moves: Sequence[Tensor], trust: float) -> list[Tensor]:
    """trust * |w| / |g| for each tensor, 1 where either is 0; stays on the device."""
    weight = torch.stack(torch._foreach_norm(list(params)))
    move = torch.stack(torch._foreach_norm(list(moves)))
    known = (weight > 0) & (move > 0)
    ratio = torch.where(known, trust * weight / move.clamp_min(torch.finfo(move.dtype).tiny), 1.0)
    return list(ratio.unbind())


def lars(groups: list[dict[str, Any]], lr: float) -> Optimizer:
    """Biases and norms are neither decayed nor adapted, as the authors' code excludes them."""
    for group in groups:
        group["adapt"] = group["decays"]
    return LARS(groups, lr)


def sgd(groups: list[dict[str, Any]], lr: float) -> Optimizer:
    return torch.optim.SGD(groups, lr, momentum=0.9, nesterov=True, fused=True)


def adamw(groups: list[dict[str, Any]], lr: float) -> Optimizer:
    return torch.optim.AdamW(groups, lr, fused=True)


OPTIMIZERS = {f.__name__: f for f in (adamw, lars, sgd)}


def check_optimizer(name: str) -> None:
    if name not in OPTIMIZERS:
        raise ValueError(f"unknown optimizer {name!r}{nearest(name, OPTIMIZERS)}")


def scaled_lr(defaults: Defaults, batch: int) -> float:
    """The paper's rate at this batch: constant, or growing with it or with its square root."""
    share = batch / defaults.base_batch
    return defaults.lr * {"none": 1.0, "linear": share, "sqrt": share**0.5}[defaults.scaling]


def build_optimizer(name: str, method: nn.Module, *, lr: float, weight_decay: float) -> Optimizer:
    """The optimiser over all parameters; vectors (biases, norms) are not decayed."""
    params = [p for p in method.parameters() if p.requires_grad]
    matrices = [p for p in params if p.ndim > 1]
    vectors = [p for p in params if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": weight_decay, "decays": True},
        {"params": vectors, "weight_decay": 0.0, "decays": False},
    ]
    return OPTIMIZERS[name]([g for g in groups if g["params"]], lr)
