"""BEiT encoders of ours as timm's `Beit`."""

from collections.abc import Mapping
from math import nextafter
from typing import Any

from torch import Tensor

from selfwise.interop.types import JsonObject, Weights

# the widest known name; the arguments say everything else
ARCHITECTURE = "beit_base_patch16_224"
_EPS = 1e-6  # of every norm of timm's
_BIAS_TABLE = "relative_position_bias_table"
_TOP_NAMES = {
    "patches": "patch_embed.proj",
    "first": "cls_token",
    "position": "pos_embed",
    "bias.table": f"rel_pos_bias.{_BIAS_TABLE}",
}
_BLOCK_NAMES = {
    "attention.qkv": "attn.qkv",
    "attention.q_bias": "attn.q_bias",
    "attention.v_bias": "attn.v_bias",
    "attention.out": "attn.proj",
    "bias.table": f"attn.{_BIAS_TABLE}",
    "mlp.up": "mlp.fc1",
    "mlp.down": "mlp.fc2",
    "scale1": "gamma_1",
    "scale2": "gamma_2",
}


def to_timm(
    options: Mapping[str, Any], encoder: Mapping[str, Tensor], *, size: int, channels: int
) -> tuple[JsonObject, Weights]:
    """(arguments of timm.create_model, weights); `options` are all fields of the encoder's shape.

    `use_fc_norm` says where the last norm is: on the mean of the patches, or on each before it.
    Raises ValueError for norms with an eps that is not timm's.
    """
    if options["eps"] != _EPS:
        raise ValueError(
            f"the norms of this encoder have an eps of {options['eps']:g} and timm's beit has "
            f"{_EPS:g}, which no timm argument changes; --to safetensors writes it unchanged"
        )
    args = {
        **{"img_size": size, "in_chans": channels, "patch_size": options["patch"]},
        **{"embed_dim": options["dim"], "depth": options["depth"], "num_heads": options["heads"]},
        "mlp_ratio": _compute_mlp_ratio(options["ff"], options["dim"]),
        "init_values": options["layer_scale"],
        "drop_path_rate": options["drop_path"],
        "use_abs_pos_emb": options["absolute"],
        "use_rel_pos_bias": options["relative"] and not options["shared_bias"],
        "use_shared_rel_pos_bias": options["relative"] and options["shared_bias"],
        "global_pool": "avg",
        "use_fc_norm": options["norm"] == "pooled",
    }
    norm = "fc_norm" if options["norm"] == "pooled" else "norm"
    return args, {_timm_name(name, norm): weight for name, weight in encoder.items()}


def _compute_mlp_ratio(ff: int, dim: int) -> float:
    """timm rounds the product with the width down."""
    ratio = ff / dim
    return ratio if int(dim * ratio) == ff else nextafter(ratio, ff)


def _timm_name(name: str, norm: str) -> str:
    if name.startswith("norm."):
        return name.replace("norm", norm, 1)
    if not name.startswith("blocks."):
        place, table = "", _TOP_NAMES
    else:
        number = name.split(".")[1]
        place, table = f"blocks.{number}.", _BLOCK_NAMES
    rest = name.removeprefix(place)
    for ours, theirs in table.items():
        if rest == ours or rest.startswith(f"{ours}."):
            return place + theirs + rest.removeprefix(ours)
    return name
