"""Frozen features of an encoder, of untrained encoders like it, and of the raw input."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from scipy.sparse import issparse

from selfwise.core.device import resolve_device
from selfwise.evaluation.features.finite import check_vectors
from selfwise.evaluation.features.sif import remove_common_component
from selfwise.evaluation.probes.baselines import FeatureSplit
from selfwise.evaluation.probes.choose_features import (
    MAX_CHOICE_LABELS,
    Candidates,
    Combined,
    FeatureSource,
    TrainLabels,
)
from selfwise.evaluation.probes.frozen import PROBES, SEARCHES
from selfwise.evaluation.probes.label_curve import Competitor, probe_features
from selfwise.evaluation.scores.names import COMBINED, PRETRAINED, RAW, RETRIEVAL, SIF, UNTRAINED
from selfwise.modalities.feature_options import Embed, EmbedPlaces, FeatureOptions, FeaturePlace
from selfwise.workflows.probe_examples import ExamplePair
from selfwise.workflows.probe_job import ProbeJob

Progress = Callable[[str], None]
Splits = Mapping[str, FeatureSplit]  # features by the name of their layer and pooling


def make_frozen(
    job: ProbeJob, pair: ExamplePair, progress: Progress | None = None
) -> dict[str, Competitor]:
    """Make probes of frozen features."""
    options: dict[str, Any] = {"device": resolve_device(job.features.device)}
    options |= {"k": job.k} if job.kind == "knn" else {}
    sources = _list_sources(job, pair, options, progress)
    groups = getattr(pair.train, "groups", None)
    return {
        name: probe_features(
            several,
            pair.train_labels,
            partial(PROBES[job.kind], **options),
            groups=groups,
            uses_seed=job.kind == "sgd",
        )
        for name, several in sources.items()
    }


def extract_features(job: ProbeJob, pair: ExamplePair) -> dict[str, list[FeatureSplit]]:
    """Compute features of the encoder, of untrained encoders like it, and of the raw input."""
    raw = job.run.modality.raw_features(job.run, *pair)
    if job.kind == "sgd" and issparse(raw.train):
        raise ValueError(
            "--kind sgd takes dense features, and bags of words are sparse: use --kind linear"
        )
    embed = _make_embed(job)
    if job.kind == RETRIEVAL and job.features.pooling != SIF:  # whose component needs pair.train
        embed = _embed_only(pair.test, embed)
    place = FeaturePlace(job.features.layer, job.features.pooling)
    features = _extract_places(job, pair, lambda *given: [embed(*given)], [place])
    return {
        **{name: [next(iter(s.values())) for s in splits] for name, splits in features.items()},
        RAW: [_check_split(raw, pair, of=f"the {RAW}")],
    }


def _list_sources(
    job: ProbeJob, pair: ExamplePair, options: Mapping[str, Any], progress: Progress | None
) -> Mapping[str, Sequence[FeatureSplit | FeatureSource]]:
    """Return the features of each competitor; some choose among several for each draw of labels."""
    if not (job.auto or job.with_raw):
        return extract_features(job, pair)
    search = partial(SEARCHES[job.kind], **options)
    known = TrainLabels(pair.train_labels, search, getattr(pair.train, "groups", None))
    if job.auto:
        several = _extract_candidates(job, pair, progress)
    else:
        fixed = extract_features(job, pair)
        several = {name: [{"": split} for split in splits] for name, splits in fixed.items()}
    candidates = {
        name: [Candidates(splits, known) for splits in each] for name, each in several.items()
    }
    sources: dict[str, Sequence[FeatureSplit | FeatureSource]] = {
        name: [one if len(one.splits) > 1 else next(iter(one.splits.values())) for one in each]
        for name, each in candidates.items()
    }
    if job.with_raw:
        sources[COMBINED] = [Combined(candidates[PRETRAINED][0], candidates[RAW][0], known)]
    return sources


def _extract_candidates(
    job: ProbeJob, pair: ExamplePair, progress: Progress | None
) -> dict[str, list[Splits]]:
    """Compute features at each layer and pooling to choose among; of the raw input likewise.

    A place whose features equal those of an earlier one, as of the last layer and the output, is
    left out for all encoders.
    """
    run, options = job.run, job.features
    places = run.modality.list_feature_places(run, options.pooling)
    if progress is not None:
        progress(
            f"{len(places)} candidates for each encoder and draw of labels: {_name_all(places)}; "
            f"at most {MAX_CHOICE_LABELS:,} training labels choose among them"
        )
    embed = run.modality.make_embed_places(run, options, places)
    features = _extract_places(job, pair, embed, places)
    kept = _find_distinct(features[PRETRAINED][0])
    raw = _check_split(run.modality.raw_features(run, *pair), pair, of=f"the {RAW}")
    return {
        **{
            name: [{place: splits[place] for place in kept} for splits in each]
            for name, each in features.items()
        },
        RAW: [run.modality.list_raw_choices(raw)],
    }


def _name_all(places: Sequence[FeaturePlace]) -> str:
    return ", ".join(map(str, places))


def _find_distinct(splits: Splits) -> list[str]:
    """Return the names of features that differ from all earlier ones by more than rounding."""
    kept: list[str] = []
    for name, split in splits.items():
        same = (
            split.train.shape == splits[k].train.shape
            and np.allclose(split.train, splits[k].train, rtol=1e-4, atol=1e-5)
            for k in kept
        )
        kept += [] if any(same) else [name]
    return kept


def _make_embed(job: ProbeJob) -> Embed:
    """Return the function that computes the features at one place, or all layers to be weighted."""
    run, modality, options = job.run, job.run.modality, job.features
    if job.kind != "weighted":
        return modality.make_embed(run, options)
    embed = modality.make_layered_embed(run, FeatureOptions(device=options.device))
    assert embed is not None, "checked before"
    return embed


def _extract_places(
    job: ProbeJob, pair: ExamplePair, embed: EmbedPlaces, places: Sequence[FeaturePlace]
) -> dict[str, list[Splits]]:
    """Compute features of the encoder and of untrained encoders like it, at each place."""
    run, device = job.run, job.features.device

    def extract(encoder: Any, name: str) -> Splits:
        splits = map(FeatureSplit, embed(encoder, pair.train), embed(encoder, pair.test))
        of = f"the {name} encoder"
        checked = [_check_split(split, pair, of=of) for split in splits]
        return {str(p): _finish_pooling(split, p) for p, split in zip(places, checked)}

    untrained = run.modality.untrained_encoders(run, pair.train, device=device)
    return {
        PRETRAINED: [extract(run.encoder, PRETRAINED)],
        UNTRAINED: [extract(encoder, UNTRAINED) for encoder in untrained],
    }


def _finish_pooling(split: FeatureSplit, place: FeaturePlace) -> FeatureSplit:
    """Do the part of the pooling that is fitted on training examples."""
    return remove_common_component(split) if place.pooling == SIF else split


def _check_split(split: FeatureSplit, pair: ExamplePair, *, of: str) -> FeatureSplit:
    """Return the features. Raises ValueError for values that are not finite."""
    check_vectors(split.train, pair.train.ids, of=of)
    check_vectors(split.test, pair.test.ids, of=of)
    return split


def _embed_only(searched: object, embed: Embed) -> Embed:
    """Wrap `embed` for the searched examples; the other examples need no features."""
    nothing = np.empty((0, 0), np.float32)
    return lambda encoder, examples: embed(encoder, examples) if examples is searched else nothing
