"""Folders, tables, arrays, names and Python objects all become the same kind of thing."""

import gzip
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader

from selfwise.core.memory_limit import limit_memory
from selfwise.data import listing
from selfwise.data.compact_paths import Paths
from selfwise.data.image import Images, ImageSource, drop_unreadable, load_into_memory, open_images
from selfwise.data.image.dataset import ArrayImages
from selfwise.data.image.map_style import ItemImages
from selfwise.data.listing import list_folder
from selfwise.data.unreadable import ReadError


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("SELFWISE_CACHE", str(tmp_path_factory.mktemp("cache")))


def save(path: Path, value: int = 0, size: tuple[int, int] = (6, 4)) -> None:
    """A picture of one grey value, width x height."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, value)).save(path)


def values(images: Images) -> list[int]:
    """The first pixel of each image."""
    return images.read(np.arange(len(images))).x[:, 0, 0, 0].tolist()


# folders


@pytest.mark.parametrize("cache", ["auto", "no"])
def test_folder_per_class(tmp_path, cache):
    for i, name in enumerate(["b/2.png", "a-b/1.png", "a/deep/1.png", "a/0.png"]):
        save(tmp_path / name, i)
    images = open_images(tmp_path, cache=cache, labelled=True)
    assert isinstance(images, Images)
    assert list(images.ids) == ["a-b/1.png", "a/0.png", "a/deep/1.png", "b/2.png"]
    assert images.classes == ["a", "a-b", "b"]
    assert images.labels.tolist() == [1, 0, 0, 2]
    assert images.labels.dtype == np.int64
    assert values(images) == [1, 3, 2, 0]
    assert (images.channels, images.side, images.broken) == (3, 4, [])
    batch = images.read(np.array([3, 0]))
    assert batch.x.shape == (2, 3, 4, 6)
    assert batch.index.tolist() == [3, 0]
    assert batch.extent is None


def test_a_flat_or_mixed_folder_has_no_labels(tmp_path):
    save(tmp_path / "a/1.png")
    save(tmp_path / "2.png")
    images = open_images(str(tmp_path))
    assert list(images.ids) == ["2.png", "a/1.png"]
    assert images.labels is None
    assert images.classes is None


def test_hidden_files_and_other_files_are_ignored(tmp_path):
    for name in ["x.PNG", ".hidden.png", "__MACOSX/a.png", ".git/b.png"]:
        save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("hello")
    assert list(open_images(tmp_path).ids) == ["x.PNG"]


def test_linked_folders_are_followed_but_not_in_circles(tmp_path):
    save(tmp_path / "a/1.png")
    (tmp_path / "a" / "self").symlink_to(tmp_path / "a")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert list(open_images(tmp_path).ids) == ["a/1.png", "b/1.png"]


@pytest.mark.parametrize("cache", ["auto", "no"])
def test_different_sizes_share_a_canvas(tmp_path, cache):
    save(tmp_path / "a.png", 10, (6, 4))
    save(tmp_path / "b.png", 20, (3, 8))
    batch = open_images(tmp_path, cache=cache).read(np.array([0, 1]))
    assert batch.x.shape == (2, 3, 8, 6)
    assert batch.extent.tolist() == [[4, 6], [8, 3]]
    assert batch.x[0].sum() == 10 * 3 * 4 * 6
    assert (batch.x[0, :, :4, :6] == 10).all()
    assert batch.x[1].sum() == 20 * 3 * 8 * 3


def test_side_is_the_shorter_side_of_the_typical_image(tmp_path):
    for i, size in enumerate([(300, 200), (150, 200), (1000, 800)]):
        save(tmp_path / f"{i}.png", size=size)
    images = open_images(tmp_path, decode=160)
    assert images.side == 160
    assert open_images(tmp_path, decode=800).side == 200
    assert images.read(np.array([1])).x.shape == (1, 3, 200, 150)


def test_grey_on_request(tmp_path):
    save(tmp_path / "a.png", 9)
    assert open_images(tmp_path, channels=1).read(np.array([0])).x.shape == (1, 1, 4, 6)


def test_the_fingerprint_is_of_names_and_sizes(tmp_path):
    save(tmp_path / "a/1.png", 1)
    save(tmp_path / "a/2.png", 1)
    first = open_images(tmp_path / "a")
    assert open_images(tmp_path / "a", cache="no").fingerprint == first.fingerprint
    int(first.fingerprint, 16)
    parts = [first.take(np.array(rows)).fingerprint for rows in ([0], [1], [0, 1])]
    assert len({first.fingerprint, *parts}) == 4
    (tmp_path / "a/2.png").rename(tmp_path / "a/3.png")
    assert open_images(tmp_path / "a").fingerprint != first.fingerprint
    (tmp_path / "a/3.png").rename(tmp_path / "a/2.png")
    assert open_images(tmp_path / "a").fingerprint == first.fingerprint
    (tmp_path / "a/2.png").write_bytes((tmp_path / "a/2.png").read_bytes() + b"\0")
    assert open_images(tmp_path / "a").fingerprint != first.fingerprint


def test_the_fingerprint_is_of_the_beginnings_of_64_files(tmp_path, monkeypatch):
    for i in range(130):
        (tmp_path / f"{i:03d}.png").write_bytes(bytes([i]) * 70_000)
    first, opened = list_folder(tmp_path).fingerprint(), []

    def change(name: str, place: int) -> str:
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[:place] + b"\xff" + content[place + 1 :])
        found = list_folder(tmp_path).fingerprint()
        (tmp_path / name).write_bytes(content)
        return found

    assert list_folder(tmp_path).fingerprint() == first
    assert change("000.png", 0) != first
    assert change("129.png", 65_535) != first
    assert change("129.png", 65_536) == first
    changed = [change(f"{i:03d}.png", 0) != first for i in range(130)]
    assert sum(changed) == 64
    places = np.flatnonzero(changed)
    assert set(np.diff(places)) == {2, 3}  # evenly spaced
    original = listing._read_beginning
    monkeypatch.setattr(listing, "_read_beginning", lambda *a: opened.append(a) or original(*a))
    list_folder(tmp_path).fingerprint()
    assert len(opened) == 64


def test_files_that_cannot_be_read_have_no_beginning(tmp_path):
    (tmp_path / "gone.png").symlink_to(tmp_path / "nothing")
    (tmp_path / "empty.png").touch()
    save(tmp_path / "good.png")
    (tmp_path / "lost.png").write_bytes(b"some")
    found = list_folder(tmp_path)
    (tmp_path / "lost.png").unlink()
    assert [listing._read_beginning(found, row) for row in (0, 1, 3)] == [b"", b"", b""]
    assert listing._read_beginning(found, 2) == (tmp_path / "good.png").read_bytes()
    int(found.fingerprint(), 16)


@pytest.mark.parametrize("cache", ["auto", "no"])
def test_take_is_a_set_of_its_own(tmp_path, cache):
    for i in range(6):
        save(tmp_path / f"{'ab'[i % 2]}/{i}.png", i)
    part = open_images(tmp_path, cache=cache).take(np.array([5, 1, 0])).take(np.array([0, 2]))
    assert isinstance(part, Images)
    assert list(part.ids) == ["b/5.png", "a/0.png"]
    assert part.labels.tolist() == [1, 0]
    assert values(part) == [5, 0]
    assert part.read(np.array([1])).index.tolist() == [1]


def test_a_listing_holds_no_object_per_path(tmp_path):
    save(tmp_path / "one.png")
    names = sorted(f"c{i % 7}/{i:05d}-ü.png" for i in range(2000))
    for name in names:
        (tmp_path / "many" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "many" / name).hardlink_to(tmp_path / "one.png")
    listing = list_folder(tmp_path / "many")
    assert isinstance(listing.paths, Paths)
    assert isinstance(listing.paths.blob, bytes)
    assert len(listing.paths.blob) == sum(len(name.encode()) for name in names)
    for column in (listing.paths.ends, listing.sizes, listing.times, listing.labels):
        assert column.dtype == np.int64
        assert column.shape == (2000,)
    assert list(listing.paths) == names
    assert listing.paths[-1] == names[-1]
    assert list(listing.paths[10:13]) == names[10:13]
    assert list(listing.paths.take(np.array([7, 3]))) == [names[7], names[3]]
    with pytest.raises(IndexError):
        listing.paths[2000]
    assert listing.labels.tolist() == [int(name[1]) for name in names]


# mistakes


def test_a_missing_path_names_what_is_near(tmp_path):
    (tmp_path / "photos" / "train").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"trian/x does not exist; did you mean 'train'\?$"):
        open_images(tmp_path / "photos" / "trian" / "x")
    with pytest.raises(ValueError, match=r"zzz does not exist$"):
        open_images(tmp_path / "photos" / "zzz")


def test_an_empty_folder(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ValueError, match=r"there is no image in this folder or below it"):
        open_images(tmp_path)


def test_no_readable_image(tmp_path):
    (tmp_path / "a.jpg").write_text("hello")
    for skip in (False, True):
        with pytest.raises(ValueError, match=r"no file can be read.*a\.jpg \(not an image\)"):
            open_images(tmp_path, skip_broken=skip)


@pytest.mark.parametrize("cache", ["auto", "no"])
def test_broken_files_are_named_or_skipped(tmp_path, cache):
    for i in range(3):
        save(tmp_path / f"a{i}.png", i)
    for i in range(5):
        (tmp_path / f"b{i}.jpg").write_text("hello")
    with pytest.raises(ValueError, match="5 of 8 files cannot be read") as caught:
        open_images(tmp_path, cache=cache)
    text = str(caught.value)
    assert "b2.jpg" in text
    assert "b3.jpg" not in text
    assert "--skip-broken" in text
    for _ in range(2):  # the second time from the cache
        images = open_images(tmp_path, cache=cache, skip_broken=True)
        assert images.broken == [f"b{i}.jpg" for i in range(5)]
        assert list(images.ids) == ["a0.png", "a1.png", "a2.png"]
        assert values(images) == [0, 1, 2]
    with pytest.raises(ValueError, match="5 of 8 files cannot be read"):
        open_images(tmp_path, cache=cache)


def damage(path: Path) -> None:
    """The header stays, the pixels go."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:3000])


def test_a_file_found_broken_while_reading(tmp_path):
    for i in range(4):
        save(tmp_path / "d" / f"{i}.png", i)
    for name in ("1.png", "2.png"):
        damage(tmp_path / "d" / name)
    with pytest.raises(ValueError, match=r"d/1\.png: cannot be read: .*--skip-broken"):
        open_images(tmp_path / "d", cache="no").read(np.array([0, 1]))
    images = open_images(tmp_path / "d", cache="no", skip_broken=True)
    images.broken_log = tmp_path / "broken.txt"
    for part in (images, images.take(np.arange(4))):
        batch = part.read(np.array([2, 1, 0, 1]))
        assert batch.index.tolist() == [3, 3, 0, 3]
        assert batch.x[:, 0, 0, 0].tolist() == [3, 3, 0, 3]
    assert sorted(images.broken) == ["1.png", "2.png"]
    assert sorted((tmp_path / "broken.txt").read_text().split()) == ["1.png", "2.png"]
    worker = open_images(tmp_path / "d", cache="no", skip_broken=True)  # knows of none
    worker.broken_log = images.broken_log
    worker.read(np.array([1]))
    assert len((tmp_path / "broken.txt").read_text().split()) == 2


@pytest.mark.parametrize("workers", [0, 2])
def test_readable_images_are_their_own(tmp_path, monkeypatch, workers):
    monkeypatch.setattr("selfwise.core.parallel.WORTH_A_POOL", 3)
    monkeypatch.setattr("selfwise.core.parallel.CHUNK", 2)
    for i in range(6):
        save(tmp_path / f"{'ab'[i % 2]}/{i}.png", i)
    for name in ("a/2.png", "b/5.png"):
        damage(tmp_path / name)
    images = open_images(tmp_path, cache="no", skip_broken=True)
    assert images.read(np.array([1])).index.tolist() == [2]  # the next one stands in
    images.broken_files.ids.clear()
    images.broken_log = tmp_path / "broken.txt"
    whole = drop_unreadable(images, workers=workers)
    assert list(whole.ids) == ["a/0.png", "a/4.png", "b/1.png", "b/3.png"]
    assert whole.labels.tolist() == [0, 0, 1, 1]
    assert whole.read(np.arange(4)).index.tolist() == [0, 1, 2, 3]
    assert values(whole) == [0, 4, 1, 3]
    assert whole.broken == images.broken == ["a/2.png", "b/5.png"]
    assert (tmp_path / "broken.txt").read_text().split() == ["a/2.png", "b/5.png"]
    assert whole.fingerprint != images.fingerprint
    assert drop_unreadable(whole, workers=workers) is whole


def test_readable_leaves_other_images_as_they_are(tmp_path):
    for i in range(3):
        save(tmp_path / f"{i}.png", i)
    damage(tmp_path / "1.png")
    for images in (
        open_images(tmp_path, cache="no"),  # reading it is an error
        open_images(tmp_path, skip_broken=True),  # the cache has found it
        open_images(np.zeros((3, 4, 4), dtype=np.uint8)),
    ):
        assert drop_unreadable(images) is images
    images = open_images(tmp_path, cache="no", skip_broken=True)
    for i in (0, 2):
        damage(tmp_path / f"{i}.png")
    with pytest.raises(ValueError, match="none of the 3 files can be read"):
        drop_unreadable(images)


def test_images_kept_in_memory_are_those_on_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr("selfwise.data.image.memory.ROWS_AT_ONCE", 2)
    for i, size in enumerate([(6, 4), (6, 4), (4, 8), (6, 4), (3, 3)]):
        save(tmp_path / f"{'ab'[i % 2]}/{i}.png", i + 1, size)
    images = open_images(tmp_path, cache="no")
    kept = load_into_memory(images)
    assert isinstance(kept, ArrayImages)
    assert list(kept.ids) == list(images.ids)
    assert kept.labels.tolist() == images.labels.tolist()
    assert (kept.classes, kept.channels, kept.side) == (["a", "b"], 3, 4)
    for rows in ([0, 1, 2, 3, 4], [3], [2, 0]):
        one, two = kept.read(np.array(rows)), images.read(np.array(rows))
        extent = np.array([[two.x.shape[2], two.x.shape[3]]] * len(rows))
        extent = extent if two.extent is None else two.extent.numpy()
        assert one.extent.tolist() == extent.tolist()
        height, width = two.x.shape[2:]
        assert torch.equal(one.x[..., :height, :width], two.x)
        assert one.x.sum() == two.x.sum()
    assert load_into_memory(kept) is kept
    assert isinstance(load_into_memory(images, max_bytes=5 * 3 * 8 * 6), ArrayImages)
    assert load_into_memory(images, max_bytes=5 * 3 * 8 * 6 - 1) is images
    same = load_into_memory(images.take(np.array([0, 3])))
    assert same.extent is None
    assert same.x[:, 0, 0, 0].tolist() == [1, 2]


def test_a_stand_in_in_memory_has_its_own_label(tmp_path):
    for i in range(4):
        save(tmp_path / f"{'ab'[i // 2]}/{i}.png", i)
    damage(tmp_path / "a/1.png")
    kept = load_into_memory(open_images(tmp_path, cache="no", skip_broken=True))
    assert list(kept.ids) == ["a/0.png", "b/2.png", "b/2.png", "b/3.png"]
    assert kept.labels.tolist() == [0, 1, 1, 1]
    assert values(kept) == [0, 2, 2, 3]


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_example_is_one_sentence_from_any_process(tmp_path, workers):
    save(tmp_path / "0.png")
    images = open_images(tmp_path, cache="no")
    damage(tmp_path / "0.png")
    large = [np.zeros((200, 200, 3), dtype=np.uint8), "text"]
    items = ItemImages(
        items=large, ids=["0", "1"], rows=np.arange(2), channels=3, decode=256, side=200,
        fingerprint="f",
    )  # fmt: skip
    for data, sentence in (
        (images, f"{tmp_path}/0.png: cannot be read: "),
        (items, "item 1 of list: an item of the data set must be an image or (image, label)"),
    ):
        source = ImageSource(data, batch=len(data), seed=0)
        loader = DataLoader(source, batch_size=None, sampler=range(1), num_workers=workers)
        with pytest.raises(ReadError) as caught:
            next(iter(loader))
        assert str(caught.value).startswith(sentence)
        assert len(str(caught.value).splitlines()) == 1
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_the_next_readable_row_goes_round_and_ends(tmp_path):
    for i in range(2):
        save(tmp_path / f"{i}.png", i)
    images = open_images(tmp_path, cache="no", skip_broken=True)
    damage(tmp_path / "1.png")
    assert images.read(np.array([1])).index.tolist() == [0]
    damage(tmp_path / "0.png")
    with pytest.raises(ValueError, match="none of the 2 files"):
        images.read(np.array([1]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 4}, "channels must be 1 or 3, got 4"),
        ({"decode": 0}, "decode must be at least 1"),
        ({"cache": "atuo"}, "did you mean 'auto'"),
        ({"workers": -1}, "workers must be 0 or more"),
    ],
)
def test_wrong_options(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        open_images(tmp_path, **options)


def test_labels_missing_where_needed(tmp_path):
    save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="no labels; labels come with a folder of images per cl"):
        open_images(tmp_path, labelled=True)


# tables


def test_csv_with_header(tmp_path):
    save(tmp_path / "pics/a.png", 1)
    save(tmp_path / "pics/b.png", 2)
    save(tmp_path / "other.png", 3)
    rows = f"filename,n,Label\npics/b.png,0,dog\npics/a.png,1,cat\n{tmp_path}/other.png,2,dog\n"
    (tmp_path / "t.csv").write_text("\ufeff" + rows, encoding="utf-8")
    images = open_images(tmp_path / "t.csv")
    assert list(images.ids) == ["pics/b.png", "pics/a.png", f"{tmp_path}/other.png"]
    assert images.classes == ["cat", "dog"]
    assert images.labels.tolist() == [1, 0, 1]
    assert values(images) == [2, 1, 3]


def test_csv_without_header_and_with_numbers(tmp_path):
    save(tmp_path / "a.png", 1)
    save(tmp_path / "b.png", 2)
    table = tmp_path / "t.csv"
    table.write_text(f"b.png,10\na.png,2\n../{tmp_path.name}/b.png,10\n")
    images = open_images(table)
    assert values(images) == [2, 1, 2]
    assert images.labels.tolist() == [10, 2, 10]
    assert images.classes == [str(i) for i in range(11)]


def test_csv_of_paths_alone(tmp_path):
    save(tmp_path / "a.png", 1)
    (tmp_path / "t.csv").write_text("which\na.png\n")
    images = open_images(tmp_path / "t.csv")
    assert images.labels is None
    assert list(images.ids) == ["a.png"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "there are no rows"),
        ("path,label\n", "there are no rows"),
        ("path,label\na.png\n", "line 2: expected a path and 2 fields"),
        ("path,label\na.png,x\na.png,\n", "line 3: the label is empty"),
        ("path\na.png\nnone.png\n", r"1 of 2 files cannot.*none\.png \(no such file"),
    ],
)
def test_wrong_tables(tmp_path, text, message):
    save(tmp_path / "a.png")
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        open_images(tmp_path / "t.csv")


# arrays

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 3, 6, 8), dtype=np.uint8)


@pytest.mark.parametrize("layout", ["nchw", "nhwc", "nhw"])
@pytest.mark.parametrize("kind", ["array", "tensor", "npy", "npz"])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_arrays(tmp_path, layout, kind, dtype):
    expected = PIXELS if layout != "nhw" else PIXELS[:, :1]
    x = {"nchw": PIXELS, "nhwc": PIXELS.transpose(0, 2, 3, 1), "nhw": PIXELS[:, 0]}[layout]
    x = x if dtype == "uint8" else x.astype(dtype) / 255
    if kind == "npy":
        np.save(tmp_path / "x.npy", x)
    if kind == "npz":
        np.savez(tmp_path / "x.npz", x)
    data = {"array": x, "tensor": torch.tensor(x)}.get(kind, tmp_path / f"x.{kind}")
    images = open_images(data)
    assert (len(images), images.channels, images.side) == (5, expected.shape[1], 6)
    batch = images.read(np.array([4, 1]))
    assert torch.equal(batch.x, torch.tensor(expected[[4, 1]]))
    assert list(images.ids) == ["0", "1", "2", "3", "4"]
    assert list(images.take(np.array([3])).ids) == ["3"]
    assert images.labels is None
    other = open_images(torch.tensor(x) if kind != "tensor" else x)
    assert other.fingerprint == images.fingerprint
    changed = x.copy()
    changed[0] = changed[1]
    assert open_images(changed).fingerprint != images.fingerprint


def test_floats_are_rounded():
    images = open_images(np.array([0.0, 0.499, 0.999, 1.0]).reshape(4, 1, 1).repeat(8, 1))
    assert values(images) == [0, 127, 255, 255]


def test_a_uint8_npy_is_mapped_and_travels_by_name(tmp_path):
    big = np.zeros((4000, 8, 8, 3), dtype=np.uint8)
    big[7] = 3
    np.save(tmp_path / "x.npy", big)
    images = open_images(tmp_path / "x.npy")
    assert isinstance(images.x, np.memmap) or isinstance(images.x.base, np.memmap)
    letter = pickle.dumps(images)
    assert len(letter) < 50_000
    assert torch.equal(pickle.loads(letter).read(np.array([7])).x, images.read(np.array([7])).x)


@pytest.mark.parametrize("names", [("x", "y"), ("images", "labels"), ("data", "y")])
def test_npz_with_labels(tmp_path, names):
    np.savez(tmp_path / "d.npz", **{names[0]: PIXELS, names[1]: np.array([3, 1, 1, 0, 3])})
    images = open_images(tmp_path / "d.npz")
    assert images.labels.tolist() == [3, 1, 1, 0, 3]
    assert images.classes == ["0", "1", "2", "3"]


def test_a_pair_from_python():
    images = open_images((PIXELS, ["b", "a", "b", "c", "c"]))
    assert images.classes == ["a", "b", "c"]
    assert images.labels.tolist() == [1, 0, 1, 2, 2]
    images = open_images((torch.tensor(PIXELS), torch.tensor([7, 70_000, 7, 9, 9])))
    assert images.classes == ["7", "9", "70000"]
    assert images.labels.tolist() == [0, 2, 0, 1, 1]


def test_channels_of_arrays_on_request():
    colour = open_images(PIXELS[:, :1], channels=3).read(np.arange(5)).x
    assert torch.equal(colour, torch.tensor(PIXELS[:, :1].repeat(3, axis=1)))
    grey = open_images(PIXELS, channels=1).read(np.arange(5)).x
    for one, pixels in zip(grey, PIXELS):
        expected = Image.fromarray(pixels.transpose(1, 2, 0)).convert("L")
        assert np.array_equal(one[0].numpy(), np.asarray(expected))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (PIXELS.astype(np.int64), "uint8 0..255 or float 0..1, got int64"),
        (PIXELS.astype(np.float32), "float pixels must be 0..1, got 0 to 255"),
        (np.full((2, 4, 4), np.nan), "float pixels must be 0..1"),
        (PIXELS[0, 0], r"expected images as \(n, h, w\)"),
        (PIXELS[:0], r"expected images as \(n, h, w\)"),
        (np.zeros((2, 4, 6, 6), np.uint8), "no axis has 1 or 3"),
        (np.zeros((2, 3, 6, 3), np.uint8), "is unclear"),
        ((PIXELS, [1, 2]), "5 images, but 2 labels"),
        ((PIXELS, [0.5, 1, 2, 3, 4]), "labels must be whole numbers or text"),
        ((PIXELS, np.zeros((5, 2), int)), "labels must be one per example"),
        (7, "neither a path, an array nor a data set"),
        ([], "list is empty"),
        (["a.png"], "must be an image or"),
    ],
)
def test_wrong_arrays(data, message):
    with pytest.raises(ValueError, match=message):
        open_images(data)


class Explodes:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


@pytest.mark.parametrize("name", ["a.npy", "b.npz", "raw.npy"])
def test_no_pickle_is_ever_loaded(tmp_path, name):
    objects = np.array([Explodes()], dtype=object)
    if name == "a.npy":
        np.save(tmp_path / name, objects, allow_pickle=True)
    elif name == "b.npz":
        np.savez(tmp_path / name, x=objects)
    else:
        (tmp_path / name).write_bytes(pickle.dumps(Explodes()))
    with pytest.raises(ValueError, match=f"{name}: (not a plain numpy file|x is not a plain arr)"):
        open_images(tmp_path / name)


def test_files_of_other_kinds(tmp_path):
    (tmp_path / "x.pt").write_bytes(b"")
    with pytest.raises(ValueError, match=r"a file that ends in \.csv, \.npy or \.npz"):
        open_images(tmp_path / "x.pt")
    np.savez(tmp_path / "d.npz", first=PIXELS, second=PIXELS)
    with pytest.raises(ValueError, match="expected an array named x, images or data"):
        open_images(tmp_path / "d.npz")


# map-style data sets


class Items:
    """(image, label) with sizes that differ; counts how often it was read."""

    def __init__(self, kind: str, side: int, labels: list | None = None):
        self.kind, self.side, self.reads = kind, side, 0
        if labels is not None:
            self.targets = labels

    def __len__(self) -> int:
        return 100

    def __getitem__(self, i: int):
        self.reads += 1
        pixels = np.full((self.side, self.side + i % 2, 3), i, dtype=np.uint8)
        made = {
            "pil": lambda: Image.fromarray(pixels),
            "array": lambda: pixels,
            "tensor": lambda: torch.tensor(pixels).permute(2, 0, 1) / 255,
            "grey": lambda: Image.fromarray(pixels[..., 0]),
        }
        return made[self.kind](), i % 4


@pytest.mark.parametrize("side", [10, 200])
@pytest.mark.parametrize("kind", ["pil", "array", "tensor", "grey"])
def test_map_style_data_sets(kind, side):
    images = open_images(Items(kind, side), decode=150, labelled=True)
    assert isinstance(images, Images)
    assert images.channels == (1 if kind == "grey" else 3)
    assert images.side == min(side, 150)
    assert images.labels.tolist() == [i % 4 for i in range(100)]
    batch = images.read(np.array([7, 8]))
    assert batch.x[:, 0, 0, 0].tolist() == [7, 8]
    small = [[10, 11], [10, 10]]
    assert batch.extent.tolist() == (small if side == 10 else [[150, 151], [150, 150]])
    part = images.take(np.array([9, 7]))
    assert part.read(np.array([1])).x[0, 0, 0, 0] == 7
    assert list(part.ids) == ["9", "7"]


def test_large_items_are_not_all_read_for_labels_that_nobody_asked_for():
    items = Items("pil", 200)
    assert open_images(items).labels is None
    assert items.reads < 100


def test_listed_labels_are_used_if_they_are_true():
    items = Items("pil", 200, [i % 4 for i in range(100)])
    part = torch.utils.data.Subset(items, [5, 6, 7])
    assert open_images(items, labelled=True).labels.tolist() == items.targets
    assert items.reads < 100
    assert open_images(part, labelled=True).labels.tolist() == [1, 2, 3]
    liar = Items("pil", 200, [0] * 100)
    assert open_images(liar, labelled=True).labels.tolist() == [i % 4 for i in range(100)]


def test_images_alone_have_no_labels():
    images = open_images([Image.new("RGB", (4, 4)), Image.new("L", (4, 4), 9)])
    assert images.labels is None
    assert images.channels == 3
    assert values(images) == [0, 9]


# names


def test_digits():
    whole = open_images("digits")
    known = load_digits()
    x = whole.read(np.arange(len(whole))).x
    assert (len(whole), whole.channels, whole.side) == (1797, 1, 8)
    assert torch.equal(x[:, 0], torch.tensor(np.rint(known.images * 255 / 16)).to(torch.uint8))
    assert whole.labels.tolist() == known.target.tolist()
    train, test = open_images("digits:train"), open_images("digits:test")
    assert (len(train), len(test)) == (1297, 500)
    assert sorted([*train.ids, *test.ids]) == sorted(whole.ids)
    shares = np.bincount(test.labels) / np.bincount(whole.labels)
    assert np.abs(shares - 500 / 1797).max() < 0.006
    assert list(test.ids) == list(open_images("digits:test").ids)
    assert list(test.ids)[:3] != ["0", "1", "2"]
    with pytest.raises(ValueError, match=r"digits has no split 'tset'; did you mean 'test'"):
        open_images("digits:tset")


def write_idx(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wb") as stream:
        stream.write(head + array.tobytes())


def write_mnist(folder: Path, value: int, end: str = "", dot: str = "-") -> None:
    write_idx(folder / f"t10k-images{dot}idx3-ubyte{end}", np.full((4, 5, 6), value, np.uint8))
    write_idx(folder / f"t10k-labels{dot}idx1-ubyte{end}", np.array([0, 9, 2, 3], np.uint8))


@pytest.mark.parametrize(("end", "dot"), [("", "-"), (".gz", "-"), ("", ".")])
def test_mnist_idx_files(tmp_path, end, dot):
    write_mnist(tmp_path / "some" / "where", 7, end, dot)
    images = open_images(f"mnist:{tmp_path}:test")
    assert (len(images), images.channels, images.side) == (4, 1, 5)
    assert images.labels.tolist() == [0, 9, 2, 3]
    assert images.classes == [str(i) for i in range(10)]
    assert values(images) == [7] * 4
    with pytest.raises(ValueError, match="mnist: there is no train-images"):
        open_images(f"mnist:{tmp_path}")


def test_relatives_of_mnist_are_told_apart_by_their_folder(tmp_path):
    write_mnist(tmp_path / "MNIST" / "raw", 1)
    write_mnist(tmp_path / "FashionMNIST" / "raw", 2)
    write_mnist(tmp_path / "unsorted", 4)
    assert values(open_images(f"mnist:{tmp_path}:test"))[0] == 1
    fashion = open_images(f"Fashion-MNIST:{tmp_path}:test")
    assert values(fashion)[0] == 2
    assert fashion.classes[9] == "Ankle boot"
    assert values(open_images(f"kmnist:{tmp_path}:test"))[0] == 4
    with pytest.raises(ValueError, match="kmnist: there is no t10k"):
        open_images(f"kmnist:{tmp_path / 'MNIST'}:test")
    write_mnist(tmp_path / "copy" / "MNIST", 3)
    with pytest.raises(ValueError, match="more than one"):
        open_images(f"mnist:{tmp_path}:test")


@pytest.mark.parametrize("harm", ["magic", "short", "long", "gzip"])
def test_damaged_idx_files(tmp_path, harm):
    write_mnist(tmp_path, 7, ".gz" if harm == "gzip" else "")
    path = next(tmp_path.glob("t10k-images*"))
    data = path.read_bytes()
    harmed = {"magic": b"\1" + data[1:], "short": data[:-1], "long": data + b"\0"}
    path.write_bytes(harmed.get(harm, data[:40]))
    with pytest.raises(
        ValueError, match=r"not an idx file|but the file has another number|cannot be read"
    ):
        open_images(f"mnist:{tmp_path}:test")


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_binary_cifar(tmp_path, name):
    extra = 1 if name == "cifar10" else 2
    records = np.random.default_rng(0).integers(0, 10, (6, extra + 3072), dtype=np.uint8)
    (tmp_path / "x").mkdir()
    for i in range(1, 6):
        (tmp_path / "x" / f"data_batch_{i}.bin").write_bytes(records.tobytes())
    (tmp_path / "x" / "train.bin").write_bytes(records.tobytes())
    images = open_images(f"{name}:{tmp_path}")
    assert len(images) == (30 if name == "cifar10" else 6)
    assert images.labels[:6].tolist() == records[:, extra - 1].tolist()
    x = images.read(np.arange(6)).x.numpy()
    assert np.array_equal(x.reshape(6, -1), records[:, extra:])
    (tmp_path / "x" / "test.bin").write_bytes(b"12345")
    (tmp_path / "x" / "test_batch.bin").write_bytes(b"12345")
    with pytest.raises(ValueError, match="expected records of"):
        open_images(f"{name}:{tmp_path}:test")


def test_pickled_cifar_is_refused(tmp_path):
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "cifar-10-batches-py" / "data_batch_1").write_bytes(pickle.dumps(Explodes()))
    with pytest.raises(
        ValueError, match="is a pickle, which selfwise never loads; use the binary version"
    ):
        open_images(f"cifar10:{tmp_path}")


def test_torchvision_sets(tmp_path):
    for i, name in enumerate(["AnnualCrop", "River"]):
        for k in range(3):
            save(tmp_path / "eurosat" / "2750" / name / f"{k}.png", 10 * i + k, (64, 64))
    images = open_images(f"EuroSAT:{tmp_path}")
    assert images.classes == ["AnnualCrop", "River"]
    assert images.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert values(images) == [0, 1, 2, 10, 11, 12]
    with pytest.raises(ValueError, match="dtd: torchvision's DTD cannot read"):
        open_images(f"dtd:{tmp_path}:train")
    with pytest.raises(ValueError, match=r"dtd has no split 'tset'; did you mean 'test'"):
        open_images(f"dtd:{tmp_path}:tset")


def test_torchvision_lists_in_file_order(tmp_path):
    for i, name in enumerate(["b/beach/sun_b.jpg", "a/abbey/sun_a.jpg", "a/abbey/sun_c.jpg"]):
        save(tmp_path / "SUN397" / name, 50 * i, (128, 128))
    (tmp_path / "SUN397" / "ClassName.txt").write_text("/a/abbey\n/b/beach\n")
    images = open_images(f"sun397:{tmp_path}", labelled=True)
    assert np.allclose(values(images), [50, 100, 0], atol=2)
    assert images.labels.tolist() == [0, 0, 1]
    assert images.classes == ["abbey", "beach"]


def test_stl10_without_labels(tmp_path):
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    from torchvision.datasets import STL10

    from selfwise.data.image import torchvision_sets

    assert torchvision_sets.SETS["stl10"].in_memory
    records = np.random.default_rng(0).integers(0, 256, (2, 3, 96, 96), dtype=np.uint8)
    (folder / "unlabeled_X.bin").write_bytes(records.tobytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(STL10, "_check_integrity", lambda self: True)
        images = open_images(f"stl10:{tmp_path}:unlabeled")
    assert images.labels is None
    assert torch.equal(images.read(np.arange(2)).x, torch.tensor(records).transpose(2, 3))


def test_arrays_of_torchvision_have_the_limit(tmp_path):
    from scipy.io import savemat

    (tmp_path / "stl10_binary").mkdir()
    (tmp_path / "stl10_binary" / "unlabeled_X.bin").write_bytes(bytes(3 * 96 * 96))
    pixels = np.zeros((32, 32, 3, 9), np.uint8)
    savemat(tmp_path / "test_32x32.mat", {"X": pixels, "y": pixels[0]}, do_compression=True)
    for name in ("stl10", "svhn"):
        split = "train+unlabeled" if name == "stl10" else "test"
        file = "unlabeled_X" if name == "stl10" else "test_32x32"
        with (
            limit_memory("26K"),
            pytest.raises(ValueError, match=rf"{file}\.\w+: reading it takes"),
        ):
            open_images(f"{name}:{tmp_path}:{split}")
        with limit_memory("1M"), pytest.raises(ValueError, match="corrupted"):
            open_images(f"{name}:{tmp_path}:{split}")


@pytest.mark.parametrize("side", [64, 3000])
def test_pictures_that_torchvision_opens_have_the_limit(side, tmp_path):
    from PIL import Image

    for name in ("AnnualCrop", "River"):
        save(tmp_path / "eurosat" / "2750" / name / "0.png", 10, (side, side))
    before = Image.MAX_IMAGE_PIXELS
    with limit_memory("20M"):
        if side == 64:
            assert len(open_images(f"eurosat:{tmp_path}")) == 2
        else:
            with pytest.raises(ValueError, match=r"^item 0 of EuroSAT: .* 20.0 MiB \(--max-memory"):
                open_images(f"eurosat:{tmp_path}")
    assert before == Image.MAX_IMAGE_PIXELS
    assert len(open_images(f"eurosat:{tmp_path}")) == 2


@pytest.mark.parametrize("name", ["mnist", "stl10"])
def test_a_name_without_its_folder(name):
    with pytest.raises(ValueError, match="the folder is missing"):
        open_images(name)


def test_an_unknown_name():
    with pytest.raises(ValueError, match=r"no data set has the name 'mnsit'; did you mean 'mnist'"):
        open_images("mnsit:folder")


def test_every_allowed_torchvision_set_has_the_arguments_that_are_used():
    import inspect

    import torchvision.datasets

    from selfwise.data.image.torchvision_sets import SETS

    for known in SETS.values():
        parameters = inspect.signature(getattr(torchvision.datasets, known.cls)).parameters
        assert parameters["download"].default is False
        assert ("split" in parameters) == bool(known.splits), known.cls


def test_real_mnist(real_data):
    images = open_images(f"mnist:{real_data / 'mnist'}:test")
    assert len(images) == 10_000
    assert np.bincount(images.labels).tolist()[:3] == [980, 1135, 1032]
