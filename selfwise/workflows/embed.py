"""What a finished run is for: vectors of new files. `proof.py` says what they are worth."""

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32

from selfwise.core.device import resolve_device
from selfwise.core.files import atomic_write
from selfwise.distributed.process_group import (
    DistributedEnv,
    count_processes,
    detect_env,
    process_device,
)
from selfwise.evaluation.features.finite import check_vectors
from selfwise.modalities.modality import FeatureOptions, ReadingOptions
from selfwise.runs.config import name_data
from selfwise.runs.launch import check_together, share_in, sharing
from selfwise.runs.open import Run, load

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
    out: str | Path = "",
    layer: int | None = None,
    pooling: str = "",
    window: str = "",
    field: str = "",
    skip_broken: bool = False,
    device: str = "auto",
    devices: int = 1,
) -> Table:
    """The vectors of all examples, read as in the run, with their ids and, where known, labels.

    Under torchrun or SLURM the processes share the work; the first one gets the vectors, and
    the table of the others has none.

    Args:
        run: a run or its folder.
        data: images or recordings, in any form that `pretrain` takes; or texts: csv, tsv, jsonl,
            parquet, a txt file with a text a line, a folder for each class; in Python also a list.
        out: FILE.parquet or FILE.npz to write them to, which must not exist yet; in Python nothing
            need be written.
        layer: a layer's number instead of the encoder's output; negative counts from the last.
        pooling: of text: mean, mean+deviation, cls, last or layers (the means of every layer, side
            by side), by default the encoder's own; of speech: mean, the default, or mean+deviation.
        window: of text that is longer than the rows of the run: mean, the default (the mean over
            windows, weighted by their tokens), or first (what is behind the first window is cut).
        field: of text: the column that holds it.
        skip_broken: leave out files that cannot be read.
        device: cpu, cuda or auto.
        devices: processes on this machine that share the work; torchrun and SLURM say themselves
            how many there are.
    """
    first = (env := detect_env()) is None or env.rank == 0
    if out and first:
        _check_out(Path(out))
    run = run if isinstance(run, Run) else load(run)
    options = EmbedOptions(layer, pooling, window, field, skip_broken, device)
    devices = count_processes(devices)
    check_together(devices, device, data)
    words = (str(_weights(run)), name_data(data))  # as they hold from any folder
    with sharing(_MEMBER, *words, told=options._asdict(), devices=devices) as env:
        table = _embed(run, data, env, options)
    if out and first:
        _write(table, Path(out))
    return table


class EmbedOptions(NamedTuple):
    """What the processes that share the work have to know."""

    layer: int | None
    pooling: str
    window: str
    field: str
    skip_broken: bool
    device: str


def _embed(run: Run, data: Any, env: DistributedEnv, options: EmbedOptions) -> Table:
    """This process's share of the work; the first one gets the table."""
    reading = ReadingOptions(field=options.field, skip_broken=options.skip_broken)
    examples = run.modality.open_examples(run, data, reading)
    device = options.device
    if env.size > 1 and (kind := resolve_device(device)) == "cuda":
        device = str(process_device(env, kind))
    features = FeatureOptions(options.layer, options.pooling, options.window, device, env)
    embed_examples = run.modality.make_embed(run, features)
    if env.rank == 0:
        for sentence in run.describe_unread(examples, options.window):
            print(f"warning: {sentence}", file=sys.stderr, flush=True)
    labels = None
    if examples.labels is not None and examples.classes is not None:
        labels = [examples.classes[label] for label in examples.labels]
    vectors = embed_examples(run.encoder, examples)
    check_vectors(vectors, examples.ids, of=f"the encoder of {run.folder}")
    return Table(vectors, list(examples.ids), labels)


_MEMBER = "import sys; from selfwise.workflows.embed import member; sys.exit(member(*sys.argv[1:]))"


def member(run: str, data: str, options: str) -> int:
    """A process that `embed` has started, from its beginning to its end."""

    def work(env: DistributedEnv) -> None:
        _embed(load(run), data, env, EmbedOptions(**json.loads(options)))

    return share_in(work)


def _weights(run: Run) -> Path:
    """The folder of the very checkpoint."""
    return (run.folder / "checkpoints" / f"step-{run.step:08d}").resolve()


def _check_out(out: Path) -> None:
    """Raises ValueError for a file that cannot be written, before anything is computed."""
    if out.suffix not in SUFFIXES:
        raise ValueError(f"--out {out} must end in {' or '.join(SUFFIXES)}")
    if out.exists():
        raise ValueError(f"--out {out} exists already; nothing is written over")
    if not out.resolve().parent.is_dir():
        raise ValueError(f"--out {out}: there is no folder {out.resolve().parent}")


def _write(table: Table, out: Path) -> None:
    with atomic_write(out) as temporary:
        {".parquet": _write_parquet, ".npz": _write_npz}[out.suffix](table, temporary)


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
