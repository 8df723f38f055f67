"""Next-token training: nanoGPT's shape for a CPU, or GPT-2 small, on the same rows of text."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.limit import counted
from benchmarks.row import Contest, Prepared, Run, Setting
from benchmarks.texts import Opened, one_text, opened
from benchmarks.training import Training, agreed, counting
from selfwise.core.rng import init_seed
from selfwise.interop.huggingface.text import from_hf

PEER = (
    "transformers' `GPT2LMHeadModel` in a loop as its `Trainer` has: a `DataLoader` over rows of "
    "tokens that lie ready, fused AdamW, gradients clipped at 1. Its usual activation, `gelu_new`, "
    "is some ten operations; another side of it has the same function in one, `gelu_pytorch_tanh`"
)
PACKAGES = ("transformers",)
ON_CPU = ("cpu",)
ON_GPU = ("small",)
CASES = {
    "cpu": "GPT, 4 layers of 128, 12 rows of 64 characters (nanoGPT's CPU shape), no dropout",
    "small": "GPT-2 small, 4 rows of 1,024 tokens, dropout 0.1",
}
EQUAL, BEST = "selfwise float32", "selfwise bf16"
THEIRS, THEIR_BEST = "transformers float32", "transformers bf16"
FUSED, COMPILED = " fused GELU", " compiled"
GOALS = {
    "cpu": [
        Contest(EQUAL, THEIRS, 1.3),
        Contest(EQUAL, THEIRS + FUSED, 1),
        Contest(BEST, THEIRS, 1.3, "bf16 autocast"),
    ],
    "small": [
        Contest(EQUAL, THEIRS, 1.2),
        Contest(BEST, THEIR_BEST, 1.2),
        Contest(BEST + COMPILED, THEIR_BEST + COMPILED, 1.2),
    ],
}
# name, rows, length, encoder and its options, tokenizer
SHAPES: dict[str, tuple[int, int, str, dict[str, Any], str]] = {
    "cpu": (12, 64, "gpt-mini", {"depth": 4, "dim": 128, "heads": 4, "dropout": 0.0,
                                 "attention_dropout": 0.0, "length": 64}, "chars"),
    "small": (4, 1024, "gpt-base", {}, "bpe:8192"),
}  # fmt: skip


def made(case: str, **told: float) -> Opened:
    """All of the text as one document, as in nanoGPT, so that no row has two."""
    batch, length, encoder, options, tokenizer = SHAPES[case]
    shape: dict[str, Any] = {"batch": batch, "length": length, "tokenizer": tokenizer}
    chosen = {"encoder": encoder, "encoder_options": options | told}
    return opened("gpt", chosen, data=[one_text()], **shape)


class Peer(NamedTuple):
    """A model of the same shape, and the optimiser of `Trainer`: no decay for biases and norms."""

    model: Any
    adamw: Any
    device: str
    bf16: bool


def peer(
    ours: Opened, device: str, lr: float = 6e-4, *, bf16: bool = False, gelu: str = "gelu_new"
) -> Peer:
    from transformers import GPT2Config, GPT2LMHeadModel

    shape = ours.method.encoder.shape  # type: ignore[union-attr]
    config = GPT2Config(
        vocab_size=ours.method.encoder.vocab,  # type: ignore[union-attr]
        n_positions=shape.length, n_embd=shape.dim, n_layer=shape.depth, n_head=shape.heads,
        activation_function=gelu, resid_pdrop=shape.dropout, embd_pdrop=shape.dropout,
        attn_pdrop=shape.attention_dropout,
    )  # fmt: skip
    with init_seed(0, "peer"):
        model = GPT2LMHeadModel(config).train().to(device)
    decayed = [p for p in model.parameters() if p.dim() > 1]
    rest = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
    adamw = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.95), fused=True)
    return Peer(model, adamw, device, bf16)


class Rows(torch.utils.data.Dataset):
    """Windows of a long row of tokens, which lies in memory."""

    def __init__(self, tokens: Tensor, length: int) -> None:
        self.tokens, self.length = tokens, length

    def __len__(self) -> int:
        return len(self.tokens) // self.length

    def __getitem__(self, i: int) -> Tensor:
        return self.tokens[i * self.length : (i + 1) * self.length]


def their_step(side: Peer, ids: Tensor, following: Tensor | None = None) -> Tensor:
    """Rows of a token more than the inputs; `following` where not all of them are targets."""
    ids = ids.to(side.device, non_blocking=True)
    following = ids[:, 1:] if following is None else following.to(side.device)
    told = {"input_ids": ids[:, :-1], "shift_labels": following.contiguous()}
    with torch.autocast(side.device, torch.bfloat16, enabled=side.bf16):
        loss: Tensor = side.model(**told, labels=told["shift_labels"]).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(side.model.parameters(), 1.0)
    side.adamw.step()
    side.adamw.zero_grad()
    return loss.detach()


def theirs(side: Peer, rows: Rows, batch: int) -> Run:
    told: Any = {"shuffle": True, "drop_last": True, "pin_memory": side.device != "cpu"}

    def batches() -> Any:
        while True:
            yield from torch.utils.data.DataLoader(rows, batch, **told)

    stream = batches()

    def step(number: int) -> float:
        their_step(side, next(stream))
        return batch * (rows.length - 1)

    return step


def same_losses(case: str, setting: Setting) -> str:
    """Both from the same weights, five steps on the same rows without dropout."""
    batch = SHAPES[case][0]
    ours = made(case, dropout=0.0, attention_dropout=0.0)
    step = Training(ours.method, ours.source, setting, batch_size=batch, precision="float32")
    side = peer(ours, setting.device, step.options.lr)
    weights = from_hf(side.model.config.to_dict(), side.model.state_dict()).encoder
    ours.method.encoder.load_state_dict(weights)
    found = []
    for number in range(5):
        batch_now = ours.source[number]
        ids, chosen = batch_now.ids, ours.method.view(batch_now, None).chosen
        labels = ids[:, 1:].masked_fill(~chosen, -100)
        found.append((step.loss(batch_now, number), float(their_step(side, ids, labels))))
    first, second = (list(losses) for losses in zip(*found))
    return agreed(first, second, within=1e-4, what="losses of five steps on the same rows")


def prepare(case: str, setting: Setting) -> Prepared:
    equal = same_losses(case, setting)
    batch, length, *_ = SHAPES[case]
    sides: dict[str, Run] = {}
    tokens = batch * length
    told: dict[str, dict[str, Any]] = {EQUAL: {"precision": "float32"}, BEST: {"precision": "bf16"}}
    if setting.device != "cpu":
        told[BEST + COMPILED] = {"precision": "bf16", "compile": True}
    for name, options in told.items():
        ours = made(case)
        sides[name] = counting(
            tokens, Training(ours.method, ours.source, setting, batch_size=batch, **options)
        )
    corpus = torch.from_numpy(ours.source.corpus.tokens[:].astype("int64"))
    rows, device = Rows(corpus, length + 1), setting.device
    sides[THEIRS] = theirs(peer(ours, device), rows, batch)
    sides[THEIRS + FUSED] = theirs(peer(ours, device, gelu="gelu_pytorch_tanh"), rows, batch)
    sides[THEIR_BEST] = theirs(peer(ours, device, bf16=True), rows, batch)
    if device != "cpu":
        side = peer(ours, device, bf16=True)
        side.model.compile()
        sides[THEIR_BEST + COMPILED] = theirs(side, rows, batch)
    flops = counted(lambda: sides[EQUAL](0), device) / tokens
    return Prepared("tokens", sides, equal, flops=dict.fromkeys(told, flops), in_a_run=True)
