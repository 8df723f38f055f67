"""An encoder with a fresh head, for classes or scores of texts and pairs."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from selfwise.core.device import autocast
from selfwise.core.errors import did_you_mean
from selfwise.core.types import TextBatch, TextEncoder, to_device
from selfwise.evaluation.features.image import evaluation_mode
from selfwise.evaluation.features.text import batch_by_length, pad_rows, pool_tokens
from selfwise.evaluation.features.text_rows import TokenRow
from selfwise.glue.finetune_recipes import FinetuneRecipe
from selfwise.glue.tasks import SCORES
from selfwise.nn.attention import Attention
from selfwise.nn.dropout import dropout
from selfwise.nn.transformer import Block
from selfwise.tokenizers.tokenizer import Tokenizer

POOLINGS = ("cls", "last", "mean")


class ClassifierHead(nn.Module):
    """Logits of classes, or one number, from one vector of the row.

    The vector is the first token's after a layer with tanh, the encoder's pooler where it has one
    (BERT, ALBERT) and otherwise a new one (RoBERTa's `RobertaClassificationHead`); the last
    token's (GPT); or the mean of all.

    Args:
        encoder: a text encoder, which is trained from here on.
        classes: number of them; 0 for scores.
        recipe: `pooling`, `dropout` and `head_dropout` are used.

    Raises ValueError for an unknown pooling.
    """

    def __init__(self, encoder: TextEncoder, classes: int, recipe: FinetuneRecipe):
        super().__init__()
        self.pooling = recipe.pooling or ("last" if encoder.causal else "cls")
        if self.pooling not in POOLINGS:
            raise ValueError(
                f"unknown pooling {self.pooling!r}{did_you_mean(self.pooling, POOLINGS)}"
            )
        self.encoder, self.classes, self.drop = encoder, classes, recipe.head_dropout
        if recipe.dropout is not None:
            _set_dropout(encoder, recipe.dropout)
        self.dense = None
        if self.pooling == "cls" and encoder.pooler is None:
            self.dense = _build_linear(encoder.dim, encoder.dim)
        self.out = _build_linear(encoder.dim, classes or 1)

    def forward(self, batch: TextBatch) -> Float[Tensor, "b k"]:
        x = self._vector(batch)
        x = dropout(x, self.drop) if self.training else x
        return self.out(x).float()

    def loss(self, batch: TextBatch, truth: Tensor) -> Float[Tensor, ""]:
        """Return the mean cross-entropy of classes (b,), or mean squared error of scores (b,) over
        5."""
        logits = self(batch)
        if self.classes:
            return F.cross_entropy(logits, truth)
        return F.mse_loss(logits[:, 0], truth.float() / SCORES[1])

    def encoder_weights(self) -> dict[str, Tensor]:
        """Return the weights of the encoder alone."""
        assert isinstance(self.encoder, nn.Module), type(self.encoder)
        return self.encoder.state_dict()

    def _vector(self, batch: TextBatch) -> Float[Tensor, "b d"]:
        if self.pooling == "mean":
            tokens = self.encoder(batch).tokens
            assert tokens is not None, "features of texts have tokens"
            return pool_tokens(tokens.float(), batch.valid, "mean")
        where = torch.zeros((len(batch.ids), 1), dtype=torch.int64, device=batch.ids.device)
        if self.pooling == "last":
            where = where + (
                batch.ids.shape[1] if batch.valid is None else batch.valid.sum(1)[:, None]
            )
            return self.encoder.forward_at(batch, where - 1)[:, 0]
        first = self.encoder.forward_at(batch, where)[:, 0]
        dense = self.dense or self.encoder.pooler
        assert dense is not None, "an encoder without a pooler gets a dense layer"
        return torch.tanh(dense(first))


def copy_encoder(encoder: TextEncoder, start: dict[str, Tensor] | None) -> TextEncoder:
    """Return a copy of the encoder, on the CPU, with other weights if some are given.

    Raises ValueError if these are of another encoder.
    """
    assert isinstance(encoder, nn.Module), type(encoder)
    copy = deepcopy(encoder).cpu().requires_grad_(True)
    if start is None:
        return copy
    own_shapes = {name: tuple(tensor.shape) for name, tensor in copy.state_dict().items()}
    start_shapes = {name: tuple(tensor.shape) for name, tensor in start.items()}
    if own_shapes != start_shapes:
        name = min(
            name
            for name in {*own_shapes, *start_shapes}
            if own_shapes.get(name) != start_shapes.get(name)
        )
        raise ValueError(
            f"the weights to start from belong to another encoder: {name} is "
            f"{start_shapes.get(name, 'missing')} but should be {own_shapes.get(name, 'missing')}"
        )
    copy.load_state_dict(start)
    return copy


def predict_rows(
    model: ClassifierHead,
    rows: Sequence[TokenRow],
    tokenizer: Tokenizer,
    *,
    device: torch.device | str,
    precision: str = "float32",
) -> Int64[np.ndarray, "n"] | Float[np.ndarray, "n"]:
    """Return the class of every row, or its score, cut to 0 to 5. The model stays as it was.

    Raises FloatingPointError if an output is NaN or infinite.
    """
    logits = np.empty((len(rows), model.classes or 1), np.float32)
    with evaluation_mode(model, device), autocast(device, precision):
        for places in batch_by_length([len(row.ids) for row in rows]):
            batch = pad_rows([rows[i] for i in places], model.encoder, tokenizer)
            logits[places] = model(to_device(batch, device)).cpu().numpy()
    if not np.isfinite(logits).all():
        raise FloatingPointError("the outputs became NaN or infinite")
    if model.classes:
        return logits.argmax(axis=1).astype(np.int64)
    return np.clip(logits[:, 0].astype(np.float64) * SCORES[1], *SCORES)


def _build_linear(dim: int, out: int) -> nn.Linear:
    """As BERT's: N(0, 0.02), no bias at the start."""
    layer = nn.Linear(dim, out)
    nn.init.normal_(layer.weight, std=0.02)
    nn.init.zeros_(layer.bias)
    return layer


def _set_dropout(encoder: Any, p: float) -> None:
    """Everywhere in the encoder: embeddings, what each part adds, attention weights."""
    encoder.dropout = p
    encoder.shape = replace(encoder.shape, dropout=p, attention_dropout=p)
    for module in encoder.modules():
        if isinstance(module, Attention | Block):
            module.dropout = p
