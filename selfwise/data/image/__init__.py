"""Images: folders, tables, arrays, names and Python objects."""

from selfwise.data.image.batches import ImageSource
from selfwise.data.image.dataset import Images
from selfwise.data.image.files import drop_unreadable
from selfwise.data.image.memory import load_into_memory
from selfwise.data.image.open import open_images

__all__ = ["ImageSource", "Images", "drop_unreadable", "load_into_memory", "open_images"]
