"""`selfwise plan`: what a training would be and be worth, and what would serve better."""

from dataclasses import asdict, dataclass
from pathlib import Path
from textwrap import fill
from typing import Annotated, Any

from selfwise.core.data_info import ImageInfo
from selfwise.core.data_sources import SEVERAL
from selfwise.core.memory_limit import takes_memory_limit
from selfwise.core.ranges import PositiveInt
from selfwise.methods import Method
from selfwise.runs.create import check_free, check_processes, request_run
from selfwise.runs.first_words import (
    count_parameters,
    describe_run,
    format_facts,
    list_decided,
)
from selfwise.runs.forecast.advice import Advice, PlanFacts, list_advice
from selfwise.runs.forecast.cases import MeasuredCase
from selfwise.runs.forecast.estimate import (
    FEW_LABELS,
    Forecast,
    TrainingOutline,
    forecast,
)
from selfwise.runs.forecast.outline import outline_run
from selfwise.runs.forecast.propose import propose_method
from selfwise.runs.prepare import prepare_run
from selfwise.runs.reproduce import format_data_words, format_requested_command
from selfwise.runs.run_yaml import Choice
from selfwise.runs.steps import FinalRun, finish_plan
from selfwise.runs.vectors import reserve_minutes

SENTENCES = 3  # of advice that are printed; `--json` has all
WIDTH = 80


@dataclass(frozen=True)
class PlannedDefault:
    """A value that the data, the budget or the machine decided instead of the paper."""

    option: str
    value: object
    source: str


@dataclass(frozen=True)
class TrainingPlan:
    """What a training would be, and what it will probably be worth."""

    method: str
    proposed: bool
    """Whether the method was chosen by the data."""
    modality: str
    kind: str
    """What the examples are: photo, gray or drawing; running text or short texts; words or
    speech."""
    encoder: str
    parameters: int
    """Of the encoder."""
    batch_size: int
    steps: int
    epochs: float
    """Passes over the data."""
    minutes: float
    """Expected minutes of training on this machine; 0 if they could not be measured."""
    defaults: tuple[PlannedDefault, ...]
    forecast: Forecast
    advice: tuple[Advice, ...]
    """What would serve better, the most important first."""
    command: str
    """The command that trains; empty for data from Python."""
    facts: tuple[tuple[str, str], ...]
    """The lines that a run prints before its first step."""

    def __str__(self) -> str:
        why = " (proposed for these data)" if self.proposed else ""
        lines = [f"selfwise plan {self.method}{why}", *format_facts(self.facts)]
        shown = " ".join(one.text for one in self.advice[:SENTENCES])
        lines += ["", fill(shown, WIDTH)] if shown else []
        return "\n".join([*lines, "", self.command] if self.command else lines)

    def to_dict(self) -> dict[str, object]:
        """Return all facts as plain data."""
        values = {name: value for name, value in asdict(self).items() if name != "facts"}
        own = self.forecast._asdict()
        own["cases"] = [_describe_case(case) for case in self.forecast.cases]
        return values | {
            "forecast": {**own, "text": str(self.forecast)},
            "advice": [one._asdict() for one in self.advice],
        }


@takes_memory_limit
def plan(
    method: str | type[Method] = "",
    *,
    data: Annotated[object, SEVERAL],
    out: str | Path = "",
    labels_per_class: PositiveInt = FEW_LABELS,
    max_memory: str = "",
    quiet: bool = False,
    **options: Any,
) -> TrainingPlan:
    """Tell what a training would be and what it will probably be worth, without training.

    Prepare everything as `pretrain` does with the same options, measure some steps, and discard
    them. There is no run folder, and only the caches that a training would write stay on disk. The
    plan has the number of steps, a forecast from the table of measured cases, advice on what would
    serve better, and the command that trains.

    Args:
        method: name of a method, as `selfwise methods` lists it; by default one that suits the
            data.
        data: as for `pretrain`: a folder, a file or a name; in Python also the examples.
        out: the run folder that the command names; by default `runs/METHOD`. Nothing is written
            there.
        labels_per_class: labeled examples per class that you will have, for which the forecast is.
        max_memory: most memory for reading one file, as in 4G; by default half of what is free.
        quiet: print no progress.
        options: options of `pretrain`: of the method, training and reading, among them the length
            of the training.

    Raises ValueError with one sentence for an invalid request.
    """
    proposed = method == ""
    method = propose_method(data) if proposed else method
    encoder, start = options.pop("encoder", ""), options.pop("init_from", "")
    request = request_run(method, data, encoder, start, int(options.pop("seed", 0)), options)
    place = Path(out or f"runs/{request.method.rpartition(':')[2]}")
    if out:
        check_free(place, request.method)
    check_processes(request, data)
    prepared = reserve_minutes(prepare_run(request, data, quiet=quiet))
    final = finish_plan(prepared, estimate=True, quiet=quiet)
    return _make_plan(final, place, proposed=proposed, labels_per_class=labels_per_class)


def _make_plan(
    final: FinalRun, out: Path, *, proposed: bool, labels_per_class: int
) -> TrainingPlan:
    """Return the plan of a run whose number of steps is measured."""
    prepared, steps = final.prepared, final.plan
    record, training = prepared.record, prepared.training
    on_cpu = training.device == "cpu"
    outline = outline_run(
        prepared,
        labels_per_class=labels_per_class,
        core_minutes=steps.seconds * training.cpu_threads / 60 if on_cpu else 0,
    )
    worth = forecast(outline)
    return TrainingPlan(
        method=record.method,
        proposed=proposed,
        modality=record.modality,
        kind=outline.kind,
        encoder=record.encoder_name,
        parameters=count_parameters(prepared.method.encoder),
        batch_size=training.batch_size,
        steps=training.steps,
        epochs=training.steps / prepared.source.steps_per_epoch,
        minutes=steps.seconds / 60,
        defaults=tuple(
            PlannedDefault(option, value, source)
            for option, (value, source) in list_decided(prepared).items()
        ),
        forecast=worth,
        advice=tuple(list_advice(_collect_facts(final, outline, worth))),
        command=format_requested_command(record, out=str(out)),
        facts=tuple(describe_run(prepared, steps.lasts, worth)),
    )


def _collect_facts(final: FinalRun, outline: TrainingOutline, worth: Forecast) -> PlanFacts:
    """Return what the rules of advice see."""
    prepared = final.prepared
    record, info = prepared.record, prepared.data.info
    mirrored = record.resolved.get("flip_prob", Choice(0.0, ""))
    is_chosen = mirrored.source in ("user", "data")
    return PlanFacts(
        outline,
        worth,
        data=format_data_words(record),
        step_seconds=final.plan.step_seconds,
        size=info.size if isinstance(info, ImageInfo) else 0,
        channels=info.channels if isinstance(info, ImageInfo) else 0,
        flip_prob=0.0 if is_chosen else float(mirrored.value),
        init_tokens=str(record.get("init_tokens", "")),
    )


def _describe_case(case: MeasuredCase) -> dict[str, object]:
    """Return a case as plain data, with its difference."""
    return case._asdict() | {"difference": round(case.difference, 2)}
