"""The generated pages of the site: one for each command and method, and a whole API reference."""

import inspect
import re
import shlex
from importlib import import_module

import pytest

import selfwise
from docs.generate import commands as command_pages
from docs.generate import make_pages, write_pages
from docs.generate.api import PARTS, list_pages
from docs.generate.metrics import describe_metric, list_metrics
from docs.generate.outputs import SESSIONS
from selfwise import commands, methods
from selfwise.cli import main as cli
from selfwise.cli import parse
from selfwise.core.config_class import format_flag

WORDS = sorted(commands.import_commands())
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z.-]*")


@pytest.fixture(scope="module")
def pages():
    return make_pages()


@pytest.mark.parametrize("word", WORDS)
def test_command_page_has_all_options_and_examples(word, pages, capsys):
    page, command = pages[f"commands/{word}.md"], commands.import_commands()[word]
    assert all(example in page for example in command.EXAMPLES)
    if not commands.takes_method(command) and command.WORDS != "RECIPE":
        cli.main([word, "--help"])
        flags = set(re.findall(r"^  (--[a-z0-9-]+)", capsys.readouterr().out, re.M)) - {"--plugin"}
        assert flags == set(re.findall(r"^\| `(--[a-z0-9-]+)`", page, re.M))


@pytest.mark.parametrize("word", WORDS)
def test_command_page_shows_what_is_printed(word, pages):
    shown = pages[f"commands/{word}.md"].partition("## What it prints")[2].partition("\n## ")[0]
    assert len(shown.split()) > 5
    assert word in SESSIONS or word in command_pages.LISTS or word in command_pages.IN_WORDS


@pytest.mark.parametrize("word", WORDS)
def test_examples_are_two_command_lines_that_parse(word, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    command = commands.import_commands()[word]
    assert len(command.EXAMPLES) == 2
    for example in command.EXAMPLES:
        program, named, *argv = shlex.split(re.split(r" [|>] ", example)[0])
        assert (program, named) == ("selfwise", word)
        if commands.takes_method(command):
            assert parse.parse_method_line(word, command, command.load_function(), argv)
        elif command.WORDS != "RECIPE":
            parse.parse_line(word, command, command.load_function(), argv)


@pytest.mark.parametrize("name", methods.own_names())
def test_method_page_has_paper_options_metrics_and_a_command(name, pages):
    page, kind = pages[f"methods/{name}.md"], methods.find_method(name)
    needed = {"encoder", *kind.needs}
    options = [n for n in inspect.signature(kind).parameters if n not in needed]
    assert not [n for n in options if f"| `{format_flag(n)}` |" not in page]
    assert re.search(rf"selfwise \w+ {name} --data", page)
    assert f"`{kind.default_encoder}`" in page
    assert "arxiv.org" in page or name in ("supervised", "gpt")
    for metric in list_metrics(name):
        assert f"| `{metric}` | " in page
        assert describe_metric(metric)


def test_options_of_training_are_on_the_page_of_pretrain(pages, capsys):
    cli.main(["pretrain", "supervised", "--help"])
    kind = methods.find_method("supervised")
    own = {format_flag(name) for name in inspect.signature(kind).parameters}
    listed = set(re.findall(r"^  (--[a-z0-9-]+)", capsys.readouterr().out, re.M))
    shown = set(re.findall(r"^\| `(--[a-z0-9-]+)`", pages["commands/pretrain.md"], re.M))
    assert listed - own - {"--encoder", "--config", "--plugin"} <= shown


def test_every_public_name_is_in_the_reference():
    shown = {name for page in list_pages().values() for name in page.names}
    public = {f"selfwise.{name}" for name in commands.command_names()} | {"selfwise.load"}
    for module in PARTS.values():
        public |= {f"{module}.{name}" for name in import_module(module).__all__}
    assert public <= shown
    unknown = {n for n in dir(selfwise) if n[0] != "_"} - {n.rpartition(".")[2] for n in public}
    assert unknown <= {*PARTS, "Method"}, "add the new part to docs/generate/api.py"


def test_every_name_of_the_reference_exists():
    for page in list_pages().values():
        for name in page.names:
            module, _, last = name.rpartition(".")
            assert inspect.getdoc(getattr(import_module(module), last)), name


def test_pages_of_the_past_are_removed(tmp_path):
    (tmp_path / "commands").mkdir()
    old = tmp_path / "commands" / "gone.md"
    old.write_text("# gone\n")
    written = write_pages(tmp_path)
    assert not old.exists()
    assert set(tmp_path.rglob("*.md")) == set(written)


def test_bars_and_stars_of_a_meaning_stay_characters():
    assert command_pages.escape("|x| of *a* and `b|c`") == r"\|x\| of \*a\* and `b\|c`"
