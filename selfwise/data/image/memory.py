"""Images that are read again and again, kept in memory."""

import numpy as np

from selfwise.core.files import digest
from selfwise.data.compact_paths import take_rows
from selfwise.data.image.dataset import ArrayImages, Images

ROWS_AT_ONCE = 256  # images read together
MAX_BYTES = 2**30  # largest size of the pictures in memory


def load_into_memory(images: Images, *, max_bytes: int = MAX_BYTES) -> Images:
    """Return the same examples, read once; as they are if they would take more than `most` bytes.

    A picture that replaces a broken one (`skip_broken`) comes with its own id and label.
    """
    if isinstance(images, ArrayImages) or not len(images):
        return images
    batches, canvas = [], np.zeros(2, dtype=np.int64)
    for first in range(0, len(images), ROWS_AT_ONCE):
        batch = images.read(np.arange(first, min(first + ROWS_AT_ONCE, len(images))))
        canvas = np.maximum(canvas, batch.x.shape[2:])
        if len(images) * images.channels * int(canvas.prod()) > max_bytes:
            return images
        batches.append(batch)
    x = np.zeros((len(images), images.channels, *canvas), dtype=np.uint8)
    extent = np.empty((len(images), 2), dtype=np.int64)
    for number, batch in enumerate(batches):
        part = slice(number * ROWS_AT_ONCE, number * ROWS_AT_ONCE + len(batch.x))
        height, width = batch.x.shape[2:]
        x[part, :, :height, :width] = batch.x
        extent[part] = (height, width) if batch.extent is None else batch.extent
    rows = np.concatenate([batch.index for batch in batches])
    return ArrayImages(
        x=x,
        ids=take_rows(images.ids, rows),
        channels=images.channels,
        fingerprint=digest(images.fingerprint, rows),
        labels=None if images.labels is None else images.labels[rows],
        classes=images.classes,
        extent=None if (extent == canvas).all() else extent,
    )
