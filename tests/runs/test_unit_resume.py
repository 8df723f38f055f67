"""Killed with SIGKILL while units are made, and told the same again: bitwise the same run.

The child kills itself at a moment that is told by a call: the third time that a fit saves its
state, say. It is a fork of a process that has computed nothing: once another test's gradients went
through threads, torch computes none in a fork of this one. `tests/runs/test_resume.py` kills from
outside, while steps run.
"""

import importlib
import multiprocessing
import os
import signal

import pytest

from selfwise.cli import main as cli
from selfwise.runs.create import BEGUN
from tests.helpers import unit_cases as cases


@pytest.fixture
def made(tmp_path):
    return cases.voices(tmp_path / "voices"), cases.pictures(tmp_path / "pictures")


SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    [
        "selfwise.runs.create",
        "selfwise.runs.resume",
        "selfwise.cli.main",
        "timm",
        "sklearn.linear_model",
    ]
)


def killed(moment: tuple[str, str, int], cache, *words, small: bool = False) -> None:
    """A command that dies when a function is called for the given time; saved at every chance."""
    process = SERVER.Process(target=_doomed, args=(moment, cache, words, small))
    process.start()
    process.join(300)
    assert process.exitcode == -signal.SIGKILL, process.exitcode


def _doomed(moment, cache, words, small) -> None:
    if small:
        importlib.import_module(CHUNKS).RecordingChunks = _small_chunks()
    module, path, count = moment
    owner = importlib.import_module(module)
    *outer, name = path.split(".")
    for part in outer:
        owner = getattr(owner, part)
    original, calls = getattr(owner, name), []

    def bomb(*told, **more):
        calls.append(name)
        if len(calls) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*told, **more)

    setattr(owner, name, bomb)
    os.environ["SELFWISE_CACHE"] = str(cache)
    for part in ("kmeans_streaming", "frame_labels"):
        importlib.import_module(f"selfwise.targets.{part}").SAVE_SECONDS = 0.0
    cli.main([str(word) for word in words])


def done(monkeypatch, cache, *words) -> None:
    monkeypatch.setenv("SELFWISE_CACHE", str(cache))
    assert cli.main([str(word) for word in words]) == 0


def same(one, other) -> None:
    """The weights, the log and the units of two runs, and nothing half made beside them."""
    for name in ("units/codebook.safetensors", "units/trained/units.npy"):
        if (one / name).is_file():
            assert (one / name).read_bytes() == (other / name).read_bytes(), name
    assert cases.weights(one) == cases.weights(other)
    assert (one / "metrics.jsonl").read_bytes() == (other / "metrics.jsonl").read_bytes()
    assert not (other / BEGUN).exists()


CHUNKS = "selfwise.modalities.audio.targets"
FIT = ("selfwise.targets.kmeans_streaming", "KMeansFit._save")
# in the mini-batches, in an exact pass, at the end of one; with a batch of units written, then
# with those of the recordings that are trained on; while the run folder is made; in training
MOMENTS = {
    "in mini-batches": (*FIT, 2),
    "in a pass": (*FIT, 5),
    "in labels": ("selfwise.targets.frame_labels", "_write_batch", 2),
    "between labels": ("selfwise.targets.frame_labels", "_open_array", 2),
    "before it is whole": ("selfwise.core.make_once", "mark_finished", 1),
    "before the run": ("selfwise.runs.create", "write_record", 1),
    "in training": ("selfwise.training.loop", "train_step", 4),
}


@pytest.mark.slow  # kills
def test_a_run_on_speech_may_be_killed_at_any_moment(made, tmp_path, monkeypatch):
    monkeypatch.setattr(f"{CHUNKS}.RecordingChunks", _small_chunks())
    told = ["--data", made[0], *cases.flags(cases.SPEECH)]
    whole = tmp_path / "whole"
    done(monkeypatch, tmp_path / "cache", "pretrain", "hubert", *told, "--out", whole)
    for number, (name, moment) in enumerate(MOMENTS.items()):
        cache, out = tmp_path / f"cache {number}", tmp_path / f"run {number}"
        words = ["pretrain", "hubert", *told, "--out", out]
        killed(moment, cache, *words, small=True)
        again = ["resume", out, "--quiet"] if name == "in training" else words
        done(monkeypatch, cache, *again)
        same(whole, out)


def _small_chunks():
    """Batches of two seconds, so that there is something between the first and the last."""
    from functools import partial

    from selfwise.data.audio.open import RecordingChunks

    return partial(RecordingChunks, budget=2.0)


@pytest.mark.slow  # kills
@pytest.mark.parametrize("method", ["hubert", "beit"])
def test_iterations_may_be_killed_between_and_inside(method, made, tmp_path, monkeypatch):
    options = cases.SPEECH if method == "hubert" else cases.PATCHES
    data = made[0] if method == "hubert" else made[1]
    told = [method, "--data", data, *cases.flags(options), "--next-num-clusters", 5]
    whole = tmp_path / "whole"
    done(monkeypatch, tmp_path / "cache", "iterate", *told, "--out", whole)
    # between the two; then, the first being done, in the second's units, and in its steps
    moments = [("selfwise.workflows.iterate", "pretrain_or_resume", 2)]
    moments += [(*FIT, 2), ("selfwise.training.loop", "train_step", 4)]
    cache, out = tmp_path / "other cache", tmp_path / "runs"
    words = ["iterate", *told, "--out", out]
    for moment in moments:
        killed(moment, cache, *words)
    done(monkeypatch, cache, *words)
    for number in (1, 2):
        same(whole / f"iteration-{number}", out / f"iteration-{number}")
