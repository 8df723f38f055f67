"""One test for each sentence of Zhang, Isola, Efros 2016 (arXiv:1603.08511) that is kept."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from torch import nn

from selfwise.core.rng import init_seed
from selfwise.core.types import Features, ImageBatch
from selfwise.data.image import open_images
from selfwise.encoders import image as image_encoders
from selfwise.evaluation.monitors.pictures import ColorizationMonitor
from selfwise.losses.cross_entropy import soft_cross_entropy
from selfwise.methods import Method
from selfwise.methods.colorization import Colorization
from selfwise.training.optimizers import build_optimizer
from selfwise.views.image import color_bins
from selfwise.views.image.color_counts import count_colors
from selfwise.views.image.color_space import lab_to_rgb, lightness, rgb_to_lab
from tests.helpers import cases


class Pixels(nn.Module):
    """An encoder that one can compute by hand: the lightness of each pixel of a 4 x 4 square."""

    dim, color_space = 1, "lightness"

    def forward(self, x):
        level = nn.functional.avg_pool2d(lightness(x) / 100, 4)
        return Features(level.mean(dim=(2, 3)), level.flatten(2).mT, tuple(level.shape[2:]))

    def hidden(self, x):
        return [self(x), self(x)]


def prior() -> torch.Tensor:
    """Gray is frequent, and the rest less and less."""
    return color_bins.smooth_prior((-color_bins.bin_centers().norm(dim=1) / 20).exp())


def method(**options) -> Colorization:
    with init_seed(0, "test"):
        told = {
            "size": 16,
            "prior": prior(),
            "head_dim": 8,
            "min_crop_scale": 1.0,
            "flip_prob": 0.0,
        } | options
        return Colorization(told.pop("encoder", Pixels()), **told)


def photos(side: int, n: int = 4) -> ImageBatch:
    """Squares of photographs, as large as that."""
    whole = [data.astronaut(), data.chelsea(), data.coffee(), data.rocket()][:n]
    parts = [torch.from_numpy(p[60 : 60 + side, 60 : 60 + side].copy()) for p in whole]
    return ImageBatch(torch.stack(parts).permute(0, 3, 1, 2).contiguous(), torch.arange(n))


def gray(x: torch.Tensor) -> torch.Tensor:
    return lab_to_rgb(torch.cat([lightness(x), torch.zeros_like(x[:, :2])], dim=1))


def test_the_encoder_sees_the_lightness_alone():
    """Section 2: "given an input lightness channel"; later too, when it is probed."""
    encoder = cases.tiny_encoder(color_space="lightness").eval()
    assert encoder.model.conv1.in_channels == 1
    x = photos(16).x / 255
    assert (x - gray(x)).abs().max() > 0.2
    for of in (encoder, lambda x: encoder.hidden(x)[1]):
        torch.testing.assert_close(of(x).pooled, of(gray(x)).pooled, atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(of(x).pooled, of(gray(x)[:, :1]).pooled, atol=1e-4, rtol=1e-3)
        assert not torch.allclose(of(x).pooled, of(x / 2).pooled, atol=1e-2)
    seen = []
    encoder.model.conv1.register_forward_hook(lambda module, taken, out: seen.append(taken[0]))
    encoder(x)
    assert torch.equal(seen[0], lightness(x) / 100)


def test_an_encoder_that_sees_colors_is_refused():
    with pytest.raises(ValueError, match=r"--encoder\.color-space lightness"):
        method(encoder=cases.tiny_encoder())
    with pytest.raises(ValueError, match="unknown color_space 'gray' of the encoder"):
        cases.tiny_encoder(color_space="gray")


def test_the_target_is_the_color_of_each_fourth_pixel(rng):
    batch = photos(16)
    view = method().view(batch, rng())
    torch.testing.assert_close(view.x, batch.x / 255, atol=1e-6, rtol=0)
    ab = rgb_to_lab(batch.x / 255)[:, 1:, 2::4, 2::4].permute(0, 2, 3, 1)
    index, share = color_bins.soft_encode(ab, 5)
    assert torch.equal(view.bins, index)
    torch.testing.assert_close(view.share, share, atol=1e-4, rtol=0)
    assert view.bins.shape == (4, 4, 4, 5)
    assert method(num_neighbors=10).view(batch, rng()).bins.shape == (4, 4, 4, 10)


def test_a_pixel_counts_as_its_nearest_bin_is_rare(rng):
    """Section 2.2: "each pixel is weighed by w of its closest ab bin"."""
    view = method().view(photos(16), rng())
    assert torch.equal(view.weight, color_bins.rarity_weights(prior())[view.bins[..., 0]])
    assert view.weight.std() > 0.1
    flat = method(uniform_weight=1.0).view(photos(16), rng())
    assert torch.allclose(flat.weight, torch.ones(4, 4, 4))


def test_the_loss_against_a_double_loop(rng):
    """Section 2.2, eq. 2 and 3, in float64."""
    made = method().double()
    view = made.view(photos(16), rng())
    scores = made.head([made.encoder(view.x.double())]).detach()
    assert scores.shape == (4, 4, 4, 313)
    total, plain, hits = 0.0, 0.0, 0
    for place in np.ndindex(4, 4, 4):
        row = scores[place].tolist()
        norm = math.log(sum(math.exp(s) for s in row))
        pairs = zip(view.bins[place].tolist(), view.share[place].tolist())
        nats = -sum(share * (row[q] - norm) for q, share in pairs)
        total, plain = total + float(view.weight[place]) * nats, plain + nats
        hits += max(range(313), key=row.__getitem__) == int(view.bins[(*place, 0)])
    step = made(view._replace(x=view.x.double()))
    assert step.terms["colorization_loss"].sum.item() == pytest.approx(total, rel=1e-6)
    assert float(step.terms["colorization_loss"].count) == 64
    assert float(step.metrics["color_nats"].mean) == pytest.approx(plain / 64, rel=1e-6)
    assert float(step.metrics["color_accuracy"].mean) == pytest.approx(hits / 64)


def test_the_gradient_of_soft_cross_entropy():
    scores = torch.randn(5, 7, dtype=torch.float64, requires_grad=True)
    index = torch.tensor([[0, 3], [6, 1], [2, 4], [5, 0], [1, 2]])
    share = torch.tensor([[0.7, 0.3], [0.5, 0.5], [1.0, 0.0], [0.9, 0.1], [0.2, 0.8]]).double()
    assert torch.autograd.gradcheck(lambda s: soft_cross_entropy(s, index, share), scores)
    target = torch.zeros(5, 7, dtype=torch.float64).scatter_(1, index, share)
    wanted = nn.functional.cross_entropy(scores, target, reduction="none")
    torch.testing.assert_close(soft_cross_entropy(scores, index, share), wanted)


def test_gray_images_are_left_out_of_the_loss(rng):
    batch = photos(16)
    pale = (gray(batch.x[:2] / 255) * 255).round().to(torch.uint8)
    batch = batch._replace(x=torch.cat([pale, batch.x[2:]]))
    made = method().eval()
    view = made.view(batch, rng())
    assert view.chosen.tolist() == [False, False, True, True]
    assert float(made.counts(view)["colorization_loss"]) == 32
    other = view._replace(bins=view.bins.clone(), weight=view.weight.clone())
    other.bins[:2], other.weight[:2] = 5, 3.0
    seen, same = made(view), made(other)
    assert torch.equal(seen.loss, same.loss)
    assert torch.equal(seen.metrics["color_nats"].sum, same.metrics["color_nats"].sum)
    assert torch.equal(seen.metrics["color_accuracy"].sum, same.metrics["color_accuracy"].sum)
    for place in np.ndindex(2, 4, 4):  # and every pixel of the others is read
        changed = view._replace(bins=view.bins.clone())
        changed.bins[2 + place[0], place[1], place[2]] = torch.arange(5)
        assert not torch.equal(made(changed).loss, seen.loss)
    alone = made(made.view(ImageBatch(batch.x[2:], torch.arange(2)), rng()))
    assert float(alone.loss) == pytest.approx(float(seen.loss), rel=1e-5)


@pytest.mark.parametrize("scale", [1.0, 2.0**16], ids=["float32", "scaled as for fp16"])
def test_a_batch_without_colors_has_no_loss_and_no_gradient(rng, scale):
    batch = ImageBatch(torch.full((3, 3, 16, 16), 90, dtype=torch.uint8), torch.arange(3))
    made = method(encoder=cases.tiny_encoder(color_space="lightness"))
    view = made.view(batch, rng())
    step = made(view)
    (
        scale * step.terms["colorization_loss"].sum / made.counts(view)["colorization_loss"]
    ).backward()
    assert float(step.loss) == 0
    assert all(float(term.mean) == 0 for term in step.metrics.values())
    assert all(float(p.grad.abs().max()) == 0 for p in made.parameters())


def test_nothing_of_the_prior_is_trained_or_saved():
    made = method()
    assert "rarity" not in made.state_dict()
    assert not any(p is made.rarity for p in made.parameters())


def test_colors_are_the_annealed_mean_enlarged():
    """Section 2.3; what a head is sure of everywhere is the colour of every pixel."""
    made, x = method().eval(), gray(photos(16).x / 255)
    where = color_bins.bin_centers().tolist().index([20.0, -10.0])
    nn.init.zeros_(made.head.out.weight)
    made.head.out.bias.data = 100.0 * torch.eye(313)[where]
    lab = rgb_to_lab(made.colors(x))
    inside = (made.colors(x) > 0.001).all(dim=1) & (made.colors(x) < 0.999).all(dim=1)
    assert inside.float().mean() > 0.5
    found = lab.permute(0, 2, 3, 1)[inside]
    wanted = torch.cat([lightness(x)[:, 0][inside][:, None], torch.tensor([[20.0, -10.0]]).expand(
        len(found), 2)], dim=1)  # fmt: skip
    torch.testing.assert_close(found, wanted, atol=2e-2, rtol=0)


@torch.no_grad()
def test_the_head_guesses_where_the_map_is():
    made, x = method().eval(), torch.full((1, 3, 16, 16), 0.3)
    brighter = x.clone()
    brighter[..., :4, 12:] = 1.0
    far = (made.head([made.encoder(brighter)]) - made.head([made.encoder(x)])).abs().sum(dim=3)[0]
    assert float(far[:2, 2:].min()) > 0  # first row, last column, and round it a 3 x 3 convolution
    assert float(far[2:].max()) == float(far[:, :2].max()) == 0


def test_finer_maps_are_read_too():
    encoder = cases.tiny_encoder(color_space="lightness", stem="half")
    for stages in (1, 2, 4):
        made = method(encoder=encoder, stages=stages).eval()
        widths = [part[0].in_channels for part in made.head.inward]
        assert widths == [8, 16, 16, 32][-stages:]
        assert made.colors(photos(16).x / 255).shape == (4, 3, 16, 16)
    for wrong in (0, 9):
        with pytest.raises(ValueError, match="stages must be"):
            method(encoder=encoder, stages=wrong)


def test_a_resnet_may_be_dilated_as_in_the_paper():
    """Section 2, fig. 2: the trunk keeps a stride of 8."""
    small = {"layers": [1, 1, 1, 1], "channels": [8, 8, 8, 8], "block": "bottle"}
    encoder = image_encoders.build_image_encoder(
        "resnet50", in_channels=3, size=96, color_space="lightness", output_stride=8,
        **{k: v for k, v in small.items() if k != "block"},
    )  # fmt: skip
    assert encoder(torch.rand(1, 3, 96, 96)).grid == (12, 12)
    assert method(encoder=encoder, size=96).head.grid == (24, 24)


@pytest.mark.parametrize(("name", "size"), [("test_vit", 160), ("test_convnext", 160)])
def test_other_encoders_with_a_map(name, size, rng):
    encoder = image_encoders.build_image_encoder(
        name, in_channels=3, size=size, color_space="lightness"
    )
    made = method(encoder=encoder, size=size)
    view = made.view(photos(200, 2), rng())
    assert view.bins.shape == (2, size // 4, size // 4, 5)
    nats = made(view).metrics["color_nats"]
    assert float(nats.mean) == pytest.approx(math.log(313), rel=0.3)


def test_encoders_without_a_map_are_refused():
    class Flat(Pixels):
        def forward(self, x):
            return Features(x.mean(dim=(2, 3)))

    with pytest.raises(ValueError, match="a map of positions"):
        method(encoder=Flat())


@pytest.mark.run  # training
def test_it_learns_the_colors_of_large_photos(rng):
    """176 px as in the paper, 44 x 44 targets; the two are learned by heart."""
    tiny = {"layers": [1, 1, 1, 1], "channels": [8, 16, 16, 32], "stem": "timm"}
    encoder = image_encoders.build_image_encoder(
        "resnet18", in_channels=3, size=176, color_space="lightness", **tiny
    )
    batch = photos(176, 2)
    made = method(encoder=encoder, size=176, head_dim=16, stages=3)
    view = made.view(batch, rng())
    assert view.bins.shape == (2, 44, 44, 5)
    optimizer = build_optimizer("adamw", made, lr=1e-2, weight_decay=0.0)
    for _ in range(25):
        optimizer.zero_grad()
        made(view).loss.backward()
        optimizer.step()
    probe = ColorizationMonitor(
        open_images(batch.x.permute(0, 2, 3, 1).numpy()), size=176, seed=0, every=1, folder=None
    )
    with torch.no_grad():
        for _ in range(5):  # statistics of the batch norms
            made(view)
    values = probe(made)
    assert values["color_error"] < 0.8 * values["color_error_gray"]


class Painter(Method):
    """Makes everything red: a = 60, b = 40."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def colors(self, x):
        assert not self.training
        return torch.tensor([0.8, 0.2, 0.2])[:, None, None].expand_as(x)


def test_the_picture_shows_gray_guessed_and_true(tmp_path):
    blue = np.broadcast_to(np.array([30, 30, 200], np.uint8), (8, 16, 16, 3)).copy()
    blue[:2] = 128  # gray images, which are not counted
    made = Painter().train()
    probe = ColorizationMonitor(open_images(blue), size=16, seed=0, every=5, folder=tmp_path)
    values = probe(made)
    assert made.training
    both = torch.tensor([[30.0, 30, 200], [204, 51, 51]]).T[None, :, :, None] / 255
    true, red = rgb_to_lab(both)[0, 1:, :, 0].T
    assert values["color_error"] == pytest.approx(float((true - red).norm()), rel=1e-3)
    assert values["color_error_gray"] == pytest.approx(float(true.norm()), rel=1e-3)
    assert [p.name for p in tmp_path.iterdir()] == ["colors.png"]
    picture = np.asarray(Image.open(tmp_path / "colors.png"))
    rows = picture[[30, 130, 230]]
    assert (rows[0].max(axis=-1) == rows[0].min(axis=-1)).all()  # gray
    assert ((rows[1] == [204, 51, 51]).all(axis=-1) | (rows[1] == 255).all(axis=-1)).all()
    assert (rows[2] == [30, 30, 200]).all(axis=-1).any()
    assert probe.warning(values) is None


def test_the_prior_counts_the_pixels_that_are_guessed():
    """One image in two colours, one in a third, and a gray one, which is left out."""
    x = np.full((3, 16, 16, 3), 128, np.uint8)
    x[0, :8], x[0, 8:], x[1] = (200, 30, 30), (30, 30, 200), (30, 160, 40)
    x[2, 3:5, 3:5] = (132, 128, 128)  # not gray, and yet no colour
    batches = [torch.from_numpy(x).permute(0, 3, 1, 2) / 255]
    counts, read, colored = count_colors(batches)
    assert (colored, read) == (2, 3)
    ab = rgb_to_lab(torch.tensor(x[[0, 0, 1], [0, 15, 0], 0]).float().T[None, :, :, None] / 255)
    nearest = torch.cdist(ab[0, 1:, :, 0].T, color_bins.bin_centers()).argmin(dim=1)
    assert counts[nearest].tolist() == [8, 8, 16]
    assert float(counts.sum()) == 32


@pytest.mark.parametrize(
    ("options", "word"),
    [({"num_neighbors": 0}, "num_neighbors"), ({"uniform_weight": -0.1}, "uniform_weight"),
     ({"head_dim": 0}, "head_dim"),
     ({"min_crop_scale": 0.0}, "min_crop_scale"), ({"flip_prob": 2.0}, "flip_prob"),
     ({"prior": torch.ones(9)}, "313")],
)  # fmt: skip
def test_impossible_options_are_named(options, word):
    with pytest.raises(ValueError, match=word):
        method(**options)


def test_batches_of_gray_images_are_refused(rng):
    batch = ImageBatch(torch.zeros(2, 1, 16, 16, dtype=torch.uint8), torch.arange(2))
    with pytest.raises(ValueError, match="color images"):
        method().view(batch, rng())
