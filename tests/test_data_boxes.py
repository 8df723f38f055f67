"""Boxes that are cut out of pictures lie inside, at every size and in every direction."""

import numpy as np
import pytest
from PIL import Image

from selfwise.convert import pictures
from selfwise.data.decode import _draft_size, decode_file, fitted, middle_box, read_size
from selfwise.data.open import open_images

LONGEST = 2000
DECODE = (1, 48, 96, 224, 256, 300)


def sides(short: np.ndarray, long: np.ndarray, decode: int) -> np.ndarray:
    """`fitted` for many sizes: the shorter and the longer side."""
    cut = np.minimum(long, 3 * short)
    small = short <= decode
    fits = np.where(small, [short, cut], np.rint(np.stack([short, cut]) * decode / short))
    return fits.astype(np.int64)


@pytest.mark.parametrize("decode", DECODE)
def test_every_box_up_to_2000_px_is_inside(decode):
    """The arithmetic of `middle_box`, on arrays, compared with it on some sizes."""
    lengths = np.arange(1, LONGEST + 1)
    for short in range(1, LONGEST + 1):
        long = lengths[short - 1 :]
        fits = sides(np.full_like(long, short), long, decode)
        whole = np.stack([np.full_like(long, short), long])
        scale = (whole / fits).min(axis=0)
        low = np.maximum(0.0, (whole - fits * scale) / 2)
        high = np.minimum(whole, low + fits * scale)
        assert (low >= 0).all()
        assert (high <= whole).all()
        assert (high - low > 0.99 * scale).all()
        at = short * 7919 % len(long)
        pair, size = (short, int(long[at])), tuple(int(side) for side in fits[:, at])
        assert fitted(*pair, decode) == size
        expected = (scale[at], (*low[:, at], *high[:, at]))
        assert middle_box(pair, size) == expected
        turned, box = middle_box(pair[::-1], size[::-1])
        assert (turned, (box[1], box[0], box[3], box[2])) == expected


def test_the_decoder_of_jpegs_never_gives_too_little():
    for short in range(1, LONGEST + 1):
        for decode in (*range(max(1, short // 8 - 2), short // 8 + 3), 48, 56, 59, 96, 256):
            wanted = min(short, decode)
            least = min(_draft_size((short, 3 * short), decode))
            assert least == wanted
            assert least == min(_draft_size((3 * short, short), decode))


SIZES = [(300, 258), (473, 313), (498, 329), (2000, 1), (1, 2000), (1, 1), (257, 2000), (771, 257)]


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_200_sizes_are_decoded(tmp_path, suffix):
    draw = np.random.default_rng(0).integers(1, 700, (200, 2)).tolist()
    for size in [*SIZES, *(size[::-1] for size in SIZES), *draw][: 200 if suffix == "png" else 60]:
        path = tmp_path / f"{size[0]}x{size[1]}.{suffix}"
        Image.new("L", size, 200).save(path)
        height, width = read_size(path, 256)
        assert (width, height) == fitted(*size, 256)
        pixels = decode_file(path, 1, 256)
        assert pixels.shape == (1, height, width)
        assert abs(pixels.astype(int) - 200).max() <= 3


@pytest.mark.parametrize(("side", "decode"), [(94, 48), (376, 48), (440, 56)])
def test_jpegs_have_no_black_border(tmp_path, side, decode):
    """94 * (48 / 94) is less than 48, and the decoder was asked for 47 px."""
    Image.new("L", (side, side + 20), 200).save(tmp_path / "a.jpg")
    assert decode_file(tmp_path / "a.jpg", 1, decode).min() >= 197


@pytest.mark.parametrize("mode", ["RGB", "L", "LA", "P", "CMYK", "RGBA", "I;16", "1"])
def test_every_mode_and_turn_at_a_size_that_crashed(tmp_path, mode):
    exif = Image.Exif()
    exif[274] = 6
    suffix = "jpg" if mode == "CMYK" else "png"
    Image.new(mode, (300, 258)).save(tmp_path / f"a.{suffix}", exif=exif)
    assert decode_file(tmp_path / f"a.{suffix}", 3, 256).shape == (3, 298, 256)
    assert read_size(tmp_path / f"a.{suffix}", 256) == (298, 256)


def test_the_cards_read_the_sizes_that_crashed(tmp_path):
    told = pictures.pictures(64, 3, 256)
    names = {"told": told, "np": np, "Image": Image}
    exec("from PIL import ImageOps\n" + pictures.READER, names)
    draw = np.random.default_rng(1).integers(1, 700, (60, 2)).tolist()
    for size in [*SIZES, (94, 120), *(size[::-1] for size in SIZES), *draw]:
        Image.new("RGB", size, (200, 100, 50)).save(tmp_path / "a.jpg", quality=95)
        with Image.open(tmp_path / "a.jpg") as image:
            assert abs(names["read"](image)[0] * 255 - 200).max() < 4


def test_an_error_of_the_arithmetic_names_the_file(tmp_path, monkeypatch):
    """In a file that is decoded on demand and in one that goes into a cache."""
    for i in range(3):
        Image.new("RGB", (40, 30 + i)).save(tmp_path / f"{i}.png")
    for error in (ValueError("of a box"), ZeroDivisionError("of a box")):

        def broken(image, size, error=error):
            if size[1] == 31:
                raise error
            return image

        monkeypatch.setattr("selfwise.data.decode._shrink", broken)
        with pytest.raises(ValueError, match=r"1\.png.*of a box"):
            open_images(tmp_path, cache="no").read(np.arange(3))
        with pytest.raises(ValueError, match=r"1\.png \(of a box"):
            open_images(tmp_path, cache="yes")
        assert len(open_images(tmp_path, cache="yes", skip_broken=True)) == 2


def test_an_error_in_an_item_names_it(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole.png")
    data = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "half.png").write_bytes(data[: len(data) // 2])

    class Items:
        def __len__(self):
            return 2

        def __getitem__(self, i):
            return Image.open(tmp_path / ("whole.png", "half.png")[i])

    with pytest.raises(ValueError, match=r"item 1 of Items .*half\.png"):
        open_images(Items())
