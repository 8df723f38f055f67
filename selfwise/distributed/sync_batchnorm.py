"""Batch norm over the batch of all processes, so that the statistics equal those of one process."""

from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import convert_sync_batchnorm
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from selfwise.distributed.collectives import gather_rows


def sync_batch_norms(module: nn.Module, device_type: str) -> None:
    """Replace the batch norms inside `module`; weights, statistics and their names stay.

    GPUs get torch's SyncBatchNorm, which does not support CPUs.
    """
    for name, child in module.named_children():
        if not isinstance(child, _BatchNorm):
            sync_batch_norms(child, device_type)
        elif device_type == "cuda":
            setattr(module, name, convert_sync_batchnorm(child))
        else:
            setattr(module, name, CpuSyncBatchNorm(child))


class CpuSyncBatchNorm(_BatchNorm):
    """A batch norm that computes means and variances over the rows of all processes.

    timm's batch norm includes an activation, which remains.
    """

    def __init__(self, norm: _BatchNorm):
        super().__init__(
            norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats
        )
        for name, tensor in [*norm._parameters.items(), *norm._buffers.items()]:
            setattr(self, name, tensor)
        self.drop, self.act = (getattr(norm, n, nn.Identity()) for n in ("drop", "act"))
        self.train(norm.training)

    def forward(self, x: Tensor) -> Tensor:
        x = self._normalise_over_ranks(x) if self.training else super().forward(x)
        activated: Tensor = self.act(self.drop(x))
        return activated

    def _check_input_dim(self, input: Tensor) -> None:
        """Accept any number of dimensions."""

    def _normalise_over_ranks(self, x: Tensor) -> Tensor:
        assert self.momentum is not None, "a cumulative mean over all steps is not supported"
        with torch.no_grad():
            wide = x.to(torch.promote_types(x.dtype, torch.float32))
            # equal to var_mean's result, which takes four times as long
            mean, var = torch.batch_norm_update_stats(wide, None, None, 0.0)
            each = torch.full_like(mean, x.numel() / x.shape[1])
            means, variances, counts = gather_rows(torch.stack([mean, var, each])[None]).unbind(
                dim=1
            )
            total = counts.sum(dim=0)
            share = counts / total
            mean = (share * means).sum(dim=0)
            var = (share * (variances + (means - mean).square())).sum(dim=0)
            self._update_running(mean, var * (total / (total - 1)))
        weight, bias = self.weight, self.bias
        y: Tensor = _Normalise.apply(x, weight, bias, mean, var, total, self.eps)
        return y

    @torch.no_grad()
    def _update_running(self, mean: Tensor, var: Tensor) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        assert self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(var, self.momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked += 1


class _Normalise(torch.autograd.Function):
    """(x - mean) / sqrt(var + eps) * weight + bias, where mean and var are those of all rows.

    Uses torch's batch norm with given statistics, and adds the missing part of its gradient: a row
    changes the mean and the variance of all rows. With y the normalized row, g its gradient after
    the weight and E the mean over all rows, it is (g - E[g] - y E[g y]) / sqrt(var + eps). As a
    graph of single operations it takes nearly four times as long.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        var: Tensor,
        total: Tensor,
        eps: float,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, var, total)
        ctx.eps, ctx.biased = eps, bias is not None
        return F.batch_norm(x, mean, var, weight, bias, False, 0.0, eps)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, var, total = ctx.saved_tensors
        scale = torch.rsqrt(var + ctx.eps)
        own, by_weight, by_bias = torch.ops.aten.native_batch_norm_backward(
            grads[0], x, weight, mean, var, mean, scale, False, ctx.eps, [True, True, True]
        )
        mean_grads = gather_rows(torch.stack([by_weight, by_bias])[None]).sum(dim=0) / total
        slope, offset = -mean_grads * (scale if weight is None else scale * weight)
        own = own + F.batch_norm(x, mean, var, slope, offset, False, 0.0, ctx.eps)
        by_weight = None if weight is None else by_weight
        return own, by_weight, by_bias if ctx.biased else None, None, None, None, None
