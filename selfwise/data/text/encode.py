"""Pieces of documents to token ids, in several processes."""

import multiprocessing
import os
import sys
import threading
import time
from bisect import bisect
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from selfwise.core.parallel import count_cpus, explain_worker_death
from selfwise.data.text.documents import CorpusPiece
from selfwise.data.text.sentences import split_sentences
from selfwise.tokenizers.tokenizer import Tokenizer

CHARACTERS_PER_BATCH = 2**20  # characters that are encoded together
MIN_POOL_BYTES = 2**22  # bytes of text; below this, starting processes takes longer than the work


class PieceBatch(NamedTuple):
    """Pieces that follow each other, and where reading stood after the last."""

    texts: list[str]
    last: list[bool]
    part: int
    piece: int  # how many pieces of this part are done
    done: int


class EncodedPieces(NamedTuple):
    """The tokens of a batch of p pieces."""

    ids: np.ndarray  # (t,), uint16 or uint32
    tokens: np.ndarray  # int64 (p,), how many each piece has
    sizes: np.ndarray  # int64 (p, 2), characters and bytes of each piece
    sentences: np.ndarray | None  # int64 (s,), how many tokens each sentence has; none has zero


@dataclass(frozen=True)
class EncodePieces:
    """The job of a process: texts -> what the cache keeps of them."""

    tokenizer: Tokenizer
    dtype: str
    language: str | None  # None: without sentences

    def __call__(self, texts: list[str]) -> EncodedPieces:
        sizes = np.array([(len(t), _utf8_size(t)) for t in texts], np.int64).reshape(-1, 2)
        if self.language is None:
            ids, tokens = self.tokenizer.encode_flat(texts)
            return EncodedPieces(ids.astype(self.dtype), tokens, sizes, None)
        sentences_by_text = [split_sentences(text, self.language) for text in texts]
        per_text = np.cumsum([0, *map(len, sentences_by_text)])
        ids, counts = self.tokenizer.encode_flat(
            [sentence for sentences in sentences_by_text for sentence in sentences]
        )
        tokens = np.diff(np.concatenate([[0], np.cumsum(counts)])[per_text])
        return EncodedPieces(ids.astype(self.dtype), tokens, sizes, counts[counts > 0])


def batch_pieces(
    pieces: Iterable[CorpusPiece], skip: int, first_parts: Sequence[int] = (0,)
) -> Iterator[PieceBatch]:
    """Yield pieces in batches of about a mebibyte of text, without the first `skip` of the first
    part.

    A batch ends where a source ends; `first_parts` is the first part of each source.
    """
    texts: list[str] = []
    last: list[bool] = []
    size, part, number, first, done = 0, -1, 0, None, 0
    for piece in pieces:
        first = piece.part if first is None else first
        if texts and bisect(first_parts, piece.part) > bisect(first_parts, part):
            yield PieceBatch(texts, last, part, number, done)
            texts, last, size = [], [], 0
        number = number + 1 if piece.part == part else 1
        part = piece.part
        if part == first and number <= skip:
            continue
        texts.append(piece.text)
        last.append(piece.last)
        size += len(piece.text)
        done = piece.done
        if size >= CHARACTERS_PER_BATCH:
            yield PieceBatch(texts, last, part, number, piece.done)
            texts, last, size = [], [], 0
    if texts:
        yield PieceBatch(texts, last, part, number, done)


def encode_all(
    job: EncodePieces, todo: Iterable[PieceBatch], *, workers: int | None, size: int
) -> Iterator[tuple[PieceBatch, EncodedPieces]]:
    """Yield every batch with what became of it, in order; only a few are held at a time.

    `size`: about how many bytes of text there are in all.
    """
    workers = count_cpus() if workers is None else workers
    if workers <= 1 or size < MIN_POOL_BYTES:
        for batch in todo:
            yield batch, job(batch.texts)
        return
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with (
        explain_worker_death(),
        ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(job,)) as pool,
    ):
        waiting: deque[tuple[PieceBatch, Future[EncodedPieces]]] = deque()
        try:
            for batch in todo:
                waiting.append((batch, pool.submit(_encode_in_worker, batch.texts)))
                if len(waiting) > workers + 1:
                    batch, result = waiting.popleft()
                    yield batch, result.result()
            while waiting:
                batch, result = waiting.popleft()
                yield batch, result.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _utf8_size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


_job: EncodePieces | None = None  # in a worker: what it was started for


def _start_worker(job: EncodePieces) -> None:
    global _job
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _job = job
    threading.Thread(target=_exit_with_parent, args=(os.getppid(),), daemon=True).start()


def _exit_with_parent(parent: int) -> None:
    """A worker whose parent was killed would wait for work forever."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _encode_in_worker(texts: list[str]) -> EncodedPieces:
    assert _job is not None
    return _job(texts)
