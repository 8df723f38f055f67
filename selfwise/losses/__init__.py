"""Losses as pure functions of tensors."""

from selfwise.losses.contrastive import nt_xent, nt_xent_shard
from selfwise.losses.cross_entropy import (
    chosen_cross_entropy,
    chosen_hits,
    code_cosines,
    soft_cross_entropy,
)
from selfwise.losses.triplet import triplet_loss

__all__ = [
    "chosen_cross_entropy",
    "chosen_hits",
    "code_cosines",
    "nt_xent",
    "nt_xent_shard",
    "soft_cross_entropy",
    "triplet_loss",
]
