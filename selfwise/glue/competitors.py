"""What is compared on a task of GLUE: an encoder, its untrained twin, bags of words."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from selfwise.evaluation.scores.probe_score import PRETRAINED, UNTRAINED
from selfwise.glue.frozen import CachedFeatures, Embed, FeatureSetting, embed_words, probe_frozen
from selfwise.glue.frozen import list_settings as combined
from selfwise.glue.metrics import compute_metrics
from selfwise.glue.options import LAST, GlueConfig
from selfwise.glue.read import GlueSplit
from selfwise.glue.scores import COMPETITORS, UNFITTED, WORDS
from selfwise.glue.task_results import CompetitorFit
from selfwise.glue.task_splits import TaskSplits, limit_train
from selfwise.modalities.image import where
from selfwise.runs.open import Run

FitCompetitor = Callable[[int], CompetitorFit]  # from a seed


def build_probes(run: Run, how: GlueConfig, material: TaskSplits) -> dict[str, FitCompetitor]:
    """Probes of features: of the encoder, of its twin of that seed, of bags of words."""
    place, precision = where(run, how.device)
    told: dict[str, Any] = {"length": run.config["found"]["length"], "device": place}
    told["precision"] = precision
    pairs = _list_joined(material)
    tried = [one._replace(joined=joined) for one in how.settings for joined in pairs]
    # read once for all seeds; with a limit each seed has texts of its own
    own = CachedFeatures(run.encoder, run.tokenizer, tried, **told)

    def untrained(seed: int) -> Embed:
        return CachedFeatures(run.fresh(seed), run.tokenizer, tried, **told)

    return {
        PRETRAINED: _build_probe(
            material, how, lambda seed: own, tried, material.dev | material.test
        ),
        UNTRAINED: _build_probe(material, how, untrained, tried, material.dev),
        WORDS: build_words_probe(material, how),
    }


def build_words_probe(material: TaskSplits, how: GlueConfig) -> FitCompetitor:
    """A probe of bags of words."""
    bags = [FeatureSetting(joined=joined) for joined in _list_joined(material)]
    return _build_probe(material, how, lambda seed: embed_words, bags, material.dev, _bag_values)


def _list_joined(material: TaskSplits) -> list[bool]:
    """Whether pairs are read as one; single texts always are."""
    return sorted({one.joined for one in combined(material.task, [None], [""])}, reverse=True)


def _setting_values(setting: FeatureSetting) -> dict[str, Any]:
    return {**setting._asdict(), "layer": LAST if setting.layer is None else setting.layer}


def _bag_values(setting: FeatureSetting) -> dict[str, Any]:
    """Bags have no layers."""
    return {"joined": setting.joined}


def _build_probe(
    material: TaskSplits,
    how: GlueConfig,
    embed: Callable[[int], Embed],
    tried: Sequence[FeatureSetting],
    asked: dict[str, GlueSplit],
    told: Callable[[FeatureSetting], dict[str, Any]] = _setting_values,
) -> FitCompetitor:
    def fit(seed: int) -> CompetitorFit:
        rows = limit_train(material.train, how.limit, seed)
        found = probe_frozen(rows, list(asked.values()), embed(seed), tried, seed=seed)
        values = [(told(at) | {"penalty": one.penalty}, one.value) for at, one in found.tried]
        chosen = told(found.setting) | {"penalty": found.penalty, "chosen_on": found.chosen_on}
        return build_fit(chosen, values, asked, found.predicted, found.scores)

    return fit


def build_fit(
    setting: dict[str, Any],
    tried: Sequence[tuple[dict[str, Any], float | None]],
    asked: dict[str, GlueSplit],
    predicted: Sequence[np.ndarray],
    scores: Sequence[dict[str, float] | None],
) -> CompetitorFit:
    """What was said about each of `asked`, in plain values, with the scores where there are any."""
    known = {name: one for name, one in zip(asked, scores) if one is not None}
    return CompetitorFit(setting, tried, dict(zip(asked, predicted)), known)


def build_majority(material: TaskSplits) -> dict[str, FitCompetitor]:
    """The most frequent class of train, whoever is asked."""
    labels = material.train.texts.labels
    assert labels is not None
    often = int(np.bincount(labels).argmax())

    def fit(seed: int) -> CompetitorFit:
        asked = material.dev | material.test
        said = {name: np.full(len(split), often) for name, split in asked.items()}
        scores = {}
        for name, split in material.dev.items():
            assert split.texts.labels is not None
            scores[name] = compute_metrics(material.task, split.texts.labels, said[name])
        return CompetitorFit(UNFITTED, [], said, scores)

    return dict.fromkeys(COMPETITORS, fit)
