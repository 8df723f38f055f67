"""GELU with tanh, for less than torch takes on a CPU.

x (1 + tanh u) / 2 is x times sigmoid(2u), the same function, and the sigmoid is several times
cheaper there. It is worked out in pieces that stay in a core's cache, because in a training step
its numbers come from memory. A step of a GPT with nanoGPT's CPU shape takes 75.4 ms with `F.gelu`,
71.3 with this and 64.8 with ReLU, on one core without AVX-512. What it costs: a second tensor is
kept for the backward pass, there is no gradient of the gradient, and no way through torch.func.
"""

from math import pi, sqrt
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

LINEAR = 2 * sqrt(2 / pi)  # 2u = LINEAR x + CUBIC x^3: Hendrycks and Gimpel, arXiv:1606.08415
CUBIC = 0.044715 * LINEAR
PIECE = 2**16


class _BySigmoid(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.contiguous()
        share, out = torch.empty_like(x), torch.empty_like(x)
        linear = x.new_tensor(LINEAR)
        for a, s, o in _pieces(x, share, out):
            torch.addcmul(linear, a, a, value=CUBIC, out=s).mul_(a).sigmoid_()
            torch.mul(a, s, out=o)
        ctx.save_for_backward(x, share)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        """share + x share' (2u)', with x (2u)' = 3 x (LINEAR / 3 + CUBIC x^2)."""
        x, share = ctx.saved_tensors
        found, third = torch.empty_like(x), x.new_tensor(LINEAR / 3)
        for a, s, g, d in _pieces(x, share, grads[0].contiguous(), found):
            torch.addcmul(third, a, a, value=CUBIC, out=d).mul_(a)
            torch.ops.aten.sigmoid_backward.grad_input(d, s, grad_input=d)
            torch.add(s, d, alpha=3, out=d).mul_(g)
        return found


def _pieces(*tensors: Tensor) -> Any:
    return zip(*(tensor.view(-1).split(PIECE) for tensor in tensors))


def gelu_tanh(x: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """x times the tanh approximation of the normal distribution function."""
    own = x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64)
    if not own or torch.compiler.is_compiling():
        return F.gelu(x, approximate="tanh")
    return _BySigmoid.apply(x)  # type: ignore[no-any-return]
