"""Presets: `--config NAME` takes a config file that ships with the package."""

import json

import pytest

from selfwise.cli import main as cli
from selfwise.cli.parse import parse_method_line
from selfwise.commands import import_commands
from selfwise.runs.create import request_run
from selfwise.runs.presets.files import describe_presets, preset_names
from selfwise.runs.run_yaml import read_record

TINY = ["--encoder.depth", "1", "--encoder.dim", "16", "--encoder.heads", "2", "--quiet"]
TINY += ["--steps", "1", "--batch-size", "4", "--max-length", "16", "--cpu-threads", "1"]


def parse(*line):
    command = import_commands()["pretrain"]
    return parse_method_line("pretrain", command, command.load_function(), [str(w) for w in line])


def refusal(capsys, *line):
    assert cli.main([str(word) for word in line]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    return said.removeprefix("selfwise: ")


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_names_a_method_and_has_only_options_of_it(name, tmp_path):
    values = parse("--config", name, "--data", tmp_path, "--out", tmp_path / "run")
    own = {n: v for n, v in values.items() if n not in ("method", "data", "out", "encoder")}
    assert own["minutes"] == 10
    request = request_run(values["method"], "texts", values.get("encoder", ""), "", 0, own)
    assert request.config.training.minutes == 10
    assert {n: v for n, v in request.requested.items() if n not in ("data", "encoder")} == own


def test_flags_take_precedence_and_another_length_replaces_the_minutes():
    values = parse("--config", "bert-fast", "--data", "x", "--out", "y", "--steps", "7")
    assert (values["steps"], values.get("minutes")) == ("7", None)
    values = parse("--config", "bert-fast", "--data", "x", "--out", "y", "--encoder.norm", "post")
    assert values["encoder.norm"] == "post"


def test_a_file_of_that_name_takes_precedence_and_a_folder_does_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gpt-fast").mkdir()
    assert parse("--config", "gpt-fast", "--data", "x", "--out", "y")["method"] == "gpt"
    (tmp_path / "bert-fast").write_text("method: simclr\nsteps: 3\n")
    values = parse("--config", "bert-fast", "--data", "x", "--out", "y")
    assert (values["method"], values["steps"]) == ("simclr", 3)


def test_an_unknown_name_has_the_nearest_and_all_names(capsys):
    said = refusal(capsys, "pretrain", "--config", "bert-fats", "--data", "x", "--out", "y")
    assert said == (
        "--config bert-fats is neither a file nor a preset (presets: bert-fast, gpt-fast); did you "
        "mean 'bert-fast'?"
    )
    said = refusal(capsys, "pretrain", "--config", "zzz", "--data", "x", "--out", "y")
    assert said == "--config zzz is neither a file nor a preset (presets: bert-fast, gpt-fast)"
    said = refusal(capsys, "pretrain", "--config", "bert-fast.yaml", "--data", "x", "--out", "y")
    assert said == "--config bert-fast.yaml: this file does not exist"


def test_a_preset_is_for_its_method(capsys):
    said = refusal(capsys, "pretrain", "gpt", "--config", "bert-fast", "--data", "x", "--out", "y")
    assert said == "--config bert-fast is for roberta, and the command names gpt"


def test_recipes_and_help_list_the_presets(capsys):
    assert cli.main(["recipes"]) == 0
    shown = capsys.readouterr().out
    for name, about in describe_presets():
        assert about
        assert f"{name} " in shown
        assert about in shown
    assert cli.main(["recipes", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["name"] for row in rows if row["kind"] == "preset"} == set(preset_names())
    assert cli.main(["pretrain", "gpt", "--help"]) == 0
    assert "--config FILE|NAME" in (shown := capsys.readouterr().out)
    assert ", ".join(preset_names()) in shown


@pytest.mark.run
def test_a_preset_trains_and_the_run_records_its_values(tmp_path):
    (tmp_path / "texts.txt").write_text("\n".join(f"the cat number {i} sat" for i in range(400)))
    line = ["pretrain", "--config", "bert-fast", "--data", str(tmp_path / "texts.txt"), *TINY]
    line += ["--documents", "line", "--tokenizer", "wordpiece:100", "--out", str(tmp_path / "run")]
    assert cli.main(line) == 0
    record = read_record(tmp_path / "run")
    assert record.method == "roberta"
    assert record.resolved["mask_prob"] == (0.3, "user")
    assert record.option("encoder.dropout") == 0
