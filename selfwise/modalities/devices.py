"""Where and in what precision a trained run is used."""

from selfwise.modalities.modality import TrainedRun
from selfwise.training.config import resolve_device, resolve_precision


def choose_device(run: TrainedRun, device: str) -> tuple[str, str]:
    """The device, and what autocast runs in there: float32 or bf16, as in training if it can be."""
    place, training = resolve_device(device), run.record.training
    same = place.partition(":")[0] == training.device.partition(":")[0]
    precision = training.precision if same else resolve_precision("auto", place)
    # evaluation needs no gradients, so fp16 needs no care either
    return place, "float32" if precision == "float32" else "bf16"
