"""The token cache: written once, part by part, so that a killed build can resume."""

import errno
import json
import os
import shutil
import time
from bisect import bisect
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import count, takewhile
from pathlib import Path
from typing import IO

import numpy as np

from selfwise.core.files import hold_lock, publish, write_file
from selfwise.core.parallel import Progress
from selfwise.data.text.documents import Documents
from selfwise.data.text.encode import (
    EncodedPieces,
    EncodePieces,
    PieceBatch,
    batch_pieces,
    encode_all,
)

CHARACTERS_PER_SHARD = 2**25  # characters of text after which what was written is made safe
STALE_SECONDS = (
    7 * 24 * 3600
)  # seconds after which a half-built cache that nobody resumed is removed
FILES = ("tokens", "documents", "sizes", "sentences")
FULL_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT)
EMPTY_JOURNAL = dict.fromkeys(FILES, 0) | {"part": 0, "piece": 0, "total": 0, "from": 0}


def build_token_cache(
    home: Path,
    documents: Documents,
    job: EncodePieces,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Make the folder `home`: complete, or not there under this name.

    Tokens and spans are appended to files. After each shard they are flushed to the disk, and a
    journal that says how long they are is renamed into place; what a killed build wrote after that
    is cut off when the next build continues.

    Raises ValueError for a full disk, and what reading the documents raises.
    """
    half = home.with_name(f".{home.name}.half")
    half.mkdir(exist_ok=True)
    try:
        _write_all(half, documents, job, workers, progress)
        meta = json.loads((half / "journal.json").read_text()) | {"dtype": job.dtype}
        write_file(half / "meta.json", json.dumps(meta))
        publish(half, home)
    except OSError as error:
        if error.errno not in FULL_DISK_ERRORS:
            raise
        raise ValueError(
            f"the disk of {home.parent} is full ({error.strerror}); free some space and start "
            "again: the token cache resumes where it stopped. Or set SELFWISE_CACHE to another disk"
        ) from error
    except ValueError:  # something is wrong with the text, which will not be the same again
        shutil.rmtree(half, ignore_errors=True)
        raise


@contextmanager
def lock_cache(home: Path) -> Iterator[None]:
    """One process at a time builds a cache; another that wants it waits. Ends with the process."""
    _remove_stale(home.parent)
    with hold_lock(home.with_name(f".{home.name}.lock")):
        yield


def _write_all(
    half: Path,
    documents: Documents,
    job: EncodePieces,
    workers: int | None,
    progress: Progress | None,
) -> None:
    with ExitStack() as stack:
        files = {name: stack.enter_context((half / name).open("ab")) for name in FILES}
        journal = _resume_journal(half, files)
        firsts = documents.first_parts
        todo = batch_pieces(documents.pieces(journal["part"]), journal["piece"], firsts)
        fresh = 0
        for batch, encoded in encode_all(job, todo, workers=workers, size=documents.bytes):
            _append_batch(files, journal, batch, encoded)
            if len(firsts) > 1:
                journal[_source_key(bisect(firsts, batch.part) - 1)] = journal["total"]
            fresh += int(encoded.sizes[:, 0].sum())
            if fresh >= CHARACTERS_PER_SHARD:
                _save_journal(half, files, journal)
                fresh = 0
            if progress is not None:
                progress(batch.done, documents.bytes)
        _check_sources(documents, journal)
        _save_journal(half, files, journal)


def source_ends(journal: Mapping[str, int]) -> tuple[int, ...]:
    """Return where in the tokens each source ends; nothing for a corpus of one source."""
    keys = takewhile(journal.__contains__, map(_source_key, count()))
    return tuple(journal[key] for key in keys)


def _source_key(number: int) -> str:
    return f"end of source {number}"


def _check_sources(documents: Documents, journal: Mapping[str, int]) -> None:
    """Raise ValueError naming the first of several sources that has no tokens."""
    before = 0
    for number, source in enumerate(documents.sources):
        end = journal.get(_source_key(number), before)
        if end == before:
            raise ValueError(f"{source.where}: the corpus is empty: its text has no tokens")
        before = end


def _resume_journal(half: Path, files: Mapping[str, IO[bytes]]) -> dict[str, int]:
    """Return the journal of an earlier build, with its files cut back to what was safe."""
    path = half / "journal.json"
    journal = json.loads(path.read_text()) if path.is_file() else dict(EMPTY_JOURNAL)
    for name, file in files.items():
        file.truncate(journal[name])
        file.seek(0, os.SEEK_END)
    return journal


def _append_batch(
    files: Mapping[str, IO[bytes]],
    journal: dict[str, int],
    batch: PieceBatch,
    encoded: EncodedPieces,
) -> None:
    """Write what became of a batch. `total`: tokens so far; `from`: where a document began."""
    base = journal["total"]
    last = np.array(batch.last)
    ends = base + np.cumsum(encoded.tokens)
    stops = ends[last]
    spans = np.stack([np.concatenate([[journal["from"]], stops])[:-1], stops], axis=1)
    sums = np.cumsum(encoded.sizes, axis=0)
    so_far = np.array([journal.get("characters", 0), journal.get("bytes", 0)])
    marks = np.concatenate([[[0, 0]], sums[last]])
    sizes = np.diff(marks, axis=0)
    if len(sizes):
        sizes[0] += so_far
        so_far = np.zeros(2, np.int64)
        journal["from"] = int(stops[-1])
    journal["characters"], journal["bytes"] = map(int, so_far + sums[-1] - marks[-1])
    has_tokens = spans[:, 1] > spans[:, 0]  # a document without a token is none
    files["tokens"].write(encoded.ids.data)
    files["documents"].write(spans[has_tokens].astype(np.int64).tobytes())
    files["sizes"].write(sizes[has_tokens].astype(np.int64).tobytes())
    if encoded.sentences is not None:
        stop = base + np.cumsum(encoded.sentences)
        pairs = np.stack([stop - encoded.sentences, stop], axis=1)
        files["sentences"].write(pairs.astype(np.int64).tobytes())
    journal["total"] = base + len(encoded.ids)
    journal["part"], journal["piece"] = batch.part, batch.piece


def _save_journal(half: Path, files: Mapping[str, IO[bytes]], journal: dict[str, int]) -> None:
    for name, file in files.items():
        file.flush()
        os.fsync(file.fileno())
        journal[name] = file.tell()
    write_file(half / "journal.json", json.dumps(journal))


def _remove_stale(folder: Path) -> None:
    """Remove half-built caches that nobody resumed for a week."""
    for path in folder.glob(".*.half"):
        journal = path / "journal.json"
        touched = journal if journal.is_file() else path
        if time.time() - touched.stat().st_mtime > STALE_SECONDS:
            shutil.rmtree(path, ignore_errors=True)
