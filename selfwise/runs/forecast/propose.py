"""Propose a method for data: what the examples are decides."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from selfwise.core.data_sources import DataSources, unwrap_sources
from selfwise.data.audio.decode import AUDIO
from selfwise.data.image.named_sets import parse_name
from selfwise.data.listing import IMAGES
from selfwise.data.table_cells import is_table
from selfwise.data.text.documents import HUB_PREFIX
from selfwise.data.text.file_kinds import PLAIN_SUFFIXES
from selfwise.data.text.plain_files import inner_suffix
from selfwise.data.text.python_docs import PYTHON_DOCS
from selfwise.data.text.tables import TABLE_SUFFIXES
from selfwise.methods import own_names
from selfwise.runs.forecast.advice import SMALL_TEXT, WORD2VEC

MAX_FILES = 2_000  # of a folder, whose names are looked at
ARRAYS = (".npy", ".npz")
PROPOSED = {"image": "simclr", "text": "roberta", "audio": "hubert"}
HEAD_BYTES = 2**16  # of a table, in which its first rows are looked for


def propose_method(data: object) -> str:
    """Return the name of a method for these examples.

    Raises ValueError if they are neither images, text nor recordings.
    """
    modality = find_data_modality(data)
    if modality == "text" and WORD2VEC in own_names() and measure_text(data) < SMALL_TEXT:
        return WORD2VEC
    return PROPOSED[modality]


def find_data_modality(data: object) -> str:
    """Return image, text or audio, by the names of the files or the types of the objects.

    Raises ValueError if the data are neither.
    """
    data = unwrap_sources(data)
    if isinstance(data, DataSources):
        return find_data_modality(data.places[0])
    if not isinstance(data, str | Path):
        return _judge_objects(data)
    if str(data) == PYTHON_DOCS or str(data).startswith(HUB_PREFIX):
        return "text"
    if isinstance(data, str) and parse_name(data) is not None:
        return "image"
    path = Path(data).expanduser()
    if not path.exists():
        raise ValueError(f"--data {path} does not exist")
    files = islice(_list_files(path), MAX_FILES)
    counts = Counter(kind for file in files if (kind := _judge_file(file)))
    if not counts:
        raise ValueError(
            f"--data {path} holds neither images, recordings nor text: name a method, as in "
            "selfwise plan simclr, if they have other names"
        )
    return counts.most_common(1)[0][0]


def measure_text(data: object) -> int:
    """Return the size of text in bytes; 0 if it is not known without reading it."""
    data = unwrap_sources(data)
    if isinstance(data, DataSources):
        return sum(map(measure_text, data.places))
    if isinstance(data, str | Path):
        path = Path(data).expanduser()
        return sum(file.stat().st_size for file in _list_files(path)) if path.exists() else 0
    return sum(map(len, data)) if isinstance(data, Sequence) else 0


def _list_files(path: Path) -> Iterator[Path]:
    """Yield a file, or all files of a folder and below it that are not hidden."""
    if path.is_file():
        yield path
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(name for name in names if not name.startswith(".")):
            yield Path(folder, name)


def _judge_file(path: Path) -> str:
    """Return the modality of a file by its name, or by what a table names; "" for other files."""
    if IMAGES.matches(path.name) or path.suffix.lower() in ARRAYS:
        return "image"
    if AUDIO.matches(path.name):
        return "audio"
    if is_table(path) and (named := _judge_table(path)):
        return named
    return "text" if inner_suffix(path) in (*PLAIN_SUFFIXES, *TABLE_SUFFIXES) else ""


def _judge_table(path: Path) -> str:
    """Return the modality of the files that the first rows of a csv or tsv name; "" if none."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        rows = file.read(HEAD_BYTES).decode(errors="replace").splitlines()[:10]
    cells = [cell.strip(' "') for row in rows for cell in row.replace("\t", ",").split(",")]
    for modality, kind in (("image", IMAGES), ("audio", AUDIO)):
        if any(kind.matches(cell) for cell in cells):
            return modality
    return ""


def _judge_objects(data: object) -> str:
    """Return the modality of examples from Python."""
    if isinstance(data, tuple) and len(data) == 2 and not isinstance(data[0], str):
        return _judge_objects(data[0])
    if isinstance(data, np.ndarray | torch.Tensor):
        return "image"
    first = data[0] if isinstance(data, Sequence) and len(data) else None
    if isinstance(first, str):
        return "text"
    return "audio" if isinstance(first, np.ndarray) and first.ndim == 1 else "image"
