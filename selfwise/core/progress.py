"""Lines on stderr about work that takes a while."""

import sys
from collections.abc import Callable


def print_progress(text: str, *, prefix: str = "", quiet: bool = False) -> None:
    """Print a line on stderr at once, unless `quiet`."""
    if not quiet:
        print(f"{prefix}{text}", file=sys.stderr, flush=True)


def format_count(number: int, noun: str) -> str:
    """A number with its noun: 1 core, 2 cores."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def report_tenths(
    format_line: Callable[[int, int], str], *, min_total: int
) -> Callable[[int, int], None]:
    """A function of (done, total) that prints a line at every tenth of a long piece of work.

    Args:
        format_line: makes the line from (done, total).
        min_total: a piece of work that is not longer than this is not reported.
    """
    reported = 0

    def report(done: int, total: int) -> None:
        nonlocal reported
        tenth = 10 * done // max(total, 1)
        if tenth > reported and total > min_total:
            reported = tenth
            print_progress(format_line(done, total))

    return report
