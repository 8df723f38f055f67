"""Small networks on top of an encoder, used while pre-training and thrown away after."""

from jaxtyping import Float
from torch import Tensor, nn


class ProjectionHead(nn.Sequential):
    """SimCLR's g(h): an MLP with batch norm in every layer, ReLU between, none at the end.

    The paper (arXiv:2002.05709, section 4.2) uses two layers; the authors' code later three, and
    gives the last layer a batch norm without bias (`model_util.py`), which we follow.
    """

    def __init__(self, width: int, *, dim: int = 128, layers: int = 2):
        if layers not in (2, 3):
            raise ValueError(f"layers: SimCLR's projection head has 2 or 3 layers, not {layers}")
        hidden = [part for _ in range(layers - 1) for part in _layer(width, width)]
        last = nn.BatchNorm1d(dim)
        last.register_parameter("bias", None)
        super().__init__(*hidden, nn.Linear(width, dim, bias=False), last)

    def forward(self, h: Float[Tensor, "b width"]) -> Float[Tensor, "b dim"]:
        for layer in self:
            h = layer(h)
        return h


def _layer(width: int, out: int) -> list[nn.Module]:
    return [nn.Linear(width, out, bias=False), nn.BatchNorm1d(out), nn.ReLU(inplace=True)]
