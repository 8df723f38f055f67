"""The cache of decoded images: same pixels, found again, never half, never stale."""

import json
import os
import pickle
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from selfwise.core.files import cache_dir
from selfwise.core.parallel import map_in_chunks
from selfwise.data.image import decoded_cache, open_images
from selfwise.data.image import open as opening
from selfwise.data.image.dataset import ArrayImages
from selfwise.data.image.files import FileImages, ReadOptions
from selfwise.data.listing import list_folder


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("SELFWISE_CACHE", str(folder))
    return folder / "images"


@pytest.fixture
def photos(tmp_path) -> Path:
    """Twelve pictures of noise, all 20 x 16."""
    folder = tmp_path / "photos"
    write(folder, [(20, 16)] * 12)
    return folder


def write(folder: Path, sizes: list[tuple[int, int]]) -> None:
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for i, (width, height) in enumerate(sizes):
        noise = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{i:05d}.png")


def everything(images) -> torch.Tensor:
    return images.read(np.arange(len(images))).x


def finished(home: Path) -> list[Path]:
    return sorted(path for path in home.glob("*") if not path.name.startswith("."))


def test_small_images_are_cached_with_the_same_pixels(photos, home):
    cached, direct = open_images(photos), open_images(photos, cache="no")
    assert isinstance(cached, ArrayImages)
    assert isinstance(cached.x, np.memmap)
    assert isinstance(direct, FileImages)
    assert torch.equal(everything(cached), everything(direct))
    assert everything(cached).shape == (12, 3, 16, 20)
    assert len(finished(home)) == 1
    assert [path for path in home.iterdir() if path.name.startswith(".")] == []


def test_nothing_is_cached_on_request(photos, home):
    open_images(photos, cache="no")
    assert not home.exists()


def test_different_sizes_keep_their_extent(tmp_path):
    write(tmp_path / "p", [(20, 16), (9, 30), (9, 30), (40, 10)])
    cached, direct = open_images(tmp_path / "p"), open_images(tmp_path / "p", cache="no")
    assert cached.x.shape == (4, 3, 27, 30)  # 9 x 30 was cut to 9 x 27, 40 x 10 to 30 x 10
    assert (cached.side, direct.side) == (9, 9)
    one, two = cached.read(np.array([3, 0, 1])), direct.read(np.array([3, 0, 1]))
    assert one.extent.tolist() == two.extent.tolist() == [[10, 30], [16, 20], [27, 9]]
    assert torch.equal(one.x[..., : two.x.shape[2], : two.x.shape[3]], two.x)
    assert one.x.sum() == two.x.sum()


@pytest.mark.parametrize(("longer", "expected"), [(96, ArrayImages), (97, FileImages)])
def test_96_px_is_the_limit(tmp_path, longer, expected):
    write(tmp_path / "p", [(20, 20), (longer, 50)])
    assert type(open_images(tmp_path / "p")) is expected


def test_more_than_the_largest_canvas_is_not_cached(photos, monkeypatch):
    monkeypatch.setattr(opening, "MAX_CACHE_BYTES", 12 * 3 * 16 * 20 - 1)
    assert isinstance(open_images(photos), FileImages)
    monkeypatch.setattr(opening, "MAX_CACHE_BYTES", 12 * 3 * 16 * 20)
    assert isinstance(open_images(photos), ArrayImages)


def test_large_images_are_cached_when_asked_for_at_decode_size(tmp_path, home):
    write(tmp_path / "p", [(200, 100), (300, 150)])
    images = open_images(tmp_path / "p", cache="yes", decode=50)
    assert images.x.shape == (2, 3, 50, 100)
    direct = open_images(tmp_path / "p", cache="no", decode=50)
    assert torch.equal(everything(images), everything(direct))
    write(tmp_path / "q", [(200, 100), (300, 150)])
    open_images(tmp_path / "q", cache="yes", decode=120)
    assert isinstance(open_images(tmp_path / "q", decode=120), FileImages)  # as without the cache


def test_files_beyond_the_sample_are_checked_before_caching(tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "MAX_HEADERS", 3)
    write(tmp_path / "p", [(20, 16)] * 3 + [(30, 20)] + [(20, 16)] * 3)
    assert open_images(tmp_path / "p").x.shape == (7, 3, 20, 30)
    write(tmp_path / "q", [(20, 16)] * 5 + [(130, 120), (20, 16)])
    assert isinstance(open_images(tmp_path / "q"), FileImages)
    (tmp_path / "p" / "00001.png").write_text("hello")
    with pytest.raises(ValueError, match=r"1 of 7 files cannot be read as images: 00001\.png"):
        open_images(tmp_path / "p")


def test_the_second_time_nothing_is_decoded(photos, monkeypatch):
    first = everything(open_images(photos))

    def fail(*_, **__):
        raise AssertionError("decoded again")

    monkeypatch.setattr(decoded_cache, "decode_file", fail)
    monkeypatch.setattr(opening, "check_headers", fail)
    assert torch.equal(everything(open_images(photos)), first)


def test_the_key_follows_the_files_and_the_options(photos):
    def name(**options) -> str:
        return decoded_cache.cache_key(list_folder(photos), ReadOptions(**options))

    names = [name(), name(channels=1), name(decode=8)]
    assert name(channels=3, cache="yes", workers=2, skip_broken=True) == names[0]
    os.utime(photos / "00003.png", ns=(1, 1))
    names.append(name())
    (photos / "00004.png").rename(photos / "00004.jpg")
    names.append(name())
    (photos / "00004.jpg").write_bytes(b"x" * 999)
    names.append(name())
    assert len(set(names)) == len(names)


def test_a_changed_file_is_decoded_again(photos):
    before = everything(open_images(photos))
    Image.new("RGB", (20, 16), (1, 2, 3)).save(photos / "00003.png")
    after = everything(open_images(photos))
    assert after[3, :, 0, 0].tolist() == [1, 2, 3]
    assert torch.equal(after[:3], before[:3])


@pytest.mark.parametrize("harm", ["short", "no pixels", "no meta"])
def test_a_torn_cache_is_made_again(photos, home, harm):
    pixels = everything(open_images(photos))
    (made,) = finished(home)
    if harm == "short":
        (made / "x.npy").write_bytes((made / "x.npy").read_bytes()[:-1])
    else:
        (made / {"no pixels": "x.npy", "no meta": "meta.json"}[harm]).unlink()
    assert decoded_cache.find_cache(made.name) is None
    assert torch.equal(everything(open_images(photos)), pixels)
    assert finished(home) == [made]


def test_an_interrupted_build_leaves_nothing_that_is_used(photos, home, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(decoded_cache, "decode_file", interrupt)
        with pytest.raises(KeyboardInterrupt):
            open_images(photos)
    assert list(home.iterdir()) == []
    killed, working = home / ".a.1.writing", home / ".b.2.writing"
    killed.mkdir()
    working.mkdir()
    os.utime(killed, (time.time() - 2 * decoded_cache.STALE_SECONDS,) * 2)
    open_images(photos)
    assert not killed.exists()
    assert working.exists()  # of another process


def test_of_two_processes_that_build_at_once_the_first_wins(photos, home, monkeypatch):
    original = decoded_cache._decode_all

    def slow(*arguments):
        original(*arguments)
        monkeypatch.setattr(decoded_cache, "_decode_all", original)
        open_images(photos)  # the other one, from start to end

    monkeypatch.setattr(decoded_cache, "_decode_all", slow)
    images = open_images(photos)
    assert torch.equal(everything(images), everything(open_images(photos, cache="no")))
    assert len(list(home.iterdir())) == 1


def test_a_full_disk_is_said_and_leaves_nothing(photos, home, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(ValueError, match=r"cache needs 0 MiB in .*No space left.*--cache no"):
        open_images(photos)
    assert list(home.iterdir()) == []


def test_a_file_with_a_good_header_and_bad_pixels(photos):
    damaged = photos / "00005.png"
    damaged.write_bytes(damaged.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"1 of 12 files cannot be read as images: 00005\.png"):
        open_images(photos)
    for _ in range(2):
        images = open_images(photos, skip_broken=True)
        assert images.broken == ["00005.png"]
        assert [images.ids[5], len(images)] == ["00006.png", 11]
        direct = open_images(photos, cache="no", skip_broken=True)
        assert torch.equal(everything(images)[5], direct.read(np.array([6])).x[0])
    with pytest.raises(ValueError, match=r"1 of 12 files"):
        open_images(photos)


def test_meta_is_plain_json_and_the_folder_is_the_users(photos, home, monkeypatch, tmp_path):
    open_images(photos)
    (made,) = finished(home)
    assert json.loads((made / "meta.json").read_text())["broken"] == []
    monkeypatch.delenv("SELFWISE_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dir("images") == tmp_path / ".cache" / "selfwise" / "images"


def test_cached_images_travel_by_name(photos):
    images = open_images(photos).take(np.array([4, 2]))
    letter = pickle.dumps(images)
    assert len(letter) < images.x.nbytes / 2
    assert torch.equal(everything(pickle.loads(letter)), everything(images))


def test_several_processes_give_what_one_gives(tmp_path, home):
    write(tmp_path / "p", [(4, 4)] * 2500)
    (tmp_path / "p" / "02400.png").write_text("hello")
    one = open_images(tmp_path / "p", workers=1, skip_broken=True)
    x = everything(one)
    for path in finished(home):
        path.rename(home / f".{path.name}")
    two = open_images(tmp_path / "p", workers=2, skip_broken=True)
    assert torch.equal(everything(two), x)
    assert two.broken == one.broken == ["02400.png"]
    assert len(finished(home)) == 1


def test_progress_is_told_for_many_images(photos, monkeypatch, tmp_path):
    told = []
    open_images(photos, progress=lambda done, total: told.append((done, total)))
    assert told == []
    monkeypatch.setattr(decoded_cache, "REPORT_FROM", 5)
    open_images(photos, channels=1, progress=lambda done, total: told.append((done, total)))
    assert told == [(12, 12)]


@pytest.mark.parametrize("workers", [0, 2])
def test_chunks_come_in_order(workers):
    told = []
    rows = np.arange(5000)
    parts = list(
        map_in_chunks(np.negative, rows, workers=workers, progress=lambda *t: told.append(t))
    )
    assert np.array_equal(np.concatenate(parts), -rows)
    assert told[0] == (512, 5000)
    assert told[-1] == (5000, 5000)


def twin(photos: Path) -> Path:
    """Another folder with the same names, sizes and times, but other pictures."""
    other = photos.with_name("other")
    other.mkdir()
    for path in sorted(photos.iterdir()):
        image = Image.open(path)
        flipped = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
        flipped.save(other / path.name, compress_level=0)
        image.save(path, compress_level=0)
        for one in (path, other / path.name):
            os.utime(one, ns=(1, 1))
    assert list_folder(photos).sizes.tolist() == list_folder(other).sizes.tolist()
    return other


@pytest.mark.parametrize("decoding", ["auto", "no"])
def test_folders_that_look_alike_are_different_data(photos, home, decoding):
    other = twin(photos)
    one, two = (open_images(folder, cache=decoding) for folder in (photos, other))
    assert not torch.equal(everything(one), everything(two))
    assert torch.equal(everything(two), everything(open_images(other, cache="no")))
    assert one.fingerprint != two.fingerprint
    assert one.stamp != two.stamp
    assert len(finished(home)) == (2 if decoding == "auto" else 0)


@pytest.mark.parametrize("decoding", ["auto", "no"])
def test_a_moved_folder_has_its_fingerprint_and_another_stamp(photos, decoding, monkeypatch):
    before = open_images(photos, cache=decoding)
    link = photos.with_name("link")
    link.symlink_to(photos)
    monkeypatch.chdir(photos.parent)
    for path in (link, Path("photos"), "photos/../photos"):
        same = open_images(path, cache=decoding)
        assert (same.fingerprint, same.stamp) == (before.fingerprint, before.stamp)
    after = open_images(photos.rename(photos.with_name("moved")), cache=decoding)
    assert after.fingerprint == before.fingerprint
    assert after.stamp != before.stamp
