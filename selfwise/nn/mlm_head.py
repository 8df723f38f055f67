"""Heads that turn hidden states into scores of the vocabulary."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from selfwise.nn.transformer import ACTIVATIONS


class MaskedLMHead(nn.Module):
    """BERT's head: a layer, GELU, LayerNorm, then the token table and a bias for each token.

    The table is not part of the head: it is handed to `forward`, which ties the two (google-
    research/bert, `run_pretraining.py:get_masked_lm_output`). ALBERT's dense layer goes from the
    width of the model to that of the table.

    Args:
        dim: width of the hidden states.
        width: of the token table.
        vocab: rows of the token table.
        activation: the encoder's.
        eps: the encoder's.
    """

    def __init__(
        self, dim: int, width: int, vocab: int, *, activation: str = "gelu", eps: float = 1e-12
    ):
        super().__init__()
        self.dense = nn.Linear(dim, width)
        self.norm = nn.LayerNorm(width, eps=eps)
        self.bias = nn.Parameter(self.dense.weight.new_zeros(vocab))
        self.activation = ACTIVATIONS[activation]
        nn.init.trunc_normal_(self.dense.weight, std=0.02, a=-0.04, b=0.04)
        nn.init.zeros_(self.dense.bias)

    def forward(
        self, hidden: Float[Tensor, "m d"], weight: Float[Tensor, "v e"]
    ) -> Float[Tensor, "m v"]:
        return F.linear(self.norm(self.activation(self.dense(hidden))), weight, self.bias)
