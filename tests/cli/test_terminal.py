"""Names and texts from data reach the terminal as escapes where they would steer it."""
# ruff: noqa: F401, F811 (a fixture of another file)

import errno
import io
import re
import sys

import pytest
from PIL import Image

from selfwise import commands
from selfwise.cli import main as cli
from selfwise.core.errors import describe_system_error
from selfwise.core.progress import print_progress
from selfwise.core.visible_text import escape_invisible, escape_line, print_visible
from selfwise.evaluation.scores.retrieval_score import RetrievalScore, compare_retrieval
from selfwise.training.progress import Progress
from tests.cli.test_cli import refused, selfwise
from tests.evaluation.test_retrieval_scores import found

# colors, title of the window, 8-bit CSI, backspace, return, bell; controls of direction
EVIL = "a\x1b[31mb\x1b]0;title\x07c\x9b2Jd\x08e\rf\u202eg\u2066h\u061ci\u200fj"
STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u061c\u200e\u200f]")
SHOWN = (
    r"a\x1b[31mb\x1b]0;title\x07c\x9b2Jd\x08e\x0df\u202eg\u2066h\u061ci\u200fj"  # each one visible
)


def test_every_steering_character_becomes_an_escape():
    assert escape_invisible(EVIL) == SHOWN
    assert escape_line("a\nb\udcff") == r"a\nb\xff"
    assert escape_invisible("déjà vu 日本 שלום\n\tx") == "déjà vu 日本 שלום\n\tx"


def test_lines_on_work_are_visible(capsys):
    print_progress(EVIL, prefix="targets: ")
    progress = Progress(0, 1, 1.0)
    progress.print_line(EVIL)
    progress.show_values(1, {EVIL: 1.0}, {"steps_per_second": 1.0, "data_wait": 0.0})
    printed = capsys.readouterr().err
    assert not STEERING.search(printed)
    assert printed.count(SHOWN) == 3


def test_results_are_visible(capsys):
    from rich.table import Table

    print_visible(EVIL)
    table = Table(title="title")
    table.add_row("\x1b[31mred", "\u202erow")
    print_visible(table)
    printed = capsys.readouterr().out
    assert not STEERING.search(printed)
    assert SHOWN in printed
    assert r"\x1b[31mred" in printed
    assert r"\u202erow" in printed


def test_a_caption_has_no_styles_and_no_links_from_data(capsys, monkeypatch):
    monkeypatch.setattr(
        RetrievalScore, "sentences", lambda self: [f"{EVIL} [link=x://y]z[/link] [/red]"]
    )
    print_visible(compare_retrieval(found()).table())
    printed = capsys.readouterr().out
    assert not STEERING.search(printed)
    flat = "".join(printed.split())
    assert "[link=x://y]z[/link]" in flat
    assert r"\x1b[31mb" in flat


@pytest.mark.parametrize("name", ["a\x1b[31mb.png", "a\u202eb.png", "a\nb\rc.png", "a\x9bb.png"])
def test_an_error_names_a_file_visibly(tmp_path, capsys, name):
    (tmp_path / "data").mkdir()
    for good in range(3):
        Image.new("L", (8, 8), good).save(tmp_path / "data" / f"{good}.png")
    (tmp_path / "data" / name).write_text("no image")
    out = str(tmp_path / "run")
    argv = ["pretrain", "simclr", "--data", str(tmp_path / "data"), "--out", out, "--steps", "1"]
    assert cli.main(argv) == 2
    printed = capsys.readouterr()
    assert not STEERING.search(printed.err + printed.out)
    assert "b" in printed.err.splitlines()[-1]


@pytest.mark.parametrize("error", [ValueError(EVIL), OSError(2, "missing", f"{EVIL}\nx")])
def test_an_error_is_one_visible_line(capsys, monkeypatch, error):
    def fail(command, word, argv):
        raise error

    monkeypatch.setattr(cli, "_call_command", fail)
    assert cli.main(["show", "run"]) == 2
    printed = capsys.readouterr().err
    assert not STEERING.search(printed)
    assert SHOWN in printed
    assert printed.count("\n") == 1


def test_a_name_that_is_not_utf_8_can_be_printed(monkeypatch):
    printed = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(printed, "utf-8", errors="strict"))
    print_visible("a\udcffb")
    sys.stdout.flush()
    assert printed.getvalue() == b"a\\xffb\n"


@pytest.mark.parametrize(
    "number",
    ["ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EACCES", "EPERM", "ENAMETOOLONG", "ELOOP"],
)
def test_errors_of_the_system_come_with_a_place_and_advice(number):
    code = getattr(errno, number)
    text = describe_system_error(OSError(code, "the reason", "/the/place"))
    assert text.startswith("/the/place: the reason; ")
    assert describe_system_error(OSError(errno.ENOENT, "the reason", b"x")) == "x: the reason"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
    ],
)
def test_a_lack_of_memory_is_a_sentence(selfwise, monkeypatch, error):
    def fail():
        raise error

    monkeypatch.setattr(commands.import_commands()["show"], "load_function", fail)
    refused(selfwise("show", "run"), "not enough memory", str(error), "smaller batch")


def test_another_error_of_the_program_is_not_hidden(selfwise, monkeypatch):
    def fail():
        raise RuntimeError("a fault")

    monkeypatch.setattr(commands.import_commands()["show"], "load_function", fail)
    with pytest.raises(RuntimeError, match="a fault"):
        selfwise("show", "run")
