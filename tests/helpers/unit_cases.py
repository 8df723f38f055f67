"""Small folders of sound and of images, and the quickest runs on them, told as a user would."""

import json
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from selfwise.core.types import RATE

SPEECH = {"encoder": "hubert-tiny", "encoder_options": {"stem": "logmel", "dim": 32, "heads": 2}}
SPEECH["encoder_options"] |= {"position_kernel": 8, "position_groups": 4}
SPEECH |= {
    "num_clusters": 6,
    "batch_seconds": 3.0,
    "max_clip_seconds": 1.0,
    "val_fraction": 0.2,
    "mask_length": 4,
}
COMMON = {
    "steps": 4,
    "cpu_threads": 1,
    "quiet": True,
    "seed": 1,
    "monitor_every": 2,
    "log_every": 2,
}
COMMON |= {"save_every": 2, "precision": "float32"}
SPEECH |= COMMON
PATCHES = {
    "encoder": "beit-tiny",
    "encoder_options": {"dim": 32, "heads": 2, "patch": 4},
    "num_clusters": 8,
}
PATCHES |= COMMON | {"batch_size": 8}
CODEC = {
    "encoder": "codec-tiny",
    "encoder_options": {"width": 16, "dim": 16, "patch": 4},
    "levels": "4,4",
}
CODEC |= COMMON | {"batch_size": 8}


def flags(options: dict) -> list[str]:
    """The same as a command line."""
    words = []
    for name, value in options.items():
        if name == "encoder_options":
            words += [w for n, v in value.items() for w in (f"--encoder.{n}", str(v))]
        elif value is True:
            words.append(f"--{name.replace('_', '-')}")
        else:
            words += [f"--{name.replace('_', '-')}", str(value)]
    return words


def voice(path: Path, number: int, *, rate: int = RATE, seconds: float = 0.0) -> Path:
    """A melody in one of two registers, with overtones and some noise; never twice the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(number)
    seconds = seconds or 0.3 + 0.06 * (number % 10)
    n = round(seconds * rate)
    notes = random.integers(0, 4, n * 12 // rate + 1)
    hertz = (220.0, 900.0)[number % 2] * 1.3 ** notes[np.arange(n) * 12 // rate]
    wave = 2 * np.pi * np.cumsum(hertz) / rate
    sound = 0.3 * np.sin(wave) + 0.1 * np.sin(3 * wave) + 0.005 * random.normal(size=n)
    soundfile.write(path, sound, rate)
    return path


def voices(root: Path, n: int = 14) -> Path:
    """A folder for each register; rates differ."""
    for i in range(n):
        rate = (16_000, 8_000, 44_100)[i % 3]
        voice(root / ("low", "high")[i % 2] / f"{i:02d}.wav", i, rate=rate)
    return root


def table(root: Path, path: Path, *, groups: int = 3) -> Path:
    """A csv of the folder, with a group for the search to hold out."""
    files = sorted(root.rglob("*.wav"))
    lines = [f"{file},{file.parent.name},s{i % groups}" for i, file in enumerate(files)]
    path.write_text("path,label,group\n" + "\n".join(lines) + "\n")
    return path


def pictures(root: Path, n: int = 24, *, size: int = 16, mode: str = "RGB") -> Path:
    """Soft blobs, in a folder for each of two colours."""
    for i in range(n):
        random = np.random.default_rng(i)
        low = random.integers(0, 120, (4, 4, 3)) + np.array([(120, 0, 0), (0, 0, 120)][i % 2])
        path = root / ("red", "blue")[i % 2] / f"{i:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        soft = Image.fromarray(low.astype(np.uint8)).resize((size, size), Image.Resampling.BILINEAR)
        soft.convert(mode).save(path)
    return root


def logged(run: Path) -> list[dict]:
    """The lines of metrics.jsonl."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def weights(run: Path, step: int = 4) -> bytes:
    """Of a checkpoint, as they lie on the disk."""
    return (run / "checkpoints" / f"step-{step:08d}" / "model.safetensors").read_bytes()


def content(folder: Path) -> dict[str, bytes]:
    """Every file that is not hidden."""
    files = (p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}
