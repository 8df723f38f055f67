"""What is compared on a task of GLUE: an encoder, its untrained twin, bags of words."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from selfwise.evaluation.scores.probe_score import PRETRAINED, UNTRAINED
from selfwise.glue.frozen import Embed, Readings, Setting, frozen, of_words
from selfwise.glue.frozen import settings as combined
from selfwise.glue.metrics import glue_scores
from selfwise.glue.options import LAST, How
from selfwise.glue.read import GlueSplit
from selfwise.glue.scores import COMPETITORS, UNFITTED, WORDS
from selfwise.glue.task_results import Fit
from selfwise.glue.task_splits import Material, some
from selfwise.modalities.devices import choose_device
from selfwise.runs.open import Run

Competitor = Callable[[int], Fit]  # from a seed


def probed(run: Run, how: How, material: Material) -> dict[str, Competitor]:
    """Probes of features: of the encoder, of its twin of that seed, of bags of words."""
    place, precision = choose_device(run, how.device)
    told: dict[str, Any] = {"length": run.record.info.length, "device": place}
    told["precision"] = precision
    pairs = _pairs(material)
    tried = [one._replace(joined=joined) for one in how.settings for joined in pairs]
    # read once for all seeds; with a limit each seed has texts of its own
    own = Readings(run.encoder, run.tokenizer, tried, **told)

    def untrained(seed: int) -> Embed:
        return Readings(run.build_untrained(seed), run.tokenizer, tried, **told)

    return {
        PRETRAINED: _probe(material, how, lambda seed: own, tried, material.dev | material.test),
        UNTRAINED: _probe(material, how, untrained, tried, material.dev),
        WORDS: words(material, how),
    }


def words(material: Material, how: How) -> Competitor:
    """A probe of bags of words."""
    bags = [Setting(joined=joined) for joined in _pairs(material)]
    return _probe(material, how, lambda seed: of_words, bags, material.dev, _of_bags)


def _pairs(material: Material) -> list[bool]:
    """Whether pairs are read as one; single texts always are."""
    return sorted({one.joined for one in combined(material.task, [None], [""])}, reverse=True)


def _plain(setting: Setting) -> dict[str, Any]:
    return {**setting._asdict(), "layer": LAST if setting.layer is None else setting.layer}


def _of_bags(setting: Setting) -> dict[str, Any]:
    """Bags have no layers."""
    return {"joined": setting.joined}


def _probe(
    material: Material,
    how: How,
    embed: Callable[[int], Embed],
    tried: Sequence[Setting],
    asked: dict[str, GlueSplit],
    told: Callable[[Setting], dict[str, Any]] = _plain,
) -> Competitor:
    def fit(seed: int) -> Fit:
        rows = some(material.train, how.limit, seed)
        found = frozen(rows, list(asked.values()), embed(seed), tried, seed=seed)
        values = [(told(at) | {"penalty": one.penalty}, one.value) for at, one in found.tried]
        chosen = told(found.setting) | {"penalty": found.penalty, "chosen_on": found.chosen_on}
        return fitted(chosen, values, asked, found.predicted, found.scores)

    return fit


def fitted(
    setting: dict[str, Any],
    tried: Sequence[tuple[dict[str, Any], float | None]],
    asked: dict[str, GlueSplit],
    predicted: Sequence[np.ndarray],
    scores: Sequence[dict[str, float] | None],
) -> Fit:
    """What was said about each of `asked`, in plain values, with the scores where there are any."""
    known = {name: one for name, one in zip(asked, scores) if one is not None}
    return Fit(setting, tried, dict(zip(asked, predicted)), known)


def majority(material: Material) -> dict[str, Competitor]:
    """The most frequent class of train, whoever is asked."""
    labels = material.train.texts.labels
    assert labels is not None
    often = int(np.bincount(labels).argmax())

    def fit(seed: int) -> Fit:
        asked = material.dev | material.test
        said = {name: np.full(len(split), often) for name, split in asked.items()}
        scores = {}
        for name, split in material.dev.items():
            assert split.texts.labels is not None
            scores[name] = glue_scores(material.task, split.texts.labels, said[name])
        return Fit(UNFITTED, [], said, scores)

    return dict.fromkeys(COMPETITORS, fit)
