"""torchvision's weights by timm's names.

ResNets and DenseNets have the same names in both. Names from torchvision's
`models/vision_transformer.py` and `models/convnext.py`, and timm's files of the same names.
"""

import re
from collections.abc import Mapping

from torch import Tensor

from selfwise.core.errors import did_you_mean
from selfwise.interop.types import Weights

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # what all of torchvision's expect
_SAME = (
    *(f"resnet{depth}" for depth in (18, 34, 50, 101, 152)),
    *("resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d"),
    *("wide_resnet50_2", "wide_resnet101_2"),
    *(f"densenet{depth}" for depth in (121, 161, 169, 201)),
)
_VIT = {
    "vit_b_16": "vit_base_patch16_224",
    "vit_b_32": "vit_base_patch32_224",
    "vit_l_16": "vit_large_patch16_224",
    "vit_l_32": "vit_large_patch32_224",
    "vit_h_14": "vit_huge_patch14_224",
}
_CONVNEXT = tuple(f"convnext_{size}" for size in ("tiny", "small", "base", "large"))
SUPPORTED = (*_SAME, *_VIT, *_CONVNEXT)

_Rules = tuple[tuple[str, str], ...]
_VIT_RULES: _Rules = (
    (r"^conv_proj\.", "patch_embed.proj."),
    (r"^class_token$", "cls_token"),
    (r"^encoder\.pos_embedding$", "pos_embed"),
    (r"^encoder\.ln\.", "norm."),
    (r"^encoder\.layers\.encoder_layer_(\d+)\.", r"blocks.\1."),
    (r"\.ln_([12])\.", r".norm\1."),
    (r"\.self_attention\.in_proj_", ".attn.qkv."),
    (r"\.self_attention\.out_proj\.", ".attn.proj."),
    (r"\.mlp\.(?:0|linear_1)\.", ".mlp.fc1."),
    (r"\.mlp\.(?:3|linear_2)\.", ".mlp.fc2."),
    (r"^heads\.(?:head\.)?", "head."),
)
# stages are features 1, 3, 5, 7; what makes the maps smaller before them are 2, 4, 6
_CONVNEXT_RULES: _Rules = (
    (r"^features\.0\.", "stem."),
    *((rf"^features\.{2 * i}\.", f"stages.{i}.downsample.") for i in (1, 2, 3)),
    *((rf"^features\.{2 * i + 1}\.(\d+)\.", rf"stages.{i}.blocks.\1.") for i in range(4)),
    (r"\.block\.0\.", ".conv_dw."),
    (r"\.block\.2\.", ".norm."),
    (r"\.block\.3\.", ".mlp.fc1."),
    (r"\.block\.5\.", ".mlp.fc2."),
    (r"\.layer_scale$", ".gamma"),
    (r"^classifier\.0\.", "head.norm."),
    (r"^classifier\.2\.", "head.fc."),
)
# DenseNets of before torchvision 0.3 have a point inside their layers' names
_SAME_RULES: _Rules = ((r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2."),)


def find_timm_name(name: str) -> str:
    """Return timm's name of torchvision's model. Raises ValueError for an unsupported model."""
    if name not in SUPPORTED:
        raise ValueError(
            f"torchvision's {name!r} cannot be imported{did_you_mean(name, SUPPORTED)}; "
            f"choose one of  {', '.join(SUPPORTED)}"
        )
    return _VIT.get(name, name)


def rename_weights(name: str, weights: Mapping[str, Tensor]) -> Weights:
    """Return the weights of torchvision's model by timm's names, the classifier's among them."""
    rules = _SAME_RULES
    if name in _VIT or name in _CONVNEXT:
        rules = _VIT_RULES if name in _VIT else _CONVNEXT_RULES
    renamed = Weights()
    for theirs, weight in weights.items():
        ours = theirs
        for pattern, new in rules:
            ours = re.sub(pattern, new, ours)
        renamed[ours] = weight.flatten() if ours.endswith(".gamma") else weight
    return renamed


def add_batch_counters(weights: Mapping[str, Tensor]) -> Weights:
    """With the counters of batch norms that files from before torch 0.4.1 lack."""
    counters = {
        name.replace("running_mean", "num_batches_tracked"): weight.new_zeros(()).long()
        for name, weight in weights.items()
        if name.endswith("running_mean")
    }
    return {**counters, **weights}
