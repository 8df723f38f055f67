"""A corpus as one long row of token ids, memory-mapped, with its documents and sentences."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from selfwise.core.files import cache_dir, digest
from selfwise.core.parallel import Progress
from selfwise.core.rng import shuffle_indices
from selfwise.data.text import sentences
from selfwise.data.text.documents import Documents, open_documents
from selfwise.data.text.encode import EncodePieces
from selfwise.data.text.token_cache import build_token_cache, lock_cache, source_ends
from selfwise.tokenizers.tokenizer import Tokenizer

FORMAT = 1  # to be raised whenever the same text gives other tokens or spans
TOKENS_AT_ONCE = 2**20  # tokens that are counted at a time: 11 MiB, and faster than more of them


@dataclass(frozen=True)
class Corpus:
    """Token ids of a corpus; memory maps travel to other processes by the names of their files."""

    tokens: np.ndarray  # (t,) uint16 or uint32
    documents: np.ndarray  # int64 (d, 2), ascending spans of tokens, none empty
    sentences: np.ndarray | None  # int64 (s, 2), ascending spans, each inside a document
    sizes: np.ndarray  # int64 (d, 2), characters and UTF-8 bytes of each document's text
    fingerprint: str
    source_ends: tuple[int, ...] = ()  # where the tokens of each source end, if there are several

    @property
    def size(self) -> int:
        """Number of tokens in its documents."""
        return int((self.documents[:, 1] - self.documents[:, 0]).sum())

    @property
    def characters(self) -> int:
        """Unicode characters of its text."""
        return int(self.sizes[:, 0].sum())

    @property
    def bytes(self) -> int:
        """Bytes of its text in UTF-8, for bits per byte."""
        return int(self.sizes[:, 1].sum())

    def split(self, share: float, *, seed: int = 0) -> tuple["Corpus", "Corpus"]:
        """(rest, held out). The tokens are shared.

        Documents are held out in a random order that the seed gives, until one would take more
        than `share` of the tokens; at least one is. A single document is cut in two, the last
        `share` held out, at the beginning of a sentence where sentences are known; then characters
        and bytes are divided as the tokens are. `selfwise.data.text.mixture.split_corpus` does so
        for each of several sources.

        Raises ValueError for a share outside 0..1 and for a single token.
        """
        if not 0 < share < 1:
            raise ValueError(f"the held-out fraction must be between 0 and 1, got {share}")
        if len(self.documents) == 1:
            return self._cut_document(share)
        is_held_out = choose_held_out(self.documents[:, 1] - self.documents[:, 0], share, seed)
        name = f"{share} {seed}"
        return self.select(~is_held_out, f"rest {name}"), self.select(
            is_held_out, f"held out {name}"
        )

    def unigram_entropy(self) -> float:
        """Nats per token of a model that knows how often each token occurs, and nothing else."""
        counts = self.counts()
        shares = counts[counts > 0] / counts.sum()
        return float(-(shares * np.log(shares)).sum())

    def counts(self) -> np.ndarray:
        """Return how often each id occurs in its documents, int64 up to the largest id there is."""
        counts = np.zeros(0, np.int64)
        begin, end = int(self.documents[0, 0]), int(self.documents[-1, 1])
        for start in range(begin, end, TOKENS_AT_ONCE):
            stop = min(start + TOKENS_AT_ONCE, end)
            first, last = np.searchsorted(self.documents[:, 1], [start + 1, stop + 1])
            spans = np.clip(self.documents[first : last + 1], start, stop) - start
            inside = np.zeros(stop - start + 1, np.int8)
            np.add.at(inside, spans[:, 0], 1)
            np.add.at(inside, spans[:, 1], -1)
            ids = self.tokens[start:stop][inside.cumsum(dtype=np.int8)[:-1] > 0]
            part = np.bincount(ids, minlength=len(counts))
            part[: len(counts)] += counts
            counts = part
        return counts

    def spans(self, share: slice) -> tuple[np.ndarray, np.ndarray | None]:
        """Following documents, and the sentences in them where sentences are known."""
        documents = self.documents[share]
        if self.sentences is None or not len(documents):
            return documents, self.sentences
        reach = np.searchsorted(self.sentences[:, 0], [documents[0, 0], documents[-1, 1]])
        return documents, self.sentences[slice(*reach.tolist())]

    def select(self, mask: np.ndarray, name: str) -> "Corpus":
        """Return some of the documents, with their sentences; the name is part of the
        fingerprint."""
        inner = None
        if self.sentences is not None:
            owner = np.searchsorted(self.documents[:, 1], self.sentences[:, 0], side="right")
            inner = self.sentences[mask[owner]]
        fingerprint = digest(self.fingerprint, name)
        return replace(
            self,
            documents=self.documents[mask],
            sentences=inner,
            sizes=self.sizes[mask],
            fingerprint=fingerprint,
        )

    def _cut_document(self, share: float) -> tuple["Corpus", "Corpus"]:
        start, stop = map(int, self.documents[0])
        if stop - start < 2:
            raise ValueError("a corpus of a single token cannot be divided")
        at = min(max(start + int((1 - share) * (stop - start)), start + 1), stop - 1)
        if self.sentences is not None and len(self.sentences) > 1:
            begins = self.sentences[1:, 0]
            before = int(np.searchsorted(begins, at, side="right")) - 1
            at = int(begins[max(before, 0)])
        first = np.floor(self.sizes[0] * ((at - start) / (stop - start))).astype(np.int64)
        sizes = {"rest": first, "held out": self.sizes[0] - first}
        spans = {"rest": (start, at), "held out": (at, stop)}
        rest, held_out = (
            replace(
                self,
                documents=np.array([span], np.int64),
                sentences=_clip_spans(self.sentences, *span),
                sizes=sizes[name][None],
                fingerprint=digest(self.fingerprint, f"{name} {share}"),
            )
            for name, span in spans.items()
        )
        return rest, held_out

    def __getstate__(self) -> dict[str, object]:
        return {name: _map_by_name(value) for name, value in vars(self).items()}

    def __setstate__(self, state: dict[str, object]) -> None:
        for name, value in state.items():
            object.__setattr__(
                self, name, value.open() if isinstance(value, MappedArray) else value
            )


@dataclass(frozen=True)
class MappedArray:
    """A file of numbers, mapped: pages are read when they are touched."""

    path: str
    dtype: str
    columns: int = 0

    def open(self) -> np.ndarray:
        """Return a read-only array (n,) or (n, columns)."""
        if not Path(self.path).stat().st_size:
            return np.zeros((0, self.columns), self.dtype)
        flat = np.memmap(self.path, self.dtype, mode="r")
        return flat.reshape(-1, self.columns) if self.columns else flat


def open_corpus(
    data: object,
    tokenizer: Tokenizer,
    *,
    sentences: bool = False,
    field: str = "",
    documents: str = "auto",
    language: str = sentences.LANGUAGE,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Corpus:
    """Return the tokens of a corpus, read once and kept in the user's cache.

    Args:
        data: what `open_documents` takes, or what it gave.
        tokenizer: which tokens; special ones are not among them.
        sentences: find the sentences, too.
        field: the column of a table that holds the text.
        documents: how a text file is divided into documents.
        language: of the sentences; what its abbreviations are.
        workers: processes; by default one for each processor.
        progress: called with (bytes done, bytes in all) while the cache is built.

    Raises ValueError for what `open_documents` refuses, text that cannot be read, an empty corpus,
    a full disk, and a cache with ids that the tokenizer does not have.
    """
    text = data
    if not isinstance(text, Documents):
        text = open_documents(text, field=field, documents=documents)
    size = tokenizer.vocabulary.size
    job = EncodePieces(
        tokenizer, "<u2" if size <= 2**16 else "<u4", language if sentences else None
    )
    name = corpus_key(text, tokenizer, job.language)
    home = cache_dir("text") / name
    corpus = find_corpus(home)
    if corpus is None:
        with lock_cache(home):
            if find_corpus(home) is None:  # or another process was faster
                build_token_cache(home, text, job, workers=workers, progress=progress)
            corpus = find_corpus(home)
    assert corpus is not None, f"{home} was just written"
    if not len(corpus.documents):
        raise ValueError(f"{text.where}: the corpus is empty: its text has no tokens")
    check_ids(corpus, tokenizer, f"{text.where} (cache {home})")
    return corpus


def corpus_key(documents: Documents, tokenizer: Tokenizer, language: str | None) -> str:
    """Changes with the text, how it is divided, and how it becomes tokens."""
    options = f"{FORMAT} {language}"
    return digest(options, documents.fingerprint, tokenizer.fingerprint)


def find_corpus(home: Path) -> Corpus | None:
    """The finished cache in a folder, if there is one and its files are as long as they should be.

    A folder gets its name only when it is complete; sizes are checked for disks that lost some.
    """
    if not (home / "meta.json").is_file():
        return None
    meta = json.loads((home / "meta.json").read_text(encoding="utf-8"))
    names = ("tokens", "documents", "sizes", "sentences")
    for name in names:
        path = home / name
        if not path.is_file() or path.stat().st_size != meta[name]:
            raise ValueError(f"{path} is damaged; remove {home}, and selfwise will build it again")
    spans = (MappedArray(str(home / name), "<i8", 2).open() for name in names[1:])
    documents, sizes, inner = spans
    tokens = MappedArray(str(home / "tokens"), meta["dtype"]).open()
    known = inner if meta["sentences"] else None
    return Corpus(tokens, documents, known, sizes, home.name, source_ends(meta))


def check_ids(corpus: Corpus, tokenizer: Tokenizer, where: str) -> None:
    """Raise ValueError if there are ids beyond the tokenizer's vocabulary."""
    size = tokenizer.vocabulary.size
    largest = max(int(part.max()) for part in _read_blocks(corpus.tokens))
    if largest >= size:
        raise ValueError(
            f"{where}: the tokens come from another tokenizer: they contain id {largest:,}, and "
            f"this vocabulary has {size:,}"
        )


def _read_blocks(tokens: np.ndarray) -> Iterator[np.ndarray]:
    """Yield all tokens, some at a time. What is read of a map would count as memory of this
    process."""
    mapped = tokens.filename if isinstance(tokens, np.memmap) else None
    for start in range(0, len(tokens), TOKENS_AT_ONCE):
        count = min(TOKENS_AT_ONCE, len(tokens) - start)
        if mapped is None:
            yield tokens[start : start + count]
        else:
            yield np.fromfile(mapped, tokens.dtype, count, offset=start * tokens.itemsize)


def choose_held_out(lengths: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Return which documents are held out: bool (d,), at least one and not all."""
    room = share * lengths.sum()
    is_held_out = np.zeros(len(lengths), dtype=bool)
    order = shuffle_indices(len(lengths), seed, "held-out documents")
    fits = order[lengths[order] <= room]
    if not len(fits):
        fits = np.array([np.argmin(lengths)])
        room = lengths[fits[0]]
    within = np.cumsum(lengths[fits]) <= room
    is_held_out[fits[: len(fits) if within.all() else int(np.argmin(within))]] = True
    return is_held_out


def _clip_spans(spans: np.ndarray | None, start: int, stop: int) -> np.ndarray | None:
    """The spans of a part, cut at its ends."""
    if spans is None:
        return None
    clipped = np.clip(spans, start, stop)
    return clipped[clipped[:, 1] > clipped[:, 0]]


def _map_by_name(value: object) -> object:
    """Return a memory map of a whole file as its name; anything else as it is."""
    if not isinstance(value, np.memmap) or value.filename is None:
        return value
    whole = MappedArray(str(value.filename), value.dtype.str, 2 if value.ndim == 2 else 0)
    return whole if value.nbytes == Path(whole.path).stat().st_size else np.array(value)
