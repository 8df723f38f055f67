"""run.yaml: what a run was told, what it found, and where it ran."""

import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
import yaml

PACKAGES = ("torch", "torchvision", "timm", "lightning-fabric", "numpy", "pillow", "scikit-learn")
TEXT_PACKAGES = ("tokenizers", "sentencepiece", "sentencex", "pyarrow")
AUDIO_PACKAGES = ("soundfile", "soxr", "av")
FILE = "run.yaml"


def write(folder: Path, config: Mapping[str, Any]) -> None:
    """Write run.yaml whole or not at all."""
    temporary = folder / f".{FILE}.writing"
    with temporary.open("w") as file:
        yaml.safe_dump(dict(config), file, sort_keys=False, allow_unicode=True)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(folder / FILE)


def read(folder: Path) -> dict[str, Any]:
    """The contents of run.yaml.

    Raises ValueError if the folder is no run, or if the file cannot be read.
    """
    if not folder.is_dir():
        raise ValueError(f"there is no run at {folder}: the folder does not exist")
    path = folder / FILE
    if not path.is_file():
        raise ValueError(f"{folder} is not a run folder: it has no {FILE}")
    config = load(path)
    missing = [key for key in ("method", "options", "found") if key not in config]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}: it was not written by selfwise")
    return config


def load(path: Path) -> dict[str, Any]:
    """A YAML mapping; only plain data, never objects.

    Raises ValueError naming the file and, where known, the line.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not readable YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold names and values, such as 'batch: 256'")
    return content


def options_of(path: Path) -> dict[str, Any]:
    """The options in a file given as --config: a run.yaml, or just names and values."""
    if not path.is_file():
        raise ValueError(f"--config {path}: there is no such file")
    content = load(path)
    return dict(content.get("options", content))


def environment(threads: int, device: str) -> dict[str, Any]:
    """Versions and hardware: bitwise equal results are promised for equal ones."""
    packages = ("selfwise", *PACKAGES, *TEXT_PACKAGES, *AUDIO_PACKAGES)
    versions = {name: _version(name) for name in packages}
    hardware = {
        "cpu": cpu_model(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": threads,
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else device,
    }
    return {"python": platform.python_version(), **versions, **hardware, "commit": commit()}


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """A sentence part for each entry that is not what it was."""
    return [
        f"{name} is {now.get(name)}, was {before[name]}"
        for name in before
        if before[name] != now.get(name)
    ]


def cpu_model() -> str:
    """The processor's name, as the system gives it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def commit() -> str | None:
    """The commit of selfwise, where it runs from a git checkout."""
    here = Path(__file__).resolve().parents[1]
    if not (here.parent / ".git").exists():
        return None
    command = ["git", "-C", str(here), "rev-parse", "--short=12", "HEAD"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip() or None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
