"""Versions and hardware that a run used."""

import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

PACKAGES = ("torch", "torchvision", "timm", "numpy", "pillow", "scikit-learn", "pyarrow")
EXTRA_PACKAGES = ("tokenizers", "sentencepiece", "sentencex", "soundfile", "soxr", "av")

Environment = dict[str, str | int | None]


def describe_environment(threads: int, device: str) -> Environment:
    """Return versions and hardware: equal ones promise bitwise equal results."""
    packages = ("selfwise", *PACKAGES, *EXTRA_PACKAGES)
    return {
        "python": platform.python_version(),
        **{name: find_version(name) for name in packages},
        "cpu": read_cpu_model(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": threads,
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else device,
        "commit": find_commit(),
    }


def list_differences(before: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """Return a phrase for each entry that changed.

    Leaves out packages of an extra that only one of the two installations has: a run that needs
    them does not start without them.
    """
    return [
        f"{name} is {now.get(name)}, was {before[name]}"
        for name in before
        if before[name] != now.get(name)
        and not (name in EXTRA_PACKAGES and None in (before[name], now.get(name)))
    ]


def read_cpu_model() -> str:
    """Return the processor's name, as the system reports it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def find_commit() -> str | None:
    """Return the commit of selfwise, if it runs from a git checkout."""
    root = Path(__file__).resolve().parents[1]
    if not (root.parent / ".git").exists():
        return None
    command = ["git", "-C", str(root), "rev-parse", "--short=12", "HEAD"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return answer.stdout.strip() or None


def find_version(name: str) -> str | None:
    """Return the version of an installed package, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
