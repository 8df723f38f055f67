"""BEiT's vision transformer: patches whose positions are known from attention alone.

"BEiT: BERT Pre-Training of Image Transformers", Bao et al. 2022 (arXiv:2106.08254), section 2 and
appendix G; unilm/beit `modeling_pretrain.py`. `beit_presets.py` has the sizes.
"""

from collections.abc import Iterator
from math import sqrt
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from selfwise.core.rng import init_seed
from selfwise.core.types import Features
from selfwise.encoders.beit_presets import list_beit_encoders, resolve_vit_shape
from selfwise.nn.attention import find_product_dtype
from selfwise.nn.patch_transformer import PatchBlock
from selfwise.nn.relative_position import RelativeBias

__all__ = ["ViT", "build_beit_encoder", "list_beit_encoders"]

MEAN = STD = 0.5  # of every channel, as BEiT takes it: images are -1..1 inside


class ViT(nn.Module):
    """Images (b c h w) in 0..1 to a class token and patches, and through a pre-norm transformer.

    Features have the patches alone, and `pooled` is their mean: BEiT reads its class token
    nowhere.

    Args:
        name: beit-tiny, beit-mini, beit-small, beit-base or beit-large.
        in_channels: of the images, 1 or 3.
        size: side of the images in pixels, a multiple of the patches' side.
        options: fields of `beit_presets.ViTShape`, in place of the preset's.

    Raises ValueError with one sentence for a name, an option or a size that does not fit.
    """

    def __init__(self, name: str, *, in_channels: int = 3, size: int = 224, **options: Any):
        super().__init__()
        shape = resolve_vit_shape(name, options, size=size)
        if in_channels not in (1, 3):
            raise ValueError(f"encoder {name} takes images of 1 or 3 channels, not {in_channels}")
        side = size // shape.patch
        self.name, self.shape, self.size, self.in_channels = name, shape, size, in_channels
        self.dim, self.grid = shape.dim, (side, side)
        self.patches = nn.Conv2d(in_channels, shape.dim, shape.patch, stride=shape.patch)
        self.first = nn.Parameter(torch.zeros(1, 1, shape.dim))  # the class token
        self.position = (
            nn.Parameter(torch.zeros(1, 1 + side * side, shape.dim)) if shape.absolute else None
        )
        shared = shape.relative and shape.shared_bias
        self.bias = RelativeBias(self.grid, shape.heads) if shared else None
        self.blocks = nn.ModuleList(
            PatchBlock(
                shape.dim,
                shape.heads,
                shape.ff,
                eps=shape.eps,
                scale=shape.layer_scale,
                drop_path=shape.drop_path * i / max(1, shape.depth - 1),
                grid=self.grid if shape.relative and not shared else None,
            )
            for i in range(shape.depth)
        )
        self.norm = nn.LayerNorm(shape.dim, eps=shape.eps)
        _initialise(self)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Features:
        return self.trunk(self.embed(x))

    def embed(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n d"]:
        """Return the patches in raster order, before positions. Raises ValueError for another
        size."""
        expected = (self.in_channels, self.size, self.size)
        if x.shape[1:] != expected:
            raise ValueError(
                f"encoder {self.name} was built for images of {expected}, not {tuple(x.shape[1:])}"
            )
        patches: Tensor = self.patches((x - MEAN) / STD).flatten(2).transpose(1, 2)
        return patches

    def trunk(self, tokens: Float[Tensor, "b n d"]) -> Features:
        """Run the transformer on the patches of `embed`, or on tokens that replace some of them."""
        x = self._add_class_token(tokens)
        for block, bias in self._blocks_and_biases(x):
            x = block(x, bias)
        return self._final_features(x)

    def forward_at(
        self, tokens: Float[Tensor, "b n d"], where: Int64[Tensor, "b k"]
    ) -> Float[Tensor, "b k d"]:
        """`trunk(tokens).tokens` at the patches `where`, for less: the last block's queries and
        MLP are for those alone."""
        x: Tensor = self._add_class_token(tokens)
        *before, (last, bias) = self._blocks_and_biases(x)
        for block, own in before:
            x = block(x, own)
        x = last(x, bias, where + 1)
        if self.shape.norm == "tokens":
            x = self.norm(x)
        return x

    def hidden(self, x: Float[Tensor, "b c h w"]) -> list[Features]:
        """Return the output of every block; the final norm is part of the last one alone."""
        *inner, last = self.layers(x)[1:]
        return [*(self._features(output[:, 1:]) for output in inner), self._final_features(last)]

    def layers(self, x: Float[Tensor, "b c h w"]) -> list[Float[Tensor, "b m d"]]:
        """Return the input of the first block and the output of every block, the class token
        first."""
        outputs = [self._add_class_token(self.embed(x))]
        for block, bias in self._blocks_and_biases(outputs[0]):
            outputs.append(block(outputs[-1], bias))
        return outputs

    def _add_class_token(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b m d"]:
        first = self.first.to(tokens.dtype).expand(
            tokens.shape[0], -1, -1
        )  # len() cannot be traced
        x = torch.cat([first, tokens], dim=1)
        return x if self.position is None else x + self.position

    def _blocks_and_biases(
        self, x: Float[Tensor, "b m d"]
    ) -> Iterator[tuple[PatchBlock, Tensor | None]]:
        """Each block and the bias of its attention; a shared one is looked up once."""
        dtype = find_product_dtype(x)
        shared = None if self.bias is None else self.bias(dtype)
        for block in self.blocks:
            assert isinstance(block, PatchBlock)
            yield block, shared if block.bias is None else block.bias(dtype)

    def _final_features(self, x: Float[Tensor, "b m d"]) -> Features:
        if self.shape.norm == "tokens":
            return self._features(self.norm(x[:, 1:]))
        features = self._features(x[:, 1:])
        return features._replace(pooled=self.norm(features.pooled))

    def _features(self, tokens: Float[Tensor, "b n d"]) -> Features:
        return Features(tokens.mean(dim=1), tokens, self.grid)


def build_beit_encoder(
    name: str, *, in_channels: int = 3, size: int = 224, seed: int = 0, **options: Any
) -> ViT:
    """Build a `ViT` whose random weights are a function of the seed."""
    with init_seed(seed, "encoder"):
        return ViT(name, in_channels=in_channels, size=size, **options)


@torch.no_grad()
def _initialise(model: ViT) -> None:
    """N(0, 0.02) cut at one deviation, biases 0; layer l's outputs smaller by sqrt(2 l).

    Appendix G says 0.02 and sqrt(2 l); the cut is the code's, which passes -std and std.
    """

    def draw(weight: Tensor) -> None:
        nn.init.trunc_normal_(weight, std=0.02, a=-0.02, b=0.02)

    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            draw(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    draw(model.first)
    if model.position is not None:
        draw(model.position)
    for number, block in enumerate(model.blocks, start=1):
        assert isinstance(block, PatchBlock)
        for linear in (block.attention.out, block.mlp.down):
            linear.weight.div_(sqrt(2 * number))
