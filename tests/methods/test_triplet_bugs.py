"""Bugs that the tests of the triplet methods notice."""

from functools import partial

import numpy as np
import pytest
import torch

from selfwise.losses import triplet_mining
from selfwise.losses.triplet_mining import (
    compute_hinge_costs,
    compute_squared_distances,
    count_mined_pairs,
    find_positives_grouped,
    mine_hard,
    mine_random,
    mine_semihard,
)
from selfwise.methods.triplet import Triplet
from selfwise.methods.triplet_labelled import TripletLabelled
from selfwise.views.image.pk_sampler import PKSampler
from tests.helpers.planted import Bug, assert_caught, changed_arguments, changed_output, make_rng
from tests.methods import test_triplet as facts

VIEWS_ARE_PAIRS = partial(facts.test_two_views_are_a_pair_in_both_directions, 0.2)
IDENTITIES_ARE_PAIRS = partial(facts.test_images_of_an_identity_are_pairs, 0.2)
EVERY_WAY = partial(
    facts.test_every_way_of_mining_learns_from_a_batch, Triplet, "semihard", make_rng
)
HARD = partial(facts.test_every_way_of_mining_learns_from_a_batch, Triplet, "hard", make_rng)
VIEWS = partial(facts.test_views_are_those_of_simclr_and_of_supervised, make_rng)
SIZES = facts.test_head_and_embedding

BUGS = [
    Bug("a view is the pair of another image's", Triplet._embed_views,
        changed_output(lambda rows: (*rows[:2], rows[2].roll(1, 0), rows[3])),
        VIEWS_ARE_PAIRS),
    Bug("only first views are anchors", compute_hinge_costs,
        changed_output(lambda cost: cost * (torch.arange(len(cost)) < len(cost) // 2)),
        VIEWS_ARE_PAIRS),
    Bug("distances are not squared", compute_squared_distances,
        changed_output(lambda distance: distance.clamp_min(1e-9).sqrt()), VIEWS_ARE_PAIRS),
    Bug("the margin is not asked for", compute_hinge_costs,
        lambda healthy: lambda distance, triplets, margin: healthy(distance, triplets, 0.1),
        VIEWS_ARE_PAIRS),
    Bug("the negative is mined within another margin", mine_semihard,
        changed_arguments(margin=0.05), VIEWS_ARE_PAIRS),
    Bug("the nearest negative is taken though it is nearer than the positive", mine_semihard,
        lambda _: lambda distance, identity, partner, *, margin=0.2: mine_hard(
            distance, identity, partner), VIEWS_ARE_PAIRS),
    Bug("semi-hard is what hard asks for", mine_hard,
        lambda _: lambda distance, identity, partner: mine_semihard(distance, identity, partner),
        HARD),
    Bug("the partners are of other identities", find_positives_grouped,
        changed_output(lambda partner: partner.roll(1, 0)), IDENTITIES_ARE_PAIRS),
    Bug("one pair of an identity is left out", find_positives_grouped,
        changed_output(lambda partner: partner[:, :1]), IDENTITIES_ARE_PAIRS),
    Bug("rows of the same identity are negatives", triplet_mining._same_identity,
        lambda _: lambda identity: torch.eye(len(identity), dtype=torch.bool),
        IDENTITIES_ARE_PAIRS),
    Bug("a pair is counted twice", count_mined_pairs, changed_output(lambda pairs: 2 * pairs),
        EVERY_WAY),
    Bug("batch hard is a mean over pairs", count_mined_pairs,
        lambda healthy: lambda mining, rows, partners: rows * partners,
        partial(facts.test_batch_hard_is_a_mean_over_images, make_rng)),
    Bug("random negatives are the same whatever is drawn", mine_random,
        lambda healthy: lambda identity, partner, draw: healthy(
            identity, partner, torch.zeros_like(draw)),
        partial(facts.test_random_negatives_follow_the_draw, make_rng)),
    Bug("views are drawn in the other order", Triplet.view,
        changed_output(lambda view: view._replace(a=view.b, b=view.a)), VIEWS),
    Bug("faces have another identity", TripletLabelled.view,
        changed_output(lambda view: view._replace(identity=view.identity.roll(1))), VIEWS),
    Bug("the embedding has 64 dimensions", TripletLabelled.__init__, changed_arguments(proj_dim=64),
        SIZES),
    Bug("the margin is 1", Triplet.__init__,
        changed_arguments(margin=lambda asked: 1.0 if asked is None else asked), SIZES),
    Bug("a batch has an image twice", PKSampler.__call__,
        lambda healthy: lambda self, *told: np.repeat(healthy(self, *told)[::2], 2),
        facts.test_p_identities_with_k_different_images_each),
    Bug("the images of a batch are of any identity", PKSampler.__call__,
        lambda _: lambda self, n, batch, step, seed: np.random.default_rng(step).permutation(n)[
            :batch],
        facts.test_p_identities_with_k_different_images_each),
    Bug("batches are drawn one after the other", PKSampler.__call__,
        lambda healthy: lambda self, n, batch, step, seed: healthy(
            self, n, batch, vars(self).setdefault("calls", []).append(0) or len(self.calls), seed),
        facts.test_a_draw_is_a_function_of_seed_and_step_alone),
    Bug("every seed draws the same", PKSampler.__call__,
        lambda healthy: lambda self, n, batch, step, seed: healthy(self, n, batch, step, 0),
        facts.test_a_draw_is_a_function_of_seed_and_step_alone),
    Bug("some images never come", PKSampler._images,
        lambda healthy: lambda self, who, round_, seed: healthy(self, who, 0, seed),
        facts.test_images_of_an_identity_come_again_when_all_have_come),
    Bug("large identities come more often", PKSampler.__call__,
        lambda healthy: lambda self, n, batch, step, seed: healthy(
            self, n, batch, 2 * (step // 2), seed),
        facts.test_identities_are_seen_equally_often),
]  # fmt: skip


@pytest.mark.parametrize("bug", BUGS, ids=str)
def test_a_planted_bug_is_noticed(bug):
    assert_caught(bug)
