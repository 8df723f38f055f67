"""Progress: a bar on a terminal, plain lines in a pipe, nothing if `quiet`."""

import sys
from time import monotonic
from typing import TYPE_CHECKING, Any

from selfwise.core.visible_text import escape_invisible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bar

BAR_WIDTH = 16  # characters


class Clock:
    """Times of the loop: steps per second, and the fraction of time spent waiting for data."""

    def __init__(self) -> None:
        self.begun = self.mark = monotonic()
        self.waited, self.steps = 0.0, 0

    def lap(self) -> dict[str, float]:
        """Return rate and waiting fraction since the last lap, and seconds since the start."""
        now = monotonic()
        seconds = max(now - self.mark, 1e-9)
        values = {
            "seconds": now - self.begun,
            "steps_per_second": self.steps / seconds,
            "data_wait": self.waited / seconds,
        }
        self.mark, self.waited, self.steps = now, 0.0, 0
        return values


class Progress:
    """Prints one line per log interval, or one bar that is redrawn."""

    def __init__(
        self, start: int, steps: int, each: float, *, unit: str = "examples", quiet: bool = False
    ):
        """`each`: number of units in a step."""
        self.steps, self.each, self.unit, self.quiet = steps, each, unit, quiet
        self.bar: Any = None
        if not quiet and sys.stderr.isatty():
            self.bar, self.task = _start_bar(start, steps)

    def advance(self, done: int) -> None:
        if self.bar is not None:
            self.bar.update(self.task, completed=done)

    def show_values(self, done: int, values: dict[str, float], times: dict[str, float]) -> None:
        """Show the newest values, after `done` steps."""
        rate = times["steps_per_second"]
        left = (self.steps - done) / max(rate, 1e-9)
        facts = [f"{name} {value:.4f}" for name, value in values.items() if name != "lr"]
        facts += [f"{rate * self.each:.0f} {self.unit}/s"]
        facts += [f"{times['data_wait']:.0%} waiting for data"]
        text = escape_invisible(" | ".join(facts))
        if self.bar is not None:
            self.bar.update(self.task, completed=done, facts=text)
        elif not self.quiet:
            print(
                f"step {done}/{self.steps} | {text} | {format_duration(left)} left", file=sys.stderr
            )

    def print_line(self, text: str) -> None:
        """Print a sentence above the bar."""
        text = escape_invisible(text)
        if self.bar is not None:
            self.bar.console.print(text, highlight=False, markup=False)
        elif not self.quiet:
            print(text, file=sys.stderr)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.stop()


def _start_bar(start: int, steps: int) -> tuple[Any, Any]:
    from rich.console import Console

    bar = build_bar(Console(stderr=True))
    bar.start()
    return bar, bar.add_task("steps", completed=start, total=steps, facts="")


def build_bar(console: "Console") -> "Bar":
    """Return a bar whose step count and time left stay visible on a narrow terminal.

    The newest values come last; a narrow terminal cuts off their end.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar
    from rich.table import Column

    facts = TextColumn(
        "{task.fields[facts]}",
        table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"),
        markup=False,
    )
    columns = (BarColumn(BAR_WIDTH), MofNCompleteColumn(), TimeRemainingColumn())
    return Bar(*columns, facts, console=console, expand=True)


def format_duration(seconds: float) -> str:
    """Return a time as minutes:seconds or hours:minutes:seconds."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
