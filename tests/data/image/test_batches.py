"""What DESIGN promises of a source: batch(step) is a pure function of the seed and the step."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from selfwise.core.types import ImageBatch, Labelled
from selfwise.data.image import Images, ImageSource, open_images

N, BATCH = 103, 10


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("SELFWISE_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(params=["array", "cached", "files"])
def images(request, tmp_path) -> Images:
    """103 pictures whose pixels are their row, in three classes; labels row % 3."""
    if request.param == "array":
        x = np.arange(N, dtype=np.uint8)[:, None, None, None].repeat(9, 2).repeat(8, 3)
        return open_images((x, np.arange(N) % 3))
    (tmp_path / "t").mkdir()
    for i in range(N):
        Image.new("RGB", (9 + i % 2, 9), (i, i, i)).save(tmp_path / "t" / f"{i:03d}.png")
    table = "path,label\n" + "".join(f"{i:03d}.png,{i % 3}\n" for i in range(N))
    (tmp_path / "t" / "t.csv").write_text(table)
    return open_images(
        tmp_path / "t" / "t.csv", cache={"files": "no", "cached": "yes"}[request.param]
    )


def same(one: ImageBatch, two: ImageBatch) -> bool:
    pairs = [pair for pair in zip(one, two) if pair != (None, None)]
    return all(torch.equal(a, b) for a, b in pairs)


def test_each_epoch_is_a_permutation_and_epochs_differ(images):
    source = ImageSource(images, batch=BATCH, seed=0)
    assert source.steps_per_epoch == len(source) == N // BATCH
    epochs = []
    for epoch in range(3):
        steps = range(epoch * len(source), (epoch + 1) * len(source))
        rows = torch.cat([source.batch(step).index for step in steps])
        assert rows.dtype == torch.int64
        assert len(rows) == N // BATCH * BATCH
        assert len(set(rows.tolist())) == len(rows)  # nobody twice
        assert rows.tolist() != sorted(rows.tolist())
        epochs.append(rows.tolist())
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    assert len({frozenset(rows) for rows in epochs}) == 3  # other rows are left out


def test_a_batch_the_size_of_the_data_is_a_permutation(images):
    source = ImageSource(images, batch=N, seed=0)
    for step in range(2):
        assert sorted(source.batch(step).index.tolist()) == list(range(N))


def test_seeds_differ(images):
    one, two = (ImageSource(images, batch=BATCH, seed=seed).batch(0).index for seed in (0, 1))
    assert one.tolist() != two.tolist()


def test_a_batch_is_the_same_from_a_fresh_source_and_in_any_order(images):
    source = ImageSource(images, batch=BATCH, seed=3)
    forward = [source.batch(step) for step in range(25)]
    for step in (24, 3, 11, 0, 19):
        assert same(ImageSource(images, batch=BATCH, seed=3).batch(step), forward[step])
        assert same(source[step], forward[step])


def test_pixels_and_labels_belong_to_the_index(images):
    batch, label = ImageSource(images, batch=BATCH, seed=0, labelled=True).batch(5)
    assert batch.x.dtype == torch.uint8
    assert batch.x[:, 0, 0, 0].tolist() == batch.index.tolist()
    assert label.dtype == torch.int64
    assert label.tolist() == [i % 3 for i in batch.index.tolist()]


def test_an_unlabelled_source_gives_no_labels(images):
    batch = ImageSource(images, batch=BATCH, seed=0).batch(0)
    assert type(batch) is ImageBatch
    assert set(batch._fields) == {"x", "index", "extent"}
    assert type(ImageSource(images, batch=BATCH, seed=0, labelled=True).batch(0)) is Labelled


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_gives_the_same_from_any_start(images, workers):
    source = ImageSource(images, batch=BATCH, seed=0)
    start, stop = 7, 13  # across the end of the first epoch
    loader = DataLoader(source, batch_size=None, sampler=range(start, stop), num_workers=workers)
    loaded = list(loader)
    assert len(loaded) == stop - start
    for step, batch in zip(range(start, stop), loaded):
        assert type(batch) is ImageBatch
        assert same(batch, ImageSource(images, batch=BATCH, seed=0).batch(step))


def test_draw_decides_the_rows(images):
    def backwards(n: int, batch: int, step: int, seed: int) -> np.ndarray:
        return (n - 1 - step - np.arange(batch)) % n

    source = ImageSource(images, batch=4, seed=0, draw=backwards, labelled=True)
    batch, label = source.batch(2)
    assert batch.index.tolist() == [100, 99, 98, 97]
    assert label.tolist() == [1, 0, 2, 1]


def test_a_replaced_picture_brings_its_own_label(images):
    class Replacing:
        ids, labels, classes, channels, side, fingerprint, broken = (
            images.ids,
            images.labels,
            images.classes,
            images.channels,
            images.side,
            "0",
            [],
        )

        def __len__(self) -> int:
            return N

        def read(self, rows: np.ndarray) -> ImageBatch:
            return images.read((rows + 1) % N)

        def take(self, rows: np.ndarray) -> Images:
            raise NotImplementedError

    batch, label = ImageSource(Replacing(), batch=BATCH, seed=0, labelled=True).batch(0)
    assert label.tolist() == (batch.index % 3).tolist()


@pytest.mark.parametrize("batch", [104, 0])
def test_a_batch_that_does_not_fit(images, batch):
    with pytest.raises(ValueError, match=rf"batch {batch} does not fit the data.*103 images"):
        ImageSource(images, batch=batch, seed=0)


def test_labels_that_are_not_there():
    unlabelled = open_images(np.zeros((20, 8, 8), dtype=np.uint8))
    with pytest.raises(ValueError, match=r"no labels.*csv with a label column"):
        ImageSource(unlabelled, batch=10, seed=0, labelled=True)


def test_the_rows_of_an_epoch_are_drawn_once(images, monkeypatch):
    from selfwise.data.image import batches as module

    module._order.cache_clear()
    calls, original = [], module.shuffle_indices
    monkeypatch.setattr(module, "shuffle_indices", lambda *a: calls.append(a) or original(*a))
    source = ImageSource(images, batch=BATCH, seed=987)
    for step in range(len(source) + 1):
        source.batch(step)
    assert calls == [(N, 987, "epoch", 0), (N, 987, "epoch", 1)]


def test_modality(images):
    assert ImageSource(images, batch=1, seed=0).modality == "image"
