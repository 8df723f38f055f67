"""Losses as pure functions of tensors."""

from selfwise.losses.contrastive import nt_xent, nt_xent_shard
from selfwise.losses.cross_entropy import (
    cosine_logits,
    count_correct,
    masked_cross_entropy,
    soft_cross_entropy,
)
from selfwise.losses.triplet import triplet_loss

__all__ = [
    "cosine_logits",
    "count_correct",
    "masked_cross_entropy",
    "nt_xent",
    "nt_xent_shard",
    "soft_cross_entropy",
    "triplet_loss",
]
