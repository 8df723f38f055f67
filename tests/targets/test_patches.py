"""Units of images are shapes of patches, and can be turned back into pictures."""

import numpy as np
import pytest
import torch

from selfwise.targets.codebook import Codebook, learn_codebook
from selfwise.targets.kmeans_streaming import KMeansSettings
from selfwise.targets.patches import PatchTargets, cut_patches, join_patches


def images(b: int = 3, c: int = 3, h: int = 8, w: int = 12) -> torch.Tensor:
    return torch.rand(b, c, h, w, generator=torch.Generator().manual_seed(0))


def units_of(x: torch.Tensor, patch: int = 4, normalize: bool = True) -> PatchTargets:
    """A codebook that has every patch of `x`."""
    return PatchTargets(
        Codebook(PatchTargets.features(x, patch, normalize)), patch=patch, normalize=normalize
    )


@pytest.mark.parametrize("c", [1, 3])
def test_patches_are_in_raster_order(c):
    x = images(c=c)
    found = cut_patches(x, 4)
    assert found.shape == (3, 6, c * 16)
    for i in range(3):
        for down in range(2):
            for across in range(3):
                corner = x[i, :, down * 4 : down * 4 + 4, across * 4 : across * 4 + 4]
                assert torch.equal(found[i, down * 3 + across], corner.flatten())
    assert torch.equal(join_patches(found, 4, x.shape[1:]), x)


def test_a_unit_says_nothing_about_brightness_and_contrast():
    x = images()
    units = units_of(x)
    assert units(x).flatten().tolist() == list(range(18))
    assert torch.equal(units(x * 0.5 + 0.3), units(x))
    plain = units_of(x, normalize=False)
    assert not torch.equal(plain(x * 0.1 + 0.8), plain(x))


def test_features_have_mean_0_and_deviation_1_over_all_channels():
    found = PatchTargets.features(images(), 4)
    assert found.shape == (18, 48)
    assert found.mean(dim=1).abs().max() < 1e-6
    np.testing.assert_allclose(found.std(dim=1, unbiased=False), 1, atol=2e-3)
    raw = PatchTargets.features(images(), 4, False)
    assert torch.equal(raw, cut_patches(images(), 4).flatten(0, 1))


def test_noise_of_one_grey_level_is_no_shape():
    noise = 0.5 + (images() - 0.5) / 255
    assert PatchTargets.features(noise, 4).abs().max() < 0.25


@pytest.mark.parametrize("normalize", [True, False])
def test_pictures_of_units(normalize):
    x = images()
    units = units_of(x, normalize=normalize)
    torch.testing.assert_close(units.decode(units(x), x), x, atol=1e-5, rtol=0)
    bright = units.decode(units(x), x * 0.5)
    torch.testing.assert_close(bright, x * 0.5 if normalize else x, atol=0.02, rtol=0)
    some = PatchTargets(Codebook(units.codebook.centres[:2]), patch=4, normalize=normalize)
    dark = x * 0.5 + 0.2
    picture = some.decode(some(dark), dark)
    assert picture.shape == x.shape
    mean = cut_patches(picture, 4).mean(dim=2) - cut_patches(dark, 4).mean(dim=2)
    assert (mean.abs().max() < 1e-5) == normalize
    # and never beyond what a picture can be
    edge = some.decode(some(x), x.round())
    assert edge.min() >= 0
    assert edge.max() <= 1


def test_it_is_a_units_protocol_and_on_disk_the_same(tmp_path):
    from selfwise.core.types import Units

    x = images()
    for normalize in (True, False):
        units = units_of(x, normalize=normalize)
        assert isinstance(units, Units)
        units.save(tmp_path)
        again = PatchTargets.load(tmp_path)
        assert (again.patch, again.normalize, again.channels, again.size) == (4, normalize, 3, 18)
        assert torch.equal(again(x), units(x))


def test_learned_from_batches_of_images():
    stripes = torch.zeros(2, 1, 8, 8)
    stripes[0, :, ::2], stripes[1, :, :, ::2] = 1, 1
    x = stripes[torch.arange(40) % 2] * torch.linspace(0.2, 0.9, 40)[:, None, None, None]
    book = learn_codebook(
        lambda j: PatchTargets.features(x[j * 10 : j * 10 + 10], 4), KMeansSettings(4, 2, 0)
    )
    ids = PatchTargets(book, patch=4)(x)
    assert ids.shape == (40, 4)
    assert (ids == ids[:2].repeat(20, 1)).all()
    assert ids[0, 0] != ids[1, 0]


def test_images_that_do_not_fit():
    units = units_of(images())
    with pytest.raises(ValueError, match="images of 3 x 12 px are smaller than a patch of 4 px"):
        units(images(h=3))
    with pytest.raises(ValueError, match="images of 8 x 13 px are not a whole number of patches"):
        units(images(w=13))
    with pytest.raises(ValueError, match="for images with 3 channels, and these have 1"):
        units(images(c=1))
    with pytest.raises(ValueError, match="for images with 3 channels, and these have 1"):
        units.decode(units(images()), images(c=1))
    with pytest.raises(
        ValueError, match="width 48 is not for patches of 8 px, which have width 64"
    ):
        PatchTargets(units.codebook, patch=8)
