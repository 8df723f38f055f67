"""What a run writes while it trains.

`metrics.jsonl` holds what is a function of the data, the seed and the step, so that a resumed
run's file equals the uninterrupted one's byte for byte. Rates and times go to `timing.jsonl`.
"""

import json
import math
import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable

import torch
from torch import Tensor

from selfwise.core.extras import import_extra
from selfwise.core.rng import hash_keys
from selfwise.core.types import Step, Term


class Meter:
    """Sums and counts since the last log line, on the device until they are read."""

    def __init__(self) -> None:
        self.terms: dict[str, Term] = {}

    @torch.no_grad()
    def add_step(self, step: Step) -> None:
        for name, (total, count) in (step.terms | step.metrics).items():
            total, count = total.detach().double(), count.detach().double()
            if name in self.terms:
                before = self.terms[name]
                self.terms[name] = Term(before.sum + total, before.count + count)
            else:
                self.terms[name] = Term(total, count)

    def compute_means(self) -> dict[str, float]:
        """The means; the one moment at which the host waits for the device."""
        names = list(self.terms)
        if not names:
            return {}
        means = torch.stack([self.terms[n].mean for n in names]).tolist()
        return dict(zip(names, means))

    def reset(self) -> None:
        self.terms = {}

    def to_dict(self) -> dict[str, list[float]]:
        """As plain JSON; exact, because Python writes the shortest text that reads back equal."""
        return {n: [float(t.sum), float(t.count)] for n, t in self.terms.items()}

    def restore(self, state: dict[str, list[float]], device: torch.device | str) -> None:
        def number(value: float) -> Tensor:
            return torch.tensor(value, dtype=torch.float64, device=device)

        self.terms = {n: Term(number(total), number(count)) for n, (total, count) in state.items()}


class MetricsLog:
    """The files that grow by a line each `log_every` steps."""

    def __init__(self, folder: Path, *, step: int, offset: int, wandb: str = ""):
        """Open for the steps after `step`; metrics.jsonl is cut back to its first `offset` bytes.

        With the name of a project in `wandb`, values go to Weights & Biases too.

        Raises ValueError if the file is shorter than the checkpoint says it was.
        """
        self.wandb = _start_wandb(wandb, folder) if wandb else None
        self.path = folder / "metrics.jsonl"
        self.metrics = _truncate_log(self.path, offset)
        self.digest = sha256(self.path.read_bytes())
        _drop_later_lines(folder / "timing.jsonl", step)
        self.timing = (folder / "timing.jsonl").open("a")
        from torch.utils.tensorboard import SummaryWriter

        self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=step or None)

    def write_values(self, step: int, values: dict[str, float]) -> None:
        line = (json.dumps({"step": step, **values}) + "\n").encode()
        self.metrics.write(line)
        self.metrics.flush()
        self.digest.update(line)
        self._plot(step, values)

    def write_times(self, step: int, values: dict[str, float]) -> None:
        rounded = {name: round(value, 4) for name, value in values.items()}
        self.timing.write(json.dumps({"step": step, **rounded}) + "\n")
        self.timing.flush()
        self._plot(step, {f"time/{name}": value for name, value in values.items()})

    def flush(self) -> int:
        """Flush metrics.jsonl to the disk; return its size in bytes."""
        os.fsync(self.metrics.fileno())
        return self.metrics.tell()

    def checksum(self) -> str:
        """SHA-256 of all that metrics.jsonl holds, hex."""
        return self.digest.hexdigest()

    def check_unchanged(self, expected: str | None) -> None:
        """Raises ValueError if the lines that were there are not those of the checkpoint."""
        if expected is not None and self.checksum() != expected:
            raise ValueError(
                f"{self.path} was changed since the checkpoint was saved (its checksum differs): "
                "put it back as it was, then resume"
            )

    def close(self) -> None:
        self.metrics.close()
        self.timing.close()
        self.board.close()
        if self.wandb is not None:
            self.wandb.finish()

    def _plot(self, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self.board.add_scalar(name, value, step)
        if self.wandb is not None:
            self.wandb.log(values, step=step)


@runtime_checkable
class WandbRun(Protocol):
    """What is used of a run of Weights & Biases."""

    def log(self, data: Mapping[str, float], *, step: int) -> object: ...

    def finish(self) -> object: ...


def _start_wandb(project: str, folder: Path) -> WandbRun:
    """A run of Weights & Biases that goes on where the folder's run was stopped."""
    wandb = import_extra("wandb")
    name = hash_keys(0, str(folder.resolve()))
    run: WandbRun = wandb.init(project=project, dir=str(folder), id=f"{name:x}", resume="allow")
    return run


def _truncate_log(path: Path, offset: int) -> BinaryIO:
    size = path.stat().st_size if path.exists() else 0
    if size < offset:
        raise ValueError(
            f"{path} has {size} bytes, but the checkpoint was saved when it had {offset}: "
            "it was changed since, so the run cannot go on exactly"
        )
    file = path.open("r+b" if path.exists() else "wb")
    file.truncate(offset)
    file.seek(offset)
    return file


def _drop_later_lines(path: Path, step: int) -> None:
    """Drop the lines after `step`, and a last line that a kill left half written."""
    if not path.exists():
        return
    lines = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    try:
        done = [line for line in lines if json.loads(line)["step"] <= step]
    except (ValueError, KeyError, TypeError) as error:
        advice = "it holds times alone: remove it, then resume"
        raise ValueError(f"{path} was damaged or changed; {advice}") from error
    path.write_text("".join(done))


def check_values_finite(step: int, values: dict[str, float]) -> None:
    """Raises FloatingPointError naming the terms that are not numbers any more."""
    bad = [name for name, value in values.items() if not math.isfinite(value)]
    if bad:
        raise FloatingPointError(
            f"{', '.join(bad)} became {values[bad[0]]} at or shortly before step {step}; "
            "a lower --lr or a longer --warmup usually helps."
        )
