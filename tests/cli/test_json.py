"""`--json` prints one JSON value on stdout, and nothing else there."""

import json

import pytest

from selfwise.cli import main as cli
from selfwise.commands import import_commands
from selfwise.methods import method_names


def read(capsys, *line):
    assert cli.main([str(word) for word in line]) == 0
    return json.loads(capsys.readouterr().out)


def test_which_commands_have_it():
    by_word = import_commands()
    found = {word for word, command in by_word.items() if hasattr(command, "to_json")}
    assert found == {
        *("show", "probe", "methods", "recipes", "doctor", "glue", "perplexity", "bench", "plan")
    }


@pytest.mark.parametrize("line", [("doctor", "--jsn"), ("show", "run", "--jsonn")])
def test_a_misspelled_one_leads_to_it(line, capsys):
    assert cli.main(list(line)) == 2
    assert "did you mean '--json'?" in capsys.readouterr().err


def test_lists(capsys):
    methods = read(capsys, "methods", "--json")
    assert [row["method"] for row in methods] == method_names()
    assert set(methods[0]) == {"method", "data", "predicts", "from", "loss", "paper"}
    assert {"name", "about", "kind"} == set(read(capsys, "recipes", "--json")[0])


def test_the_machine(capsys):
    found = read(capsys, "doctor", "--json")
    assert found["usable_cores"] >= 1
    assert found["missing_modules"].keys() >= {"text", "speech"}


@pytest.mark.parametrize("word", ["quickstart", "schema", "tokenizer"])
def test_elsewhere_it_is_an_unknown_option(word, tmp_path, capsys):
    line = [word, "x"] if word == "tokenizer" else [word]
    assert cli.main([*line, "--json"]) == 2
    assert "unknown option --json" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["methods", "recipes", "doctor", "quickstart"])
def test_what_stands_behind_is_refused(word, capsys):
    assert cli.main([word, "--fast"]) == 2
    assert "unknown option --fast" in capsys.readouterr().err
    assert cli.main([word, "fast"]) == 2
    assert "'fast'" in capsys.readouterr().err
