"""Devices and precisions of a model, by name."""

from functools import cache
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from selfwise.core.errors import did_you_mean
from selfwise.core.progress import print_progress

PrecisionName = Literal["auto", "bf16", "fp16", "float32"]
HALF_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
DTYPES = {"float32": torch.float32, **HALF_DTYPES}
WITHOUT_FLOAT64 = {"mps"}  # types of devices
EvaluationPrecision = Literal["float32", "bf16"]
EVALUATION_PRECISIONS = ("float32", "bf16")  # fp16 helps only with gradients


@runtime_checkable
class TrainedOn(Protocol):
    """The device and the precision of a run's training, as its options name them."""

    @property
    def device(self) -> str: ...

    @property
    def precision(self) -> PrecisionName: ...


def device_type(device: str) -> str:
    """Return the kind of a device without its number: cuda for cuda:1."""
    return device.partition(":")[0]


def resolve_device(name: str) -> str:
    """Return the device; `auto` becomes cuda if available, otherwise cpu.

    `mps` (Apple) needs to be named by the user and prints a warning, since it is not tested.

    Raises ValueError for a device that torch does not see here.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    available = ["cpu", *(["mps"] if torch.backends.mps.is_available() else [])]
    if torch.cuda.is_available():
        available += ["cuda", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if name not in available:
        raise ValueError(f"--device {name} is not available; available: {', '.join(available)}")
    if name == "mps":
        _warn_untested()
    return name


@cache
def _warn_untested() -> None:
    print_progress(
        "warning: --device mps has not been tested; compare a short run with --device cpu"
    )


def to_float64(x: Tensor) -> Tensor:
    """Return x in float64: on its device, or on the CPU if its device has no float64 (mps)."""
    return (x.cpu() if x.device.type in WITHOUT_FLOAT64 else x).double()


def float64_device(device: torch.device | str) -> torch.device:
    """Return the device, or the CPU if the device has no float64 (mps)."""
    device = torch.device(device)
    return torch.device("cpu") if device.type in WITHOUT_FLOAT64 else device


def wait_for_device(device: str) -> None:
    """Wait until the device has finished its work; a CPU always has."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    elif device == "mps":
        torch.mps.synchronize()


def resolve_precision(name: PrecisionName, device: str) -> PrecisionName:
    """Return the precision; `auto` becomes bf16 if the hardware supports it, otherwise float32.

    On mps, `auto` is float32. Raises ValueError for fp16 without a CUDA GPU: its loss scale is only
    tested there.
    """
    if name == "fp16" and not device.startswith("cuda"):
        raise ValueError(
            f"--precision fp16 needs a CUDA GPU; on {device_type(device)} use bf16 or float32"
        )
    if name != "auto":
        return name
    if device == "mps":
        return "float32"
    if device.startswith("cuda"):
        return "bf16" if torch.cuda.is_bf16_supported() else "float32"
    return "bf16" if _cpu_multiplies_bf16() else "float32"


def match_precision(training: TrainedOn, device: str) -> PrecisionName:
    """Return the precision of training if `device` is of that kind, otherwise the best there."""
    if device_type(device) == device_type(training.device):
        return training.precision
    return resolve_precision("auto", device)


def choose_evaluation(
    training: TrainedOn, device: str, precision: str = ""
) -> tuple[str, PrecisionName]:
    """Return the device and the precision in which a trained run is evaluated there.

    Without a `precision` it is float32 if the run was trained in float32, otherwise bf16.

    Raises ValueError for a precision that is neither float32 nor bf16.
    """
    resolved = resolve_device(device)
    if precision:
        check_evaluation_precision(precision)
        return resolved, "float32" if precision == "float32" else "bf16"
    return resolved, "float32" if match_precision(training, resolved) == "float32" else "bf16"


def check_evaluation_precision(precision: str) -> None:
    """Raise ValueError for a precision that evaluation does not support."""
    if precision not in EVALUATION_PRECISIONS:
        near = did_you_mean(precision, EVALUATION_PRECISIONS)
        raise ValueError(f"unknown precision {precision!r}{near}")


def autocast(device: torch.device | str, precision: str) -> torch.autocast:
    """Return the context in which torch computes in bf16 or fp16; float32 changes nothing."""
    half = HALF_DTYPES.get(precision)
    return torch.autocast(torch.device(device).type, half, enabled=half is not None)


def _cpu_multiplies_bf16() -> bool:
    """Return whether the CPU has bf16 instructions; emulated bf16 is slower than float32."""
    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())
