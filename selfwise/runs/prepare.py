"""Prepare a run from a request: data, needs, encoder and method, each created once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from selfwise.core.config_class import flatten_config
from selfwise.core.device import resolve_device
from selfwise.core.option_types import ENCODER_PREFIX
from selfwise.core.plugins import digest_code
from selfwise.core.process import limit_threads
from selfwise.core.progress import print_progress
from selfwise.methods import Method
from selfwise.methods.default_rules import Conditions
from selfwise.modalities.modality import OpenData, Opening, Steps
from selfwise.modalities.text.token_table import WORD2VEC
from selfwise.runs.build import (
    MethodPlan,
    RunCode,
    build_started,
    digest_factory,
    open_newest,
)
from selfwise.runs.defaults import choose_defaults, choose_for_budget, set_values
from selfwise.runs.environment import describe_environment
from selfwise.runs.pretrain_config import RunRequest
from selfwise.runs.run_yaml import Choice, RunRecord
from selfwise.runs.tune_config import TUNED
from selfwise.training.config import (
    ResolvedTraining,
    check_training,
    name_sources,
    resolve_training,
)


def _keep(training: ResolvedTraining) -> ResolvedTraining:
    return training


@dataclass(frozen=True)
class PreparedRun:
    """The parts of a run, before its first step or its resume."""

    record: RunRecord
    training: ResolvedTraining
    method: Method
    data: OpenData
    source: Steps
    code: RunCode
    seed: int
    fit_budget: Callable[[ResolvedTraining], ResolvedTraining] = _keep
    """Returns the options of a new run with the defaults that its number of steps decides."""
    request: RunRequest | None = None
    """The request of a new run, with the defaults that its data decide."""
    conditions: Conditions = Conditions()  # noqa: RUF009 (an immutable tuple)
    """Facts about the data from which the defaults of a new run are chosen."""
    start: Literal["", "published", "run"] = ""
    """Where the first weights come from; "" means that they are random."""


def prepare_run(request: RunRequest, data: object, *, quiet: bool = False) -> PreparedRun:
    """Open the data and build the method, without creating a run folder.

    Raises ValueError with one sentence for invalid options or data.
    """
    kind, modality = request.kind, request.modality
    check_training(request.config.training, kind)  # before reading data, which may take hours
    device = resolve_device(request.config.training.device)
    with limit_threads(request.config.training.cpu_threads):
        examples = modality.read_data(data, request.config.reading, kind)
        conditions = modality.survey(examples, request.config.reading)
        conditions = conditions._replace(on_cpu=device == "cpu")
        request = choose_defaults(request, conditions)
        config = request.config
        opening = Opening(
            method=kind,
            encoder=request.encoder,
            open_run=open_newest,
            device=device,
            needs=config.needs_options,
        )
        run_data = modality.open_data(examples, config.reading, opening)
    if request.earlier is not None:
        run_data.adopt(request.earlier)
    training, sources = _resolve(request, run_data)
    method = _build_method(request, run_data)
    source = run_data.source(method, batch_size=training.batch_size, seed=config.seed)
    conditions = conditions._replace(width=int(method.encoder.dim))
    about = dict(method.about)
    if about and not quiet:
        text = ", ".join(f"{name} {value:g}" for name, value in about.items())
        print_progress(f"{request.method}: {text}")
    return PreparedRun(
        record=make_record(request, run_data, training, sources, about),
        training=training,
        method=method,
        data=run_data,
        source=source,
        code=RunCode(kind, request.encoder.factory),
        seed=config.seed,
        fit_budget=partial(choose_for_budget, request, conditions),
        request=request,
        conditions=conditions,
        start=_find_start(request),
    )


def change_options(
    prepared: PreparedRun, values: Mapping[str, object], sources: Mapping[str, str]
) -> PreparedRun:
    """Return a new run with other values of options of its method or its training.

    The batches stay. The method is built again if one of its options changes.

    Raises ValueError for a value that the option does not allow.
    """
    assert prepared.request is not None, "a resumed run keeps its options"
    request = set_values(prepared.request, values, sources)
    training, training_sources = _resolve(request, prepared.data)
    method = prepared.method
    if request.config.method_options != prepared.request.config.method_options:
        method = _build_method(request, prepared.data)
    return replace(
        prepared,
        record=make_record(request, prepared.data, training, training_sources, dict(method.about)),
        training=training,
        method=method,
        fit_budget=partial(choose_for_budget, request, prepared.conditions),
        request=request,
    )


def _build_method(request: RunRequest, data: OpenData) -> Method:
    config = request.config
    plan = MethodPlan(
        request.kind, config.method_options, request.modality, request.encoder, config.seed
    )
    method = build_started(plan, data, data.inputs, start=config.init_from)
    data.set_first_weights(method.encoder)
    return method


def _find_start(request: RunRequest) -> Literal["", "published", "run"]:
    """Return whether the first weights are published ones, those of a run, or random."""
    if request.earlier is not None:
        return "published" if request.earlier.imported else "run"
    if getattr(request.config.reading, "init_tokens", "") not in ("", WORD2VEC):  # only on text
        return "run"
    return "published" if getattr(request.encoder.options, "pretrained", False) else ""


def make_record(
    request: RunRequest,
    data: OpenData,
    training: ResolvedTraining,
    training_sources: Mapping[str, str],
    about: Mapping[str, float],
) -> RunRecord:
    """Return the record for run.yaml with the facts so far; `complete_record` adds the rest."""
    kind, config = request.kind, request.config
    values = flatten_config(config)
    values |= {"encoder": request.encoder.name} | dict(data.resolved)
    chosen = {name: value for name, value in request.encoder.options if value is not None}
    values = {n: v for n, v in values.items() if not n.startswith(ENCODER_PREFIX)}
    values |= {f"encoder.{name}": value for name, value in chosen.items()}
    sources = dict.fromkeys(values, "default") | dict.fromkeys(data.resolved, "data")
    sources |= dict.fromkeys((f"encoder.{n}" for n in kind.encoder_options), "method")
    sources |= {"encoder": "method"}
    values |= dict(training)
    sources |= {**training_sources, **request.sources}
    sources |= dict.fromkeys(request.requested, "user")
    sources |= {name: source for name, source in request.sources.items() if source == TUNED}
    plain = {n: list(v) if isinstance(v, tuple) else v for n, v in values.items()}
    return RunRecord(
        method=request.method,
        modality=kind.modality,
        config={"method": request.method, **request.requested},
        resolved={name: Choice(value, sources[name]) for name, value in plain.items()},
        info=data.info,
        needs={name: need for name, need in data.about.items() if need},
        about=about,
        code=_digest_outside(request),
    )


def complete_record(record: RunRecord, training: ResolvedTraining) -> RunRecord:
    """Return the record of a run that is about to take its first step."""
    resolved = dict(record.resolved)
    for name, value in training:
        source = resolved[name].source if resolved[name].value == value else "budget"
        resolved[name] = Choice(value, source)
    environment = describe_environment(training.cpu_threads, training.device)
    return replace(record, resolved=resolved, environment=environment)


def _digest_outside(request: RunRequest) -> dict[str, str]:
    """Return digests of the method and of the encoder if they are from outside the package."""
    digests: dict[str, str] = {}
    if request.is_outside:
        digests["method"] = digest_code(request.kind)
    if request.encoder.factory is not None:
        digests["encoder"] = digest_factory(request.encoder.factory)
    return digests


def _resolve(request: RunRequest, data: OpenData) -> tuple[ResolvedTraining, dict[str, str]]:
    """Return the options of training with every value set, and the source of each value."""
    requested = request.config.training
    if data.batch and requested.batch_size is not None:
        raise ValueError(
            "--batch-size does not go with --batch-tokens or, for speech, --batch-seconds, which "
            "set the number of examples in a step: leave out one of them"
        )
    training = resolve_training(
        requested,
        request.kind,
        num_workers=data.workers,
        batch_size=data.batch,
        paper=request.kind.paper_for(dict(request.config.method_options)),
    )
    return training, name_sources(requested, training)
