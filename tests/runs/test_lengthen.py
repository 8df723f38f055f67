"""More steps for a run: exactly the longer run where the schedule allows it, and said otherwise."""

import shutil
from pathlib import Path

import pytest
import yaml

import selfwise
from selfwise.runs.run_yaml import read_record
from selfwise.training.config import TrainingConfig, resolve_training
from selfwise.training.schedules import compute_factor
from tests.runs.test_resume import leaves

TINY = {"encoder": "resnet18"}
TINY["encoder_options"] = {"layers": [1, 1, 1, 1], "channels": [4, 4, 8, 8]}
TINY |= {"batch_size": 16, "image_size": 8, "cache": "no", "cpu_threads": 1, "device": "cpu"}
TINY |= {"precision": "float32", "log_every": 1, "save_every": 4, "monitor_every": 0}


def train(out: Path, **options):
    told = {**TINY, "data": "digits:train", "quiet": True, **options}
    return selfwise.pretrain("simclr", out=out, **told)


def assert_equal_runs(a: Path, b: Path, steps: int) -> None:
    import torch

    last = f"checkpoints/step-{steps:08d}"
    for name in ("metrics.jsonl", f"{last}/model.safetensors"):
        assert (a / name).read_bytes() == (b / name).read_bytes(), name
    states = [torch.load(run / last / "optimizer.pt", weights_only=True) for run in (a, b)]
    flat = [list(leaves(state)) for state in states]
    assert len(flat[0]) == len(flat[1])
    assert all(torch.equal(torch.as_tensor(x), torch.as_tensor(y)) for x, y in zip(*flat))


def back_to(run: Path, step: int) -> None:
    """As if the run had been killed right after the checkpoint of a step."""
    for folder in (run / "checkpoints").iterdir():
        if int(folder.name[5:]) > step:
            shutil.rmtree(folder)


def checkpoints(run: Path) -> list[int]:
    return sorted(int(path.name[5:]) for path in (run / "checkpoints").iterdir())


@pytest.fixture(scope="module")
def longer(tmp_path_factory):
    """A run of 30 steps from the start, whose warm-up is given in steps."""
    out = tmp_path_factory.mktemp("longer") / "run"
    train(out, steps=30, schedule="wsd", warmup=2)
    return out


@pytest.fixture(scope="module")
def shorter(tmp_path_factory):
    """A finished run of 20 steps: warm-up 2, decay in the last 4."""
    out = tmp_path_factory.mktemp("shorter") / "run"
    train(out, steps=20, schedule="wsd", warmup=0.1, save_every=6)
    return out


@pytest.fixture
def run(shorter, tmp_path):
    return Path(shutil.copytree(shorter, tmp_path / "run"))


def test_the_checkpoint_before_the_decay_is_kept(shorter):
    assert checkpoints(shorter) == [16, 18, 20]
    assert read_record(shorter).option("warmup") == 2.0


@pytest.mark.run  # trains
def test_a_wsd_run_lengthened_before_its_decay_is_the_longer_run(run, longer):
    back_to(run, 16)
    selfwise.resume(run, steps=30, quiet=True)
    assert_equal_runs(run, longer, 30)


@pytest.mark.run  # trains
def test_a_finished_wsd_run_continues_before_its_decay(run, longer, capsys):
    selfwise.resume(run, steps=30)
    assert_equal_runs(run, longer, 30)
    assert "from step 16, before the rate fell" in capsys.readouterr().err
    assert sorted(p.name for p in (run / "decayed").iterdir()) == [
        "step-00000018",
        "step-00000020",
    ]
    decayed = selfwise.load(run / "decayed" / "step-00000020")
    assert decayed.step == 20
    (change,) = read_record(run).continuations
    assert (change["step"], change["steps_before"], change["steps"]) == (16, 20, 30)
    assert change["exact"] is True
    assert "result equals a run of 30 steps with these options" in change["about"]


@pytest.mark.run  # trains
def test_a_lengthened_run_can_be_killed_and_lengthened_again(run, longer):
    """The checkpoint at hand was saved for 20 steps, and run.yaml has 30."""
    back_to(run, 16)
    selfwise.resume(run, steps=24, quiet=True)
    back_to(run, 18)
    selfwise.resume(run, steps=30, quiet=True)
    back_to(run, 24)
    selfwise.resume(run, quiet=True)
    assert_equal_runs(run, longer, 30)
    assert [c["steps"] for c in read_record(run).continuations] == [24, 30]


@pytest.mark.run  # trains
def test_a_constant_run_continues_from_its_end(tmp_path):
    whole = train(tmp_path / "whole", steps=12, schedule="constant", warmup=2)
    short = train(tmp_path / "short", steps=8, schedule="constant", warmup=2)
    selfwise.resume(short.folder, steps=12, quiet=True)
    assert_equal_runs(short.folder, whole.folder, 12)


@pytest.mark.run  # trains
def test_another_schedule_is_another_run_from_there_on(tmp_path, capsys):
    run = train(tmp_path / "run", steps=8, schedule="cosine")
    selfwise.resume(run.folder, steps=12)
    said = capsys.readouterr().err
    assert "from step 8 on this differs from a run of 12 steps from the start" in said
    assert "--schedule cosine depends on the number of steps" in said
    (change,) = read_record(run.folder).continuations
    assert (change["step"], change["exact"]) == (8, False)
    assert "differs from a run of 12 steps from the start" in change["about"]
    assert selfwise.load(run.folder).step == 12


@pytest.mark.run  # trains
def test_a_decay_without_an_earlier_checkpoint_is_another_run(run, capsys):
    shutil.rmtree(run / "checkpoints" / "step-00000016")
    selfwise.resume(run, steps=30)
    assert "no checkpoint from before is left" in capsys.readouterr().err
    assert read_record(run).continuations[0]["exact"] is False
    assert not (run / "decayed").exists()


@pytest.mark.parametrize("steps", [20, 19])
def test_fewer_steps_than_are_done_are_refused(run, steps):
    before = (run / "run.yaml").read_bytes()
    if steps == 20:  # as many as it has: there is nothing to do
        selfwise.resume(run, steps=steps, quiet=True)
    else:
        with pytest.raises(ValueError, match=r"has done 20 steps: .*19 is the total number"):
            selfwise.resume(run, steps=steps, quiet=True)
    assert (run / "run.yaml").read_bytes() == before
    assert checkpoints(run) == [16, 18, 20]


def test_steps_changed_by_hand_are_refused(run):
    content = yaml.safe_load((run / "run.yaml").read_text())
    content["resolved"]["steps"]["value"] = 30
    (run / "run.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ValueError, match="steps is 30, and was 20"):
        selfwise.resume(run, quiet=True)


def test_wsd_rises_stays_and_falls():
    factors = [compute_factor("wsd", i, steps=20, warmup=4, decay=4) for i in range(20)]
    assert factors[:4] == [0.25, 0.5, 0.75, 1.0]
    assert factors[4:17] == [1.0] * 13
    assert factors[17:] == pytest.approx([1 - (i / 4) ** 0.5 for i in (1, 2, 3)])


def test_a_decay_of_another_schedule_is_refused():
    from selfwise.methods.simclr import SimCLR

    options = TrainingConfig(steps=10, decay_fraction=0.5)
    with pytest.raises(ValueError, match="--decay-fraction is for --schedule wsd"):
        resolve_training(options, SimCLR, num_workers=0)
    options = TrainingConfig(steps=10, schedule="wsd", warmup=6, decay_fraction=0.5)
    resolved = resolve_training(options, SimCLR, num_workers=0)
    with pytest.raises(ValueError, match="take more than the 10 steps"):
        resolved.fix_warmup()
