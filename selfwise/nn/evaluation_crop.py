"""Which central part of an image an encoder sees when its features are measured."""

MAX_WHOLE_SIZE = 64  # px: up to here the whole image is read, as is the custom on CIFAR and STL
CROP_FRACTION = 0.875  # 224 of 256 px, as on ImageNet


def choose_crop_fraction(size: int) -> float:
    """Return the side of the central square that is read, as a share of the image's shorter side.

    `size` is the side in pixels that the square is resized to.
    """
    return CROP_FRACTION if size > MAX_WHOLE_SIZE else 1.0
