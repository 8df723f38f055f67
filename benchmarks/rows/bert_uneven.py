"""Masked-LM training of BERT on documents of uneven length: packed whole, or padded."""

from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.limit import counted
from benchmarks.row import Contest, Prepared, Run, Setting
from benchmarks.rows import bert
from benchmarks.rows.bert import BEST, EQUAL, LENGTH, THEIR_BEST, THEIRS, Peer, made, training
from benchmarks.texts import Opened, one_text
from benchmarks.training import agreed, counting
from selfwise.tokenizers.tokenizer import Tokenizer
from selfwise.views.text.token_mask import MaskedTokens, count_valid_tokens

PEER = (
    "transformers as in the row `bert`; its collator pads a batch to its longest document. "
    "selfwise packs whole documents into rows of 128 tokens (`--packing best_fit`), and attention "
    "stays inside a document. Documents are the paragraphs of python-docs, cut at 126 tokens. "
    "Tokens of text are counted on both sides, neither padding nor special ones, and a step has "
    "about as many of them on both sides. The output layer is computed for padding too over there. "
    "A third side takes documents of about the same length "
    "together, which `Trainer` does when it is asked to"
)
PACKAGES = ("transformers",)
ON_CPU = ("mini",)
ON_GPU = ("base",)
CASES = {
    "mini": "BERT mini, 32 documents in a batch, dropout 0.1",
    "base": "BERT base, 256 documents in a batch (8 on a CPU), dropout 0.1",
}
GROUPED = " grouped by length"
GOALS = {
    "mini": [
        Contest(EQUAL, THEIRS, 8),
        Contest(EQUAL, THEIRS + GROUPED, 2.5),
        Contest(BEST, THEIRS, 8, "bf16 autocast"),
    ],
    "base": [
        Contest(EQUAL, THEIRS, 3),
        Contest(BEST, THEIR_BEST, 3),
        Contest(BEST, THEIR_BEST + GROUPED, 2),
    ],
}
LONGEST = LENGTH - 2


def documents() -> list[str]:
    """Paragraphs that have a token, none with more than fit between two special ones."""
    words = Tokenizer.load(bert.tokenizer().name)
    texts = [text for text in one_text().split("\n\n") if text.strip()]
    _, counts = words.encode_flat(texts)
    found = []
    for text, count in zip(texts, counts):
        if count > LONGEST:
            spans = words.library.encode(text, add_special_tokens=False).offsets
            text = text[: spans[LONGEST - 1][1]]
        if count:
            found.append(text)
    return found


def their_rows(ours: Opened, texts: list[str]) -> list[list[int]]:
    """Each document between two special tokens."""
    words = ours.tokenizer.vocabulary
    assert words.first is not None
    assert words.last is not None
    return [[words.first, *ids.tolist(), words.last] for ids in ours.tokenizer.encode(texts)]


def apart(view: MaskedTokens) -> dict[str, Tensor]:
    """The documents of masked rows as they would be with padding: a row for each."""
    rows, labels = [], bert.labels_of(view)
    found: dict[str, list[Tensor]] = {"input_ids": [], "labels": [], "attention_mask": []}
    batch, real = view.batch, count_valid_tokens(view.batch).tolist()
    for row, end in enumerate(real):
        starts = [0] if batch.starts is None else batch.starts[row].tolist()
        edges = sorted({min(start, end) for start in [*starts, end]})
        rows += [(row, slice(a, b)) for a, b in pairwise(edges)]
    for row, part in rows:
        found["input_ids"].append(batch.ids[row, part])
        found["labels"].append(labels[row, part])
        found["attention_mask"].append(torch.ones_like(batch.ids[row, part]))
    empty = {"labels": -100}
    pad: Any = torch.nn.utils.rnn.pad_sequence
    return {name: pad(parts, batch_first=True, padding_value=empty.get(name, 0))
            for name, parts in found.items()}  # fmt: skip


def same_losses(case: str, setting: Setting, texts: list[str]) -> str:
    """Both from the same weights, five steps on the same masked documents without dropout."""
    batch = 4 if case == "mini" else 2
    ours = made(case, batch, data=texts, dropout=0.0, attention_dropout=0.0)
    step = training(ours, setting, batch, precision="float32")
    side = bert.peer(ours, setting.device, lr=step.options.lr)
    bert.take_weights(ours, side)
    found = []
    for number in range(5):
        told = apart(bert.view_of(ours, number))
        found.append((step.loss(ours.source[number], number), float(bert.their_step(side, told))))
    first, second = (list(losses) for losses in zip(*found))
    what = "losses of five steps on the same masked documents, packed here and padded there,"
    return agreed(first, second, within=1e-4, what=what)


def loader_of(data: Any, batch: int, collate: Any, *, grouped: bool) -> Any:
    """Batches at random; or of documents of about one length, in random order too."""
    from transformers.trainer_pt_utils import LengthGroupedSampler

    load = torch.utils.data.DataLoader
    if not grouped:
        return load(data, batch, shuffle=True, drop_last=True, collate_fn=collate)
    alike = list(LengthGroupedSampler(batch, lengths=[len(one["input_ids"]) for one in data]))
    parts = [alike[i : i + batch] for i in range(0, len(alike), batch)]
    # their order has the longest first, and a turn is too short for an epoch
    order = torch.randperm(len(parts), generator=torch.Generator().manual_seed(0)).tolist()
    return load(data, batch_sampler=[parts[i] for i in order], collate_fn=collate)


def theirs(side: Peer, loader: Any) -> Run:
    batches = bert.stream(loader)

    def step(number: int) -> float:
        batch = next(batches)
        bert.their_step(side, batch)
        real = batch["attention_mask"]
        return float(real.sum()) - 2 * len(real)

    return step


def rows_for(batch: int, texts: list[str], case: str) -> int:
    """How many full rows have about as much text as so many documents."""
    return max(1, round(batch * made(case, 1, data=texts).source.plan(0).size / len(texts)))


def told_of(rows: list[list[int]], batch: int) -> dict[str, Any]:
    """How long documents are, and how much of their batches is text."""
    count = np.array([len(row) - 2 for row in rows])
    draw = np.random.default_rng(0)
    parts = [count[draw.choice(len(count), batch)] for _ in range(100)]
    share = np.mean([part.sum() / ((part.max() + 2) * batch) for part in parts])
    tenths = np.percentile(count, [10, 25, 50, 75, 90]).astype(int).tolist()
    return {
        "documents": len(rows), "tokens": int(count.sum()),
        "tokens_in_documents": dict(zip(("10%", "25%", "50%", "75%", "90%"), tenths)),
        "longest": int(count.max()), "documents_in_batch": batch,
        "text_in_their_padded_batch": round(float(share), 3),
    }  # fmt: skip


def prepare(case: str, setting: Setting) -> Prepared:
    texts = documents()
    equal = same_losses(case, setting, texts)
    batch = bert.rows_of(case, setting.device)
    packed = rows_for(batch, texts, case)
    sides: dict[str, Run] = {}
    for name, precision in {EQUAL: "float32", BEST: "bf16"}.items():
        ours = made(case, packed, data=texts)
        step = training(ours, setting, packed, precision=precision)
        text = ours.source.corpus.size * packed / ours.source.plan(0).size  # tokens in a batch
        sides[name] = counting(text, step)
    rows = their_rows(ours, texts)
    data = bert.examples(rows, ours.tokenizer.vocabulary.special)
    for name, bf16 in {THEIRS: False, THEIR_BEST: True}.items():
        for more in ("", GROUPED):
            loader = loader_of(data, batch, bert.collator(ours), grouped=bool(more))
            sides[name + more] = theirs(bert.peer(ours, setting.device, bf16=bf16), loader)
    flops = counted(lambda: sides[EQUAL](0), setting.device) / text
    told = told_of(rows, batch) | {
        "rows": packed,
        "text_in_our_rows": round(text / packed / 128, 3),
    }
    middle, share = told["tokens_in_documents"]["50%"], told["text_in_their_padded_batch"]
    equal += f"; half of the documents have at most {middle} tokens, {share:.0%} of a padded batch"
    equal += f" is text, and {told['text_in_our_rows']:.0%} of a packed row"
    return Prepared(
        "tokens of text", sides, equal, told, {EQUAL: flops, BEST: flops}, in_a_run=True
    )
