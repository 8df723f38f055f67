"""Small recordings for the tests of audio data."""

from pathlib import Path

import numpy as np
import soundfile
import soxr

from selfwise.core.types import RATE


def noise(samples: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    """Smooth enough for lossy codecs, and never twice the same."""
    rough = np.random.default_rng(seed).normal(size=(samples, channels))
    sound = np.apply_along_axis(np.convolve, 0, rough, np.hanning(16), mode="same")
    return np.clip(0.1 * sound, -0.9, 0.9).astype(np.float32)


def write(path: Path, seconds: float = 3.0, rate: int = RATE, channels: int = 1, **told) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = told.pop("seed", 0)
    soundfile.write(path, noise(round(seconds * rate), channels, seed), rate, **told)


def expected(path: Path) -> np.ndarray:
    """What libsndfile reads of the whole file, the channels' mean, resampled at once."""
    sound, rate = soundfile.read(path, dtype="float32", always_2d=True)
    mono = sound.astype(np.float64).mean(axis=1)
    return soxr.resample(mono, rate, RATE) if rate != RATE else mono


def folder(tmp_path: Path, *names: str, seconds: float = 0.5) -> Path:
    for i, name in enumerate(names):
        write(tmp_path / "clips" / name, seconds + 0.1 * i, seed=i)
    return tmp_path / "clips"


def spoiled(tmp_path: Path) -> Path:
    """Two good recordings, three unfit and six broken ones."""
    root = folder(tmp_path, "good.wav", "good2.flac")
    soundfile.write(root / "silent.wav", np.zeros(16_000), RATE)
    stereo = noise(16_000) * [[1.0, -1.0]]
    soundfile.write(root / "cancelled.wav", stereo, RATE, subtype="FLOAT")
    write(root / "short.wav", 399 / RATE)
    bad = noise(8000)
    bad[-1] = np.nan
    soundfile.write(root / "nan.wav", bad, RATE, subtype="FLOAT")
    bad[-1] = -np.inf
    soundfile.write(root / "inf.wav", bad, RATE, subtype="FLOAT")
    (root / "text.wav").write_text("hello\n" * 100)
    (root / "empty.mp3").touch()
    write(root / "torn.flac", 2.0, seed=5)
    whole = (root / "torn.flac").read_bytes()
    (root / "torn.flac").write_bytes(whole[: len(whole) // 2])
    write(root / "slow.wav", 1.0, rate=900)
    return root
