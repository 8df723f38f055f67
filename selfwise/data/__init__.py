"""Where examples come from."""

from selfwise.data.files import readable
from selfwise.data.images import Images
from selfwise.data.memory import in_memory
from selfwise.data.open import open_images
from selfwise.data.source import Source

__all__ = ["Images", "Source", "in_memory", "open_images", "readable"]
