"""Word vectors for the token table of a run, trained before the run on its own tokens.

`--init-tokens word2vec` trains skip-gram with the tokenizer, the documents and the seed of the run,
in a run of its own in the folder `word2vec` of the run folder. The vectors have the width of the
token table. If the budget is a time, they take a fraction of it, and at most five passes over the
text; otherwise they take as many passes as the run, at most one, and the run keeps its steps.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

from torch import nn

from selfwise.core.config_class import spell_option
from selfwise.core.files import hold_lock
from selfwise.core.own_files import check_folder, make_folder, remove_run
from selfwise.core.progress import format_count, print_progress
from selfwise.modalities.text.token_table import WORD2VEC, FirstTokens
from selfwise.runs.build import open_newest
from selfwise.runs.logs_and_scores import read_timing
from selfwise.runs.prepare import PreparedRun, prepare_run
from selfwise.runs.pretrain_config import RunRequest, make_request
from selfwise.runs.resume_checks import SETTINGS_KEY, describe_settings
from selfwise.runs.run_yaml import RunRecord, has_record, read_record, write_record
from selfwise.runs.steps import finish_plan
from selfwise.runs.unfinished import check_same_request, to_plain
from selfwise.runs.vectors_record import VectorsRecord, read_vectors_record, write_vectors_record
from selfwise.training.loop import fit

if TYPE_CHECKING:
    from selfwise.modalities.text.data import OpenText

MAX_PASSES = 5.0  # word2vec.c reads a text five times
STEPS_PASSES = 1.0  # where the budget is not a time
INIT_FRACTION = "init_fraction"
READING = ("text_column", "documents", "data_weights", "val_fraction")  # equal in both runs


def trains_vectors(request: RunRequest) -> bool:
    """Return whether the run trains word vectors first; only text has the option."""
    return getattr(request.config.reading, "init_tokens", "") == WORD2VEC


def check_vectors(request: RunRequest) -> None:
    """Raise ValueError if the run cannot train word vectors first."""
    if not trains_vectors(request):
        if _sets_fraction(request):
            raise ValueError(
                f"{spell_option(INIT_FRACTION)} needs {spell_option('init_tokens')} {WORD2VEC}, "
                "which trains vectors first"
            )
        return
    option, devices = f"{spell_option('init_tokens')} {WORD2VEC}", request.config.training.devices
    if request.method == WORD2VEC:
        raise ValueError(f"{option} trains this method itself: leave the option out")
    if devices > 1:
        raise ValueError(
            f"{option} trains in one process, and {spell_option('devices')} is {devices}: train "
            f"{WORD2VEC} first, and give its folder as {spell_option('init_tokens')}"
        )


def _sets_fraction(request: RunRequest) -> bool:
    """Return whether the fraction is set, and not only spelled out with its default."""
    reading = request.config.reading
    field = type(reading).model_fields.get(INIT_FRACTION)  # only text has the option
    return field is not None and getattr(reading, INIT_FRACTION) != field.default


def learn_vectors(prepared: PreparedRun, out: Path, data: object, *, quiet: bool) -> PreparedRun:
    """Train word vectors in `out`, and return the run with them in its token table.

    Vectors that were stopped continue from their last checkpoint. The returned run has the minutes
    that are left of its budget.

    Raises ValueError with one sentence for an encoder without a token table, or if `out` holds
    vectors of another request. An error removes what new vectors have written.
    """
    width = _find_width(prepared)
    stopped, begun = read_vectors_record(out), monotonic()
    if stopped is not None:
        check_same_request(out, "token table", stopped.config, stopped.fingerprint, prepared)
    config, fingerprint = to_plain(prepared.record.config), prepared.record.info.fingerprint
    record = stopped or VectorsRecord(config, fingerprint)
    record = replace(record, seconds=max(record.seconds, _sum_logged_seconds(out / WORD2VEC)))
    write_vectors_record(out, record)
    with _locked(out, new=stopped is None):
        try:
            trained = _train(prepared, out, data, width=width, quiet=quiet)
        finally:
            record = replace(record, seconds=record.seconds + monotonic() - begun)
            if out.is_dir():
                write_vectors_record(out, record)
    steps = format_count(trained.steps, "step")
    text = f"token table: skip-gram of width {width} took {steps} and {record.seconds:.0f} s"
    print_progress(text, quiet=quiet)
    open_text = cast("OpenText", prepared.data)  # only text has the option
    open_text.first_tokens = FirstTokens(out / WORD2VEC, open_newest)
    open_text.set_first_weights(prepared.method.encoder)
    return _shorten(prepared, record.seconds / 60)


def reserve_minutes(prepared: PreparedRun) -> PreparedRun:
    """Return a run that only gets planned with the minutes that vectors would leave."""
    if prepared.request is None or not trains_vectors(prepared.request):
        return prepared
    return _shorten(prepared, _share_minutes(prepared) or 0.0)


def _train(prepared: PreparedRun, out: Path, data: object, *, width: int, quiet: bool) -> RunRecord:
    """Train the vectors, from their last checkpoint if there is one, and return their record."""
    folder = out / WORD2VEC
    check_folder(folder)
    prepared.data.save(out)  # the tokenizer, which the vectors use too
    request = _request_vectors(prepared, out, data, width)
    vectors = prepare_run(request, data, quiet=True)
    if not has_record(folder):
        vectors = _plan_steps(vectors)
        make_folder(folder)
        vectors.data.save(folder)
        write_record(folder, vectors.record)
    record = read_record(folder)
    passes = record.steps / vectors.source.steps_per_epoch
    steps = format_count(record.steps, "step")
    text = f"token table: skip-gram of width {width} on the same tokens, {steps}, {passes:.2g} "
    print_progress(text + f"passes ({folder})", quiet=quiet)
    try:
        fit(
            vectors.method,
            vectors.source,
            record.training,
            seed=vectors.seed,
            out=folder,
            quiet=quiet,
            extra_state={SETTINGS_KEY: describe_settings(folder, record)},
        )
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(
            f"stopped in {WORD2VEC}, and saved; continue with: selfwise resume {out}"
        ) from stop
    return record


def _request_vectors(prepared: PreparedRun, out: Path, data: object, width: int) -> RunRequest:
    """Return the request of the vectors: text, seed and machine of the run."""
    assert prepared.request is not None, "a new run has its request"
    training, reading = prepared.training, prepared.request.config.reading
    options: dict[str, Any] = {name: getattr(reading, name) for name in READING}
    options |= {"tokenizer": str(out.resolve()), "seed": prepared.seed, "encoder.dim": width}
    options |= {"cpu_threads": training.cpu_threads, "device": training.device}
    options |= {"monitor_every": 0}
    if (minutes := _share_minutes(prepared)) is not None:
        options["minutes"] = minutes
    else:
        length = prepared.source.steps_per_epoch
        epochs = training.steps / length if training.steps else training.epochs or 0.0
        options["epochs"] = min(STEPS_PASSES, epochs)
    return make_request(WORD2VEC, options, data=data)


def _sum_logged_seconds(folder: Path) -> float:
    """Return the time of the logged steps of every process, also of those that were killed."""
    _, times = read_timing(folder).values("seconds")
    lasts = [time for time, after in pairwise([*times, 0.0]) if after < time]  # each starts at 0
    return sum(lasts)


def _plan_steps(vectors: PreparedRun) -> PreparedRun:
    """Return the vectors with their number of steps, for at most five passes over the text."""
    training, each = vectors.training, vectors.source.steps_per_epoch
    if training.minutes is None:  # nothing to measure
        steps = max(1, round(each * (training.epochs or 0.0)))
    else:
        planned = finish_plan(vectors, estimate=False, quiet=True).prepared
        steps = min(planned.training.steps, max(1, round(MAX_PASSES * each)))
    training = training.replace(steps=steps, epochs=None, minutes=None)
    return finish_plan(replace(vectors, training=training), estimate=False, quiet=True).prepared


def _share_minutes(prepared: PreparedRun) -> float | None:
    """Return the minutes for the vectors, or None if the budget is not a time."""
    if prepared.training.minutes is None or prepared.request is None:
        return None
    fraction = float(dict(prepared.request.config.reading)[INIT_FRACTION])
    return fraction * prepared.training.minutes


def _shorten(prepared: PreparedRun, minutes: float) -> PreparedRun:
    """Return the run without these minutes; a run of so many steps keeps its steps."""
    if prepared.training.minutes is None:
        return prepared
    left = max(prepared.training.minutes - minutes, 1 / 60)
    return replace(prepared, training=prepared.training.replace(minutes=left))


def _find_width(prepared: PreparedRun) -> int:
    table = getattr(prepared.method.encoder, "token", None)
    if not isinstance(table, nn.Embedding):
        raise ValueError(
            f"{spell_option('init_tokens')} {WORD2VEC} is for encoders with a token table, and "
            "this one has none"
        )
    return table.embedding_dim


@contextmanager
def _locked(out: Path, *, new: bool) -> Iterator[None]:
    """Hold the lock of the folder; an error removes a new folder."""
    try:
        with hold_lock(out / ".lock", wait=False):
            yield
    except TimeoutError as error:
        raise ValueError(f"{out} is being trained by another process") from error
    except (ValueError, FloatingPointError):
        if new:
            remove_run(out)
        raise
