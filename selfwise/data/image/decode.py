"""One image file or Pillow image -> uint8 (c h w). Needs nothing but Pillow and numpy."""

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from typing import Any

import numpy as np
from PIL import Image

from selfwise.core.memory_limit import SMALL, describe_excess, find_limit
from selfwise.data.unreadable import FILE_ERRNOS, UnreadableFile, check_not_special

# Named, so that Pillow tries no other: an EPS in disguise would be handed to Ghostscript. JPEG
# includes MPO, the two-picture files of phones.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "DIB", "TIFF", "GIF")
MAX_ASPECT = 3  # longer side over shorter side; what goes beyond is cut off at both ends

# The errors of Pillow for bytes that are not an image, by format; its documentation has no list.
DAMAGE_ERRORS = (
    *(OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError),
    *(struct.error, zlib.error, Image.DecompressionBombError, Image.DecompressionBombWarning),
)
TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# bytes of memory for a pixel, at most, with the copies that conversions make: those of transparent
# pictures to white, and of deep gray to float64
PIXEL_BYTES = {"1": 3, "L": 3, "RGB": 8, "YCbCr": 8, "CMYK": 8}
MOST_PIXEL_BYTES = 24
ORIENTATION_TAG = 0x0112  # the EXIF tag


def read_size(path: str | PathLike[str], decode: int) -> tuple[int, int]:
    """(height, width) that `decode_file` will give, by the header. Raises UnreadableFile."""
    try:
        check_not_special(path)
        with Image.open(path, formats=FORMATS) as image:
            _check_memory(image, decode)
            width, height = fit_size(*image.size, decode)
            return (width, height) if read_orientation(image) >= 5 else (height, width)
    except DAMAGE_ERRORS as error:
        raise to_unreadable_file(error) from error


def decode_file(path: str | PathLike[str], channels: int, decode: int) -> np.ndarray:
    """Return the first frame of an image file as uint8 (c h w).

    Upright (EXIF), on white where it is transparent, 16-bit values divided by 257; cut to 3:1 in
    the middle and shrunk (never enlarged) until the shorter side is `decode` px. Color PNGs with
    16 bits are the exception: Pillow gives their upper 8 bits. A PNG is turned only if its EXIF
    block comes before its pixels, as Pillow and the standard's advice put it.

    Raises UnreadableFile, a ValueError, if the file is not an image or is damaged.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            turn = read_orientation(image)
            size = fit_size(*image.size, decode)
            _check_memory(image, decode)
            image.draft(None, draft_size(*image.size, decode))
            image.load()
            return _to_pixels(_crop_and_resize(to_eight_bit(image), size), channels, turn)
    except DAMAGE_ERRORS as error:
        raise to_unreadable_file(error) from error


def decode_image(image: Image.Image, channels: int, decode: int) -> np.ndarray:
    """Return a Pillow image in memory, treated like a file: uint8 (c h w).

    Raises UnreadableFile as `decode_file` does: the image may be an opened file without its pixels.
    """
    try:
        size, turn = fit_size(*image.size, decode), read_orientation(image)
        return _to_pixels(_crop_and_resize(to_eight_bit(image), size), channels, turn)
    except DAMAGE_ERRORS as error:
        raise to_unreadable_file(error) from error


def _check_memory(image: Image.Image, decode: int) -> None:
    """Raise UnreadableFile if the pixels would take more memory than one file may.

    A JPEG is decoded at a half, a quarter or an eighth of its size where that is enough.
    """
    width, height = image.size
    scale = 1
    if image.format == "JPEG":
        scale = next((s for s in (8, 4, 2) if min(width, height) >= s * decode), 1)
    each = PIXEL_BYTES.get(image.mode, MOST_PIXEL_BYTES)
    excess = describe_excess(each * -(-width // scale) * -(-height // scale))
    if excess:
        raise UnreadableFile(f"{width} x {height} pixels; {excess}")


@contextmanager
def limit_pixels() -> Iterator[None]:
    """Let Pillow refuse files whose pixels exceed the memory limit, where other code opens them.

    Pillow raises DecompressionBombError, as for files above its own limit.
    """
    before = Image.MAX_IMAGE_PIXELS
    most = max(find_limit().bytes, SMALL) // (2 * PIXEL_BYTES["RGB"])  # Pillow allows twice that
    Image.MAX_IMAGE_PIXELS = most if before is None else min(most, before)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def fit_size(width: int, height: int, decode: int) -> tuple[int, int]:
    """(width, height) after the cut to 3:1 and the shrinking to `decode` px."""
    short = min(width, height)
    cut = [min(side, MAX_ASPECT * short) for side in (width, height)]
    if short <= decode:
        return cut[0], cut[1]
    return round(cut[0] * decode / short), round(cut[1] * decode / short)


def read_orientation(image: Image.Image) -> int:
    """Return the EXIF orientation 1..8 that is still to be undone, known before the pixels are."""
    if image.format == "TIFF":  # Pillow turns these by itself
        return 1
    if image.format == "PNG" and "exif" not in image.info:  # getexif would decode the pixels
        return 1
    turn: Any = image.getexif().get(ORIENTATION_TAG, 1)
    return turn if turn in TRANSPOSES else 1


def to_eight_bit(image: Image.Image) -> Image.Image:
    """Any mode as L or RGB, on white where it is transparent.

    Raises UnreadableFile for deep gray outside its range, and for modes that need a color profile.
    """
    if image.mode[0] in "IF":
        return _convert_deep_grey(image)
    if image.mode == "LAB":
        raise UnreadableFile("CIELAB colors cannot be read; save the file as RGB")
    if "transparency" in image.info or image.mode in ("RGBA", "RGBa", "LA", "La", "PA"):
        image = image.convert("LA") if image.mode == "La" else image
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def to_unreadable_file(error: BaseException) -> UnreadableFile:
    """Return the reason in few words. Raises the error again if it is the machine's, not the
    file's."""
    if isinstance(error, UnreadableFile):
        return error
    if isinstance(error, OSError) and error.errno not in FILE_ERRNOS:
        raise error
    if isinstance(error, Image.UnidentifiedImageError):
        return UnreadableFile("not an image")
    if isinstance(error, OSError) and error.strerror:
        return UnreadableFile(error.strerror.lower())
    return UnreadableFile(" ".join(str(error).split()) or type(error).__name__)


def draft_size(width: int, height: int, decode: int) -> tuple[int, int]:
    """Return the size that a JPEG decoder must not go below (it halves once, twice or three times).

    Rounded up in whole numbers, so that it is never below what `fit_size` gives.
    """
    short = min(width, height)
    if short <= decode:
        return width, height
    return -(-width * decode // short), -(-height * decode // short)


def centred_box(
    image: tuple[int, int], target: tuple[int, int]
) -> tuple[float, float, float, float]:
    """(left, top, right, bottom) of the largest box in the middle of an image with the aspect of
    `target`; both are (width, height).

    The products are whole numbers and each edge is rounded once, so no edge can lie outside the
    image: a box computed from a ratio can, by 1e-14, and Pillow refuses it.
    """
    (width, height), (wide, high) = image, target
    x, y = width * high, height * wide
    full = min(x, y)
    left, top = (x - full) / (2 * high), (y - full) / (2 * wide)
    return left, top, (x + full) / (2 * high), (y + full) / (2 * wide)


def _convert_deep_grey(image: Image.Image) -> Image.Image:
    """16-bit, 32-bit and float gray as L.

    Whole numbers are 0..65535. Floats are 0..1 or, if any is larger, 0..255: both are written,
    and nothing in a file tells them apart.
    """
    values = np.asarray(image).astype(np.float64)
    transparent = image.info.get("transparency")
    low, high = values.min(), values.max()
    is_float = image.mode == "F"
    white = (1 if high <= 1 else 255) if is_float else 65535
    if not (low >= 0 and high <= white):
        expected = "0..1 or 0..255" if is_float else "0..65535"
        raise UnreadableFile(f"values from {low:g} to {high:g}; expected {expected}")
    grey = np.rint(values * (255 / white)).astype(np.uint8)
    if isinstance(transparent, int):
        grey[values == transparent] = 255
    return Image.fromarray(grey)


def _crop_and_resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Cut to the aspect of `size` in the middle, then resize (antialiased) if it is larger."""
    (width, height), (wide, high) = image.size, size
    if width <= wide or height <= high:
        left, top = (width - wide) // 2, (height - high) // 2
        return image.crop((left, top, left + wide, top + high))
    box = centred_box(image.size, size)
    return image.resize(size, Image.Resampling.BICUBIC, box=box)


def _to_pixels(image: Image.Image, channels: int, turn: int) -> np.ndarray:
    image = image.convert("L" if channels == 1 else "RGB")
    if turn in TRANSPOSES:
        image = image.transpose(TRANSPOSES[turn])
    pixels = np.asarray(image)
    return pixels[None].copy() if channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))
