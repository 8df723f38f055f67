"""One test for each sentence of the BEiT paper (arXiv:2106.08254) that the method keeps."""

import math

import pytest
import torch
from torch import nn

from selfwise.core.types import Features, ImageBatch
from selfwise.methods.beit import BEiT
from selfwise.views.image import crop
from selfwise.views.image.crop import Crop
from tests.helpers import cases, patch_cases

N = 16  # patches of the test images


class Seen(nn.Module):
    """An encoder that remembers what it was given: each patch is its own mean colours."""

    dim, grid = 4, (4, 4)

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.given = None

    def forward(self, x):
        return self.trunk(self.embed(x))

    def hidden(self, x):
        return [self(x)]

    def embed(self, x):
        mean = nn.functional.avg_pool2d(x, 4).flatten(2).mT
        return torch.cat([mean, mean[..., :1] + 5], dim=2) * self.scale

    def trunk(self, tokens):
        return Features(tokens.mean(dim=1), tokens, self.grid)

    def forward_at(self, tokens, where):
        self.given = tokens.detach().clone()
        return tokens.gather(1, where[..., None].expand(-1, -1, tokens.shape[2]))


def build_seen() -> BEiT:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return BEiT(Seen(), size=16, targets=patch_cases.Brightness())


@pytest.fixture
def seen():
    return build_seen()


def batch() -> ImageBatch:
    return cases.batch(BEiT)


def fewer(view):
    """The view with one hidden patch less in every second image; on 4 x 4 all blocks fit."""
    chosen, covered = view.chosen.clone(), view.covered.clone()
    chosen[::2, -1] = False
    covered[torch.arange(0, 16, 2), view.where[::2, -1]] = False
    return view._replace(chosen=chosen, covered=covered)


def test_hidden_patches_are_replaced_and_all_others_stay(seen, rng):
    """Section 2.3: "the masked patches are replaced with a learnable embedding"."""
    view = seen.view(batch(), rng())
    seen(view)
    whole = seen.encoder.embed(view.x)
    mask = seen.mask_embedding.detach().expand(len(view.x), N, 4)
    assert torch.equal(seen.encoder.given[view.covered], mask[view.covered])  # to the last bit
    assert torch.equal(seen.encoder.given[~view.covered], whole[~view.covered])


def test_nothing_of_a_hidden_patch_reaches_the_scores(rng):
    method = cases.build("beit").eval()
    view = method.view(batch(), rng())
    hidden = view.covered.view(-1, 4, 4).repeat_interleave(4, 1).repeat_interleave(4, 2)
    other = torch.where(hidden[:, None], 1 - view.x, view.x)
    with torch.no_grad():
        same, changed = method(view).loss, method(view._replace(x=other)).loss
        shown = method(view._replace(x=torch.where(hidden[:, None], view.x, 1 - view.x))).loss
    assert torch.equal(same, changed)
    assert shown != same


def test_the_loss_is_cross_entropy_at_hidden_patches_alone(seen, rng):
    """Section 2.4: the sum over i in M of log p(z_i | x_M); a mean here, by a double loop."""
    view = fewer(seen.view(batch(), rng()))
    step = seen(view)
    units = patch_cases.Brightness()(view.x)
    total, hits, count = 0.0, 0, 0
    for row in range(len(view.x)):
        for patch in range(N):
            if not view.covered[row, patch]:
                continue
            scores = (seen.head.weight @ seen.mask_embedding + seen.head.bias).double().tolist()
            norm = math.log(sum(math.exp(s) for s in scores))
            total += norm - scores[units[row, patch]]
            hits += max(range(8), key=scores.__getitem__) == units[row, patch]
            count += 1
    term, metric = step.terms["mim_loss"], step.metrics["mim_accuracy"]
    assert float(term.count) == float(metric.count) == count
    assert float(term.sum.detach()) == pytest.approx(total, rel=1e-5)
    assert float(metric.sum) == hits


def test_units_of_shown_patches_are_not_read(seen, rng):
    view = fewer(seen.view(batch(), rng()))
    other = torch.where(view.chosen, view.target, (view.target + 1) % 8)
    assert float(seen(view._replace(target=other)).loss) == float(seen(view).loss)
    wrong = (view.target + 1) % 8
    assert float(seen(view._replace(target=wrong)).loss) != float(seen(view).loss)


def test_the_units_are_those_of_the_very_crop(rng):
    """The authors' code gives the tokenizer the crop after jitter and flip."""
    given = []

    class Watching(patch_cases.Brightness):
        def __call__(self, x):
            given.append(x.clone())
            assert not torch.is_grad_enabled()
            return super().__call__(x)

    method = cases.build("beit", targets=Watching())
    view = method.view(batch(), rng())
    assert torch.equal(given[0], view.x)
    units = patch_cases.Brightness()(view.x)
    assert torch.equal(view.target, units.gather(1, view.where))


def test_units_are_neither_trained_nor_saved(rng):
    units = nn.Linear(2, 2)
    units.size = 8
    method = cases.build("beit", targets=units)
    assert method.targets is units
    assert not [n for n, _ in method.named_parameters() if "targets" in n]
    assert not [n for n in method.state_dict() if "targets" in n]
    names = {n.split(".")[0] for n in method.state_dict()}
    assert names == {"encoder", "mask_embedding", "head"}


def test_units_that_are_modules_follow_the_images(rng):
    class Learned(nn.Module):
        size = 8

        def __init__(self):
            super().__init__()
            self.edges = nn.Parameter(torch.linspace(0, 1, 8))

        def forward(self, x):
            assert x.device == self.edges.device
            return patch_cases.Brightness()(x)

    method = cases.build("beit", targets=Learned()).to("meta")
    x = batch()
    view = method.view(ImageBatch(x.x.to("meta"), x.index.to("meta")), rng())
    assert view.target.is_meta


def test_forty_percent_in_blocks(rng):
    """Section 2.3: "approximately 40% image patches"; 75 of 196 in the code, 6 of 16 here."""
    view = cases.build("beit").view(batch(), rng())
    assert view.where.shape == (16, 6)
    assert (view.covered.sum(dim=1) == 6).float().mean() > 0.8
    more = cases.build("beit", mask_ratio=0.6).view(batch(), rng())
    assert more.where.shape == (16, 10)


def test_the_head_and_the_mask_start_small():
    """Appendix G: the weights are initialised as BERT's and ViT's are, with 0.02."""
    method = cases.build("beit")
    assert method.head.weight.shape == (8, 32)
    assert 0.005 < float(method.head.weight.std()) < 0.02
    assert 0 < float(method.mask_embedding.abs().max()) <= 0.02
    assert not method.head.bias.any()


def test_the_published_training():
    """Appendix G, and the command in the authors' README."""
    d = BEiT.paper
    assert (d.optimizer, d.lr, d.base_batch, d.scaling) == ("adamw", 1.5e-3, 2048, "linear")
    assert (d.weight_decay, d.betas, d.grad_clip, d.schedule) == (0.05, (0.9, 0.999), 3.0, "cosine")
    method = BEiT(Seen(), size=16, targets=patch_cases.Brightness())
    assert method.crop == Crop(16, scale=(0.08, 1.0), flip=0.5, jitter=0.4)


def test_units_of_other_patches_are_refused(rng):
    with pytest.raises(ValueError, match="patches of 8 px and the encoder's patches have 4 px"):
        cases.build("beit", targets=patch_cases.Brightness(patch=8))
    unknown = patch_cases.Brightness(patch=8)
    patch, unknown.patch = unknown.patch, None

    def late(x):
        unknown.patch = patch
        return patch_cases.Brightness.__call__(unknown, x)

    late.size = 8
    method = cases.build("beit", targets=late)
    with pytest.raises(ValueError, match=r"4 for an image of 16 px .* 16 patches"):
        method.view(batch(), rng())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mask_ratio": 1.0}, "mask_ratio"),
        ({"min_crop_scale": 0.0}, "min_crop_scale"),
        ({"flip_prob": 1.5}, "flip_prob"),
        ({"jitter_strength": -0.1}, "jitter_strength"),
    ],
)
def test_impossible_options_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        cases.build("beit", **options)


def test_one_patch_is_no_task():
    with pytest.raises(ValueError, match="at least 2 x 2 patches"):
        cases.build("beit", encoder=patch_cases.tiny_vit(patch=16))


class TestCrop:
    """The view of BEiT and of the tokenizers."""

    def whole(self, **options) -> Crop:
        return Crop(16, **{"scale": (1.0, 1.0), "ratio": (1.0, 1.0), "flip": 0.0, **options})

    def test_the_whole_image_is_the_image(self, rng):
        torch.testing.assert_close(self.whole()(batch(), rng()), batch().x / 255, atol=1e-6, rtol=0)

    def test_flips_half_of_the_images(self, rng):
        x = batch().x / 255
        y = self.whole(flip=0.5)(batch(), rng())
        flipped = [torch.allclose(a.flip(2), b, atol=1e-5) for a, b in zip(x, y)]
        plain = [torch.allclose(a, b, atol=1e-5) for a, b in zip(x, y)]
        assert all(f != p for f, p in zip(flipped, plain))
        assert 3 <= sum(flipped) <= 13

    def test_jitter_changes_brightness_contrast_and_saturation_but_no_hue(self, rng):
        """ColorJitter(0.4, 0.4, 0.4): gray stays gray, and red stays redder than green."""
        gray = ImageBatch(torch.full((64, 3, 16, 16), 100, dtype=torch.uint8), torch.arange(64))
        y = self.whole(jitter=0.4)(gray, rng())
        level = y.mean(dim=(1, 2, 3)) * 255
        torch.testing.assert_close(y[:, 0], y[:, 1], atol=1e-4, rtol=0)
        assert 60 <= float(level.min()) < 65
        assert 135 < float(level.max()) <= 140
        colour = torch.tensor([120, 90, 60], dtype=torch.uint8).view(1, 3, 1, 1)
        red = ImageBatch(colour.expand(64, 3, 16, 16).contiguous(), torch.arange(64))
        r, g, b = self.whole(jitter=0.4)(red, rng()).mean(dim=(2, 3)).unbind(dim=1)
        torch.testing.assert_close((g - b) / (r - b), torch.full_like(r, 0.5), atol=1e-3, rtol=0)

    def test_chunks_change_nothing(self, rng, monkeypatch):
        made = Crop(16, jitter=0.4)
        whole = made(batch(), rng())
        monkeypatch.setattr(crop, "CHUNK", 5 * 3 * 16 * 16)
        assert torch.equal(made(batch(), rng()), whole)
