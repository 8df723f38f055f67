"""Logs that a run writes while it trains.

`metrics.jsonl` holds values that are functions of the data, the seed and the step, so that the file
of a resumed run equals the uninterrupted run's byte for byte. Rates and times go to `timing.jsonl`.
"""

import json
import math
import os
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from selfwise.core.device import float64_device, to_float64
from selfwise.core.files import write_file
from selfwise.core.own_files import check_file, name_errors, open_own, read_own
from selfwise.core.types import Step, Term

GRAD_NORM = "grad_norm"  # a metric: the norm of the gradient before clipping


class Meter:
    """Sums and counts since the last log line, on the device until they are read."""

    def __init__(self) -> None:
        self.terms: dict[str, Term] = {}

    @torch.no_grad()
    def add_step(self, step: Step) -> None:
        for name, (total, count) in (step.terms | step.metrics).items():
            total, count = to_float64(total.detach()), to_float64(count.detach())
            if name in self.terms:
                before = self.terms[name]
                self.terms[name] = Term(before.sum + total, before.count + count)
            else:
                self.terms[name] = Term(total, count)

    def compute_means(self) -> dict[str, float]:
        """Return the means; the only moment at which the host waits for the device.

        grad_norm is missing if every gradient since the last line overflowed in fp16.
        """
        names = list(self.terms)
        if not names:
            return {}
        means, counts = torch.stack(
            [torch.stack([self.terms[n].mean, self.terms[n].count]) for n in names]
        ).T.tolist()
        return {n: mean for n, mean, count in zip(names, means, counts) if n != GRAD_NORM or count}

    def reset(self) -> None:
        self.terms = {}

    def to_dict(self) -> dict[str, list[float]]:
        """Return plain JSON; exact, because Python writes the shortest text that reads back
        equal."""
        return {n: [float(t.sum), float(t.count)] for n, t in self.terms.items()}

    def restore(self, state: dict[str, list[float]], device: torch.device | str) -> None:
        def number(value: float) -> Tensor:
            return torch.tensor(value, dtype=torch.float64, device=float64_device(device))

        self.terms = {n: Term(number(total), number(count)) for n, (total, count) in state.items()}


class MetricsLog:
    """The files that grow by one line every `log_every` steps."""

    def __init__(self, folder: Path, *, step: int, offset: int):
        """Open for the steps after `step`; metrics.jsonl is truncated to its first `offset` bytes.

        Raises ValueError if the file is shorter than the checkpoint recorded.
        """
        self.path = folder / "metrics.jsonl"
        self.metrics = _truncate_log(self.path, offset)
        self.digest = sha256(read_own(self.path))
        _drop_later_lines(folder / "timing.jsonl", step)
        self.timing = open_own(folder / "timing.jsonl", "ab")

    def write_values(self, step: int, values: dict[str, float]) -> None:
        line = (json.dumps({"step": step, **values}) + "\n").encode()
        with name_errors(self.path):
            self.metrics.write(line)
            self.metrics.flush()
        self.digest.update(line)

    def write_times(self, step: int, values: dict[str, float]) -> None:
        rounded = {name: round(value, 4) for name, value in values.items()}
        with name_errors(self.path.with_name("timing.jsonl")):
            self.timing.write((json.dumps({"step": step, **rounded}) + "\n").encode())
            self.timing.flush()

    def flush(self) -> int:
        """Flush metrics.jsonl to the disk; return its size in bytes."""
        with name_errors(self.path):
            os.fsync(self.metrics.fileno())
        return self.metrics.tell()

    def checksum(self) -> str:
        """Return the SHA-256 of the whole metrics.jsonl in hex."""
        return self.digest.hexdigest()

    def check_unchanged(self, expected: str | None) -> None:
        """Raise ValueError if the earlier lines differ from the lines that the checkpoint
        recorded."""
        if expected is not None and self.checksum() != expected:
            raise ValueError(
                f"{self.path} was changed since the checkpoint was saved (its checksum differs): "
                "restore the original file, then resume"
            )

    def close(self) -> None:
        self.metrics.close()
        self.timing.close()


def find_last_step(folder: Path) -> int:
    """Return the last step in metrics.jsonl, even if after the last checkpoint; 0 without a
    line."""
    path = folder / "metrics.jsonl"
    lines = read_own(path).split(b"\n")[:-1] if path.is_file() else []
    try:
        return int(json.loads(lines[-1])["step"]) if lines else 0
    except (ValueError, KeyError, TypeError):
        return 0  # a damaged line; the lines that matter are checked against the checkpoint


def _truncate_log(path: Path, offset: int) -> BinaryIO:
    check_file(path)
    size = path.stat().st_size if path.exists() else 0
    if size < offset:
        raise ValueError(
            f"{path} has {size} bytes, but the checkpoint was saved when it had {offset}: "
            "the file was changed since then, so the run cannot be resumed exactly"
        )
    file = open_own(path, "r+b")
    file.truncate(offset)
    file.seek(offset)
    return file


def _drop_later_lines(path: Path, step: int) -> None:
    """Drop the lines after `step`, and a last line that a kill left incomplete."""
    if not path.exists():
        return
    lines = [line for line in read_own(path).splitlines(keepends=True) if line.endswith(b"\n")]
    try:
        done = [line for line in lines if json.loads(line)["step"] <= step]
    except (ValueError, KeyError, TypeError) as error:
        advice = "it holds only times: remove it, then resume"
        raise ValueError(f"{path} was damaged or changed; {advice}") from error
    write_file(path, b"".join(done))


def check_values_finite(step: int, values: dict[str, float]) -> None:
    """Raise FloatingPointError naming the terms that are NaN or infinite."""
    bad = [name for name, value in values.items() if not math.isfinite(value)]
    if bad:
        raise FloatingPointError(
            f"{', '.join(bad)} became {values[bad[0]]} at or shortly before step {step}; "
            "a lower --lr or a longer --warmup usually helps."
        )
