"""Names and tokens of any bytes: a page shows what no page may hold as escapes."""

import base64
import os

import numpy as np
import pytest
from PIL import Image

from selfwise.core.visible_text import INVISIBLE, escape_invisible
from selfwise.report.page import page
from selfwise.report.page.parts import (
    Lines,
    Map,
    Paragraphs,
    Picture,
    Section,
    Table,
    Token,
)
from selfwise.report.sections import curves, scores, tasks_lines
from selfwise.report.write import write_page
from selfwise.tokenizers.tokenizer import train_tokenizer
from tests.helpers import show_cases as cases
from tests.helpers.report_cases import DOT, simclr

ODD = "a\x00b\x1bc\udcffd\ud800e\x85\u202e\u2069\tf\n\u00a0\u2028"
SHOWN = "a\\x00b\\x1bc\\xffd\\ud800e\\x85\\u202e\\u2069\tf\n\u00a0\u2028"
NAME = os.fsdecode(b"c\xff")


def test_what_no_page_holds_is_an_escape():
    assert escape_invisible(ODD) == SHOWN
    assert escape_invisible("é \U0001f600 ±") == "é \U0001f600 ±"


def test_words_of_all_parts_can_be_seen():
    dot = Picture(base64.b64decode(DOT), "png", ODD, ODD)
    points = Map([(0.0, 0.0)], [ODD], [ODD], [dot], ODD)
    lines = Lines([[Token(ODD, "wrong", ODD), Token(ODD)]], ODD)
    parts = [Paragraphs([ODD]), Table([ODD], [[ODD]], ODD), lines, points, dot]
    text = page.render(ODD, [Section(ODD, ODD, parts)], lead=ODD)
    assert not INVISIBLE.search(text)
    assert text.count("a\\x00b\\x1bc\\xffd\\ud800e") > 15
    assert "\\udcff" not in text  # nor in the data of the map


def test_tokens_that_are_bytes_can_be_seen():
    known = train_tokenizer("bpe", ["aaaa"], vocab_size=262)
    (ids,) = known.encode(["a\x00b\x1b"])
    section = Section("Text", "", [Lines([tasks_lines.format_plain_line(known, ids.tolist())])])
    text = page.render("Tokens", [section])
    assert "\\x00b\\x1b" in text
    assert "\x00" not in text


def test_figures_have_names_of_any_bytes(tmp_path):
    """Of runs at the ends of curves, and of classes beside a matrix."""
    score = cases.score()
    score["classes"][0] = ODD.partition("\t")[0]
    log = cases.lines({"step": 20, "nt_xent": 5.0}, {"step": 40, "nt_xent": 4.0})
    folders = [tmp_path / f"{NAME}{i}" for i in (1, 2)]
    runs = [cases.folder(path, metrics=log, scores=[score]) for path in folders]
    for some in (runs, runs[:1]):
        text = page.render("Runs", [*scores.build_sections(some), *curves.build_sections(some)])
        assert not INVISIBLE.search(text)
    assert "a\\x00b" in text


@pytest.mark.run
def test_a_class_whose_name_is_no_text(tmp_path):
    random = np.random.default_rng(0)
    for name in (NAME, "d"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(8):
            pixels = random.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / name / f"{i}.png")
    run = simclr(tmp_path / "data", tmp_path / "run", batch_size=8).folder
    text = write_page([run]).read_text(encoding="utf-8")
    assert "c\\xff" in text
    assert [path.name for path in run.glob(".*.writing")] == []


def test_nothing_is_left_of_a_page_that_cannot_be_written(tmp_path, monkeypatch):
    run = cases.folder(tmp_path / "run")
    monkeypatch.setattr(page, "render", lambda *_, **__: "\ud800")
    with pytest.raises(UnicodeEncodeError):
        write_page([run])
    assert sorted(path.name for path in run.iterdir()) == ["run.yaml"]
