"""What a log line costs, and going on with a run, against the number of lines before."""

import shutil
import time
from collections import deque
from pathlib import Path
from typing import Any

from benchmarks.costs_record import Clock, Found, Goal, anonymous, middle

WHAT = "metrics, times and TensorBoard of a run with so many log lines"
SIZES = {"10 lines": 10, "1,000 lines": 1_000, "100,000 lines": 100_000}
QUICK = {"10 lines": 10, "1,000 lines": 1_000}
ROUNDS = 3
GROWS = True
# Opening a log again reads all lines once: that may take longer with their number, and is told.
GOALS = [Goal("line ms", "growth", 1.2), Goal("held MiB", "added", 1.0)]
LINES = SIZES | QUICK
WARM_UP, WINDOW = 10, 500
EVERY = 20  # steps between two lines, as by default


def prepare(home: Path, sizes: list[str]) -> dict[str, Any]:
    """Nothing but what is told."""
    return {"window": WINDOW}


def values(number: int) -> tuple[dict[str, float], dict[str, float]]:
    """What a run logs: its loss and rate, and the three times."""
    step = number / 1000
    times = {"seconds": step, "steps_per_second": 50 + step % 1, "data_wait": step % 1}
    return {"lm_loss": 3 + step % 1, "lr": 6e-4 - step * 1e-9}, times


def measure(home: Path, size: str, now: Clock) -> Found:
    """Lines as the loop writes them; then the log is opened again after half of them."""
    from selfwise.methods.gpt import GPT
    from selfwise.runs import logs_and_scores
    from selfwise.training.config import TrainingConfig, resolve_training
    from selfwise.training.metrics_log import MetricsLog
    from selfwise.training.recorder import RunRecorder

    out, before = home / "run", LINES[size]
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    options = resolve_training(TrainingConfig(steps=1, cpu_threads=1), GPT, num_workers=0)
    recorder = RunRecorder(options, out, log=MetricsLog(out, step=0, offset=0))
    taken: deque[float] = deque(maxlen=WINDOW)  # all would count as held
    offset, base = 0, 0
    for number in range(1, before + WINDOW + 1):
        if number == WARM_UP:
            base = anonymous()
        mark = now()
        recorder.write_values(EVERY * number, *values(number))
        taken.append(now() - mark)
        if number == max(1, before // 2):
            assert recorder.log is not None
            offset = recorder.log.flush()
    held = anonymous() - base
    assert recorder.log is not None
    recorder.log.close()
    mark = time.perf_counter()
    read = logs_and_scores.read_metrics(out)
    shown = time.perf_counter() - mark
    assert len(read.lines) == before + WINDOW, len(read.lines)
    return Found({
        "line ms": 1000 * middle(list(taken)), "held MiB": held / 2**20,
        "reading seconds": shown, "opening again seconds": again(out, before, offset),
    })  # fmt: skip


def again(out: Path, before: int, offset: int) -> float:
    """Seconds until `resume` can write the next line after half of those before."""
    from selfwise.training.metrics_log import MetricsLog

    mark = time.perf_counter()
    MetricsLog(out, step=EVERY * max(1, before // 2), offset=offset).close()
    taken = time.perf_counter() - mark
    kept = sum(1 for _ in (out / "metrics.jsonl").open("rb"))
    assert kept == max(1, before // 2), kept
    return taken
