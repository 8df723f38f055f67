"""Loggers get each value once, the options and the first views; a failure names the logger."""

import json
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from selfwise.methods.supervised import Supervised
from selfwise.training import loggers
from selfwise.training.config import TrainingConfig, resolve_training
from selfwise.training.listeners import Listeners
from selfwise.training.loggers import RunFacts, ViewPicture, join_names
from selfwise.training.loop import fit
from tests.helpers import cases

GRID = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
PICTURES = [ViewPicture("views", "two rows", GRID), ViewPicture("words", "texts", text="a\nb")]
LISTENERS = Listeners({"method": "supervised", "lr": 0.1, "cache": None}, lambda: PICTURES)


class Repeated:
    """The same small batch at every step."""

    def __getitem__(self, step):
        return cases.batch(Supervised, 16)


class StopsAt(Repeated):
    """The process is interrupted while it reads the batch of a step."""

    def __init__(self, step):
        self.step = step

    def __getitem__(self, step):
        if step == self.step:
            raise KeyboardInterrupt
        return super().__getitem__(step)


class Memory:
    """A service that remembers what it was sent, and continues a run that it knows."""

    def __init__(self):
        self.opened, self.sent, self.pictures, self.finished = [], [], [], []
        self.fails_at = 0

    def open_logger(self, run):
        self.opened.append(run)
        self.continues = run.read_id("memory") is not None
        run.save_id("memory", "one")
        return self

    def log_values(self, step, values):
        if step == self.fails_at:
            raise RuntimeError("the server is down")
        self.sent.append((step, dict(values)))

    def log_pictures(self, pictures):
        self.pictures += pictures

    def finish(self, *, failed):
        self.finished.append(failed)


@pytest.fixture
def memory(monkeypatch):
    service = Memory()
    monkeypatch.setattr(loggers, "_import_logger", lambda name: service)
    monkeypatch.setattr(loggers, "check_extra", lambda name: None)
    return service


def train(out, source=None, *, listeners=LISTENERS, **given):
    told = {"steps": 6, "batch_size": 16, "precision": "float32", "device": "cpu", "cpu_threads": 1}
    told |= {"log_every": 2, "save_every": 3, **given}
    options = resolve_training(TrainingConfig(**told), Supervised, num_workers=0)
    method, quiet = cases.build("supervised"), given.get("quiet", True)
    fit(method, source or Repeated(), options, seed=0, out=out, quiet=quiet, listeners=listeners)


def test_names_are_files_and_unknown_names_are_refused():
    assert loggers.logger_names() == ["mlflow", "tensorboard", "trackio", "wandb"]
    assert join_names("wandb, mlflow") == join_names(["wandb", "mlflow"]) == "wandb,mlflow"
    assert join_names("none") == join_names("") == join_names([]) == ""
    with pytest.raises(ValueError, match="tensorbord is unknown; did you mean 'tensorboard'"):
        join_names("tensorbord")
    with pytest.raises(ValueError, match="--logger wand is unknown"):
        resolve_training(TrainingConfig(logger="wand"), Supervised, num_workers=0)


@pytest.mark.parametrize("name", loggers.logger_names())
def test_a_missing_package_names_its_extra(name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ValueError, match=rf"--logger {name} .*pip install 'selfwise\[{name}\]'"):
        loggers.check_installed(f"{name}")


def test_a_logger_gets_options_pictures_and_each_log_line(memory, tmp_path):
    train(tmp_path / "photos", logger="mlflow", logger_project="birds")
    (run,) = memory.opened
    assert (run.name, run.project, run.step) == ("photos", "birds", 0)
    assert run.options["lr"] == 0.1
    assert memory.pictures == PICTURES
    assert [step for step, _ in memory.sent] == [2, 4, 6]
    lines = (tmp_path / "photos" / "metrics.jsonl").read_text().splitlines()
    for line, (step, values) in zip(map(json.loads, lines), memory.sent, strict=True):
        logged = {n: v for n, v in values.items() if not n.startswith("time/")}
        assert {"step": step, **logged} == line
    assert {"time/seconds", "time/steps_per_second"} <= memory.sent[0][1].keys()
    assert memory.finished == [False]


def test_a_resumed_run_sends_no_line_twice(memory, tmp_path):
    """Step 4 was sent, but the last checkpoint is that of step 3."""
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, StopsAt(5), logger="mlflow")
    assert memory.finished == [True]
    train(tmp_path, logger="mlflow")
    assert [run.step for run in memory.opened] == [0, 3]
    assert [step for step, _ in memory.sent] == [2, 4, 6]
    assert len(memory.pictures) == 2
    assert memory.finished == [True, False]


def test_a_new_logger_of_a_resumed_run_gets_what_follows(memory, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, StopsAt(5))
    train(tmp_path, logger="mlflow")
    assert [step for step, _ in memory.sent] == [4, 6]


def test_a_failing_logger_ends_the_run_with_its_name(memory, tmp_path):
    memory.fails_at = 4
    with pytest.raises(ValueError, match=r"mlflow failed at step 4 .*server is down.*none"):
        train(tmp_path, logger="mlflow")
    assert memory.finished == [True]


def test_tensorboard_has_values_options_and_pictures(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, StopsAt(5), logger="tensorboard")
    train(tmp_path, logger="tensorboard")
    events = EventAccumulator(str(tmp_path / "tensorboard"), {"images": 0, "tensors": 0})
    events.Reload()
    assert [one.step for one in events.Scalars("cross_entropy")] == [2, 4, 6]
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    logged = [json.loads(line)["cross_entropy"] for line in lines]
    assert [one.value for one in events.Scalars("cross_entropy")] == pytest.approx(logged)
    (image,) = events.Images("views")
    assert (image.height, image.width) == (4, 4)
    texts = {
        tag: events.Tensors(tag)[0].tensor_proto.string_val[0].decode()
        for tag in events.Tags()["tensors"]
    }
    assert "| lr | 0.1 |" in texts["options/text_summary"]
    assert texts["words/about/text_summary"] == "texts\n\na  \nb"
    assert "_hparams_/session_start_info" in events.summary_metadata


def real_run(tmp_path, monkeypatch, name, capfd) -> None:
    """A run of a real service that is interrupted and resumed, and prints nothing."""
    pytest.importorskip(name)
    for variable in ("MLFLOW_TRACKING_URI", "WANDB_API_KEY", "TRACKIO_SPACE_ID"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    go = partial(train, tmp_path / "photos", logger=name, logger_project="birds")
    capfd.readouterr()
    with pytest.raises(KeyboardInterrupt):
        go(StopsAt(5))
    go()
    assert "".join(capfd.readouterr()) == ""


@pytest.mark.slow  # MLflow makes a data base
def test_mlflow_has_one_run_in_the_run_folder(tmp_path, monkeypatch, capfd):
    real_run(tmp_path, monkeypatch, "mlflow", capfd)
    from mlflow import MlflowClient

    folder = tmp_path / "photos" / "mlflow"
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("birds")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("photos", "FINISHED")
    assert run.data.params["lr"] == "0.1"
    assert [m.step for m in client.get_metric_history(run.info.run_id, "lr")] == [2, 4, 6]
    found = {path.name for path in folder.rglob("*") if path.is_file()}
    assert {"views.png", "views.txt", "words.txt"} <= found


@pytest.mark.slow  # wandb starts a process of its own
def test_wandb_continues_its_offline_run(tmp_path, monkeypatch, capfd):
    real_run(tmp_path, monkeypatch, "wandb", capfd)
    folders = sorted((tmp_path / "photos" / "wandb").glob("offline-run-*"))
    name = json.loads((tmp_path / "photos" / loggers.IDS).read_text())["wandb"]
    assert folders
    assert all(folder.name.endswith(name) for folder in folders)
    assert all(list(folder.glob("*.wandb")) for folder in folders)


@pytest.mark.slow  # trackio writes in a thread that is waited for
def test_trackio_continues_its_local_run(tmp_path, monkeypatch, capfd):
    trackio = pytest.importorskip("trackio")
    from trackio import utils
    from trackio.sqlite_storage import SQLiteStorage

    home = utils.TRACKIO_DIR  # read from the environment at the import, in several modules
    for module in [m for n, m in sys.modules.items() if n.startswith("trackio") and m]:
        for name, value in list(vars(module).items()):
            if isinstance(value, Path) and value.is_relative_to(home):
                monkeypatch.setattr(module, name, tmp_path / "trackio" / value.relative_to(home))
    real_run(tmp_path, monkeypatch, "trackio", capfd)
    assert trackio.__version__
    assert SQLiteStorage.get_runs("birds") == ["photos"]
    steps = [line["step"] for line in SQLiteStorage.get_logs("birds", "photos") if "lr" in line]
    assert sorted(steps) == [2, 4, 6]
    assert list((tmp_path / "trackio" / "media").rglob("*.png"))


def test_the_ids_of_services_are_kept_in_the_run_folder(tmp_path):
    run = RunFacts(tmp_path, "birds")
    assert run.read_id("mlflow") is None
    run.save_id("mlflow", "a1")
    run.save_id("wandb", "b2")
    assert (run.read_id("mlflow"), run.read_id("wandb")) == ("a1", "b2")
