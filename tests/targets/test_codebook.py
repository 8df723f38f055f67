"""The streaming fit: what it finds, that it can be killed anywhere, and what it refuses."""

import pytest
import torch

from selfwise.targets import kmeans_streaming
from selfwise.targets.codebook import CODEBOOK_FILE, Codebook, learn_codebook
from selfwise.targets.kmeans import centre_distances, run_lloyd


class Killed(Exception):
    """Stands for the end of the process."""


class Stream:
    """Batches of clouds; counts how often each is read, and fails after `reads` of them."""

    def __init__(
        self, sizes: list[int], *, d: int = 4, blobs: int = 6, reads: float = float("inf")
    ):
        random = torch.Generator().manual_seed(0)
        middles = torch.randn(blobs, d, generator=random) * 3
        which = torch.randint(blobs, (sum(sizes),), generator=random)
        self.x = middles[which] + torch.randn(sum(sizes), d, generator=random)
        self.parts, self.reads, self.read = self.x.split(sizes), reads, [0] * len(sizes)

    def __len__(self) -> int:
        return len(self.parts)

    def __call__(self, j: int) -> torch.Tensor:
        if sum(self.read) >= self.reads:
            raise Killed
        self.read[j] += 1
        return self.parts[j].clone()


SIZES = [120, 30, 0, 77, 200, 1, 150, 90]


def learn(batches, count, *, folder=None, memory=1.0, progress=None, **options):
    settings = kmeans_streaming.KMeansSettings(count, **options)
    return learn_codebook(batches, settings, folder=folder, memory=memory, progress=progress)


SMALL = {"clusters": 9, "seed": 0, "sample": 200, "tries": 2, "passes": 4, "tolerance": 0.0}


def inertia(stream: Stream, book: Codebook) -> float:
    return float(centre_distances(stream.x, book.centres, book(stream.x)).double().sum())


def test_clouds_that_lie_apart_are_found():
    random = torch.Generator().manual_seed(1)
    middles = torch.randn(7, 5, generator=random) * 100
    parts = [
        middles[torch.randint(7, (100,), generator=random)] + torch.randn(100, 5, generator=random)
        for _ in range(10)
    ]
    book = learn(lambda j: parts[j], 10, clusters=7, seed=3, sample=150)
    gaps = torch.cdist(book.centres, middles).amin(dim=0)
    assert gaps.max() < 1
    assert (book.size, book.dim) == (7, 5)


def test_passes_are_lloyd_iterations_over_all_batches():
    stream = Stream(SIZES)
    start = learn(stream, len(stream), **SMALL | {"passes": 0}).centres
    for passes in (1, 4):
        found = learn(stream, len(stream), **SMALL | {"passes": passes}).centres
        expected = run_lloyd(stream.x, start, passes, tolerance=0.0).centres
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_mini_batches_go_on_from_the_sample_and_see_every_batch_once():
    """Without passes, counts are those of the sample and of everything."""
    stream, states = Stream(SIZES), []

    class Watched(kmeans_streaming.KMeansFit):
        def _mini_batches(self) -> None:
            states.append(self.tensors["counts"].clone())
            super()._mini_batches()
            states.append(self.tensors["counts"].clone())

    settings = kmeans_streaming.KMeansSettings(len(stream), 9, 0, 0, 0.0, 200, 2)
    Watched(stream, settings, folder=None, memory=0, report=None).run()
    assert [int(counts.sum()) for counts in states] == [200, 200 + sum(SIZES)]


def test_it_ends_when_the_centres_settle():
    stream, said = Stream(SIZES), []
    told = SMALL | {"passes": 500, "tolerance": 1e-4, "progress": said.append}
    found = learn(stream, len(stream), **told).centres
    assert said[-1].endswith("settled")
    assert 1 < len(said) < 100
    again = run_lloyd(stream.x, found, 1, tolerance=0.0).centres
    variance = stream.x.var(dim=0, unbiased=False).mean()
    assert (again - found).square().sum() <= 1e-4 * variance


def test_an_empty_cluster_takes_the_farthest_point_of_all_batches():
    stream = Stream(SIZES)
    far = torch.full((1, 4), 50.0)
    stream.parts = (*stream.parts[:4], torch.cat([stream.parts[4], far]), *stream.parts[5:])
    settings = kmeans_streaming.KMeansSettings(len(stream), 9, 0, 1, 0.0, 200, 2)
    run = kmeans_streaming.KMeansFit(stream, settings, folder=None, memory=0, report=None)
    start = stream.x[:9].clone()
    start[5] = -1e4
    run.tensors = {"centres": start, "variance": torch.ones((), dtype=torch.float64)}
    run.progress.phase = "passes"
    expected = run_lloyd(torch.cat(stream.parts), start, 1).centres
    torch.testing.assert_close(run.run(), expected, rtol=1e-6, atol=1e-6)
    assert (expected[5] == 50).all()


@pytest.mark.parametrize("memory", [0.0, 1.0])
def test_a_killed_fit_goes_on_bitwise(memory, tmp_path, monkeypatch):
    """Killed at every single read, so in the sample, in mini-batches and in each pass."""
    monkeypatch.setattr(kmeans_streaming, "SAVE_SECONDS", 0.0)
    whole = Stream(SIZES)
    expected = learn(whole, len(whole), **SMALL, memory=memory).centres
    total = sum(whole.read)
    assert total == (len(SIZES) if memory else total)
    for reads in range(1, total, 3 if memory else 7):
        folder = tmp_path / str(reads)
        with pytest.raises(Killed):
            learn(Stream(SIZES, reads=reads), 8, **SMALL, memory=memory, folder=folder)
        rest = Stream(SIZES)
        found = learn(rest, 8, **SMALL, memory=memory, folder=folder).centres
        assert torch.equal(found, expected)
        # what was done is not done again: of what was going on at most the batch that was read
        if not memory and (folder / kmeans_streaming.FIT_FILE).is_file() and reads > 8:
            assert sum(rest.read) <= total - reads + 8


def test_killed_again_and_again(tmp_path, monkeypatch):
    monkeypatch.setattr(kmeans_streaming, "SAVE_SECONDS", 0.0)
    whole, folder, kills = Stream(SIZES), tmp_path, 0
    expected = learn(whole, len(whole), **SMALL).centres
    while True:
        try:
            found = learn(Stream(SIZES, reads=9), 8, **SMALL, memory=0, folder=folder).centres
            break
        except Killed:
            kills += 1
    assert kills >= 3
    assert torch.equal(found, expected)


def test_a_fit_that_is_over_is_read_and_not_done_again(tmp_path):
    stream = Stream(SIZES)
    expected = learn(stream, len(stream), **SMALL, folder=tmp_path).centres
    assert torch.equal(learn(Stream(SIZES, reads=0), 8, **SMALL, folder=tmp_path).centres, expected)


def test_memory_changes_how_often_batches_are_read_and_nothing_else():
    without, some, all_ = Stream(SIZES), Stream(SIZES), Stream(SIZES)
    gib = sum(SIZES) * 4 * 4 / 2**30
    found = [
        learn(stream, 8, **SMALL, memory=share * gib).centres
        for stream, share in ((without, 0), (some, 0.5), (all_, 1))
    ]
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    assert all_.read == [1] * 8
    assert min(without.read[:2]) >= 5  # mini-batches and four passes
    assert sum(all_.read) < sum(some.read) < sum(without.read)


def test_the_seed_decides():
    stream = Stream(SIZES)
    a, b, c = (learn(stream, 8, **SMALL | {"seed": seed}).centres for seed in (0, 0, 1))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_the_global_random_state_is_left_alone():
    before = torch.get_rng_state()
    learn(Stream(SIZES), 8, **SMALL)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_best_of_the_starts_is_taken():
    stream = Stream([400], blobs=30)
    told = SMALL | {"clusters": 30, "passes": 0, "sample": 400}
    few, many = (
        sum(inertia(stream, learn(stream, 1, **told | {"tries": n, "seed": s})) for s in range(4))
        for n in (1, 10)
    )
    assert many < few


def test_the_sample_is_drawn_from_all_batches():
    """Of one large and many small batches; and it is enough for the clusters."""
    stream = Stream([5000, *[1] * 40])
    settings = kmeans_streaming.KMeansSettings(len(stream), 100, 0, 0, 0.0, 1000, 1)
    order = torch.randperm(41, generator=torch.Generator().manual_seed(0)).numpy()
    sample = kmeans_streaming._draw_sample(
        kmeans_streaming.FeatureBatches(stream, 0), order, settings
    )
    assert len(sample) >= 500
    assert len(sample.unique(dim=0)) == len(sample)
    even = Stream([500] * 20)
    sample = kmeans_streaming._draw_sample(
        kmeans_streaming.FeatureBatches(even, 0), order[order < 20], settings
    )
    assert len(sample) == 1000
    assert min(even.read) == 0  # 256 of a batch at once


def test_as_many_clusters_as_features():
    stream = Stream([5, 4])
    book = learn(stream, 2, **SMALL)
    assert inertia(stream, book) < 1e-9
    assert sorted(book(stream.x).tolist()) == list(range(9))


def test_more_clusters_than_features():
    with pytest.raises(ValueError, match=r"^9 clusters are too many for 8 features: give at"):
        learn(Stream([5, 3]), 2, **SMALL)


def test_features_that_are_not_finite():
    stream = Stream(SIZES)
    stream.parts[4][3, 1] = torch.nan
    with pytest.raises(ValueError, match="features of batch 4 are not finite"):
        learn(stream, 8, **SMALL)


@pytest.mark.parametrize(
    ("option", "value"), [("clusters", 1), ("passes", -1), ("tries", 0), ("sample", 0)]
)
def test_numbers_that_make_no_fit(option, value):
    with pytest.raises(ValueError, match=f"{option} must be at least .*, got {value}"):
        learn(Stream(SIZES), 8, **SMALL | {option: value})


def test_the_folder_of_another_fit(tmp_path):
    learn(Stream(SIZES), 8, **SMALL, folder=tmp_path)
    with pytest.raises(ValueError, match="holds a fit with clusters 9, and this fit has 8"):
        learn(Stream(SIZES), 8, **SMALL | {"clusters": 8}, folder=tmp_path)


def test_a_damaged_fit_is_named(tmp_path):
    (tmp_path / kmeans_streaming.FIT_FILE).write_bytes(b"no tensors")
    with pytest.raises(ValueError, match="is not the file of a fit, or is damaged"):
        learn(Stream(SIZES), 8, **SMALL, folder=tmp_path)


def test_a_codebook_on_disk(tmp_path):
    book = Codebook(torch.randn(5, 3, generator=torch.Generator().manual_seed(0)))
    book.save(tmp_path / "new")
    again = Codebook.load(tmp_path / "new")
    assert torch.equal(again.centres, book.centres)
    assert [path.name for path in (tmp_path / "new").iterdir()] == [CODEBOOK_FILE]
    with pytest.raises(ValueError, match=r"has no codebook: codebook.safetensors is"):
        Codebook.load(tmp_path)


def test_units_of_features_of_any_shape():
    book = Codebook(torch.eye(3))
    x = torch.eye(3)[torch.tensor([[0, 2], [1, 1]])]
    assert book(x).tolist() == [[0, 2], [1, 1]]
    assert book(x.double()).tolist() == [[0, 2], [1, 1]]
    assert book(torch.zeros(2, 0, 3)).shape == (2, 0)
    with pytest.raises(ValueError, match="these features have width 4, and the codebook"):
        book(torch.zeros(2, 4))
    with pytest.raises(ValueError, match="not finite"):
        Codebook(torch.full((2, 2), torch.inf))
