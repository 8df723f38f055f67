"""A run.yaml without a training, to be read and to be damaged."""

from pathlib import Path

import yaml

from selfwise import methods
from selfwise.runs.run_yaml import FORMAT
from selfwise.training.config import TrainingConfig, resolve_training


def run_content() -> dict:
    """The contents of a small run on images, as plain data."""
    asked = TrainingConfig(steps=4, batch_size=8, precision="float32", device="cpu")
    training = resolve_training(asked, methods.find_method("simclr"), num_workers=0)
    options = {"data": "digits", "encoder": "resnet18", "seed": 0, **training.model_dump()}
    return {
        "format": FORMAT,
        "method": "simclr",
        "modality": "image",
        "config": {"data": "digits", "steps": 4, "batch_size": 8},
        "resolved": {n: {"value": v, "source": "user"} for n, v in options.items()},
        "data_info": {"examples": 16, "fingerprint": "ab", "channels": 1, "size": 8},
        "environment": {"torch": "2"},
    }


def write_run_file(folder: Path, *, options=None, without: str = "", **changes) -> Path:
    """Write a run.yaml with some changes, and return its folder."""
    content = {**run_content(), **changes}
    for name, value in (options or {}).items():
        content["resolved"][name] = {"value": value, "source": "user"}
    if without:
        del content["resolved"][without]
    (folder / "run.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return folder
