"""The proof that an encoder is worth having: a probe beside its baselines."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, overload

import numpy as np
from scipy.sparse import issparse

from selfwise.core.device import resolve_device
from selfwise.core.errors import did_you_mean
from selfwise.core.files import write_file
from selfwise.core.rng import hash_keys, shuffle_indices
from selfwise.evaluation.features.finite import check_vectors
from selfwise.evaluation.probes import label_curve
from selfwise.evaluation.probes.baselines import FeatureSplit
from selfwise.evaluation.probes.frozen import PROBES
from selfwise.evaluation.probes.label_checks import (
    check_classes_trained,
    relabel_examples,
    write_warnings,
)
from selfwise.evaluation.probes.label_curve import Competitor
from selfwise.evaluation.probes.linear import check_classes
from selfwise.evaluation.probes.retrieval import measure_retrieval
from selfwise.evaluation.scores.probe_score import PRETRAINED, RAW, UNTRAINED, ProbeScore
from selfwise.evaluation.scores.retrieval_score import RetrievalScore, compare_retrieval
from selfwise.modalities.modality import Embed, FeatureOptions, ReadingOptions
from selfwise.runs import records
from selfwise.runs.config import name_data
from selfwise.runs.open import Run, load
from selfwise.workflows.supervised import from_scratch, tuned, tuned_from_fresh

AnyScore = TypeVar("AnyScore", ProbeScore, RetrievalScore)

RETRIEVAL = RetrievalScore.kind
CHOSEN = "chosen"  # k of nearest neighbours, on the training examples
Learned = Literal["linear", "weighted", "sgd", "knn", "finetune"]  # kinds that learn from labels
KINDS = (*get_args(Learned), RETRIEVAL)


@overload
def probe(run: Run | str | Path, *, kind: Learned = "linear", **options: Any) -> ProbeScore: ...
@overload
def probe(
    run: Run | str | Path, *, kind: Literal["retrieval"], **options: Any
) -> RetrievalScore: ...
@overload
def probe(run: Run | str | Path, *, kind: str, **options: Any) -> ProbeScore | RetrievalScore: ...
def probe(  # type: ignore[misc] # above is only what decides on the result
    run: Run | str | Path,
    *,
    train: Any,
    test: Any = None,
    kind: str = "linear",
    labels: str = "all",
    seeds: int = 5,
    k: int | None = None,
    layer: int | None = None,
    pooling: str = "",
    window: str = "",
    field: str = "",
    label: str = "",
    scratch: bool = False,
    skip_broken: bool = False,
    device: str = "auto",
    quiet: bool = False,
) -> ProbeScore | RetrievalScore:
    """The accuracy of the encoder beside that of its untrained twins and of the raw input.

    Args:
        run: a run or its folder.
        train: labelled examples (a folder for each class, a csv, a name); none for retrieval.
        test: labelled examples to score on; by default a fifth of `train`, drawn by the seed.
        kind: linear (L-BFGS, regularisation chosen on training labels; for groups that it has not
            seen, where a csv has a column `group`), weighted (of speech: the same on a learned
            sum of all layers), sgd (the protocol of SimCLR's paper), knn, finetune, or retrieval
            (recall@k and MAP@R of each test example among the others, by cosine similarity).
        labels: numbers of labels for each class, for a curve: 10,100,all.
        seeds: how often labels are drawn; with all of them, and for retrieval, none are.
        k: neighbours that vote in knn; by default each competitor chooses on training labels.
        layer: a layer instead of the encoder's output; negative counts from the last.
        pooling: of text: mean, mean+deviation, cls, last or layers (the means of each), by default
            the encoder's own; of speech: mean, or mean+deviation, the default but for retrieval.
        window: of long texts: mean (over windows, by their tokens; the default), or first (cut).
        field: of text: the column that holds it.
        label: of text: the column that holds the label.
        scratch: add the encoder trained from scratch on these labels, its rate chosen on them.
        skip_broken: leave out files that cannot be read.
        device: cpu, cuda or auto.
        quiet: print nothing while it works.
    """
    run = run if isinstance(run, Run) else load(run)
    job = ProbeJob(
        run,
        kind,
        FeatureOptions(layer, pooling or _own_pooling(run, kind), window, device),
        ReadingOptions(skip_broken=skip_broken, field=field, label=label),
        data={"train": name_data(train), "test": None if test is None else name_data(test)},
        budgets=label_curve.parse_budgets(labels),
        seeds=seeds,
        k=k,
        supervised=scratch,
    )
    _check(job)
    if kind == RETRIEVAL:
        return _retrieve(job, *_searched_pair(job, train, test))
    known, asked = labelled_pair(run, train, test, job.reading)
    return _learn(job, known, asked, None if quiet else partial(print, flush=True))


@dataclass(frozen=True)
class ProbeJob:
    """What is probed, and how."""

    run: Run
    kind: str
    features: FeatureOptions
    reading: ReadingOptions
    data: Mapping[str, str | None]  # where the examples are
    budgets: list[int | None]
    seeds: int
    k: int | None = None
    supervised: bool = False  # whether the encoder is trained from scratch too

    def describe(self) -> dict[str, Any]:
        """What the score file says of how features were made."""
        names = ("layer", "pooling", "window")
        options: dict[str, Any] = {name: getattr(self.features, name) for name in names}
        return options | ({"k": self.k or CHOSEN} if self.kind == "knn" else {})


def _learn(
    job: ProbeJob, known: Any, asked: Any, progress: Callable[[str], None] | None
) -> ProbeScore:
    """The score of a probe that learns from labels, filed in the run folder."""
    score = label_curve.compute_label_curve(
        _competitors(job, known, asked),
        known.labels,
        asked.labels,
        classes=known.classes,
        budgets=job.budgets,
        seeds=range(job.seeds),
        kind=job.kind,
        progress=progress,
    )
    unread = _describe_unread(job, known, asked)
    score = replace(score, warnings=(*write_warnings(known, asked), *unread))
    return _save_score(job, score, _measured(score), known, asked)


def _measured(score: ProbeScore) -> list[Any]:
    """Competitors, budgets and seeds of a score, which tell it from others of the same kind."""
    rows = [(row["competitor"], row["per_class"]) for row in score.rows()]
    return [rows, score.seeds]


def _describe_unread(job: ProbeJob, known: Any, asked: Any) -> list[str]:
    """What the reader of a score has to know of examples that are read in part."""
    parts = {"--train": known, "--test": asked}
    return [
        f"Of {name}, {sentence}"
        for name, part in parts.items()
        for sentence in job.run.describe_unread(part, job.features.window)
    ]


def _own_pooling(run: Run, kind: str) -> str:
    """How probes of frozen features pool where the modality has a way of its own."""
    return run.modality.probe_pooling if kind in ("linear", "knn", "sgd") else ""


def _check(job: ProbeJob) -> None:
    """Validate the arguments before computing anything. Raises ValueError for an unknown probe."""
    run, kind, modality = job.run, job.kind, job.run.method.modality
    _check_k(job.k, kind)
    if kind not in KINDS:
        raise ValueError(f"unknown probe {kind!r}{did_you_mean(kind, KINDS)}")
    if job.seeds < 1:
        raise ValueError(f"--seeds must be at least 1, got {job.seeds}")
    if modality != "image" and (job.supervised or kind == "finetune"):
        raise ValueError(
            f"training with labels is for images so far, and {run.folder} is on {modality}: probe "
            "it frozen (--kind linear or knn, no --scratch)"
        )
    if kind == "weighted":
        _check_weighted(job)
    if kind == RETRIEVAL and (job.supervised or job.budgets != [None]):
        option = "--scratch" if job.supervised else "--labels"
        raise ValueError(f"{option} does not go with --kind retrieval, which learns from no labels")


def _check_weighted(job: ProbeJob) -> None:
    """Raises ValueError where layers cannot be weighted."""
    run, features = job.run, job.features
    if run.modality.make_layered_embed(run, FeatureOptions()) is None:
        raise ValueError(
            f"--kind weighted is for speech, and {run.folder} is on {run.method.modality}: probe "
            "its layers one by one, with --kind linear --layer NUMBER"
        )
    if features.layer is not None or features.pooling:
        option = "--pooling" if features.layer is None else "--layer"
        raise ValueError(f"{option} does not go with --kind weighted, which takes every layer")


def _check_k(k: int | None, kind: str) -> None:
    """Raises ValueError for a number of neighbours that cannot be."""
    if k is not None and kind != "knn":
        raise ValueError(f"--k is how many neighbours vote: it goes with --kind knn, not {kind}")
    if k is not None and k < 1:
        raise ValueError(f"--k must be at least 1, got {k}")


def labelled_pair(
    run: Run, train: Any, test: Any, reading: ReadingOptions | None = None
) -> tuple[Any, Any]:
    """Training and test examples with labels that mean the same; without `test`, a fifth is split.

    Raises ValueError if labels are missing, or a class of the test examples is unknown.
    """
    reading = replace(reading or ReadingOptions(), labelled=True)
    known = run.modality.open_examples(run, train, reading)
    if test is None:
        order = shuffle_indices(len(known), 0, "test split")
        cut = len(known) // 5
        if not cut:
            raise ValueError(f"{len(known)} examples are too few to split off a test set")
        known, asked = known.take(np.sort(order[cut:])), known.take(np.sort(order[:cut]))
        check_classes(known.labels, what="a probe")
        return known, asked
    asked = relabel_examples(run.modality.open_examples(run, test, reading), known.classes or [])
    check_classes(known.labels, what="a probe")
    check_classes_trained(known, asked)
    return known, asked


def _searched_pair(job: ProbeJob, train: Any, test: Any) -> tuple[Any, Any]:
    """What the baselines are made with, and the labelled examples that are searched.

    As `labelled_pair`, but with `test` the labels of `train` are not read, so that the classes may
    be others, as is the custom in metric learning.
    """
    run, modality = job.run, job.run.modality
    if test is None:
        return labelled_pair(run, train, None, job.reading)
    known = modality.open_examples(run, train, job.reading)
    return known, modality.open_examples(run, test, replace(job.reading, labelled=True))


def _competitors(job: ProbeJob, known: Any, asked: Any) -> dict[str, Competitor]:
    """The encoder, its two baselines, and, if asked for, the same encoder from scratch."""
    if job.kind == "finetune":
        return _finetuned(job, known, asked)
    competitors = _frozen(job, known, asked)
    if job.supervised:
        competitors["supervised"] = from_scratch(job.run, known, asked, device=job.features.device)
    return competitors


def _frozen(job: ProbeJob, known: Any, asked: Any) -> dict[str, Competitor]:
    """Probes of frozen features."""
    features = _features(job, known, asked)
    probe = partial(PROBES[job.kind], device=resolve_device(job.features.device))
    probe = partial(probe, k=job.k) if job.kind == "knn" else probe
    groups, uses_seed = getattr(known, "groups", None), job.kind == "sgd"
    return {
        name: label_curve.probe_features(
            splits, known.labels, probe, groups=groups, uses_seed=uses_seed
        )
        for name, splits in features.items()
    }


def _retrieve(job: ProbeJob, known: Any, asked: Any) -> RetrievalScore:
    """What is found among the test examples by frozen features."""
    features = _features(job, known, asked)
    search = partial(
        measure_retrieval, labels=asked.labels, device=resolve_device(job.features.device)
    )
    retrieved = compare_retrieval(
        {n: [search(s.test) for s in splits] for n, splits in features.items()}
    )
    return _save_score(job, retrieved, [], known, asked)


def _features(job: ProbeJob, known: Any, asked: Any) -> dict[str, list[FeatureSplit]]:
    """The encoder's features, its untrained twins', the raw input's."""
    run, modality, options = job.run, job.run.modality, job.features
    raw = modality.raw_features(run, known, asked)
    if job.kind == "sgd" and issparse(raw.train):
        raise ValueError("--kind sgd takes dense features, and bags of words are not: use linear")
    if job.kind == "weighted":
        embed = modality.make_layered_embed(run, FeatureOptions(device=options.device))
        assert embed is not None, "checked before"
    else:
        embed = modality.make_embed(run, options)
    if job.kind == RETRIEVAL:
        embed = _embedding_only(asked, embed)
    trained = [FeatureSplit(embed(run.encoder, known), embed(run.encoder, asked))]
    device = options.device
    twins = modality.untrained_features(run, known, asked, embed=embed, device=device)
    features = {PRETRAINED: trained, UNTRAINED: twins, RAW: [raw]}
    for name, split in ((name, split) for name, splits in features.items() for split in splits):
        check_vectors(split.train, known.ids, of=_OF[name])
        check_vectors(split.test, asked.ids, of=_OF[name])
    return features


_OF = {name: f"the {name} encoder" for name in (PRETRAINED, UNTRAINED)} | {RAW: f"the {RAW}"}


def _embedding_only(asked: Any, embed: Embed) -> Embed:
    """The same where nothing is learned: of other examples no features are computed."""
    nothing = np.empty((0, 0), np.float32)
    return lambda encoder, part: embed(encoder, part) if part is asked else nothing


def _finetuned(job: ProbeJob, known: Any, asked: Any) -> dict[str, Competitor]:
    """Fine-tuning from the run's weights and from fresh ones, and a probe of the raw input."""
    run, options = job.run, job.features
    frozen = {"layer": options.layer, "pooling": options.pooling, "window": options.window}
    for option in (f"--{n}" for n, value in frozen.items() if value not in (None, "")):
        raise ValueError(f"{option} goes with a frozen probe: fine-tuning trains the whole encoder")
    raw = run.modality.raw_features(run, known, asked)
    return {
        PRETRAINED: tuned(run, known, asked, device=options.device),
        UNTRAINED: tuned_from_fresh(run, known, asked, device=options.device),
        RAW: label_curve.probe_features([raw], known.labels),
    }


def _save_score(
    job: ProbeJob, score: AnyScore, drawn: list[Any], known: Any, asked: Any
) -> AnyScore:
    """Save the score in the run folder with what it was measured on; `drawn` tells it apart."""
    run = job.run
    about = {"train": known.fingerprint, "test": asked.fingerprint}
    about |= {**job.describe(), "weights": run.weights, "step": run.step}
    classes = asked.classes if known.classes is None else known.classes
    content = {**score.to_dict(), **about, "data": dict(job.data), "classes": classes}
    name = f"{score.kind}-{hash_keys(0, json.dumps([about, *drawn])) % 16**8:08x}.json"
    write_file(run.folder / "scores" / name, records.score_text(content))
    return score
