"""Small BEiTs of transformers and timm with weights that show mistakes, and ours with the same."""

from functools import partial
from typing import Any

import torch
import transformers
from timm.models.beit import Beit

from selfwise.core.rng import generator
from selfwise.encoders import beit as beit_encoders
from selfwise.interop.huggingface.beit import BeitCheckpoint, from_hf, from_timm

SIZE, PATCH, UNITS, EPS = 32, 8, 13, 1e-3  # an eps that is seen
SMALL = {
    **{"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4},
    **{"intermediate_size": 48, "image_size": SIZE, "patch_size": PATCH, "vocab_size": UNITS},
    **{"use_mask_token": True, "layer_norm_eps": EPS, "drop_path_rate": 0.2},
}
SHARED = {"use_shared_relative_position_bias": True}
OWN = {"use_relative_position_bias": True, "use_absolute_position_embeddings": True}
BIASES = {"shared": SHARED, "own": OWN}
MASKED = "BeitForMaskedImageModeling"


def randomise(model: torch.nn.Module, seed: int = 0) -> None:
    """Random everything, activations of order 1, LayerScale about 0.6, tables about 1."""
    rng = generator(seed, "weights")
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=rng)
            if "table" in name:
                p.copy_(noise)
            elif name.endswith("bias"):
                p.copy_(0.3 * noise)
            elif p.ndim == 1:  # gains of norms, LayerScale
                p.copy_((1.0 if "norm" in name else 0.6) + 0.2 * noise)
            elif p.ndim == 3:  # class and mask token, positions
                p.copy_(0.5 * noise)
            else:
                p.copy_(noise * (1.5 / p[0].numel()) ** 0.5)


def theirs(kind: str = MASKED, bias: str = "shared", **options: Any) -> Any:
    """transformers' model, random weights, in evaluation mode."""
    config = transformers.BeitConfig(**{**SMALL, **BIASES[bias], **options})
    found = getattr(transformers, kind)(config)
    randomise(found)
    return found.eval()


def timms(bias: str = "own", **options: Any) -> Beit:
    """timm's model, random weights, in evaluation mode."""
    told: dict[str, Any] = {"use_shared_rel_pos_bias": bias == "shared"}
    told |= {"use_rel_pos_bias": bias == "own", "use_abs_pos_emb": bias == "own"}
    size = {"img_size": SIZE, "patch_size": PATCH, "embed_dim": 32, "depth": 3, "num_heads": 4}
    norm = partial(torch.nn.LayerNorm, eps=1e-6)
    made = Beit(**{**size, "init_values": 0.1, "norm_layer": norm, "num_classes": 5, **told,
                   **options})  # fmt: skip
    randomise(made)
    return made.eval()


def imported(model: Any) -> BeitCheckpoint:
    if isinstance(model, Beit):
        return from_timm({}, model.state_dict())
    return from_hf(model.config.to_dict(), model.state_dict())


def ours(found: BeitCheckpoint) -> beit_encoders.ViT:
    """The encoder with the checkpoint's weights, in evaluation mode."""
    told = {"in_channels": found.channels, "size": found.size}
    encoder = beit_encoders.build_beit_encoder("beit-base", **told, **found.options).eval()
    encoder.load_state_dict(found.encoder)
    return encoder


def images(b: int = 3, *, channels: int = 3, size: int = SIZE, seed: int = 0) -> torch.Tensor:
    """Random images in 0..1."""
    return torch.rand(b, channels, size, size, generator=generator(seed, "images"))


def hidden_patches(b: int = 3, n: int = (SIZE // PATCH) ** 2) -> torch.Tensor:
    """Which of n patches are masked: five in every image, others in each."""
    order = torch.rand(b, n, generator=generator(1, "mask")).argsort(dim=1)
    return torch.zeros(b, n, dtype=torch.bool).scatter_(1, order[:, :5], True)
