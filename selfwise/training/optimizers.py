"""Optimizers. LARS and LAMB are ours: no maintained implementation avoids waiting for the
device."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from selfwise.core.sparse import coalesce_rows
from selfwise.methods.method import PaperDefaults

MAX_MOVE = 0.5  # of a word vector in a step; trained vectors have norms of 1 to 5


class LARS(Optimizer):
    """Layer-wise adaptive rates (You et al. 2017, arXiv:1708.03888).

    As in the code of SimCLR's authors (`lars_optimizer.py`, "classic momentum"), the rate is
    multiplied into the momentum buffer, so that a change of the rate does not affect past updates.
    lightly, solo-learn and other libraries apply the rate afterwards; both versions agree while the
    rate is constant. The ratio is |w| / |g + decay w| as in that code; You et al. have
    |w| / (|g| + decay |w|).
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
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust}
        super().__init__(params, {**defaults, "adapt": True})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        assert closure is None, "LARS takes one gradient per step"
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
        buffer: Tensor = state["momentum_buffer"]
        return buffer


def _trust_ratios(params: Sequence[Tensor], moves: Sequence[Tensor], trust: float) -> list[Tensor]:
    """Return trust * |w| / |g| for each tensor, 1 where either is 0; stays on the device."""
    weight = torch.stack(torch._foreach_norm(list(params)))
    move = torch.stack(torch._foreach_norm(list(moves)))
    defined = (weight > 0) & (move > 0)
    ratio = torch.where(defined, trust * weight / move.clamp_min(torch.finfo(move.dtype).tiny), 1.0)
    return list(ratio.unbind())


class LAMB(Optimizer):
    """Layer-wise adaptive Adam (You et al. 2019, arXiv:1904.00962), ALBERT's optimizer.

    As in the code of ALBERT's authors (`lamb_optimizer.py`), and unlike algorithm 2 of the paper,
    the moments have no bias correction, and the trust ratio is |w| / |move| without a function
    around it. The loop clips the gradient.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
    ):
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**defaults, "adapt": True})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        assert closure is None, "LAMB takes one gradient per step"
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            moves: Any = self._moves(params, group)
            if group["weight_decay"]:
                torch._foreach_add_(moves, params, alpha=group["weight_decay"])
            if group["adapt"]:
                torch._foreach_mul_(moves, _trust_ratios(params, moves, 1.0))
            torch._foreach_add_(params, moves, alpha=-group["lr"])

    def _moves(self, params: list[Tensor], group: Mapping[str, Any]) -> tuple[Tensor, ...]:
        """Update both moments; return the first divided by the root of the second."""
        gradients: Any = [p.grad for p in params]
        states = [self._moments(p) for p in params]
        first, second = [s["first"] for s in states], [s["second"] for s in states]
        (beta1, beta2), eps = group["betas"], group["eps"]
        torch._foreach_lerp_(first, gradients, 1 - beta1)
        torch._foreach_mul_(second, beta2)
        torch._foreach_addcmul_(second, gradients, gradients, 1 - beta2)
        roots = torch._foreach_sqrt(second)
        torch._foreach_add_(roots, eps)
        return torch._foreach_div(first, roots)

    def _moments(self, p: Tensor) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.state[p]
        if not state:
            state["first"], state["second"] = torch.zeros_like(p), torch.zeros_like(p)
        return state


class SparseSGD(Optimizer):
    """Stochastic gradient descent on the rows of tables that have a gradient, without momentum.

    A row moves by at most `max_move` in a step: the gradient of a frequent word is a sum over
    hundreds of pairs, none of which sees the effect of the others, and without a limit that sum
    diverges. (word2vec.c moves a word after each pair.)
    """

    def __init__(self, params: Iterable[Any], lr: float, *, max_move: float):
        super().__init__(params, {"lr": lr, "max_move": max_move})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        assert closure is None, "SparseSGD takes one gradient per step"
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                gradient = coalesce_rows(p.grad)
                rows, values = gradient.indices()[0], gradient.values()
                longest = values.norm(dim=1, keepdim=True).mul_(group["lr"])
                scale = (group["max_move"] / longest).clamp_max_(1.0)
                p.index_add_(0, rows, values * scale, alpha=-group["lr"])


class Moments(NamedTuple):
    """Settings of the optimizers that average the gradient; the other optimizers ignore them."""

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8


def lars(groups: list[dict[str, object]], lr: float, moments: Moments) -> Optimizer:
    """Return LARS; biases and norms are neither decayed nor adapted, as in the authors' code."""
    for group in groups:
        group["adapt"] = group["decays"]
    return LARS(groups, lr)


def lamb(groups: list[dict[str, object]], lr: float, moments: Moments) -> Optimizer:
    """Return LAMB; biases and norms are neither decayed nor adapted, as in the authors' code."""
    for group in groups:
        group["adapt"] = group["decays"]
    return LAMB(groups, lr, betas=moments.betas, eps=moments.eps)


def sgd(groups: list[dict[str, object]], lr: float, moments: Moments) -> Optimizer:
    return torch.optim.SGD(groups, lr, momentum=0.9, nesterov=True, fused=True)


def adamw(groups: list[dict[str, object]], lr: float, moments: Moments) -> Optimizer:
    return torch.optim.AdamW(groups, lr, betas=moments.betas, eps=moments.eps, fused=True)


def sparse_sgd(groups: list[dict[str, object]], lr: float, moments: Moments) -> Optimizer:
    """Return SparseSGD."""
    return SparseSGD(groups, lr, max_move=MAX_MOVE)


OPTIMIZERS = {f.__name__: f for f in (adamw, lamb, lars, sgd, sparse_sgd)}


def scale_lr(defaults: PaperDefaults, batch: int) -> float:
    """Return the paper's rate at this batch size: constant, linear, or growing with its root."""
    share = batch / defaults.base_batch
    factors = {"none": 1.0, "linear": share, "sqrt": float(share**0.5)}
    return defaults.lr * factors[defaults.scaling]


def build_optimizer(
    name: str,
    method: nn.Module,
    *,
    lr: float,
    weight_decay: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
) -> Optimizer:
    """Return the optimizer over all parameters; vectors (biases, norms) are not decayed.

    Only adamw and lamb use `betas` and `eps`.
    """
    params = [p for p in method.parameters() if p.requires_grad]
    matrices = [p for p in params if p.ndim > 1]
    vectors = [p for p in params if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": weight_decay, "decays": True},
        {"params": vectors, "weight_decay": 0.0, "decays": False},
    ]
    return OPTIMIZERS[name]([g for g in groups if g["params"]], lr, Moments(betas, eps))
