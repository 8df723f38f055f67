"""The scripts that complete commands and options in a shell."""

import subprocess

import pytest

from selfwise.cli import main as cli


@pytest.fixture(scope="module")
def script():
    from selfwise.commands.make_completion import make_completion

    return make_completion("bash")


def complete(script, *words):
    """What bash offers for the last of the words."""
    line = " ".join(words)
    code = f"""{script}
    COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; COMP_LINE="{line}"; COMP_POINT={len(line)}
    _shtab_selfwise; printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    return subprocess.run(["bash", "-c", code], capture_output=True, text=True).stdout.split()


def test_commands_methods_and_options(script):
    assert complete(script, "selfwise", "pre") == ["pretrain"]
    assert complete(script, "selfwise", "pretrain", "simc") == ["simclr"]
    assert "--batch-size" in complete(script, "selfwise", "pretrain", "--batch-s")
    assert complete(script, "selfwise", "show", "--js") == ["--json"]


def test_another_shell_is_refused(capsys):
    assert cli.main(["completion", "cmd"]) == 2
    assert "bash" in capsys.readouterr().err
