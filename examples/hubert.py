"""HuBERT's first iteration on synthetic sound, with the training loop in sight.

`python examples/hubert.py`: k-means on MFCC gives each frame of 20 ms a class; spans of frames are
masked, and the encoder predicts the classes that were there (arXiv:2106.07447, section II).
"""

import math

import torch
from torch import nn

from selfwise import encoders, losses, targets, views

STEPS, BATCH, CLUSTERS, RATE = 60, 8, 16, 16_000


def make_clips(count: int, seconds: float = 2.0) -> torch.Tensor:
    """Clips of notes: each tenth of a second has a pitch near that of the tenth before it."""
    draws = torch.Generator().manual_seed(0)
    steps = torch.randint(-2, 3, (count, round(10 * seconds)), generator=draws).cumsum(dim=1)
    hertz = 400 * 2 ** (steps / 6).repeat_interleave(RATE // 10, dim=1)
    phase = 2 * math.pi * (hertz / RATE).cumsum(dim=1)
    return 0.3 * phase.sin() + 0.01 * torch.randn(phase.shape, generator=draws)


def main() -> None:
    waves = make_clips(64)
    features = targets.compute_mfcc(waves)[:, ::2]  # 100 frames a second become the encoder's 50
    ids = targets.fit_kmeans(features.flatten(0, 1), CLUSTERS, seed=0).ids.reshape(len(waves), -1)

    torch.manual_seed(0)
    encoder = encoders.build_speech_encoder("hubert-mini", depth=2, seed=0)
    mask_embedding = nn.Parameter(torch.rand(encoder.dim))
    code_embeddings = nn.Parameter(torch.rand(CLUSTERS, 64))
    projection = nn.Linear(encoder.dim, 64)
    own = [mask_embedding, code_embeddings, *projection.parameters()]
    optimizer = torch.optim.AdamW([*encoder.parameters(), *own], lr=1e-3)
    for step in range(STEPS):
        rows = torch.randperm(len(waves))[:BATCH]
        view = views.mask_spans(waves[rows], ids[rows], seed=step)
        frames = encoder.embed(view.batch)
        tokens = torch.where(view.mask[..., None], mask_embedding, frames.tokens)
        hidden = encoder.forward_at(tokens, frames.valid, view.where).flatten(0, 1)
        logits = losses.cosine_logits(projection(hidden), code_embeddings, 0.1)
        target, chosen = view.target.flatten(), view.chosen.flatten()
        loss = losses.masked_cross_entropy(logits, target, chosen) / chosen.sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 10 == 0 or step == STEPS - 1:
            correct = losses.count_correct(logits, target, chosen) / chosen.sum()
            print(f"step {step}: loss {loss.item():.3f}, right {100 * correct.item():.1f} %")


if __name__ == "__main__":
    main()
