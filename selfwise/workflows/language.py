"""What a language model is for: go on with a text, tell how likely a text is; and tokenizers."""

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from selfwise.core.device import resolve_device
from selfwise.core.errors import did_you_mean
from selfwise.core.files import cache_dir
from selfwise.core.plugins import FROM_PYTHON
from selfwise.core.rng import generator
from selfwise.core.types import RowSampler
from selfwise.data.text.batches import TextSource
from selfwise.data.text.corpus import Corpus, find_corpus, open_corpus
from selfwise.data.text.corpus_overlap import measure_overlap
from selfwise.data.text.documents import open_documents
from selfwise.evaluation.features.image import evaluation_mode
from selfwise.evaluation.monitors.held_out_loss import HeldOutLoss, sample_text_batches
from selfwise.runs.config import IMPORTED
from selfwise.runs.open import Run, load
from selfwise.tokenizers.tokenizer import TOKENIZER_KINDS, Tokenizer, train_tokenizer

SEEN = "training_text"  # the share of a text that was trained on, where it is worth a word
SOME = 0.1  # is; less may be what many texts have in common, such as a licence


def generate(
    run: Run | str | Path,
    prompt: str = "",
    *,
    tokens: int = 100,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
    device: str = "auto",
) -> str:
    """The prompt, and what the model goes on with, until a document ends.

    Keys and values of what was read are cached. When the positions that were trained are used up,
    the model goes on from the last half of them.

    Args:
        run: a run of gpt, or its folder.
        prompt: the beginning; without one the model begins a document.
        tokens: how many are drawn at most.
        temperature: below 1 is more cautious, above 1 bolder; 0 takes the most likely token.
        top_k: draw among the k most likely tokens; 0 for all.
        top_p: draw among the most likely tokens that have this probability together.
        seed: every draw is a function of it.
        device: cpu, cuda or auto.

    Raises ValueError for a model that is not causal.
    """
    run = run if isinstance(run, Run) else load(run)
    _check_sampling(run, tokens, temperature, top_k, top_p)
    vocabulary, encoder = run.tokenizer.vocabulary, run.encoder
    begin = vocabulary.last if vocabulary.first is None else vocabulary.first
    ids = run.tokenizer.encode([prompt])[0].tolist() if prompt else []
    ids = ids if begin is None else [begin, *ids]
    if not ids:
        raise ValueError("an empty prompt needs a tokenizer with a token that begins a text")
    draws, made, cache = generator(seed, "generate"), list(ids), None
    longest = run.record.info.length  # the positions behind were never trained
    place = resolve_device(device)
    with evaluation_mode(encoder, place), torch.no_grad():
        unread = ids[-(longest - 1) :]
        held = 0
        for _ in range(tokens):
            if held + len(unread) > longest:
                unread, held, cache = made[-(longest // 2) :], 0, None
            hidden, cache = encoder.extend(torch.tensor([unread], device=place), cache)
            held += len(unread)
            logits = (hidden[0, -1] @ encoder.token.weight[: vocabulary.size].T).float().cpu()
            chosen = _drawn(logits, draws, temperature=temperature, top_k=top_k, top_p=top_p)
            if chosen == vocabulary.last:
                break
            made.append(chosen)
            unread = [chosen]
    return run.tokenizer.decode(made)


def perplexity(
    run: Run | str | Path,
    data: Any = None,
    *,
    field: str = "",
    documents: str = "auto",
    seed: int = 0,
    device: str = "auto",
) -> dict[str, float]:
    """The loss of a model on text, in nats per token, and what follows from it.

    `unigram_entropy` is what the frequencies of the tokens in that text alone would reach;
    `training_text` is the share of it that the run was trained on, where that is a tenth or more.
    For a causal model `perplexity` is exp(loss), and `bits_per_byte` does not depend on the
    tokenizer.

    Args:
        run: a run or its folder.
        data: text, in any form that `pretrain` takes; by default what the run held out.
        field: the column that holds the text, in jsonl, csv, tsv and parquet.
        documents: what a document is in a txt file: file, blank or line.
        seed: of the masks.
        device: cpu, cuda or auto.
    """
    run = run if isinstance(run, Run) else load(run)
    if (method := run.method).modality != "text":
        raise ValueError(f"{run.folder} is on {method.modality}, and has no loss on text")
    draw, tokenizer = method.draw, run.tokenizer
    assert isinstance(draw, RowSampler), "a method on text says how rows are drawn"
    if data is None:
        corpus = _held_out(run, draw)
    else:
        found = open_documents(data, field=field, documents=documents)
        if found.left_out:
            print(found.left_out, file=sys.stderr)
        corpus = open_corpus(found, tokenizer, sentences=draw.needs_sentences)
    shape: dict[str, Any] = {"length": run.record.info.length, "batch": 1, "seed": seed}
    source = TextSource(corpus, draw, vocabulary=tokenizer.vocabulary, **shape)
    everything = source.plan(0).size * source.length
    held = HeldOutLoss(sample_text_batches(source, tokens=everything), seed=seed, every=1)
    with evaluation_mode(method, resolve_device(device)):
        terms = held.terms(method)
    values = {name: float(term.mean) for name, term in terms.items()}
    values["unigram_entropy"] = corpus.unigram_entropy()
    if data is not None and (seen := _measure_overlap(run, corpus)) >= SOME:
        values[SEEN] = seen
    if run.encoder.causal:
        loss = next(iter(terms.values()))  # every token of the text is a target once
        bits = float(loss.sum) / math.log(2) / corpus.bytes
        values |= {"perplexity": math.exp(float(loss.mean)), "bits_per_byte": bits}
    return values


def _measure_overlap(run: Run, corpus: Corpus) -> float:
    """How much of a text the run was trained on, as far as its tokens are still in the cache."""
    held_out, name = run.record.option("held_out"), run.record.info.fingerprint
    if corpus.fingerprint == name:
        return 1.0
    trained = find_corpus(cache_dir("text") / name) if name else None
    if trained is None:
        return 0.0
    return measure_overlap(corpus, trained.split(held_out)[0] if held_out else trained)


def _held_out(run: Run, draw: RowSampler) -> Corpus:
    """The text that a run kept out of its training."""
    data, options = run.record.data, run.record.reading
    if data in (FROM_PYTHON, IMPORTED) or not options.held_out:
        raise ValueError(f"{run.folder} held out no text that can be read again; give --data")
    found = open_documents(data, field=options.field, documents=options.documents)
    corpus = open_corpus(found, run.tokenizer, sentences=draw.needs_sentences)
    if corpus.fingerprint != run.record.info.fingerprint:
        raise ValueError(
            f"{data} is not the text that {run.folder} was trained on, so what it held out "
            "is not known any more; give --data"
        )
    return corpus.split(options.held_out, seed=0)[1]


def make_tokenizer(
    corpus: Any,
    *,
    out: Path,
    kind: str = "wordpiece",
    vocab: int | None = None,
    lower: bool = False,
    field: str = "",
    documents: str = "auto",
) -> Tokenizer:
    """Train a tokenizer on a corpus and write it into a folder, as tokenizer.json.

    Args:
        corpus: text, in any form that `pretrain` takes.
        out: folder, which must not exist yet.
        kind: wordpiece, bpe (byte-level), unigram or chars.
        vocab: tokens of the vocabulary; by default 8,192, and for chars all.
        lower: train on lower-cased text.
        field: the column that holds the text, in jsonl, csv, tsv and parquet.
        documents: what a document is in a txt file: file, blank or line.
    """
    if out.exists():
        raise ValueError(f"--out {out} exists already; nothing is written over")
    found = open_documents(corpus, field=field, documents=documents)
    if found.left_out:
        print(found.left_out)
    if kind not in TOKENIZER_KINDS:
        raise ValueError(f"unknown kind {kind!r}{did_you_mean(kind, TOKENIZER_KINDS)}")
    tokenizer = train_tokenizer(kind, found, vocab=vocab, lower=lower, progress=print)
    out.mkdir(parents=True)
    tokenizer.save(out)
    return tokenizer


def _check_sampling(run: Run, tokens: int, temperature: float, top_k: int, top_p: float) -> None:
    if run.method.modality != "text" or not run.encoder.causal:
        raise ValueError(f"{run.folder} is no causal language model; selfwise fill fills gaps")
    for name, value, fits, right in (
        ("tokens", tokens, tokens >= 1, "at least 1"),
        ("temperature", temperature, 0 <= temperature < math.inf, "0 or more"),
        ("top-k", top_k, top_k >= 0, "0 (all) or more"),
        ("top-p", top_p, 0 < top_p <= 1, "above 0 and at most 1"),
    ):
        if not fits:
            raise ValueError(f"--{name} must be {right}, got {value}")


def _drawn(
    logits: Float[Tensor, "v"],
    draws: torch.Generator,
    *,
    temperature: float,
    top_k: int,
    top_p: float,
) -> int:
    """One token, drawn among the likeliest by its share of what is left of them."""
    if temperature == 0:
        return int(logits.argmax())
    chances, order = (logits.double() / temperature).softmax(dim=-1).sort(descending=True)
    if top_k:
        chances = chances[:top_k]
    # nucleus sampling (Holtzman et al. 2019, arXiv:1904.09751): the token that reaches p is in
    before = chances.cumsum(0) - chances
    chances = chances[: max(1, int((before < top_p * (1 - 1e-12)).sum()))]
    reached = chances.cumsum(0)
    drawn = torch.rand(1, generator=draws, dtype=torch.float64) * reached[-1]
    return int(order[min(int(torch.searchsorted(reached, drawn, right=True)), len(chances) - 1)])


def sentences(values: dict[str, float]) -> str:
    """The measures of `perplexity` as lines, and what makes them worth little."""
    lines = [f"{name:<18} {np.round(value, 4)}" for name, value in values.items() if name != SEEN]
    loss, entropy = next(iter(values.values())), values["unigram_entropy"]
    if loss >= entropy:
        lines.append(
            f"Warning: the loss is not below the unigram entropy, {entropy:.2f} nats: the "
            "frequencies of the tokens alone predict this text as well as the model does."
        )
    if seen := values.get(SEEN, 0.0):
        what = "this is text" if seen == 1 else f"about {seen:.0%} of this is text"
        lines.append(
            f"Warning: {what} that the run was trained on, so the loss says little about new text; "
            "without --data the part that the run held out is measured."
        )
    return "\n".join(lines)
