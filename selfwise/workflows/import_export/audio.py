"""Exchange of runs on speech with Hugging Face's HuBERT."""

from dataclasses import asdict
from pathlib import Path

from selfwise.core.data_info import AudioInfo
from selfwise.core.types import HOP, RATE, WINDOW
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
from selfwise.interop.huggingface.hubert import from_hf, write_preprocessor
from selfwise.interop.huggingface.hubert import to_hf as weights_to_hf
from selfwise.runs.open import Run
from selfwise.workflows.import_export.imported_checkpoint import ImportedCheckpoint, ImportOptions
from selfwise.workflows.import_export.model_card import Usage

FAMILIES = ("hubert",)
DEFAULT_NUM_CLUSTERS = (
    500  # as in published models (arXiv:2106.07447, section IV-B), which come without codes
)
_CODES = ("code_embeddings", "final_projection.weight", "final_projection.bias")


def read_checkpoint(family: str, folder: Path, options: ImportOptions) -> ImportedCheckpoint:
    """Read a checkpoint of any Hubert class; it never has the layers that predict units."""
    config, weights = read_folder(folder)
    imported = from_hf(config, weights, read_optional_json(folder / PREPROCESSOR))
    return ImportedCheckpoint(
        encoder=imported.name,
        encoder_options=imported.options,
        weights=imported.encoder,
        head={} if imported.mask is None else {"mask_embedding": imported.mask},
        missing=[*imported.missing, *_CODES],
        notes=imported.notes,
        info=AudioInfo(),
        needs={
            "num_clusters": {
                "of": "the checkpoint's own clusters",
                "num_clusters": DEFAULT_NUM_CLUSTERS,
            }
        },
        reading={"num_clusters": DEFAULT_NUM_CLUSTERS},
    )


def to_hf(run: Run, out: Path) -> None:
    """Write a folder that HubertModel and AutoFeatureExtractor load."""
    shape, method = asdict(run.encoder.shape), run.method.state_dict()
    mask = method["mask_embedding"] if run.record.method == "hubert" else None
    config, weights = weights_to_hf(shape, run.encoder.state_dict(), mask)
    write_checkpoint(out, config, weights, {PREPROCESSOR: write_preprocessor(shape)})


def to_safetensors(run: Run, out: Path) -> None:
    """Write the encoder's weights."""
    write_weights(out / WEIGHTS, run.encoder.state_dict())
    write_json(out / PREPROCESSING, describe_waves())


def to_onnx(run: Run, out: Path) -> None:
    """Write the encoder for batches of waves of equal length."""
    from selfwise.interop.onnx import export_speech

    export_speech(run.encoder, out / "model.onnx")
    write_json(out / PREPROCESSING, describe_waves())


def describe_usage(run: Run, form: str) -> Usage:
    """Describe how to use the export."""
    from selfwise.workflows.import_export.loading import describe_audio_usage

    return describe_audio_usage(run, form)


def describe_waves() -> dict[str, object]:
    """Return preprocessing.json of a model of speech."""
    return {
        "rate": RATE,
        "channels": 1,
        "values": "about -1..1, 16-bit values divided by 32768; the model handles loudness itself",
        "least_samples": WINDOW,
        "samples_between_frames": HOP,
        "layout": "float32, batch x samples, clips of equal length in a batch",
    }
