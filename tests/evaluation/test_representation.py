"""Measures of a representation against loops in float64; a probe that changes nothing."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from selfwise.core.types import Features
from selfwise.data.image.dataset import ArrayImages
from selfwise.evaluation.monitors.representation import (
    RepresentationMonitor,
    alignment,
    describe_collapse,
    rank_me,
    uniformity,
)
from selfwise.evaluation.probes.baselines import estimate_batch_norm
from selfwise.training.loop import Probe
from tests.helpers import cases


def normal(n: int, d: int, seed: int = 0) -> torch.Tensor:
    drawn = np.random.default_rng(seed).standard_normal((n, d))
    return torch.from_numpy(drawn * np.arange(1, d + 1) + 0.3)


def unit(row: torch.Tensor) -> np.ndarray:
    return row.numpy() / math.sqrt(float((row.numpy() ** 2).sum()))


def test_alignment_is_the_mean_squared_distance_of_pairs():
    a, b = normal(9, 5), normal(9, 5, seed=1)
    expected = sum(((unit(x) - unit(y)) ** 2).sum() for x, y in zip(a, b)) / 9
    torch.testing.assert_close(float(alignment(a, b)), expected)
    assert float(alignment(a, 3 * a)) == pytest.approx(0, abs=1e-12)
    assert float(alignment(a, -a)) == pytest.approx(4)


@pytest.mark.parametrize("t", [2.0, 0.5])
def test_uniformity_is_the_log_mean_potential_of_all_pairs(t):
    z = normal(11, 4)
    potentials = [
        math.exp(-t * ((unit(z[i]) - unit(z[j])) ** 2).sum()) for i in range(11) for j in range(i)
    ]
    expected = math.log(sum(potentials) / len(potentials))
    torch.testing.assert_close(float(uniformity(z, t)), expected)
    if t == 2:
        torch.testing.assert_close(float(uniformity(z)), expected)


def test_rank_me_is_the_exponential_of_the_entropy():
    z = normal(12, 6)
    values = np.linalg.svd(z.numpy(), compute_uv=False)
    entropy = 0.0
    for value in values:
        share = value / values.sum() + 1e-7
        entropy -= share * math.log(share)
    torch.testing.assert_close(float(rank_me(z)), math.exp(entropy))


def test_one_point_and_orthogonal_points():
    same = torch.ones(8, 5) * torch.arange(1.0, 6.0)
    assert float(uniformity(same)) == 0
    assert float(rank_me(same)) == pytest.approx(1, abs=1e-3)
    assert float(uniformity(torch.zeros(8, 5))) == 0
    assert float(rank_me(torch.zeros(8, 5))) == pytest.approx(1, abs=1e-3)
    basis = torch.eye(6) * 7
    assert float(rank_me(basis)) == pytest.approx(6, abs=1e-3)
    assert float(uniformity(basis)) == pytest.approx(-2 * 2)  # all at squared distance 2
    assert float(alignment(basis, basis.roll(1, 0))) == pytest.approx(2)


def images(n: int = 40) -> ArrayImages:
    x = cases.batch(cases.methods.find_method("simclr"), n).x.numpy()
    return ArrayImages(x=x, ids=[str(i) for i in range(n)], channels=3, fingerprint="f")


def health(data: ArrayImages | None = None, seed: int = 0) -> RepresentationMonitor:
    return RepresentationMonitor(data or images(), size=cases.SIZE, seed=seed, every=5)


def test_the_probe_fulfils_the_contract_and_gives_three_numbers():
    probe = health()
    assert isinstance(probe, Probe)
    assert probe.every == 5
    found = probe(cases.build("simclr"))
    assert set(found) == {"alignment", "uniformity", "effective_rank"}
    assert 0 < found["alignment"] < 4
    assert -4 < found["uniformity"] < 0
    assert 1 < found["effective_rank"] <= 32
    assert set(probe(cases.build("supervised"))) == {"uniformity", "effective_rank"}


def test_the_values_are_those_of_the_features(monkeypatch):
    """Evaluation views for uniformity and rank, the method's two views for the alignment."""
    method, data = cases.build("simclr"), images(7)
    found = health(data)(method)
    method.eval()
    with torch.no_grad():
        h = method.encoder(torch.from_numpy(data.x).float() / 255).pooled
    assert found["uniformity"] == pytest.approx(float(uniformity(h)), rel=1e-4)
    assert found["effective_rank"] == pytest.approx(float(rank_me(h)), rel=1e-4)
    monkeypatch.setattr("selfwise.evaluation.monitors.representation.BATCH_SIZE", 3)
    assert health(data)(method) == pytest.approx(found, rel=1e-4)
    method.augment = lambda batch, rng: batch.x.float() / 255
    assert health(data)(method)["alignment"] == pytest.approx(0, abs=1e-9)


def test_the_probe_changes_nothing_of_the_run():
    method, probe = cases.build("simclr"), health()
    method.projection.eval()
    before = {name: value.clone() for name, value in method.state_dict().items()}
    modes = [module.training for module in method.modules()]
    state = torch.get_rng_state()
    first = probe(method)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())
    assert [module.training for module in method.modules()] == modes
    assert all(parameter.grad is None for parameter in method.parameters())
    torch.manual_seed(1)
    assert probe(method) == first == health()(method)
    assert health(seed=1)(method)["alignment"] != first["alignment"]


def test_512_examples_at_most_are_drawn_by_the_seed():
    data = images(600)
    one, two = health(data), health(data, seed=1)
    assert len(one.batch.x) == len(set(one.batch.index.tolist())) == 512
    assert one.batch.index.tolist() != two.batch.index.tolist()
    assert one.batch.index.tolist() == health(data).batch.index.tolist()


class Constant(nn.Module):
    dim = 64

    def __init__(self, value: float):
        super().__init__()
        self.weight = nn.Parameter(torch.full((64,), value))

    def forward(self, x):
        return Features(self.weight.expand(len(x), -1))

    def hidden(self, x):
        return [self(x)]


@pytest.mark.parametrize("value", [0.0, 2.0])
def test_a_constant_encoder_has_collapsed_and_a_random_one_has_not(value):
    method, probe = cases.build("simclr"), health()
    estimate_batch_norm(method.encoder, images(), size=cases.SIZE)
    assert probe.warning(probe(method)) is None
    method.encoder = Constant(value)
    warning = probe.warning(probe(method))
    assert "has collapsed: its features have an effective rank of 1.0 of 40" in warning
    for help in ("lower --lr", "--batch-size", "views", "--temperature"):
        assert help in warning


def test_where_the_limits_are():
    good = {"effective_rank": 9.0, "uniformity": -0.06}
    assert describe_collapse(good, 900) is None
    assert "rank of 9.0 of 901" in describe_collapse(good, 901)
    assert describe_collapse({**good, "effective_rank": 2.0}, 64) is None
    assert "rank of 1.9 of 64" in describe_collapse({**good, "effective_rank": 1.9}, 64)
    assert "uniformity of -0.049" in describe_collapse({**good, "uniformity": -0.049}, 64)


def test_features_that_are_no_numbers_are_left_to_the_loop():
    method, probe = cases.build("simclr"), health()
    method.encoder = Constant(math.nan)
    found = probe(method)
    assert all(math.isnan(value) for value in found.values())
    assert probe.warning(found) is None
