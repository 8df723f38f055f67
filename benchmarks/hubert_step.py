"""HuBERT mini: a training step and its loss head, against the published way, by turns.

    python -m benchmarks.hubert_step [--threads 2] [--rounds 7] [--seconds 6] [--clock wall]

The step: 8 clips of 4 s, a wave stem of 128 channels, 4 layers of width 256, 100 clusters, dropout
0.1, masks drawn anew, AdamW, gradients clipped at 10. One side is `pretrain hubert` from the batch
on; the other is transformers' `HubertModel` with its own masking function, the feature penalty,
and the loss as published (fairseq, `models/hubert/hubert.py`): for S hidden frames and C clusters
the cosines of a tensor (C + 1) x S x 256, in which the right code comes first, and once more for
the frames that are not hidden, whose loss has no weight there but is computed for the log.
`--without-seen` leaves the second one out on their side. The clips are drawn at random: what a
step costs does not depend on them.

The head alone: S and C as in a batch of HuBERT Base, or as told; forward, backward, and the most
memory that either takes in a process of its own.
"""

import argparse
import multiprocessing
import resource
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.circumstances import circumstances, write
from benchmarks.turns import CLOCKS
from selfwise.encoders import speech
from selfwise.losses import chosen_cross_entropy, code_cosines
from selfwise.methods import find
from selfwise.rng import generator, seeded
from selfwise.train.options import Options, resolve
from selfwise.train.step import assemble, train_step
from selfwise.types import RATE, AudioBatch, frames

ROWS, SECONDS, CLUSTERS, WIDTH, TEMPERATURE = 8, 4, 100, 256, 0.1
SAMPLES = SECONDS * RATE
HEAD = {"frames": 1200, "clusters": 504}  # 42 s at 57 % hidden
LINE = "{:8.2f} s of audio/s ({:.2f} to {:.2f})  ratio {:.2f} ({:.2f} to {:.2f})"
Step = Callable[[int], None]


def batch(number: int) -> AudioBatch:
    """Other clips and units for each of 16 steps, then the same again."""
    draw = generator(number % 16, "clips")
    x = 0.1 * torch.randn(ROWS, SAMPLES, generator=draw)
    units = torch.randint(CLUSTERS, (ROWS, frames(SAMPLES)), generator=draw)
    index = torch.arange(ROWS)
    return AudioBatch(x, index, None, torch.zeros_like(index), units)


def selfwise_step(precision: str) -> Step:
    kind = find("hubert")
    with seeded(0, "method"):
        method = kind(speech.build("hubert-mini"), clusters=CLUSTERS)
    told = Options(steps=10_000, batch=ROWS, precision=precision, threads=torch.get_num_threads())
    options = resolve(told, kind, workers=0)
    parts, batches = assemble(method, options), [batch(number) for number in range(16)]

    def step(number: int) -> None:
        train_step(parts, batches[number % 16], number, seed=0, options=options)

    return step


def published_logits(hidden: Tensor, codes: Tensor, target: Tensor) -> Tensor:
    """(S, C + 1): the cosine with the right code, then with all; the right one only once."""
    right = codes[target]
    pairs = torch.cat([right[None], codes[:, None].expand(-1, len(hidden), -1)])
    logits = F.cosine_similarity(hidden.float(), pairs.float(), dim=-1) / TEMPERATURE
    again = (pairs[1:] == right).all(dim=-1)
    logits[1:][again] = -torch.inf
    return logits.T


def published_loss(hidden: Tensor, codes: Tensor, target: Tensor) -> Tensor:
    logits = published_logits(hidden, codes, target)
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long), reduction="sum")


def own_loss(hidden: Tensor, codes: Tensor, target: Tensor) -> Tensor:
    scores = code_cosines(hidden, codes, TEMPERATURE)
    return chosen_cross_entropy(scores, target, torch.ones_like(target, dtype=torch.bool))


class Published(nn.Module):
    """HuBERT's training step around transformers' model."""

    def __init__(self, seen: bool) -> None:
        from transformers import HubertConfig, HubertModel

        super().__init__()
        shape = speech.build("hubert-mini").shape
        config = HubertConfig(
            hidden_size=shape.dim,
            num_hidden_layers=shape.depth,
            num_attention_heads=shape.heads,
            intermediate_size=shape.ff,
            conv_dim=(shape.stem_dim,) * 7,
            num_conv_pos_embeddings=shape.position_kernel,
            num_conv_pos_embedding_groups=shape.position_groups,
            feat_proj_dropout=shape.input_dropout,
            activation_dropout=0.0,
            layerdrop=shape.layerdrop,
        )
        self.model, self.seen = HubertModel(config), seen
        self.project = nn.Linear(shape.dim, WIDTH)
        self.codes = nn.Parameter(torch.rand(CLUSTERS, WIDTH))

    def forward(self, part: AudioBatch) -> Tensor:
        from transformers.models.hubert.modeling_hubert import _compute_mask_indices

        assert part.units is not None
        b, t = part.units.shape
        mask = torch.from_numpy(_compute_mask_indices((b, t), 0.8, 10, min_masks=2))
        found = self.model.feature_extractor(part.x)
        found.register_hook(lambda grad: 0.1 * grad)
        penalty = found.float().square().mean()
        hidden = self.model.feature_projection(found.transpose(1, 2))
        hidden = self.model._mask_hidden_states(hidden, mask_time_indices=mask)
        hidden = self.project(self.model.encoder(hidden).last_hidden_state)
        loss = published_loss(hidden[mask], self.codes, part.units[mask])
        if self.seen:
            with torch.no_grad():
                published_loss(hidden[~mask], self.codes, part.units[~mask])
        return loss / mask.sum() + 10 * penalty


def transformers_step(precision: str, *, seen: bool) -> Step:
    with seeded(0, "method"):
        model = Published(seen).train()
    adamw = torch.optim.AdamW(
        model.parameters(), lr=5e-4, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.01, fused=True
    )
    batches = [batch(number) for number in range(16)]

    def step(number: int) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = model(batches[number % 16])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        adamw.step()
        adamw.zero_grad()

    return step


HEADS = {"published": published_loss, "selfwise": own_loss}


def head(side: str, count: int, clusters: int, clock: str, threads: int) -> dict[str, float]:
    """Seconds (the best of three) and the most memory in GB above that of the inputs."""
    torch.set_num_threads(threads)
    draw = generator(0, "head")
    hidden = torch.randn(count, WIDTH, generator=draw, requires_grad=True)
    codes = torch.rand(clusters, WIDTH, generator=draw, requires_grad=True)
    target = torch.randint(clusters, (count,), generator=draw)
    loss, now, took = HEADS[side], CLOCKS[clock], []
    loss(hidden[:8], codes, target[:8]).backward()  # whatever is loaded once
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(3):
        start = now()
        value = loss(hidden, codes, target)
        value.backward()
        took.append(now() - start)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"seconds": min(took), "gigabytes": most * 1024 / 1e9, "loss": float(value.detach())}


def heads(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Both in processes of their own, by turns; medians over the rounds."""
    found: dict[str, list[dict[str, float]]] = {side: [] for side in HEADS}
    context = multiprocessing.get_context("spawn")
    run = partial(head, count=options.frames, clusters=options.clusters, clock=options.clock,
                  threads=options.threads)  # fmt: skip
    for _ in range(min(3, options.rounds)):
        for side, results in found.items():
            with context.Pool(1) as pool:
                results.append(pool.apply(run, (side,)))
    return {
        side: {key: round(median(part[key] for part in parts), 4) for key in parts[0]}
        for side, parts in found.items()
    }


def rate(step: Step, first: int, seconds: float, clock: str) -> float:
    """Seconds of audio in a second."""
    now = CLOCKS[clock]
    start, number = now(), first
    while (passed := now() - start) < seconds:
        step(number)
        number += 1
    return ROWS * SECONDS * (number - first) / passed


def steps(options: argparse.Namespace) -> dict[str, dict[str, object]]:
    """Seconds of audio in a second, of each side in each round."""
    seen = not options.without_seen
    sides = {
        "transformers float32": transformers_step("float32", seen=seen),
        "selfwise float32": selfwise_step("float32"),
        "transformers bf16": transformers_step("bf16", seen=seen),
        "selfwise bf16": selfwise_step("bf16"),
    }
    for step in sides.values():
        rate(step, 0, options.seconds / 2, options.clock)
    found: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(options.rounds):
        for name, step in sides.items():
            found[name].append(rate(step, 1000 * (turn + 1), options.seconds, options.clock))
    record: dict[str, dict[str, object]] = {}
    for name, rates in found.items():
        base = found[f"transformers {name.split()[1]}"]
        ratios = [a / b for a, b in zip(rates, base, strict=True)]
        record[name] = {
            "audio_seconds_per_second": round(median(rates), 2),
            "spread": [round(min(rates), 2), round(max(rates), 2)],
            "ratio": round(median(ratios), 2),
            "ratio_spread": [round(min(ratios), 2), round(max(ratios), 2)],
        }
        cells = (median(rates), min(rates), max(rates), median(ratios), min(ratios), max(ratios))
        print(f"{name:22s}", LINE.format(*cells))
    return record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7, help="turns of each side")
    parser.add_argument("--seconds", type=float, default=6.0, help="length of a turn")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--without-seen", action="store_true", help="no loss on frames not hidden")
    parser.add_argument("--frames", type=int, default=HEAD["frames"], help="of the head alone")
    parser.add_argument("--clusters", type=int, default=HEAD["clusters"], help="of the head alone")
    parser.add_argument("--dry", action="store_true", help="do not write results.jsonl")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    alone = heads(options)
    for side, numbers in alone.items():
        print(f"head {side:17s} {numbers['seconds']:8.3f} s  {numbers['gigabytes']:6.2f} GB")
    record = {
        "benchmark": "hubert_step",
        "head": alone | {"frames": options.frames, "clusters": options.clusters},
        "sides": steps(options),
        "their_loss_on_seen_frames": not options.without_seen,
    }
    if not options.dry:
        told = {"threads": options.threads, "rounds": options.rounds, "clock": options.clock}
        told |= {"their_optimizer": "fused"}
        write(record | circumstances("transformers", **told))


if __name__ == "__main__":
    main()
