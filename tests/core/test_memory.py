"""Memory that is freed is kept while training and reading, and given back afterwards."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from selfwise import methods
from selfwise.core import memory
from selfwise.core.memory import keep_freed_memory
from selfwise.evaluation.features.image import evaluation_mode
from selfwise.profiling.step_timer import time_steps
from selfwise.training.config import TrainingConfig, resolve_training
from selfwise.training.loop import fit
from selfwise.training.step_time import measure_pace
from tests.helpers import cases

SIZE = 2**26  # bytes of a tensor; the C library maps those above 32 MB apart
PAGES = SIZE // resource.getpagesize()

ROOT = Path(__file__).parents[2]
FRESH = f"""
import ctypes, sys
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # pages are not joined to huge ones (PR_SET_THP_DISABLE)
sys.path.insert(0, {str(ROOT)!r})
from tests.core.test_memory import faults
from selfwise.core.memory import keep_freed_memory
print(faults(20))
with keep_freed_memory():
    print(faults(20))
"""
GNU = pytest.mark.skipif(
    memory._find_function("malloc_trim") is None, reason="the C library is not the GNU one"
)


def faults(times: int) -> float:
    """Pages that a tensor which is made and freed so often asks the system for, each time.

    After some rounds: what else is in use moves the places where it fits.
    """
    for _ in range(10):
        torch.empty(SIZE, dtype=torch.uint8).fill_(1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        torch.empty(SIZE, dtype=torch.uint8).fill_(1)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / times


def held() -> int:
    """Bytes of this process that belong to no file."""
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if "RssAnon" in x)
    return 1024 * int(line.split()[1])


@pytest.mark.run  # a process
@GNU
def test_what_is_freed_is_there_for_the_next_one():
    # in a fresh process: in this one there may be room that other tests have left
    found = subprocess.run(
        [sys.executable, "-c", FRESH], capture_output=True, text=True, check=True
    )
    before, inside = map(float, found.stdout.split())
    assert before > 0.9 * PAGES
    assert inside < 0.1 * PAGES


@GNU
def test_it_is_given_back_at_the_end_of_the_outermost():
    with keep_freed_memory():
        with keep_freed_memory():
            torch.empty(SIZE, dtype=torch.uint8).fill_(1)
        before = held()
        assert faults(20) < PAGES / 3
    assert held() < before - SIZE / 2


def test_without_the_functions_of_the_c_library_nothing_happens(monkeypatch):
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    memory._find_function.cache_clear()
    try:
        with keep_freed_memory():
            assert memory._inside == [1]
        assert memory._inside == [0]
    finally:
        memory._find_function.cache_clear()


@pytest.mark.parametrize("name", memory.USER_SETTINGS)
def test_a_user_who_says_how_memory_is_kept_is_not_overruled(name, monkeypatch):
    monkeypatch.setenv(name, "1")
    memory._find_function.cache_clear()
    try:
        assert memory._find_function("mallopt") is None
        assert memory._find_function("malloc_trim") is None
    finally:
        memory._find_function.cache_clear()


def test_a_run_keeps_memory_also_after_a_probe_has_read(tmp_path):
    kind, seen = methods.find_method("supervised"), []

    class Looks:
        def __getitem__(self, step):
            seen.append(memory._inside[0])
            return cases.batch(kind, 16)

    class Probe:
        every = 2

        def __call__(self, method):
            with evaluation_mode(method, "cpu"):
                seen.append(memory._inside[0])
            return {}

        def warning(self, values):
            return None

    told = resolve_training(
        TrainingConfig(steps=4, batch_size=16, precision="float32", device="cpu"),
        kind,
        num_workers=0,
    )
    fit(cases.build("supervised"), Looks(), told, seed=0, quiet=True, probes=[Probe()])
    assert seen.count(1) == 4
    assert seen.count(2) == 2
    assert memory._inside == [0]


@pytest.mark.parametrize("how", ["minutes", "bench"])
def test_what_is_measured_has_the_memory_of_a_run(how):
    kind, seen = methods.find_method("supervised"), []

    class Looks:
        def __getitem__(self, step):
            seen.append(memory._inside[0])
            return cases.batch(kind, 16)

    told = resolve_training(
        TrainingConfig(steps=4, batch_size=16, precision="float32", device="cpu"),
        kind,
        num_workers=0,
    )
    if how == "minutes":
        measure_pace(lambda: cases.build("supervised"), Looks(), told, seed=0, patience=0.5)
    else:
        time_steps(lambda: cases.build("supervised"), Looks(), told, seed=0, seconds=0)
    assert len(seen) >= 5
    assert set(seen) == {1}
    assert memory._inside == [0]


def test_a_mistake_inside_ends_it():
    with pytest.raises(KeyError), keep_freed_memory():
        raise KeyError("a mistake")
    assert memory._inside == [0]
