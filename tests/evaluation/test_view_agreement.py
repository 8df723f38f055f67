"""The label-free score: nearest neighbors by hand, and encoders that have collapsed."""

import pytest
import torch
from torch import nn

from selfwise.core.rng import generator
from selfwise.evaluation.monitors.view_agreement import (
    LabelFreeScore,
    mutual_neighbors,
    score_features,
)
from tests.helpers import cases


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed, "features"))


def by_loops(a, b):
    hits = 0
    for i in range(len(a)):
        to_b = [float(torch.cosine_similarity(a[i], b[k], dim=0)) for k in range(len(b))]
        to_a = [float(torch.cosine_similarity(a[k], b[i], dim=0)) for k in range(len(a))]
        hits += all(to_b[i] > v for k, v in enumerate(to_b) if k != i) and all(
            to_a[i] > v for k, v in enumerate(to_a) if k != i
        )
    return hits / len(a)


def test_both_views_have_to_be_nearest_to_each_other():
    a = normal(40, 6)
    for noise in (0.1, 1.0, 3.0):
        b = a + noise * normal(40, 6, seed=1)
        assert mutual_neighbors(a, b) == pytest.approx(by_loops(a, b))
    # b_1 is nearest to a_0 and a_1 alike; a_0 prefers it too, so only the pair 1 is mutual
    a, b = torch.tensor([[1.0, 0.0], [1.0, 0.1]]), torch.tensor([[0.0, 1.0], [1.0, 0.1]])
    assert mutual_neighbors(a, b) == 0.5


def test_equal_features_are_nobodys_nearest_neighbors():
    assert mutual_neighbors(torch.ones(8, 4), torch.ones(8, 4)) == 0


def test_the_score_prefers_features_that_have_not_collapsed():
    a = normal(64, 32)
    good = score_features(a, a + 0.3 * normal(64, 32, seed=1))
    line = normal(64, 1) @ normal(1, 32, seed=2) + 1e-3 * a
    dimensional = score_features(line, line + 1e-4 * normal(64, 32, seed=1))
    point = score_features(torch.ones(64, 32), torch.ones(64, 32))
    unrelated = score_features(a, normal(64, 32, seed=3))
    assert good["label_free_score"] > 2 * dimensional["label_free_score"]
    assert dimensional["label_free_score"] > point["label_free_score"] == 0
    assert good["label_free_score"] > 2 * unrelated["label_free_score"]
    assert unrelated["effective_rank"] > good["effective_rank"] - 5, "the rank alone would not do"
    assert 0 < good["label_free_score"] <= 1


def scorer(name="simclr", **options):
    batches = (lambda number: cases.batch(type(cases.build(name)), 16), 2)
    return LabelFreeScore(cases.build(name, **options), batches, seed=0)


def test_an_encoder_that_collapsed_gets_the_lower_score_and_nothing_changes():
    score, method = scorer(), cases.build("simclr")
    before = {name: value.clone() for name, value in method.state_dict().items()}
    values = score(method)
    assert values == score(method)
    assert all(torch.equal(before[n], value) for n, value in method.state_dict().items())
    for part in method.encoder.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.zeros_(part.weight)
    assert score(method)["label_free_score"] < values["label_free_score"]
    for parameter in method.encoder.parameters():
        nn.init.constant_(parameter, torch.nan)
    assert score(method) == {}


def test_one_method_makes_the_views_for_all_encoders():
    easy, hard = cases.build("simclr", min_crop_scale=1.0), cases.build("simclr")
    hard.load_state_dict(easy.state_dict())
    score = scorer()
    assert score(easy) == score(hard)


def test_methods_with_one_view_have_no_score():
    assert scorer().has_pair()
    assert not scorer("rotation").has_pair()
