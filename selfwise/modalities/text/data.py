"""The documents of a run with their tokenizer, and the held-out text."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from selfwise.core.data_info import TextInfo
from selfwise.core.progress import format_count, print_progress, report_tenths
from selfwise.core.types import RowSampler, Vocabulary
from selfwise.data.text.batches import TextSource
from selfwise.data.text.corpus import Corpus, open_corpus
from selfwise.data.text.documents import Documents
from selfwise.evaluation.monitors.held_out_loss import HeldOutLoss, sample_text_batches
from selfwise.methods import Method
from selfwise.methods.needs import TOKEN_COUNTS, FromFacts
from selfwise.modalities.modality import Record
from selfwise.targets.tensor_file import load_tensors, save_tensors
from selfwise.tokenizers.tokenizer import Tokenizer
from selfwise.training.config import ResolvedTraining
from selfwise.training.loop import Probe

FOLDER = "tokenizer"  # in the run folder
COUNTS_FILE = "token_counts.safetensors"  # in the run folder, if the method needs the counts
PROGRESS_FROM = 2**24  # reading more bytes than this reports its progress


@dataclass(frozen=True)
class TextFacts:
    """The facts about documents in a run folder, with their tokenizer."""

    info: TextInfo
    tokenizer: Tokenizer
    folder: Path

    @property
    def vocabulary(self) -> Vocabulary:
        return pad_vocabulary(self.tokenizer.vocabulary, self.info.vocab)

    @cached_property
    def token_counts(self) -> Int64[Tensor, "v"]:
        """How often each token occurs in the training documents.

        Raises ValueError if the run has not recorded it.
        """
        return load_tensors(self.folder / COUNTS_FILE, "count of its tokens")[0]["counts"]


@dataclass
class OpenText:
    """The corpus of a run, with its tokenizer."""

    documents: Documents
    tokenizer: Tokenizer
    info: TextInfo
    held_out_share: float
    batch_tokens: int
    method: type[Method]
    tokenizer_name: str  # a kind or a path, as in the options
    trained: Corpus | None = None  # set by `_open_corpus`, like the next
    held_out: Corpus | None = None
    about: Mapping[str, Mapping[str, object]] = field(default_factory=lambda: MappingProxyType({}))

    workers = 0  # gathering rows from a memory map is faster than a process

    @property
    def vocabulary(self) -> Vocabulary:
        return pad_vocabulary(self.tokenizer.vocabulary, self.info.vocab)

    @cached_property
    def token_counts(self) -> Int64[Tensor, "v"]:
        """How often each token occurs in the training documents."""
        self._open_corpus(sentences=False)
        assert self.trained is not None
        counts = self.trained.counts()
        return torch.from_numpy(np.pad(counts, (0, self.info.vocab - len(counts))))

    @property
    def inputs(self) -> Mapping[str, object]:
        return make_inputs(self.method, self)

    @property
    def resolved(self) -> Mapping[str, object]:
        return {"tokenizer": self.tokenizer_name}

    @property
    def batch(self) -> int | None:
        """Rows in the token budget, or None without a budget."""
        return self.batch_tokens // self.info.length or None

    def describe(self) -> list[str]:
        info = self.info
        held = f", {info.held_out_tokens:,} of them held out" if info.held_out_tokens else ""
        lines = [
            f"{format_count(info.documents, 'document')} with {info.tokens:,} tokens{held}; "
            f"{format_count(info.examples, 'row')} of {info.length} tokens in an epoch",
            f"tokenizer {self.tokenizer_name} with {self.tokenizer.vocabulary.size:,} tokens",
        ]
        left_out = self.documents.left_out
        return lines + ([f"skipped: {left_out.partition(': ')[2] or left_out}"] if left_out else [])

    def adopt(self, earlier: Record) -> None:
        """Published tables of tokens may have more rows than their tokenizer has tokens."""
        self.info = self.info.replace(vocab=max(self.info.vocab, getattr(earlier.info, "vocab", 0)))

    def source(self, method: Method, *, batch_size: int, seed: int) -> TextSource:
        corpus = self._open_corpus(sentences=draw_of(method).needs_sentences)
        assert self.trained is not None
        _check_documents(self.trained, self.held_out, method)
        source = self._rows(self.trained, method, batch_size=batch_size, seed=seed)
        self.info = self.info.replace(
            examples=source.plan(0).size,
            fingerprint=corpus.fingerprint,
            documents=len(corpus.documents),
            tokens=corpus.size,
            held_out_tokens=self.held_out.size if self.held_out else 0,
            bytes_per_token=round(corpus.bytes / max(corpus.size, 1), 4),
            unigram_entropy=round((self.held_out or corpus).unigram_entropy(), 4),
        )
        return source

    def probes(self, method: Method, training: ResolvedTraining, *, seed: int) -> list[Probe]:
        if training.knn_every:
            raise ValueError(
                "--knn-every is for images with labels; a run on text measures held-out documents "
                "every --monitor-every steps"
            )
        if not training.monitor_every or self.held_out is None:
            return []
        try:
            rows = self._rows(self.held_out, method, batch_size=1, seed=seed)
        except ValueError as error:
            print_progress(f"warning: no held-out loss: {error}")
            return []
        return [HeldOutLoss(sample_text_batches(rows), seed=seed, every=training.monitor_every)]

    def join(self, folder: Path) -> None:
        """Nothing to prepare: reading rows writes nothing."""

    def save(self, folder: Path) -> None:
        save_tokenizer(self.tokenizer, folder)
        if TOKEN_COUNTS in self.method.needs.values():
            save_tensors(folder / COUNTS_FILE, {"counts": self.token_counts}, {})

    def _open_corpus(self, *, sentences: bool) -> Corpus:
        """Read the documents, and set what is trained on and what is held out."""
        corpus = open_corpus(
            self.documents,
            self.tokenizer,
            sentences=sentences,
            progress=report_tenths(_format_reading, min_total=PROGRESS_FROM),
        )
        if self.held_out_share:
            # depends only on the data: runs with different seeds are judged on one held-out text
            self.trained, self.held_out = corpus.split(self.held_out_share, seed=0)
        else:
            self.trained, self.held_out = corpus, None
        return corpus

    def _rows(self, corpus: Corpus, method: Method, *, batch_size: int, seed: int) -> TextSource:
        return TextSource(
            corpus,
            draw_of(method),
            batch=batch_size,
            seed=seed,
            length=self.info.length,
            vocabulary=self.tokenizer.vocabulary,
        )


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write the tokenizer into a run folder."""
    (folder / FOLDER).mkdir(exist_ok=True)
    tokenizer.save(folder / FOLDER)


def make_inputs(method: type[Method], facts: "TextFacts | OpenText") -> dict[str, object]:
    """Return the keyword arguments that a method needs from its documents."""
    inputs: dict[str, object] = {}
    for name, need in method.needs.items():
        if not isinstance(need, FromFacts):
            raise ValueError(f"{method.__name__} needs {name}, which documents do not have")
        inputs[name] = need.function(facts)
    return inputs


def pad_vocabulary(vocabulary: Vocabulary, size: int) -> Vocabulary:
    """Return a vocabulary of `size` ids; ids that the tokenizer never produces become special.

    Published tables of tokens may have more rows than the tokenizer has tokens.
    """
    extra = range(vocabulary.size, size)
    starts = torch.cat([vocabulary.starts, torch.ones(len(extra), dtype=torch.bool)])
    return vocabulary._replace(size=size, starts=starts, special=(*vocabulary.special, *extra))


def draw_of(method: Method) -> RowSampler:
    """Return a method's sampler of rows of documents."""
    assert isinstance(method.draw, RowSampler), "a method on text has a row sampler"
    return method.draw


def _check_documents(trained: Corpus, held_out: Corpus | None, method: Method) -> None:
    """Raise ValueError if a method needs several documents and there are fewer."""
    min_documents = method.least_documents
    if len(trained.documents) < min_documents:
        raise ValueError(
            f"{type(method).__name__} needs at least {min_documents} documents and there is "
            f"{len(trained.documents)} to train on: --documents blank splits a file at blank "
            "lines, --documents line at every line; albert needs only one document for its pairs"
        )
    if held_out is not None and len(held_out.documents) < min_documents:
        text = "the held-out text is one document, so its random pairs come from that document"
        print_progress(text, prefix="warning: ")


def _format_reading(done: int, total: int) -> str:
    return f"reading: {done / 2**20:,.0f} of {total / 2**20:,.0f} MiB"
