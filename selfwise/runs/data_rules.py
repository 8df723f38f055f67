"""Defaults that depend on what the data are, for every method that has the option."""

from collections.abc import Mapping

from selfwise.methods.default_rules import Rule, Situation


def _choose_crop(about: Situation) -> float | None:
    return 0.5 if about.image_kind == "drawing" else None


def _choose_flip(about: Situation) -> float | None:
    return 0.0 if about.image_kind == "drawing" else None


IMAGE_RULES = (
    Rule(
        "min_crop_scale",
        "data",
        _choose_crop,
        "0.5 for drawings: less of a character or a sketch is often another one",
        "defaults for drawings and photos",
    ),
    Rule(
        "flip_prob",
        "data",
        _choose_flip,
        "0 for drawings: a mirrored character is another one",
        "defaults for drawings and photos",
    ),
)
DATA_RULES: Mapping[str, tuple[Rule, ...]] = {"image": IMAGE_RULES, "text": (), "audio": ()}
