"""What a finished run is for: vectors of new files. `proof.py` says what they are worth."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32

from selfwise.run import Run, load

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
    pooling: str = "",
    field: str = "",
    skip_broken: bool = False,
    device: str = "auto",
) -> Table:
    """The vectors of all examples, read as in the run.

    Args:
        run: a run or its folder.
        data: anything that `pretrain` takes.
        layer: a layer's number instead of the encoder's output; negative counts from the last.
        pooling: of text: mean, cls, last or layers (the means of every layer, side by side); by
            default the encoder's own.
        field: of text: the column that holds it.
        skip_broken: leave out files that cannot be read.
        device: cpu, cuda or auto.
    """
    run = run if isinstance(run, Run) else load(run)
    reading: dict[str, Any] = {"field": field, "skip_broken": skip_broken}
    examples = run.modality.examples(run, data, **{n: v for n, v in reading.items() if v})
    compute = run.modality.embedder(run, layer=layer, device=device, pooling=pooling)
    names = None
    if examples.labels is not None and examples.classes is not None:
        names = [examples.classes[label] for label in examples.labels]
    return Table(compute(run.encoder, examples), list(examples.ids), names)


def write_embeddings(
    run: str | Path,
    *,
    data: str,
    out: Path,
    layer: int | None = None,
    pooling: str = "",
    field: str = "",
    skip_broken: bool = False,
    device: str = "auto",
) -> Table:
    """Write the vectors of all examples to a file, with their ids and, where known, labels.

    Args:
        run: folder of the run.
        data: images or recordings, in any form that `pretrain` takes; or texts: csv, tsv, jsonl,
            parquet, a txt file with a text a line, a folder for each class; in Python also a list.
        out: FILE.parquet or FILE.npz, which must not exist yet.
        layer: a layer's number instead of the encoder's output; negative counts from the last.
        pooling: of text: mean, cls, last or layers (the means of every layer, side by side); by
            default the encoder's own.
        field: of text: the column that holds it.
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
    told: dict[str, Any] = {"layer": layer, "pooling": pooling, "field": field}
    table = embed(run, data, **told, skip_broken=skip_broken, device=device)
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
