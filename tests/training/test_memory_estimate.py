"""Time and memory of a run, estimated before it from few steps and small batches."""

import contextlib
from functools import partial

import pytest
import torch

from selfwise import methods
from selfwise.cli import main as cli
from selfwise.core.types import Step, Term
from selfwise.methods.simclr import SimCLR
from selfwise.training import memory_estimate, step_time
from selfwise.training.config import TrainingConfig, resolve_training
from selfwise.training.step import build_state
from selfwise.training.step_time import Pace, mean_after_warm_up, measure_pace
from tests.helpers import cases


class Repeated:
    """The same batch at every step; counts how often it was read."""

    def __init__(self, kind, n):
        self.all, self.reads = cases.batch(kind, n), 0

    def __getitem__(self, step):
        self.reads += 1
        return self.all


def options(kind, **given):
    told = {"steps": 6, "batch_size": 64, "precision": "float32", "device": "cpu", "cpu_threads": 1}
    return resolve_training(TrainingConfig(**{**told, **given}), kind, num_workers=0)


# time


def test_slow_steps_are_measured_once(monkeypatch):
    """A clock on which a step takes three minutes."""
    now = iter(range(0, 10**6, 180))
    monkeypatch.setattr(step_time, "monotonic", lambda: float(next(now)))
    batches, build = Repeated(SimCLR, 8), partial(cases.build, "simclr")
    pace = measure_pace(build, batches, options(SimCLR, batch_size=8), seed=0, patience=10)
    assert batches.reads == 1
    assert pace.step == 180


@pytest.mark.parametrize(
    ("times", "mean"),
    [([9], 9), ([9, 1], 1), ([9, 1, 3], 2), ([9] * 5 + [1] * 10, 1), ([9] + [2] * 13, 2)],
)
def test_the_first_steps_only_warm_up(times, mean):
    marks = [float(sum(times[:i])) for i in range(len(times) + 1)]
    assert mean_after_warm_up(marks) == mean


class Looks:
    def __init__(self, every, examples):
        self.every, self.examples, self.calls = every, examples, 0

    def __call__(self, method):
        self.calls += 1
        return {}

    def warning(self, values):
        return None


def test_a_look_that_would_take_longer_than_the_budget_is_not_taken(monkeypatch):
    now = iter(range(0, 10**6, 4))
    monkeypatch.setattr(step_time, "monotonic", lambda: float(next(now)))
    long, short = Looks(5, 80), Looks(5, 8)
    told = {"seed": 0, "patience": 1, "longest_look": 10, "probes": [long, short]}
    pace = measure_pace(
        partial(cases.build, "simclr"), Repeated(SimCLR, 8), options(SimCLR, batch_size=8), **told
    )
    assert (long.calls, short.calls) == (0, 1)
    assert pace == Pace(4, [40, 4])  # 80 examples are ten steps of eight


def test_minutes_are_steps_and_looks():
    probes = [Looks(10, 0)]
    pace = Pace(1.0, [5.0])
    steps = pace.count_steps(305, probes)
    assert steps == 200  # 1.5 s each with their share of a look, and one look at the end
    assert pace.estimate_seconds(steps, probes) == 305
    assert Pace(100.0, []).count_steps(1, []) == 1


@pytest.mark.parametrize("steps", [3, 0])
def test_more_steps_are_measured_than_the_run_has(monkeypatch, steps):
    """Views may depend on `rng.progress`: it stays below 1, and is 0 while steps are unknown."""
    seen, view = [], SimCLR.view

    def note(self, batch, rng):
        seen.append(rng.progress)
        return view(self, batch, rng)

    monkeypatch.setattr(SimCLR, "view", note)
    now = iter(range(10**6))
    monkeypatch.setattr(step_time, "monotonic", lambda: float(next(now)))
    given = options(SimCLR, batch_size=8).replace(steps=steps)
    build = partial(cases.build, "simclr")
    measure_pace(build, Repeated(SimCLR, 8), given, seed=0, patience=5)
    assert seen == ([0, 1 / 3, 2 / 3] * 2 if steps else [0.0] * 6)


# memory


@pytest.mark.parametrize("name", methods.method_names())
def test_what_a_step_keeps_grows_with_the_examples(name):
    """So that a small step tells how much a large one takes: within a tenth."""
    kind = methods.find_method(name)
    parts = build_state(cases.build(name), options(kind))
    batch = cases.batch(kind, 64)
    four, eight, all_of_them = (
        memory_estimate.measure_saved_bytes(parts, batch, n, seed=0) for n in (4, 8, 64)
    )
    expected = four + 15 * (eight - four)
    assert abs(all_of_them - expected) < 0.1 * all_of_them


def test_what_a_forward_pass_keeps_by_hand():
    """A linear layer keeps its input, a ReLU its output; weights are not counted."""

    class Method(torch.nn.Module):
        views_change = False

        def __init__(self):
            super().__init__()
            self.layers = torch.nn.Sequential(
                torch.nn.Linear(10, 20), torch.nn.ReLU(), torch.nn.Linear(20, 30)
            )

        def view(self, batch, rng):
            return (torch.ones(len(batch.x), 10),)

        def forward(self, view):
            loss = self.layers(view[0]).sum()
            return Step({"loss": Term(loss, loss.new_ones(()))}, {})

    parts = build_state(cases.build("simclr"), options(SimCLR))
    method = Method()
    parts = parts._replace(method=method)
    kept = memory_estimate.measure_saved_bytes(parts, cases.batch(SimCLR, 8), 8, seed=0)
    assert kept == 4 * 8 * (10 + 20)


def check(monkeypatch, free, **given):
    monkeypatch.setattr(memory_estimate, "available_memory", lambda device: free)
    told = options(SimCLR, **given)
    memory_estimate.check_memory(partial(cases.build, "simclr"), Repeated(SimCLR, 64), told, seed=0)


def test_a_batch_that_does_not_fit_is_named_with_one_that_does(monkeypatch):
    check(monkeypatch, 10**12)
    with pytest.raises(ValueError, match=r"a step of 64 examples needs about .* GiB") as error:
        check(monkeypatch, 2 * 10**7)
    fits = int(str(error.value).split("about ")[-1].split()[0])
    assert 1 <= fits < 64
    with pytest.raises(ValueError, match="no batch size fits"):
        check(monkeypatch, 10)


def test_a_second_pass_is_made_only_where_memory_is_near(monkeypatch):
    passes = []
    measure_saved_bytes = memory_estimate.measure_saved_bytes

    def counted(*args, **named):
        passes.append(args[2])
        return measure_saved_bytes(*args, **named)

    monkeypatch.setattr(memory_estimate, "measure_saved_bytes", counted)
    check(monkeypatch, 10**12)
    assert passes == [4]
    needed = 5 * 10**7  # about what this step needs, so that one pass cannot tell
    with contextlib.suppress(ValueError):
        check(monkeypatch, needed)
    assert passes == [4, 4, 8]


@pytest.mark.run
def test_memory_is_checked_before_a_run_folder_is_there(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(memory_estimate, "available_memory", lambda device: 10**6)
    line = f"pretrain simclr --data digits --out {tmp_path / 'run'} --batch-size 64 --steps 2"
    assert cli.main(line.split()) == 2
    assert "a step of 64 examples needs about" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
