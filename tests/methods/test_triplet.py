"""The triplet loss of FaceNet (arXiv:1503.03832), with labels and without, and its batches."""

import tracemalloc

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from selfwise.core.rng import Rng, generator
from selfwise.core.types import Features, ImageBatch, Labelled
from selfwise.losses import triplet_mining as mining
from selfwise.methods.simclr import SimCLR
from selfwise.methods.supervised import Supervised
from selfwise.methods.triplet import ImagePairs, Triplet
from selfwise.methods.triplet_labelled import LabelledTriplets, TripletLabelled
from selfwise.modalities import find_modality
from selfwise.modalities.image.data import OpenImages
from selfwise.modalities.modality import EncoderChoice, Opening
from selfwise.runs.build import open_newest
from selfwise.runs.create import pretrain
from selfwise.runs.open import load
from selfwise.views.image.pk_sampler import PKSampler
from tests.helpers import cases

WAYS = pytest.mark.parametrize("way", mining.VIEW_RULES)
QUICK = {"steps": 2, "batch_size": 8, "cpu_threads": 1, "precision": "float32", "quiet": True}
QUICK |= {"encoder": "resnet18", "encoder_options": {**cases.TINY}}


class Mean(nn.Module):
    """An encoder that one can compute by hand: the mean of each channel."""

    dim = 3

    def forward(self, x):
        return Features(x.mean(dim=(2, 3)))

    def hidden(self, x):
        return [self(x)]


def painted(z: torch.Tensor) -> torch.Tensor:
    """Images (n 3 4 4) whose mean is z."""
    return z[:, :, None, None].expand(-1, -1, 4, 4).contiguous()


def expected(z: torch.Tensor, identity: list[int], margin: float) -> float:
    """FaceNet, eq. 3 with the nearest semi-hard negative: the mean over all pairs, in loops."""
    z = F.normalize(z.double(), dim=1)
    d = [[float((a - b).square().sum()) for b in z] for a in z]
    rows, costs = range(len(z)), []
    for a in rows:
        for p in rows:
            if a == p or identity[a] != identity[p]:
                continue
            others = [d[a][n] for n in rows if identity[n] != identity[a]]
            within = [far for far in others if d[a][p] < far < d[a][p] + margin]
            costs.append(d[a][p] - min(within) + margin if within else 0.0)
    return sum(costs) / len(costs)


@pytest.mark.parametrize("margin", [0.05, 0.2, 1.0])
def test_two_views_are_a_pair_in_both_directions(margin):
    method = Triplet(Mean(), size=4, proj_dim=3, margin=margin)
    method.projection = nn.Identity()
    a, b = torch.rand(2, 9, 3, generator=generator(0, "z"))
    step = method(ImagePairs(painted(a), painted(b)))
    by_hand = expected(torch.cat([a, b]), [*range(9), *range(9)], margin)
    assert by_hand > 0
    assert float(step.loss) == pytest.approx(by_hand, rel=1e-4)
    assert float(step.terms["triplet_loss"].count) == 18


@pytest.mark.parametrize("margin", [0.05, 0.2, 1.0])
def test_images_of_an_identity_are_pairs(margin):
    method = TripletLabelled(Mean(), size=4, proj_dim=3, margin=margin, images_per_identity=3)
    method.embedding = nn.Identity()
    z = torch.rand(12, 3, generator=generator(0, "z"))
    identity = [5, 2, 5, 9, 2, 9, 9, 5, 2, 7, 7, 7]  # in any order
    step = method(LabelledTriplets(painted(z), torch.tensor(identity)))
    assert float(step.loss) == pytest.approx(expected(z, identity, margin), rel=1e-4)
    assert float(step.terms["triplet_loss"].count) == 24
    assert (
        float(method.counts(LabelledTriplets(painted(z), torch.tensor(identity)))["triplet_loss"])
        == 24
    )


@WAYS
@pytest.mark.parametrize("kind", [Triplet, TripletLabelled])
def test_every_way_of_mining_learns_from_a_batch(kind, way, rng):
    name = "triplet" if kind is Triplet else "triplet_labelled"
    method = cases.build(name, mining=way)
    view = method.view(cases.batch(kind), rng())
    step = method(view)
    step.loss.backward()
    assert float(step.loss.detach()) > 0
    assert all(p.grad.abs().max() > 0 for p in method.parameters())
    assert float(step.terms["triplet_loss"].count) == float(method.counts(view)["triplet_loss"])
    loss = {other: cases.build(name, mining=other) for other in mining.VIEW_RULES}
    view = loss["random"].view(cases.batch(kind), rng())  # the draw is there for all
    with torch.no_grad():
        values = {other: float(method(view).loss) for other, method in loss.items()}
    assert len(set(values.values())) == len(mining.VIEW_RULES), values
    assert max(values.values()) == values["hard"]


def test_batch_hard_is_a_mean_over_images(rng):
    method = cases.build("triplet_labelled", mining="batch_hard")
    view = method.view(cases.batch(TripletLabelled), rng())
    assert (
        float(method(view).terms["triplet_loss"].count)
        == 16
        == float(method.counts(view)["triplet_loss"])
    )


def test_random_negatives_follow_the_draw(rng):
    for name, kind in (("triplet", Triplet), ("triplet_labelled", TripletLabelled)):
        method = cases.build(name, mining="random")
        view = method.view(cases.batch(kind), rng())
        other = method.view(cases.batch(kind), rng(1))
        assert view.draw is not None
        assert method(view).loss != method(view._replace(draw=other.draw)).loss


def test_views_are_those_of_simclr_and_of_supervised(rng):
    """So that a comparison differs in the loss alone (SimCLR, table 4)."""
    batch = cases.batch(Triplet)
    theirs = cases.build("simclr").view(batch, rng())
    for way in mining.VIEW_RULES:
        ours = cases.build("triplet", mining=way).view(batch, rng())
        assert torch.equal(ours.a, theirs.a)
        assert torch.equal(ours.b, theirs.b)
    told = {"min_crop_scale": 0.3, "flip_prob": 0.1, "jitter_strength": 0.7, "blur_prob": 0.2}
    assert cases.build("triplet", **told).augment == cases.build("simclr", **told).augment
    own = cases.build("triplet_labelled", **told)
    assert own.augment == cases.build("supervised", **told).augment
    faces = cases.batch(TripletLabelled)
    view = own.view(faces, Rng(generator(0)))
    assert torch.equal(view.x, own.augment(faces.batch, Rng(generator(0))))
    assert torch.equal(view.identity, faces.label)


def test_head_and_embedding():
    """SimCLR, table 4: the same head; FaceNet, figure 2: an embedding of 128 dimensions."""
    ours, theirs = Triplet(Mean(), size=32), SimCLR(Mean(), size=32)
    assert str(ours.projection) == str(theirs.projection)
    assert ours.augment == theirs.augment
    assert Triplet(Mean(), size=224).augment == SimCLR(Mean(), size=224).augment
    labelled = TripletLabelled(Mean(), size=32)
    assert labelled.augment == Supervised(Mean(), size=32, classes=2).augment
    assert tuple(labelled.embedding.weight.shape) == (128, 3)
    assert ours.margin == labelled.margin == 0.2
    assert ours.mining == labelled.mining == "semihard"


def arrays(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.integers(0, 256, size=(len(labels), 16, 16, 3), dtype=np.uint8), labels


def open_data(data, kind):
    """The images as a run of this method opens them."""
    modality = find_modality("image")
    choice = EncoderChoice("resnet18", modality.find_encoder_options("resnet18")())
    opening = Opening(method=kind, encoder=choice, open_run=open_newest)
    examples = modality.read_data(data, modality.reading(), kind)
    return modality.open_data(examples, modality.reading(), opening)


@pytest.mark.run  # training
def test_without_labels_none_is_read(tmp_path):
    """Bitwise the same weights, whatever the labels are, or if there are none."""
    assert not Triplet.labelled
    x, y = arrays(np.arange(24) % 3)
    runs = []
    for place, data in enumerate([(x, y), (x, y[::-1].copy()), (x, y * 0), x]):
        run = pretrain("triplet", data=data, out=tmp_path / str(place), **QUICK)
        runs.append(load(run.folder).method.state_dict())
        batch = open_data(data, Triplet).source(run.method, batch_size=8, seed=0).batch(0)
        assert type(batch) is ImageBatch
    for other in runs[1:]:
        assert runs[0].keys() == other.keys()
        assert all(torch.equal(runs[0][name], other[name]) for name in runs[0])


@pytest.mark.run  # training
def test_with_labels_a_batch_is_made_of_identities(tmp_path):
    data = arrays(np.arange(24) % 3)
    run = pretrain("triplet_labelled", data=data, out=tmp_path / "run", **QUICK)
    told = open_data(data, TripletLabelled)
    assert isinstance(told, OpenImages)
    batch = told.source(run.method, batch_size=8, seed=0).batch(0)
    assert isinstance(batch, Labelled)
    assert (batch.label == batch.label.view(2, 4)[:, :1].expand(2, 4).flatten()).all()
    assert batch.label[0] != batch.label[4]


# batches


def drawn(labels: np.ndarray, steps: range, *, batch: int, k: int, seed: int = 0) -> list:
    draw = PKSampler(labels, batch=batch, images_per_identity=k)
    return [draw(len(labels), batch, step, seed) for step in steps]


def uneven(seed: int = 0) -> np.ndarray:
    """7 identities of 4 to 31 images, shuffled; their labels have gaps."""
    sizes = [4, 5, 8, 9, 16, 30, 31]
    labels = np.repeat(np.array([0, 3, 4, 8, 9, 20, 21]), sizes)
    return np.random.default_rng(seed).permutation(labels)


def test_p_identities_with_k_different_images_each():
    labels = uneven()
    for rows in drawn(labels, range(50), batch=12, k=4):
        assert rows.dtype == np.int64
        groups = labels[rows].reshape(3, 4)
        assert (groups == groups[:, :1]).all()
        assert len(set(groups[:, 0])) == 3
        assert len(set(rows.tolist())) == 12


def test_identities_are_seen_equally_often():
    """In a round of two batches six of the seven come once; all come as often in the long run."""
    labels = uneven()
    batches = drawn(labels, range(1400), batch=12, k=4)
    whose = np.array([labels[rows].reshape(3, 4)[:, 0] for rows in batches])
    assert all(len(set(pair.ravel().tolist())) == 6 for pair in whose.reshape(700, 2, 3))
    share = np.unique(whose, return_counts=True)[1] / 700  # 6 of 7, binomial
    assert abs(share - 6 / 7).max() < 4.5 * (6 / 49 / 700) ** 0.5
    even = drawn(np.arange(60) % 6, range(100), batch=12, k=4)
    assert set(np.unique((np.concatenate(even) % 6), return_counts=True)[1]) == {200}


def test_images_of_an_identity_come_again_when_all_have_come():
    labels = np.arange(96) % 6  # 16 images each: 4 rounds of 4
    batches = drawn(labels, range(16), batch=12, k=4)  # 2 batches are a round
    turns = [np.concatenate(batches[i : i + 8]).tolist() for i in (0, 8)]
    for turn in turns:
        assert sorted(turn) == list(range(96))
    assert turns[0] != turns[1]


def test_every_image_is_drawn_where_k_does_not_divide():
    labels = uneven()
    counts = np.bincount(np.concatenate(drawn(labels, range(1400), batch=12, k=4)), minlength=103)
    for who in np.unique(labels):
        own = counts[labels == who]
        assert own.min() > 0.7 * own.mean()
        assert own.max() < 1.3 * own.mean()


def test_a_draw_is_a_function_of_seed_and_step_alone():
    labels = uneven()
    forward = drawn(labels, range(40), batch=12, k=4)
    backward = drawn(labels, range(39, -1, -1), batch=12, k=4)[::-1]
    resumed = drawn(labels, range(17, 40), batch=12, k=4)
    assert all(np.array_equal(a, b) for a, b in zip(forward, backward))
    assert all(np.array_equal(a, b) for a, b in zip(forward[17:], resumed))
    one = PKSampler(labels, batch=12, images_per_identity=4)
    for step in (5, 0):  # seeds by turns
        for seed in (1, 0):
            fresh = PKSampler(labels, batch=12, images_per_identity=4)
            assert np.array_equal(one(103, 12, step, seed), fresh(103, 12, step, seed))
    assert not np.array_equal(one(103, 12, 5, 0), one(103, 12, 5, 1))


@pytest.mark.parametrize(("identities", "batch", "k"), [(10, 40, 4), (100_000, 256, 4)])
def test_a_step_looks_at_its_own_images_and_not_at_a_million(identities, batch, k):
    labels = np.random.default_rng(0).permutation(np.arange(1_000_000) % identities)
    draw = PKSampler(labels, batch=batch, images_per_identity=k)
    draw(len(labels), batch, 0, 0)
    tracemalloc.start()
    try:
        for step in range(1, 21):
            before, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            draw(len(labels), batch, step, 0)
            _, most = tracemalloc.get_traced_memory()
            assert most - before < len(labels) / 4  # bytes: a mask over all labels takes four times
    finally:
        tracemalloc.stop()


# wrong input


@pytest.mark.parametrize("name", ["triplet", "triplet_labelled"])
def test_impossible_options_are_named(name):
    for margin in (0.0, -1.0):
        with pytest.raises(ValueError, match=f"margin must be above 0, got {margin:g}"):
            cases.build(name, margin=margin)
    with pytest.raises(ValueError, match="unknown mining 'semihrad'; did you mean 'semihard'"):
        cases.build(name, mining="semihrad")
    with pytest.raises(ValueError, match="min_crop_scale must be above 0"):
        cases.build(name, min_crop_scale=0.0)
    with pytest.raises(ValueError, match="per_identity must be at least 2"):
        cases.build("triplet_labelled", images_per_identity=1)
    with pytest.raises(ValueError, match="there are: hard, random, semihard"):
        cases.build("triplet", mining="batch_hard")


FEW, FOUR = np.repeat([0, 1, 2], [8, 3, 8]), np.arange(40) % 4


@pytest.mark.parametrize(
    ("labels", "batch", "k", "said"),
    [
        (uneven(), 4, 4, r"batch of 4 .* fewer than two identities.*--batch-size 8"),
        (uneven(), 7, 4, r"batch of 7 .* fewer than two identities.*--batch-size 8"),
        (uneven(), 10, 4, r"batch of 10 is not a multiple of 4 .*--batch-size 8 or 12"),
        (np.zeros(20, dtype=np.int64), 8, 4, r"all images are of one class, 'cat'"),
        (
            FEW,
            8,
            4,
            r"class 'dog' has 3 images, but --images-per-identity is 4; "
            "use --images-per-identity 3",
        ),
        (
            np.repeat([0, 1, 2], [8, 1, 3]),
            8,
            4,
            r"'dog' has 1 image, .*1 more class has too few\); leave out",
        ),
        (
            FOUR,
            32,
            4,
            r"8 identities, but there are 4; use --images-per-identity 8 or --batch-size 16",
        ),
        (np.arange(16) % 4, 32, 4, r"8 identities, but there are 4; use --batch-size 16"),
    ],
)
def test_batches_that_cannot_be(labels, batch, k, said):
    names = ["cat", "dog", "owl", *map(str, range(3, 30))]
    with pytest.raises(ValueError, match=said) as error:
        PKSampler(labels, batch=batch, images_per_identity=k, names=names)
    assert "\n" not in str(error.value)


@pytest.mark.run  # training
def test_wrong_batches_are_found_before_training(tmp_path):
    x, y = arrays(np.arange(24) % 3)
    out = tmp_path / "run"
    told = QUICK | {"data": (x, y), "out": out}
    with pytest.raises(ValueError, match="has fewer than two identities"):
        pretrain("triplet_labelled", **told | {"batch_size": 4})
    with pytest.raises(
        ValueError, match="--grad-accum-steps 2 is not possible: the triplet loss takes"
    ):
        pretrain("triplet", **told, grad_accum_steps=2)
    with pytest.raises(ValueError, match="have no labels"):
        pretrain("triplet_labelled", **told | {"data": x})
    assert not out.exists()
