"""A null character in a path gets an error that names the option; the system names nothing."""

import pytest

import selfwise
from selfwise.cli import main as cli

MORE = {"probe": {"train": "a", "test": "a"}, "embed": {"data": "a"}}
BAD = "a\0b"
WORDS = "has a null character, which names of files and folders cannot have"


@pytest.mark.parametrize("option", ["data", "out", "init_from", "encoder"])
def test_pretrain_names_the_option(option, tmp_path):
    options = {"data": "digits:train", "out": tmp_path / "run", option: BAD}
    with pytest.raises(ValueError, match=f"^{option} {BAD} {WORDS}$"):
        selfwise.pretrain("simclr", steps=1, quiet=True, **options)


@pytest.mark.parametrize("command", ["resume", "show", "write_report", "embed", "probe"])
def test_commands_on_a_run_name_the_option(command):
    with pytest.raises(ValueError, match=f"^runs? {BAD} {WORDS}$"):
        getattr(selfwise, command)(BAD, **MORE.get(command, {}))


@pytest.mark.parametrize("option", ["data", "out"])
def test_a_config_file_is_refused_in_one_visible_line(tmp_path, capsys, option):
    values = {"data": "digits:train", "out": "run", "steps": "1", option: '"a\\0b"'}
    file = tmp_path / "config.yaml"
    file.write_text("".join(f"{name}: {value}\n" for name, value in values.items()))
    assert cli.main(["pretrain", "simclr", "--config", str(file)]) == 2
    assert capsys.readouterr().err == f"selfwise: --{option} a\\x00b {WORDS}\n"
