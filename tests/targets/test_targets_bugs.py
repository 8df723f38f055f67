"""Bugs that the tests of k-means, MFCC and patches notice."""

from functools import partial

import pytest
import torch

from selfwise.targets.kmeans import (
    MiniBatchCentres,
    assign_clusters,
    find_farthest,
    init_plus_plus,
    run_lloyd,
    sum_clusters,
    update_centres,
)
from selfwise.targets.mfcc import _slopes, _static_coefficients, mfcc_frames
from selfwise.targets.patches import cut_patches
from tests.helpers.planted import Bug, assert_caught, changed_arguments, changed_output
from tests.parity import test_kmeans as kmeans
from tests.targets import test_codebook as codebook
from tests.targets import test_mfcc as sounds
from tests.targets import test_patches as patches

LLOYD = partial(kmeans.test_lloyd, 8, 4)
GOLDEN = sounds.test_golden_numbers_of_kaldi
FRAMES = sounds.test_every_second_frame_is_a_frame_of_the_encoder

BUGS = [
    Bug("points go to the centre of the largest product", assign_clusters,
        lambda _: lambda x, centres: (x @ centres.T).argmax(dim=1), LLOYD),
    Bug("of two equally near centres the last is taken", assign_clusters,
        lambda healthy: lambda x, centres: len(centres) - 1 - healthy(x, centres.flip(0)),
        kmeans.test_of_two_that_are_equally_near_the_first),
    Bug("centres are sums", update_centres,
        lambda _: lambda sums, counts, far, old: sums.to(old.dtype), LLOYD),
    Bug("a point is left out", sum_clusters,
        lambda healthy: lambda x, ids, clusters: healthy(x[1:], ids[1:], clusters), LLOYD),
    Bug("an iteration is left out", run_lloyd,
        lambda healthy: lambda x, centres, iterations, **options: healthy(
            x, centres, iterations - 1, **options), LLOYD),
    Bug("it does not stop by the tolerance", run_lloyd, changed_arguments(tolerance=0.0),
        kmeans.test_lloyd_stops_by_the_tolerance_where_scikit_learn_does),
    Bug("an empty cluster takes the nearest point", find_farthest,
        lambda healthy: lambda x, distance, ids, most: healthy(x, 1e6 - distance, ids, most),
        kmeans.test_an_empty_cluster_takes_the_farthest_point),
    Bug("mini-batches forget what they were given", MiniBatchCentres.step,
        lambda healthy: lambda self, x: (self.counts.zero_(), healthy(self, x))[1],
        partial(kmeans.test_mini_batches, torch.float64, 1e-10)),
    Bug("starts are the first points", init_plus_plus, lambda _: lambda x, k, generator: x[:k],
        kmeans.test_plus_plus_starts_as_well_as_scikit_learn),
    Bug("batches behind the sample are not read", sum_clusters,
        lambda healthy: lambda x, ids, clusters: healthy(x[:50], ids[:50], clusters),
        codebook.test_passes_are_lloyd_iterations_over_all_batches),
    Bug("differences have the wrong sign", _slopes,
        changed_output(lambda x: -x), GOLDEN),
    Bug("coefficients are not liftered", _static_coefficients,
        changed_output(lambda x: x / (1 + torch.arange(13))), GOLDEN),
    Bug("frames are those in between", mfcc_frames,
        changed_output(lambda pair: (pair[0].roll(1, 1), pair[1])), FRAMES),
    Bug("a frame too many is real", mfcc_frames,
        changed_output(lambda pair: (pair[0], pair[1] | pair[1].roll(1, 1))), FRAMES),
    Bug("patches are in column order", cut_patches,
        changed_output(lambda x: x.unflatten(1, (2, 3)).transpose(1, 2).flatten(1, 2)),
        partial(patches.test_patches_are_in_raster_order, 3)),
    Bug("patches are mirrored", cut_patches, lambda healthy: lambda x, p: healthy(x.flip(-1), p),
        partial(patches.test_patches_are_in_raster_order, 3)),
]  # fmt: skip


@pytest.mark.parametrize("bug", BUGS, ids=str)
def test_a_planted_bug_is_noticed(bug):
    assert_caught(bug)
