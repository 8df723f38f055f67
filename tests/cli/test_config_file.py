"""A configuration file alone says what to train: YAML, TOML, or the run.yaml of an earlier run."""

import pytest

from selfwise.cli import main as cli
from selfwise.cli.parse import parse_method_line
from selfwise.commands import import_commands

TINY = {"steps": 2, "batch_size": 8, "out": "run"}


def parse(*line):
    command = import_commands()["pretrain"]
    return parse_method_line("pretrain", command, command.load_function(), [str(w) for w in line])


def refusal(capsys, *line):
    assert cli.main(["pretrain", *(str(word) for word in line)]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    return said.removeprefix("selfwise: ")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("job.yaml", "method: simclr\ndata: digits\nout: run\nsteps: 2\nencoder.stem: cifar\n"),
        ("job.yaml", "method: simclr\ndata: digits\nout: run\nsteps: 2\nencoder: {stem: cifar}\n"),
        (
            "job.toml",
            'method = "simclr"\ndata = "digits"\nout = "run"\nsteps = 2\n'
            '[encoder]\nstem = "cifar"\n',
        ),
    ],
)
def test_a_file_alone_is_enough(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    values = parse("--config", tmp_path / name)
    assert values["method"] == "simclr"
    assert (values["steps"], values["encoder.stem"]) == (2, "cifar")


def test_flags_win_over_the_file(tmp_path):
    (tmp_path / "job.yaml").write_text("method: simclr\ndata: digits\nout: run\nsteps: 2\n")
    assert parse("--config", tmp_path / "job.yaml", "--steps", "7")["steps"] == "7"


def test_the_encoder_of_a_section_may_have_a_name(tmp_path):
    (tmp_path / "job.toml").write_text(
        'method = "beit"\ndata = "digits"\nout = "run"\n[encoder]\nname = "beit-tiny"\npatch = 2\n'
    )
    values = parse("--config", tmp_path / "job.toml")
    assert (values["encoder"], values["encoder.patch"]) == ("beit-tiny", 2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("data: digits\nout: run\n", ["has no method", "method: simclr"]),
        ("method: simclr\ndata: digits\nout: run\nbach_size: 3\n", ["did you mean 'batch_size'"]),
        ("method: simclr\ndata: digits\nout: run\nbatch: 3\n", ["did you mean 'batch_size'"]),
        ("method: simcl\ndata: digits\nout: run\n", ["simcl", "did you mean 'simclr'"]),
        ("method: mine.py:Mine\ndata: digits\nout: run\n", ["does not cause an import"]),
        ("method: simclr\nencoder: mine.py:net\ndata: d\nout: r\n", ["does not cause an import"]),
    ],
)
def test_mistakes_in_a_file_are_one_line(tmp_path, text, words, capsys):
    (tmp_path / "job.yaml").write_text(text)
    said = refusal(capsys, "--config", tmp_path / "job.yaml")
    assert all(word in said for word in words), said


def test_a_file_for_another_method_is_refused(tmp_path, capsys):
    (tmp_path / "job.yaml").write_text("method: rotation\n")
    said = refusal(capsys, "simclr", "--config", tmp_path / "job.yaml")
    assert said.endswith("is for rotation, and the command names simclr")


def test_broken_toml_names_its_line(tmp_path, capsys):
    (tmp_path / "job.toml").write_text("method = simclr\n")
    said = refusal(capsys, "--config", tmp_path / "job.toml")
    assert "is not readable TOML" in said
    assert "line 1" in said
