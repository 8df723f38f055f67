"""Resuming a run that was stopped."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from selfwise.core.config_class import format_flag
from selfwise.core.device import resolve_device
from selfwise.core.extras import check_modality
from selfwise.core.plugins import FROM_PYTHON, allow_plugins
from selfwise.core.progress import print_progress
from selfwise.distributed.process_group import detect_env
from selfwise.methods import Method
from selfwise.modalities.modality import EncoderFactory
from selfwise.runs.create import make_listeners, pretrain
from selfwise.runs.environment import describe_environment, list_differences
from selfwise.runs.open import Run, load, resolve_code
from selfwise.runs.pretrain_config import make_request
from selfwise.runs.processes import check_as_many, check_together, join_run, lead_run, reopen_run
from selfwise.runs.resume_checks import SETTINGS_KEY, describe_settings
from selfwise.runs.run_yaml import RunRecord, has_record, read_record
from selfwise.training.listeners import Callback, check_callbacks
from selfwise.training.loop import fit


def resume(
    run: str | Path,
    *,
    data: object = None,
    plugins: Sequence[str] = (),
    method: type[Method] | None = None,
    encoder: EncoderFactory | nn.Module | None = None,
    callbacks: Sequence[Callback] = (),
    quiet: bool = False,
) -> Run:
    """Continue a run that was stopped; the result is that of a run that was not stopped.

    Args:
        run: folder of the run.
        data: only for a run that was given its data in Python: the same data again.
        plugins: modules and .py files outside of selfwise that the run may import.
        method: the class of a run whose method was defined in Python.
        encoder: the function or module of a run whose encoder was handed over in Python.
        callbacks: functions of (step, values), as for `pretrain`.
        quiet: print nothing but differences of the environment.
    """
    check_callbacks(callbacks)
    allow_plugins(plugins)
    folder = Path(run)
    record = read_record(folder)
    check_modality(record.modality)
    training = record.training
    code = resolve_code(folder, record, method=method, encoder=encoder)
    check_as_many(folder, training.devices)
    if (env := detect_env()) is not None and env.rank:
        join_run(folder, env, data=data, device=training.device, code=code)
        return load(folder, method=code.method, encoder=code.encoder)
    prepared = reopen_run(folder, data, code)
    check_together(training.devices, training.device, record.data if data is None else data)
    now = describe_environment(training.threads, resolve_device(training.device))
    for difference in list_differences(record.environment, now):
        print_progress(f"warning: {difference}: the result may differ in the last bits")
    probes = prepared.data.probes(prepared.method, training, seed=prepared.seed)
    prepared.data.save(folder)  # after the probes, since some write there
    with lead_run(folder, training) as env:
        fit(
            prepared.method,
            prepared.source,
            training,
            seed=prepared.seed,
            out=folder,
            probes=probes,
            quiet=quiet,
            extra_state={SETTINGS_KEY: describe_settings(folder, prepared.record)},
            listeners=make_listeners(prepared, prepared.record, callbacks),
            env=env,
        )
    return load(folder, method=code.method, encoder=code.encoder)


def pretrain_or_resume(
    method: str,
    *,
    data: object,
    out: str | Path,
    encoder: str | EncoderFactory | nn.Module = "",
    start: str | Path = "",
    seed: int = 0,
    quiet: bool = False,
    **options: Any,
) -> Run:
    """`pretrain`, or `resume` where the folder holds a run with the same options.

    Raises ValueError if it holds another run, naming the first option that differs.
    """
    folder = Path(out)
    if not has_record(folder):
        return pretrain(
            method,
            data=data,
            out=folder,
            encoder=encoder,
            start=start,
            seed=seed,
            quiet=quiet,
            **options,
        )
    record = read_record(folder)
    requested = _normalise_request(record, method, options, data, encoder, start, seed)
    for name, value in requested.items():
        before = record.config.get(name, record.get(name))
        if value != before:
            raise ValueError(
                f"{folder} holds a run with {format_flag(name)} {before}, not {value}; "
                "give another --out"
            )
    return resume(folder, data=data if record.data == FROM_PYTHON else None, quiet=quiet)


def _normalise_request(
    record: RunRecord,
    method: str,
    options: Mapping[str, Any],
    data: object,
    encoder: str | EncoderFactory | nn.Module,
    start: str | Path,
    seed: int,
) -> dict[str, object]:
    """What the user asks for now, by option, as the record has it.

    The runs that it names may be gone since.
    """
    values = {**options, "seed": seed}
    gone = {"start": start, "units": options.get("units", "")}
    gone = {n: str(Path(v).resolve()) for n, v in gone.items() if v and not Path(v).exists()}
    same = {n: path for n, path in gone.items() if record.get(n) == path}
    values = {n: value for n, value in values.items() if n not in same}
    request = make_request(
        method,
        values,
        data=data,
        encoder=encoder or (record.encoder_name if "start" in same else ""),
        start="" if "start" in same else start,
    )
    requested = {"method": request.method, **request.requested, **same}
    if not encoder:
        requested.pop("encoder", None)
    return requested
