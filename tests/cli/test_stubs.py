"""What editors and mypy know of the commands is what the config classes say."""

import inspect
import subprocess
import sys

import pytest

import selfwise
from selfwise import commands, methods
from selfwise.cli.stubs import FILE, write_stub

CALLER = """
import selfwise

run = selfwise.pretrain("simclr", data="digits", out="r", temperature=0.2, steps=3)
score = selfwise.probe(run, train="digits:train")
selfwise.pretrain("bert", data="texts", out="r", mask_prob=0.2, tokenizer="bpe")
"""
WRONG = {
    "an option of another method": 'selfwise.pretrain("bert", data="d", out="r", temperature=0.2)',
    "a value of another type": 'selfwise.pretrain("simclr", data="d", out="r", steps="many")',
    "a word that there is not": 'selfwise.pretrain("simclr", data="d", out="r", optimizer="adam")',
    "a name with a slip": 'selfwise.probe("r", trian="d")',
}


def test_the_stub_is_what_the_config_classes_say():
    assert FILE.read_text() == write_stub(), "run python -m selfwise.cli.stubs"


@pytest.mark.run
def test_every_command_is_found_by_dir_and_has_a_signature():
    for name in commands.command_names():
        assert name in dir(selfwise)
        function = getattr(selfwise, name)
        assert inspect.signature(function).parameters is not None
        assert function.__doc__
    assert {"load", "Method", "__version__"} <= set(dir(selfwise))


def test_the_signature_of_pretrain_has_the_options_of_training_and_of_reading():
    listed = inspect.signature(selfwise.pretrain).parameters
    assert {
        "method",
        "data",
        "out",
        "steps",
        "lr",
        "image_size",
        "tokenizer",
        "batch_seconds",
    } <= set(listed)
    assert list(listed)[-1] == "options"


def mypy(code: str, tmp_path) -> str:
    file = tmp_path / "caller.py"
    file.write_text(code)
    command = [sys.executable, "-m", "mypy", "--follow-imports=skip", "--ignore-missing-imports"]
    command += ["--config-file=", "--cache-dir", str(tmp_path / "cache"), str(file), str(FILE)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


@pytest.mark.run  # a process
def test_mypy_knows_the_options_of_each_method(tmp_path):
    assert "Success" in mypy(CALLER, tmp_path)
    lines = ["import selfwise", *WRONG.values()]
    output = mypy("\n".join(lines) + "\n", tmp_path)
    for number, what in enumerate(WRONG, start=2):
        assert f"caller.py:{number}: error" in output, (what, output)


@pytest.mark.parametrize("name", methods.own_names())
def test_each_method_has_an_overload(name):
    assert f'method: Literal["{name}"]' in FILE.read_text()
