"""Clusters of patches as the units of images: no network, learned in seconds.

BEiT (Bao et al. 2021, arXiv:2106.08254) predicts the codes of a discrete autoencoder; here a code
is the nearest of k patches. Each patch is normalized by its own mean and deviation, as in the pixel
targets of MAE (He et al. 2021, arXiv:2111.06377, section 4.1), so that a unit is a shape and not a
brightness.
"""

from pathlib import Path

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from selfwise.targets import tensor_file
from selfwise.targets.codebook import Codebook

PATCHES_FILE = "patches.safetensors"
# added to the variance; MAE has 1e-6. A patch whose values differ by less than about 1 % is flat:
# its remaining differences are noise of 8-bit values and JPEG, which must not look like a shape
EPS = 1e-4


class PatchTargets:
    """Units of images: the nearest of the codebook's patches."""

    def __init__(self, codebook: Codebook, *, patch: int, normalize: bool = True):
        """`patch`: side in pixels. Raises ValueError if the codebook is not for such patches."""
        per = patch * patch
        if codebook.dim not in (per, 3 * per):
            raise ValueError(
                f"a codebook of width {codebook.dim} is not for patches of {patch} px, which have "
                f"width {per}, or {3 * per} in color"
            )
        self.codebook, self.patch, self.normalize = codebook, patch, normalize
        self.channels = codebook.dim // per

    @property
    def size(self) -> int:
        """The number of units."""
        return self.codebook.size

    @staticmethod
    def features(
        x: Float[Tensor, "b c h w"], patch: int, normalize: bool = True
    ) -> Float[Tensor, "m d"]:
        """Return all patches of some images in 0..1, from which the codebook is learned.

        Each patch is (channels, rows, columns), flattened; images one after another, patches in
        raster order. Raises ValueError if the images are not a whole number of patches.
        """
        patches = cut_patches(x, patch).flatten(0, 1)
        return _normalize(patches)[0] if normalize else patches

    @torch.no_grad()
    def __call__(self, x: Float[Tensor, "b c h w"]) -> Int64[Tensor, "b n"]:
        """Return the unit of each patch, in raster order, of images in 0..1.

        Raises ValueError if the images are not a whole number of patches, or have other channels.
        """
        self._check(x)
        return self.codebook(self.features(x, self.patch, self.normalize)).view(len(x), -1)

    @torch.no_grad()
    def decode(
        self, ids: Int64[Tensor, "b n"], like: Float[Tensor, "b c h w"]
    ) -> Float[Tensor, "b c h w"]:
        """Return pictures of the units, in 0..1.

        A normalized unit has no brightness or contrast: each patch gets those of the corresponding
        patch of `like`.
        """
        self._check(like)
        patches = self.codebook.centres.to(ids.device)[ids]
        if self.normalize:
            _, mean, deviation = _normalize(cut_patches(like, self.patch))
            patches = patches * deviation + mean
        return join_patches(patches, self.patch, like.shape[1:]).clamp(0, 1)

    def save(self, folder: Path) -> None:
        """Write `patches.safetensors`."""
        facts = {"patch": self.patch, "normalize": self.normalize}
        tensor_file.save_tensors(folder / PATCHES_FILE, {"centres": self.codebook.centres}, facts)

    @classmethod
    def load(cls, folder: Path) -> "PatchTargets":
        """Load the file of `save`. Raises ValueError if it is missing or damaged."""
        tensors, facts = tensor_file.load_tensors(folder / PATCHES_FILE, "set of patch units")
        codebook = Codebook(tensors["centres"])
        return cls(codebook, patch=facts["patch"], normalize=facts["normalize"])

    def _check(self, x: Float[Tensor, "b c h w"]) -> None:
        if x.shape[1] != self.channels:
            raise ValueError(
                f"the units are for images with {self.channels} channels, and these have "
                f"{x.shape[1]}"
            )


def cut_patches(x: Float[Tensor, "b c h w"], patch: int) -> Float[Tensor, "b n d"]:
    """Return the patches of images in raster order. Raises ValueError if they are not whole."""
    b, c, h, w = x.shape
    if min(h, w) < patch:
        raise ValueError(f"images of {h} x {w} px are smaller than a patch of {patch} px")
    if h % patch or w % patch:
        raise ValueError(f"images of {h} x {w} px are not a whole number of patches of {patch} px")
    parts = x.reshape(b, c, h // patch, patch, w // patch, patch)
    return parts.permute(0, 2, 4, 1, 3, 5).reshape(b, -1, c * patch * patch)


def join_patches(
    patches: Float[Tensor, "b n d"], patch: int, shape: torch.Size
) -> Float[Tensor, "b c h w"]:
    """Return the images (c, h, w) that consist of these patches."""
    c, h, w = shape
    parts = patches.view(-1, h // patch, w // patch, c, patch, patch)
    return parts.permute(0, 3, 1, 4, 2, 5).reshape(-1, c, h, w)


def _normalize(
    patches: Float[Tensor, "*n d"],
) -> tuple[Float[Tensor, "*n d"], Float[Tensor, "*n 1"], Float[Tensor, "*n 1"]]:
    """Return patches with mean 0 and about deviation 1 over all values, and the original values."""
    variance, mean = torch.var_mean(patches, dim=-1, keepdim=True, unbiased=False)
    deviation = (variance + EPS).sqrt()
    return (patches - mean) / deviation, mean, deviation
