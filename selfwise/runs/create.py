"""Create a run: a method, an encoder, data and the training loop produce a run folder.

RUN/run.yaml        options, versions, hardware, data fingerprint: enough to repeat the run
RUN/metrics.jsonl   loss and metrics by step
RUN/checkpoints/    whole checkpoints, the last two by default
RUN/tune.json       the search before the run, with --tune
RUN/word2vec        the run of the word vectors, with --init-tokens word2vec
RUN/timing.jsonl, RUN/features/ (a cache that may be deleted)
RUN/tensorboard/ and similar folders, from loggers
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from torch import nn

from selfwise.core.config_class import spell_option
from selfwise.core.data_sources import SEVERAL
from selfwise.core.memory_limit import takes_memory_limit
from selfwise.core.own_files import make_parents, open_own, remove_own, remove_run
from selfwise.distributed.process_group import count_processes, detect_env
from selfwise.methods import Method
from selfwise.modalities.modality import EncoderFactory, OpenData
from selfwise.modalities.text.token_table import WORD2VEC
from selfwise.runs.build import RunCode
from selfwise.runs.first_words import print_first_words
from selfwise.runs.open import Run, load
from selfwise.runs.prepare import PreparedRun, prepare_run
from selfwise.runs.pretrain_config import RunRequest, make_request
from selfwise.runs.processes import check_together, join_run, lead_run
from selfwise.runs.resume_checks import SETTINGS_KEY, describe_settings
from selfwise.runs.run_yaml import RunRecord, has_record, read_record, write_record
from selfwise.runs.steps import finish_plan
from selfwise.runs.tune import check_search_fits, tune_run
from selfwise.runs.tune_record import FILE as TUNE_FILE
from selfwise.runs.tune_settings import check_tuning
from selfwise.runs.unfinished import find_unfinished
from selfwise.runs.vectors import check_vectors, learn_vectors, trains_vectors
from selfwise.runs.vectors_record import FILE as VECTORS_FILE
from selfwise.runs.view_pictures import draw_first_views
from selfwise.training.best_metric import check_best
from selfwise.training.checkpoint import list_checkpoints
from selfwise.training.config import ResolvedTraining, check_training
from selfwise.training.listeners import Callback, Listeners, check_callbacks
from selfwise.training.loop import fit

BEGUN = ".begun"  # in a run folder until run.yaml is written


@takes_memory_limit
def pretrain(
    method: str | type[Method],
    *,
    data: Annotated[object, SEVERAL],
    out: str | Path,
    encoder: str | EncoderFactory | nn.Module = "",
    init_from: str | Path = "",
    seed: int = 0,
    max_memory: str = "",
    quiet: bool = False,
    callbacks: Sequence[Callback] = (),
    **options: Any,
) -> Run:
    """Train an encoder on unlabeled examples and store the results in a run folder.

    Args:
        method: name of a method in `selfwise methods`; MODULE:NAME or FILE.py:NAME of another
            class; in Python also the class.
        data: the examples: a folder, a file or a name; in Python also the examples themselves. Text
            may have several sources: repeat the option; in Python give a list of Path.
        out: folder of the run, which must be empty or not exist yet.
        encoder: name of an encoder; MODULE:NAME or FILE.py:NAME of a function that builds one; in
            Python also the function, or a torch module. By default the encoder of `init_from`,
            otherwise one that suits the method and a small machine.
        init_from: folder of an earlier run whose encoder weights initialize this run. A run with
            the same text method also takes the heads and the tokenizer.
        seed: seed of every random draw.
        max_memory: most memory for reading one file, as in 4G; by default half of what is free.
        quiet: print nothing.
        callbacks: functions of (step, values) that the first process calls at each log line;
            `values` is a mapping with the run folder as `values.folder`. The run does not record
            them: pass them to `resume` again.
        options: options of the method, of training (`selfwise.training.config.TrainingConfig`) and
            of reading, and `encoder_options`, a mapping.

    Raises ValueError with one sentence for invalid options or data.
    """
    out = Path(out)
    check_callbacks(callbacks)
    request = request_run(method, data, encoder, init_from, seed, options)
    if (env := detect_env()) is not None and env.rank:
        device = request.config.training.device
        join_run(
            out,
            env,
            data=data,
            device=device,
            code=RunCode(request.kind, request.encoder.factory),
        )
        return load(out, method=request.kind, encoder=request.encoder.factory)
    continues = trains_vectors(request) or bool(request.config.tuning.tune)
    check_free(out, request.method, continues=continues)
    check_processes(request, data)
    prepared = prepare_run(request, data, quiet=quiet)
    with _explain_stop(out):
        prepared = _prepare_start(prepared, request, out, data, quiet=quiet)
        return train_prepared(prepared, out, quiet=quiet, callbacks=callbacks)


def _prepare_start(
    prepared: PreparedRun, request: RunRequest, out: Path, data: object, *, quiet: bool
) -> PreparedRun:
    """Train word vectors and search for a setting, where the run asks for them."""
    tunes = bool(request.config.tuning.tune)
    if trains_vectors(request):
        if tunes:
            check_search_fits(prepared)
        prepared = learn_vectors(prepared, out, data, quiet=quiet)
    return tune_run(prepared, out, quiet=quiet) if tunes else prepared


@contextmanager
def _explain_stop(out: Path) -> Iterator[None]:
    """Name the command that continues a run whose search or vectors are there, after Ctrl-C."""
    try:
        yield
    except KeyboardInterrupt as stop:
        if str(stop) or find_unfinished(out) is None:
            raise
        raise KeyboardInterrupt(
            f"stopped before the first step; continue with: selfwise resume {out}"
        ) from stop


def request_run(
    method: str | type[Method],
    data: object,
    encoder: str | EncoderFactory | nn.Module,
    init_from: str | Path,
    seed: int,
    options: Mapping[str, Any],
) -> RunRequest:
    """Return the run that a call of `pretrain` describes, with every option checked."""
    values: dict[str, object] = {**options, **({"seed": seed} if seed else {})}
    request = make_request(method, values, data=data, encoder=encoder, init_from=init_from)
    training = request.config.training
    devices = count_processes(training.devices if "devices" in training.model_fields_set else None)
    request = request if devices == training.devices else request.with_devices(devices)
    check_tuning(request)
    check_vectors(request)
    return request


def check_processes(request: RunRequest, data: object) -> None:
    """Raise ValueError if the run cannot have the requested number of processes."""
    training = request.config.training
    if training.devices == 1:
        return
    check_training(training, request.kind)
    check_together(training.devices, training.device, data)
    if detect_env() is None:
        request.check_importable()


def train_prepared(
    prepared: PreparedRun, out: Path, *, quiet: bool, callbacks: Sequence[Callback] = ()
) -> Run:
    """Create the run folder and take all steps."""
    method, source, seed = prepared.method, prepared.source, prepared.seed
    final, probes, plan = finish_plan(prepared, estimate=not quiet, quiet=quiet)
    record, training = final.record, final.training
    if training.keep_best:
        check_best(partial(deepcopy, method), source, training, seed=seed, probes=probes)
    print_first_words(final, out, plan.lasts, quiet=quiet)
    _make_folder(out, record, prepared.data)
    with _removed_if_never_saved(out, training), lead_run(out, training) as env:
        fit(
            method,
            source,
            training,
            seed=seed,
            probes=probes,
            out=out,
            quiet=quiet,
            extra_state={SETTINGS_KEY: describe_settings(out, record)},
            listeners=make_listeners(prepared, record, callbacks),
            env=env,
        )
    return load(out, method=prepared.code.method, encoder=prepared.code.encoder)


def make_listeners(
    prepared: PreparedRun, record: RunRecord, callbacks: Sequence[Callback]
) -> Listeners:
    """Return the data that loggers need about a run, and the user's functions."""
    options = {"method": record.method, **record.options}
    return Listeners(options, partial(draw_first_views, prepared), tuple(callbacks))


def check_free(out: Path, method: str, *, continues: bool = False) -> None:
    """Raise ValueError if `out` holds anything: no run overwrites files.

    With `continues` it may hold a search or a token table that was stopped.
    """
    if not out.exists():
        return
    if out.is_file():
        raise ValueError(
            f"{spell_option('out')} {out} is a file; give a folder that does not exist yet"
        )
    if has_record(out):
        there = read_record(out).method
        other = "" if there == method else f" of another method ({there})"
        raise ValueError(
            f"{spell_option('out')} {out} already holds a run{other}; resume it with `selfwise "
            f"resume {out}`, or give a new run another folder"
        )
    if (unfinished := find_unfinished(out)) is not None:
        if not continues:
            raise ValueError(
                f"{spell_option('out')} {out} holds an unfinished {unfinished.what}; continue it "
                f"with `selfwise resume {out}`, or give a folder that does not exist yet"
            )
        return
    if out.is_dir() and any(out.iterdir()) and not (out / BEGUN).is_file():
        raise ValueError(
            f"{spell_option('out')} {out} is not empty; give a folder that does not exist yet"
        )


def _make_folder(out: Path, record: RunRecord, data: OpenData) -> None:
    """Create a run folder without weights. It becomes a run with run.yaml, which is written
    last."""
    _clear_begun(out)
    make_parents(out)
    open_own(out / BEGUN, "ab").close()
    data.save(out)
    write_record(out, record)
    (out / BEGUN).unlink()


def _clear_begun(out: Path) -> None:
    """Remove the files in `out` of a process that was killed before it wrote run.yaml, but not a
    search or word vectors."""
    if not (out / BEGUN).is_file() or has_record(out):
        return
    for path in out.iterdir():
        if path.name in (TUNE_FILE, VECTORS_FILE, WORD2VEC):
            continue
        remove_own(path)


@contextmanager
def _removed_if_never_saved(out: Path, training: ResolvedTraining) -> Iterator[None]:
    """Remove the folder after an error before the first checkpoint, so that a new attempt can use
    it.

    With several processes the folder stays, because other processes may still read it.
    """
    try:
        yield
    except (ValueError, FloatingPointError):
        if training.devices == 1 and not list_checkpoints(out / "checkpoints"):
            remove_run(out)
        raise
