"""Frozen GLUE: a linear probe of every task on features that no gradient has changed.

The setting (which layer, which pooling, how a pair is put together) is chosen on a part of train;
dev is looked at once, with what was chosen.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from scipy.sparse import issparse, vstack
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from selfwise.data.glue import SCORES, Task
from selfwise.data.glue_read import GlueSplit
from selfwise.data.images import digest
from selfwise.data.texts import Texts
from selfwise.data.tokenizer import Tokenizer
from selfwise.evaluate.glue_metrics import METRICS, glue_scores, pearson
from selfwise.evaluate.linear import BAG, PENALTIES, check_features, linear
from selfwise.evaluate.text import bag_of_words, compared_words, extract
from selfwise.rng import shuffled

HELD = 5  # one of so many training examples is held out to choose the setting and ridge's penalty


class Setting(NamedTuple):
    """Where features come from."""

    layer: int | None = None  # as in `extract`; None is the encoder's output
    pooling: str = "mean"  # or cls
    joined: bool = True  # a pair as one row of tokens; else u, v, |u - v| and u v side by side


class Frozen(NamedTuple):
    """What a probe of a task says about the splits that were asked for, in their order."""

    setting: Setting
    tried: tuple[tuple[Setting, float], ...]  # the task's first metric on the held-out part; ()
    predicted: tuple[np.ndarray, ...]  # classes, or scores from 0 to 5
    scores: tuple[dict[str, float] | None, ...]  # every metric; None for test


Matrix = Any  # dense float32 (n, d), or a sparse bag of words
Embed = Callable[[Texts, Sequence[Texts], Setting], list[Matrix]]
Read = Callable[[Texts, Setting], np.ndarray]


def settings(task: Task, layers: Sequence[int | None], poolings: Sequence[str]) -> list[Setting]:
    """Every combination; a pair once as one row of tokens and once as two."""
    joined = (True, False) if len(task.text) > 1 else (True,)
    return [Setting(layer, how, one) for layer in layers for how in poolings for one in joined]


def frozen(
    train: GlueSplit,
    asked: Sequence[GlueSplit],
    embed: Embed,
    tried: Sequence[Setting],
    *,
    seed: int = 0,
) -> Frozen:
    """The best of some settings, chosen on a fifth of train, then fitted on all of it.

    Args:
        train: with labels, or scores.
        asked: splits to predict; their labels decide nothing.
        embed: makes features of train and of others, as `of_encoder` or `of_words`.
        tried: the settings; a single one is not chosen and costs no second fit.
        seed: draws the held-out part.

    Raises ValueError if train has no labels, or features are not finite.
    """
    task, truth = train.task, _truth(train)
    if truth is None:
        raise ValueError(f"{task.name}: a probe is fitted on labels, and {train.split} has none")
    found: list[tuple[Setting, float]] = []
    if len(tried) > 1:
        held = np.arange(len(truth)) % HELD == 0
        order = shuffled(len(truth), seed, "glue frozen", task.name)
        apart, kept = order[held], order[~held]
        for setting in tried:
            (x,) = embed(train.texts, [], setting)
            guess = probe(task, x[kept], truth[kept], [x[apart]], seed=seed)[0]
            found.append((setting, METRICS[task.metrics[0]](truth[apart], guess)))
    chosen = max(found, key=lambda one: one[1])[0] if found else tried[0]
    x, *others = embed(train.texts, [split.texts for split in asked], chosen)
    predicted = probe(task, x, truth, others, seed=seed)
    scores = []
    for split, said in zip(asked, predicted):
        known = _truth(split)
        scores.append(None if known is None else glue_scores(task, known, said))
    return Frozen(chosen, tuple(found), tuple(predicted), tuple(scores))


def probe(
    task: Task, x: Matrix, truth: np.ndarray, asked: Sequence[Matrix], *, seed: int
) -> list[np.ndarray]:
    """Logistic regression, or ridge regression for scores, each with a search for its penalty."""
    if not asked:
        return []
    ends = np.cumsum([one.shape[0] for one in asked])[:-1]
    everything = _stacked(list(asked))
    if task.labels:
        said: np.ndarray = linear(x, truth, everything, seed=seed).predicted
    else:
        said = ridge(x, truth, everything, seed=seed)
    return np.split(said, ends)


def ridge(
    train: Matrix, scores: Float[np.ndarray, "n"], test: Matrix, *, seed: int = 0
) -> Float[np.ndarray, "m"]:
    """Scores by ridge regression, cut to 0 to 5; the penalty has the best Pearson on a held fifth.

    Features are standardised; bags of words are scaled as in `linear`, whose penalties these are:
    squared error / n + penalty |w|^2. Of equals the strongest is taken.

    Raises ValueError if there are no examples, or a feature is not finite.
    """
    check_features(train, np.zeros(len(scores), np.int64), test)
    order = shuffled(len(scores), seed, "ridge")
    held = np.arange(len(scores)) % HELD == 0
    apart, kept = order[held], order[~held]
    best, chosen = -np.inf, max(PENALTIES)
    for penalty in sorted(PENALTIES, reverse=True) if len(kept) else []:
        value = pearson(scores[apart], _ridge(train[kept], scores[kept], train[apart], penalty))
        if value > best:
            best, chosen = value, penalty
    return np.clip(_ridge(train, scores, test, chosen), *SCORES)


def of_encoder(
    encoder: Any,
    tokenizer: Tokenizer,
    *,
    length: int,
    device: torch.device | str = "cpu",
    precision: str = "float32",
) -> Embed:
    """Features of a text encoder, which stays as it is; every text is read once a setting."""
    how: dict[str, Any] = {"length": length, "device": device, "precision": precision}

    def read(texts: Texts, setting: Setting) -> np.ndarray:
        layer, pooling = setting.layer, setting.pooling
        return extract(encoder, texts, tokenizer, layer=layer, pooling=pooling, **how)

    return of_reader(read)


def of_reader(read: Read) -> Embed:
    """Features by a function that reads texts, or pairs as one row; it is asked once a setting."""
    made: dict[tuple[str, Setting], Matrix] = {}

    def one(texts: Texts, setting: Setting) -> Matrix:
        if (texts.fingerprint, setting) not in made:
            if any(kept != setting for _, kept in made):
                made.clear()  # features of one setting at a time: those of all would not fit
            made[texts.fingerprint, setting] = _features(texts, setting, read)
        return made[texts.fingerprint, setting]

    def embed(known: Texts, others: Sequence[Texts], setting: Setting) -> list[Matrix]:
        return [one(texts, setting) for texts in (known, *others)]

    return embed


def of_words(known: Texts, others: Sequence[Texts], setting: Setting) -> list[Matrix]:
    """Bags of words, fitted on `known` alone: what needs no encoder.

    A pair is two bags side by side, or, if it is not joined, compared word by word as an encoder's
    two vectors are; the setting decides nothing else.
    """
    apart = known.pairs is not None and not setting.joined
    bags = [(compared_words if apart else bag_of_words)(known, one) for one in others or [known]]
    return [bags[0].train, *(one.test for one in bags[: len(others)])]


def joined(u: Float[np.ndarray, "n d"], v: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n e"]:
    """[u; v; |u - v|; u v], as InferSent has it (arXiv:1705.02364, section 3.1)."""
    return np.concatenate([u, v, np.abs(u - v), u * v], axis=1)


def _features(texts: Texts, setting: Setting, read: Read) -> np.ndarray:
    if texts.pairs is None or setting.joined:
        return read(texts, setting)
    mark = texts.fingerprint  # what reads may file by it, and these are three readings
    first = replace(texts, pairs=None, fingerprint=digest(mark, "first"))
    second = replace(first, texts=texts.pairs, fingerprint=digest(mark, "second"))
    return joined(read(first, setting), read(second, setting))


def _truth(split: GlueSplit) -> Int64[np.ndarray, "n"] | Float[np.ndarray, "n"] | None:
    return split.texts.labels if split.task.labels else split.scores


def _ridge(x: Matrix, y: np.ndarray, asked: Matrix, penalty: float) -> np.ndarray:
    if issparse(x):
        x, asked = x * BAG, asked * BAG
    else:
        scale = StandardScaler().fit(x)
        x, asked = scale.transform(x), scale.transform(asked)
    return Ridge(alpha=penalty * len(y)).fit(x, y).predict(asked)


def _stacked(parts: list[Matrix]) -> Matrix:
    if issparse(parts[0]):
        return vstack(parts).tocsr()
    return np.concatenate(parts)
