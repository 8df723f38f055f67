"""Text encoders as ONNX models, for use without torch.

Exported with `torch.onnx.export(dynamo=True)`, which needs the extra `export`, and then run with
onnxruntime beside torch: a file whose numbers differ is not left behind.
"""

from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from selfwise.types import TextBatch, TextEncoder

INPUTS, OUTPUTS = ("ids", "valid"), ("tokens", "pooled")
MOST = 1e-4  # difference from torch that is still rounding


class Plain(nn.Module):
    """A text encoder from plain tensors to plain tensors."""

    def __init__(self, encoder: TextEncoder):
        super().__init__()
        self.encoder = encoder

    def forward(
        self, ids: Int64[Tensor, "b n"], valid: Bool[Tensor, "b n"]
    ) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b d"]]:
        found = self.encoder(TextBatch(ids, ids[:, 0], valid))
        assert found.tokens is not None
        return found.tokens, found.pooled


def export_text(encoder: TextEncoder, path: Path) -> float:
    """Write the encoder; batch and row length stay open. Returns the largest difference from torch.

    Inputs `ids` int64 (b n) and `valid` bool (b n), outputs `tokens` (b n d) and `pooled` (b d).
    Raises ValueError where the extra `export` is not installed, and RuntimeError if onnxruntime
    finds other numbers than torch.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ValueError(
            f"ONNX export needs {error.name}; install selfwise with its extra 'export'"
        ) from error
    vocab, length = encoder.vocab, encoder.length
    plain = Plain(deepcopy(encoder)).cpu().eval()  # the encoder itself stays where and as it is
    batch, row = torch.export.Dim("batch", min=1), torch.export.Dim("length", min=2, max=length)
    partial = path.with_name(f".{path.name}.partial")
    torch.onnx.export(
        plain,
        _example(3, min(length, 7), vocab),
        partial,
        input_names=INPUTS,
        output_names=OUTPUTS,
        dynamic_shapes=({0: batch, 1: row}, {0: batch, 1: row}),
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    session = onnxruntime.InferenceSession(partial, providers=["CPUExecutionProvider"])
    shapes = ((1, 2), (2, length), (5, max(2, length // 2)))
    worst = max(_difference(plain, session, _example(b, n, vocab)) for b, n in shapes)
    if not worst <= MOST:
        partial.unlink()
        raise RuntimeError(f"onnxruntime differs from torch by {worst:.1e}, above {MOST:.0e}")
    partial.replace(path)
    return worst


def _example(b: int, n: int, vocab: int) -> tuple[Tensor, Tensor]:
    """Rows that end in more and more padding."""
    ids = (torch.arange(b * n) * 7919 % vocab).reshape(b, n)
    real = (n - torch.arange(b)).clamp_min(1)
    return ids, torch.arange(n) < real[:, None]


@torch.no_grad()
def _difference(plain: Plain, session: Any, example: tuple[Tensor, Tensor]) -> float:
    fed = {name: tensor.numpy() for name, tensor in zip(INPUTS, example)}
    found = [torch.from_numpy(array) for array in session.run(list(OUTPUTS), fed)]
    ids, valid = example
    tokens, pooled = plain(ids, valid)
    far = [(found[0] - tokens)[valid].abs().max(), (found[1] - pooled).abs().max()]
    return float(torch.stack(far).max())
