"""Images, text and audio: one object each, imported when it is used."""

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
    """The object of a modality. Raises ValueError for a name that there is not."""
    if name not in NAMES:
        raise ValueError(f"unknown modality {name!r}{did_you_mean(name, NAMES)}")
    module = import_module(f"selfwise.modalities.{name}.modality")
    return cast("_HasModality", module).MODALITY


def modality_of(method: type[Method]) -> AnyModality:
    """The object of a method's modality."""
    return find_modality(method.modality)
