"""Damage: a file is changed in a way that a seed decides, with some knowledge of its structure."""

import gzip
import io
import json
import re
import struct
import zipfile
from collections.abc import Callable
from random import Random
from typing import Any

import pyarrow as pa
import yaml

EXTREME_BYTES = [
    struct.pack(form, value)
    for form, values in (
        ("<I", (0, 1, 2**31 - 1, 2**31, 2**32 - 1)),
        (">I", (0, 1, 2**31 - 1, 2**31, 2**32 - 1)),
        ("<Q", (2**32, 2**40, 2**63 - 1, 2**64 - 1)),
        (">Q", (2**40, 2**63 - 1)),
        ("<H", (0, 2**15, 2**16 - 1)),
        ("<f", (float("nan"), float("inf"), 3e38, -3e38)),
    )
    for value in values
]
NUMBERS = ["-1", "0", "1e999", "-1e999", "NaN", "9" * 5000, "9" * 20, "0.5", "1e-400", "4294967295"]
TEXTS = ['"', "\0", "\ufeff", "\n", ",", "\t", "\\ud800", "x" * 200_000, "[" * 3000, "{", "\r", "*"]
VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 10**30, 0.5, -0.5, 1e300),
    *(float("nan"), float("inf"), "", "x", "9" * 30, "\0", "../..", [], {}, [1], {"a": 1}, [[[]]]),
    *([None], ["x"], {"type": "x"}, {"1": -1}, "x" * 5000),
]


def mutate_bytes(data: bytes, rng: Random) -> bytes:
    """One to three changes of bytes."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        data = _change_bytes(data, rng)
    return data


def _change_bytes(data: bytes, rng: Random) -> bytes:
    # most structure is in the beginning, and some at the end
    near = rng.choice((min(64, len(data)), min(512, len(data)), len(data)))
    at = rng.randrange(near + 1)
    at = len(data) - at if rng.random() < 0.25 else at
    kind = rng.randrange(8)
    if kind == 0 and at < len(data):
        return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
    if kind == 1:
        return data[:at]
    if kind == 2:
        start = rng.randrange(len(data) + 1)
        return data[:at] + data[start : start + rng.randrange(1, 4096)] + data[at:]
    if kind == 3:
        return data[:at] + rng.randbytes(rng.choice((1, 8, 1000))) + data[at:]
    if kind == 4:
        return data[:at] + data[at + rng.randrange(1, 64) :]
    if kind == 5:
        return data[:at] + bytes(16) + data[at + 16 :]
    field = rng.choice(EXTREME_BYTES)
    return data[:at] + field + data[at + len(field) :]


def mutate_text(data: bytes, rng: Random) -> bytes:
    """Numbers, separators and lines are changed; now and then bytes."""
    if rng.random() < 0.2:
        return mutate_bytes(data, rng)
    text = data.decode("utf-8")
    kind = rng.randrange(5)
    places = list(re.finditer(r"-?\d+(\.\d+)?", text))
    if kind == 0 and places:
        place = rng.choice(places)
        text = text[: place.start()] + rng.choice(NUMBERS) + text[place.end() :]
    elif kind == 1:
        lines = text.split("\n")
        rng.shuffle(lines)
        text = "\n".join(lines[rng.randrange(2) :])
    elif kind == 2:
        at, size = rng.randrange(len(text) + 1), rng.randrange(1, 20)
        text = text[:at] + text[at + size :]
    elif kind == 3:
        at = rng.randrange(len(data) + 1)
        return data[:at] + rng.choice((b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xfe\xff")) + data[at:]
    else:
        at = rng.randrange(len(text) + 1)
        text = text[:at] + rng.choice(TEXTS) + text[at:]
    return text.encode("utf-8", "surrogatepass")


def mutate_tree(tree: Any, rng: Random) -> Any:
    """Return a copy in which one value is replaced, removed, wrapped or copied to another place."""
    tree = json.loads(json.dumps(tree))
    places = list(_list_places(tree))
    if not places:
        return rng.choice(VALUES)
    # all depths alike: most of the places are the deepest
    depth = rng.choice(sorted({level for level, _, _ in places}))
    _, parent, key = rng.choice([place for place in places if place[0] == depth])
    kind = rng.randrange(6)
    if kind == 0:
        del parent[key]
    elif kind == 1:
        parent[key] = [parent[key]]
    elif kind == 2:
        _, other, name = rng.choice(places)
        parent[key] = json.loads(json.dumps(other[name]))
    elif kind == 3 and isinstance(parent[key], int | float):
        parent[key] = rng.choice((-parent[key], parent[key] * 10**9, parent[key] + 0.5, 0))
    else:
        parent[key] = rng.choice(VALUES)
    return tree


def _list_places(tree: Any, level: int = 0) -> list[tuple[int, Any, Any]]:
    keys = list(tree) if isinstance(tree, dict) else range(len(tree) if type(tree) is list else 0)
    places = [(level, tree, key) for key in keys]
    for key in keys:
        places += _list_places(tree[key], level + 1)
    return places


def mutate_json(data: bytes, rng: Random) -> bytes:
    if rng.random() < 0.2:
        return mutate_text(data, rng)
    return json.dumps(mutate_tree(json.loads(data), rng)).encode()


def mutate_jsonl(data: bytes, rng: Random) -> bytes:
    lines = data.decode().splitlines()
    at = rng.randrange(len(lines))
    changed = mutate_json(lines[at].encode(), rng)
    return b"\n".join([*(line.encode() for line in lines[:at]), changed,
                       *(line.encode() for line in lines[at + 1 :])])  # fmt: skip


def mutate_yaml(data: bytes, rng: Random) -> bytes:
    if rng.random() < 0.2:
        return mutate_text(data, rng)
    return yaml.safe_dump(mutate_tree(yaml.safe_load(data), rng)).encode()


def mutate_safetensors(data: bytes, rng: Random) -> bytes:
    """The header is changed, with its length; or bytes."""
    if rng.random() < 0.3:
        return mutate_bytes(data, rng)
    (size,) = struct.unpack("<Q", data[:8])
    header = mutate_json(data[8 : 8 + size], rng)
    return struct.pack("<Q", len(header)) + header + data[8 + size :]


def mutate_zip(data: bytes, rng: Random) -> bytes:
    """A member is changed and the archive made anew, so that its checksums are right; or bytes."""
    if rng.random() < 0.4:
        return mutate_bytes(data, rng)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(sorted(members))
    members[name] = mutate_bytes(members[name], rng)
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as new:
        for name, content in members.items():
            new.writestr(name, content)
    return whole.getvalue()


def compress(name: str, data: bytes) -> bytes:
    """The bytes in the compression of a file's name; as they are without one."""
    if name.endswith(".gz"):
        return gzip.compress(data, mtime=0)
    if name.endswith((".zst", ".zstd")):
        stream = pa.BufferOutputStream()
        with pa.CompressedOutputStream(stream, "zstd") as packed:
            packed.write(data)
        return stream.getvalue().to_pybytes()
    return data


MUTATORS: dict[str, Callable[[bytes, Random], bytes]] = {
    "bytes": mutate_bytes,
    "text": mutate_text,
    "json": mutate_json,
    "jsonl": mutate_jsonl,
    "yaml": mutate_yaml,
    "safetensors": mutate_safetensors,
    "zip": mutate_zip,
}


def mutate(name: str, kind: str, data: bytes, rng: Random) -> bytes:
    """Return a damaged file. `data` is what it holds, without compression."""
    packed = compress(name, data)
    if packed is not data and rng.random() < 0.4:
        return mutate_bytes(packed, rng)
    return compress(name, MUTATORS[kind](data, rng))
