"""What may change at a resume: the place of the data, where and how it is computed, the loggers."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

import selfwise
from selfwise.cli import main as cli
from selfwise.runs.run_yaml import read_record
from tests.runs.test_lengthen import TINY, back_to, train


def write_images(folder: Path) -> None:
    random = np.random.default_rng(0)
    folder.mkdir()
    for number in range(40):
        pixels = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")


def write_texts(folder: Path) -> None:
    folder.mkdir()
    for number in range(24):
        words = f"The sea was calm on day {number}, said the captain. " * 8
        (folder / f"{number}.txt").write_text(words)


def write_recordings(folder: Path) -> None:
    random = np.random.default_rng(0)
    folder.mkdir()
    for number in range(12):
        wave = 0.1 * random.normal(size=12_000).astype(np.float32)
        soundfile.write(folder / f"{number}.wav", wave, 16_000, subtype="PCM_16")


SMALL = {"dim": 16, "depth": 1, "heads": 2}
GPT = {
    "encoder": "gpt-tiny",
    "encoder_options": {**SMALL, "length": 16},
    "max_length": 16,
    "batch_size": 4,
}
HUBERT = {"encoder": "hubert-tiny", "encoder_options": {**SMALL, "stem": "logmel"}}
HUBERT |= {"batch_seconds": 2.0, "num_clusters": 4, "max_clip_seconds": 1.0}
PLAIN = {n: TINY[n] for n in ("cpu_threads", "device", "precision", "log_every", "monitor_every")}
CASES = {
    "simclr": (write_images, TINY),
    "gpt": (write_texts, {**PLAIN, **GPT, "tokenizer": "chars"}),
    "hubert": (write_recordings, {**PLAIN, **HUBERT}),
}


@pytest.fixture
def moved(tmp_path, monkeypatch):
    """A function: method -> a run that was stopped at step 2 of 4, whose data were moved."""
    monkeypatch.setenv("SELFWISE_CACHE", str(tmp_path / ".cache"))

    def make(method="simclr"):
        write, options = CASES[method]
        write(tmp_path / "here")
        told = {**options, "steps": 4, "save_every": 2, "quiet": True}
        run = selfwise.pretrain(method, data=tmp_path / "here", out=tmp_path / "run", **told)
        back_to(run.folder, 2)
        shutil.move(tmp_path / "here", tmp_path / "there")
        return run

    return make


@pytest.mark.run  # trains
@pytest.mark.parametrize("method", CASES)
def test_moved_data_are_accepted(method, moved, tmp_path):
    run = moved(method)
    with pytest.raises(ValueError, match=r"here no longer exists.*--data NEW_PLACE"):
        selfwise.resume(run.folder, quiet=True)
    resumed = selfwise.resume(run.folder, data=tmp_path / "there", quiet=True)
    assert resumed.weights == run.weights
    assert read_record(run.folder).data == str(tmp_path / "there")
    back_to(run.folder, 2)
    assert selfwise.resume(run.folder, quiet=True).weights == run.weights  # the place is kept


@pytest.mark.run  # trains
def test_other_data_are_refused_and_nothing_is_touched(moved, tmp_path):
    run = moved()
    extra = np.zeros((8, 8, 3), dtype=np.uint8)
    Image.fromarray(extra).save(tmp_path / "there" / "extra.png")
    before = contents(run.folder)
    with pytest.raises(ValueError, match=r"there differ from the data that .*41 .*now, 40 then"):
        selfwise.resume(run.folder, data=tmp_path / "there", quiet=True)
    assert contents(run.folder) == before


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    run = train(tmp_path_factory.mktemp("stopped") / "run", steps=4, save_every=2)
    back_to(run.folder, 2)
    return run


@pytest.fixture
def copy(stopped, tmp_path):
    return Path(shutil.copytree(stopped.folder, tmp_path / "run"))


@pytest.mark.run  # trains
def test_options_that_change_no_result_may_change(stopped, copy, capsys):
    line = ["resume", copy, "--num-workers", "1", "--save-every", "1", "--keep-last", "3"]
    assert cli.main([*map(str, line), "--logger", "tensorboard", "--quiet"]) == 0
    assert "".join(capsys.readouterr()) == ""
    assert selfwise.load(copy).weights == stopped.weights
    assert list((copy / "tensorboard").glob("events*"))
    assert len(list((copy / "checkpoints").iterdir())) == 3
    record = read_record(copy)
    changed = {"num_workers": 1, "save_every": 1, "keep_last": 3, "logger": "tensorboard"}
    assert {name: record.option(name) for name in changed} == changed
    back_to(copy, 2)
    selfwise.resume(copy, logger="none", quiet=True)
    assert read_record(copy).option("logger") == ""


def test_a_missing_logger_package_is_said_before_the_data_are_opened(copy, monkeypatch):
    def open_run(*args, **options):
        raise AssertionError("the data were opened")

    monkeypatch.setitem(sys.modules, "mlflow", None)
    monkeypatch.setattr("selfwise.runs.resume.reopen_run", open_run)
    before = contents(copy)
    with pytest.raises(ValueError, match=r"pip install 'selfwise\[mlflow\]'"):
        selfwise.resume(copy, logger="mlflow", quiet=True)
    assert contents(copy) == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--keep-last", "0"], "--keep-last must be at least 1"),
        (["--logger", "wandbb"], "did you mean 'wandb'"),
        (["--device", "gpu"], "gpu"),
        (["--plugin", "missing.py"], "missing.py"),
        (["--steps", "2"], "total number"),
        (["--batch-size", "3"], "unknown option --batch-size"),
    ],
)
def test_a_refused_resume_touches_nothing(options, words, copy, capsys):
    before = contents(copy)
    assert cli.main(["resume", str(copy), *options]) == 2
    assert words in capsys.readouterr().err
    assert contents(copy) == before


@pytest.mark.run  # trains
def test_a_quiet_run_prints_nothing(tmp_path, capfd):
    line = ["pretrain", "simclr", "--data", "digits:train", "--encoder", "resnet18"]
    line += ["--encoder.layers", "[1, 1, 1, 1]", "--encoder.channels", "[4, 4, 8, 8]"]
    line += ["--batch-size", "16", "--steps", "2", "--out", str(tmp_path / "run"), "--quiet"]
    assert cli.main(line) == 0
    assert cli.main(["resume", str(tmp_path / "run"), "--steps", "3", "--quiet"]) == 0
    assert "".join(capfd.readouterr()) == ""


def test_repeated_calls_hand_over_their_callbacks(tmp_path):
    from selfwise.runs.resume import pretrain_or_resume

    steps: list[int] = []
    options = {"data": np.zeros((64, 1, 8, 8), np.uint8), "out": tmp_path / "run", "steps": 2}
    options |= {"batch_size": 8, "monitor_every": 0, "log_every": 1, "quiet": True}
    options["callbacks"] = [lambda step, values: steps.append(step)]
    pretrain_or_resume("rotation", **options)
    assert steps == [1, 2]
    pretrain_or_resume("rotation", **options)
    assert steps == [1, 2], "the run is finished, so nothing is logged"
