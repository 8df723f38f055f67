"""Mixed precision: autocast around the forward pass, and the loss scale that fp16 needs."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer

from selfwise.core.device import HALF_DTYPES
from selfwise.core.sparse import coalesce_rows
from selfwise.core.types import Step, Term, cast_floats


class Precision(NamedTuple):
    """The precision of a run: float32, or half precision with weights in float32.

    `half`: the type in which autocast computes; None computes everything in float32. `rounds_view`:
    round the whole view to `half` first, which halves the input of the first layer. A waveform in
    bf16 has the noise of eight bits in every band, which an encoder of 80 bands mistakes for
    speech, so a method's `rounded_view` specifies whether its view may be rounded.
    `scaler`: keeps the gradients of fp16 in range.
    """

    device_type: str
    half: torch.dtype | None = None
    rounds_view: bool = False
    scaler: GradScaler | None = None

    def forward(self, method: nn.Module, view: object) -> Step:
        """Run the forward pass of one view; the step's tensors are float32."""
        if self.half is None:
            whole: Step = method(view)
            return whole
        if self.rounds_view:
            view = cast_floats(view, self.half)
        with torch.autocast(self.device_type, dtype=self.half):
            step: Step = method(view)
        return cast_floats(step, torch.float32)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of the loss, multiplied by the loss scale if there is one."""
        if self.scaler is not None:
            loss = self.scaler.scale(loss)
        loss.backward()

    def clip_gradients(self, optimizer: Optimizer, max_norm: float) -> Term:
        """Scale the gradients so that their total norm is at most `max_norm`; 0 for no limit.

        Returns the norm before scaling, in float32 on the device: the host does not wait for it. A
        gradient that overflowed in fp16, whose step is skipped, counts 0 times.
        """
        if self.scaler is not None:
            self.scaler.unscale_(optimizer)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        if max_norm:
            norm = nn.utils.clip_grad_norm_(parameters, max_norm)
        else:
            norm = nn.utils.get_total_norm(list_gradients(parameters))
        norm = norm.detach().float()
        if self.scaler is None:
            return Term(norm, torch.ones_like(norm))
        finite = norm.isfinite()
        return Term(torch.where(finite, norm, 0.0), finite.float())

    def update_weights(self, optimizer: Optimizer) -> None:
        """Take an optimizer step; with a loss scale, skip it if a gradient overflowed."""
        if self.scaler is None:
            optimizer.step()
            return
        self.scaler.step(optimizer)
        self.scaler.update()


def list_gradients(parameters: Iterable[Tensor]) -> list[Tensor]:
    """Return the gradients of the parameters that have one; of a sparse gradient its numbers, after
    adding up repeated rows."""
    gradients = []
    for p in parameters:
        if p.grad is None:
            continue
        if p.grad.is_sparse:
            p.grad = coalesce_rows(p.grad)  # stays, since the optimizer needs it as well
            gradients.append(p.grad.values())
        else:
            gradients.append(p.grad)
    return gradients


def choose_precision(name: str, device_type: str, *, rounds_view: bool) -> Precision:
    """Return the precision `float32`, `bf16` or `fp16` on a type of device."""
    if name == "float32":
        return Precision(device_type)
    scaler = GradScaler(device_type) if name == "fp16" else None
    return Precision(device_type, HALF_DTYPES[name], rounds_view, scaler)
