"""Advice on a planned training: whether something else would serve better, and why.

A rule returns a sentence, with the command that follows it if there is one, or None where it does
not apply. Its numbers are those of the measured cases. To add a rule, write the function and put it
into `RULES`.
"""

from collections.abc import Callable, Sequence
from math import ceil
from shlex import quote
from typing import NamedTuple

from selfwise.evaluation.scores.names import RAW_NAMES
from selfwise.methods import find_method, own_names
from selfwise.runs.forecast.cases import IMPORT, MeasuredCase, read_cases
from selfwise.runs.forecast.estimate import Forecast, TrainingOutline, forecast

FEW_STEPS = 300  # fewer steps gave little, on digits and on photos
FEW_IMAGES = 5_000  # below it, training from scratch teaches little beyond raw pixels
FEW_HOURS = 10.0  # of sound; published encoders heard hundreds
SMALL_TEXT = 100_000_000  # characters: little for a masked language model
MIN_PUBLISHED_SIZE = 32  # px: weights of photos help little with smaller images
PUBLISHED = "resnet18"  # an encoder with published weights
MANY_LABELS = 1_000  # per class: with so many, training on the labels was far ahead
FEW_VOICES_HOURS = 1.0  # of sound: too little to hold many speakers
CLEARLY = 5.0  # points: a smaller lead of another method is not worth a sentence
NOT_PROPOSED = ("dvae", "fsq")  # tokenizers of images, whose encoders are not for probes
WORD2VEC = "word2vec"
FAST = {"bert": "bert-fast", "roberta": "bert-fast", "gpt": "gpt-fast"}  # presets for small text
# held-out nats in equal time and at equal rates, vectors included (docs/results.md, "Fast presets")
FAST_EVIDENCE = {
    "bert-fast": "on novels they took the loss from 5.85 to 5.55 nats (one seed)",
    "gpt-fast": "on novels they took the loss from 5.24 to 4.95 nats (one seed)",
}


class Advice(NamedTuple):
    """A sentence, and the command to run if the user agrees."""

    text: str
    command: str = ""


class PlanFacts(NamedTuple):
    """What the rules see of a plan."""

    outline: TrainingOutline
    forecast: Forecast
    data: str
    """The option with the data, as in a command."""
    step_seconds: float = 0.0
    """0 if it was not measured."""
    size: int = 0
    """Side of the images in px."""
    channels: int = 0
    flip_prob: float = 0.0
    """The probability of mirrored images; 0 where the user has set it."""
    init_tokens: str = ""
    """Where the token table comes from; empty for a random one."""


def list_advice(facts: PlanFacts) -> list[Advice]:
    """Return the advice that applies, the most important first."""
    return [one for rule in RULES if (one := rule(facts)) is not None]


def give_more_time(facts: PlanFacts) -> Advice | None:
    """Name the minutes that enough steps take, if the budget is far too small."""
    steps = round(facts.outline.steps)
    if steps >= FEW_STEPS or facts.outline.method == WORD2VEC:  # passes over the words count there
        return None
    count = "1 step teaches" if steps == 1 else f"{steps:,} steps teach"
    if not facts.step_seconds:
        return Advice(f"{count} little: take {FEW_STEPS} or more.")
    minutes = _round_up(FEW_STEPS * facts.step_seconds / 60)
    noun = "minute" if minutes == 1 else "minutes"
    return Advice(
        f"{count} little: {FEW_STEPS} take about {minutes:g} {noun} here (--minutes {minutes:g})."
    )


def start_from_published(facts: PlanFacts) -> Advice | None:
    """Start from published weights where there are few examples."""
    outline = facts.outline
    if outline.start:
        return None
    if outline.modality == "image":
        return _use_published_images(facts)
    if outline.modality == "text" and outline.amount < SMALL_TEXT:
        size = f"{_round_characters(outline.amount)} characters are little text"
        family = "bert"
    elif outline.modality == "audio" and outline.amount < FEW_HOURS:
        size, family = f"{outline.amount:,.2g} hours are little sound", "hubert"
    else:
        return None
    best = _find_published(outline.modality)
    reason = f"; {_compare(best, 'published weights')}" if best else ""
    return Advice(
        f"{size}: import published weights if there are any for your language{reason}.",
        f"selfwise import {family} FOLDER --out runs/{family}",
    )


def _use_published_images(facts: PlanFacts) -> Advice | None:
    outline = facts.outline
    if outline.kind == "drawing" or outline.amount >= FEW_IMAGES:
        return None
    if facts.size < MIN_PUBLISHED_SIZE or facts.channels != 3:
        return None
    options = f"--encoder {PUBLISHED} --encoder.pretrained true"
    return Advice(
        f"{outline.amount:,.0f} photos are few: start from published weights ({options}).",
        f"selfwise pretrain {quote(outline.method)} {facts.data} {options} "
        f"--out runs/{outline.method}-published",
    )


def use_word2vec(facts: PlanFacts) -> Advice | None:
    """Train word vectors on small text, if the method exists."""
    outline = facts.outline
    if outline.modality != "text" or outline.method == WORD2VEC or outline.start:
        return None
    if WORD2VEC not in own_names() or outline.amount >= SMALL_TEXT:
        return None
    worst = min(
        (c for c in read_cases() if c.modality == "text" and c.method == outline.method),
        key=lambda case: case.difference,
        default=None,
    )
    reason = f", and {_compare(worst, outline.method)}" if worst else ""
    return Advice(
        f"{WORD2VEC} learns from small text in minutes{reason}.",
        f"selfwise plan {WORD2VEC} {facts.data}",
    )


def use_fast_preset(facts: PlanFacts) -> Advice | None:
    """Start a transformer from word vectors on small text."""
    outline = facts.outline
    if outline.modality != "text" or outline.start or facts.init_tokens:
        return None
    preset = FAST.get(outline.method)
    if preset is None or outline.amount >= SMALL_TEXT:
        return None
    return Advice(
        f"The preset {preset} starts from word vectors: {FAST_EVIDENCE[preset]}.",
        f"selfwise plan --config {preset} {facts.data}",
    )


def mention_random_tables(facts: PlanFacts) -> Advice | None:
    """Say that a forecast with word vectors rests on cases without them."""
    if facts.init_tokens and facts.forecast.level != "not measured":
        return Advice("The measured cases began with random token tables, not with word vectors.")
    return None


def train_supervised(facts: PlanFacts) -> Advice | None:
    """Train on the labels where there are many."""
    outline = facts.outline
    if outline.modality != "image" or outline.labels_per_class < MANY_LABELS:
        return None
    best = _find_case(outline.modality, "supervised", MANY_LABELS)
    if best is None or find_method(outline.method).labelled:
        return None
    rival = _find_case(outline.modality, outline.method, best.labels_per_class)
    compared = f", where {outline.method} had {rival.score:g}" if rival else ""
    return Advice(
        f"With {best.labels_per_class:,.0f} labels per class supervised training had "
        f"{best.score:g} % on {best.data}{compared}: train supervised as well.",
        f"selfwise pretrain supervised {facts.data} --out runs/supervised",
    )


def use_better_method(facts: PlanFacts) -> Advice | None:
    """Name a method whose forecast is clearly higher."""
    own = facts.forecast
    named = WORD2VEC if use_word2vec(facts) else ""  # in a sentence of its own
    others = [pair for pair in _forecast_others(facts) if pair[0] != named]
    best = max(others, key=lambda pair: pair[1].difference, default=None)
    if best is None:
        return None
    name, other = best
    measured = own.level != "not measured"
    if measured and other.difference < own.difference + CLEARLY:
        return None
    if not measured and other.level != "above":
        return None
    return Advice(
        f"{name} would probably serve better: {_compare(other.cases[0], name)}.",
        f"selfwise plan {name} {facts.data}",
    )


def _forecast_others(facts: PlanFacts) -> list[tuple[str, Forecast]]:
    """Return the forecasts of other methods without labels, where there are any."""
    outline, pairs = facts.outline, []
    for name in own_names():
        kind = find_method(name)
        if name in (outline.method, *NOT_PROPOSED) or kind.labelled:
            continue
        if kind.modality == outline.modality:
            steps = 0 if WORD2VEC in (name, outline.method) else outline.steps  # theirs are short
            one = forecast(outline._replace(method=name, steps=steps))
            if one.level != "not measured" and one.cases[0].method == name:
                pairs.append((name, one))
    return pairs


def keep_left_and_right(facts: PlanFacts) -> Advice | None:
    """Do not mirror images whose meaning has a left and a right."""
    if facts.outline.method == "rotation":
        return Advice("rotation needs an upright, which microscopy and satellite images lack.")
    if not facts.flip_prob:
        return None
    return Advice("If left and right matter (writing, traffic, X-rays), give --flip-prob 0.")


def collect_more_speakers(facts: PlanFacts) -> Advice | None:
    """Warn of new speakers where there is little sound."""
    outline = facts.outline
    if outline.modality != "audio" or outline.amount >= FEW_VOICES_HOURS:
        return None
    new = [c for c in read_cases() if "new speakers" in c.data and c.method == outline.method]
    worst = min(new, key=lambda case: case.difference, default=None)
    if worst is None:
        return None
    return Advice(
        f"For speakers that it never heard, {_compare(worst, outline.method)}: collect many voices."
    )


Rule = Callable[[PlanFacts], Advice | None]
RULES: Sequence[Rule] = (  # the most important first
    give_more_time,
    train_supervised,
    use_word2vec,
    use_fast_preset,
    mention_random_tables,
    start_from_published,
    use_better_method,
    collect_more_speakers,
    keep_left_and_right,
)


def _find_published(modality: str) -> MeasuredCase | None:
    """Return the case of published weights with the largest number of labels."""
    cases = [c for c in read_cases() if c.modality == modality and c.method == IMPORT]
    return max(cases, key=lambda case: case.labels_per_class, default=None)


def _find_case(modality: str, method: str, labels_per_class: float) -> MeasuredCase | None:
    """Return the best case of a method with this number of labels per class."""
    cases = [
        case
        for case in read_cases()
        if (case.modality, case.method) == (modality, method)
        and case.labels_per_class == labels_per_class
    ]
    return max(cases, key=lambda case: case.score, default=None)


def _compare(case: MeasuredCase, name: str) -> str:
    """Return a clause: bert had 67.1 where a bag of words had 81.7 (SST-2, 100 labels ...)."""
    return (
        f"{name} had {case.score:g} where {RAW_NAMES[case.modality]} had {case.raw:g} "
        f"({case.data}, {case.labels_per_class:,.0f} labels per class)"
    )


def _round_characters(count: float) -> str:
    """Return a number of characters as 60,100 or 1.2 million."""
    return f"{count / 1e6:,.3g} million" if count >= 1e6 else f"{float(f'{count:.3g}'):,.0f}"


def _round_up(minutes: float) -> float:
    """Round up to two digits, to whole minutes from ten on."""
    return ceil(minutes) if minutes >= 10 else ceil(10 * minutes) / 10
