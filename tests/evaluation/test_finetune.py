"""Fine-tuning: the search for a rate, what is held out for it, and what it never sees."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from selfwise import methods
from selfwise.core.rng import init_seed
from selfwise.core.types import Features
from selfwise.data.image import open_images
from selfwise.data.image.dataset import ArrayImages
from selfwise.evaluation.probes import finetune as module
from selfwise.evaluation.probes.finetune import finetune
from selfwise.methods import Method
from selfwise.training.config import ResolvedTraining, TrainingConfig, resolve_training

SIZE = 8


class Flat(nn.Module):
    """Twice the pixels: enough for digits, and fast."""

    dim = 3 * SIZE * SIZE

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.full((self.dim,), 2.0))

    def forward(self, x):
        return Features(self.weight * x.flatten(1))

    def hidden(self, x):
        return [self(x)]


def make(seed: int) -> Method:
    with init_seed(seed, "classifier"):
        return methods.find_method("supervised")(
            Flat(), size=SIZE, classes=10, min_crop_scale=0.9, flip_prob=0.0
        )


def options(**given) -> ResolvedTraining:
    told = {
        "steps": 40,
        "batch_size": 50,
        "lr": 0.1,
        "precision": "float32",
        "device": "cpu",
    } | given
    return resolve_training(
        TrainingConfig(**told, cpu_threads=1), methods.find_method("supervised"), num_workers=0
    )


@pytest.fixture(scope="module")
def digits() -> tuple[ArrayImages, ArrayImages]:
    x, y = load_digits(return_X_y=True)
    x = np.repeat((x.reshape(-1, 1, 8, 8) / 16 * 255).astype(np.uint8), 3, axis=1)
    whole = open_images((x, y))
    return whole.take(np.arange(300)), whole.take(np.arange(300, 600))


def accuracy(predicted: np.ndarray, images: ArrayImages) -> float:
    return float((predicted == images.labels).mean())


def tuned(digits, told: ResolvedTraining | None = None, **given) -> np.ndarray:
    return finetune(make, *digits, told or options(), size=SIZE, seed=0, **given)


@pytest.fixture
def rates(monkeypatch) -> list[tuple[float, int, int]]:
    """Every training that is done: its rate, its labels and its test examples."""
    original, seen = module._train_and_predict, []

    def watched(make, train, test, told, **rest):
        seen.append((told.lr, len(train), len(test)))
        return original(make, train, test, told, **rest)

    monkeypatch.setattr(module, "_train_and_predict", watched)
    return seen


def test_it_learns_and_is_keyed(digits):
    predicted = tuned(digits)
    assert predicted.dtype == np.int64
    assert accuracy(predicted, digits[1]) > 0.75
    np.testing.assert_array_equal(predicted, tuned(digits))
    other = finetune(make, *digits, options(), size=SIZE, seed=1)
    assert not np.array_equal(predicted, other)


@pytest.mark.run
def test_the_test_labels_are_never_read(digits):
    train, test = digits
    predicted = tuned(digits, rates=(0.01, 0.1))
    wrong = replace(test, labels=np.random.default_rng(0).permutation(test.labels))
    np.testing.assert_array_equal(predicted, tuned((train, wrong), rates=(0.01, 0.1)))
    np.testing.assert_array_equal(
        predicted, tuned((train, replace(test, labels=None)), rates=(0.01, 0.1))
    )


@pytest.mark.run
def test_the_rate_is_the_best_on_a_fifth_that_is_held_out(digits, rates):
    predicted = tuned(digits, rates=(1e-5, 0.1, 1e-4))
    assert rates == [(1e-5, 240, 60), (0.1, 240, 60), (1e-4, 240, 60), (0.1, 300, 300)]
    np.testing.assert_array_equal(predicted, tuned(digits, options(lr=0.1)))


def test_one_rate_is_the_rate(digits, rates):
    tuned(digits, options(steps=1), rates=(0.03,))
    tuned(digits, options(steps=1))
    assert rates == [(0.03, 300, 300), (0.1, 300, 300)]


def test_a_rate_that_diverges_is_worse_than_any_accuracy(digits, rates):
    predicted = tuned(digits, rates=(1e30, 0.1))
    assert [rate for rate, *_ in rates] == [1e30, 0.1, 0.1]
    assert accuracy(predicted, digits[1]) > 0.75


@pytest.mark.run
def test_a_rate_that_diverges_on_all_labels_gives_way_to_the_next(digits, monkeypatch):
    original = module._train_and_predict

    def fragile(make, train, test, told, **rest):
        if len(train) == 300 and told.lr == 0.1:
            raise FloatingPointError
        return original(make, train, test, told, **rest)

    monkeypatch.setattr(module, "_train_and_predict", fragile)
    predicted = tuned(digits, rates=(1e-5, 0.1, 0.05))
    monkeypatch.undo()
    np.testing.assert_array_equal(predicted, tuned(digits, options(lr=0.05)))


@pytest.mark.parametrize("given", [(1e30, 2e30), (1e30,), ()])
def test_if_all_diverge_it_is_said_once(digits, given):
    with pytest.raises(ValueError, match=r"300 labels diverged at every .* tried \(1e\+30") as told:
        tuned(digits, options(lr=1e30), rates=given)
    assert len(str(told.value).splitlines()) == 1


def test_weights_that_break_in_the_last_step_are_seen(digits):
    # one step: its loss is that of the start, a good number
    with pytest.raises(ValueError, match="diverged"):
        tuned(digits, options(steps=1, lr=1e38))


def test_with_one_label_a_class_the_middle_rate_is_taken(digits, rates):
    train, test = digits
    first = np.array([int(np.flatnonzero(train.labels == label)[0]) for label in range(10)])
    tuned((train.take(first), test), options(batch_size=10), rates=(0.2, 0.01, 0.05))
    assert rates == [(0.05, 10, 300)]
    rates.clear()
    tuned((train.take(first), test), options(batch_size=10), rates=(0.2, 1e30, 0.01, 2e30, 3e30))
    assert [rate for rate, *_ in rates] == [1e30, 0.2]  # the middle diverges: the next smaller


def test_predictions_have_the_precision_of_the_training(digits):
    seen = []

    class Watched(Flat):
        def forward(self, x):
            features = nn.functional.linear(x.flatten(1), torch.eye(self.dim))
            seen.append((self.training, features.dtype))
            return Features(self.weight * features)

    def watched(seed: int) -> Method:
        return methods.find_method("supervised")(Watched(), size=SIZE, classes=10)

    for precision, dtype in (("bf16", torch.bfloat16), ("float32", torch.float32)):
        told = options(steps=2, precision=precision)
        finetune(watched, *digits, told, size=SIZE, seed=0)
        assert set(seen) == {(True, dtype), (False, dtype)}
        seen.clear()


def test_a_batch_is_not_larger_than_the_labels(digits):
    train, test = digits
    tuned((train.take(np.arange(30)), test), options(batch_size=50, steps=2))
