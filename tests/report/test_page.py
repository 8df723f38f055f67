"""A report is one page that loads nothing, in which nothing but us can write markup."""

import base64
import hashlib
import json
import os
import re
import shutil
import tracemalloc
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from selfwise.cli import main as cli
from selfwise.data.text.documents import open_documents
from selfwise.report.page import page
from selfwise.report.page.parts import (
    Command,
    Lines,
    Map,
    Paragraphs,
    Picture,
    Section,
    Strip,
    Table,
    Token,
)
from selfwise.report.page.pixels import encode_pixels
from selfwise.report.page.plane import lay_out_map
from selfwise.report.page.svg import Figures
from selfwise.report.sections import embedding, summary
from selfwise.report.sections.examples import draw_passages, find_examples
from selfwise.report.write import write_page
from selfwise.runs.open import load
from tests.helpers.report_cases import DOT, EVIL

MEGABYTE = 1 << 20
QUOTED = '" onmouseover="alert(3)" \'</script><svg onload=alert(4)>'


class Read(HTMLParser):
    """Elements with their attributes, and what stands in them."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.inside: dict[str, list[str]] = {}
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data):
        last = self.elements[-1][0] if self.elements else ""
        self.inside.setdefault(last, []).append(data)
        self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


def kinds(read: Read) -> list[str]:
    """The elements, but for those around the words of a command."""
    return [tag for tag, _ in read.elements if tag != "span"]


def handlers(read: Read) -> list[str]:
    """Attributes that would run something."""
    return [n for _, attributes in read.elements for n in attributes if n.startswith("on")]


def words(text: str) -> str:
    """The page's text in one line."""
    body = re.sub(r"<(style|script)\b.*?</\1>", "", text, flags=re.DOTALL)
    return " ".join(" ".join(Read(body).texts).split())


@pytest.fixture(scope="module")
def folder(home):
    """A run on images, never probed."""
    return home / "run"


@pytest.fixture(scope="module")
def made(folder):
    """The page of that run."""
    return write_page([folder]).read_text(encoding="utf-8")


@pytest.fixture
def refused(capsys):
    """A function that runs a command line that must fail: its only line."""

    def call(*arguments):
        assert cli.main([str(a) for a in arguments]) == 2
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1, lines
        return lines[0]

    return call


def evil_page(text: str) -> str:
    """A page with the text wherever there may be some."""
    dot = Picture(base64.b64decode(DOT), "png", text, text)
    several = [text, "other"]
    points = Map([(0.0, 0.0), (1.0, 1.0)], several, several, [dot, dot], text)
    parts = [
        Paragraphs([text]),
        Table([text, "b"], [[text, text]], text),
        Strip([dot, dot], text, lead=1),
        Lines([[Token(text, "wrong", text), Token(text)]], text),
        Command(text),
        points,
        dot,
    ]
    return page.render(text, [Section(text, text, parts)], lead=text)


@pytest.mark.parametrize("text", [EVIL, QUOTED, "{{ 7 * 7 }}", "</style><b>", "a & b"])
def test_words_stay_words(text):
    read, plain = Read(evil_page(text)), Read(evil_page("words"))
    assert kinds(read) == kinds(plain)
    assert not handlers(read)
    assert read.all("img")[0]["alt"] == text
    assert text in "".join(read.inside["h1"])
    data = json.loads("".join(read.inside["script"]).partition('"use strict"')[0])
    assert data["names"][0] == data["groups"][0] == text


@pytest.mark.run
def test_names_of_files_and_classes_are_words(made):
    read = Read(made)
    assert not handlers(read)
    assert len(read.all("script")) == 2  # the map's data, and ours
    assert all(attributes["src"].startswith("data:image/") for attributes in read.all("img")[:-1])
    assert "&lt;img src=x onerror=alert(1)&gt;" in made
    assert EVIL not in made


def test_nothing_is_loaded(made):
    read = Read(made)
    for tag, attributes in read.elements:
        for name in ("src", "href", "xlink:href", "srcset", "action", "data", "poster"):
            assert attributes.get(name, "#").startswith(("#", "data:")), (tag, attributes)
    assert not re.findall(r"url\((?!#)|@import|\bfetch\(|XMLHttp|import\(", made)
    found = set(re.findall(r"https?://[^\s\"'<]+", made))
    assert found <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


def test_the_policy_allows_what_is_in_the_page_alone(made):
    told = [m["content"] for m in Read(made).all("meta") if "http-equiv" in m]
    rules = dict(rule.split(" ", 1) for rule in told[0].split("; "))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["img-src"] == "data:"
    for name, pattern in (
        ("style-src", r"<style>(.*?)</style>"),
        ("script-src", r"<script>(.*?)</script>"),
    ):
        inside = re.findall(pattern, made, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside[0].encode()).digest()).decode()
        assert len(inside) == 1
        assert rules[name] == f"'sha256-{digest}'"
    assert not [a for _, a in Read(made).elements if "style" in a]  # the policy would drop it


@pytest.mark.run
def test_the_same_run_gives_the_same_page(folder, made, tmp_path):
    out = tmp_path / "other.html"
    assert write_page([folder], out=out).read_text(encoding="utf-8") == made
    assert write_page([folder], out=out, seed=1).read_text(encoding="utf-8") != made  # written anew


def test_a_page_is_of_a_few_megabytes(made):
    assert len(made) < MEGABYTE
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    heaviest = len(encode_pixels(noise, "what JPEG can do least with", png_side=16).data)
    assert heaviest * embedding.MAX_EXAMPLES * 4 / 3 < 4 * MEGABYTE


def test_without_a_probe_the_page_says_how_to_get_one(folder, made):
    assert f"selfwise probe {folder} --train PATH --test PATH" in words(made)
    assert "lead" not in [p.get("class") for p in Read(made).all("p")]


@pytest.mark.run
def test_several_runs_share_a_page(folder, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    text = words(write_page([other, folder]).read_text(encoding="utf-8"))
    assert (other / "report.html").is_file()
    assert "2 runs side by side" in text
    assert "other run method simclr simclr" in text  # a column for each
    assert "Map of the embeddings" not in text


def test_wrong_input(folder, refused, tmp_path):
    assert "usage" in refused("report")
    (tmp_path / "empty").mkdir()
    assert str(tmp_path / "empty") in refused("report", tmp_path / "empty")
    assert "is given twice" in refused("report", folder, folder)
    assert "--data" in refused("report", folder, "--dta", "x")
    shutil.copytree(folder, tmp_path / "other")
    assert "--data needs a single run" in refused(
        "report", folder, tmp_path / "other", "--data", "digits:test"
    )
    assert "nowhere" in refused("report", folder, "--data", tmp_path / "nowhere")
    (folder / "scores").mkdir()
    (folder / "scores" / "linear-0.json").write_text('{"kind": "linear"}')
    assert "linear-0.json is not a score" in refused("report", folder)
    shutil.rmtree(folder / "scores")


def test_nothing_but_a_report_is_written_over(folder, refused, tmp_path):
    notes = tmp_path / "notes.html"
    notes.write_text("mine")
    assert "is not a report" in refused("report", folder, "--out", notes)
    assert notes.read_text() == "mine"
    assert "is a folder" in refused("report", folder, "--out", tmp_path)
    assert "there is no folder" in refused("report", folder, "--out", tmp_path / "no" / "x.html")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.html"]


def test_a_link_is_refused_before_the_page_is_built(folder, refused, tmp_path, monkeypatch):
    monkeypatch.setattr(page, "render", None)
    (tmp_path / "link.html").symlink_to("nowhere.html")
    assert "is a symbolic link" in refused("report", folder, "--out", tmp_path / "link.html")
    os.mkfifo(tmp_path / "pipe.html")
    assert "is a named pipe" in refused("report", folder, "--out", tmp_path / "pipe.html")
    assert "choose another place" in refused("report", folder, "--out", "/dev/null")


def test_only_the_beginning_of_an_earlier_report_is_read(tmp_path):
    path = tmp_path / "report.html"
    path.write_text(page.render("title", []))
    os.truncate(path, 100 * MEGABYTE)
    tracemalloc.start()
    assert page.is_page(path)
    assert tracemalloc.get_traced_memory()[1] < MEGABYTE
    tracemalloc.stop()


def test_before_the_first_checkpoint(folder, tmp_path):
    young = tmp_path / "young"
    shutil.copytree(folder, young, ignore=shutil.ignore_patterns("checkpoints", "*.html"))
    text = words(write_page([young]).read_text(encoding="utf-8"))
    assert "0 of 4" in text
    assert f"selfwise resume {young}" in text


def score(step: int, data: str) -> dict:
    """A score as the probe files it, as far as it is read here."""

    def row(name: str, budget: int | str, mean: float) -> dict:
        told = {"competitor": name, "per_class": budget, "mean": mean, "deviation": 0.012}
        return {**told, "n_train": 30, "accuracies": [mean, mean]}

    rows = [row("pretrained", 10, 0.8), row("untrained", 10, 0.5), row("raw input", 10, 0.6)]
    rows += [row("pretrained", "all", 0.9), row("untrained", "all", 0.7)]
    told = {
        "kind": "linear",
        "layer": None,
        "pooling": "",
        "train": "a",
        "test": "b",
        "weights": "c",
    }
    more = {"data": {"train": "x", "test": data}, "n_test": 1200, "sentences": []}
    return {**told, **more, "rows": rows, "step": step}


def test_the_top_of_the_page_says_what_it_is_worth(folder, tmp_path):
    probed = tmp_path / "probed"
    shutil.copytree(folder, probed, ignore=shutil.ignore_patterns("*.html"))
    (probed / "scores").mkdir()
    write = (probed / "scores" / "linear-0.json").write_text
    write(json.dumps(score(2, "digits:test")))
    assert summary.write_lead([probed]) == ""  # of older weights
    write(json.dumps(score(4, "digits:test")))
    assert summary.write_lead([probed]) == (
        "With 10 labels per class, a linear probe gets 80.0 ± 1.2 % of 1,200 test examples right; "
        "the raw input 60.0 %, the untrained encoder 50.0 %. With all labels it is 90.0 ± 1.2 %; "
        "the untrained encoder 70.0 %."
    )
    assert summary.write_lead([probed, folder]) == ""


def test_examples_are_those_of_the_newest_score(folder, tmp_path):
    run = load(folder)
    assert (
        find_examples(run, "", seed=0).where
        == f"36 examples of {folder.parent.name}/photos, which the run was trained on"
    )
    probed = tmp_path / "probed"
    shutil.copytree(folder, probed)
    (probed / "scores").mkdir()
    (probed / "scores" / "linear-0.json").write_text(json.dumps(score(4, "digits:test")))
    assert find_examples(load(probed), "", seed=0).where == "500 examples of digits:test"
    given = find_examples(load(probed), str(folder.parent / "photos" / "cats"), seed=0)
    assert given.where == "12 examples of photos/cats"


@pytest.mark.run
def test_a_run_whose_data_are_gone_says_so(folder, tmp_path):
    away = tmp_path / "away"
    shutil.copytree(folder, away, ignore=shutil.ignore_patterns("*.html"))
    text = (away / "run.yaml").read_text()
    (away / "run.yaml").write_text(text.replace(str(folder.parent / "photos"), str(tmp_path / "x")))
    text = words(write_page([away]).read_text(encoding="utf-8"))
    assert "The run's data cannot be shown" in text
    assert f"selfwise report {away} --data PATH" in text
    python = (away / "run.yaml").read_text().replace(str(tmp_path / "x"), "<from Python>")
    (away / "run.yaml").write_text(python)
    assert "The data came from Python" in words(write_page([away]).read_text(encoding="utf-8"))


@pytest.mark.run
def test_a_run_on_text_shows_paragraphs_of_its_corpus(home):
    run = load(home / "text")
    found = find_examples(run, "", seed=0)
    assert len(found.examples) == 61
    assert found.where.startswith("61 paragraphs of ")
    text = write_page([run.folder]).read_text(encoding="utf-8")
    assert EVIL not in text
    assert f"{EVIL} is what the cat saw near the old house" in words(text)
    assert not handlers(Read(text))


def test_paragraphs_end_at_blank_lines_and_documents():
    long = "a paragraph of more than forty characters, number"
    corpus = open_documents([f"{long} 1\n goes on\n \nshort\n\n{long} 2", f"{long} 3"])
    assert list(draw_passages(corpus, seed=0).texts) == [
        f"{long} 1 goes on",
        f"{long} 2",
        f"{long} 3",
    ]
    assert list(draw_passages(open_documents(["short", "shorter"]), seed=0).texts) == [
        "short",
        "shorter",
    ]


def test_figures_only_draw():
    bad = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><script/></svg>'
    with pytest.raises(AssertionError, match="only draws"):
        Figures().add_figure(bad)
    figures = Figures()
    marks = [f'<path id="{name}" style="fill: red" d="M0 0"/>' for name in "ab"]
    inside = "".join(["<style>*{}</style>", *marks, '<use href="#a"/>'])
    root = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 90 9">'
    taken = figures.add_figure(f"{root}{inside}</svg>".encode())
    assert 'id="a"' in taken
    assert 'id="b"' not in taken
    assert "style" not in taken
    assert figures.style == "svg .f0{fill: red}\n"


def test_points_are_in_the_drawing_and_classes_look_different():
    names = [str(i) for i in range(30)]
    groups = [str(i % 15) for i in range(30)]
    corners = [(i % 2, i // 2 % 2) for i in range(30)]
    drawn = lay_out_map(Map([(float(x), float(y)) for x, y in corners], groups, names, []), [])
    assert {p["x"] for p in drawn["points"]} == {14, 986}
    assert [p["y"] for p in drawn["points"][:3]] == [706, 706, 14]  # up is up
    assert len({(entry["color"], entry["shape"]) for entry in drawn["legend"]}) == 15
    assert drawn["points"][17]["title"] == "17 (2)"
    alone = lay_out_map(Map([(0.0, 0.0)], [], ["a"], []), [])
    assert alone["legend"] == []
    assert alone["points"][0]["title"] == "a"


def test_no_host_is_named_for_the_browser_part():
    folder = Path(__file__).parents[1] / "browser"
    lock = json.loads((folder / "package-lock.json").read_text())
    assert all("resolved" not in package for package in lock["packages"].values())
    assert "omit-lockfile-registry-resolved=true" in (folder / ".npmrc").read_text()
