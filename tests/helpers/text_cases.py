"""Small text encoders with weights that show mistakes, and batches for them."""

import torch

from selfwise.core.rng import generator
from selfwise.core.types import TextBatch
from selfwise.encoders import text

VOCAB, N = 61, 24
TINY = {"dim": 32, "heads": 4, "depth": 3, "length": 40}
FAMILIES = {"bert": {}, "roberta": {}, "albert": {"embedding": 16}, "gpt": {}, "gpt1": {}}


@torch.no_grad()
def randomise(model: torch.nn.Module, seed: int = 0) -> None:
    """Random everything, activations of order 1.

    At the default initialisation the two GELUs differ by less than rounding. Embeddings are small,
    so that the eps of the first norm is seen.
    """
    rng = generator(seed, "weights")
    for name, p in model.named_parameters():
        noise = torch.randn(p.shape, generator=rng)
        if (
            p.ndim == 2
            and any(w in name for w in ("embeddings", "wte", "wpe", "token", "position"))
        ) or (p.ndim == 2 and "segment" in name):
            p.copy_(0.1 * noise)
        elif p.ndim == 2:
            p.copy_(noise * (1.5 / p.shape[1]) ** 0.5)
        elif name.endswith("bias"):
            p.copy_(0.3 * noise)
        else:  # gains of norms
            p.copy_(1 + 0.2 * noise)


def encoder_of(family: str, **options) -> text.TextTransformer:
    """A small encoder of the family, in evaluation mode."""
    own = TINY | FAMILIES[family] | options
    encoder = text.build_text_encoder(family, vocab=VOCAB, **own)
    randomise(encoder)
    return encoder.eval()


def ids(b: int = 3, n: int = N, seed: int = 0) -> torch.Tensor:
    """Random token ids."""
    return torch.randint(5, VOCAB, (b, n), generator=generator(seed, "ids"))


def batch(*, packed: bool = False, padded: bool = False, segments: bool = False) -> TextBatch:
    """Three rows: of several documents, with padding at the end, with segments, as asked for."""
    tokens = ids()
    valid = torch.arange(N) < torch.tensor([N, 17, 9])[:, None] if padded else None
    segment = (torch.arange(N) >= torch.tensor([5, 9, 4])[:, None]).long() if segments else None
    starts = torch.tensor([[0, 7, 15], [0, 12, N], [0, N, N]]) if packed else None
    return TextBatch(tokens, torch.arange(3), valid, segment, starts)


def real(part: TextBatch) -> torch.Tensor:
    """(b n) True where a token is real."""
    return torch.ones_like(part.ids, dtype=torch.bool) if part.valid is None else part.valid
