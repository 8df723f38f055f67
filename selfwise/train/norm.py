"""Batch norm over the batch of all processes, so that the statistics are those of one process."""

import torch
from timm.layers import convert_sync_batchnorm
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from selfwise.losses import gather


def synchronised(module: nn.Module, kind: str) -> None:
    """Replace what is inside of `module`; weights, statistics and their names stay.

    On GPUs by torch's SyncBatchNorm, which has no form for CPUs.
    """
    for name, child in module.named_children():
        if not isinstance(child, _BatchNorm):
            synchronised(child, kind)
        elif kind == "cuda":
            setattr(module, name, convert_sync_batchnorm(child))
        else:
            setattr(module, name, SharedNorm(child))


class SharedNorm(_BatchNorm):
    """A batch norm whose means and variances are taken over the rows of all processes.

    timm's batch norm has an activation behind it, which stays there.
    """

    def __init__(self, norm: _BatchNorm):
        told = (norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        super().__init__(*told)
        for name, tensor in [*norm._parameters.items(), *norm._buffers.items()]:
            setattr(self, name, tensor)
        self.drop, self.act = (getattr(norm, n, nn.Identity()) for n in ("drop", "act"))
        self.train(norm.training)

    def forward(self, x: Tensor) -> Tensor:
        x = self._over_all(x) if self.training else super().forward(x)
        return self.act(self.drop(x))

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of dimensions will do."""

    def _over_all(self, x: Tensor) -> Tensor:
        assert self.momentum is not None, "the mean over all steps is not kept here"
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        over = [d for d in range(x.dim()) if d != 1]
        var, mean = torch.var_mean(wide, over, correction=0)
        each = torch.full_like(mean, x.numel() / x.shape[1])
        means, variances, counts = gather(torch.stack([mean, var, each])[None]).unbind(dim=1)
        total = counts.sum(dim=0)
        share = counts / total
        mean = (share * means).sum(dim=0)
        var = (share * (variances + (means - mean).square())).sum(dim=0)
        self._remember(mean.detach(), var.detach() * (total / (total - 1)))
        shape = [1, -1] + [1] * (x.dim() - 2)
        scale = torch.rsqrt(var + self.eps)
        scale = scale if self.weight is None else scale * self.weight
        out = (wide - mean.view(shape)) * scale.view(shape)
        return (out if self.bias is None else out + self.bias.view(shape)).to(x.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, var: Tensor) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        assert self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(var, self.momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked += 1
