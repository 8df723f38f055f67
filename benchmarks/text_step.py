"""Masked-LM training of BERT mini: selfwise against transformers, by turns, on the same rows.

    python -m benchmarks.text_step [--threads 2] [--rounds 7] [--seconds 6] [--clock wall]

Both train 4 layers of width 256 on a vocabulary of 30,522 in rows of 128 tokens, 32 at a time,
with dropout 0.1, AdamW and gradients clipped at 1. transformers: `BertForMaskedLM`,
`DataCollatorForLanguageModeling`, and the optimiser that its `Trainer` takes by default. selfwise:
a step of `pretrain bert` from the rows on, in float32 and in bfloat16; it masks, and it predicts
the next sentence besides, which the other side does not. Tokens are drawn at random: what a step
costs does not depend on them. On a machine that does other work too, `--threads 1 --clock
processor` counts only what each side takes itself.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor

from benchmarks.circumstances import circumstances, write
from selfwise.encoders import text
from selfwise.methods import find
from selfwise.rng import seeded
from selfwise.train.options import Options, resolve
from selfwise.train.step import assemble, train_step
from selfwise.types import TextBatch, Vocabulary

VOCAB, LENGTH, BATCH = 30_522, 128, 32
SPECIAL = (0, 100, 101, 102, 103)  # [PAD] [UNK] [CLS] [SEP] [MASK] of the published vocabulary
ROWS = 16 * BATCH
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
LINE = "{:8.0f} tokens/s ({:.0f} to {:.0f})  ratio {:.2f} ({:.2f} to {:.2f})"
Step = Callable[[int], None]


def rows() -> Tensor:
    """(rows, length) of [CLS] A [SEP] B [SEP]."""
    ids = torch.randint(999, VOCAB, (ROWS, LENGTH), generator=torch.Generator().manual_seed(0))
    ids[:, 0], ids[:, LENGTH // 2], ids[:, -1] = 101, 102, 102
    return ids


def selfwise_step(precision: str) -> Step:
    starts = torch.ones(VOCAB, dtype=torch.bool)
    words = Vocabulary(VOCAB, starts, SPECIAL, pad=0, unknown=100, first=101, last=102, mask=103)
    kind, ids = find("bert"), rows()
    with seeded(0, "method"):
        method = kind(text.build("bert-mini", vocab=VOCAB), vocab=words)
    told = Options(steps=10_000, batch=BATCH, precision=precision, threads=torch.get_num_threads())
    options = resolve(told, kind, workers=0)
    parts = assemble(method, options)
    segment = (torch.arange(LENGTH) > LENGTH // 2).long().expand(BATCH, -1)

    def step(number: int) -> None:
        index = (torch.arange(BATCH) + number * BATCH) % ROWS
        batch = TextBatch(ids[index], index, None, segment, None, index % 2)
        train_step(parts, batch, number, seed=0, options=options)

    return step


def transformers_step(optimizer: str = "fused") -> Step:
    """`optimizer`: fused, the Trainer's default; or plain, as in a loop of one's own."""
    from tokenizers import Tokenizer, models
    from transformers import (
        BertConfig,
        BertForMaskedLM,
        DataCollatorForLanguageModeling,
        PreTrainedTokenizerFast,
    )

    names = dict(zip(SPECIAL, ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")))
    pieces = {names.get(number, f"w{number}"): number for number in range(VOCAB)}
    roles = dict(zip(("pad", "unk", "cls", "sep", "mask"), names.values()))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(pieces, unk_token="[UNK]")),
        **{f"{role}_token": piece for role, piece in roles.items()},
    )
    collator = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15)
    config = BertConfig(
        vocab_size=VOCAB,
        hidden_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=1024,
    )
    model = BertForMaskedLM(config).train()
    adamw = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=optimizer == "fused")
    ids = rows()

    def step(number: int) -> None:
        index = (torch.arange(BATCH) + number * BATCH) % ROWS
        batch = collator([{"input_ids": row} for row in ids[index]])
        model(**batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adamw.step()
        adamw.zero_grad()

    return step


def rate(step: Step, first: int, seconds: float, clock: str = "wall") -> float:
    """Tokens per second."""
    now = CLOCKS[clock]
    start, number = now(), first
    while (passed := now() - start) < seconds:
        step(number)
        number += 1
    return BATCH * LENGTH * (number - first) / passed


def compare(
    sides: dict[str, Step], *, rounds: int, seconds: float, clock: str
) -> dict[str, list[float]]:
    """Tokens per second of each side in each round."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds):
        for name, step in sides.items():
            found[name].append(rate(step, 1000 * (turn + 1), seconds, clock))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7, help="turns of each side")
    parser.add_argument("--seconds", type=float, default=6.0, help="length of a turn")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--their-optimizer", choices=("fused", "plain"), default="fused")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    sides = {
        "transformers float32": transformers_step(options.their_optimizer),
        "selfwise float32": selfwise_step("float32"),
        "selfwise bf16": selfwise_step("bf16"),
    }
    for step in sides.values():
        rate(step, 0, options.seconds / 2)
    found = compare(sides, rounds=options.rounds, seconds=options.seconds, clock=options.clock)
    base, record = found["transformers float32"], {"benchmark": "text_step", "sides": {}}
    for name, rates in found.items():
        ratios = [a / b for a, b in zip(rates, base, strict=True)]
        record["sides"][name] = {
            "tokens_per_second": round(median(rates)),
            "spread": [round(min(rates)), round(max(rates))],
            "ratio": round(median(ratios), 2),
            "ratio_spread": [round(min(ratios), 2), round(max(ratios), 2)],
        }
        cells = (median(rates), min(rates), max(rates), median(ratios), min(ratios), max(ratios))
        print(f"{name:22s}", LINE.format(*cells))
    told = {"threads": options.threads, "rounds": options.rounds, "clock": options.clock}
    told |= {"their_optimizer": options.their_optimizer}
    write(record | circumstances("transformers", **told))


if __name__ == "__main__":
    main()
