"""Bugs that the tests of the losses notice."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from selfwise.losses.contrastive import nt_xent, unit_views
from selfwise.losses.cross_entropy import masked_cross_entropy
from selfwise.losses.triplet import triplet_loss
from selfwise.losses.triplet_mining import find_positives, mine_hard, mine_semihard
from tests.helpers.planted import Bug, assert_caught, changed_output
from tests.losses import test_contrastive as facts
from tests.losses import test_cross_entropy as chosen
from tests.losses import test_triplet as triplet
from tests.losses import test_triplet_mining as mining

LOOP = partial(facts.test_nt_xent_against_a_double_loop, 9, 16, 0.5)
COSINE = facts.test_nt_xent_uses_the_cosine_and_every_pair
WIDE = facts.test_nt_xent_widens_embeddings_before_it_normalises_them
SUM = chosen.test_it_is_the_sum_over_the_chosen_rows
UNEVEN = mining.IDENTITIES["uneven"]
SEMIHARD = partial(mining.test_against_three_loops, UNEVEN, mine_semihard, mining.semihard_rule, 0)


def round_first(healthy):
    """Unit vectors are made in the embeddings' own precision."""
    return lambda a, b, *temperature: healthy(
        F.normalize(a, dim=1), F.normalize(b, dim=1), *temperature
    )


def one_direction(_):
    """Only first views look for their partner."""

    def broken(a, b, temperature=0.5):
        scores = F.normalize(a, dim=1) @ F.normalize(torch.cat([a, b]), dim=1).T / temperature
        itself = torch.eye(len(a), 2 * len(a), dtype=torch.bool)
        return F.cross_entropy(
            scores.masked_fill(itself, -torch.inf), torch.arange(len(a)) + len(a)
        )

    return broken


BUGS = [
    Bug("embeddings are rounded before they are widened", nt_xent, round_first, WIDE),
    Bug("views are rounded before they are widened", unit_views, round_first, WIDE),
    Bug("lengths matter", nt_xent,
        lambda _: lambda a, b, temperature=0.5: F.cross_entropy(
            a @ b.T / temperature, torch.arange(len(a))), COSINE),
    Bug("one direction is left out", nt_xent, one_direction, COSINE),
    Bug("partners do not matter", nt_xent,
        lambda healthy: lambda a, b, t=0.5: healthy(a.sort(0).values, b.sort(0).values, t), COSINE),
    Bug("similarities are multiplied by the temperature", nt_xent,
        lambda healthy: lambda a, b, temperature=0.5: healthy(a, b, 1 / temperature), LOOP),
    Bug("it is computed in bf16 under autocast", nt_xent,
        lambda healthy: lambda a, b, t=0.5: healthy(
            (a @ torch.eye(a.shape[1])).to(a.dtype), b, t) if torch.is_autocast_enabled("cpu")
        else healthy(a, b, t), facts.test_nt_xent_is_computed_in_float32_under_autocast),
    Bug("a temperature of 0 is taken", nt_xent,
        lambda healthy: lambda a, b, t=0.5: healthy(a, b, t if t > 0 else 1.0),
        partial(facts.test_nt_xent_refuses_a_temperature_that_is_not_above_zero, 0.0)),
    Bug("the triplet loss is of distances that are not squared", triplet_loss,
        lambda _: lambda a, p, n, margin=0.2: F.relu(
            (a - p).norm(dim=1) - (a - n).norm(dim=1) + margin).mean(),
        triplet.test_triplet_by_hand),
    Bug("triplets that are solved count", triplet_loss,
        lambda _: lambda a, p, n, margin=0.2: (
            (a - p).square().sum(1) - (a - n).square().sum(1) + margin).mean(),
        triplet.test_triplet_by_hand),
    Bug("all rows are summed", masked_cross_entropy,
        lambda healthy: lambda logits, target, chosen: healthy(
            logits, target, torch.ones_like(chosen)), SUM),
    Bug("it is a mean and no sum", masked_cross_entropy,
        lambda healthy: lambda logits, target, chosen: healthy(
            logits, target, chosen) / chosen.sum(), SUM),
    Bug("bf16 is summed in bf16", masked_cross_entropy,
        lambda _: lambda logits, target, chosen: F.cross_entropy(
            logits, target, reduction="none")[chosen].sum(),
        chosen.test_bfloat16_is_summed_in_float32),
    Bug("the hardest negative is taken", mine_semihard,
        lambda _: lambda distance, identity, partner, *, margin=0.2: mine_hard(
            distance, identity, partner),
        mining.test_semihard_has_all_kinds_of_pairs),
    Bug("a row is its own partner", find_positives,
        changed_output(lambda partner: torch.arange(len(partner))[:, None].expand_as(partner)),
        partial(mining.test_partners_against_a_loop, UNEVEN)),
    Bug("a partner is left out", find_positives, changed_output(lambda partner: partner[:, 1:]),
        SEMIHARD),
]  # fmt: skip


@pytest.mark.parametrize("bug", BUGS, ids=str)
def test_a_planted_bug_is_noticed(bug):
    assert_caught(bug)
