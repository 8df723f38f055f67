"""Continue a run in its folder, in one process or several together.

The first process prepares a run and writes its folder. The other processes open the folder as a
resumed run does, so that they need nothing else.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from socket import gethostname
from time import monotonic, sleep
from typing import Any

import torch
from torch.distributed import TCPStore

from selfwise.core.device import device_type, resolve_device
from selfwise.core.plugins import FROM_PYTHON
from selfwise.core.process import limit_threads
from selfwise.data.image.named_sets import parse_name
from selfwise.distributed.process_group import (
    SINGLE_PROCESS,
    DistributedEnv,
    count_local_processes,
    detect_env,
    join_process_group,
    report_peer_failure,
    wait_for_all,
)
from selfwise.distributed.worker_processes import join_when_ready, launch_workers, run_worker
from selfwise.modalities import modality_of
from selfwise.modalities.modality import OpenData, Opening
from selfwise.runs.build import (
    RunCode,
    build_started,
    check_code,
    find_code,
    make_recorded_plan,
    open_newest,
    read_encoder_choice,
)
from selfwise.runs.names import IMPORTED, name_sources
from selfwise.runs.prepare import PreparedRun
from selfwise.runs.pretrain_config import needs_class
from selfwise.runs.resume_checks import check_settings
from selfwise.runs.run_yaml import RunRecord, has_record, read_record
from selfwise.training import checkpoint
from selfwise.training.config import ResolvedTraining
from selfwise.training.loop import fit

# seconds until a network folder shows files that another machine wrote
FOLDER_TIMEOUT = 60.0
FAILED_EARLY_HINT = "it was the first process, before training began, and printed the reason"
RETRY_HINT = "nothing was written: run the command again"
MAX_PROCESSES_PER_CORE = 4  # more is a mistake
# -P: a json.py in the current folder must not replace Python's own
PYTHON = (sys.executable, "-P")
MEMBER_CODE = (
    "import sys; from selfwise.runs.processes import run_member; sys.exit(run_member(sys.argv[1]))"
)


def reopen_run(
    folder: Path,
    data: object = None,
    code: RunCode | None = None,
    *,
    record: RunRecord | None = None,
    quiet: bool = False,
) -> PreparedRun:
    """Return the contents of a run folder, with its data open.

    Args:
        folder: folder of the run.
        data: the examples of a run that got them in Python.
        code: the code that its record names, if not all of it is ours.
        record: a record to use instead of its run.yaml.
        quiet: print no warnings.

    Raises ValueError if its data cannot be opened again, or differ from the run's data.
    """
    record = record or read_record(folder)
    if data is None and record.data == FROM_PYTHON:
        raise ValueError(f"{folder} was given its data in Python: resume it there, with data=")
    if record.data == IMPORTED:
        raise ValueError(
            f"{folder} was imported, so it has no training to resume; to train it further: "
            f"selfwise pretrain {record.method} --init-from {folder} --data PATH --out RUN"
        )
    code = code or find_code(folder, record)
    check_code(folder, record, code, quiet=quiet)
    saved = checkpoint.find_latest(folder / "checkpoints")[0]
    if saved is not None:
        check_settings(folder, saved)
    examples = record.place if data is None else data
    if data is None:
        check_data_exist(folder, record)
    run_data = _reopen_data(folder, record, code, examples)
    plan = make_recorded_plan(record, code, pretrained=saved is None)
    start = record.option("init_from") if saved is None else ""
    method = build_started(plan, run_data, run_data.inputs, start=start)
    if saved is None:
        run_data.set_first_weights(method.encoder)
    training = record.training
    source = run_data.source(method, batch_size=training.batch_size, seed=record.seed)
    if run_data.info.fingerprint != record.info.fingerprint:
        raise ValueError(_describe_changed_data(folder, record, run_data, examples))
    return PreparedRun(record, training, method, run_data, source, code, record.seed)


def check_data_exist(folder: Path, record: RunRecord) -> None:
    """Raise ValueError if the data of a run were moved or removed."""
    for data in record.sources:
        named = parse_name(data)
        place = named.root if named is not None else Path(data)
        if place is not None and place.is_absolute() and not place.exists():
            several = " with all sources in their order" if len(record.sources) > 1 else ""
            raise ValueError(
                f"{place} no longer exists, and {folder} was started with it: give its new "
                f"location, selfwise resume {folder} --data NEW_PLACE{several}"
            )


def _describe_changed_data(
    folder: Path, record: RunRecord, run_data: OpenData, examples: object
) -> str:
    """Return the error for data that differ from those of the run, or for the first such source."""
    names = name_sources(examples)
    then, now = (getattr(info, "sources", []) for info in (record.info, run_data.info))
    if isinstance(names, str) or len(then) != len(now):
        name = names if isinstance(names, str) else " + ".join(names)
        return (
            f"the data at {name} differ from the data that {folder} was started with "
            f"({run_data.info.examples} examples now, {record.info.examples} then; their "
            "fingerprints differ)"
        )
    pairs = zip(names, then, now)
    name = next((n for n, a, b in pairs if a.fingerprint != b.fingerprint), names[0])
    return (
        f"the data at {name} differ from the source that {folder} was started with in this place: "
        "give the same sources in the same order"
    )


def _reopen_data(folder: Path, record: RunRecord, code: RunCode, data: object) -> OpenData:
    """Open the data of a run, with the tokenizer or targets in its folder."""
    modality = modality_of(code.method)
    opening = Opening(
        method=code.method,
        encoder=read_encoder_choice(record, code),
        open_run=open_newest,
        folder=folder,
        needs=record.needs_options(needs_class(code.method)),
    )
    examples = modality.read_data(data, record.reading, code.method)
    run_data = modality.open_data(examples, record.reading, opening)
    if record.option("init_from"):  # its weights may need more than these data
        run_data.adopt(record)
    return run_data


def check_together(devices: int, device: str, data: object) -> None:
    """Raise ValueError if a run cannot have this number of processes here."""
    if devices < 1:
        raise ValueError(f"--devices must be at least 1, not {devices}")
    if devices == 1 or detect_env() is not None:
        return
    if name_sources(data) == FROM_PYTHON:
        raise ValueError(
            f"--devices {devices} starts processes that open the data themselves: give a folder, "
            "a file or a name, or start the script with torchrun"
        )
    if resolve_device(device) == "mps":
        raise ValueError(f"--devices {devices} is for CPUs and CUDA; --device mps has one process")
    if resolve_device(device) == "cuda" and devices > torch.cuda.device_count():
        raise ValueError(
            f"--devices {devices} is more than the {torch.cuda.device_count()} GPUs of this machine"
        )
    if devices > (max_devices := MAX_PROCESSES_PER_CORE * (os.cpu_count() or 1)):
        raise ValueError(
            f"--devices {devices} is more than {max_devices}: each process needs its own core, "
            f"and this machine has {os.cpu_count()}"
        )


def check_as_many(folder: Path, devices: int) -> None:
    """Raise ValueError if the number of started processes differs from the run's number."""
    env = detect_env()
    started_now = devices if env is None else env.size
    if started_now != devices:
        raise ValueError(
            f"{folder} is a run of {devices} processes and {started_now} were started: start "
            f"{devices}, because another number would add gradients in another order"
        )


@contextmanager
def lead_run(folder: Path, training: ResolvedTraining) -> Iterator[DistributedEnv]:
    """Run as the first process of a run, with the other processes at work in the run's folder."""
    if training.devices == 1:
        yield SINGLE_PROCESS
        return
    command = [*PYTHON, "-c", MEMBER_CODE, str(folder.resolve())]
    with launch_workers(
        command,
        training.devices,
        device_type=device_type(training.device),
        threads=training.cpu_threads,
        resume_hint=_format_resume_hint(folder),
    ) as env:
        yield env
        wait_for_all()


def run_member(folder: str) -> int:
    """Run a process that `lead_run` started, from its beginning to its end."""

    def work(env: DistributedEnv, store: TCPStore) -> None:
        run = reopen_run(Path(folder))
        join_when_ready(env, store, device_type(run.training.device))
        _train(run, Path(folder), env)

    return run_worker(work, _format_resume_hint(Path(folder)))


@contextmanager
def lead_shared_work(
    command: str, *words: str, options: Mapping[str, Any], devices: int
) -> Iterator[DistributedEnv]:
    """Run as the first of several processes that compute something other than training.

    `command` is Python, and calls `join_shared_work`; its arguments are the words, and the options
    as JSON.
    """
    line = [*PYTHON, "-c", command, *words, json.dumps(options)]
    num_threads = max(1, torch.get_num_threads() // count_local_processes(devices))
    if (env := detect_env()) is not None and env.rank:
        with report_peer_failure(FAILED_EARLY_HINT):
            join_process_group(env, "cpu")
        with report_peer_failure(RETRY_HINT), limit_threads(num_threads):
            yield env
        return
    workers = launch_workers(
        line, devices, device_type="cpu", threads=num_threads, resume_hint=RETRY_HINT
    )
    with limit_threads(num_threads if devices > 1 else 0), workers as env:
        yield env


def join_shared_work(work: Callable[[DistributedEnv], None]) -> int:
    """Run a process that `lead_shared_work` started, from its beginning to its end."""

    def join_and_work(env: DistributedEnv, store: TCPStore) -> None:
        join_when_ready(env, store, "cpu")
        work(env)

    return run_worker(join_and_work, RETRY_HINT)


def join_run(
    folder: Path, env: DistributedEnv, *, data: object, device: str, code: RunCode | None = None
) -> None:
    """Run a process that torchrun or SLURM started, other than the first.

    It waits until the first process has prepared the run.
    """
    with report_peer_failure(FAILED_EARLY_HINT):
        join_process_group(env, device_type(resolve_device(device)))
    with report_peer_failure(_format_resume_hint(folder)):
        _wait_for_run(folder)
        run = reopen_run(folder, data if name_sources(data) == FROM_PYTHON else None, code)
        try:
            _train(run, folder, env)
        except KeyboardInterrupt:
            raise SystemExit(130) from None  # the first process prints the reason


def _wait_for_run(folder: Path) -> None:
    """Wait until this machine sees the run that the first process prepared, or give up."""
    deadline = monotonic() + FOLDER_TIMEOUT
    while not has_record(folder):
        if monotonic() > deadline:
            raise ValueError(
                f"{folder.resolve()} is not a run on {gethostname()}, and the first process "
                "created one there: all machines of a run must see one folder"
            )
        sleep(0.5)


def _train(run: PreparedRun, folder: Path, env: DistributedEnv) -> None:
    run.data.join(folder)
    fit(run.method, run.source, run.training, seed=run.seed, out=folder, quiet=True, env=env)
    wait_for_all()


def _format_resume_hint(folder: Path) -> str:
    return f"resume with: selfwise resume {folder}"
