"""Which convolutions a CPU computes with channels last: faster, where it can be trusted."""

from torch import nn

BLOCK = 16  # float32 numbers in the widest vector register


def supports_channels_last(module: nn.Module) -> bool:
    """Return whether float32 convolutions on the CPU may have channels last in this module.

    A ResNet-18 takes 6 to 20 % less time then (docs/log.md). But in torch 2.14.1 (oneDNN) the
    gradient of a 1 x 1 convolution with stride writes beyond its memory where it has fewer channels
    than a vector register has numbers: 4 and 6 with AVX2 ended in a crash, 8 to 64 and other
    kernels did not, nor were their gradients wrong. Groups and transposed convolutions were not
    tried. So a module with any of these keeps channels first.
    """
    kinds = (nn.Conv2d, nn.ConvTranspose2d)
    convolutions = [part for part in module.modules() if isinstance(part, kinds)]
    return bool(convolutions) and all(_is_safe_convolution(part) for part in convolutions)


def _is_safe_convolution(part: nn.Conv2d | nn.ConvTranspose2d) -> bool:
    if isinstance(part, nn.ConvTranspose2d):
        return False
    strided_point = part.kernel_size == (1, 1) and max(part.stride) > 1
    return part.groups == 1 and not (strided_point and part.in_channels % BLOCK)
