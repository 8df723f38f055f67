"""Describe this machine: versions, devices, and missing optional packages."""

import shutil
from pathlib import Path
from typing import Any

import torch

from selfwise.core.extras import EXTRAS, missing_modules
from selfwise.core.parallel import count_cpus
from selfwise.runs.environment import describe_environment


def describe_machine() -> str:
    """Describe versions, processor, devices, precision, disk, and advice, as text."""
    environment = describe_environment(torch.get_num_threads(), "cpu")
    lines = [f"{name:<18} {value}" for name, value in environment.items() if value is not None]
    lines += [f"{'usable cores':<18} {count_cpus()}"]
    lines += [f"{'fast bf16':<18} {'yes' if has_fast_bf16() else 'no: selfwise uses float32'}"]
    lines += _describe_devices()
    lines += [f"{'disk':<18} {_free_disk():.0f} GiB free for caches"]
    return "\n".join([*lines, *describe_extras()])


def collect_machine() -> dict[str, object]:
    """Return the facts of `describe_machine` as plain data; memory and disk in GiB."""
    return {
        **describe_environment(torch.get_num_threads(), "cpu"),
        "usable_cores": count_cpus(),
        "fast_bf16": has_fast_bf16(),
        "gpus": [
            {"name": gpu.name, "memory_gib": round(gpu.total_memory / 2**30, 1)}
            for gpu in _list_gpus()
        ],
        "free_disk_gib": round(_free_disk(), 1),
        "missing_modules": {name: missing_modules(name) for name in EXTRAS},
    }


def _free_disk() -> float:
    """Return the free space for caches, in GiB."""
    return shutil.disk_usage(Path.home()).free / 2**30


def describe_extras() -> list[str]:
    """Return a line for each extra: installed, or its missing modules and their use."""
    return [f"{f'extra {name}':<18} {_describe_extra(name)}" for name in EXTRAS]


def _describe_extra(name: str) -> str:
    extra, missing = EXTRAS[name], missing_modules(name)
    if not missing:
        return "installed"
    absent = "" if len(missing) == len(extra.modules) else f" ({', '.join(missing)} missing)"
    return f"not installed{absent}; for {extra.used_for}: pip install 'selfwise[{name}]'"


def has_fast_bf16() -> bool:
    """Return whether the hardware of the default device multiplies bf16."""
    from selfwise.core.device import resolve_device, resolve_precision

    return resolve_precision("auto", resolve_device("auto")) == "bf16"


def _describe_devices() -> list[str]:
    return [f"{'GPU':<18} {p.name}, {p.total_memory / 2**30:.0f} GiB" for p in _list_gpus()] or [
        f"{'GPU':<18} none that torch can use"
    ]


def _list_gpus() -> list[Any]:
    """Return torch's properties of each GPU; their class has no public name."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return [torch.cuda.get_device_properties(i) for i in range(count)]
