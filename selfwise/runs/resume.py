"""Resuming a stopped run."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge
from torch import nn

from selfwise.core.config_class import format_flag
from selfwise.core.data_sources import SEVERAL, DataSources
from selfwise.core.device import resolve_device
from selfwise.core.extras import check_modality
from selfwise.core.memory_limit import takes_memory_limit
from selfwise.core.plugins import FROM_PYTHON, allow_plugins
from selfwise.core.progress import print_progress
from selfwise.distributed.process_group import detect_env
from selfwise.methods import Method
from selfwise.modalities.modality import EncoderFactory
from selfwise.runs.build import RunCode
from selfwise.runs.create import make_listeners, pretrain
from selfwise.runs.environment import describe_environment, list_differences
from selfwise.runs.lengthen import apply_continuation, plan_continuation
from selfwise.runs.names import name_sources
from selfwise.runs.open import Run, load, resolve_code
from selfwise.runs.prepare import PreparedRun
from selfwise.runs.pretrain_config import make_request
from selfwise.runs.processes import check_as_many, check_together, join_run, lead_run, reopen_run
from selfwise.runs.resume_checks import SETTINGS_KEY, describe_settings
from selfwise.runs.run_yaml import RunRecord, has_record, read_record, write_record
from selfwise.runs.unfinished import Unfinished, find_unfinished
from selfwise.training.listeners import Callback, check_callbacks
from selfwise.training.loggers import check_installed
from selfwise.training.loop import fit


@takes_memory_limit
def resume(
    run: str | Path,
    *,
    data: Annotated[object, SEVERAL] = None,
    steps: Annotated[int, Ge(1)] | None = None,
    device: str | None = None,
    num_workers: Annotated[int, Ge(0)] | None = None,
    save_every: Annotated[int, Ge(1)] | None = None,
    keep_last: Annotated[int, Ge(1)] | None = None,
    logger: str | list[str] | None = None,
    logger_project: str | None = None,
    max_memory: str = "",
    plugins: Sequence[str] = (),
    method: type[Method] | None = None,
    encoder: EncoderFactory | nn.Module | None = None,
    callbacks: Sequence[Callback] = (),
    quiet: bool = False,
) -> Run:
    """Continue a stopped run, or the work before it, to the result of an uninterrupted run.

    Args:
        run: folder of the run.
        data: new location of the data, if they were moved, or of all sources in their order; for a
            run that got its data in Python, these data again.
        steps: new total number of steps. A run with --schedule wsd or constant becomes exactly the
            longer run; with any other schedule it becomes a different run from there on.
        device: cpu, cuda, cuda:1, or auto; by default the run's device.
        num_workers: data-loading processes; by default unchanged.
        save_every: steps between two checkpoints; by default unchanged.
        keep_last: number of most recent checkpoints to keep; by default unchanged.
        logger: loggers as for pretrain, or none; by default the run's loggers.
        logger_project: project of the loggers; by default unchanged.
        max_memory: most memory for reading one file, as in 4G; by default half of what is free.
        plugins: modules and .py files outside selfwise that the run may import.
        method: the class of a run whose method was defined in Python.
        encoder: the function or module of a run whose encoder was passed in Python.
        callbacks: functions of (step, values), as for `pretrain`.
        quiet: print nothing.

    Raises ValueError with one sentence for invalid options or data, leaving the run unchanged.
    """
    check_callbacks(callbacks)
    allow_plugins(plugins)
    folder = Path(run)
    if unfinished := find_unfinished(folder):
        changed = [steps, device, num_workers, save_every, keep_last, logger, logger_project]
        _check_unchanged(folder, unfinished, changed)
        return _begin_again(
            folder, unfinished, data, method, encoder, callbacks=callbacks, quiet=quiet
        )
    old = read_record(folder)
    check_modality(old.modality)
    code = resolve_code(folder, old, method=method, encoder=encoder)
    given = {
        "device": None if device is None else resolve_device(device),
        **{"num_workers": num_workers, "save_every": save_every, "keep_last": keep_last},
        **{"logger": logger, "logger_project": logger_project},
    }
    new = _change_options(old, given, data)
    return _resume_with(folder, new, code, data=data, steps=steps, callbacks=callbacks, quiet=quiet)


def _check_unchanged(folder: Path, unfinished: Unfinished, changed: Sequence[object]) -> None:
    """Raise ValueError if the user gives options for the rest of work before a run."""
    if any(value is not None for value in changed):
        raise ValueError(
            f"{folder} holds an unfinished {unfinished.what}, which continues with the options "
            "that it began with: leave out all options but those that name code or data"
        )


def _begin_again(
    folder: Path,
    unfinished: Unfinished,
    data: object,
    method: type[Method] | None,
    encoder: EncoderFactory | nn.Module | None,
    *,
    callbacks: Sequence[Callback],
    quiet: bool,
) -> Run:
    """Continue the work before a run with the options that it began with, and train the run."""
    options = dict(unfinished.config)
    name, place = options.pop("method"), options.pop("data")
    if data is None:
        if place == FROM_PYTHON:
            raise ValueError(f"{folder} was given its data in Python: resume it there, with data=")
        data = DataSources(place) if isinstance(place, list) else place
    if encoder is not None:
        options["encoder"] = encoder
    return pretrain(
        method or name, data=data, out=folder, callbacks=callbacks, quiet=quiet, **options
    )


def _resume_with(
    folder: Path,
    record: RunRecord,
    code: RunCode,
    *,
    data: object,
    steps: int | None,
    callbacks: Sequence[Callback],
    quiet: bool,
) -> Run:
    """Continue a run under a record that may differ from the one in its folder."""
    training = record.training
    check_installed(training.logger)
    check_as_many(folder, training.devices)
    if (env := detect_env()) is not None and env.rank:
        join_run(folder, env, data=data, device=training.device, code=code)
        return load(folder, method=code.method, encoder=code.encoder)
    plan = None if steps is None else plan_continuation(folder, record, code.method, steps)
    prepared = reopen_run(folder, data, code, record=record, quiet=quiet)
    check_together(training.devices, training.device, record.place if data is None else data)
    if plan is not None:
        record = apply_continuation(folder, record, plan)
        print_progress(f"{folder}: {plan.about}", quiet=quiet)
    if record != read_record(folder):
        write_record(folder, record)
    prepared = replace(prepared, record=record, training=record.training)
    _train(prepared, folder, callbacks, quiet=quiet)
    return load(folder, method=code.method, encoder=code.encoder)


def _change_options(old: RunRecord, given: Mapping[str, Any], data: object) -> RunRecord:
    """Return the record with the options that may change at a resume; check their values."""
    changes = {name: value for name, value in given.items() if value is not None}
    training = old.with_options(changes).training  # also checks them
    changes = {name: getattr(training, name) for name in changes}
    if data is not None and name_sources(data) != FROM_PYTHON:
        changes["data"] = name_sources(data)
    changes = {name: value for name, value in changes.items() if value != old.get(name)}
    return old.with_options(changes) if changes else old


def _train(
    prepared: PreparedRun, folder: Path, callbacks: Sequence[Callback], *, quiet: bool
) -> None:
    record, training = prepared.record, prepared.training
    now = describe_environment(training.cpu_threads, resolve_device(training.device))
    for difference in list_differences(record.environment, now):
        text = f"warning: {difference}: the result may differ in the last bits"
        print_progress(text, quiet=quiet)
    probes = prepared.data.probes(prepared.method, training, seed=prepared.seed)
    prepared.data.save(folder)  # after the probes, since some of them write there
    with lead_run(folder, training) as env:
        fit(
            prepared.method,
            prepared.source,
            training,
            seed=prepared.seed,
            out=folder,
            probes=probes,
            quiet=quiet,
            extra_state={SETTINGS_KEY: describe_settings(folder, record)},
            listeners=make_listeners(prepared, record, callbacks),
            env=env,
        )


def pretrain_or_resume(
    method: str,
    *,
    data: object,
    out: str | Path,
    encoder: str | EncoderFactory | nn.Module = "",
    init_from: str | Path = "",
    seed: int = 0,
    quiet: bool = False,
    callbacks: Sequence[Callback] = (),
    **options: Any,
) -> Run:
    """Call `pretrain`, or `resume` if the folder holds a run with equal options.

    Raises ValueError if it holds another run, naming the first option that differs.
    """
    folder = Path(out)
    if not has_record(folder):
        return pretrain(
            method,
            data=data,
            out=folder,
            encoder=encoder,
            init_from=init_from,
            seed=seed,
            quiet=quiet,
            callbacks=callbacks,
            **options,
        )
    record = read_record(folder)
    requested = _normalise_request(record, method, options, data, encoder, init_from, seed)
    for name, value in requested.items():
        before = record.config.get(name, record.get(name))
        if value != before:
            raise ValueError(
                f"{folder} holds a run with {format_flag(name)} {before}, not {value}; "
                "give another --out"
            )
    examples = data if record.data == FROM_PYTHON else None
    return resume(folder, data=examples, quiet=quiet, callbacks=callbacks)


def _normalise_request(
    record: RunRecord,
    method: str,
    options: Mapping[str, Any],
    data: object,
    encoder: str | EncoderFactory | nn.Module,
    init_from: str | Path,
    seed: int,
) -> dict[str, object]:
    """Return the options of the user's request in the form of the record.

    The runs that it names may no longer exist.
    """
    values = {**options, "seed": seed}
    gone = {"init_from": init_from}
    gone |= {name: options.get(name, "") for name in ("targets", "init_tokens")}
    gone = {n: str(Path(v).resolve()) for n, v in gone.items() if v and not Path(v).exists()}
    same = {n: path for n, path in gone.items() if record.get(n) == path}
    values = {n: value for n, value in values.items() if n not in same}
    request = make_request(
        method,
        values,
        data=data,
        encoder=encoder or (record.encoder_name if "init_from" in same else ""),
        init_from="" if "init_from" in same else init_from,
    )
    requested = {"method": request.method, **request.requested, **same}
    if not encoder:
        requested.pop("encoder", None)
    return requested
