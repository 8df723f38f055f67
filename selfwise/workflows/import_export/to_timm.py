"""Write runs on images as folders that timm loads, checked with timm before they appear."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import timm
import torch
from torch import Tensor

from selfwise.encoders.custom import AdaptedEncoder
from selfwise.interop.huggingface.beit_configs import HALF
from selfwise.interop.huggingface.folder import CONFIG, WEIGHTS, write_json, write_weights
from selfwise.interop.image_preprocessing import fill_statistics
from selfwise.interop.timm.beit import ARCHITECTURE, to_timm
from selfwise.interop.timm.config import TimmExport, write_config
from selfwise.runs.open import Run
from selfwise.workflows.import_export.imported_checkpoint import Weights

TOLERANCE = 1e-4  # largest difference from timm, for features of order 1, that counts as rounding
OURS = "--to safetensors writes it unchanged"
_REPLACED = {
    "cifar": "a 3x3 convolution with stride 1",
    "half": "a 3x3 convolution with stride 2",
}


def write_timm(run: Run, out: Path) -> None:
    """Write model.safetensors and config.json of the encoder into an existing folder.

    Raises ValueError for an encoder that no name and arguments of timm describe, and if timm
    computes other features than the encoder.
    """
    name = run.record.encoder_name
    if name.startswith("beit-"):
        export, weights = _describe_beit(run)
    elif isinstance(run.encoder, AdaptedEncoder):
        raise ValueError(f"encoder {name} is not a timm model; {OURS}")
    elif name.startswith("codec-"):
        raise ValueError(f"encoder {name} is selfwise's own, and timm has no counterpart; {OURS}")
    else:
        export, weights = _describe_timm_model(run)
    write_json(out / CONFIG, write_config(export))
    write_weights(out / WEIGHTS, weights)
    _check_export(run, out, export)


def _describe_timm_model(run: Run) -> tuple[TimmExport, Weights]:
    """Describe an unchanged timm model."""
    encoder, info = run.encoder, run.record.info
    if encoder.stem != "timm":
        raise ValueError(
            f"encoder {encoder.name} has the stem {encoder.stem!r}, {_REPLACED[encoder.stem]} and "
            f"no max-pool, which no timm argument produces; {OURS}, with the lines that change "
            "timm's model"
        )
    if encoder.color_space == "lightness":
        raise ValueError(
            f"encoder {encoder.name} sees the lightness of Lab alone, which timm's preprocessing "
            f"does not compute; {OURS}"
        )
    model = encoder.model
    size, channels = info.size, info.channels
    published = {**model.pretrained_cfg}
    args = {"in_chans": channels, **({"img_size": size} if _has_fixed_size(published) else {})}
    mean, std = fill_statistics(
        format_shortest_decimals(encoder.mean), format_shortest_decimals(encoder.std), channels
    )
    export = TimmExport(
        encoder.name.partition(".")[0],
        {**args, **model_options(run)},
        mean,
        std,
        size=size,
        channels=channels,
        features=model.num_features,
        published=published,
    )
    return export, dict(model.state_dict())


def _describe_beit(run: Run) -> tuple[TimmExport, Weights]:
    """Describe an encoder of ours that is timm's Beit by other names."""
    encoder = run.encoder
    size, channels = encoder.size, encoder.in_channels
    shape, weights = asdict(encoder.shape), encoder.state_dict()
    args, named = to_timm(shape, weights, size=size, channels=channels)
    half, published = [HALF] * channels, timm.get_pretrained_cfg(ARCHITECTURE)
    assert published is not None, "timm has had it since 0.5"
    export = TimmExport(
        ARCHITECTURE,
        args,
        half,
        half,
        size=size,
        channels=channels,
        features=encoder.dim,
        published=published.to_dict(),
    )
    return export, named


def model_options(run: Run) -> dict[str, object]:
    """Return the arguments of timm.create_model besides name, channels and size."""
    ours = ("name", "stem", "pretrained", "normalize", "color_space")
    options = run.record.encoder_options
    return {name: value for name, value in options.items() if name not in ours}


def _has_fixed_size(published: Mapping[str, object]) -> bool:
    """Return whether the model takes images of one size only."""
    return bool(published.get("fixed_input_size"))


def format_shortest_decimals(values: Tensor | None) -> list[float] | None:
    """Return a number for each channel in the shortest form that is equal in float32."""
    if values is None:
        return None
    return [float(np.format_float_positional(v)) for v in values.flatten().numpy()]


def _check_export(run: Run, folder: Path, export: TimmExport) -> None:
    """Raise ValueError unless timm computes equal features from the folder alone."""
    name, where = export.architecture, f"timm {timm.__version__}"
    try:
        model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    except (RuntimeError, TypeError, ValueError, AssertionError, LookupError) as error:
        raise ValueError(
            f"{where} cannot build {name} from the written files ({' '.join(str(error).split())}); "
            f"{OURS}"
        ) from error
    n = 3 * export.channels * export.size**2
    x = (torch.arange(n, dtype=torch.float64) * 0.7548777 % 1).float()
    x = x.view(3, export.channels, export.size, export.size)
    mean, std = (torch.tensor(part)[:, None, None] for part in (export.mean, export.std))
    with torch.no_grad():
        expected, features = run.encoder(x).pooled, model((x - mean) / std)
    if features.shape != expected.shape:
        raise ValueError(f"{where} gives features of another shape for {name}; {OURS}")
    far = float((features - expected).abs().max()) / max(1.0, float(expected.abs().max()))
    if not far <= TOLERANCE:
        raise ValueError(
            f"{where} computes other features for {name}, with a difference of {far:.1e}; {OURS}"
        )
