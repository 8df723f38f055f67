"""The preparation of an image for an encoder, in the terms of other tools."""

from collections.abc import Sequence
from math import floor, nextafter

from selfwise.interop.types import JsonObject
from selfwise.nn.evaluation_crop import choose_crop_fraction

MAX_ASPECT_RATIO = 3  # longer side over shorter side, as in our reading, which crops the rest


def shorter_side(size: int) -> int:
    """To how many pixels the shorter side is resized before the middle `size` of them are cut.

    It is what other tools do in place of ours, which cuts first and resizes then.
    """
    return round(size / choose_crop_fraction(size))


def crop_pct(size: int) -> float:
    """timm's word for it; timm resizes to floor(size / crop_pct)."""
    resized = shorter_side(size)
    candidates = (choose_crop_fraction(size), size / resized, nextafter(size / resized, 0))
    return next(pct for pct in candidates if floor(size / pct) == resized)


def describe_preprocessing(size: int, channels: int, decode: int) -> JsonObject:
    """preprocessing.json of a model that brings the values to its mean and deviation by itself.

    The steps are those of `selfwise embed`, in their order, with the numbers that they need.
    `decode`: the longest shorter side in px, to which larger files are shrunk.
    """
    return {
        "input": "x",
        "layout": "float32, batch x channels x height x width, values of 0..1",
        "channels": channels,
        "size": size,
        "decode": decode,
        "longest": MAX_ASPECT_RATIO,
        "crop_fraction": choose_crop_fraction(size),
        "mean": [0.0] * channels,
        "std": [1.0] * channels,
        "steps": [
            "read: 8 bits a channel; a JPEG at 1/2, 1/4 or 1/8 of its size where its shorter side "
            "then still has `decode` px; transparent pixels are blended with white",
            "shrink, if the shorter side has more than `decode` px: to round(side * decode / "
            "shorter side), bicubic with antialiasing, to 8 bits; of a picture longer than "
            "`longest` times its shorter side, the middle of that length",
            f"colors: {'RGB' if channels == 3 else 'gray, as Pillow converts to mode L'}",
            "turn upright, by the EXIF orientation",
            "cut: the central square with a side of round(shorter side * crop_fraction)",
            "resize the square to `size`: bicubic (a = -0.5) with antialiasing, no rounding to 8 "
            "bits, no pixel outside the square is used",
            "scale: divide by 255, limit to 0..1",
        ],
    }


def fill_statistics(
    mean: Sequence[float] | None, std: Sequence[float] | None, channels: int
) -> tuple[list[float], list[float]]:
    """(mean, deviation) of each channel; without statistics 0 and 1, which leave values as are."""
    if mean is None or std is None:
        return [0.0] * channels, [1.0] * channels
    return list(mean), list(std)


# `read` of the cards: the steps above with Pillow and numpy; it reads its options from `reading`
READER = '''\
def read(image):
    """A picture as the encoder wants it: float32 (channels, size, size)."""
    whole, short = image.size, min(image.size)
    decode = min(short, reading["decode"])
    long = [min(side, reading["longest"] * short) for side in whole]
    wide, high = (round(side * decode / short) for side in long)
    image.draft(None, [-(-side * decode // short) for side in whole])
    image.load()
    turn = image.getexif().get(274, 1)  # the orientation
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("RGB")
    if image.width > wide and image.height > high:
        full = min(image.width * high, image.height * wide)  # whole numbers: no edge outside
        x, y = image.width * high, image.height * wide
        box = ((x - full) / (2 * high), (y - full) / (2 * wide))
        box += ((x + full) / (2 * high), (y + full) / (2 * wide))
        image = image.resize((wide, high), Image.Resampling.BICUBIC, box=box)
    elif (wide, high) != image.size:
        left, top = (image.width - wide) // 2, (image.height - high) // 2
        image = image.crop((left, top, left + wide, top + high))
    image.getexif()[274] = turn
    image = ImageOps.exif_transpose(image).convert("RGB" if reading["channels"] == 3 else "L")
    side = max(1, round(min(image.size) * reading["crop_fraction"]))
    left, top = (round((whole - side) / 2) for whole in image.size)
    square = image.crop((left, top, left + side, top + side))
    planes = [Image.fromarray(np.asarray(band, np.float32)) for band in square.split()]
    planes = [plane.resize((reading["size"],) * 2, Image.Resampling.BICUBIC) for plane in planes]
    return np.stack(planes).clip(0, 255) / np.float32(255)'''
