"""Lines on stderr about long work."""

import sys
from collections.abc import Callable

from selfwise.core.visible_text import escape_invisible


def print_progress(text: str, *, prefix: str = "", quiet: bool = False) -> None:
    """Print a line on stderr at once, unless `quiet`."""
    if not quiet:
        print(escape_invisible(f"{prefix}{text}"), file=sys.stderr, flush=True)


def format_count(number: int, noun: str) -> str:
    """Format a number with its noun: 1 core, 2 cores."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def report_tenths(
    format_line: Callable[[int, int], str], *, min_total: int
) -> Callable[[int, int], None]:
    """Return a function of (done, total) that prints a line at every tenth of a long task.

    Args:
        format_line: formats the line from (done, total).
        min_total: shorter tasks are not reported.
    """
    reported = 0

    def report(done: int, total: int) -> None:
        nonlocal reported
        tenth = 10 * done // max(total, 1)
        if tenth > reported and total > min_total:
            reported = tenth
            print_progress(format_line(done, total))

    return report
