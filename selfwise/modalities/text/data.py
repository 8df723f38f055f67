"""The documents of a run with their tokenizer, and the held-out text."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor, nn

from selfwise.core.config_class import spell_option
from selfwise.core.data_info import SourceInfo, TextInfo
from selfwise.core.own_files import make_folder
from selfwise.core.progress import format_count, print_progress, report_tenths
from selfwise.core.types import RowSampler, Vocabulary
from selfwise.data.text.batches import TextSource
from selfwise.data.text.corpus import Corpus, open_corpus
from selfwise.data.text.documents import Documents, TextList
from selfwise.data.text.mixture import count_tokens, divide_tokens, list_sources, split_corpus
from selfwise.evaluation.monitors.held_out_loss import HeldOutLoss, sample_text_batches
from selfwise.methods import Method
from selfwise.methods.needs import TOKEN_COUNTS, FromFacts
from selfwise.modalities.earlier_run import Record
from selfwise.modalities.modality import Steps
from selfwise.modalities.text.document_checks import check_documents
from selfwise.modalities.text.token_table import TOKENIZER, FirstTokens
from selfwise.modalities.trial_data import TrialData
from selfwise.targets.tensor_file import load_tensors, save_tensors
from selfwise.tokenizers.tokenizer import Tokenizer
from selfwise.training.config import ResolvedTraining
from selfwise.training.loop import Probe

FOLDER = TOKENIZER  # in the run folder
COUNTS_FILE = "token_counts.safetensors"  # in the run folder, if the method needs the counts
TRIAL_TOKENS = 2**14  # equal tokens and masks in all trials, so fewer than a run measures suffice
MAX_PATH = 255  # characters; a longer text is not looked up as a path
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
    weights: Sequence[float] | None = None  # of several sources
    first_tokens: FirstTokens | None = None  # where the token table comes from
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
        lines = self._describe_sources()
        held = f", {info.held_out_tokens:,} of them held out" if info.held_out_tokens else ""
        lines += [
            f"{format_count(info.documents, 'document')} with {info.tokens:,} tokens{held}; "
            f"{format_count(info.examples, 'row')} of {info.length} tokens in an epoch",
            f"tokenizer {self.tokenizer_name} with {self.tokenizer.vocabulary.size:,} tokens",
            *([f"token table from {self.first_tokens.where}"] if self.first_tokens else []),
        ]
        skipped = (part.left_out for part in self.documents.sources or [self.documents])
        return lines + [f"skipped: {text.partition(': ')[2] or text}" for text in skipped if text]

    def _describe_sources(self) -> list[str]:
        """Return a line on each of several sources: its size, and its part of an epoch."""
        sources = self.documents.sources
        if not sources or self.trained is None:
            return []
        each = count_source_tokens(self.trained)
        in_epoch = divide_tokens(self.trained, self.weights) if self.weights else each
        return [
            f"{source.where}: {format_count(info.documents, 'document')} with {info.tokens:,} "
            f"tokens; {tokens / sum(in_epoch):.1%} of an epoch, {tokens / size:.3g} passes over it"
            for source, info, tokens, size in zip(sources, self.info.sources, in_epoch, each)
        ]

    def adopt(self, earlier: Record) -> None:
        """Published tables of tokens may have more rows than their tokenizer has tokens."""
        self.info = self.info.replace(vocab=max(self.info.vocab, getattr(earlier.info, "vocab", 0)))

    def set_first_weights(self, encoder: nn.Module) -> None:
        """Copy the token table of the run in `init_tokens`, if there is one."""
        if self.first_tokens is not None:
            self.first_tokens.copy(encoder, self.tokenizer)

    def source(self, method: Method, *, batch_size: int, seed: int) -> TextSource:
        corpus = self._open_corpus(sentences=draw_of(method).needs_sentences)
        assert self.trained is not None
        check_documents(self.trained, self.held_out, method)
        self._check_sources(method)
        source = self._rows(
            self.trained, method, batch_size=batch_size, seed=seed, weights=self.weights or ()
        )
        self.info = self.info.replace(
            examples=source.plan(0).size,
            fingerprint=corpus.fingerprint,
            documents=len(corpus.documents),
            tokens=corpus.size,
            held_out_tokens=self.held_out.size if self.held_out else 0,
            bytes_per_token=round(corpus.bytes / max(corpus.size, 1), 4),
            unigram_entropy=round((self.held_out or corpus).unigram_entropy(), 4),
            sources=describe_sources(self.documents, corpus),
        )
        return source

    def _check_sources(self, method: Method) -> None:
        """Raise ValueError for a source that the weights give less than a row of an epoch."""
        if not self.weights or self.trained is None:
            return
        rows, tokens = list_sources(self.trained), divide_tokens(self.trained, self.weights)
        for source, documents, count in zip(self.documents.sources, rows, tokens):
            if count < self.info.length:
                raise ValueError(
                    f"{spell_option('data_weights')} gives {source.where} {count} tokens of an "
                    f"epoch, which is less than a row of {self.info.length}: give it a higher "
                    "weight, or leave it out"
                )
            if documents.stop - documents.start < method.least_documents:
                text = f"{source.where} is one document, so some random pairs come from that one"
                print_progress(text, prefix="warning: ")

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

    def split_for_trials(
        self, source: Steps, method: Method, *, batch_size: int, seed: int
    ) -> TrialData:
        """Use the held-out documents of the run, at most 16,000 tokens of them."""
        if self.held_out is None:
            raise ValueError(
                f"{spell_option('tune')} judges settings on held-out documents, and this run has "
                f"none: give {spell_option('val_fraction')} a value above 0"
            )
        rows = self._rows(self.held_out, method, batch_size=1, seed=seed)
        tokens = min(TRIAL_TOKENS, rows.plan(0).size * rows.length)
        held_out = sample_text_batches(rows, tokens=TRIAL_TOKENS)
        return TrialData(source, held_out, cost=-(-tokens // (rows.length * batch_size)))

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
            self.trained, self.held_out = split_corpus(corpus, self.held_out_share, seed=0)
        else:
            self.trained, self.held_out = corpus, None
        return corpus

    def _rows(
        self,
        corpus: Corpus,
        method: Method,
        *,
        batch_size: int,
        seed: int,
        weights: Sequence[float] = (),
    ) -> TextSource:
        return TextSource(
            corpus,
            draw_of(method),
            batch=batch_size,
            seed=seed,
            length=self.info.length,
            vocabulary=self.tokenizer.vocabulary,
            weights=weights,
        )


def check_weights(documents: Documents, weights: Sequence[float] | None) -> None:
    """Raise ValueError unless there is one weight for each source."""
    count = len(documents.sources) or 1
    if weights is None or len(weights) == count:
        return
    advice = "give one weight for each source, in the order of the sources"
    if isinstance(documents.parts[0], TextList) and count == 1:
        advice = "a list of str is one source of documents; give several paths as a list of Path"
    raise ValueError(
        f"{spell_option('data_weights')} has {format_count(len(weights), 'number')} and "
        f"{spell_option('data')} has {format_count(count, 'source')}: {advice}"
    )


def warn_of_paths(data: object) -> None:
    """Warn if all documents in a list of str are names of files or folders."""
    if isinstance(data, list | tuple) and data and all(map(_is_existing_path, data)):
        print_progress(
            "warning: each str in this list is read as a document, and all are names of files or "
            "folders; to read these, give a list of Path"
        )


def _is_existing_path(text: object) -> bool:
    if not isinstance(text, str) or len(text) > MAX_PATH or "\0" in text:
        return False
    return os.path.exists(text)


def count_source_tokens(corpus: Corpus) -> list[int]:
    """Return the tokens of each source."""
    return [count_tokens(corpus.documents[rows]) for rows in list_sources(corpus)]


def describe_sources(documents: Documents, corpus: Corpus) -> tuple[SourceInfo, ...]:
    """Return the facts about each of several sources that run.yaml records."""
    if not documents.sources:
        return ()
    sources = zip(documents.sources, list_sources(corpus), count_source_tokens(corpus))
    return tuple(
        SourceInfo(fingerprint=source.fingerprint, documents=rows.stop - rows.start, tokens=tokens)
        for source, rows, tokens in sources
    )


def find_tokenizer(name: str) -> str:
    """Return the place of the tokenizer in a run folder, and any other name unchanged."""
    folder = Path(name).expanduser() / FOLDER
    return str(folder) if (folder / "tokenizer.json").is_file() else name


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write the tokenizer into a run folder."""
    make_folder(folder / FOLDER)
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


def _format_reading(done: int, total: int) -> str:
    return f"reading: {done / 2**20:,.0f} of {total / 2**20:,.0f} MiB"
