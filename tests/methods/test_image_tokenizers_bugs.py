"""Bugs that the tests of FSQ and of the dVAE notice."""

from functools import partial

import pytest
import torch
from torch import nn

from selfwise.core.types import Step
from selfwise.methods.dvae import DVAE
from selfwise.methods.fsq import FSQ
from selfwise.nn.quantizers import FiniteScalarQuantizer, count_distinct_codes, gumbel_noise
from tests.helpers.planted import (
    Attribute,
    Bug,
    assert_caught,
    changed_arguments,
    changed_output,
    make_rng,
)
from tests.methods import test_image_tokenizers as facts


def scale_term(name, factor):
    def change(step):
        term = step.terms[name]
        return Step({**step.terms, name: term._replace(sum=factor * term.sum)}, step.metrics)

    return changed_output(change)


def small_scores(healthy):
    def init(self, *args, **kwargs):
        healthy(self, *args, **kwargs)
        nn.init.normal_(self.scores[1].weight, std=0.02)

    return init


BIJECTION = partial(facts.test_codes_and_vectors_are_one_to_one, [8, 6, 5])
REACHED = partial(facts.test_every_code_is_reached_and_no_other, [8, 6, 5])
SEEN = partial(facts.test_codes_are_the_numbers_of_what_the_decoder_sees, [8, 6, 5])
GUMBEL = partial(facts.test_mixtures_are_drawn_by_gumbel_softmax, make_rng)
KL = partial(facts.test_the_kl_term_is_by_a_double_loop, make_rng)
MIXTURE = partial(facts.test_the_decoder_sees_the_mixture_of_code_vectors, make_rng)


def loss(name):
    return partial(facts.test_the_loss_is_the_squared_error_of_what_is_decoded, name, make_rng)


def codes(name):
    return partial(facts.test_codes_are_whole_numbers_of_patches, name)


BUGS = [
    Bug("two codes have one vector", FiniteScalarQuantizer.vectors,
        lambda healthy: lambda self, codes: healthy(self, codes // 2 * 2), BIJECTION),
    Bug("codes are counted from the last number", FiniteScalarQuantizer.codes,
        lambda healthy: lambda self, z: healthy(self, z.flip(-1)), SEEN),
    Bug("the lowest level is never reached", FiniteScalarQuantizer._bound,
        changed_output(lambda z: z.clamp_min(-2.0)), REACHED),
    Bug("there is a level too many", FiniteScalarQuantizer._bound,
        changed_output(lambda z: 1.3 * z), REACHED),
    Bug("0 lies between two levels", FiniteScalarQuantizer._bound,
        changed_output(lambda z: z + 0.5), facts.test_zero_is_a_code_of_zeros),
    Bug("the rounding has no gradient", FiniteScalarQuantizer.forward,
        changed_output(lambda z: z.detach() + 0 * z),
        facts.test_the_gradient_goes_through_the_rounding),
    Bug("the bound has the gradient of a straight line", FiniteScalarQuantizer.forward,
        lambda healthy: lambda self, z: z + (healthy(self, z) - z).detach(),
        facts.test_the_gradient_goes_through_the_rounding),
    Bug("levels are always 8, 8, 8", FSQ.__init__, changed_arguments(levels="8,8,8"),
        partial(facts.test_levels_are_text_or_numbers, "8, 6,5")),
    Bug("the loss of FSQ is a sum over an image's channels", FSQ.forward, scale_term("mse", 3.0),
        loss("fsq")),
    Bug("the loss of the dVAE is a sum over channels", DVAE.forward, scale_term("mse", 3.0),
        loss("dvae")),
    Bug("codes of FSQ are those of the patch beside", FSQ.codes,
        changed_output(lambda codes: codes.roll(1, 1)), loss("fsq")),
    Bug("codes of the dVAE are the least likely ones", DVAE._scores_of,
        changed_output(lambda scores: -scores), MIXTURE),
    Bug("decoded images are not cut off at 0 and 1", FSQ.decode,
        changed_output(lambda x: 2 * x), codes("fsq")),
    Bug("what is kept is not of the codes", DVAE.reconstruct, changed_output(lambda x: 1 - x),
        codes("dvae")),
    Bug("codes are put into columns", FSQ._image,
        lambda healthy: lambda self, z: healthy(
            self, z.unflatten(1, (4, 4)).transpose(1, 2).flatten(1, 2)),
        partial(facts.test_a_change_in_a_corner_stays_there, "fsq")),
    Bug("the temperature does not fall", DVAE.after_step, lambda _: lambda self: None,
        facts.test_the_temperature_falls_along_a_cosine),
    Bug("the temperature falls along a line", Attribute(DVAE, "temperature"),
        lambda _: property(lambda self: 1 - self._annealed * 15 / 16),
        facts.test_the_temperature_falls_along_a_cosine),
    Bug("the KL term has its full weight from the start", Attribute(DVAE, "_annealed"),
        lambda _: property(lambda self: torch.ones(())), KL),
    Bug("the KL term is a mean over codes", DVAE.forward, scale_term("kl", 0.2), KL),
    Bug("noise is not Gumbel's", gumbel_noise, changed_output(lambda noise: 0.1 * noise), GUMBEL),
    Bug("noise of 0 is infinite", gumbel_noise, lambda _: lambda u: -(-u.log()).log(), GUMBEL),
    Bug("the noise is left out", gumbel_noise, changed_output(torch.zeros_like), MIXTURE),
    Bug("scores begin small", DVAE.__init__, small_scores,
        partial(facts.test_codes_begin_apart, make_rng)),
    Bug("an image's codes are counted with repetitions", count_distinct_codes,
        lambda _: lambda codes: torch.full((len(codes),), float(codes.shape[1])),
        facts.test_distinct_counts_kinds),
]  # fmt: skip


@pytest.mark.parametrize("bug", BUGS, ids=str)
def test_a_planted_bug_is_noticed(bug):
    assert_caught(bug)
