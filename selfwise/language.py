"""What a language model is for: fill a gap, go on with a text, tell how likely a text is."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from selfwise.arguments import FROM_PYTHON, IMPORTED
from selfwise.data.corpus import Corpus, open_corpus
from selfwise.data.documents import open_documents
from selfwise.data.text_source import TextSource
from selfwise.data.tokenizer import KINDS, Tokenizer, train
from selfwise.evaluate.features import reading
from selfwise.evaluate.held_out import HeldOut
from selfwise.names import nearest
from selfwise.rng import generator
from selfwise.run import Run, load
from selfwise.train.options import resolve_device
from selfwise.types import Draw, TextBatch

MASKS = ("[MASK]", "<mask>")  # how a user may write the gap, whatever the tokenizer calls it


class Filled(NamedTuple):
    """What may stand in one gap, most likely first."""

    pieces: list[str]
    probabilities: list[float]
    texts: list[str]  # the whole text with this piece in this gap, the best in the others


def fill(run: Run | str | Path, text: str, *, top: int = 5, device: str = "auto") -> list[Filled]:
    """The most likely tokens for each gap of a text.

    Args:
        run: a run or its folder; of bert, roberta or albert.
        text: with one [MASK] or more.
        top: how many tokens are given for each gap.
        device: cpu, cuda or auto.

    Raises ValueError for a model without a masked head, and a text without a gap.
    """
    run = run if isinstance(run, Run) else load(run)
    if not hasattr(run.method, "head"):
        raise ValueError(f"{run.folder} is no masked language model; use selfwise generate")
    if top < 1:
        raise ValueError(f"--top must be at least 1, got {top}")
    ids, gaps = _with_gaps(text, run.tokenizer, run.encoder.length)
    method: Any = run.method
    where = torch.tensor([gaps])
    with reading(method, resolve_device(device)), torch.no_grad():
        place = next(method.parameters()).device
        batch = TextBatch(torch.tensor([ids]).to(place), torch.zeros(1, dtype=torch.long))
        if run.encoder.segments:
            batch = batch._replace(segment=torch.zeros_like(batch.ids))
        hidden = run.encoder.read(batch, where.to(place))[0]
        logits = method.head(hidden, run.encoder.token.weight).float().cpu()
    logits = logits[:, : run.tokenizer.vocabulary.size]  # published tables may have more rows
    logits[:, list(run.tokenizer.vocabulary.special)] = -math.inf  # a gap hides text
    chances, best = logits.softmax(dim=-1).topk(min(top, logits.shape[-1]))
    return [_filled(run.tokenizer, ids, gaps, best, chances, gap) for gap in range(len(gaps))]


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

    Keys and values of what was read are cached. When the positions are used up, the model goes on
    from the last half of them.

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
    place = resolve_device(device)
    with reading(encoder, place), torch.no_grad():
        unread = ids[-(encoder.length - 1) :]
        held = 0
        for _ in range(tokens):
            if held + len(unread) > encoder.length:
                unread, held, cache = made[-(encoder.length // 2) :], 0, None
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

    `unigram_entropy` is what the frequencies of the tokens in that text alone would reach. For a
    causal model `perplexity` is exp(loss), and `bits_per_byte` does not depend on the tokenizer.

    Args:
        run: a run or its folder.
        data: text, in any form that `pretrain` takes; by default what the run held out.
        field: the column that holds the text, in jsonl, csv, tsv and parquet.
        documents: what a document is in a txt file: file, blank or line.
        seed: of the masks.
        device: cpu, cuda or auto.
    """
    run = run if isinstance(run, Run) else load(run)
    method, tokenizer = run.method, run.tokenizer
    if method.modality != "text":
        raise ValueError(f"{run.folder} is on {method.modality}, and has no loss on text")
    draw = method.draw
    assert draw is not None, "a method on text says how rows are drawn"
    if data is None:
        corpus = _held_out(run, draw)
    else:
        found = open_documents(data, field=field, documents=documents)
        corpus = open_corpus(found, tokenizer, sentences=draw.needs_sentences)
    shape: dict[str, Any] = {"length": run.config["found"]["length"], "batch": 1, "seed": seed}
    source = TextSource(corpus, draw, vocabulary=tokenizer.vocabulary, **shape)
    everything = source.plan(0).size * source.length
    held = HeldOut(source, seed=seed, every=1, tokens=everything)
    with reading(method, resolve_device(device)):
        values = held.measure(method)
    values["unigram_entropy"] = corpus.unigram_entropy()
    if run.encoder.causal:
        loss = values[next(iter(values))]
        each = corpus.size / corpus.bytes
        values |= {"perplexity": math.exp(loss), "bits_per_byte": loss / math.log(2) * each}
    return values


def _held_out(run: Run, draw: Draw) -> Corpus:
    """The text that a run kept out of its training."""
    told = run.config["options"]
    if told["data"] in (FROM_PYTHON, IMPORTED) or not told["held_out"]:
        raise ValueError(f"{run.folder} held out no text that can be read again; give --data")
    found = open_documents(told["data"], field=told["field"], documents=told["documents"])
    corpus = open_corpus(found, run.tokenizer, sentences=draw.needs_sentences)
    if corpus.fingerprint != run.config["found"]["fingerprint"]:
        raise ValueError(
            f"{told['data']} is not the text that {run.folder} was trained on, so what it held out "
            "is not known any more; give --data"
        )
    return corpus.split(told["held_out"], seed=0)[1]


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
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}{nearest(kind, KINDS)}")
    tokenizer = train(kind, found, vocab=vocab, lower=lower, progress=print)
    out.mkdir(parents=True)
    tokenizer.save(out)
    return tokenizer


def _with_gaps(text: str, tokenizer: Tokenizer, most: int) -> tuple[list[int], list[int]]:
    """Ids of the text with its special tokens, and the places of its gaps."""
    vocabulary = tokenizer.vocabulary
    assert vocabulary.mask is not None, "a masked model has a mask token"
    for name in MASKS:
        text = text.replace(name, MASKS[0])
    parts = text.split(MASKS[0])
    if len(parts) == 1:
        raise ValueError(f"the text has no {MASKS[0]} to fill: {text!r}")
    # a mask stands for its word and for the space before it, except where characters are tokens
    if not bool(vocabulary.starts.all()):
        parts = [*(part.rstrip(" ") for part in parts[:-1]), parts[-1]]
    ids = [] if vocabulary.first is None else [vocabulary.first]
    gaps: list[int] = []
    for number, part in enumerate(tokenizer.encode(parts)):
        if number:
            gaps.append(len(ids))
            ids.append(vocabulary.mask)
        ids += part.tolist()
    ids += [] if vocabulary.last is None else [vocabulary.last]
    if len(ids) > most:
        raise ValueError(f"the text has {len(ids)} tokens, and the encoder has {most} positions")
    return ids, gaps


def _filled(
    tokenizer: Tokenizer,
    ids: list[int],
    gaps: list[int],
    best: Tensor,
    chances: Tensor,
    gap: int,
) -> Filled:
    texts = []
    for choice in best[gap].tolist():
        whole = list(ids)
        for other, place in enumerate(gaps):
            whole[place] = choice if other == gap else int(best[other, 0])
        texts.append(tokenizer.decode(whole))
    pieces = [tokenizer.piece(choice) for choice in best[gap].tolist()]
    return Filled(pieces, chances[gap].tolist(), texts)


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
    """The measures of `perplexity` as lines."""
    return "\n".join(f"{name:<18} {np.round(value, 4)}" for name, value in values.items())
