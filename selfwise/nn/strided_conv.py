"""Strided convolutions whose bf16 gradient is right on the smallest maps too."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class SmallMapConv2d(nn.Conv2d):
    """`nn.Conv2d` that pads by itself where the map is narrower than its stride.

    In bf16 on the CPU, torch 2.14.1 and 2.15.0 (oneDNN) return unwritten memory as gradient of the
    weights that meet nothing but padding there: a 3 x 3 convolution of stride 2 on a 1 x 1 map. The
    weights grow beyond all bounds or become NaN, though the loss does not show it. With the zeros
    laid around the map beforehand the gradient is right; the result is the same.
    """

    def forward(self, input: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        if min(input.shape[2] - self.stride[0], input.shape[3] - self.stride[1]) >= 0:
            return super().forward(input)
        assert not isinstance(self.padding, str), "`guard_small_maps` takes numbers alone"
        down, across = self.padding
        padded = F.pad(input, (across, across, down, down))
        return F.conv2d(padded, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


def guard_small_maps(module: nn.Module) -> None:
    """Make a `SmallMapConv2d` of every strided, padded `nn.Conv2d` in the module, in place.

    Parameters, names and state stay what they are, which is why the class alone is changed.
    """
    for part in module.modules():
        if type(part) is not nn.Conv2d or part.padding_mode != "zeros":
            continue
        if max(part.stride) > 1 and not isinstance(part.padding, str):
            part.__class__ = SmallMapConv2d
