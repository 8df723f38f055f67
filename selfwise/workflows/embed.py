"""Embed new files with a finished run; `probe.py` measures how good the vectors are."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from selfwise.core.config_class import Config
from selfwise.core.device import EvaluationPrecision, resolve_device
from selfwise.core.files import atomic_write
from selfwise.core.html_table import write_html_table
from selfwise.core.memory_limit import takes_memory_limit
from selfwise.core.progress import print_progress
from selfwise.distributed.process_group import (
    DistributedEnv,
    count_processes,
    detect_env,
    process_device,
)
from selfwise.evaluation.features.finite import check_vectors
from selfwise.modalities.feature_options import (
    FeatureOptions,
)
from selfwise.modalities.reading_options import ReadingOptions
from selfwise.runs.names import name_data
from selfwise.runs.open import Run, load
from selfwise.runs.processes import check_together, join_shared_work, lead_shared_work

SUFFIXES = (".parquet", ".npz")
SHOWN_ROWS, SHOWN_NUMBERS = 5, 4  # in a notebook


class EmbeddingTable(NamedTuple):
    """Vectors of examples, row by row."""

    vectors: Float32[np.ndarray, "n d"]
    ids: list[str]  # relative paths, or row numbers
    labels: list[str] | None  # class names, if the data have them

    def __repr__(self) -> str:
        n, width = self.vectors.shape
        classes = "" if self.labels is None else f", labels of {len(set(self.labels))} classes"
        return f"EmbeddingTable({n:,} vectors of width {width}{classes})"

    def _repr_html_(self) -> str:
        rows = [
            [name, *([] if self.labels is None else [self.labels[row]]), _format_start(vector)]
            for row, (name, vector) in enumerate(zip(self.ids[:SHOWN_ROWS], self.vectors))
        ]
        head = ["id", *([] if self.labels is None else ["label"]), "vector"]
        return write_html_table(rows, head=head, caption=repr(self))


@takes_memory_limit
def embed(
    run: Run | str | Path,
    data: object,
    *,
    out: str | Path = "",
    layer: int | None = None,
    pooling: str = "",
    window: str = "",
    text_column: str = "",
    skip_broken: bool = False,
    precision: EvaluationPrecision = "float32",
    device: str = "auto",
    devices: int = 1,
    max_memory: str = "",
) -> EmbeddingTable:
    """Compute the vectors of all examples, read as in the run, with their ids and any labels.

    Under torchrun or SLURM the processes share the work. The first process returns the vectors; the
    tables of the other processes are empty.

    Args:
        run: a run or its folder.
        data: images or recordings, in any form that `pretrain` takes; or texts: csv, tsv, jsonl,
            parquet, a txt file of one text per line, a folder per class; in Python also a list.
        out: FILE.parquet or FILE.npz to write the vectors to, which must not exist yet; optional in
            Python.
        layer: a layer to use instead of the encoder's output; negative counts from the last.
        pooling: for text: mean, mean+deviation, cls, last or layers (the means of all layers,
            concatenated), by default the encoder's own; for word2vec also sif (a mean in which rare
            words weigh more); for speech: mean (the default) or mean+deviation.
        window: for text longer than the rows of the run: mean, the default (the mean over windows,
            weighted by their tokens), or first (cut after the first window).
        text_column: for text: the column with the text.
        skip_broken: leave out files that cannot be read.
        precision: float32, or bf16, which is faster on hardware that multiplies it, and differs in
            the third digit.
        device: cpu, cuda, mps (Apple, not tested) or auto.
        devices: processes on this machine that share the work, unless torchrun or SLURM set them.
        max_memory: most memory for reading one file, as in 4G; by default half of what is free.
    """
    first = (env := detect_env()) is None or env.rank == 0
    if out and first:
        _check_out(Path(out))
    run = run if isinstance(run, Run) else load(run)
    options = EmbedOptions(
        layer=layer, pooling=pooling, window=window, text_column=text_column,
        skip_broken=skip_broken, precision=precision, device=device,
    )  # fmt: skip
    devices = count_processes(devices)
    check_together(devices, device, data)
    # absolute, so that they hold in any folder
    positional = (str(_locate_checkpoint(run)), name_data(data))
    with lead_shared_work(
        _MEMBER, *positional, options=options.model_dump(), devices=devices
    ) as env:
        table = _embed_share(run, data, env, options)
    if out and first:
        _write_table(table, Path(out))
    return table


class EmbedOptions(Config):
    """The options that the processes share."""

    layer: int | None
    pooling: str
    window: str
    text_column: str
    skip_broken: bool
    precision: EvaluationPrecision
    device: str


def _embed_share(
    run: Run, data: object, env: DistributedEnv, options: EmbedOptions
) -> EmbeddingTable:
    """Compute this process's part of the work; the first process returns the table."""
    reading = ReadingOptions(text_column=options.text_column, skip_broken=options.skip_broken)
    examples = run.modality.open_examples(run, data, reading)
    device = options.device
    if env.size > 1 and (kind := resolve_device(device)) == "cuda":
        device = str(process_device(env, kind))
    features = FeatureOptions(
        options.layer, options.pooling, options.window, device, env, options.precision
    )
    embed_examples = run.modality.make_embed(run, features)
    if env.rank == 0:
        for sentence in run.describe_unread(examples, options.window):
            print_progress(f"warning: {sentence}")
    labels = None
    if examples.labels is not None and examples.classes is not None:
        labels = [examples.classes[label] for label in examples.labels]
    vectors = embed_examples(run.encoder, examples)
    check_vectors(vectors, examples.ids, of=f"the encoder of {run.folder}")
    return EmbeddingTable(vectors, list(examples.ids), labels)


_MEMBER = (
    "import sys; from selfwise.workflows.embed import share_embedding; "
    "sys.exit(share_embedding(*sys.argv[1:]))"
)


def share_embedding(run: str, data: str, options: str) -> int:
    """Run one process that `embed` has started, from beginning to end."""

    def work(env: DistributedEnv) -> None:
        _embed_share(load(run), data, env, EmbedOptions.model_validate_json(options))

    return join_shared_work(work)


def _format_start(vector: Float32[np.ndarray, "d"]) -> str:
    """Format the first numbers of a vector."""
    numbers = [f"{number:.3g}" for number in vector[:SHOWN_NUMBERS]]
    return ", ".join(numbers + ["..."] * (len(vector) > SHOWN_NUMBERS))


def _locate_checkpoint(run: Run) -> Path:
    """Return the folder of the checkpoint that the run was loaded from."""
    return (run.folder / "checkpoints" / f"step-{run.step:08d}").resolve()


def _check_out(out: Path) -> None:
    """Raise ValueError for a path that cannot be written, before computing anything."""
    if out.suffix not in SUFFIXES:
        raise ValueError(f"--out {out} must end in {' or '.join(SUFFIXES)}")
    if out.exists():
        raise ValueError(f"--out {out} exists already, and selfwise never overwrites")
    if not out.resolve().parent.is_dir():
        raise ValueError(f"--out {out}: no such folder: {out.resolve().parent}")


def _write_table(table: EmbeddingTable, out: Path) -> None:
    write = {".parquet": _write_parquet, ".npz": _write_npz}[out.suffix]
    with atomic_write(out) as temporary:
        write(table, temporary)


def _write_parquet(table: EmbeddingTable, path: Path) -> None:
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


def _write_npz(table: EmbeddingTable, path: Path) -> None:
    with path.open("wb") as file:
        if table.labels is None:
            np.savez(file, vectors=table.vectors, ids=np.array(table.ids))
        else:
            labels = np.array(table.labels)
            np.savez(file, vectors=table.vectors, ids=np.array(table.ids), labels=labels)
