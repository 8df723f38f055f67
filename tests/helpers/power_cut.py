"""A power cut imitated: what of a sequence of writes a disk may hold if it stops at any moment.

`PowerCut` watches a folder while a sequence of writes runs. Only what was flushed is certain: the
contents of a file at its last fsync, and the names in a folder at the folder's last fsync. Of all
else a disk may have any part. At each flush, rename, removal and new folder, `states` builds

- the folder with nothing but what is certain,
- the folder as the process saw it (a kill, not a power cut),
- all names, but files that were not flushed are empty, or cut at some of their bytes,
- each folder's names once as certain and once as seen, since no order between folders is certain.

A state that the writer had acknowledged by returning is marked with the number of
acknowledgments, so that a test can ask for what must not be lost.
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

Node = tuple[bool, int]  # whether it is a folder, and its inode
HOOKED = ("fsync", "replace", "rename", "unlink", "remove", "rmdir", "mkdir")
CUTS = (0.0, 0.5, 0.99)  # fractions of a file that was not flushed


@dataclass
class Disk:
    """Names by folder, and contents by file, by inode."""

    names: dict[int, dict[str, Node]] = field(default_factory=dict)
    contents: dict[int, bytes] = field(default_factory=dict)

    def copy(self) -> "Disk":
        return Disk({n: dict(entries) for n, entries in self.names.items()}, dict(self.contents))


class Moment(NamedTuple):
    """The disk at one moment: what is certain, what the process saw, what the writer promised."""

    event: str
    certain: Disk
    seen: Disk
    acknowledged: int


class PowerCut:
    """Records the moments of the writes in `root` while it is entered."""

    def __init__(self, root: Path, monkeypatch):
        self.root, self.patch = root, monkeypatch
        self.moments: list[Moment] = []
        self.acknowledged = 0
        self.certain = Disk()
        self.held: dict[int, int] = {}  # an open inode is not given to another file

    def __enter__(self) -> "PowerCut":
        seen = self._look()
        self.certain = seen.copy()  # all that was there before is on the disk
        self.real = {name: getattr(os, name) for name in HOOKED}
        for name in HOOKED:
            self.patch.setattr(os, name, self._hook(name))
        return self

    def __exit__(self, *error: object) -> None:
        for name, function in self.real.items():
            self.patch.setattr(os, name, function)
        self._note("end")
        for descriptor in self.held.values():
            os.close(descriptor)

    def acknowledge(self) -> None:
        """Note that the writer has returned: what it wrote must not be lost from here."""
        self.acknowledged += 1
        self._note("acknowledged")

    def states(self, place: Path) -> Iterator[tuple[Moment, Path]]:
        """Build every state in a folder of `place`, one after the other."""
        done: set[str] = set()
        for moment in self.moments:
            for names, contents in _choose(moment):
                key = repr((_tree(names, contents, self.top), moment.acknowledged))
                if key in done:
                    continue
                done.add(key)
                shutil.rmtree(place, ignore_errors=True)
                _build(place, names, contents, self.top)
                yield moment, place

    def _hook(self, name: str):
        real = self.real[name]

        def call(*args, **kwargs):
            self._note(f"before {name}")
            result = real(*args, **kwargs)
            if name == "fsync":
                self._flush(args[0])
            self._note(f"after {name}")
            return result

        return call

    def _flush(self, descriptor: int) -> None:
        inode, seen = os.fstat(descriptor).st_ino, self._look()
        if inode in seen.names:
            self.certain.names[inode] = dict(seen.names[inode])
        elif inode in seen.contents:
            self.certain.contents[inode] = seen.contents[inode]

    def _note(self, event: str) -> None:
        moment = Moment(event, self.certain.copy(), self._look(), self.acknowledged)
        last = self.moments[-1] if self.moments else None
        if last is None or last[1:] != moment[1:]:
            self.moments.append(moment)

    def _look(self) -> Disk:
        disk = Disk()
        self.top = self._look_at(self.root, disk)
        return disk

    def _look_at(self, path: Path, disk: Disk) -> int:
        inode = os.lstat(path).st_ino
        if inode not in self.held:
            self.held[inode] = os.open(path, os.O_RDONLY)
        disk.names[inode] = {}
        for entry in sorted(os.listdir(path)):
            inner = path / entry
            if inner.is_dir():
                disk.names[inode][entry] = (True, self._look_at(inner, disk))
            else:
                number = os.lstat(inner).st_ino
                if number not in self.held:
                    self.held[number] = os.open(inner, os.O_RDONLY)
                disk.names[inode][entry] = (False, number)
                disk.contents[number] = inner.read_bytes()
        return inode


def _choose(moment: Moment) -> Iterator[tuple[dict[int, dict[str, Node]], dict[int, bytes]]]:
    """Yield names and contents that the disk may have at a moment."""
    certain, seen = moment.certain, moment.seen
    every = {**certain.contents, **seen.contents}
    loose = [n for n in seen.contents if certain.contents.get(n) != seen.contents[n]]
    folders = {**certain.names, **seen.names}
    changed = [n for n in seen.names if certain.names.get(n, {}) != seen.names[n]]
    flushed = {n: certain.contents.get(n, b"") for n in every}
    as_certain = {n: certain.names.get(n, {}) for n in folders}
    yield as_certain, flushed
    yield folders, every
    for fraction in CUTS:
        yield folders, {**every, **{n: _cut(n, certain, seen, fraction) for n in loose}}
    for folder in changed if len(changed) > 1 else ():
        yield {**as_certain, folder: seen.names[folder]}, flushed
        yield {**folders, folder: as_certain[folder]}, every


def _cut(number: int, certain: Disk, seen: Disk, fraction: float) -> bytes:
    """Return what is flushed of a file that grew, and a part of the rest."""
    before, now = certain.contents.get(number, b""), seen.contents[number]
    first = len(before) if now.startswith(before) else 0
    return now[: first + int(fraction * (len(now) - first))]


def _tree(names, contents, top: int) -> dict[str, object]:
    return {
        entry: _tree(names, contents, number) if folder else contents.get(number, b"")
        for entry, (folder, number) in names.get(top, {}).items()
    }


def _build(place: Path, names, contents, top: int) -> None:
    place.mkdir()
    for entry, (folder, number) in names.get(top, {}).items():
        if folder:
            _build(place / entry, names, contents, number)
        else:
            (place / entry).write_bytes(contents.get(number, b""))
