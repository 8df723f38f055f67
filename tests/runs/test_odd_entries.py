"""Run folders with links, pipes and folders where files should be: nothing outside is touched."""

import os
import shutil
import signal
from pathlib import Path

import pytest

import selfwise
from selfwise.workflows.describe_runs import show
from tests.core.test_own_files import put_odd

OPTIONS = {"steps": 8, "batch_size": 8, "save_every": 4, "log_every": 2, "cpu_threads": 1}
OPTIONS |= {"encoder": "resnet18", "num_workers": 0, "quiet": True}
SMALL = {"layers": [1, 1, 1, 1], "channels": [4, 4, 8, 8]}
FILES = ["run.yaml", "metrics.jsonl", "timing.jsonl", ".lock"]
FOLDERS = ["checkpoints", "scores"]
MANIFEST = "checkpoints/step-00000004/manifest.json"
READ_BY_RESUME = ["run.yaml", "scores", MANIFEST]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("odd") / "run"
    selfwise.pretrain("simclr", data="digits:train", out=out, encoder_options=SMALL, **OPTIONS)
    selfwise.probe(out, train="digits:train", test="digits:test", labels_per_class="10")
    return out


@pytest.fixture
def run(trained, tmp_path):
    """A copy that has four more steps to take."""
    shutil.copytree(trained, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "step-00000008")
    return tmp_path / "run"


@pytest.fixture(autouse=True)
def no_waiting():
    """What waits for a pipe is ended, and the test fails."""
    signal.signal(signal.SIGALRM, lambda *_: pytest.fail("waited"))
    signal.alarm(100)
    yield
    signal.alarm(0)


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def use(command, run) -> str | None:
    """The text of the error that a command raises; None if it works."""
    try:
        if command == "resume":
            selfwise.resume(run, quiet=True)
        elif command == "probe":
            selfwise.probe(run, train="digits:train", test="digits:test", labels_per_class="10")
        elif command == "report":
            selfwise.write_report(run)
        else:
            show(run)
    except (ValueError, OSError) as error:
        return str(error)
    return None


@pytest.mark.run  # trains eight steps
@pytest.mark.parametrize(
    ("command", "name"),
    [
        *(("resume", name) for name in [*FILES, *FOLDERS, MANIFEST]),
        *(("probe", "scores"), ("report", "report.html"), ("show", "metrics.jsonl")),
    ],
)
def test_nothing_is_written_through_a_link(run, tmp_path, name, command, capsys):
    outside = tmp_path / "outside"
    outside.mkdir()
    if name == "report.html":
        selfwise.write_report(run)
    shutil.move(run / name, outside / "it")
    (run / name).symlink_to(outside / "it")
    before = contents(outside)
    refusal = use(command, run)
    if command == "probe":  # the score is returned all the same
        assert refusal is None
        assert "warning: the score is not stored" in (warned := capsys.readouterr().err)
        assert "is a symbolic link, not a f" in warned
    elif command == "show" or (command == "resume" and name in READ_BY_RESUME):
        assert refusal is None
    else:
        assert refusal
        assert "is a symbolic link, not a f" in refusal
        assert str(run) in refusal
    assert contents(outside) == before


@pytest.mark.run
@pytest.mark.parametrize("stored", [True, False])
def test_features_are_read_but_not_written_through_a_link(trained, tmp_path, stored, capsys):
    run, outside = tmp_path / "run", tmp_path / "outside"
    shutil.copytree(trained, run)
    shutil.move(run / "features", outside)
    if not stored:
        shutil.rmtree(outside)
        outside.mkdir()
    (run / "features").symlink_to(outside)
    before = contents(outside)
    assert bool(before) == stored
    assert use("probe", run) is None
    assert contents(outside) == before
    assert (run / "features").is_symlink()
    assert ("features cannot be written, so the next" in capsys.readouterr().err) != stored


@pytest.mark.run
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((name, "a named pipe") for name in [*FILES, *FOLDERS, MANIFEST, "report.html"]),
        *(("metrics.jsonl", "a folder"), ("timing.jsonl", "a folder"), (".lock", "a socket")),
    ],
)
def test_odd_entries_are_named_and_not_waited_for(run, tmp_path, name, kind):
    path = run / name
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    put_odd(kind, path, tmp_path)
    for command in ("report",) if name == "report.html" else ("resume", "show"):
        refusal = use(command, run) or ""
        assert not refusal or str(run) in refusal
        assert "\n" not in refusal
        assert os.path.lexists(path)


@pytest.mark.run
def test_a_run_folder_may_itself_be_a_link(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "disk" / "run")
    (tmp_path / "runs").symlink_to("disk")
    (tmp_path / "mine").symlink_to("runs/run")
    shutil.rmtree(tmp_path / "mine" / "checkpoints" / "step-00000008")
    for command in ("resume", "probe", "show"):
        assert use(command, tmp_path / "mine") is None
    assert (tmp_path / "disk" / "run" / "checkpoints" / "step-00000008").is_dir()


@pytest.mark.run
def test_an_error_empties_a_linked_run_folder_and_names_its_cause(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").symlink_to("disk")
    options = {**OPTIONS, "lr": 1e30, "optimizer": "sgd"}
    with pytest.raises(FloatingPointError, match="lower --lr"):
        selfwise.pretrain(
            "simclr", data="digits:train", out=tmp_path / "run", encoder_options=SMALL, **options
        )
    assert list((tmp_path / "disk").iterdir()) == []
