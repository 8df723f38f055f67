"""Photos, gray photos and drawings are told apart by their tones, whatever their size."""

import numpy as np
import pytest
import torch

from selfwise.data.image import open_images
from selfwise.data.image.kind import find_kind, is_drawing, is_gray


def draw_strokes(n: int, side: int, *, ink: int, paper: int) -> np.ndarray:
    """Random bars on paper, with edges that are blurred by a pixel."""
    random = np.random.default_rng(side)
    pages = np.full((n, side, side), paper, np.float32)
    for page in pages:
        for _ in range(2):
            top, left = random.integers(2, side - side // 3, 2)
            page[top : top + side // 8 + 2, left : left + side // 3] = ink
    blurred = (pages + np.roll(pages, 1, 1) + np.roll(pages, 1, 2)) / 3
    return blurred.round().astype(np.uint8)


def make_photos(n: int, side: int) -> np.ndarray:
    """Smooth fields of color with noise."""
    random = np.random.default_rng(0)
    coarse = torch.from_numpy(random.uniform(0, 255, (n, 3, 5, 5)).astype(np.float32))
    fields = torch.nn.functional.interpolate(coarse, side, mode="bicubic").numpy()
    return np.clip(fields + random.normal(0, 8, fields.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("side", [28, 64, 200])
@pytest.mark.parametrize(("ink", "paper"), [(0, 255), (255, 0), (40, 240)])
def test_strokes_on_paper_are_drawings(side, ink, paper):
    assert find_kind(open_images(draw_strokes(20, side, ink=ink, paper=paper))) == "drawing"


def test_photos_are_photos_and_without_color_gray_ones():
    photos = make_photos(20, 48)
    assert find_kind(open_images(photos)) == "photo"
    assert find_kind(open_images(photos.mean(axis=1).astype(np.uint8))) == "gray"
    as_color = np.repeat(photos.mean(axis=1, keepdims=True), 3, axis=1).astype(np.uint8)
    assert find_kind(open_images(as_color)) == "gray"


def test_a_photo_of_an_object_on_white_is_no_drawing():
    photos = make_photos(20, 64)
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    photos[:, :, x**2 + y**2 > 0.6] = 255
    assert find_kind(open_images(photos)) == "photo"


def test_the_digits_of_scikit_learn_are_drawings():
    assert find_kind(open_images("digits:train")) == "drawing"


def test_most_images_decide():
    strokes = draw_strokes(20, 48, ink=0, paper=255)[:, None].repeat(3, axis=1)
    photos = make_photos(20, 48)
    for more, kind in ((12, "drawing"), (6, "photo")):
        mixed = np.concatenate([strokes[:more], photos[: 18 - more]])
        assert find_kind(open_images(mixed)) == kind


def test_one_tone_is_an_empty_page_and_two_channels_that_differ_are_color():
    assert is_drawing(torch.full((1, 9, 9), 0.3))
    assert is_gray(torch.full((3, 9, 9), 0.3))
    red = torch.zeros(3, 9, 9)
    red[0] = 0.1
    assert not is_gray(red)
    faint = torch.ones(1, 20, 20)
    faint[:, 5:8] = 0.7  # less contrast than ink has
    assert not is_drawing(faint)
