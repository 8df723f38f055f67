"""Every kind of file becomes the right 8-bit pixels: checked against values known beforehand."""

import numpy as np
import pytest
from PIL import Image

from selfwise.data.image.decode import centred_box, decode_file, decode_image, fit_size, read_size
from selfwise.data.image.open import open_images
from selfwise.data.unreadable import ReadError, UnreadableFile

H, W = 5, 7


@pytest.fixture
def rgb() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (H, W, 3), dtype=np.uint8)


def chw(pixels: np.ndarray) -> np.ndarray:
    return pixels.transpose(2, 0, 1)


def luma(rgb: np.ndarray) -> np.ndarray:
    return rgb.astype(np.float64) @ [0.299, 0.587, 0.114]


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "tiff", "webp", "PNG"])
def test_lossless_colour(tmp_path, rgb, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(rgb).save(path, **({"lossless": True} if suffix == "webp" else {}))
    assert np.array_equal(decode_file(path, 3, 256), chw(rgb))
    assert read_size(path, 256) == (H, W)
    grey = decode_file(path, 1, 256)
    assert grey.shape == (1, H, W)
    assert np.abs(grey[0] - luma(rgb)).max() <= 1


@pytest.mark.parametrize("suffix", ["jpg", "jpeg"])
def test_jpeg_is_close(tmp_path, suffix):
    smooth = np.mgrid[0:64, 0:64].sum(axis=0)[..., None] * np.array([1.0, 1.5, 0.5])
    pixels = smooth.astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / f"a.{suffix}", quality=95)
    decoded = decode_file(tmp_path / f"a.{suffix}", 3, 256).astype(int)
    assert np.abs(decoded - chw(pixels)).mean() < 2


def test_gif_gives_its_first_frame(tmp_path):
    red, blue = (Image.new("RGB", (W, H), colour) for colour in ("#f00", "#00f"))
    red.save(tmp_path / "a.gif", save_all=True, append_images=[blue])
    assert (decode_file(tmp_path / "a.gif", 3, 256)[:, 0, 0] == [255, 0, 0]).all()


def test_phone_files_with_two_pictures_give_the_first(tmp_path):
    red, blue = (Image.new("RGB", (16, 16), colour) for colour in ("#f00", "#00f"))
    red.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[blue])
    assert Image.open(tmp_path / "a.jpg").format == "MPO"
    assert np.abs(decode_file(tmp_path / "a.jpg", 3, 256)[:, 0, 0] - [255.0, 0, 0]).max() <= 2


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_grey_is_repeated(tmp_path, suffix):
    grey = np.full((H, W), 77, dtype=np.uint8)
    Image.fromarray(grey).save(tmp_path / f"a.{suffix}")
    assert (decode_file(tmp_path / f"a.{suffix}", 3, 256) == 77).all()
    assert np.array_equal(decode_file(tmp_path / f"a.{suffix}", 1, 256), grey[None])


def test_one_bit_is_black_and_white(tmp_path):
    bits = np.random.default_rng(1).random((H, W)) < 0.5
    Image.fromarray(bits).save(tmp_path / "a.png")
    assert Image.open(tmp_path / "a.png").mode == "1"
    assert np.array_equal(decode_file(tmp_path / "a.png", 1, 256)[0], bits * 255)


def palette(tmp_path, **options) -> tuple[np.ndarray, np.ndarray]:
    """A palette PNG, its index and its colours."""
    index = (np.arange(H * W) % 4).reshape(H, W).astype(np.uint8)
    colours = np.array([[255, 0, 0], [0, 200, 0], [0, 0, 90], [10, 20, 30]], dtype=np.uint8)
    image = Image.frombytes("P", (W, H), index.tobytes())
    image.putpalette(colours.tobytes())
    image.save(tmp_path / "a.png", **options)
    return index, colours


def test_palette(tmp_path):
    index, colours = palette(tmp_path)
    assert np.array_equal(decode_file(tmp_path / "a.png", 3, 256), chw(colours[index]))


def test_palette_with_transparency_lies_on_white(tmp_path):
    index, colours = palette(tmp_path, transparency=bytes([255, 0, 255, 255]))
    colours[1] = 255
    assert np.array_equal(decode_file(tmp_path / "a.png", 3, 256), chw(colours[index]))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_composited_over_white(tmp_path, mode):
    pixels = np.random.default_rng(2).integers(0, 256, (H, W, len(mode)), dtype=np.uint8)
    Image.frombytes(mode, (W, H), pixels.tobytes()).save(tmp_path / "a.png")
    assert Image.open(tmp_path / "a.png").mode == mode
    alpha = pixels[..., -1:] / 255
    expected = np.broadcast_to(pixels[..., :-1] * alpha + 255 * (1 - alpha), (H, W, 3))
    assert np.abs(decode_file(tmp_path / "a.png", 3, 256) - chw(expected)).max() <= 1


def test_transparent_colour_of_an_opaque_mode_becomes_white(tmp_path, rgb):
    rgb[1, 2] = (1, 2, 3)
    Image.fromarray(rgb).save(tmp_path / "a.png", transparency=(1, 2, 3))
    rgb[1, 2] = 255
    assert np.array_equal(decode_file(tmp_path / "a.png", 3, 256), chw(rgb))


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_cmyk(tmp_path, suffix):
    ink = np.empty((8, 8, 4), dtype=np.uint8)
    ink[:] = (200, 30, 120, 60)
    options = {"quality": 100} if suffix == "jpg" else {}
    Image.frombytes("CMYK", (8, 8), ink.tobytes()).save(tmp_path / f"a.{suffix}", **options)
    assert Image.open(tmp_path / f"a.{suffix}").mode == "CMYK"
    expected = (255 - ink[..., :3].astype(float)) * (255 - ink[..., 3:].astype(float)) / 255
    assert np.abs(decode_file(tmp_path / f"a.{suffix}", 3, 256) - chw(expected)).max() <= 3


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_grey_is_divided_by_257_not_truncated(tmp_path, suffix):
    deep = np.linspace(0, 65535, H * W).astype(np.uint16).reshape(H, W)
    Image.fromarray(deep).save(tmp_path / f"a.{suffix}")
    assert Image.open(tmp_path / f"a.{suffix}").mode.startswith("I;16")
    expected = np.rint(deep / 257)
    assert (expected != deep >> 8).any()
    assert np.array_equal(decode_file(tmp_path / f"a.{suffix}", 1, 256)[0], expected)
    assert np.array_equal(decode_file(tmp_path / f"a.{suffix}", 3, 256)[2], expected)


def test_big_endian_16_bit(tmp_path):
    deep = np.linspace(0, 65535, H * W).astype(">u2").reshape(H, W)
    Image.frombytes("I;16B", (W, H), deep.tobytes()).save(tmp_path / "a.tif")
    assert np.array_equal(decode_file(tmp_path / "a.tif", 1, 256)[0], np.rint(deep / 257))


def test_mode_i_holds_16_bit_values(tmp_path):
    values = np.linspace(0, 65535, H * W).astype(np.int32).reshape(H, W)
    Image.fromarray(values).save(tmp_path / "a.tif")
    assert Image.open(tmp_path / "a.tif").mode == "I"
    assert np.array_equal(decode_file(tmp_path / "a.tif", 1, 256)[0], np.rint(values / 257))
    Image.fromarray(values * 2).save(tmp_path / "b.tif")
    with pytest.raises(UnreadableFile, match=r"131070; expected 0\.\.65535"):
        decode_file(tmp_path / "b.tif", 1, 256)


def test_16_bit_transparent_value_becomes_white():
    image = Image.fromarray(np.array([[0, 257, 514]], dtype=np.uint16))
    image.info["transparency"] = 257
    assert decode_image(image, 1, 256).tolist() == [[[0, 255, 2]]]


@pytest.mark.parametrize("top", [1.0, 255.0])
def test_mode_f_is_unit_or_byte_range(tmp_path, top):
    values = np.linspace(0, top, H * W, dtype=np.float32).reshape(H, W)
    Image.fromarray(values).save(tmp_path / "a.tif")
    assert Image.open(tmp_path / "a.tif").mode == "F"
    expected = np.rint(values.astype(np.float64) * 255 / top)
    assert np.array_equal(decode_file(tmp_path / "a.tif", 1, 256)[0], expected)


@pytest.mark.parametrize("bad", [-0.1, 256.0, np.nan])
def test_mode_f_outside_its_range_is_refused(bad):
    with pytest.raises(UnreadableFile, match="; expected 0"):
        decode_image(Image.fromarray(np.array([[0.5, bad]], dtype=np.float32)), 1, 256)


# How a picture is stored so that it looks upright after its EXIF orientation is obeyed; the
# EXIF standard names the sides that row 0 and column 0 stand for.
STORED = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: np.rot90(p, 1),
    7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
    8: lambda p: np.rot90(p, -1),
}


@pytest.mark.parametrize("orientation", list(STORED))
@pytest.mark.parametrize("suffix", ["png", "tif", "webp", "jpg"])
def test_exif_orientation_is_undone(tmp_path, orientation, suffix):
    upright = np.zeros((16, 24, 3), dtype=np.uint8)
    upright[:8, :8] = 250  # a corner that no flip or turn leaves where it is
    upright[:8, 8:] = 120
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](upright)))
    options = {"webp": {"lossless": True}, "jpg": {"quality": 100}}.get(suffix, {})
    stored.save(tmp_path / f"a.{suffix}", exif=exif, **options)
    decoded = decode_file(tmp_path / f"a.{suffix}", 3, 256)
    assert decoded.shape[1:] == read_size(tmp_path / f"a.{suffix}", 256) == (16, 24)
    assert np.abs(decoded.astype(int) - chw(upright)).max() <= (6 if suffix == "jpg" else 0)


def test_sizes_after_fitting():
    assert fit_size(640, 480, 256) == (341, 256)
    assert fit_size(480, 640, 256) == (256, 341)
    assert fit_size(100, 80, 256) == (100, 80)  # never enlarged
    assert fit_size(1000, 100, 256) == (300, 100)  # 3:1 at most
    assert fit_size(100, 3000, 50) == (50, 150)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_large_images_are_shrunk_without_aliasing(tmp_path, suffix):
    checker = (np.indices((400, 600)).sum(axis=0) % 2 * 255).astype(np.uint8)
    Image.fromarray(checker).save(tmp_path / f"a.{suffix}", quality=100)
    decoded = decode_file(tmp_path / f"a.{suffix}", 1, 100)
    assert decoded.shape == (1, 100, 150)
    assert np.abs(decoded[0, 4:-4, 4:-4].astype(int) - 128).max() <= 4  # picked pixels: 0 or 255


def test_jpegs_are_decoded_at_the_size_that_is_needed(tmp_path, monkeypatch):
    gradient = np.repeat(np.linspace(0, 255, 800)[None], 800, axis=0).astype(np.uint8)
    Image.fromarray(gradient).save(tmp_path / "a.jpg", quality=95)
    seen = []
    from selfwise.data.image import decode

    original = decode.to_eight_bit
    monkeypatch.setattr(decode, "to_eight_bit", lambda im: seen.append(im.size) or original(im))
    decoded = decode.decode_file(tmp_path / "a.jpg", 1, 100)
    assert seen == [(100, 100)]
    expected = gradient.reshape(800, 100, 8).mean(axis=2)[:100]
    assert np.abs(decoded[0] - expected).max() <= 4
    decode.decode_file(tmp_path / "a.jpg", 1, 150)
    assert seen[-1] == (200, 200)  # the next power of two above, then resized


def test_the_cut_to_three_to_one_keeps_the_middle(tmp_path):
    strip = np.zeros((10, 100), dtype=np.uint8)
    strip[:, 35:65] = 200
    Image.fromarray(strip).save(tmp_path / "a.png")
    assert (decode_file(tmp_path / "a.png", 1, 256) == 200).all()
    assert decode_file(tmp_path / "a.png", 1, 256).shape == (1, 10, 30)
    Image.fromarray(strip.repeat(8, 0).repeat(8, 1).T.copy()).save(tmp_path / "b.jpg", quality=95)
    decoded = decode_file(tmp_path / "b.jpg", 1, 20)
    assert decoded.shape == (1, 60, 20)
    assert np.abs(decoded[:, 3:-3].astype(int) - 200).max() <= 3


def test_what_is_no_image_is_said_in_few_words(tmp_path, rgb):
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "empty.png").write_bytes(b"")
    for name in ("text.jpg", "empty.png"):
        with pytest.raises(UnreadableFile, match=r"^not an image$"):
            read_size(tmp_path / name, 256)
        with pytest.raises(UnreadableFile, match=r"^not an image$"):
            decode_file(tmp_path / name, 3, 256)
    with pytest.raises(UnreadableFile, match="no such file"):
        decode_file(tmp_path / "gone.png", 3, 256)


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "tif", "webp", "gif"])
def test_truncated_files_are_refused_when_decoded(tmp_path, suffix):
    noise = np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UnreadableFile):
        decode_file(path, 3, 256)


def test_postscript_in_disguise_is_not_handed_to_an_interpreter(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.eps")
    (tmp_path / "a.eps").rename(tmp_path / "a.jpg")
    with pytest.raises(UnreadableFile, match="not an image"):
        decode_file(tmp_path / "a.jpg", 3, 256)


def test_the_machines_errors_are_not_blamed_on_a_file(tmp_path, monkeypatch):
    def no_more_files(*_, **__):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(Image, "open", no_more_files)
    with pytest.raises(OSError, match="Too many open files") as caught:
        decode_file(tmp_path / "a.jpg", 3, 256)
    assert not isinstance(caught.value, ValueError)


def centred_boxes(width, height, decode):
    """Targets and boxes of `centred_box` for arrays of sizes, in the same arithmetic."""
    short = np.minimum(width, height)
    least = np.minimum(short, decode)
    cut = [np.minimum(side, 3 * short) for side in (width, height)]
    wide, high = (np.rint(side * least / short).astype(np.int64) for side in cut)
    x, y = width * high, height * wide
    full = np.minimum(x, y)
    edges = (x - full) / (2 * high), (y - full) / (2 * wide)
    return wide, high, *edges, (x + full) / (2 * high), (y + full) / (2 * wide)


@pytest.mark.parametrize("decode", [32, 224, 256])
def test_no_box_leaves_its_image_whatever_the_size(decode):
    """All sizes to 2,000 px, also those that a JPEG decoder halves once, twice and three times."""
    width, height = np.mgrid[1:2001, 1:2001].reshape(2, -1)
    wide, high, *edges = centred_boxes(width, height, decode)
    some = np.random.default_rng(0).integers(0, len(width), 200)
    for row in some:  # the arrays say what the code says
        size = int(width[row]), int(height[row])
        assert fit_size(*size, decode) == (wide[row], high[row])
        assert centred_box(size, (int(wide[row]), int(high[row]))) == tuple(e[row] for e in edges)
    for halved in (1, 2, 4, 8):
        drawn_width, drawn_height = -(-width // halved), -(-height // halved)
        least = [draft_size_of(width, height, decode, axis) for axis in (0, 1)]
        usable = (drawn_width >= least[0]) & (drawn_height >= least[1])
        assert (drawn_width >= wide)[usable].all()
        assert (drawn_height >= high)[usable].all()
        x, y = drawn_width * high, drawn_height * wide
        full = np.minimum(x, y)
        left, right = (x - full) / (2 * high), (x + full) / (2 * high)
        top, bottom = (y - full) / (2 * wide), (y + full) / (2 * wide)
        assert (left >= 0).all()
        assert (top >= 0).all()
        assert (np.float32(right) <= drawn_width).all()  # Pillow rounds a box to float32
        assert (np.float32(bottom) <= drawn_height).all()


def draft_size_of(width, height, decode, axis):
    short = np.minimum(width, height)
    side = (width, height)[axis]
    return np.where(short <= decode, side, -(-side * decode // short))


def test_photos_of_200_sizes_are_read(tmp_path):
    """Among them the sizes of a user whose photos were refused."""
    sides = np.random.default_rng(1).integers(257, 600, (194, 2)).tolist()
    known = [(300, 258), (258, 300), (473, 313), (498, 329), (698, 511), (511, 698)]
    for width, height in [*known, *map(tuple, sides)]:
        path = tmp_path / "photo.jpg"
        Image.new("RGB", (width, height), (200, 200, 200)).save(path)
        pixels = decode_file(path, 3, 256)
        assert pixels.shape[1:] == fit_size(width, height, 256)[::-1] == read_size(path, 256)
        assert pixels.min() > 190, (width, height)  # nothing is added at an edge


@pytest.mark.parametrize("size", [(94, 94), (94, 141), (141, 94)])
def test_a_jpeg_is_not_halved_below_what_is_wanted(tmp_path, size):
    """94 * (48 / 94) is below 48 in floating point: half the size would lack a pixel."""
    assert int(94 * (48 / 94)) == 47
    Image.new("RGB", size, (200, 200, 200)).save(tmp_path / "a.jpg")
    pixels = decode_file(tmp_path / "a.jpg", 3, 48)
    assert pixels.shape[1:] == fit_size(*size, 48)[::-1]
    assert pixels.min() > 190


def test_any_error_of_a_decoder_is_about_its_file(tmp_path, monkeypatch):
    """Also one that comes after the pixels were read."""
    Image.new("RGB", (300, 258)).save(tmp_path / "a.png")

    def refuse(*_):
        raise ValueError("box offset can't be negative")

    monkeypatch.setattr("selfwise.data.image.decode._crop_and_resize", refuse)
    with pytest.raises(UnreadableFile, match="box offset"):
        decode_file(tmp_path / "a.png", 3, 256)
    with pytest.raises(UnreadableFile, match="box offset"):
        decode_image(Image.open(tmp_path / "a.png"), 3, 256)
    images = open_images(tmp_path, decode=64, cache="no")
    with pytest.raises(ReadError, match=r"a\.png: cannot be read: box offset"):
        images.read(np.arange(1))


def test_a_broken_item_of_a_data_set_is_numbered(tmp_path):
    Image.new("RGB", (300, 258)).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ReadError, match="item 1 of list"):
        open_images([Image.open(tmp_path / name) for name in ("a.png", "cut.png")])
