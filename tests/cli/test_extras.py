"""Without its extra a command ends with one line before it reads data or makes a folder."""

import subprocess
import sys
from pathlib import Path

import pytest

from selfwise.cli import main as cli
from selfwise.core.extras import EXTRAS
from tests.helpers.hidden_packages import hide_packages

ABSENT = [module.partition(".")[0] for extra in EXTRAS.values() for module in extra.modules]
TEXT, SPEECH, ONNX = (f"pip install 'selfwise[{name}]'" for name in ("text", "speech", "export"))


@pytest.mark.parametrize(
    ("line", "command"),
    [
        *((f"pretrain {name} --data DATA --out OUT", TEXT) for name in ("bert", "gpt")),
        ("pretrain hubert --data DATA --out OUT", SPEECH),
        ("iterate hubert --data DATA --out OUT", SPEECH),
        ("tokenizer DATA --out OUT", TEXT),
        ("import bert DATA --out OUT", TEXT),
        ("import hubert DATA --out OUT", SPEECH),
        ("export DATA --to onnx --out OUT", ONNX),
        ("run novels --data DATA --out OUT", TEXT),
        ("run free_spoken_digits --data DATA --out OUT", SPEECH),
        ("bench bert --data DATA", TEXT),
        ("pretrain simclr --data DATA --out OUT --logger wandb", "pip install 'selfwise[wandb]'"),
    ],
)
def test_a_command_without_its_extra_names_it_and_leaves_nothing(line, command, tmp_path, capsys):
    out = tmp_path / "out"
    words = line.replace("DATA", str(tmp_path / "missing")).replace("OUT", str(out)).split()
    with hide_packages(*ABSENT):
        assert cli.main(words) == 2
    captured = capsys.readouterr()
    (message,) = captured.err.splitlines()
    assert message.endswith(f"needs the extra: {command}")
    assert not captured.out
    assert not [*tmp_path.iterdir()]


@pytest.fixture(scope="module")
def text_run(tmp_path_factory):
    home = tmp_path_factory.mktemp("text")
    (home / "texts.txt").write_text("A dog barked at the cat. The cat sat on a mat.\n\n" * 300)
    words = ["pretrain", "gpt", "--data", home / "texts.txt", "--out", home / "run"]
    words += ["--encoder", "gpt-tiny", "--tokenizer", "chars", "--documents", "blank"]
    assert cli.main([str(word) for word in [*words, "--steps", "1", "--quiet", "yes"]]) == 0
    return home / "run"


@pytest.mark.run
@pytest.mark.parametrize(
    "line",
    [
        "embed RUN --data DATA --out OUT.parquet",
        "export RUN --to safetensors --out OUT",
        "fill RUN text",
        "generate RUN --prompt text",
        "glue RUN --data DATA --out OUT",
        "perplexity RUN",
        "probe RUN --train DATA --test DATA",
        "resume RUN",
    ],
)
def test_a_run_on_text_is_not_opened_without_its_extra(line, text_run, tmp_path, capsys):
    before = sorted(text_run.rglob("*"))
    places = {"RUN": text_run, "DATA": tmp_path / "missing", "OUT": tmp_path / "out"}
    for name, path in places.items():
        line = line.replace(name, str(path))
    with hide_packages(*ABSENT):
        assert cli.main(line.split()) == 2
    captured = capsys.readouterr()
    assert captured.err == f"selfwise: text needs the extra: {TEXT}\n"
    assert not captured.out
    assert not [*tmp_path.iterdir()]
    assert sorted(text_run.rglob("*")) == before


def test_a_run_on_text_is_shown_without_its_extra(text_run, capsys):
    with hide_packages(*ABSENT):
        assert cli.main(["show", str(text_run)]) == 0
    assert "gpt" in capsys.readouterr().out


PLAIN = [
    "pretrain simclr --data digits:train --out run --steps 2 --batch-size 64 --quiet true"
    " --encoder.layers [1,1,1,1] --encoder.channels [4,4,8,8]",
    "probe run --train digits:train --test digits:test --seeds 1 --labels-per-class 10",
    "embed run --data digits:test --out vectors.parquet",
    "export run --to safetensors --out weights",
    "report run",
    *("show run", "resume run", "methods", "recipes", "doctor", "schema"),
    *("pretrain bert --help", "pretrain hubert --help", "glue --help"),
]
SCRIPT = f"""
import importlib, pkgutil, sys
from tests.helpers.hidden_packages import hide_packages
with hide_packages(*{ABSENT}):
    import selfwise
    for module in pkgutil.walk_packages(selfwise.__path__, "selfwise."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    from selfwise.cli.main import main
    for line in {PLAIN}:
        if code := main(line.split()):
            sys.exit(f"{{line}}: {{code}}")
    absent = {{name for name in sys.modules if name.partition(".")[0] in {ABSENT}}}
    assert not absent, absent
"""


@pytest.mark.slow
def test_images_and_the_report_need_no_extra(tmp_path):
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {root!r})\n{SCRIPT}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"extra text         not installed; for text: {TEXT}" in done.stdout
    assert f"extra speech       not installed; for speech: {SPEECH}" in done.stdout
    assert (tmp_path / "run" / "report.html").is_file()
