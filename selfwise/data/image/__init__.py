"""Images: folders, tables, arrays, names and Python objects."""

from selfwise.data.image.batches import Source
from selfwise.data.image.dataset import Images
from selfwise.data.image.files import readable
from selfwise.data.image.memory import in_memory
from selfwise.data.image.open import open_images

__all__ = ["Images", "Source", "in_memory", "open_images", "readable"]
