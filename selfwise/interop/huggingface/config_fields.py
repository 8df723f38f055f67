"""Fields of Hugging Face's config.json, with the types that they have in transformers."""

import json
from collections.abc import Mapping
from textwrap import shorten

from selfwise.interop.types import JsonObject

MAX_SIZE = 2**24  # of whole numbers: the largest vocabularies have a million tokens
FREE_FIELDS = ("pad_token_id",)  # checked where it is used


def merge_fields(config: Mapping[str, object], defaults: Mapping[str, object]) -> JsonObject:
    """Return the fields of a config.json over their defaults.

    Raises ValueError for a field of another type than its default, and for sizes and fractions out
    of range.
    """
    for name, default in defaults.items():
        if name in config and name not in FREE_FIELDS:
            _check_field(name, config[name], default)
    return {**defaults, **config}


def _check_field(name: str, value: object, default: object) -> None:
    if isinstance(default, bool):
        right, expected = isinstance(value, bool), "true or false"
    elif isinstance(default, int) or default is None:
        right, expected = _is_size(value), f"a whole number from 0 to {MAX_SIZE}"
        right = right or (default is None and value is None) or _are_sides(name, value)
    elif isinstance(default, float):
        right, expected = _is_fraction(value), "a number from 0 to 1"
    elif isinstance(default, list):
        right = isinstance(value, list | tuple) and all(_is_size(one) for one in value)
        expected = "a list of whole numbers"
    else:
        right, expected = isinstance(value, str), "text"
    if not right:
        got = shorten(json.dumps(value), 80, placeholder=" ...")
        raise ValueError(f"config.json: {name} must be {expected}, not {got}")


def _is_size(value: object) -> bool:
    return type(value) is int and 0 <= value <= MAX_SIZE


def _are_sides(name: str, value: object) -> bool:
    """Return whether these are height and width, which BEiT may have for images and patches."""
    sides = isinstance(value, list | tuple) and bool(value) and all(_is_size(one) for one in value)
    return name in ("image_size", "patch_size") and sides


def _is_fraction(value: object) -> bool:
    return type(value) in (int, float) and isinstance(value, int | float) and 0 <= value <= 1
