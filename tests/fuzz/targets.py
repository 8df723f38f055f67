"""What is damaged: a small file for each suffix and form, and the reader that takes it.

The suffixes are those of the readers, so that a new one without a file here fails a test.
"""

import io
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import soundfile
from PIL import Image

from selfwise.data.audio.decode import SUFFIXES as SOUND_SUFFIXES
from selfwise.data.audio.open import open_recordings
from selfwise.data.image.open import open_images
from selfwise.data.listing import SUFFIXES as IMAGE_SUFFIXES
from selfwise.data.text.documents import open_documents
from selfwise.data.text.file_kinds import PLAIN_SUFFIXES
from selfwise.data.text.labelled import open_texts
from selfwise.data.text.plain_files import COMPRESSED
from selfwise.data.text.tables import TABLE_SUFFIXES
from tests.helpers.audio_cases import noise

RATE = 16_000
ROWS = [{"text": f"the dog {i} ran, far", "label": f"c{i % 3}", "n": i} for i in range(6)]


class Target(NamedTuple):
    """A file that is damaged, and its reader."""

    name: str  # of the test
    file: str  # below a folder
    kind: str  # of the damage, a key of MUTATORS
    write: Callable[[Path], None]  # writes the file, uncompressed, and what must be next to it
    read: Callable[[Path], object]  # takes the path of the file
    named: str | None = None  # what an error must name; None for the file
    whole: bool = True  # whether the reader takes the file as it is before the damage

    @property
    def must_name(self) -> str:
        return Path(self.file).name if self.named is None else self.named


def write_image(file: str, path: Path) -> None:
    gradient = np.arange(24 * 16 * 3, dtype=np.uint8).reshape(24, 16, 3)
    image = Image.fromarray(gradient)
    suffix = Path(file).suffix
    if suffix == ".png":
        image.putalpha(128)
    image.convert("P" if suffix == ".gif" else image.mode).save(path)


def read_image(path: Path) -> None:
    images = open_images(path.parent, cache="no", workers=0)
    images.read(np.arange(len(images)))


def write_sound(file: str, path: Path) -> None:
    sound = noise(RATE // 4, channels=2)
    if file.endswith((".m4a", ".aac")):
        write_aac(path, sound)
    elif file.endswith(".opus"):
        soundfile.write(path, sound, RATE, format="OGG", subtype="OPUS")
    else:
        subtype = "FLOAT" if file.endswith(".wav") else None
        form = {".oga": "OGG", ".aif": "AIFF"}.get(path.suffix)
        soundfile.write(path, sound, RATE, format=form, subtype=subtype)


def write_aac(path: Path, sound: np.ndarray) -> None:
    import av

    form = "ipod" if path.suffix == ".m4a" else "adts"
    with av.open(str(path), "w", format=form) as file:
        stream = file.add_stream("aac", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(sound[:, :1].T.copy(), format="fltp", layout="mono")
        frame.sample_rate = RATE
        for packet in (*stream.encode(frame), *stream.encode(None)):
            file.mux(packet)


def read_sound(path: Path) -> None:
    recordings = open_recordings(path, cache="no", workers=0)
    for i in range(len(recordings)):
        assert np.isfinite(recordings.read(i)).all()


def format_rows(suffix: str) -> bytes:
    """A small table in one of the forms."""
    if suffix in (".jsonl", ".ndjson"):
        return "\n".join(json.dumps(row) for row in ROWS).encode()
    if suffix == ".json":
        return json.dumps(ROWS).encode()
    if suffix in (".csv", ".tsv"):
        mark = "," if suffix == ".csv" else "\t"
        cells = [ROWS[0].keys(), *(row.values() for row in ROWS)]
        quoted = [[f'"{c}"' if mark == "," and "," in str(c) else str(c) for c in r] for r in cells]
        return "\n".join(mark.join(row) for row in quoted).encode()
    stream = io.BytesIO()
    table = pa.Table.from_pylist(ROWS)
    if suffix == ".parquet":
        pq.write_table(table, stream)
    elif suffix == ".feather":
        pyarrow.feather.write_feather(table, stream, compression="lz4")
    elif suffix == ".arrow":
        with pa.ipc.new_file(stream, table.schema) as writer:
            writer.write_table(table)
    else:
        with pa.ipc.new_stream(stream, table.schema) as writer:
            writer.write_table(table)
    return stream.getvalue()


def write_rows(suffix: str, path: Path) -> None:
    path.write_bytes(format_rows(suffix))


def write_lines(path: Path) -> None:
    path.write_text("A dog ran.\nIt was 12 years old.\n\nThe end\n" * 4, encoding="utf-8")


def read_documents(path: Path) -> None:
    for _ in open_documents(path):
        pass


def read_texts(path: Path) -> None:
    open_texts(path)


def write_listing(suffix: str, path: Path) -> None:
    for i in range(3):
        Image.new("RGB", (8, 8), (i, 0, 0)).save(path.parent / f"{i}.png")
    mark = "," if suffix == ".csv" else "\t"
    rows = [["path", "label"], *([f"{i}.png", f"{i % 2}"] for i in range(3))]
    path.write_text("\n".join(mark.join(row) for row in rows))


def read_listing(path: Path) -> None:
    images = open_images(path, cache="no", workers=0)
    images.read(np.arange(len(images)))


def write_array(kind: str, path: Path) -> None:
    x = np.arange(4 * 8 * 8 * 3, dtype=np.uint8).reshape(4, 8, 8, 3)
    if kind == "npz":
        np.savez_compressed(path, x=x, y=np.array(["a", "b", "a", "c"]))
    else:
        np.save(path, x if kind == "uint8" else (x / 255).astype(np.float32))


def read_array(path: Path) -> None:
    images = open_images(path)
    images.read(np.arange(len(images)))


def write_mnist(path: Path) -> None:
    head = bytes([0, 0, 8, 3]) + np.array([5, 6, 6], ">u4").tobytes()
    path.write_bytes(head + bytes(range(180)))
    labels = bytes([0, 0, 8, 1]) + np.array([5], ">u4").tobytes() + bytes(range(5))
    (path.parent / "train-labels-idx1-ubyte").write_bytes(labels)


def read_mnist(path: Path) -> None:
    images = open_images(f"mnist:{path.parent}")
    images.read(np.arange(len(images)))


def write_cifar(path: Path) -> None:
    for i in range(1, 6):
        (path.parent / f"data_batch_{i}.bin").write_bytes(bytes([i]) + bytes(3072))


def read_cifar(path: Path) -> None:
    open_images(f"cifar10:{path.parent}").read(np.arange(5))


def _image(suffix: str) -> Target:
    file = f"pictures/a{suffix}"
    return Target(f"image {suffix}", file, "bytes", partial(write_image, file), read_image)


def _sound(suffix: str) -> Target:
    file = f"a{suffix}"
    return Target(f"sound {suffix}", file, "bytes", partial(write_sound, file), read_sound)


def _tables(suffix: str) -> list[Target]:
    """The rows as documents, as texts with labels, and packed."""
    damage = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "text"}
    kind = damage.get(suffix, "text" if suffix == ".tsv" else "bytes")
    write = partial(write_rows, suffix)
    targets = [
        Target(f"documents {suffix}", f"a{suffix}", kind, write, read_documents),
        Target(f"texts {suffix}", f"a{suffix}", kind, write, read_texts),
    ]
    packed = (".gz", ".zst") if suffix in (".jsonl", ".csv") else ()
    return targets + [
        Target(f"texts {suffix}{end}", f"a{suffix}{end}", kind, write, read_texts) for end in packed
    ]


def _plain(suffix: str) -> Target:
    return Target(f"documents {suffix}", f"a{suffix}", "text", write_lines, read_documents)


def _packed(suffix: str) -> Target:
    file = f"a.txt{suffix}"
    return Target(f"documents {file}", file, "text", write_lines, read_documents)


IDX = "train-images-idx3-ubyte"
DATA_TARGETS = [
    *map(_image, IMAGE_SUFFIXES),
    *map(_sound, SOUND_SUFFIXES),
    *(target for suffix in TABLE_SUFFIXES for target in _tables(suffix)),
    *map(_plain, PLAIN_SUFFIXES),
    *map(_packed, COMPRESSED),
    Target("texts .txt", "a.txt", "text", write_lines, read_texts),
    Target("listing .csv", "a.csv", "text", partial(write_listing, ".csv"), read_listing, ""),
    Target("listing .tsv", "a.tsv", "text", partial(write_listing, ".tsv"), read_listing, ""),
    Target("npy uint8", "a.npy", "bytes", partial(write_array, "uint8"), read_array),
    Target("npy float", "a.npy", "bytes", partial(write_array, "float"), read_array),
    Target("npz", "a.npz", "zip", partial(write_array, "npz"), read_array),
    Target("idx", IDX, "bytes", write_mnist, read_mnist, "train-"),
    Target("idx.gz", f"{IDX}.gz", "bytes", write_mnist, read_mnist, "train-"),
    Target("cifar", "data_batch_3.bin", "bytes", write_cifar, read_cifar, "data_batch"),
]
