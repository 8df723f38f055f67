"""What a finished run is for: vectors of new files. `proof.py` says what they are worth."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32

from selfwise.data import Images, open_images, readable
from selfwise.data.images import ArrayImages
from selfwise.data.parallel import available
from selfwise.evaluate import features
from selfwise.run import Run, load
from selfwise.train.options import resolve_device, resolve_precision

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
    images = readable(opened(run, data, skip_broken=skip_broken))
    vectors = embedder(run, layer=layer, device=device)(run.encoder, images)
    names = None
    if images.labels is not None and images.classes is not None:
        names = [images.classes[label] for label in images.labels]
    return Table(vectors, list(images.ids), names)


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


def opened(run: Run, data: Any, **options: Any) -> Images:
    return open_images(data, **run.reading, **options)


def embedder(
    run: Run, *, layer: int | None, device: str
) -> Callable[[Any, Images], Float32[np.ndarray, "n d"]]:
    """Features of any encoder of this shape, kept in the run folder by what they depend on."""
    place = resolve_device(device)
    told = run.config["options"]
    same = place == told["device"]
    precision = told["precision"] if same else resolve_precision("auto", place)
    # what autocast runs in; evaluation needs no gradients, so fp16 needs no care either
    precision = "float32" if precision == "float32" else "bf16"

    def compute(encoder: Any, images: Images) -> Float32[np.ndarray, "n d"]:
        stamp = getattr(images, "stamp", "")  # a file may change and keep its size
        weights = features.checksum(encoder)
        key = (weights, images.fingerprint, stamp, run.size, layer, precision)
        workers = 0 if isinstance(images, ArrayImages) else min(available(), 8)
        extract = partial(features.extract, encoder, images, size=run.size, layer=layer)
        extract = partial(extract, device=place, precision=precision, workers=workers)
        return features.cached(run.folder / "features", key, extract)

    return compute


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
