"""Exchange of runs on images with BEiT of Hugging Face and of timm."""

from dataclasses import asdict
from pathlib import Path

from selfwise.core.data_info import ImageInfo
from selfwise.encoders.custom import AdaptedEncoder
from selfwise.encoders.image import TimmEncoder
from selfwise.interop.huggingface.beit import BeitCheckpoint, from_hf, from_timm
from selfwise.interop.huggingface.beit import to_hf as weights_to_hf
from selfwise.interop.huggingface.beit_configs import write_preprocessor
from selfwise.interop.huggingface.folder import (
    PREPROCESSING,
    PREPROCESSOR,
    WEIGHTS,
    read_folder,
    read_optional_json,
    write_checkpoint,
    write_json,
    write_weights,
)
from selfwise.interop.image_preprocessing import describe_preprocessing
from selfwise.runs.open import Run
from selfwise.workflows.import_export.imported_checkpoint import ImportedCheckpoint, ImportOptions
from selfwise.workflows.import_export.model_card import Usage

FAMILIES = ("beit",)
DEFAULT_NUM_UNITS = 512  # units of a head that the checkpoint lacks


def read_checkpoint(family: str, folder: Path, options: ImportOptions) -> ImportedCheckpoint:
    """Read a checkpoint in the layout of Hugging Face or timm."""
    config, weights = read_folder(folder)
    imported: BeitCheckpoint
    if "model_type" not in config and "architecture" in config:  # timm's key
        imported = from_timm(config, weights)
    else:
        imported = from_hf(config, weights, read_optional_json(folder / PREPROCESSOR))
    units = (
        len(imported.head["head.weight"]) if "head.weight" in imported.head else DEFAULT_NUM_UNITS
    )
    reading = {"image_size": imported.size, "channels": imported.channels}
    return ImportedCheckpoint(
        encoder=f"{family}-base",
        encoder_options=imported.options,
        weights=imported.encoder,
        head=imported.head,
        missing=imported.missing,
        notes=imported.notes,
        info=ImageInfo(channels=imported.channels, size=imported.size),
        needs={"targets": {"of": "the checkpoint's own tokenizer", "num_clusters": units}},
        # images are stored a little larger than the model reads them, such as 256 px for 224
        reading={
            **reading,
            "max_decode_size": max(256, round(imported.size * 8 / 7)),
            "num_clusters": units,
        },
    )


def to_hf(run: Run, out: Path) -> None:
    """Write a folder that transformers' Beit classes and AutoImageProcessor load.

    Raises ValueError for an encoder that is not a BEiT.
    """
    encoder = run.encoder
    name = run.record.encoder_name
    if not name.startswith("beit-"):
        raise ValueError(
            f"{run.folder} is on images with the encoder {name}, and --to hf takes only beit "
            "encoders of these; --to timm takes timm models, --to safetensors and onnx take all"
        )
    own = {n: w for n, w in run.method.state_dict().items() if not n.startswith("encoder.")}
    heads = own if run.record.method == "beit" else {}
    size, channels = encoder.size, encoder.in_channels
    config, weights = weights_to_hf(
        asdict(encoder.shape), encoder.state_dict(), heads, size=size, channels=channels
    )
    write_checkpoint(out, config, weights, {PREPROCESSOR: write_preprocessor(size, channels)})


def to_timm(run: Run, out: Path) -> None:
    """Write a folder that timm.create_model loads."""
    from selfwise.workflows.import_export.to_timm import write_timm

    write_timm(run, out)


def to_safetensors(run: Run, out: Path) -> None:
    """Write the encoder's weights by the names of its library; a timm model by timm's names."""
    encoder = run.encoder
    if isinstance(encoder, AdaptedEncoder):
        encoder = encoder.module
    elif isinstance(encoder, TimmEncoder):
        encoder = encoder.model
    write_weights(out / WEIGHTS, encoder.state_dict())
    _write_preprocessing(run, out)


def to_onnx(run: Run, out: Path) -> None:
    """Write the encoder for images in 0..1."""
    from selfwise.interop.onnx import export_image

    info = run.record.info
    export_image(run.encoder, out / "model.onnx", size=info.size, channels=info.channels)
    _write_preprocessing(run, out)


def describe_usage(run: Run, form: str) -> Usage:
    """Describe how to use the export."""
    from selfwise.workflows.import_export.loading_images import describe_image_usage

    return describe_image_usage(run, form)


def _write_preprocessing(run: Run, out: Path) -> None:
    info, decode = run.record.info, run.record.option("max_decode_size")
    write_json(out / PREPROCESSING, describe_preprocessing(info.size, info.channels, decode))
