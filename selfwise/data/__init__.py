"""Where examples come from."""

from selfwise.data.images import Images
from selfwise.data.open import open_images
from selfwise.data.source import Source

__all__ = ["Images", "Source", "open_images"]
