"""A tiny run of each method, two steps long, and examples for what it shows."""

from pathlib import Path
from typing import Any

import numpy as np

from selfwise import methods
from selfwise.runs.create import pretrain
from selfwise.runs.open import Run
from tests.helpers import report_cases

SIZE, COUNT, CLASSES = 16, 40, 4
NAMES = ("cat", "dog", "owl", report_cases.EVIL)
SMALL = {
    "beit": ("beit-tiny", {"patch": 4, "dim": 32, "heads": 2, "depth": 2}),
    "codec": ("codec-tiny", {"width": 16, "dim": 16, "patch": 4}),
    "hubert": ("hubert-tiny", {"dim": 32, "heads": 2, "depth": 2, "stem": "logmel"}),
}
TEXT = {"depth": 2, "dim": 32, "heads": 2}
QUICK = {"steps": 2, "cpu_threads": 1, "quiet": True, "log_every": 1, "monitor_every": 0}


def pictures(count: int = COUNT, *, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Soft pictures uint8 (n c h w), each unlike the others."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (count, channels, 4, 4), dtype=np.uint8)
    return coarse.repeat(SIZE // 4, axis=2).repeat(SIZE // 4, axis=3)


def labels(count: int = COUNT) -> np.ndarray:
    """The name of each picture's class."""
    return np.array(NAMES)[np.arange(count) % CLASSES]


def texts(count: int = 60) -> list[str]:
    """Texts of three sentences; the first would like to be markup."""
    text = "the cat saw a dog near the old house while rain fell on every road"
    words = np.array(text.split())
    random = np.random.default_rng(0)

    def sentence() -> str:
        return " ".join(random.permutation(words)[:8]).capitalize() + "."

    made = [" ".join(sentence() for _ in range(3)) for _ in range(count)]
    return [f"{report_cases.EVIL} {made[0]}", *made[1:]]


def sounds(count: int = 6, samples: int = 12_000) -> list[np.ndarray]:
    """Tones float32 at 16 kHz of two pitches each."""
    time = np.arange(samples) / 16_000
    pitch = [np.where(time < 0.4, 300 + 90 * i, 900 + 120 * i) for i in range(count)]
    return [(0.4 * np.sin(2 * np.pi * p * time)).astype(np.float32) for p in pitch]


def data(name: str) -> Any:
    """Examples of the method's modality, with labels where these can have some."""
    modality = methods.find_method(name).modality
    if modality == "text":
        return texts()
    return (pictures(), labels()) if modality == "image" else sounds()


def run(name: str, folder: Path, **options: Any) -> Run:
    """The method's smallest run on its `data`."""
    kind = methods.find_method(name)
    family = kind.default_encoder.partition("-")[0]
    told: dict[str, Any] = {"batch_size": 8, "defaults": "paper", **QUICK}
    if kind.modality == "text":
        told |= {"encoder": f"{family}-tiny", "encoder_options": TEXT}
        told |= {
            "max_length": 32,
            "tokenizer": f"{kind.default_tokenizer}:300",
            "val_fraction": 0.0,
        }
        if family == "word2vec":
            told |= {"encoder": family, "encoder_options": {"dim": 16}, "tokenizer": "words"}
    elif kind.modality == "audio":
        told.pop("batch_size")
        told |= dict(zip(("encoder", "encoder_options"), SMALL[family]))
        told |= {"num_clusters": 8, "batch_seconds": 5.0, "max_clip_seconds": 2.0}
    else:
        small = SMALL.get(family, tuple(report_cases.TINY.values()))
        told |= {**dict(zip(("encoder", "encoder_options"), small)), "image_size": SIZE}
    if name == "beit":
        told["num_clusters"] = 8
    return pretrain(name, data=data(name), out=folder, **{**told, **options})
