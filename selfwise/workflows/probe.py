"""The proof that an encoder is worth having: a probe beside its baselines."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, overload

import numpy as np
from scipy.sparse import issparse

from selfwise.core.errors import did_you_mean
from selfwise.core.rng import hash_keys, shuffled
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
from selfwise.runs import records
from selfwise.runs.arguments import where
from selfwise.runs.open import Run, load
from selfwise.training.config import resolve_device
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
    budgets = label_curve.parse_budgets(labels)
    data = {"train": where(train), "test": None if test is None else where(test)}
    run = run if isinstance(run, Run) else load(run)
    _check(run, kind, seeds, budgets, scratch=scratch, k=k, layer=layer, pooling=pooling)
    pooling = pooling or _own_pooling(run, kind)
    frozen: dict[str, Any] = {"layer": layer, "pooling": pooling, "window": window}
    reading = _given(field=field, label=label, skip_broken=skip_broken)
    if kind == RETRIEVAL:
        pair = _searched_pair(run, train, test, **reading)
        return _retrieved(run, *pair, data=data, device=device, **frozen)
    known, asked = labelled_pair(run, train, test, **reading)
    how: dict[str, Any] = {"kind": kind, "scratch": scratch, "device": device, "k": k}
    told: dict[str, Any] = {"budgets": budgets, "seeds": seeds, "kind": kind, "quiet": quiet}
    among = _competitors(run, known, asked, **how, **frozen)
    score = _scored(among, known, asked, unread=_unread(run, known, asked, window), **told)
    frozen |= {"k": k or CHOSEN} if kind == "knn" else {}
    return _kept(run, score, _measured(score), known, asked, data=data, **frozen)


def _scored(
    among: dict[str, Competitor],
    known: Any,
    asked: Any,
    *,
    budgets: list[int | None],
    seeds: int,
    kind: str,
    quiet: bool,
    unread: list[str],
) -> ProbeScore:
    """The label curve, with what a reader has to know of its examples."""
    how: dict[str, Any] = {"budgets": budgets, "seeds": range(seeds), "kind": kind}
    how["progress"] = None if quiet else partial(print, flush=True)
    score = label_curve.compute_label_curve(
        among, known.labels, asked.labels, classes=known.classes, **how
    )
    return replace(score, warnings=(*write_warnings(known, asked), *unread))


def _measured(score: ProbeScore) -> list[Any]:
    """Competitors, budgets and seeds of a score, which tell it from others of the same kind."""
    rows = [(row["competitor"], row["per_class"]) for row in score.rows()]
    return [rows, score.seeds]


def _unread(run: Run, known: Any, asked: Any, window: str) -> list[str]:
    """What the reader of a score has to know of examples that are read in part."""
    parts = {"--train": known, "--test": asked}
    return [f"Of {name}, {s}" for name, part in parts.items() for s in run.unread(part, window)]


def _own_pooling(run: Run, kind: str) -> str:
    """How probes of frozen features pool where the modality has a way of its own."""
    own = str(getattr(run.modality, "PROBE_POOLING", ""))
    return own if kind in ("linear", "knn", "sgd") else ""


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value}


def _check(
    run: Run,
    kind: str,
    seeds: int,
    budgets: list[int | None],
    *,
    scratch: bool,
    k: int | None,
    layer: int | None,
    pooling: str,
) -> None:
    """Raises ValueError for a probe that there is not, before anything is computed."""
    _check_k(k, kind)
    if kind not in KINDS:
        raise ValueError(f"unknown probe {kind!r}{did_you_mean(kind, KINDS)}")
    if seeds < 1:
        raise ValueError(f"--seeds must be at least 1, got {seeds}")
    if run.method.modality != "image" and (scratch or kind == "finetune"):
        raise ValueError(
            f"training with labels is for images so far, and {run.folder} is on "
            f"{run.method.modality}: probe it frozen (--kind linear or knn, no --scratch)"
        )
    if kind == "weighted" and not hasattr(run.modality, "layered"):
        raise ValueError(
            f"--kind weighted is for speech, and {run.folder} is on {run.method.modality}: probe "
            "its layers one by one, with --kind linear --layer NUMBER"
        )
    if kind == "weighted" and (layer is not None or pooling):
        option = "--pooling" if layer is None else "--layer"
        raise ValueError(f"{option} does not go with --kind weighted, which takes every layer")
    if kind == RETRIEVAL and (scratch or budgets != [None]):
        option = "--scratch" if scratch else "--labels"
        raise ValueError(f"{option} does not go with --kind retrieval, which learns from no labels")


def _check_k(k: int | None, kind: str) -> None:
    """Raises ValueError for a number of neighbours that cannot be."""
    if k is not None and kind != "knn":
        raise ValueError(f"--k is how many neighbours vote: it goes with --kind knn, not {kind}")
    if k is not None and k < 1:
        raise ValueError(f"--k must be at least 1, got {k}")


def labelled_pair(run: Run, train: Any, test: Any, **reading: Any) -> tuple[Any, Any]:
    """Training and test examples with labels that mean the same; without `test`, a fifth is split.

    Raises ValueError if labels are missing, or a class of the test examples is unknown.
    """
    known = run.modality.examples(run, train, labelled=True, **reading)
    if test is None:
        order = shuffled(len(known), 0, "test split")
        cut = len(known) // 5
        if not cut:
            raise ValueError(f"{len(known)} examples are too few to split off a test set")
        known, asked = known.take(np.sort(order[cut:])), known.take(np.sort(order[:cut]))
        check_classes(known.labels, what="a probe")
        return known, asked
    asked = relabel_examples(
        run.modality.examples(run, test, labelled=True, **reading), known.classes or []
    )
    check_classes(known.labels, what="a probe")
    check_classes_trained(known, asked)
    return known, asked


def _searched_pair(run: Run, train: Any, test: Any, **reading: Any) -> tuple[Any, Any]:
    """What the baselines are made with, and the labelled examples that are searched.

    As `labelled_pair`, but with `test` the labels of `train` are not read, so that the classes may
    be others, as is the custom in metric learning.
    """
    if test is None:
        return labelled_pair(run, train, None, **reading)
    known = run.modality.examples(run, train, **reading)
    return known, run.modality.examples(run, test, labelled=True, **reading)


def _competitors(
    run: Run,
    known: Any,
    asked: Any,
    *,
    kind: str,
    scratch: bool,
    device: str,
    k: int | None,
    **frozen: Any,
) -> dict[str, Competitor]:
    """The encoder, its two baselines, and, if asked for, the same encoder from scratch."""
    if kind == "finetune":
        return _finetuned(run, known, asked, device=device, **frozen)
    found = _frozen(run, known, asked, kind=kind, device=device, k=k, **frozen)
    if scratch:
        found["supervised"] = from_scratch(run, known, asked, device=device)
    return found


def _frozen(
    run: Run,
    known: Any,
    asked: Any,
    *,
    kind: str,
    device: str,
    k: int | None,
    **frozen: Any,
) -> dict[str, Competitor]:
    """Probes of frozen features."""
    features = _features(run, known, asked, kind=kind, device=device, **frozen)
    probe = partial(PROBES[kind], device=resolve_device(device))
    probe = partial(probe, k=k) if kind == "knn" else probe
    told: dict[str, Any] = {"groups": getattr(known, "groups", None), "drawn": kind == "sgd"}
    y = known.labels
    return {
        name: label_curve.probe_features(each, y, probe, **told) for name, each in features.items()
    }


def _retrieved(
    run: Run, known: Any, asked: Any, *, data: dict[str, str | None], device: str, **frozen: Any
) -> RetrievalScore:
    """What is found among the test examples by frozen features."""
    features = _features(run, known, asked, kind=RETRIEVAL, device=device, **frozen)
    search = partial(measure_retrieval, labels=asked.labels, device=resolve_device(device))
    found = compare_retrieval(
        {name: [search(s.test) for s in splits] for name, splits in features.items()}
    )
    return _kept(run, found, [], known, asked, data=data, **frozen)


def _features(
    run: Run, known: Any, asked: Any, *, kind: str, device: str, **frozen: Any
) -> dict[str, list[FeatureSplit]]:
    """The encoder's features, its untrained twins', the raw input's."""
    modality = run.modality
    raw = modality.raw(run, known, asked)
    if kind == "sgd" and issparse(raw.train):
        raise ValueError("--kind sgd takes dense features, and bags of words are not: use linear")
    if kind == "weighted":
        embed = modality.layered(run, device=device)
    else:
        embed = modality.embedder(run, device=device, **frozen)
    if kind == RETRIEVAL:
        embed = _embedding_only(asked, embed)
    trained = [FeatureSplit(embed(run.encoder, known), embed(run.encoder, asked))]
    twins = modality.twins(run, known, asked, embed=embed, device=device)
    found = {PRETRAINED: trained, UNTRAINED: twins, RAW: [raw]}
    for name, split in ((name, split) for name, splits in found.items() for split in splits):
        check_vectors(split.train, known.ids, of=_OF[name])
        check_vectors(split.test, asked.ids, of=_OF[name])
    return found


_OF = {name: f"the {name} encoder" for name in (PRETRAINED, UNTRAINED)} | {RAW: f"the {RAW}"}


def _embedding_only(asked: Any, embed: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """The same where nothing is learned: of other examples no features are computed."""
    none = np.empty((0, 0), np.float32)
    return lambda encoder, part: embed(encoder, part) if part is asked else none


def _finetuned(
    run: Run, known: Any, asked: Any, *, device: str, **frozen: Any
) -> dict[str, Competitor]:
    """Fine-tuning from the run's weights and from fresh ones, and a probe of the raw input."""
    for option in (f"--{n}" for n, value in frozen.items() if value not in (None, "")):
        raise ValueError(f"{option} goes with a frozen probe: fine-tuning trains the whole encoder")
    return {
        PRETRAINED: tuned(run, known, asked, device=device),
        UNTRAINED: tuned_from_fresh(run, known, asked, device=device),
        RAW: label_curve.probe_features([run.modality.raw(run, known, asked)], known.labels),
    }


def _kept(
    run: Run,
    score: AnyScore,
    drawn: list[Any],
    known: Any,
    asked: Any,
    *,
    data: dict[str, str | None],
    **frozen: Any,
) -> AnyScore:
    """The score, filed in the run folder with what it was measured on; `drawn` tells it apart."""
    told = {"train": known.fingerprint, "test": asked.fingerprint}
    told |= {**frozen, "weights": run.weights, "step": run.step}
    classes = asked.classes if known.classes is None else known.classes
    found = {**score.to_dict(), **told, "data": data, "classes": classes}
    name = f"{score.kind}-{hash_keys(0, json.dumps([told, *drawn])) % 16**8:08x}.json"
    folder = run.folder / "scores"
    folder.mkdir(exist_ok=True)
    temporary = folder / f".{name}.writing"
    temporary.write_text(records.score_text(found))
    temporary.rename(folder / name)
    return score
