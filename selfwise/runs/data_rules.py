"""Defaults that depend on the data or the machine, for every method that has the option."""

from collections.abc import Mapping

from selfwise.methods.default_rules import Conditions, DefaultRule

SMALL_ENCODER = "settings for SimCLR on CIFAR-10 with two cores"
TEXT_ROWS = "the rate of BERT mini on novels"
SMALL = 64  # px
# a ResNet with one block a stage and three quarters of the width, on maps of half the side
LAYERS, CHANNELS = (1, 1, 1, 1), (48, 96, 192, 384)


def _choose_layers(about: Conditions) -> list[int] | None:
    return list(LAYERS) if about.on_cpu else None


def _choose_channels(about: Conditions) -> list[int] | None:
    return list(CHANNELS) if about.on_cpu else None


def _choose_stem(about: Conditions) -> str | None:
    return "half" if about.on_cpu and 16 < about.side <= SMALL else None


def _choose_batch(about: Conditions) -> int | None:
    """Return the largest power of two that is at most half of the images, if that is below 256."""
    half = about.examples // 2
    return None if half >= 256 else max(2, 1 << max(0, half.bit_length() - 1))


def _choose_flip(about: Conditions) -> float | None:
    return 0.0 if about.image_kind == "drawing" else None


IMAGE_RULES = (
    DefaultRule(
        "encoder.layers",
        "machine",
        _choose_layers,
        "one block in each stage of the ResNet on a CPU",
        SMALL_ENCODER,
    ),
    DefaultRule(
        "encoder.channels",
        "machine",
        _choose_channels,
        "48, 96, 192 and 384 on a CPU, where a ResNet-18 takes forty times as long",
        SMALL_ENCODER,
    ),
    DefaultRule(
        "encoder.stem",
        "machine",
        _choose_stem,
        "half on a CPU, for images of 17 to 64 px",
        SMALL_ENCODER,
    ),
    DefaultRule(
        "batch_size",
        "data",
        _choose_batch,
        "the largest power of two up to half of the images, below 512 images: 256 would not fit",
    ),
    DefaultRule(
        "flip_prob",
        "data",
        _choose_flip,
        "0 for drawings: a mirrored character is another one",
        "drawings that are mirrored",
    ),
)
TEXT_RULES = (
    DefaultRule(
        "batch_size",
        "machine",
        lambda about: 32 if about.on_cpu else None,
        "32 rows on a CPU: more steps in the same time",
        TEXT_ROWS,
    ),
    DefaultRule(
        "max_length",
        "machine",
        lambda about: 64 if about.on_cpu else None,
        "64 tokens on a CPU: shorter rows have fewer positions to learn",
        TEXT_ROWS,
    ),
)
DATA_RULES: Mapping[str, tuple[DefaultRule, ...]] = {
    "image": IMAGE_RULES,
    "text": TEXT_RULES,
    "audio": (),
}
