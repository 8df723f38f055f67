"""What a finished run is for: vectors of new files, and the proof that they are worth having."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32

from selfwise.competitors import from_scratch, from_weights
from selfwise.data import Images, open_images
from selfwise.evaluate import curve, features
from selfwise.evaluate.baselines import Split, untrained
from selfwise.evaluate.curve import Competitor, Probe
from selfwise.evaluate.knn import knn
from selfwise.evaluate.linear import linear
from selfwise.evaluate.score import PRETRAINED, RAW, UNTRAINED, Score
from selfwise.names import nearest
from selfwise.rng import hashed, shuffled
from selfwise.run import Run, load

KINDS = ("linear", "knn", "finetune")
SUFFIXES = (".parquet", ".npz")


class Table(NamedTuple):
    """Vectors of examples, row by row."""

    vectors: Float32[np.ndarray, "n d"]
    ids: list[str]  # relative paths, or row numbers
    labels: list[str] | None  # names of the classes, where the data have them


def embed(
    run: Run | str | Path,
    data: Any,
    *,
    layer: int | None = None,
    skip_broken: bool = False,
    device: str = "auto",
) -> Table:
    """The vectors of all examples, read as in the run.

    Args:
        run: a run or its folder.
        data: anything that `pretrain` takes.
        layer: a layer's number instead of the encoder's output; negative counts from the last.
        skip_broken: leave out files that cannot be read.
        device: cpu, cuda or auto.
    """
    run = run if isinstance(run, Run) else load(run)
    images = _open(run, data, skip_broken=skip_broken)
    vectors = _embedder(run, layer=layer, device=device, keep=not skip_broken)(run.encoder, images)
    # a file that broke while it was read stands in with the picture of another
    lost = set(images.broken)
    kept = [row for row, name in enumerate(images.ids) if name not in lost]
    names = None
    if images.labels is not None and images.classes is not None:
        names = [images.classes[images.labels[row]] for row in kept]
    return Table(vectors[kept], [images.ids[row] for row in kept], names)


def write_embeddings(
    run: str | Path,
    *,
    data: str,
    out: Path,
    layer: int | None = None,
    skip_broken: bool = False,
    device: str = "auto",
) -> Table:
    """Write the vectors of all examples to a file, with their ids and, where known, labels.

    Args:
        run: folder of the run.
        data: folder of images, csv, npy or npz, or the name of a data set.
        out: FILE.parquet or FILE.npz, which must not exist yet.
        layer: a layer's number instead of the encoder's output; negative counts from the last.
        skip_broken: leave out files that cannot be read.
        device: cpu, cuda or auto.
    """
    out = Path(out)
    if out.suffix not in SUFFIXES:
        raise ValueError(f"--out {out} must end in {' or '.join(SUFFIXES)}")
    if out.exists():
        raise ValueError(f"--out {out} exists already; nothing is written over")
    if not out.resolve().parent.is_dir():
        raise ValueError(f"--out {out}: there is no folder {out.resolve().parent}")
    table = embed(run, data, layer=layer, skip_broken=skip_broken, device=device)
    temporary = out.with_name(f".{out.name}.writing")
    {".parquet": _write_parquet, ".npz": _write_npz}[out.suffix](table, temporary)
    temporary.rename(out)
    return table


def probe(
    run: Run | str | Path,
    *,
    train: Any,
    test: Any = None,
    kind: str = "linear",
    labels: str = "all",
    seeds: int = 5,
    layer: int | None = None,
    scratch: bool = False,
    skip_broken: bool = False,
    device: str = "auto",
    quiet: bool = False,
) -> Score:
    """The accuracy of the encoder beside its baselines: the same encoder untrained (three
    initialisations), and the raw input.

    Args:
        run: a run or its folder.
        train: labelled examples: a folder for each class, a csv with labels, or a name.
        test: labelled examples to score on; by default a fifth of `train`, drawn by the seed.
        kind: linear (L-BFGS, regularisation chosen on training labels), knn, or finetune.
        labels: numbers of labels for each class, for a curve: 10,100,all.
        seeds: how often labels are drawn.
        layer: probe a layer instead of the encoder's output; negative counts from the last.
        scratch: add the same encoder trained from scratch on the same labels, with the run's
            views and steps, its learning rate chosen on training labels.
        skip_broken: leave out files that cannot be read.
        device: cpu, cuda or auto.
        quiet: print nothing while it works.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown probe {kind!r}{nearest(kind, KINDS)}")
    if seeds < 1:
        raise ValueError(f"--seeds must be at least 1, got {seeds}")
    budgets = curve.budgets(labels)
    run = run if isinstance(run, Run) else load(run)
    known, asked = labelled_pair(run, train, test, skip_broken=skip_broken)
    make = _finetuned if kind == "finetune" else _frozen
    competitors = make(run, known, asked, kind=kind, layer=layer, device=device)
    if scratch and kind != "finetune":
        competitors["supervised"] = from_scratch(run, known, asked)
    assert known.labels is not None
    assert asked.labels is not None
    score = curve.label_curve(
        competitors,
        known.labels,
        asked.labels,
        budgets=budgets,
        seeds=range(seeds),
        classes=known.classes,
        kind=kind,
        progress=None if quiet else lambda text: print(text, flush=True),
    )
    _keep(run, score, known, asked, layer=layer)
    return score


def labelled_pair(
    run: Run, train: Any, test: Any, *, skip_broken: bool = False
) -> tuple[Images, Images]:
    """Training and test examples with the same classes; without `test`, a fifth is split off.

    Raises ValueError if labels are missing, or a class of the test examples is unknown.
    """
    known = _open(run, train, labelled=True, skip_broken=skip_broken)
    if test is None:
        order = shuffled(len(known), 0, "test split")
        cut = len(known) // 5
        if not cut:
            raise ValueError(f"{len(known)} examples are too few to split off a test set")
        return known.take(np.sort(order[cut:])), known.take(np.sort(order[:cut]))
    asked = _open(run, test, labelled=True, skip_broken=skip_broken)
    if asked.classes != known.classes:
        missing = sorted({*(asked.classes or [])} ^ {*(known.classes or [])})
        raise ValueError(
            f"--train and --test have {len(known.classes or [])} and {len(asked.classes or [])} "
            f"classes; only one of them has {', '.join(missing[:3])}"
        )
    return known, asked


def show(run: Path) -> str:
    """Options, state and last metrics of a run.

    Args:
        run: folder of the run.
    """
    from selfwise import config
    from selfwise.train import checkpoint

    settings = config.read(run)
    found, torn = checkpoint.latest(run / "checkpoints")
    steps = settings["options"]["steps"]
    lines = [f"{settings['method']} in {run}"]
    lines += [f"  step {found.step if found else 0} of {steps}", *(f"  {t}" for t in torn)]
    log = run / "metrics.jsonl"
    last = log.read_text().splitlines()[-1:] if log.is_file() else []
    lines += [f"  {n} {v:.6g}" for text in last for n, v in json.loads(text).items()]
    for name in ("options", "found", "environment"):
        lines += [f"{name}:", *(f"  {n}: {v}" for n, v in settings[name].items() if v is not None)]
    for path in sorted((run / "scores").glob("*.json")):
        lines += [f"{path.stem}:", *(f"  {s}" for s in json.loads(path.read_text())["sentences"])]
    return "\n".join(lines)


def _open(run: Run, data: Any, **options: Any) -> Images:
    return open_images(data, **run.reading, **options)


def _embedder(
    run: Run, *, layer: int | None, device: str, keep: bool = True
) -> Callable[[Any, Images], Float32[np.ndarray, "n d"]]:
    """Features of any encoder of this shape, kept in the run folder by what they depend on."""
    from selfwise.train.options import resolve_device

    place = resolve_device(device)
    precision = run.config["options"]["precision"]

    def compute(encoder: Any, images: Images) -> Float32[np.ndarray, "n d"]:
        stamp = getattr(images, "stamp", "")  # a file may change and keep its size
        weights = features.checksum(encoder)
        key = (weights, images.fingerprint, stamp, run.size, layer, precision)
        extract = partial(features.extract, encoder, images, size=run.size, layer=layer)
        extract = partial(extract, device=place, precision=precision)
        return features.cached(run.folder / "features", key, extract) if keep else extract()

    return compute


def _frozen(
    run: Run, known: Images, asked: Images, *, kind: str, layer: int | None, device: str
) -> dict[str, Competitor]:
    """Probes of frozen features: the encoder's, its untrained twins', the pixels."""
    compute = _embedder(run, layer=layer, device=device)
    trained = [Split(compute(run.encoder, known), compute(run.encoder, asked))]
    twins = untrained(run.fresh, known, asked, size=run.size, embed=compute)
    raw = [Split(*(features.pixels(part, size=run.size) for part in (known, asked)))]
    assert known.labels is not None
    on = partial(curve.on_features, labels=known.labels, probe=_PROBES[kind])
    return {PRETRAINED: on(trained), UNTRAINED: on(twins), RAW: on(raw)}


def _finetuned(
    run: Run, known: Images, asked: Images, *, kind: str, layer: int | None, device: str
) -> dict[str, Competitor]:
    """Fine-tuning from the run's weights and from fresh ones, and a probe of the pixels."""
    if layer is not None:
        raise ValueError("--layer goes with a frozen probe: fine-tuning trains the whole encoder")
    raw = [Split(*(features.pixels(part, size=run.size) for part in (known, asked)))]
    assert known.labels is not None
    return {
        PRETRAINED: from_weights(run, known, asked, encoder=lambda seed: run.encoder),
        UNTRAINED: from_weights(run, known, asked, encoder=run.fresh),
        RAW: curve.on_features(raw, known.labels),
    }


def _by_linear(x: np.ndarray, y: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
    return linear(x, y, test, seed=seed).predicted


def _by_knn(x: np.ndarray, y: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
    return knn(x, y, test)


_PROBES: dict[str, Probe] = {"linear": _by_linear, "knn": _by_knn}


def _keep(run: Run, score: Score, known: Images, asked: Images, *, layer: int | None) -> None:
    """File the score in the run folder, with what it was measured on."""
    told = {"train": known.fingerprint, "test": asked.fingerprint, "layer": layer}
    found = {**score.to_dict(), "weights": run.weights, **told}
    name = f"{score.kind}-{hashed(0, json.dumps(told), str(score.seeds)) % 16**8:08x}.json"
    folder = run.folder / "scores"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(found, indent=1))


def _write_parquet(table: Table, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    flat = pa.array(table.vectors.reshape(-1))
    columns = {
        "id": table.ids,
        "vector": pa.FixedSizeListArray.from_arrays(flat, table.vectors.shape[1]),
    }
    if table.labels is not None:
        columns["label"] = table.labels
    pq.write_table(pa.table(columns), path)


def _write_npz(table: Table, path: Path) -> None:
    named = {} if table.labels is None else {"labels": np.array(table.labels)}
    with path.open("wb") as file:
        np.savez(file, vectors=table.vectors, ids=np.array(table.ids), **named)  # type: ignore
