"""Describes this machine: versions, devices, and optional packages that are missing."""

import shutil
from importlib.util import find_spec
from pathlib import Path

import torch

from selfwise.core.parallel import count_cpus
from selfwise.runs.environment import describe_environment

# module to look for, and what does not work without it
OPTIONAL = {
    "onnxruntime": "ONNX export (pip install 'selfwise[export]')",
    "av": "recordings as m4a and aac (pip install 'selfwise[m4a]')",
    "datasets": "data sets by name (pip install 'selfwise[hub]')",
    "wandb": "Weights & Biases (pip install 'selfwise[wandb]')",
    "lightly": "the benchmarks (pip install 'selfwise[bench]')",
}


def describe_machine() -> str:
    """Versions, processor, devices, precision, disk, and advice, as text."""
    environment = describe_environment(torch.get_num_threads(), "cpu")
    lines = [f"{name:<18} {value}" for name, value in environment.items() if value is not None]
    lines += [f"{'cores for us':<18} {count_cpus()}"]
    lines += [f"{'fast bf16':<18} {'yes' if has_fast_bf16() else 'no: float32 is used'}"]
    lines += _describe_devices()
    free = shutil.disk_usage(Path.home()).free / 2**30
    lines += [f"{'disk':<18} {free:.0f} GiB free for caches"]
    missing = [f"  {name}: {loss}" for name, loss in OPTIONAL.items() if find_spec(name) is None]
    return "\n".join(
        [*lines, *(["not installed, and only needed for:", *missing] if missing else [])]
    )


def has_fast_bf16() -> bool:
    """Whether bf16 is multiplied by the hardware of the default device."""
    from selfwise.core.device import resolve_device, resolve_precision

    return resolve_precision("auto", resolve_device("auto")) == "bf16"


def _describe_devices() -> list[str]:
    if not torch.cuda.is_available():
        return [f"{'GPU':<18} none that torch can use"]
    devices = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return [f"{'GPU':<18} {p.name}, {p.total_memory / 2**30:.0f} GiB" for p in devices]
