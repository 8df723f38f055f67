"""Which settings a search tries, and which requests it refuses."""

from itertools import pairwise

import pytest

from selfwise.methods.triplet import Triplet
from selfwise.runs.pretrain_config import make_request
from selfwise.runs.tune_settings import (
    check_tuning,
    list_candidates,
    make_rates,
    make_settings,
)

OTHERS = {"temperature": [0.2, 0.1, 0.5], "flip_prob": [0.5, 0.0]}


def request(method="simclr", data="x", **options):
    return make_request(method, {"tune": 6, **options}, data=data)


def refused(method="simclr", **options):
    with pytest.raises(ValueError, match="--tune") as caught:
        check_tuning(request(method, **options))
    return str(caught.value)


@pytest.mark.parametrize("count", range(2, 12))
def test_rates_are_a_logarithmic_grid_around_the_default(count):
    rates = make_rates(0.3, count)
    assert rates[0] == 0.3
    assert len(set(rates)) == count
    grid = sorted(rates)
    factors = [high / low for low, high in pairwise(grid)]
    assert max(factors) == pytest.approx(min(factors), rel=0.02)
    assert grid[0] >= 0.03 * 0.99
    assert grid.index(0.3) == (count - 1) // 2


def test_five_rates_span_a_tenth_to_ten_times():
    assert sorted(make_rates(1.0, 5)) == [0.1, 0.316, 1.0, 3.16, 10.0]


def test_settings_are_a_function_of_the_seed_and_begin_with_the_defaults():
    one, again, other = (make_settings(8, 1.0, OTHERS, seed=seed) for seed in (0, 0, 1))
    assert one == again != other
    assert one[0] == {"lr": 1.0, "temperature": 0.2, "flip_prob": 0.5}
    assert len({tuple(setting.values()) for setting in one}) == 8
    assert len(make_settings(100, 1.0, OTHERS, seed=0)) == 5 * 3 * 2


def test_a_rate_of_zero_has_no_grid():
    with pytest.raises(ValueError, match="give a rate above 0"):
        make_settings(4, 0.0, {}, seed=0)


def candidates(name, method="simclr", **options):
    made = request(method, **options)
    return list_candidates(made, name, made.config.training)


def test_candidates_begin_with_the_present_value_and_are_the_methods_own():
    assert candidates("temperature", temperature=0.3) == [0.3, 0.1, 0.2, 0.5, 1.0]
    assert candidates("mining", "triplet") == ["semihard", "hard", "random"]


def test_candidates_follow_from_type_and_range():
    assert candidates("margin", "triplet") == [0.2, 0.05, 0.1, 0.4, 0.8]
    assert candidates("proj_layers") == [2, 3]
    assert candidates("proj_dim") == [128, 32, 64, 256, 512]


def test_a_search_of_the_rate_needs_no_more_than_a_number():
    for method in ("simclr", "bert", "gpt", "hubert", "rotation"):
        check_tuning(request(method))
    check_tuning(request("bert", tune_options="warmup"))
    check_tuning(request(tune_options="min-crop-scale,temperature"))


def test_requests_that_cannot_be_tuned_are_refused_in_one_sentence():
    assert refused("supervised") == (
        "--tune judges settings without labels, and supervised trains with labels: compare its "
        "runs by their scores"
    )
    assert refused(devices=2) == "--tune searches in one process: leave out --devices"
    assert "needs 2 settings or more" in refused(tune=1)
    assert refused(tune=0, tune_options="warmup").startswith("--tune-options needs --tune")
    with pytest.raises(ValueError, match=r"^--tune-fraction needs --tune"):
        check_tuning(make_request("simclr", {"tune_fraction": 0.5}, data="images"))
    assert "--tune-options has 3 options" in refused(tune_options="warmup,temperature,flip_prob")
    assert "did you mean 'temperature'?" in refused(tune_options="temprature")
    assert "batch_size cannot be tried" in refused(tune_options="batch_size")
    assert "judged by its held-out loss" in refused("bert", tune_options="weight_decay")


def test_an_option_without_candidates_is_refused(monkeypatch):
    monkeypatch.setattr(Triplet, "candidates", {})
    assert "--tune-options mining: the values to try do not follow" in refused(
        "triplet", tune_options="mining"
    )


def test_names_of_options_are_read_as_flags_and_as_lists():
    for names in ("min-crop-scale, --temperature", ["min_crop_scale", "temperature"]):
        assert request(tune_options=names).config.tuning.others == ["min_crop_scale", "temperature"]
    assert request(tune_options="lr,temperature").config.tuning.others == ["temperature"]
