"""The competitors on a task of GLUE: an encoder, an untrained one like it, bags of words."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from selfwise.core.device import choose_evaluation
from selfwise.evaluation.features.compute import ComputeOptions
from selfwise.evaluation.scores.names import PRETRAINED, UNTRAINED, WORDS
from selfwise.glue.frozen import (
    CachedFeatures,
    Embed,
    FeatureSetting,
    embed_words,
    list_settings,
    probe_frozen,
)
from selfwise.glue.metrics import compute_metrics
from selfwise.glue.options import LAST, GlueConfig
from selfwise.glue.read import GlueSplit
from selfwise.glue.scores import COMPETITORS, UNFITTED
from selfwise.glue.task_record import SettingValues
from selfwise.glue.task_results import CompetitorFit
from selfwise.glue.task_splits import TaskSplits, limit_train
from selfwise.runs.open import Run

FitCompetitor = Callable[[int], CompetitorFit]  # from a seed


def build_probes(run: Run, config: GlueConfig, splits: TaskSplits) -> dict[str, FitCompetitor]:
    """Probe features: of the encoder, of an untrained encoder of that seed, of bags of words."""
    length = run.record.info.length
    pairs = _list_joinings(splits)
    settings = [one._replace(joined=joined) for one in config.settings for joined in pairs]
    # read once for all seeds; with a limit each seed has texts of its own
    cache = partial(
        CachedFeatures,
        tokenizer=run.tokenizer,
        settings=settings,
        length=length,
        compute=ComputeOptions(*choose_evaluation(run.record.training, config.device)),
    )
    pretrained = cache(run.encoder)

    return {
        PRETRAINED: _build_probe(
            splits, config, lambda seed: pretrained, settings, splits.dev | splits.test
        ),
        UNTRAINED: _build_probe(
            splits, config, lambda seed: cache(run.build_untrained(seed)), settings, splits.dev
        ),
        WORDS: build_words_probe(splits, config),
    }


def build_words_probe(splits: TaskSplits, config: GlueConfig) -> FitCompetitor:
    """Return a probe of bags of words."""
    bags = [FeatureSetting(joined=joined) for joined in _list_joinings(splits)]
    return _build_probe(
        splits, config, lambda seed: embed_words, bags, splits.dev, _list_bag_values
    )


def _list_joinings(splits: TaskSplits) -> list[bool]:
    """Return whether pairs are read as one; single texts always are."""
    return sorted({one.joined for one in list_settings(splits.task, [None], [""])}, reverse=True)


def _list_values(setting: FeatureSetting) -> SettingValues:
    return {**setting._asdict(), "layer": LAST if setting.layer is None else setting.layer}


def _list_bag_values(setting: FeatureSetting) -> SettingValues:
    """Leave out layer and pooling, because bags of words have none."""
    return {"joined": setting.joined}


def _build_probe(
    splits: TaskSplits,
    config: GlueConfig,
    embed: Callable[[int], Embed],
    settings: Sequence[FeatureSetting],
    test: dict[str, GlueSplit],
    to_values: Callable[[FeatureSetting], SettingValues] = _list_values,
) -> FitCompetitor:
    def fit_seed(seed: int) -> CompetitorFit:
        rows = limit_train(splits.train, config.limit, seed)
        result = probe_frozen(rows, list(test.values()), embed(seed), settings, seed=seed)
        tried = [(to_values(at) | {"penalty": one.penalty}, one.value) for at, one in result.tried]
        chosen = to_values(result.setting) | {
            "penalty": result.penalty,
            "chosen_on": result.chosen_on,
        }
        return build_fit(chosen, tried, test, result.predicted, result.scores)

    return fit_seed


def build_fit(
    setting: SettingValues,
    tried: Sequence[tuple[SettingValues, float | None]],
    test: dict[str, GlueSplit],
    predicted: Sequence[np.ndarray],
    scores: Sequence[dict[str, float] | None],
) -> CompetitorFit:
    """Return predictions and scores by the names of the splits in `test`."""
    known_scores = {name: one for name, one in zip(test, scores) if one is not None}
    return CompetitorFit(setting, tried, dict(zip(test, predicted)), known_scores)


def build_majority(splits: TaskSplits) -> dict[str, FitCompetitor]:
    """Return every competitor predicts the most frequent class of train."""
    labels = splits.train.texts.labels
    assert labels is not None
    most_frequent = int(np.bincount(labels).argmax())

    def fit_seed(seed: int) -> CompetitorFit:
        test = splits.dev | splits.test
        predicted = {name: np.full(len(split), most_frequent) for name, split in test.items()}
        scores = {}
        for name, split in splits.dev.items():
            assert split.texts.labels is not None
            scores[name] = compute_metrics(splits.task, split.texts.labels, predicted[name])
        return CompetitorFit(UNFITTED, [], predicted, scores)

    return dict.fromkeys(COMPETITORS, fit_seed)
