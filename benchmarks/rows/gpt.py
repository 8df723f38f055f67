"""Next-token training: nanoGPT's shape for a CPU, or GPT-2 small, on the same rows of text."""

from typing import Any

import torch
from torch import Tensor

from benchmarks.limit import counted
from benchmarks.row import Contest, Prepared, Run, Setting
from benchmarks.texts import Opened, one_text, opened
from benchmarks.training import Training, agreed, counting
from selfwise.convert.hf import from_hf
from selfwise.rng import seeded

PEER = (
    "transformers' `GPT2LMHeadModel` in a loop as its `Trainer` has: a `DataLoader` over rows of "
    "tokens that lie ready, fused AdamW, gradients clipped at 1"
)
PACKAGES = ("transformers",)
ON_GPU = ("small",)
CASES = {
    "cpu": "GPT, 4 layers of 128, 12 rows of 64 characters (nanoGPT's CPU shape), no dropout",
    "small": "GPT-2 small, 4 rows of 1,024 tokens, dropout 0.1",
}
EQUAL, BEST = "selfwise float32", "selfwise bf16"
THEIRS = "transformers float32"
GOALS = {
    "cpu": [Contest(EQUAL, THEIRS, 1.3), Contest(BEST, THEIRS, 1.3, "bf16 autocast")],
    "small": [Contest(EQUAL, THEIRS, 1.2), Contest(BEST, THEIRS, 1.2, "bf16 autocast")],
}
# name, rows, length, encoder, tokenizer
SHAPES: dict[str, tuple[int, int, dict[str, Any], str]] = {
    "cpu": (12, 64, {"name": "gpt-mini", "depth": 4, "dim": 128, "heads": 4, "dropout": 0.0,
                     "attention_dropout": 0.0, "length": 64}, "chars"),
    "small": (4, 1024, {"name": "gpt-base"}, "bpe:8192"),
}  # fmt: skip


def made(case: str, **told: float) -> Opened:
    """All of the text as one document, as in nanoGPT, so that no row has two."""
    batch, length, encoder, tokenizer = SHAPES[case]
    shape: dict[str, Any] = {"batch": batch, "length": length, "tokenizer": tokenizer}
    return opened("gpt", encoder | told, data=[one_text()], **shape)


def peer(ours: Opened, lr: float) -> tuple[Any, Any]:
    """A model of the same shape, and the optimiser of `Trainer`: no decay for biases and norms."""
    from transformers import GPT2Config, GPT2LMHeadModel

    shape = ours.method.encoder.shape  # type: ignore[union-attr]
    config = GPT2Config(
        vocab_size=ours.method.encoder.vocab,  # type: ignore[union-attr]
        n_positions=shape.length, n_embd=shape.dim, n_layer=shape.depth, n_head=shape.heads,
        resid_pdrop=shape.dropout, embd_pdrop=shape.dropout, attn_pdrop=shape.attention_dropout,
    )  # fmt: skip
    with seeded(0, "peer"):
        model = GPT2LMHeadModel(config).train()
    decayed = [p for p in model.parameters() if p.dim() > 1]
    rest = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
    return model, torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.95), fused=True)


class Rows(torch.utils.data.Dataset):
    """Windows of a long row of tokens, which lies in memory."""

    def __init__(self, tokens: Tensor, length: int) -> None:
        self.tokens, self.length = tokens, length

    def __len__(self) -> int:
        return len(self.tokens) // self.length

    def __getitem__(self, i: int) -> Tensor:
        return self.tokens[i * self.length : (i + 1) * self.length]


def their_step(model: Any, adamw: Any, ids: Tensor, following: Tensor | None = None) -> Tensor:
    """Rows of a token more than the inputs; `following` where not all of them are targets."""
    following = (ids[:, 1:] if following is None else following).contiguous()
    loss: Tensor = model(input_ids=ids[:, :-1], labels=following, shift_labels=following).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    adamw.step()
    adamw.zero_grad()
    return loss


def theirs(model: Any, adamw: Any, rows: Rows, batch: int) -> Run:
    def batches() -> Any:
        while True:
            loader = torch.utils.data.DataLoader(rows, batch, shuffle=True, drop_last=True)
            yield from loader

    stream = batches()

    def step(number: int) -> float:
        their_step(model, adamw, next(stream))
        return batch * (rows.length - 1)

    return step


def same_losses(case: str, setting: Setting) -> str:
    """Both from the same weights, five steps on the same rows without dropout."""
    batch = SHAPES[case][0]
    ours = made(case, dropout=0.0, attention_dropout=0.0)
    step = Training(ours.method, ours.source, setting, batch=batch, precision="float32")
    model, adamw = peer(ours, step.options.lr)
    weights = from_hf(model.config.to_dict(), model.state_dict()).encoder
    ours.method.encoder.load_state_dict(weights)
    found = []
    for number in range(5):
        batch_now = ours.source[number]
        ids, chosen = batch_now.ids, ours.method.view(batch_now, None).chosen
        labels = ids[:, 1:].masked_fill(~chosen, -100)
        found.append((step.loss(batch_now, number), float(their_step(model, adamw, ids, labels))))
    first, second = (list(side) for side in zip(*found))
    return agreed(first, second, within=1e-4, what="losses of five steps on the same rows")


def prepare(case: str, setting: Setting) -> Prepared:
    equal = same_losses(case, setting)
    batch, length, _, _ = SHAPES[case]
    sides: dict[str, Run] = {}
    tokens = batch * length
    for name, precision in {EQUAL: "float32", BEST: "bf16"}.items():
        ours = made(case)
        step = Training(ours.method, ours.source, setting, batch=batch, precision=precision)
        sides[name] = counting(tokens, step)
    corpus = torch.from_numpy(ours.source.corpus.tokens[:].astype("int64"))
    sides[THEIRS] = theirs(*peer(ours, 6e-4), Rows(corpus, length + 1), batch)
    flops = counted(lambda: sides[EQUAL](0)) / tokens
    return Prepared("tokens", sides, equal, flops={EQUAL: flops, BEST: flops})
