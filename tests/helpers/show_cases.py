"""Run folders written by hand, for tests of what is shown of runs without any training."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from selfwise.core.data_info import AudioInfo, DataInfo, ImageInfo, TextInfo
from selfwise.evaluation.probes.label_curve import compute_label_curve
from selfwise.methods import find_method
from selfwise.runs.names import IMPORTED
from selfwise.runs.run_yaml import Choice, RunRecord, write_record
from selfwise.training.config import MACHINE, PAPER

ASKED: dict[str, Any] = {"data": "digits:train", "encoder": "resnet18"}
ASKED |= {"encoder.layers": [1, 1, 1, 1], "encoder.channels": [4, 4, 8, 8], "image_size": 8}
ASKED |= {"temperature": 0.2, "steps": 60, "batch_size": 64}
OPTIONS: dict[str, Any] = ASKED | {
    "seed": 0,
    "init_from": "",
    "proj_dim": 128,
    "proj_layers": 2,
    "min_crop_scale": 0.08,
}
OPTIONS |= {
    "flip_prob": 0.5,
    "grad_accum_steps": 1,
    "optimizer": "lars",
    "lr": 0.6,
    "weight_decay": 1e-6,
}
OPTIONS |= {
    "warmup": 0.1,
    "schedule": "cosine",
    "grad_clip": 0.0,
    "keep_last": 2,
    "precision": "float32",
}
OPTIONS |= {"compile": False, "device": "cpu", "devices": 1, "cpu_threads": 1, "num_workers": 0}
OPTIONS |= {
    "log_every": 20,
    "save_every": 200,
    "keep_best": "",
    "knn_every": 0,
    "monitor_every": 200,
}
OPTIONS |= {"epochs": None, "minutes": None, "max_decode_size": 256, "cache": "auto"}
SOURCES = dict.fromkeys((*PAPER, "lr"), "paper") | dict.fromkeys(MACHINE, "machine")
FOUND: dict[str, Any] = {"examples": 1297, "fingerprint": "9a14"}
INFO: dict[str, DataInfo] = {
    "image": ImageInfo(**FOUND, channels=1, size=8, classes=10),
    "text": TextInfo(**FOUND, vocab=300, length=32),
    "audio": AudioInfo(**FOUND),
}
ENVIRONMENT = {"python": "3.11.7", "torch": "2.14.1", "cpu": "a processor"}


def settings(method: str = "simclr", **options: Any) -> RunRecord:
    """What run.yaml says of a run that was asked for these options; None is none."""
    asked = {name: value for name, value in (ASKED | options).items() if value is not None}
    sources = SOURCES | dict.fromkeys(asked, "user")
    elsewhere = {"family": method, "from": "a model's folder"}
    return RunRecord(
        method=method,
        modality=find_method(method).modality,
        config={"method": method, **asked},
        resolved={
            name: Choice(value, sources.get(name, "default"))
            for name, value in (OPTIONS | options).items()
        },
        info=INFO[find_method(method).modality],
        environment=ENVIRONMENT,
        imported=elsewhere if asked["data"] == IMPORTED else {},
    )


def lines(*values: dict[str, float] | str) -> str:
    """A log: JSON for each line, or what stands there instead."""
    return "".join(f"{v if isinstance(v, str) else json.dumps(v)}\n" for v in values)


def folder(
    path: Path,
    told: RunRecord | None = None,
    *,
    metrics: str = "",
    timing: str = "",
    scores: list[dict[str, Any]] | None = None,
) -> Path:
    """A run folder without weights."""
    path.mkdir(parents=True)
    write_record(path, told or settings())
    if metrics:
        (path / "metrics.jsonl").write_text(metrics)
    if timing:
        (path / "timing.jsonl").write_text(timing)
    for number, score in enumerate(scores or []):
        (path / "scores").mkdir(exist_ok=True)
        (path / "scores" / f"{score['kind']}-{number:08x}.json").write_text(json.dumps(score))
    return path


def score(
    classes: int = 4,
    *,
    budgets: tuple[int | None, ...] = (2, 5, None),
    seeds: int = 3,
    right: float = 0.8,
    test: str = "test digest",
    seed: int = 0,
    **more: Any,
) -> dict[str, Any]:
    """What a probe files of competitors that guess right so often; class 0 is taken for 1 a lot."""
    labels, truth = np.arange(20 * classes) % classes, np.arange(10 * classes) % classes
    names = [f"class {number}" for number in range(classes)]

    def guesses(share: float):
        def predict(rows: np.ndarray, draw: int) -> np.ndarray:
            random = np.random.default_rng([seed, draw, len(rows), int(100 * share)])
            wrong = np.where(truth == 0, 1, random.integers(0, classes, len(truth)))
            more = share + 0.1 * min(1.0, len(rows) / len(labels))  # labels help
            return np.where(random.random(len(truth)) < more, truth, wrong)

        return predict

    others = {"untrained": 0.5, "raw input": 0.6}
    competitors = {"pretrained": guesses(right), **{n: guesses(s) for n, s in others.items()}}
    drawn = {"budgets": list(budgets), "seeds": range(seeds), "classes": names}
    found = compute_label_curve(competitors, labels, truth, **drawn).to_dict()
    told = {"train": "train digest", "test": test, "layer": None, "pooling": "", "weights": "w"}
    data = {"train": "digits:train", "test": "digits:test"}
    return {**found, **told, "step": 0, "data": data, "classes": names, **more}


def older(found: dict[str, Any]) -> dict[str, Any]:
    """The same as the first versions filed it."""
    gone = ("confusion", "classes", "data", "weights", "step", "layer", "pooling", "train", "test")
    return {name: value for name, value in found.items() if name not in gone}
