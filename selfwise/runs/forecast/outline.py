"""Describe a prepared run in the words of the measured cases."""

from selfwise.core.data_info import AudioInfo, TextInfo
from selfwise.runs.forecast.estimate import FEW_LABELS, TrainingOutline
from selfwise.runs.prepare import PreparedRun

LONG_DOCUMENT = 2_000  # bytes: from here on documents are running text, below it short texts
LONG_CLIP = 2.0  # seconds: longer recordings are speech, shorter ones words


def outline_run(
    prepared: PreparedRun,
    *,
    labels_per_class: float = FEW_LABELS,
    core_minutes: float = 0,
) -> TrainingOutline:
    """Return what the forecast of a run with its number of steps depends on."""
    kind, amount = _describe_examples(prepared)
    return TrainingOutline(
        modality=prepared.record.modality,
        kind=kind,
        amount=amount,
        method=prepared.record.method,
        start=prepared.start,
        steps=prepared.training.steps,
        core_minutes=core_minutes,
        labels_per_class=labels_per_class,
    )


def _describe_examples(prepared: PreparedRun) -> tuple[str, float]:
    """Return the kind of the examples, and how many of them there are in the unit of the cases."""
    info, about = prepared.data.info, prepared.conditions
    if isinstance(info, TextInfo):
        characters = info.tokens * info.bytes_per_token
        long = characters >= LONG_DOCUMENT * max(1, info.documents)
        return ("running text" if long else "short texts"), characters
    if isinstance(info, AudioInfo):
        return ("words" if about.clip_seconds < LONG_CLIP else "speech"), info.hours
    return about.image_kind, info.examples
