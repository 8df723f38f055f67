"""Runs on images as folders that timm loads, checked with timm before they are there."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from torch import Tensor

from selfwise.encoders.outside import AdaptedEncoder
from selfwise.interop.huggingface.beit_configs import HALF
from selfwise.interop.huggingface.folder import CONFIG, WEIGHTS, write_json, write_weights
from selfwise.interop.image_preprocessing import fill_statistics
from selfwise.interop.timm.beit import ARCHITECTURE, to_timm
from selfwise.interop.timm.config import TimmExport, write_config
from selfwise.runs.open import Run
from selfwise.workflows.exchange.imported_checkpoint import Weights

MOST = 1e-4  # difference from timm, of features of order 1, that is still rounding
OURS = "--to safetensors writes it as it is"
_REPLACED = {
    "cifar": "a 3x3 convolution with stride 1",
    "half": "a 3x3 convolution with stride 2",
}


def write_timm(run: Run, out: Path) -> None:
    """model.safetensors and config.json of the encoder, in a folder that is there.

    Raises ValueError for an encoder that no name and arguments of timm's describe, and where timm
    does not find what the encoder finds.
    """
    name = run.record.encoder_name
    if name.startswith("beit-"):
        told, weights = _beit(run)
    elif isinstance(run.encoder, AdaptedEncoder):
        raise ValueError(f"encoder {name} is not a model of timm's; {OURS}")
    elif name.startswith("codec-"):
        raise ValueError(f"encoder {name} is selfwise's own and timm has none like it; {OURS}")
    else:
        told, weights = _vision(run)
    write_json(out / CONFIG, write_config(told))
    write_weights(out / WEIGHTS, weights)
    _check(run, out, told)


def _vision(run: Run) -> tuple[TimmExport, Weights]:
    """An encoder that is a timm model, if nothing of it was changed."""
    encoder, info = run.encoder, run.record.info
    if encoder.stem != "timm":
        raise ValueError(
            f"encoder {encoder.name} has the stem {encoder.stem!r}, {_REPLACED[encoder.stem]} and "
            f"no max-pool, which no argument of timm's gives; {OURS}, with the lines that change "
            "timm's model"
        )
    if encoder.sees == "lightness":
        raise ValueError(
            f"encoder {encoder.name} sees the lightness of Lab alone, which timm's preprocessing "
            f"does not compute; {OURS}"
        )
    model = encoder.model
    size, channels = info.size, info.channels
    published = {**model.pretrained_cfg}
    args = {"in_chans": channels, **({"img_size": size} if _fixed(published) else {})}
    mean, std = fill_statistics(numbers(encoder.mean), numbers(encoder.std), channels)
    told = TimmExport(
        encoder.name.partition(".")[0],
        {**args, **model_options(run)},
        mean,
        std,
        size=size,
        channels=channels,
        features=model.num_features,
        published=published,
    )
    return told, dict(model.state_dict())


def _beit(run: Run) -> tuple[TimmExport, Weights]:
    """An encoder of ours that is timm's Beit by other names."""
    encoder = run.encoder
    size, channels = encoder.size, encoder.in_channels
    shape, weights = asdict(encoder.shape), encoder.state_dict()
    args, named = to_timm(shape, weights, size=size, channels=channels)
    half, published = [HALF] * channels, timm.get_pretrained_cfg(ARCHITECTURE)
    assert published is not None, "timm has had it since 0.5"
    told = TimmExport(
        ARCHITECTURE,
        args,
        half,
        half,
        size=size,
        channels=channels,
        features=encoder.dim,
        published=published.to_dict(),
    )
    return told, named


def model_options(run: Run) -> dict[str, Any]:
    """What a timm model is told besides its name, its channels and its size."""
    ours = ("name", "stem", "pretrained", "normalise", "sees")
    options = run.record.encoder_options
    return {name: value for name, value in options.items() if name not in ours}


def _fixed(published: dict[str, Any]) -> bool:
    """Whether the model is built for images of one size."""
    return bool(published.get("fixed_input_size"))


def numbers(values: Tensor | None) -> list[float] | None:
    """A number for each channel as it is written: the shortest that is the same in float32."""
    if values is None:
        return None
    return [float(np.format_float_positional(v)) for v in values.flatten().numpy()]


def _check(run: Run, folder: Path, told: TimmExport) -> None:
    """Raises ValueError unless timm finds the same, from the folder alone."""
    name, where = told.architecture, f"timm {timm.__version__}"
    try:
        model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    except (RuntimeError, TypeError, ValueError, AssertionError, LookupError) as error:
        raise ValueError(
            f"{where} cannot build {name} from what was written ({' '.join(str(error).split())}); "
            f"{OURS}"
        ) from error
    n = 3 * told.channels * told.size**2
    x = (torch.arange(n, dtype=torch.float64) * 0.7548777 % 1).float()
    x = x.view(3, told.channels, told.size, told.size)
    mean, std = (torch.tensor(part)[:, None, None] for part in (told.mean, told.std))
    with torch.no_grad():
        expected, found = run.encoder(x).pooled, model((x - mean) / std)
    if found.shape != expected.shape:
        raise ValueError(f"{where} gives features of another shape for {name}; {OURS}")
    far = float((found - expected).abs().max()) / max(1.0, float(expected.abs().max()))
    if not far <= MOST:
        raise ValueError(f"{where} finds other features for {name}, by {far:.1e}; {OURS}")
