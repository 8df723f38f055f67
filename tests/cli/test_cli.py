"""Wrong input gets one clear line and exit code 2, and nothing is written over."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from selfwise import commands
from selfwise.cli import main as cli
from tests.helpers.command_lines import replace_options

TINY = ["--encoder", "resnet18", "--encoder.layers", "[1,1,1,1]", "--encoder.channels", "[4,4,8,8]"]
QUICK = ["--steps", "2", "--batch-size", "16", "--cpu-threads", "1", "--quiet"]


@pytest.fixture
def selfwise(capsys):
    """A function that runs a command line: exit code, and the lines on stderr."""

    def call(*arguments):
        code = cli.main([str(a) for a in arguments])
        captured = capsys.readouterr()
        call.out = captured.out
        return code, captured.err.strip().splitlines()

    return call


def picture(path: Path, seed: int = 0, size: int = 24) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (size, size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def photos(tmp_path):
    for i in range(24):
        picture(tmp_path / "photos" / f"{'cats' if i % 2 else 'dogs'}" / f"{i}.png", i)
    return tmp_path / "photos"


@pytest.fixture
def flat(tmp_path):
    for i in range(20):
        picture(tmp_path / "flat" / f"{i}.png", i)
    return tmp_path / "flat"


def pretrain(selfwise, data, out, *more):
    return selfwise("pretrain", "simclr", "--data", data, "--out", out, *TINY, *QUICK, *more)


def refused(result, *words):
    code, lines = result
    assert code == 2, lines
    assert len(lines) == 1, lines
    assert lines[0].startswith("selfwise: ")
    for word in words:
        assert str(word) in lines[0], lines[0]


def test_missing_path(selfwise, tmp_path):
    (tmp_path / "pictures").mkdir()
    refused(pretrain(selfwise, tmp_path / "picture", tmp_path / "run"), "picture", "pictures")
    assert not (tmp_path / "run").exists()


def test_empty_folder(selfwise, tmp_path):
    (tmp_path / "empty").mkdir()
    refused(pretrain(selfwise, tmp_path / "empty", tmp_path / "run"), "empty")


def test_no_readable_image(selfwise, tmp_path):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("words")
    refused(pretrain(selfwise, tmp_path / "texts", tmp_path / "run"), "texts")


def test_a_text_file_named_jpg(selfwise, flat, tmp_path):
    (flat / "fake.jpg").write_text("not a picture")
    refused(pretrain(selfwise, flat, tmp_path / "run"), "fake.jpg", "--skip-broken")
    assert not (tmp_path / "run").exists()


def test_a_broken_file_is_skipped_only_if_asked_and_listed(selfwise, flat, tmp_path):
    whole = (flat / "3.png").read_bytes()
    (flat / "3.png").write_bytes(whole[: len(whole) // 2])
    refused(pretrain(selfwise, flat, tmp_path / "run"), "3.png")
    code, lines = pretrain(selfwise, flat, tmp_path / "other", "--skip-broken")
    assert code == 0, lines
    assert "3.png" in (tmp_path / "other" / "broken.txt").read_text()


def test_unknown_names_come_with_the_nearest(selfwise, photos, tmp_path):
    out = tmp_path / "run"
    refused(selfwise("pretrian"), "unknown command", "pretrain")
    refused(selfwise("pretrain", "simcrl", "--data", photos, "--out", out), "simclr")
    command = ["pretrain", "simclr", "--data", photos, "--out", out, "--steps", 2]
    refused(selfwise(*command, "--encoder", "resnet81"), "resnet18")
    refused(selfwise(*command, "--temprature", "0.5"), "--temperature")
    refused(selfwise(*command, "--encoder.layer", "[1]"), "layer")
    refused(selfwise(*command, "--optimizer", "larss", "--lr", 1), "lars")
    refused(selfwise(*command, "--schedule", "cosin"), "cosine")
    refused(selfwise(*command, "--device", "gpu"), "gpu", "cpu")
    refused(selfwise("run", "simclr_cifar"), "simclr_cifar10")
    assert not out.exists()


def test_values_that_cannot_be(selfwise, photos, tmp_path):
    out = tmp_path / "run"
    command = ["pretrain", "simclr", "--data", photos, "--out", out]
    refused(selfwise(*command, "--steps", "many"), "--steps", "a whole number", "many")
    refused(selfwise(*command, "--steps", "0"), "--steps", "at least 1")
    refused(selfwise(*command, "--steps", "2", "--epochs", "3"), "exactly one")
    refused(selfwise("pretrain", "simclr", "--steps", "2"), "--data", "--out")
    refused(selfwise(*command, "--steps", "2", "--temperature", "0"), "temperature", "above 0")
    refused(selfwise(*command, "--steps", "2", "--batch-size", "500"), "500", "24")
    refused(
        selfwise(*command, "--steps", "2", "--batch-size", "16", "--grad-accum-steps", "2"),
        "NT-Xent",
    )
    refused(selfwise(*command, "--steps", "2", "--optimizer", "sgd"), "--lr")
    assert not out.exists()


@pytest.mark.run
def test_labels_missing_where_needed(selfwise, flat, photos, tmp_path):
    out = tmp_path / "run"
    command = ["pretrain", "supervised", "--data", flat, "--out", out, *TINY, *QUICK]
    refused(selfwise(*command), "label")
    refused(pretrain(selfwise, flat, out, "--knn-every", "1"), "label")
    assert pretrain(selfwise, photos, out)[0] == 0
    refused(selfwise("probe", out, "--train", flat), "label")
    refused(selfwise("probe", out, "--train", photos, "--kind", "linaer"), "linear")
    refused(selfwise("probe", out, "--train", photos, "--labels-per-class", "0"), "0")
    refused(selfwise("probe", out, "--train", photos, "--labels-per-class", "500"), "500", "cats")


def test_nothing_is_written_over(selfwise, photos, tmp_path):
    out = tmp_path / "run"
    assert pretrain(selfwise, photos, out)[0] == 0
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    refused(pretrain(selfwise, photos, out), "already holds a run", f"selfwise resume {out}")
    command = ["pretrain", "supervised", "--data", photos, "--out", out, *TINY, *QUICK]
    refused(selfwise(*command), "another method (simclr)")
    table = tmp_path / "table.npz"
    assert selfwise("embed", out, "--data", photos, "--out", table)[0] == 0
    refused(selfwise("embed", out, "--data", photos, "--out", table), "exists already")
    refused(selfwise("embed", out, "--data", photos, "--out", tmp_path / "t.csv"), ".parquet")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep me")
    refused(pretrain(selfwise, photos, tmp_path / "mine"), "not empty")
    refused(pretrain(selfwise, photos, tmp_path / "mine" / "notes.txt"), "is a file")
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep me"
    assert all(p.read_bytes() == content for p, content in before.items())


def test_a_folder_that_is_no_run(selfwise, photos, tmp_path):
    refused(selfwise("resume", photos), "not a run folder")
    refused(selfwise("probe", tmp_path / "nowhere", "--train", photos), "nowhere does not exist")
    refused(selfwise("show", photos), "not a run folder")
    refused(selfwise("resume"), "RUN")


@pytest.fixture
def run(selfwise, photos, tmp_path):
    out = tmp_path / "run"
    options = [
        "--steps",
        "4",
        "--save-every",
        "2",
        "--batch-size",
        "16",
        "--cpu-threads",
        "1",
        "--quiet",
    ]
    assert selfwise("pretrain", "simclr", "--data", photos, "--out", out, *TINY, *options)[0] == 0
    return out


def test_a_truncated_checkpoint_falls_back_to_the_one_before_and_says_so(selfwise, run, photos):
    newest = run / "checkpoints" / "step-00000004" / "model.safetensors"
    newest.write_bytes(newest.read_bytes()[:-100])
    code, lines = selfwise("resume", run)
    assert code == 0
    (warning,) = (line for line in lines if "resuming from" in line)
    assert "step-00000004: model.safetensors is truncated" in warning
    assert warning.endswith("resuming from step 2")
    assert selfwise("show", run)[0] == 0
    assert "step 4 of 4" in selfwise.out


def test_a_pickle_in_place_of_weights_is_never_loaded(selfwise, run, photos, tmp_path):
    proof = tmp_path / "executed"

    class Evil:
        def __reduce__(self):
            return Path.touch, (proof,)

    import pickle

    for folder in (run / "checkpoints").glob("step-*"):
        (folder / "model.safetensors").write_bytes(pickle.dumps(Evil()))
    refused(selfwise("probe", run, "--train", photos), "checksum")
    # and with a manifest that vouches for it
    from selfwise.training.checkpoint import hash_file_hex, seal_manifest

    for folder in (run / "checkpoints").glob("step-*"):
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["sha256"]["model.safetensors"] = hash_file_hex(folder / "model.safetensors")
        (folder / "optimizer.pt").write_bytes(pickle.dumps(Evil()))
        manifest["sha256"]["optimizer.pt"] = hash_file_hex(folder / "optimizer.pt")
        (folder / "manifest.json").write_text(json.dumps(seal_manifest(manifest)))
    refused(selfwise("probe", run, "--train", photos), "model.safetensors")
    refused(selfwise("resume", run), "model.safetensors")
    assert not proof.exists()


def test_an_optimiser_state_that_is_a_pickle_is_never_loaded(selfwise, run, tmp_path):
    from selfwise.training.checkpoint import hash_file_hex, seal_manifest

    proof = tmp_path / "executed"

    class Evil:
        def __reduce__(self):
            return Path.touch, (proof,)

    import torch

    shutil.rmtree(run / "checkpoints" / "step-00000004")
    folder = run / "checkpoints" / "step-00000002"
    torch.save(Evil(), folder / "optimizer.pt")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["sha256"]["optimizer.pt"] = hash_file_hex(folder / "optimizer.pt")
    (folder / "manifest.json").write_text(json.dumps(seal_manifest(manifest)))
    refused(selfwise("resume", run, "--quiet"), "optimizer.pt")
    assert not proof.exists()


def test_other_data_than_the_run_was_started_with(selfwise, run, photos):
    shutil.rmtree(run / "checkpoints" / "step-00000004")
    picture(photos / "cats" / "new.png", 99)
    refused(selfwise("resume", run), "differ from the data", "25", "24")


@pytest.mark.run  # a process
def test_a_full_disk(selfwise, photos, tmp_path):
    """On a file system of half a megabyte; the run ends with a sentence, nothing half written."""
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(small)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("only root may mount a small file system")
    try:
        wide = replace_options(TINY, "--encoder.channels", "[64,64,64,64]")
        arguments = ["--data", photos, "--out", small / "run", *wide, *QUICK]
        code, lines = selfwise("pretrain", "simclr", *arguments)
        assert code == 2
        assert len(lines) == 1
        assert "could not be written" in lines[0] or "No space left" in lines[0]
        assert not list((small / "run" / "checkpoints").glob("*"))
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_the_config_file_takes_the_same_names(selfwise, run, photos, tmp_path):
    again = tmp_path / "again"
    arguments = ["--config", run / "run.yaml", "--out", again, "--quiet"]
    assert selfwise("pretrain", "simclr", *arguments)[0] == 0
    last = "checkpoints/step-00000004/model.safetensors"
    assert (again / last).read_bytes() == (run / last).read_bytes()
    (tmp_path / "wrong.yaml").write_text("temprature: 0.5")
    arguments = ["--config", tmp_path / "wrong.yaml", "--data", photos, "--out", tmp_path / "x"]
    refused(selfwise("pretrain", "simclr", *arguments), "temprature", "temperature")
    refused(
        selfwise("pretrain", "simclr", "--config", tmp_path / "none.yaml"),
        "this file does not exist",
    )
    other = tmp_path / "other.yaml"
    other.write_text("method: rotation\nsteps: 2\n")
    arguments = ["--config", other, "--data", photos, "--out", tmp_path / "y"]
    sentence = f"--config {other} is for rotation, and the command names simclr"
    refused(selfwise("pretrain", "simclr", *arguments), sentence)
    assert selfwise("pretrain", "rotation", *arguments, *TINY, "--batch-size", "16")[0] == 0


@pytest.mark.run
def test_help_is_there_for_every_verb(selfwise):
    for verb in commands.import_commands():
        if verb in ("methods", "recipes", "doctor"):
            continue
        assert selfwise(verb, "--help")[0] == 0
        assert "usage: selfwise" in selfwise.out
    assert selfwise("pretrain", "simclr", "--help")[0] == 0
    for flag in ("--temperature", "--save-every", "--skip-broken", "--encoder.stem"):
        assert flag in selfwise.out
    for verb in ("methods", "recipes", "doctor"):
        assert selfwise(verb)[0] == 0
        assert selfwise.out.strip()


@pytest.mark.run
def test_flags_do_not_collide():
    from selfwise import methods
    from selfwise.core.config_class import list_option_paths, make_options_class
    from selfwise.runs.create import pretrain
    from selfwise.runs.pretrain_config import config_class

    command = {*list_option_paths(make_options_class(pretrain)), "config", "plugin", "measure"}
    for name in methods.method_names():
        options = list_option_paths(config_class(name))  # raises TypeError if one is there twice
        sections = [path[0] for path in options.values()]
        assert {"training", "reading", "encoder_options"} <= {*sections}
        shared = {option for option, path in options.items() if len(path) == 1}
        assert shared == {"data", "encoder", "init_from", "seed", "defaults"}
        assert not command & ({*options} - shared), name


@pytest.mark.run  # a process
def test_the_overview_does_not_wait_for_torch():
    code = "import sys; from selfwise.cli.main import main; main(['--help']); "
    code += "print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip().endswith("False")
