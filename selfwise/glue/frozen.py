"""Frozen GLUE: a linear probe of every task on features that no gradient has changed.

The setting (which layer, which pooling, how a pair is put together) is chosen on a part of train;
dev is looked at once, with what was chosen.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int64
from scipy.sparse import issparse, vstack

from selfwise.core.files import digest
from selfwise.core.rng import shuffle_indices
from selfwise.core.types import TextEncoder
from selfwise.data.text.labelled import Texts
from selfwise.evaluation.features.compute import ON_CPU, ComputeOptions
from selfwise.evaluation.features.text import (
    extract_poolings,
    fit_bag_of_words,
    fit_pair_bag_of_words,
)
from selfwise.evaluation.probes.linear import PENALTIES, check_features_finite
from selfwise.glue.finetune_recipes import can_choose
from selfwise.glue.linear_probe import PenaltyTrial, fit_and_predict, search_penalties
from selfwise.glue.metrics import compute_metrics
from selfwise.glue.read import GlueSplit
from selfwise.glue.tasks import GlueTask
from selfwise.tokenizers.tokenizer import Tokenizer

DEFAULT_PENALTY = 0.1  # where too few examples are held out to choose one
# one of this many training examples is held out to choose the setting and the penalty
HELD_OUT_EVERY = 5


class FeatureSetting(NamedTuple):
    """The source of features."""

    layer: int | None = None  # as in `extract`; None is the encoder's output
    pooling: str = "mean"  # or cls
    joined: bool = True  # a pair as one row of tokens; else u, v, |u - v| and u v side by side


class FrozenResult(NamedTuple):
    """Predictions and scores of a probe on each test split, in order."""

    setting: FeatureSetting
    penalty: float
    tried: tuple[tuple[FeatureSetting, PenaltyTrial], ...]  # on the held-out part
    predicted: tuple[np.ndarray, ...]  # classes, or scores from 0 to 5
    scores: tuple[dict[str, float] | None, ...]  # every metric; None for test
    chosen_on: int  # examples that chose; 0: the default setting, as they would have been too few


Matrix = Any  # dense float32 (n, d), or a sparse bag of words
Embed = Callable[[Texts, Sequence[Texts], FeatureSetting], list[Matrix]]
Place = tuple[int | None, str]  # layer and pooling


def list_settings(
    task: GlueTask, layers: Sequence[int | None], poolings: Sequence[str]
) -> list[FeatureSetting]:
    """Return every combination; a pair once as one row of tokens and once as two."""
    joined = (True, False) if len(task.text) > 1 else (True,)
    return [
        FeatureSetting(layer, how, one) for layer in layers for how in poolings for one in joined
    ]


def probe_frozen(
    train: GlueSplit,
    test: Sequence[GlueSplit],
    embed: Embed,
    settings: Sequence[FeatureSetting],
    *,
    seed: int = 0,
) -> FrozenResult:
    """Return the best of some settings and penalties on a fifth of train, fitted on all of it.

    If that fifth has too few examples to choose (`can_choose`), the default setting is fitted: the
    mean of the encoder's output, or the first of `settings` if that is not among them.

    Args:
        train: with labels, or scores.
        test: splits to predict; their labels decide nothing.
        embed: makes features of train and of others, as `CachedFeatures` or `embed_words`.
        settings: the settings. Of equal settings the first wins, with its strongest penalty.
        seed: draws the held-out part.

    Raises ValueError if train has no labels, or features are not finite.
    """
    task, truth = train.task, _split_truth(train)
    if truth is None:
        raise ValueError(f"{task.name}: a probe needs labels, and {train.split} has none")
    is_held_out = np.arange(len(truth)) % HELD_OUT_EVERY == 0
    order = shuffle_indices(len(truth), seed, "glue frozen", task.name)
    enough = can_choose(int(is_held_out.sum()))
    tried: list[tuple[FeatureSetting, PenaltyTrial]] = []
    for setting in settings if enough else ():
        # no name for the features: memory holds those of one setting at a time
        values = search_penalties(
            task,
            _embed_train(train, embed, setting),
            truth,
            order[~is_held_out],
            order[is_held_out],
        )
        tried += [(setting, one) for one in values]
    chosen, penalty = _choose_best(tried, settings, enough)
    x, *test_features = embed(train.texts, [split.texts for split in test], chosen)
    predicted = _predict_splits(task, x, truth, test_features, penalty)
    scores = []
    for split, predictions in zip(test, predicted):
        split_truth = _split_truth(split)
        scores.append(
            None if split_truth is None else compute_metrics(task, split_truth, predictions)
        )
    count = int(is_held_out.sum()) if enough else 0
    return FrozenResult(chosen, penalty, tuple(tried), tuple(predicted), tuple(scores), count)


def _choose_best(
    tried: Sequence[tuple[FeatureSetting, PenaltyTrial]],
    settings: Sequence[FeatureSetting],
    enough: bool,
) -> tuple[FeatureSetting, float]:
    if not enough:
        return (FeatureSetting() if FeatureSetting() in settings else settings[0]), DEFAULT_PENALTY
    best = max(
        tried,
        key=lambda one: one[1].value,
        default=(settings[0], PenaltyTrial(max(PENALTIES), 0.0)),
    )
    return best[0], best[1].penalty


class CachedFeatures:
    """Features of a frozen text encoder: an `Embed`.

    Training texts are encoded once for all settings, since a forward pass has all layers; other
    texts are encoded for one setting. A temporary folder has the features, because those of all
    settings may not fit in memory; those of one do.

    Args:
        encoder: the encoder.
        tokenizer: the tokenizer of the encoder.
        settings: all settings to expect.
        length: number of tokens at which texts are cut.
        compute: device and precision.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        tokenizer: Tokenizer,
        settings: Sequence[FeatureSetting],
        *,
        length: int,
        compute: ComputeOptions = ON_CPU,
    ):
        self.places = list(dict.fromkeys(_layer_and_pooling(setting) for setting in settings))
        self.extract = partial(
            extract_poolings,
            encoder,
            tokenizer=tokenizer,
            length=length,
            compute=compute,
        )
        self.folder = TemporaryDirectory(prefix="selfwise-")
        self.arrays: dict[tuple[str, Place], np.ndarray] = {}

    def __call__(
        self, train: Texts, others: Sequence[Texts], setting: FeatureSetting
    ) -> list[Matrix]:
        train_features = self._compute_features(train, setting, self.places)
        return [
            train_features,
            *(
                self._compute_features(one, setting, [_layer_and_pooling(setting)])
                for one in others
            ),
        ]

    def _compute_features(
        self, texts: Texts, setting: FeatureSetting, places: list[Place]
    ) -> np.ndarray:
        if texts.pairs is None or setting.joined:
            return self._extract_once(texts, setting, places)
        mark = texts.fingerprint
        first = replace(texts, pairs=None, fingerprint=digest(mark, "first"))
        second = replace(first, texts=texts.pairs, fingerprint=digest(mark, "second"))
        return combine_pair(
            self._extract_once(first, setting, places), self._extract_once(second, setting, places)
        )

    def _extract_once(
        self, texts: Texts, setting: FeatureSetting, places: list[Place]
    ) -> np.ndarray:
        if (texts.fingerprint, _layer_and_pooling(setting)) not in self.arrays:
            file_prefix = Path(self.folder.name) / str(len(self.arrays))
            arrays = self.extract(texts, places=places, file_prefix=file_prefix)
            for place, features in zip(places, arrays):
                self.arrays[texts.fingerprint, place] = features
        return self.arrays[texts.fingerprint, _layer_and_pooling(setting)]


def embed_words(train: Texts, others: Sequence[Texts], setting: FeatureSetting) -> list[Matrix]:
    """Bags of words, fitted on `train` alone; they need no encoder.

    A pair is two bags side by side, or, if it is not joined, compared word by word as an encoder's
    two vectors are; the setting decides nothing else.
    """
    compared = train.pairs is not None and not setting.joined
    fit = fit_pair_bag_of_words if compared else fit_bag_of_words
    bags = [fit(train, one) for one in others or [train]]
    return [bags[0].train, *(one.test for one in bags[: len(others)])]


def combine_pair(
    u: Float[np.ndarray, "n d"], v: Float[np.ndarray, "n d"]
) -> Float[np.ndarray, "n e"]:
    """[u; v; |u - v|; u v], as InferSent has it (arXiv:1705.02364, section 3.1)."""
    return np.concatenate([u, v, np.abs(u - v), u * v], axis=1)


def _layer_and_pooling(setting: FeatureSetting) -> Place:
    return setting.layer, setting.pooling


def _embed_train(train: GlueSplit, embed: Embed, setting: FeatureSetting) -> Matrix:
    (x,) = embed(train.texts, [], setting)
    check_features_finite("training", x)
    return x


def _split_truth(split: GlueSplit) -> Int64[np.ndarray, "n"] | Float[np.ndarray, "n"] | None:
    return split.texts.labels if split.task.labels else split.scores


def _stack_features(parts: list[Matrix]) -> Matrix:
    if issparse(parts[0]):
        return vstack(parts).tocsr()
    return np.concatenate(parts)


def _predict_splits(
    task: GlueTask, x: Matrix, truth: np.ndarray, test: list[Matrix], penalty: float
) -> list[np.ndarray]:
    if not test:
        return []
    ends = np.cumsum([one.shape[0] for one in test])[:-1]
    return np.split(fit_and_predict(task, x, truth, _stack_features(test), penalty), ends)
