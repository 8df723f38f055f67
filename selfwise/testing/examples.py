"""A small method and a small batch of generated data, built as a run builds them."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from selfwise.core.config_class import Config, make_config
from selfwise.core.rng import generator, init_seed
from selfwise.core.types import RATE, Batch
from selfwise.methods import Method
from selfwise.methods.needs import PatchTargetNeed
from selfwise.modalities import modality_of
from selfwise.modalities.earlier_run import EarlierRun
from selfwise.modalities.modality import EncoderChoice, EncoderFactory, OpenData, Opening

SIZE, PATCH, COUNT, CLASSES, SEED = 16, 4, 16, 4, 0
SECONDS = 0.5  # of each tone
# by modality: the encoder of any method that does not suggest one of its own family
ENCODERS: dict[str, tuple[str, dict[str, object]]] = {
    "resnet": (
        "resnet18",
        # timm starts each block's last norm at 0, which would hide the block from gradients
        {"layers": [1, 1, 1, 1], "channels": [8, 16, 16, 32], "zero_init_last": False},
    ),
    "beit": ("beit-tiny", {"dim": 32, "heads": 2, "patch": PATCH}),
    "codec": ("codec-tiny", {"width": 16, "dim": 16, "patch": 4}),
    "text": ("", {"dim": 32, "heads": 2, "dropout": 0.0, "attention_dropout": 0.0}),
    "hubert": (
        "hubert-tiny",
        {
            **{"dim": 32, "heads": 2, "stem_dim": 16, "position_kernel": 8},
            **dict.fromkeys(("dropout", "input_dropout", "attention_dropout"), 0.0),
        },
    ),
}
READING: dict[str, dict[str, object]] = {
    "image": {"image_size": SIZE, "cache": "no"},
    "text": {"max_length": 24, "val_fraction": 0.0, "tokenizer": "wordpiece:120"},
    "audio": {
        "batch_seconds": COUNT * SECONDS,
        "max_clip_seconds": SECONDS,
        "val_fraction": 0.0,
        "cache": "no",
    },
}


def build_case(
    kind: type[Method], *, encoder: EncoderFactory | None = None, options: Mapping[str, object]
) -> tuple[Method, Batch]:
    """Return a method with a tiny encoder, and a batch of 16 examples.

    Args:
        kind: the class of the method.
        encoder: builds the encoder; by default a tiny one of the method's own kind.
        options: options of the method.
    """
    modality = modality_of(kind)
    choice = _choose_encoder(kind, encoder)
    opening = Opening(kind, choice, _open_nothing, needs=_small_needs(kind))
    reading = make_config(modality.reading, READING[kind.modality])
    data: OpenData = modality.open_data(
        modality.read_data(_make_examples(kind), reading, kind), reading, opening
    )
    with init_seed(SEED, "method"):
        module = modality.build_encoder(choice, data, SEED)
        method = kind(module, **{**_without_clusters(kind, data.inputs), **options})
    return method, data.source(method, batch_size=COUNT, seed=SEED)[0]


class BrightnessTargets:
    """Discrete targets of patches without clustering: four levels of brightness.

    They are pure arithmetic, so that they run on every device, including the meta device.
    """

    size = 4

    def __init__(self, patch: int):
        self.patch = patch

    def __call__(self, x: Float[Tensor, "b c h w"]) -> Int64[Tensor, "b n"]:
        means = F.avg_pool2d(x.mean(dim=1, keepdim=True), self.patch).flatten(1)
        return (means * self.size).long().clamp(0, self.size - 1)


def _without_clusters(kind: type[Method], inputs: Mapping[str, object]) -> dict[str, object]:
    """Return the inputs that the method needs, with arithmetic in place of learned targets."""
    targets = {
        name: BrightnessTargets(PATCH)
        for name, need in kind.needs.items()
        if isinstance(need, PatchTargetNeed)
    }
    return {**inputs, **targets}


def _open_nothing(folder: Path) -> EarlierRun:
    raise ValueError(f"{folder}: the contract test has no earlier runs")


def _choose_encoder(kind: type[Method], factory: EncoderFactory | None) -> EncoderChoice:
    if factory is not None:
        return EncoderChoice("", Config(), factory)
    family, _, _ = kind.default_encoder.partition("-")
    name, options = ENCODERS.get(family, ENCODERS["resnet"])
    if kind.default_encoder == "word2vec":
        name, options = "word2vec", {"dim": 32}
    elif kind.modality == "text":
        name, options = f"{family}-tiny", ENCODERS["text"][1]
        options = options | ({"embedding": 16} if family == "albert" else {})
    config = modality_of(kind).find_encoder_options(name)
    return EncoderChoice(name, make_config(config, options | dict(kind.encoder_options)))


def _small_needs(kind: type[Method]) -> Config:
    """Return the options of the method's needs, with few clusters."""
    sections = {
        name: make_config(
            need.options, {"num_clusters": 8} if "num_clusters" in need.options.model_fields else {}
        )
        for name, need in kind.needs.items()
        if need.options is not None
    }
    return _Needs.model_validate(sections)


class _Needs(Config):
    """Sections named after the needs."""

    model_config = Config.model_config | {"extra": "allow"}


def _make_examples(
    kind: type[Method],
) -> np.ndarray | tuple[np.ndarray, np.ndarray] | list[str] | list[np.ndarray]:
    """Return structured examples, each unlike the others; never plain noise."""
    if kind.modality == "text":
        return _make_texts()
    if kind.modality == "audio":
        return _make_tones()
    field = torch.rand(COUNT, 3, 4, 4, generator=generator(SEED, "images"))
    x = F.interpolate(field, SIZE, mode="bilinear", align_corners=False)
    images = (x * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return (images, np.arange(COUNT) % CLASSES) if kind.labelled else images


def _make_texts() -> list[str]:
    random = np.random.default_rng(SEED)
    syllables = [a + b for a in "bdfklmnprst" for b in "aeiou"]
    words = ["".join(random.choice(syllables, k)) for k in random.integers(1, 4, 60)]
    return [
        " ".join(" ".join(random.choice(words[n : n + 30], 8)) + "." for _ in range(6))
        for n in range(30)
    ]


def _make_tones() -> list[np.ndarray]:
    time = np.arange(round(SECONDS * RATE)) / RATE
    tones = [np.sin(2 * np.pi * hertz * time) for hertz in np.linspace(200, 2_000, COUNT)]
    return [(0.3 * tone).astype(np.float32) for tone in tones]
