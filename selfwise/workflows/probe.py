"""Probe a run: measure how good its features are, compared with baselines."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, overload

from pydantic import BeforeValidator

from selfwise.core.device import resolve_device
from selfwise.core.errors import describe_system_error
from selfwise.core.files import write_file
from selfwise.core.memory_limit import limit_memory
from selfwise.core.own_files import make_folder
from selfwise.core.progress import print_progress
from selfwise.core.ranges import PositiveInt
from selfwise.core.rng import hash_keys
from selfwise.data.image import Images
from selfwise.evaluation.probes import label_curve
from selfwise.evaluation.probes.label_checks import write_warnings
from selfwise.evaluation.probes.label_curve import Competitor, join_budgets
from selfwise.evaluation.probes.retrieval import measure_retrieval
from selfwise.evaluation.scores.names import (
    AUTO,
    PRETRAINED,
    RAW,
    RETRIEVAL,
    SUPERVISED,
    UNTRAINED,
)
from selfwise.evaluation.scores.probe_score import ProbeScore
from selfwise.evaluation.scores.retrieval_score import RetrievalScore, compare_retrieval
from selfwise.modalities.feature_options import (
    FeatureOptions,
)
from selfwise.modalities.reading_options import ReadingOptions
from selfwise.runs import logs_and_scores
from selfwise.runs.names import name_data
from selfwise.runs.open import Run, load
from selfwise.workflows.probe_examples import (
    ExamplePair,
    open_labelled_pair,
    open_searched_pair,
)
from selfwise.workflows.probe_features import extract_features, make_frozen
from selfwise.workflows.probe_job import ProbeJob, check_job
from selfwise.workflows.supervised import (
    finetune_pretrained,
    finetune_untrained,
    train_from_scratch,
)

AnyScore = TypeVar("AnyScore", ProbeScore, RetrievalScore)

Learned = Literal["linear", "weighted", "sgd", "knn", "finetune"]  # kinds that learn from labels
Kind = Literal[Learned, "retrieval"]


@overload
def probe(run: Run | str | Path, *, kind: Learned = "linear", **options: Any) -> ProbeScore: ...
@overload
def probe(
    run: Run | str | Path, *, kind: Literal["retrieval"], **options: Any
) -> RetrievalScore: ...
@overload
def probe(run: Run | str | Path, *, kind: Kind, **options: Any) -> ProbeScore | RetrievalScore: ...
def probe(  # type: ignore[misc] # the overloads above only determine the result type
    run: Run | str | Path,
    *,
    train: object,
    test: object = None,
    kind: Kind = "linear",
    labels_per_class: Annotated[str | list[int | str], BeforeValidator(join_budgets)] = "all",
    seeds: PositiveInt = 5,
    k: PositiveInt | None = None,
    layer: int | Literal["auto"] | None = None,
    pooling: str = "",
    with_raw: bool = False,
    window: str = "",
    text_column: str = "",
    label_column: str = "",
    group_column: str = "",
    supervised_baseline: bool = False,
    skip_broken: bool = False,
    device: str = "auto",
    max_memory: str = "",
    quiet: bool = False,
) -> ProbeScore | RetrievalScore:
    """Measure the accuracy of the encoder, of untrained encoders, and of the raw input.

    Args:
        run: a run or its folder.
        train: labeled examples; retrieval needs no labels.
        test: labeled examples to score on; by default a fifth of `train`, drawn by the seed.
        kind: linear, weighted (for speech), sgd, knn, finetune or retrieval (docs/guide/probes.md).
        labels_per_class: numbers of labels for each class, for a curve: 10,100,all; in Python also
            a list or a number.
        seeds: number of label draws; unused with all labels and for retrieval, which draw none.
        k: neighbors that vote in knn; by default each competitor chooses on training labels.
        layer: instead of the output; -1 is the last. With auto, training labels choose it.
        pooling: mean, mean+deviation; for text cls, last, layers (means of each); sif for word2vec.
        with_raw: also measure the encoder's vectors together with the raw input.
        window: for long texts: mean (over windows, by their tokens; the default), or first (cut).
        text_column: the column with the text.
        label_column: the column with the label.
        group_column: the column of recordings with the group, such as the speaker.
        supervised_baseline: add supervised training from scratch.
        skip_broken: leave out files that cannot be read.
        device: cpu, cuda, mps (Apple, not tested) or auto.
        max_memory: most memory for reading one file, as in 4G; by default half of what is free.
        quiet: print nothing.
    """
    with limit_memory(max_memory):
        run = run if isinstance(run, Run) else load(run)
        auto, number = layer == AUTO, None if isinstance(layer, str) else layer
        pooling = pooling or ("" if auto else _choose_pooling(run, kind))
        job = ProbeJob(
            run,
            kind,
            FeatureOptions(number, pooling, window, device),
            ReadingOptions(False, skip_broken, text_column, label_column, group_column),
            data={"train": name_data(train), "test": None if test is None else name_data(test)},
            budgets=label_curve.parse_budgets(join_budgets(labels_per_class)),
            seeds=seeds, k=k, supervised=supervised_baseline, auto=auto, with_raw=with_raw,
        )  # fmt: skip
        return _run_job(job, train, test, quiet=quiet)


def _run_job(
    job: ProbeJob, train: object, test: object, *, quiet: bool
) -> ProbeScore | RetrievalScore:
    """Check a job, open its examples, and measure."""
    check_job(job)
    if job.kind == RETRIEVAL:
        return _measure_retrieval(job, open_searched_pair(job.run, train, test, job.reading))
    pair = open_labelled_pair(job.run, train, test, job.reading)
    return _probe_with_labels(job, pair, None if quiet else partial(print, flush=True))


def _probe_with_labels(
    job: ProbeJob, pair: ExamplePair, progress: Callable[[str], None] | None
) -> ProbeScore:
    """Return the score of a probe that learns from labels, saved in the run folder."""
    score = label_curve.compute_label_curve(
        _make_competitors(job, pair, progress),
        pair.train_labels,
        pair.test_labels,
        classes=pair.train.classes,
        budgets=job.budgets,
        seeds=range(job.seeds),
        kind=job.kind,
        progress=progress,
    )
    warnings = (*write_warnings(pair.train, pair.test), *_describe_unread(job, pair))
    score = replace(score, warnings=warnings)
    return _save_score(job, score, _list_repetitions(score), pair)


def _list_repetitions(score: ProbeScore) -> list[object]:
    """List competitors, budgets and seeds, which distinguish a score from others of its kind."""
    rows = [(row["competitor"], row["per_class"]) for row in score.rows()]
    return [rows, score.seeds]


def _describe_unread(job: ProbeJob, pair: ExamplePair) -> list[str]:
    """Name the examples that were read in part, for the reader of a score."""
    return [
        f"Of {option}, {sentence}"
        for option, examples in (("--train", pair.train), ("--test", pair.test))
        for sentence in job.run.describe_unread(examples, job.features.window)
    ]


def _choose_pooling(run: Run, kind: str) -> str:
    """Return the modality's own pooling for probes of frozen features, if it has one."""
    return run.modality.probe_pooling if kind in ("linear", "knn", "sgd") else ""


def _make_competitors(
    job: ProbeJob, pair: ExamplePair, progress: Callable[[str], None] | None
) -> dict[str, Competitor]:
    """Make the encoder, its two baselines, and on request the encoder trained from scratch."""
    if job.kind == "finetune":
        return _make_finetuned(job, pair)
    competitors = make_frozen(job, pair, progress)
    if job.supervised:
        train, test = _open_images(pair)
        competitors[SUPERVISED] = train_from_scratch(
            job.run, train, test, device=job.features.device
        )
    return competitors


def _open_images(pair: ExamplePair) -> tuple[Images, Images]:
    """Return the pair as images, after an earlier check that the run is on images."""
    train, test = pair
    assert isinstance(train, Images), "only runs on images train with labels"
    assert isinstance(test, Images), "only runs on images train with labels"
    return train, test


def _measure_retrieval(job: ProbeJob, pair: ExamplePair) -> RetrievalScore:
    """Search each test example's class among the other test examples, by frozen features."""
    features = extract_features(job, pair)
    search = partial(
        measure_retrieval, labels=pair.test_labels, device=resolve_device(job.features.device)
    )
    score = compare_retrieval(
        {n: [search(s.test) for s in splits] for n, splits in features.items()}
    )
    return _save_score(job, score, [], pair)


def _make_finetuned(job: ProbeJob, pair: ExamplePair) -> dict[str, Competitor]:
    """Fine-tune the run's weights and untrained ones, and probe the raw input."""
    run, options = job.run, job.features
    frozen = {"layer": options.layer, "pooling": options.pooling, "window": options.window}
    for option in (f"--{n}" for n, value in frozen.items() if value not in (None, "")):
        raise ValueError(f"{option} needs a frozen probe: fine-tuning trains the whole encoder")
    train, test = _open_images(pair)
    raw = run.modality.raw_features(run, train, test)
    return {
        PRETRAINED: finetune_pretrained(run, train, test, device=options.device),
        UNTRAINED: finetune_untrained(run, train, test, device=options.device),
        RAW: label_curve.probe_features([raw], pair.train_labels),
    }


def _save_score(
    job: ProbeJob, score: AnyScore, repetitions: list[object], pair: ExamplePair
) -> AnyScore:
    """Save the score in the run folder with its data, features and weights.

    The file is named for the data, the features, the weights and the `repetitions`. If the folder
    cannot be written, a warning gives the reason, and the score that is returned has no path.
    """
    run, train, test = job.run, pair.train, pair.test
    origin = {"train": train.fingerprint, "test": test.fingerprint, **job.describe()}
    origin |= {"weights": run.weights, "step": run.step}
    classes = test.classes if train.classes is None else train.classes
    content = {**score.to_dict(), **origin, "data": dict(job.data), "classes": classes}
    name = f"{score.kind}-{hash_keys(0, json.dumps([origin, *repetitions])) % 16**8:08x}.json"
    path = run.folder / "scores" / name
    try:
        make_folder(path.parent)
        write_file(path, logs_and_scores.format_score_json(content))
    except (OSError, ValueError) as error:  # the score, perhaps of hours, is returned all the same
        reason = describe_system_error(error) if isinstance(error, OSError) else str(error)
        print_progress(f"warning: the score is not stored, and no report will show it: {reason}")
        return replace(score, precision=job.precision)
    return replace(score, path=str(path), precision=job.precision)
