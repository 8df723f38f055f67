"""Text: corpora and tokenizers, transformers, bags of words as the baseline."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32

from selfwise.core.types import RowSampler
from selfwise.data.text.batches import TextSource
from selfwise.data.text.corpus import Corpus, open_corpus
from selfwise.data.text.documents import Documents, open_documents
from selfwise.data.text.labelled import Texts, open_texts
from selfwise.distributed.process_group import SINGLE_PROCESS, DistributedEnv
from selfwise.encoders import text as encoders
from selfwise.encoders.text_presets import resolve_text_shape
from selfwise.evaluation.features import image as image_features
from selfwise.evaluation.features import text as reading
from selfwise.evaluation.features.text_windows import (
    check_window,
    describe_truncation,
    split_into_windows,
)
from selfwise.evaluation.monitors.held_out_loss import HeldOutLoss, sample_text_batches
from selfwise.evaluation.probes.baselines import FeatureSplit
from selfwise.methods import Method
from selfwise.modalities.image import where
from selfwise.modalities.modality import OpenRun, Trained
from selfwise.tokenizers.tokenizer import KINDS, Tokenizer, open_tokenizer
from selfwise.training.config import Resolved
from selfwise.training.loop import Probe

ENCODER_HELP = """
  --encoder FAMILY-SIZE bert, roberta, albert, gpt or gpt1; tiny, mini, small, medium, base, large
  --encoder.NAME VALUE  any number of it: depth, dim, heads, ff, length, dropout, pooling, ...
"""

Embed = Callable[[Any, Texts], Float32[np.ndarray, "n d"]]
FOLDER = "tokenizer"  # in the run folder
LENGTH = 128
WINDOW = "mean"  # how probes and embeddings read texts that are longer
UNTRAINED = (0, 1, 2)  # seeds of the twins


@dataclass
class TextData:
    """The corpus of a run, with its tokenizer."""

    documents: Documents
    kept: Tokenizer
    told: dict[str, Any]
    found: dict[str, Any] = field(default_factory=dict)
    trained: Corpus | None = None  # known after `source`, as is
    held_out: Corpus | None = None

    @property
    def batch(self) -> int | None:
        """Rows that the budget of tokens makes, or None where there is no budget."""
        return self.told["batch_tokens"] // self.told["length"] or None

    workers = 0  # rows are gathered from a memory map, faster than a process is asked

    def follow(self, found: Mapping[str, Any]) -> None:
        """Published tables of tokens may have more rows than their tokenizer has tokens."""
        self.found["vocab"] = max(self.found["vocab"], found["vocab"])

    def source(self, method: Method, *, batch: int, seed: int) -> TextSource:
        told = _draw(method).needs_sentences
        progress = _progress("reading")
        corpus = open_corpus(self.documents, self.kept, sentences=told, progress=progress)
        share = self.told["held_out"]
        # by the data alone: a run from another seed is judged on the same text
        parts = corpus.split(share, seed=0) if share else (corpus, None)
        self.trained, self.held_out = parts
        _check_documents(self.trained, self.held_out, method)
        source = self._rows(self.trained, method, batch=batch, seed=seed)
        self.found |= {
            "examples": source.plan(0).size,
            "fingerprint": corpus.fingerprint,
            "documents": len(corpus.documents),
            "tokens": corpus.size,
            "held_out_tokens": self.held_out.size if self.held_out else 0,
            "bytes_per_token": round(corpus.bytes / max(corpus.size, 1), 4),
            "unigram_entropy": round((self.held_out or corpus).unigram_entropy(), 4),
        }
        return source

    def probes(self, method: Method, training: Resolved, *, seed: int) -> list[Probe]:
        if training.probe_every:
            raise ValueError(
                "--probe-every is for images with labels; text is watched on held-out documents "
                "every --health-every steps"
            )
        if not training.health_every or self.held_out is None:
            return []
        try:
            rows = self._rows(self.held_out, method, batch=1, seed=seed)
        except ValueError as error:
            print(f"warning: no held-out loss: {error}", file=sys.stderr)
            return []
        return [HeldOutLoss(sample_text_batches(rows), seed=seed, every=training.health_every)]

    def join(self, folder: Path) -> None:
        """Nothing is written while rows are read."""

    def keep(self, folder: Path) -> None:
        keep(self.kept, folder)

    def _rows(self, corpus: Corpus, method: Method, *, batch: int, seed: int) -> TextSource:
        told: dict[str, Any] = {"length": self.found["length"], "vocabulary": self.kept.vocabulary}
        return TextSource(corpus, _draw(method), batch=batch, seed=seed, **told)


def opened(
    data: Any,
    kind: type[Method],
    *,
    open_run: OpenRun,
    folder: Path | None = None,
    encoder: Mapping[str, Any] | None = None,
    device: str = "cpu",
    tokenizer: str = "",
    lower: bool = False,
    length: int = LENGTH,
    field: str = "",
    documents: str = "auto",
    held_out: float = 0.05,
    batch_tokens: int = 0,
) -> TextData:
    """The corpus to train on.

    Args:
        data: a file or folder of txt, jsonl, json, csv, tsv, parquet or arrow, also .gz or .zst; or
            python-docs, the documentation inside Python; or hub:NAME, a data set of Hugging Face;
            in Python also a sequence of strings.
        tokenizer: wordpiece, bpe, unigram or chars, to be trained on the corpus, with a number of
            tokens as in wordpiece:30000 (by default 8,192, and all characters); or a file or
            folder: tokenizer.json, vocab.txt, vocab.json with merges.txt, a SentencePiece .model;
            by default the kind that goes with the method.
        lower: train the tokenizer on lower-cased text.
        length: tokens in a row, special tokens included.
        field: the column that holds the text, in jsonl, csv, tsv and parquet.
        documents: what a document is in a txt file: file, blank (blank lines part them) or line;
            auto is file.
        held_out: share of the documents, or of the only one, that is kept out to measure the loss.
        batch_tokens: instead of batch: tokens in a step, in as many whole rows as that makes.
    """
    if not 0 <= held_out < 1:
        raise ValueError(f"--held-out must be at least 0 and below 1, got {held_out:g}")
    if length < 8:
        raise ValueError(f"--length must be at least 8 tokens, got {length}")
    if batch_tokens and batch_tokens < length:
        raise ValueError(f"--batch-tokens {batch_tokens} is less than a row of {length} tokens")
    found = open_documents(data, field=field, documents=documents)
    if found.left_out:
        _say("data")(found.left_out)
    if folder is not None:
        known = kept(folder, open_run)
    else:
        told = tokenizer or kind.default_tokenizer
        known = open_tokenizer(told, lambda: found, lower=lower, progress=_say("tokenizer"))
    options: dict[str, Any] = {
        "tokenizer": _named(tokenizer or kind.default_tokenizer),
        "lower": lower,
        "length": length,
        "field": field,
        "documents": documents,
        "held_out": held_out,
        "batch_tokens": batch_tokens,
    }
    return TextData(found, known, options, {"vocab": known.vocabulary.size, "length": length})


def _named(tokenizer: str) -> str:
    """A kind as it is, a path so that it holds from any folder."""
    return tokenizer if tokenizer.partition(":")[0] in KINDS else str(Path(tokenizer).resolve())


def kept(folder: Path, open_run: OpenRun) -> Tokenizer:
    """The tokenizer of a run folder."""
    return Tokenizer.load(folder / FOLDER)


def keep(tokenizer: Tokenizer, folder: Path) -> None:
    """Write the tokenizer into a run folder."""
    (folder / FOLDER).mkdir(exist_ok=True)
    tokenizer.save(folder / FOLDER)


def supplied(found: Mapping[str, Any], kept: Tokenizer) -> dict[str, Any]:
    """What a method on text may ask for.

    Published tables of tokens may have more rows than the tokenizer has tokens; these stand for
    nothing.
    """
    vocabulary, size = kept.vocabulary, found["vocab"]
    more = range(vocabulary.size, size)
    starts = torch.cat([vocabulary.starts, torch.ones(len(more), dtype=torch.bool)])
    special = (*vocabulary.special, *more)
    padded = vocabulary._replace(size=size, starts=starts, special=special)
    return {"vocab": padded, "length": found["length"]}


def encoder(settings: Mapping[str, Any], kept: Any, seed: int) -> Any:
    """The encoder with random weights that are a function of the seed."""
    found, told = settings["found"], dict(settings["options"]["encoder"])
    name, asked = told.pop("name"), found["length"]
    if "length" not in told and resolve_text_shape(name, told).length < asked:
        told["length"] = asked
    built = encoders.build_text_encoder(name, vocab=found["vocab"], seed=seed, **told)
    if built.length < asked:
        raise ValueError(
            f"--length {asked} is more than the {built.length} positions of the encoder: give "
            f"--encoder.length {asked}, or a smaller --length"
        )
    return built


def inherited(start: Path) -> dict[str, Any]:
    """Options of reading that go with the weights of an earlier run: its tokenizer."""
    return {"tokenizer": str(start / FOLDER)}


def unpublished(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The same settings: published weights come in by `selfwise import`, as a run."""
    return dict(settings)


def fresh(settings: Mapping[str, Any], kept: Any, seed: int) -> Any:
    """The untrained twin."""
    return encoder(settings, kept, seed)


def examples(run: Trained, data: Any, *, labelled: bool = False, **options: Any) -> Texts:
    """Texts for a probe or to be embedded."""
    if options.pop("skip_broken", False):
        raise ValueError("--skip-broken is for images; a text file that cannot be read is an error")
    return open_texts(data, labelled=labelled, **options)


def embedder(
    run: Trained,
    *,
    layer: int | None,
    device: str,
    pooling: str = "",
    window: str = "",
    env: DistributedEnv = SINGLE_PROCESS,
) -> Embed:
    """Features of any encoder of this shape, kept in the run folder by what they depend on.

    The positions behind `length` were never trained, so longer texts are read in windows.
    """
    place, precision = where(run, device)
    tokenizer, length = run.kept, run.config["found"]["length"]
    reading.check_pooling(pooling)
    check_window(window)
    window = window or WINDOW

    def compute(encoder: Any, texts: Texts) -> Float32[np.ndarray, "n d"]:
        how = pooling or encoder.pooling
        known = (image_features.compute_checksum(encoder), texts.fingerprint, tokenizer.fingerprint)
        key = (*known, length, layer, how, window, precision)
        extract = partial(
            reading.extract_features, encoder, texts, tokenizer, length=length, layer=layer
        )
        extract = partial(extract, window=window)
        extract = partial(extract, pooling=how, device=place, precision=precision, env=env)
        return image_features.load_or_compute(run.folder / "features", key, extract, env=env)

    return compute


def unread(run: Trained, texts: Texts, window: str) -> list[str]:
    """A sentence on what of the texts no window has; none if all of it is read."""
    length = run.config["found"]["length"]
    check_window(window)
    found = split_into_windows(texts, run.kept, length=length, window=window or WINDOW)
    return describe_truncation(found, length)


def twins(
    run: Trained, known: Texts, asked: Texts, *, embed: Embed, device: str
) -> list[FeatureSplit]:
    """Features of three untrained encoders."""
    fresh = [run.fresh(seed) for seed in UNTRAINED]
    return [FeatureSplit(embed(one, known), embed(one, asked)) for one in fresh]


def raw(run: Trained, known: Texts, asked: Texts) -> FeatureSplit:
    """Bags of words."""
    return reading.fit_bag_of_words(known, asked)


def _check_documents(trained: Corpus, held_out: Corpus | None, method: Method) -> None:
    """Raises ValueError where pairs of documents are needed and there is one."""
    least = method.least_documents
    if len(trained.documents) < least:
        raise ValueError(
            f"{type(method).__name__} needs at least {least} documents and there is "
            f"{len(trained.documents)} to train on: --documents blank parts a file at blank lines, "
            "--documents line at every line; albert takes its pairs from one document"
        )
    if held_out is not None and len(held_out.documents) < least:
        text = "the held-out text is one document, so that its random pairs are no others"
        print(f"warning: {text}", file=sys.stderr, flush=True)


def _draw(method: Method) -> RowSampler:
    assert isinstance(method.draw, RowSampler), "a method on text says how rows are drawn"
    return method.draw


def _say(what: str) -> Callable[[str], None]:
    return lambda text: print(f"{what}: {text}", file=sys.stderr, flush=True)


def _progress(what: str) -> Callable[[int, int], None]:
    """Tells every tenth of a long reading."""
    told = [0]

    def tell(done: int, total: int) -> None:
        tenth = 10 * done // max(total, 1)
        if tenth > told[0] and total > 2**24:
            told[0] = tenth
            print(f"{what}: {done / 2**20:,.0f} of {total / 2**20:,.0f} MiB", file=sys.stderr)

    return tell
