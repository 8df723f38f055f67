"""Measure the loss of a language model on a text."""

import math
from pathlib import Path
from typing import Annotated

import numpy as np

from selfwise.core.data_sources import SEVERAL
from selfwise.core.device import resolve_device
from selfwise.core.files import cache_dir
from selfwise.core.memory_limit import takes_memory_limit
from selfwise.core.plugins import FROM_PYTHON
from selfwise.core.progress import print_progress
from selfwise.core.types import RowSampler, Term
from selfwise.data.text.batches import TextSource
from selfwise.data.text.corpus import Corpus, find_corpus, open_corpus
from selfwise.data.text.corpus_overlap import measure_overlap
from selfwise.data.text.documents import open_documents
from selfwise.data.text.mixture import split_corpus
from selfwise.evaluation.features.image import evaluation_mode
from selfwise.evaluation.monitors.held_out_loss import HeldOutLoss, sample_text_batches
from selfwise.evaluation.scores.kneser_ney import KneserNey
from selfwise.runs.names import IMPORTED
from selfwise.runs.open import Run, load
from selfwise.tokenizers.tokenizer import Tokenizer

TRAINING_TEXT = "training_text"  # the fraction of a text that the run was trained on
BITS, NGRAM_BITS = "bits_per_byte", "ngram_bits_per_byte"  # of the model, of the baseline
NGRAM_BYTES = 20_000_000  # of training text that the baseline counts in, at most
MIN_SHARE = (
    0.1  # smallest fraction that is worth a warning; many texts share less, such as a license
)


@takes_memory_limit
def perplexity(
    run: Run | str | Path,
    data: Annotated[object, SEVERAL] = None,
    *,
    text_column: str = "",
    documents: str = "auto",
    seed: int = 0,
    device: str = "auto",
    max_memory: str = "",
) -> dict[str, float]:
    """Measure the loss of a model on text, in nats per token, and the values that follow from it.

    `unigram_entropy` is the loss that the token frequencies of that text alone would reach.
    `training_text` is the fraction of the text that the run was trained on, if it is a tenth or
    more. For a causal model `perplexity` is exp(loss), and `bits_per_byte` does not depend on the
    tokenizer. `ngram_bits_per_byte` is the baseline for it: Kneser-Ney smoothing of 8 bytes on the
    training text, of which it reads at most 20 MB. It is missing if the training text is not in
    the cache.

    Args:
        run: a run or its folder.
        data: text, in any form that `pretrain` takes; by default the text that the run held out.
        text_column: the column that holds the text, in jsonl, csv, tsv and parquet.
        documents: the unit of a document in a txt file: file, blank or line.
        seed: seed of the masks.
        device: cpu, cuda, mps (Apple, not tested) or auto.
        max_memory: most memory for reading one file, as in 4G; by default half of what is free.
    """
    run = run if isinstance(run, Run) else load(run)
    _check_method(run)
    method, tokenizer = run.method, run.tokenizer
    draw = method.draw
    assert isinstance(draw, RowSampler), "a method on text says how rows are drawn"
    if data is None:
        corpus = _open_held_out(run, draw)
    else:
        texts = open_documents(data, field=text_column, documents=documents)
        if texts.left_out:
            print_progress(texts.left_out)
        corpus = open_corpus(texts, tokenizer, sentences=draw.needs_sentences)
    source = TextSource(
        corpus,
        draw,
        vocabulary=tokenizer.vocabulary,
        length=run.record.info.length,
        batch=1,
        seed=seed,
    )
    everything = source.plan(0).size * source.length
    held = HeldOutLoss(sample_text_batches(source, tokens=everything), seed=seed, every=1)
    with evaluation_mode(method, resolve_device(device)):
        terms = held.terms(method)
    values = {name: float(term.mean) for name, term in terms.items()}
    values["unigram_entropy"] = corpus.unigram_entropy()
    if data is not None and (seen := _measure_overlap(run, corpus)) >= MIN_SHARE:
        values[TRAINING_TEXT] = seen
    if run.encoder.causal:  # every token of the text is a target once
        values |= _measure_compression(run, corpus, next(iter(terms.values())))
    return values


def _measure_compression(run: Run, corpus: Corpus, loss: Term) -> dict[str, float]:
    """Return perplexity and bits per byte of a causal model, and of the n-gram model.

    Both are divided by the bytes of the text: of a document that was cut in two these are an
    estimate.
    """
    bits = float(loss.sum) / math.log(2) / corpus.bytes
    values = {"perplexity": math.exp(float(loss.mean)), BITS: bits}
    if (trained := _find_training_text(run)) is not None:
        model = KneserNey(_read_documents(trained, run.tokenizer, limit=NGRAM_BYTES))
        nats = model.total_nats(_read_documents(corpus, run.tokenizer))
        values[NGRAM_BITS] = nats / math.log(2) / corpus.bytes
    return values


def _measure_overlap(run: Run, corpus: Corpus) -> float:
    """Return the fraction of a text that the run was trained on, by the tokens still in the
    cache."""
    if corpus.fingerprint == run.record.info.fingerprint:
        return 1.0
    trained = _find_training_text(run)
    return 0.0 if trained is None else measure_overlap(corpus, trained)


def _find_training_text(run: Run) -> Corpus | None:
    """Return the text that a run was trained on if its tokens are still in the cache."""
    held_out, name = run.record.option("val_fraction"), run.record.info.fingerprint
    trained = find_corpus(cache_dir("text") / name) if name else None
    return split_corpus(trained, held_out)[0] if trained is not None and held_out else trained


def _read_documents(
    corpus: Corpus, tokenizer: Tokenizer, *, limit: float = math.inf
) -> list[bytes]:
    """Return the documents as bytes, with about `limit` bytes at most; the last one is cut."""
    documents, total = list[bytes](), 0
    for start, stop in corpus.documents.tolist():
        if total >= limit:
            break
        stop = int(min(stop, start + limit - total))  # a token has a byte at least
        text = tokenizer.decode(corpus.tokens[start:stop]).encode()
        documents.append(text[: int(min(len(text), limit - total))])
        total += len(documents[-1])
    return documents


def _check_method(run: Run) -> None:
    """Raise ValueError for a run whose method gives text no probability."""
    if run.method.modality != "text":
        raise ValueError(f"{run.folder} is on {run.method.modality}, and has no loss on text")
    if not getattr(run.encoder, "contextual", True):
        raise ValueError(
            f"{run.folder} is a table of word vectors, which gives text no probability; `selfwise "
            f"show {run.folder}` has the loss of its pairs"
        )


def _open_held_out(run: Run, draw: RowSampler) -> Corpus:
    """Open the text that a run held out of its training."""
    data, options = run.record.data, run.record.reading
    if data in (FROM_PYTHON, IMPORTED) or not options.val_fraction:
        raise ValueError(f"{run.folder} held out no text that can be read again; add --data")
    texts = open_documents(run.record.place, field=options.text_column, documents=options.documents)
    corpus = open_corpus(texts, run.tokenizer, sentences=draw.needs_sentences)
    if corpus.fingerprint != run.record.info.fingerprint:
        raise ValueError(
            f"{data} is not the text that {run.folder} was trained on, so the held-out part is "
            "unknown; add --data"
        )
    return split_corpus(corpus, options.val_fraction, seed=0)[1]


def describe_perplexity(values: dict[str, float]) -> str:
    """Describe the measures of `perplexity` in lines, and warn of what makes them less
    meaningful."""
    lines = [
        f"{name:<20} {np.round(value, 4)}"
        for name, value in values.items()
        if name != TRAINING_TEXT
    ]
    loss, entropy = next(iter(values.values())), values["unigram_entropy"]
    if loss >= entropy:
        lines.append(
            f"Warning: the loss is not below the unigram entropy, {entropy:.2f} nats: the "
            "frequencies of the tokens alone predict this text as well as the model does."
        )
    if NGRAM_BITS in values and values[BITS] >= values[NGRAM_BITS]:
        lines.append(
            f"Warning: {values[BITS]:.2f} bits per byte are not below the "
            f"{values[NGRAM_BITS]:.2f} of an n-gram model of bytes on the same training text: "
            "train for longer, or on more text."
        )
    if seen := values.get(TRAINING_TEXT, 0.0):
        what = "this is text" if seen == 1 else f"about {seen:.0%} of this is text"
        lines.append(
            f"Warning: {what} that the run was trained on, so the loss reveals little about new "
            "text. Without --data, selfwise measures the part that the run held out."
        )
    return "\n".join(lines)
