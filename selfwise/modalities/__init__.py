"""Images, text and audio: one object each, imported at its first use."""

from importlib import import_module
from typing import Protocol, cast, runtime_checkable

from selfwise.core.errors import did_you_mean
from selfwise.methods import Method
from selfwise.modalities.modality import AnyModality

NAMES = ("image", "text", "audio")


@runtime_checkable
class _HasModality(Protocol):
    MODALITY: AnyModality


def find_modality(name: str) -> AnyModality:
    """Return the object of a modality. Raises ValueError for an unknown name."""
    if name not in NAMES:
        raise ValueError(f"unknown modality {name!r}{did_you_mean(name, NAMES)}")
    module = import_module(f"selfwise.modalities.{name}.modality")
    return cast("_HasModality", module).MODALITY


def modality_of(method: type[Method]) -> AnyModality:
    """Return the object of a method's modality."""
    return find_modality(method.modality)
