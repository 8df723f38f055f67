"""The bar on a terminal: its step count and time left stay visible on 80 columns."""

import io

from rich.console import Console

from selfwise.training.progress import build_bar


def render(width, facts):
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    bar = build_bar(console)
    bar.add_task("steps", completed=120, total=1_000, facts=facts)
    console.print(bar.get_renderable())
    return [line for line in console.file.getvalue().splitlines() if line.strip()]


def test_a_long_line_of_values_is_cut_at_its_end():
    facts = " | ".join(f"some_metric_{i} 0.1234" for i in range(12))
    (line,) = render(80, facts)
    assert len(line) <= 80
    assert "120/1000" in line
    assert "-:--:--" in line  # the time left, not known yet
    assert "some_metric_0 0.1" in line
    assert line.rstrip().endswith("…")


def test_a_wide_terminal_shows_all_values():
    (line,) = render(160, "nt_xent 3.1234 | lr 0.1")
    assert line.rstrip().endswith("nt_xent 3.1234 | lr 0.1")
