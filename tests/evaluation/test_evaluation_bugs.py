"""Bugs that the tests of probes, draws of labels and measures notice."""

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from selfwise.evaluation.monitors.representation import alignment, rank_me, uniformity
from selfwise.evaluation.probes.knn import predict_knn
from selfwise.evaluation.probes.label_curve import draw_labels
from selfwise.evaluation.probes.linear import split_folds
from selfwise.evaluation.probes.retrieval import MAP, PRECISION, measure_retrieval
from selfwise.evaluation.scores.bootstrap import paired_bootstrap
from tests.evaluation import test_probes as probes
from tests.evaluation import test_representation as representation
from tests.evaluation import test_retrieval as retrieval
from tests.helpers.planted import Bug, assert_caught, changed_arguments, changed_output

BY_HAND = retrieval.test_five_points_by_hand
DRAWS = probes.test_draws_are_balanced_nested_and_keyed


def renamed(**wrong):
    """Measures with each other's values."""
    names = {"precision": PRECISION, "map": MAP}
    return changed_output(
        lambda found: found._replace(
            values={**found.values, **{names[a]: found.values[names[b]] for a, b in wrong.items()}}
        )
    )


BUGS = [
    Bug("neighbours are counted and not weighed", predict_knn, changed_arguments(temperature=1e3),
        probes.test_knn_weighs_its_votes),
    Bug("neighbours are those of the largest product", predict_knn,
        lambda healthy: lambda train, labels, test, **options: healthy(
            train + 10, labels, test + 10, **options),
        partial(probes.test_knn_is_the_weighted_vote_of_a_loop, 7)),
    Bug("one neighbour alone is asked", predict_knn, changed_arguments(k=1),
        partial(probes.test_knn_is_the_weighted_vote_of_a_loop, 7)),
    Bug("labels are drawn whatever their class", draw_labels,
        lambda _: lambda labels, each, seed: np.sort(
            np.random.default_rng(seed).permutation(len(labels))[: 4 * (each or 100)]), DRAWS),
    Bug("every seed draws the same labels", draw_labels,
        lambda healthy: lambda labels, each, seed: healthy(labels, each, 0), DRAWS),
    Bug("the first of each class are drawn", draw_labels,
        lambda _: lambda labels, each, seed: np.sort(np.concatenate(
            [np.flatnonzero(labels == c)[:each] for c in np.unique(labels)])),
        probes.test_every_example_is_drawn_equally_often),
    Bug("an interval is half as wide", paired_bootstrap,
        (lambda healthy: lambda *given, **options: tuple(
            0.75 * a + 0.25 * b for a, b in zip(
                healthy(*given, **options), reversed(healthy(*given, **options))))),
        partial(probes.test_bootstrap_interval_is_the_normal_one, 0.1)),
    Bug("held-out examples are drawn whatever their class", split_folds,
        lambda _: lambda labels, *, seed: np.array_split(
            np.random.default_rng(seed).permutation(len(labels)), 5),
        probes.test_a_classes_only_example_is_not_held_out),
    Bug("a query finds itself", measure_retrieval,
        lambda healthy: lambda vectors, labels, **options: healthy(
            np.repeat(vectors, 2, axis=0), np.repeat(labels, 2), **options), BY_HAND),
    Bug("precision is called MAP", measure_retrieval, renamed(map="precision"), BY_HAND),
    Bug("MAP is called precision", measure_retrieval, renamed(precision="map"), BY_HAND),
    Bug("classes are those of other examples", measure_retrieval,
        lambda healthy: lambda vectors, labels, **options: healthy(
            vectors, np.roll(labels, 1), **options), BY_HAND),
    Bug("pairs are not brought to the sphere", alignment,
        lambda _: lambda a, b: (a - b).square().sum(dim=1).mean(),
        representation.test_alignment_is_the_mean_squared_distance_of_pairs),
    Bug("a row is a pair with itself", uniformity,
        lambda _: lambda z, t=2.0: torch.cdist(F.normalize(z, dim=1), F.normalize(
            z, dim=1)).square().mul(-t).exp().mean().log(),
        partial(representation.test_uniformity_is_the_log_mean_potential_of_all_pairs, 2.0)),
    Bug("the rank is of the squared values", rank_me,
        lambda healthy: lambda z: healthy(z @ z.T),
        representation.test_rank_me_is_the_exponential_of_the_entropy),
]  # fmt: skip


@pytest.mark.parametrize("bug", BUGS, ids=str)
def test_a_planted_bug_is_noticed(bug):
    assert_caught(bug)
