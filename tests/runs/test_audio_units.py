"""What units of speech depend on, and what is refused before any are learned."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import selfwise
from selfwise.modalities.audio import targets
from selfwise.runs.build import open_newest
from selfwise.runs.create import pretrain
from selfwise.runs.run_yaml import Choice
from selfwise.workflows.iterate import iterate

SHAPE = {"stem": "logmel", "dim": 32, "heads": 2}
TINY = {"encoder": "hubert-tiny", "encoder_options": SHAPE}
TOLD = {**TINY, "num_clusters": 4, "steps": 2, "device": "cpu", "cpu_threads": 1, "quiet": True}
TOLD |= {"precision": "float32"}


def sounds(n: int, samples: int = 8_000) -> list[np.ndarray]:
    return list(np.random.default_rng(0).normal(0, 0.1, (n, samples)).astype(np.float32))


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SELFWISE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def untouched(monkeypatch):
    """Nothing may be learned."""

    def learn(*told, **more):
        raise AssertionError("units were learned")

    monkeypatch.setattr(targets, "learn_targets", learn)


def test_a_quiet_run_prints_nothing_about_its_units(tmp_path, capsys):
    selfwise.pretrain("hubert", data=sounds(4), out=tmp_path / "run", **TOLD)
    assert capsys.readouterr() == ("", "")


def test_clips_of_one_frame_are_left_out_and_named(tmp_path):
    """A batch of them would have no loss, not even 0."""
    told = TOLD | {
        "batch_seconds": 0.1,
        "max_clip_seconds": 0.1,
        "val_fraction": 0,
        "log_every": 1,
        "steps": 4,
    }
    data = [*sounds(6, 480), *sounds(2, 720)]
    run = pretrain("hubert", data=data, out=tmp_path / "run", **told | {"num_clusters": 2})
    assert (run.record.info.examples, run.record.info.left_out) == (2, 6)
    lost = (tmp_path / "run" / "left_out.txt").read_text().splitlines()
    assert lost[0] == "0: too short: 480 samples at 16 kHz, 720 are two frames"
    assert len(lost) == 6
    with pytest.raises(ValueError, match="all 6 recordings are shorter than two frames"):
        pretrain("hubert", data=data[:6], out=tmp_path / "other", **told)
    with pytest.raises(ValueError, match=r"--max-clip-seconds 0\.03 is less than two frames"):
        pretrain("hubert", data=data, out=tmp_path / "other", **told | {"max_clip_seconds": 0.03})


def test_units_are_learned_on_the_device_of_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    threads = torch.get_num_threads()
    asked = {}

    def learn(*told, **more):
        asked.update(more, cpu_threads=torch.get_num_threads())
        raise InterruptedError

    monkeypatch.setattr(targets, "learn_targets", learn)
    with pytest.raises(InterruptedError):
        pretrain(
            "hubert", data=sounds(4), out=tmp_path / "run", **TOLD | {"cpu_threads": threads + 1}
        )
    assert (asked["device"], asked["cpu_threads"]) == ("cpu", threads + 1)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        (
            {"encoder_options": {**SHAPE, "heads": 3}},
            "3 heads do not divide its width of 32",
        ),
        ({"steps": -1}, "--steps must be at least"),
        ({"device": "cuda:99"}, "--device cuda:99 is not available"),
    ],
)
def test_options_are_refused_before_units_are_learned(tmp_path, untouched, told, sentence):
    with pytest.raises(ValueError, match=sentence):
        pretrain("hubert", data=sounds(4), out=tmp_path / "run", **TOLD | told)


def test_a_single_recording_is_told_what_to_do(tmp_path, untouched):
    with pytest.raises(ValueError, match=r"the only recording, .*give --val-fraction 0"):
        pretrain("hubert", data=sounds(1), out=tmp_path / "run", **TOLD)


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        (
            {"next_target_layer": 2},
            "--next-target-layer 2 does not exist: the encoder has layers 0 to 1",
        ),
        ({"next_num_clusters": 1}, "--next-num-clusters must be at least 2"),
    ],
)
def test_a_second_iteration_that_cannot_be_is_refused_before_the_first(
    tmp_path, untouched, told, sentence
):
    with pytest.raises(ValueError, match=sentence):
        iterate("hubert", data=sounds(4), out=tmp_path / "runs", **TOLD, **told)
    assert not (tmp_path / "runs").exists()


def test_units_depend_on_what_leaves_no_trace_in_the_weights(tmp_path):
    pretrain("hubert", data=sounds(4), out=tmp_path / "run", **TOLD)
    earlier = str(tmp_path / "run")
    before = targets._open_source(earlier, 1, open_newest).key
    assert targets._open_source(earlier, -1, open_newest).key == before
    assert targets._open_source(earlier, 0, open_newest).key != before

    def with_other_heads(folder):
        run = open_newest(folder)
        heads = {"encoder.heads": Choice(4, "user")}
        return replace(run, record=replace(run.record, resolved={**run.record.resolved, **heads}))

    assert targets._open_source(earlier, 1, with_other_heads).key != before
