"""One file is one modality: its data, its encoders, its features, found by file name."""

from importlib import import_module
from typing import Any

from selfwise.methods import Method


def of(method: type[Method]) -> Any:
    """The module of a method's modality, with what `modalities/modality.py` lists."""
    return import_module(f"selfwise.modalities.{method.modality}")
