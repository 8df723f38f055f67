"""SimCLR on small digits, with the training loop in sight: `python examples/simclr.py`.

The method pulls two augmentations of an image together and pushes other images away
(arXiv:2002.05709). A linear probe then compares the encoder with an untrained one and
with the pixels themselves.
"""

import numpy as np
import torch
from sklearn.datasets import load_digits

from selfwise import encoders, losses, probes, views
from selfwise.nn.heads import ProjectionHead

STEPS, BATCH = 150, 256


def build_encoder() -> torch.nn.Module:
    narrow = {"layers": (1, 1, 1, 1), "channels": (16, 32, 64, 64), "zero_init_last": False}
    return encoders.build_image_encoder("resnet18", in_channels=1, size=8, seed=0, **narrow)


def encode(encoder: torch.nn.Module, images: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        return encoder.eval()(images).pooled.numpy()


def main() -> None:
    pixels, labels = load_digits(return_X_y=True)
    images = torch.from_numpy(pixels).float().reshape(-1, 1, 8, 8) / 16
    train, test = images[:1297], images[1297:]

    torch.manual_seed(0)
    encoder = build_encoder()
    head = ProjectionHead(encoder.dim, dim=64)
    optimizer = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=2e-3)
    for step in range(STEPS):
        batch = train[torch.randperm(len(train))[:BATCH]]
        first, second = views.simclr(
            batch, seed=step, min_crop_scale=0.3, flip_prob=0.0, jitter_strength=0.0
        )
        z = head(encoder(torch.cat([first, second])).pooled)
        loss = losses.nt_xent(z[:BATCH], z[BATCH:], 0.2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 25 == 0 or step == STEPS - 1:
            print(f"step {step}: nt_xent {loss.item():.3f}")

    twin = build_encoder()
    with torch.no_grad():
        for _ in range(50):  # batch norm gets statistics of the data, or the twin would be too weak
            twin(train)
    features = {"pixels": (pixels[:1297], pixels[1297:])}
    for name, model in {"untrained": twin, "SimCLR": encoder}.items():
        features[name] = (encode(model, train), encode(model, test))
    for name, (train_features, test_features) in features.items():
        fit = probes.fit_linear(train_features, labels[:1297], test_features)
        accuracy = (fit.predicted == labels[1297:]).mean()
        print(f"linear probe, {name}: {100 * accuracy:.1f} % of {len(test)} test digits")


if __name__ == "__main__":
    main()
