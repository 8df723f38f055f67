"""A run that is killed at any moment and resumed is bitwise the run that was not."""

import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch

from selfwise.core.device import resolve_precision
from tests.helpers import unit_cases

STEPS, SAVE, LOG = 300, 50, 5
ENCODER = ["--encoder", "resnet18", "--encoder.layers", "[1, 1, 1, 1]"]
ENCODER += ["--encoder.channels", "[16, 16, 32, 64]", "--encoder.drop_rate", "0.1"]
ENCODER += ["--encoder.drop_path_rate", "0.1"]
COMMON = [
    "--data",
    "digits:train",
    "--batch-size",
    "64",
    "--steps",
    str(STEPS),
    "--cpu-threads",
    "1",
]
COMMON += ["--save-every", str(SAVE), "--log-every", str(LOG), "--knn-every", "75"]
# bf16 where it is multiplied; elsewhere 300 steps of it take minutes, and training/test_loop.py
# stops and goes on in it for a few steps
PRECISION = resolve_precision("auto", "cpu")
COMMON += ["--precision", PRECISION, "--seed", "3", "--quiet"]


# A process that has imported the libraries and done nothing else; every run is a fork of it. There
# are forty of them, and to import takes longer than most of them compute.
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


def selfwise(arguments: tuple[str, ...]) -> None:
    """The command `selfwise`, in a process of its own."""
    from selfwise.cli.main import main

    os.setsid()  # a session of its own: the kill takes the loader's workers along
    sys.argv = ["selfwise", *arguments]
    sys.exit(main())


def start(*arguments: str) -> BaseProcess:
    with pytest.MonkeyPatch.context() as environment:  # the first start starts the server
        environment.delenv("OMP_NUM_THREADS", raising=False)
        process = SERVER.Process(target=selfwise, args=(arguments,))
        process.start()
    return process


def ended(process: BaseProcess) -> int | None:
    process.join()
    return process.exitcode


def kill(process: BaseProcess) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:  # it has no group of its own yet, and no workers, or it is done
        process.kill()
    process.join()


def step_logged(run: Path) -> int:
    path = run / "metrics.jsonl"
    return path.read_bytes().count(b"\n") * LOG if path.exists() else 0


def step_saved(run: Path) -> int:
    return max((int(p.name[5:]) for p in (run / "checkpoints").glob("step-*")), default=0)


def wait_for(process: BaseProcess, condition) -> bool:
    """Until the condition holds; False if the process ended before."""
    deadline = time.monotonic() + 120
    while process.is_alive():
        if condition():
            return True
        if time.monotonic() > deadline:
            kill(process)  # in a session of its own, it would outlive the tests
            pytest.fail("the run does not move")
        time.sleep(0.0005)  # shorter than any of the moments, and leaves the core to the run
    return False


def at_random(run: Path, process: BaseProcess, dice: random.Random) -> bool:
    """Some moment after the run has moved on by a few steps."""
    goal = step_logged(run) + dice.randrange(LOG, 60)
    ready = wait_for(process, lambda: step_logged(run) >= goal)
    time.sleep(dice.random() * 0.05)
    kill(process)
    return ready


def between_saves(run: Path, process: BaseProcess, dice: random.Random) -> bool:
    """When steps are done and logged that no checkpoint holds."""
    ready = wait_for(process, lambda: step_logged(run) >= step_saved(run) + 2 * LOG)
    kill(process)
    return ready and step_logged(run) > step_saved(run)


def inside_a_save(run: Path, process: BaseProcess, dice: random.Random) -> bool:
    """While a checkpoint has its temporary name."""
    writing = run / "checkpoints"
    wait_for(process, lambda: any(writing.glob(".*.writing")))
    kill(process)
    return any(writing.glob(".*.writing"))


def same(a: Path, b: Path) -> None:
    assert step_saved(a) == step_saved(b) == STEPS
    last = f"checkpoints/step-{STEPS:08d}"
    for name in ("metrics.jsonl", f"{last}/model.safetensors"):
        assert (a / name).read_bytes() == (b / name).read_bytes(), name
    states = [torch.load(r / last / "optimizer.pt", weights_only=True) for r in (a, b)]
    flat = [list(leaves(state)) for state in states]
    assert len(flat[0]) == len(flat[1])
    assert all(torch.equal(torch.as_tensor(x), torch.as_tensor(y)) for x, y in zip(*flat))


def leaves(tree):
    if isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, list | tuple):
        for part in tree:
            yield from leaves(part)
    elif tree is not None and not isinstance(tree, str):
        yield tree


# one thread each: two processes with two threads on two cores can take thirty times as long. Two
# threads of one process stop and go on in tests/training/test_loop.py
SIMCLR = ["pretrain", "simclr", *ENCODER, *COMMON]
SUPERVISED = ["pretrain", "supervised", *ENCODER, *COMMON, "--grad-accum-steps", "2"]
# mid-epoch, with dropout; the corpus inside Python is cached by the first of them
TEXT = ["--data", "python-docs", "--tokenizer", "chars", "--max-length", "64", "--batch-size", "8"]
TEXT += ["--steps", str(STEPS), "--cpu-threads", "1", "--save-every", str(SAVE)]
TEXT += ["--log-every", str(LOG), "--monitor-every", "150", "--precision", PRECISION]
TEXT += ["--encoder.depth", "1", "--encoder.dropout", "0.1", "--encoder.length", "64"]
TEXT += ["--seed", "3", "--quiet"]


# steps with other numbers of recordings each, crops, dropout, two micro-batches
SOUNDS = "a folder of recordings"
SPEECH = ["pretrain", "hubert", "--data", SOUNDS, "--encoder", "hubert-tiny"]
SPEECH += ["--encoder.stem", "logmel", "--encoder.dim", "32", "--encoder.position_kernel", "8"]
SPEECH += [
    "--num-clusters",
    "6",
    "--batch-seconds",
    "2",
    "--max-clip-seconds",
    "0.5",
    "--val-fraction",
    "0.2",
]
SPEECH += ["--quiet", "--grad-accum-steps", "2"]
SPEECH += TEXT[TEXT.index("--steps") : TEXT.index("--encoder.depth")]
PATCHES = ["pretrain", "beit", "--encoder", "beit-tiny", "--encoder.dim", "32", *COMMON[:-1]]
PATCHES += ["--encoder.patch", "2", "--encoder.drop_path", "0.2", "--num-clusters", "12", "--quiet"]


def text(method: str) -> list[str]:
    """A run whose encoder is so small that steps are as short as the moments between them."""
    return ["pretrain", method, "--encoder", f"{method}-tiny", *TEXT]


PLANS = {
    "simclr, no workers": (SIMCLR, "0", [inside_a_save, between_saves, between_saves, at_random]),
    "simclr, 2 workers": (SIMCLR, "2", [between_saves, at_random, at_random]),
    "supervised, accumulating": (SUPERVISED, "0", [between_saves, at_random, at_random]),
    "bert, accumulating": (
        [*text("bert"), "--grad-accum-steps", "2"],
        "0",
        [between_saves, at_random],
    ),
    "roberta, 2 workers": (text("roberta"), "2", [between_saves, at_random]),
    "albert": (text("albert"), "0", [inside_a_save, at_random]),
    "gpt": (text("gpt"), "0", [between_saves, at_random]),
    "hubert, accumulating": (SPEECH, "0", [between_saves, at_random]),
    "beit, 2 workers": (PATCHES, "2", [inside_a_save, at_random]),
}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The run that nobody stopped, once for each method; without loader workers."""
    done: dict[str, Path] = {}

    def get(command: list[str]) -> Path:
        if command[1] not in done:
            out = tmp_path_factory.mktemp("whole") / "run"
            assert ended(start(*command, "--num-workers", "0", "--out", str(out))) == 0
            done[command[1]] = out
        return done[command[1]]

    return get


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    return str(unit_cases.voices(tmp_path_factory.mktemp("sounds") / "voices"))


@pytest.mark.slow  # kills
@pytest.mark.parametrize("plan", PLANS)
def test_sigkill_then_resume_is_bitwise_the_whole_run(plan, uninterrupted, sounds, tmp_path):
    command, workers, kills = PLANS[plan]
    command = [sounds if word == SOUNDS else word for word in command]
    whole, run, dice = uninterrupted(command), tmp_path / "run", random.Random(plan)
    process = start(*command, "--num-workers", workers, "--out", str(run))
    for moment in kills:
        for _ in range(8):  # the moment may be missed; then the run is brought back to half way
            if moment(run, process, dice):
                break
            shutil.rmtree(run)
            process = start(*command, "--num-workers", workers, "--out", str(run))
        else:
            pytest.fail(f"never caught {moment.__name__}")
        assert step_saved(run) < STEPS
        process = start("resume", str(run), "--quiet")
    assert ended(process) == 0
    same(whole, run)


@pytest.mark.slow  # kills
def test_the_whole_run_can_be_told_apart(uninterrupted, tmp_path):
    """The comparison above can fail: another seed gives other bytes."""
    whole, run = uninterrupted(SIMCLR), tmp_path / "run"
    other = ["4" if a == "3" else a for a in SIMCLR]
    assert ended(start(*other, "--num-workers", "0", "--out", str(run))) == 0
    with pytest.raises(AssertionError, match="metrics"):
        same(whole, run)
