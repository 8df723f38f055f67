"""Masked-LM training of BERT, mini or base, in rows of 128 tokens of real text."""

from collections.abc import Iterable
from functools import cache
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks.limit import counted
from benchmarks.row import Contest, Prepared, Run, Setting
from benchmarks.texts import Opened, one_text, opened
from benchmarks.training import Training, agreed, counting
from selfwise.core.rng import Rng, generator, init_seed
from selfwise.core.types import Vocabulary
from selfwise.interop.huggingface.text import from_hf
from selfwise.tokenizers.tokenizer import train_tokenizer
from selfwise.views.text.token_mask import MaskedTokens, count_valid_tokens

PEER = (
    "transformers' `BertForMaskedLM` with its `DataCollatorForLanguageModeling`, in a loop as its "
    "`Trainer` has: a `DataLoader` over rows of tokens that lie ready, fused AdamW without decay "
    "of biases and norms, gradients clipped at 1. Both sides have the masked-LM loss alone: "
    "selfwise's method `roberta` on a BERT encoder without a pooler. The table of tokens has "
    "30,522 rows on both sides, as the published one, though this text has fewer kinds of tokens. "
    "selfwise computes the output layer, most of a small model's work, for the masked tokens "
    "alone, which are all that the loss reads; transformers for every position. On a CPU "
    "selfwise's dropout takes four elements from one random number"
)
PACKAGES = ("transformers",)
ON_CPU = ("mini",)
ON_GPU = ("base",)
CASES = {
    "mini": "BERT mini, 32 rows of 128 tokens, dropout 0.1",
    "base": "BERT base, 256 rows of 128 tokens (8 on a CPU), dropout 0.1",
}
EQUAL, BEST = "selfwise float32", "selfwise bf16"
THEIRS, THEIR_BEST = "transformers float32", "transformers bf16"
SENTENCES = "selfwise float32 with sentences"
COMPILED = " compiled"
GOALS = {
    "mini": [
        Contest(EQUAL, THEIRS, 2.5),
        Contest(SENTENCES, THEIRS, 2.5, "`bert`, which also predicts the next sentence: more work"),
        Contest(BEST, THEIRS, 6, "bf16 autocast"),
    ],
    "base": [
        Contest(EQUAL, THEIRS, 2),
        Contest(BEST, THEIR_BEST, 2),
        Contest(BEST + COMPILED, THEIR_BEST + COMPILED, 2),
    ],
}
SHARES = {"base": {BEST + COMPILED: 0.5}}
LENGTH, VOCAB = 128, 30_522
ADAM: dict[str, Any] = {"betas": (0.9, 0.98), "eps": 1e-6}
DECAY, CLIP, SHARE = 0.01, 1.0, 0.15


def rows_of(case: str, device: str) -> int:
    return 32 if case == "mini" else 8 if device == "cpu" else 256


@cache
def tokenizer() -> "TemporaryDirectory[str]":
    """WordPiece, learnt once from all of the text; the folder lives as long as the process."""
    folder = TemporaryDirectory()
    made = train_tokenizer("wordpiece", [one_text()], vocab_size=VOCAB)
    made.library.save(f"{folder.name}/tokenizer.json")
    return folder


def made(case: str, batch: int, *, data: Any = None, **dropout: float) -> Opened:
    """All of the text as one document, so that no row has two; or other documents."""
    encoder = {"encoder": f"bert-{case}", "encoder_options": {"pooler": False, **dropout}}
    told: dict[str, Any] = {"tokenizer": tokenizer().name, "vocab": VOCAB, "packing": "best_fit"}
    told |= {"data": [one_text()] if data is None else data, "mask_prob": SHARE}
    return opened("roberta", encoder, batch=batch, length=LENGTH, **told)


def with_sentences(case: str, batch: int) -> Opened:
    """BERT as published, on pairs out of the documents of the text."""
    told: dict[str, Any] = {"tokenizer": tokenizer().name, "vocab": VOCAB, "mask_prob": SHARE}
    told |= {"whole_word_mask": False}
    return opened("bert", {"encoder": f"bert-{case}"}, batch=batch, length=LENGTH, **told)


def training(ours: Opened, setting: Setting, batch: int, **told: Any) -> Training:
    return Training(ours.method, ours.source, setting, batch_size=batch, grad_clip=CLIP, **told)


class Peer(NamedTuple):
    """Their model, with the optimiser of `Trainer`."""

    model: Any
    adamw: torch.optim.Optimizer
    device: str
    bf16: bool = False


def peer(ours: Opened, device: str, *, lr: float = 1e-4, bf16: bool = False) -> Peer:
    """A model of the same shape."""
    from transformers import BertConfig, BertForMaskedLM

    shape = ours.method.encoder.shape  # type: ignore[union-attr]
    config = BertConfig(
        vocab_size=VOCAB, hidden_size=shape.dim, num_hidden_layers=shape.depth,
        num_attention_heads=shape.heads, intermediate_size=shape.ff,
        max_position_embeddings=shape.length, hidden_dropout_prob=shape.dropout,
        attention_probs_dropout_prob=shape.attention_dropout,
    )  # fmt: skip
    with init_seed(0, "peer"):
        model = BertForMaskedLM(config).train().to(device)
    decayed = [p for p in model.parameters() if p.dim() > 1]
    rest = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": DECAY}, {"params": rest, "weight_decay": 0.0}]
    return Peer(model, torch.optim.AdamW(groups, lr=lr, fused=True, **ADAM), device, bf16)


def their_step(side: Peer, batch: dict[str, Tensor]) -> Tensor:
    """On what their collator gives."""
    on = {name: part.to(side.device, non_blocking=True) for name, part in batch.items()}
    with torch.autocast(side.device, torch.bfloat16, enabled=side.bf16):
        loss: Tensor = side.model(**on).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(side.model.parameters(), CLIP)
    side.adamw.step()
    side.adamw.zero_grad()
    return loss.detach()


def collator(ours: Opened) -> Any:
    """Theirs, with the same tokenizer."""
    from transformers import DataCollatorForLanguageModeling, PreTrainedTokenizerFast

    words: Vocabulary = ours.tokenizer.vocabulary
    ids = {"pad": words.pad, "unk": words.unknown, "cls": words.first, "sep": words.last}
    ids |= {"mask": words.mask}
    names: Any = {f"{role}_token": ours.tokenizer.piece(int(i or 0)) for role, i in ids.items()}
    fast = PreTrainedTokenizerFast(tokenizer_object=ours.tokenizer.library, **names)
    return DataCollatorForLanguageModeling(fast, mlm_probability=SHARE)


def examples(rows: Iterable[list[int]], special: tuple[int, ...]) -> list[dict[str, list[int]]]:
    """Tokens as `run_mlm.py` keeps them: with what is special looked up beforehand."""
    known = set(special)
    return [{"input_ids": row, "special_tokens_mask": [int(i in known) for i in row]}
            for row in rows]  # fmt: skip


def stream(loader: Any) -> Any:
    """Epoch after epoch."""
    while True:
        yield from loader


def theirs(side: Peer, loader: Any, tokens: float) -> Run:
    batches = stream(loader)

    def step(number: int) -> float:
        their_step(side, next(batches))
        return tokens

    return step


def take_weights(ours: Opened, side: Peer) -> None:
    found = from_hf(side.model.config.to_dict(), side.model.state_dict())
    encoder = {f"encoder.{name}": weight for name, weight in found.encoder.items()}
    ours.method.load_state_dict(encoder | found.head)


def view_of(ours: Opened, number: int) -> MaskedTokens:
    """The masked rows that a step of ours with this number sees."""
    batch = ours.source[number]
    n = len(batch.ids)
    rng = Rng(generator(0, "view", number), slice(0, n), n, seed=0)
    return ours.method.view(batch, rng)  # type: ignore[no-any-return]


def labels_of(view: MaskedTokens) -> Tensor:
    """As theirs are: what was there where the loss reads, elsewhere -100."""
    nothing = torch.full_like(view.batch.ids, -100)
    return nothing.scatter(1, view.where, view.target.masked_fill(~view.chosen, -100))


def same_losses(case: str, setting: Setting) -> str:
    """Both from the same weights, five steps on the same masked rows without dropout."""
    batch = 32 if case == "mini" else 4
    ours = made(case, batch, dropout=0.0, attention_dropout=0.0)
    step = training(ours, setting, batch, precision="float32")
    side = peer(ours, setting.device, lr=step.options.lr)
    take_weights(ours, side)
    found = []
    for number in range(5):
        view = view_of(ours, number)
        told = {"input_ids": view.batch.ids, "labels": labels_of(view)}
        found.append((step.loss(ours.source[number], number), float(their_step(side, told))))
    first, second = (list(losses) for losses in zip(*found))
    return agreed(first, second, within=1e-4, what="losses of five steps on the same masked rows")


def their_sides(ours: Opened, setting: Setting, batch: int) -> dict[str, Run]:
    """On the same rows, tokens in lists."""
    rows = ours.source.rows(np.arange(ours.source.plan(0).size)).ids.tolist()
    data: Any = examples(rows[:-1], ours.tokenizer.vocabulary.special)  # the last one is not full
    told: Any = {"shuffle": True, "drop_last": True, "collate_fn": collator(ours)}
    told["pin_memory"] = setting.device != "cpu"
    loader: Any = torch.utils.data.DataLoader(data, batch, **told)
    sides = {}
    for name, bf16 in {THEIRS: False, THEIR_BEST: True}.items():
        sides[name] = theirs(peer(ours, setting.device, bf16=bf16), loader, batch * LENGTH)
    if setting.device != "cpu":
        side = peer(ours, setting.device, bf16=True)
        side.model.compile()
        sides[THEIR_BEST + COMPILED] = theirs(side, loader, batch * LENGTH)
    return sides


def own_sides(case: str, setting: Setting, batch: int) -> dict[str, Run]:
    told: dict[str, dict[str, Any]] = {EQUAL: {"precision": "float32"}, BEST: {"precision": "bf16"}}
    if setting.device != "cpu":
        told[BEST + COMPILED] = {"precision": "bf16", "compile": True}
    sides: dict[str, Run] = {}
    for name, options in told.items():
        step = training(made(case, batch), setting, batch, **options)
        sides[name] = counting(batch * LENGTH, step)
    return sides


def real_tokens(ours: Opened, batches: int = 20) -> float:
    """In a batch, padding not counted."""
    return sum(float(count_valid_tokens(ours.source[i]).sum()) for i in range(batches)) / batches


def prepare(case: str, setting: Setting) -> Prepared:
    equal = same_losses(case, setting)
    batch = rows_of(case, setting.device)
    ours = made(case, batch)
    sides = own_sides(case, setting, batch) | their_sides(ours, setting, batch)
    if case == "mini":
        pairs = with_sentences(case, batch)
        step = training(pairs, setting, batch, precision="float32")
        sides[SENTENCES] = counting(real_tokens(pairs), step)
    flops = counted(lambda: sides[EQUAL](0), setting.device) / (batch * LENGTH)
    needed = {name: flops for name in sides if name.startswith("selfwise") and name != SENTENCES}
    told: dict[str, Any] = {"batch": batch, "length": LENGTH, "table": VOCAB}
    told |= {"vocabulary": ours.tokenizer.vocabulary.size, "tokens": ours.source.corpus.size}
    return Prepared("tokens", sides, equal, told, needed, in_a_run=True)
