"""Encoders of images, text and speech, by name."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from selfwise.encoders.beit import build_beit_encoder
    from selfwise.encoders.image import build_image_encoder
    from selfwise.encoders.speech import build_speech_encoder
    from selfwise.encoders.text import build_text_encoder

__all__ = [
    "build_beit_encoder",
    "build_image_encoder",
    "build_speech_encoder",
    "build_text_encoder",
]


def __getattr__(name: str) -> object:
    """Import on first use: the encoders of images bring timm, which text and speech do not need."""
    if name not in __all__:
        raise AttributeError(f"module 'selfwise.encoders' has no attribute {name!r}")
    kind = name.removeprefix("build_").removesuffix("_encoder")
    return getattr(import_module(f"selfwise.encoders.{kind}"), name)


def __dir__() -> list[str]:
    return __all__
