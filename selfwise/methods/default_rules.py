"""Default values that depend on the data and the budget, where the paper's do not fit.

The papers train on a thousand times the data and the time that most people have. A rule names one
option, the condition under which another value replaces the paper's, and the experiment behind it
if there is one. A method lists its own rules in `rules`; rules that are about the data and not
about one method are in `runs/data_rules.py`.
"""

from collections.abc import Callable, Mapping, Sequence
from math import sqrt
from types import MappingProxyType
from typing import Literal, NamedTuple


class Conditions(NamedTuple):
    """Facts about a run from which its defaults are chosen. 0 and "" mean: not known."""

    examples: int = 0
    """Images, documents or recordings."""
    image_kind: str = ""
    """photo, gray or drawing."""
    side: int = 0
    """Side of the views in pixels."""
    hours: float = 0.0
    """Hours of all recordings."""
    clip_seconds: float = 0.0
    """Median length of the recordings, in seconds."""
    characters: int = 0
    """Characters of the text, from the size of its files."""
    longest_seconds: float = 0.0
    """Seconds of a recording that are read at once, at most."""
    encoder: Mapping[str, object] = MappingProxyType({})
    """The options of the encoder that are chosen; rules about the encoder come first."""
    width: int = 0
    """Width of the encoder."""
    batch_size: int = 0
    """Examples in a step."""
    steps: int = 0
    """Optimizer steps; known for rules about the budget."""
    on_cpu: bool = False


class DefaultRule(NamedTuple):
    """A default of one option that replaces the paper's value."""

    option: str
    """As users write it: lr, encoder.stem."""
    source: Literal["data", "budget", "machine", "method"]
    """What decides; "method" is for one value, whatever the data are. Rules about the budget run
    once the number of steps is known, and are about the options in `BUDGET_OPTIONS`."""
    choose: Callable[[Conditions], object]
    """Returns the value, or None for the paper's."""
    about: str
    """The rule in words, for the table in the documentation."""
    evidence: str = ""
    """Title of the entry in docs/log.md with the experiment; "" for a reason that nobody has
    measured alone."""


# values that a search tries for the views of methods that compare two views of an image
VIEW_CANDIDATES: Mapping[str, Sequence[object]] = MappingProxyType(
    {
        "min_crop_scale": (0.08, 0.2, 0.35, 0.5),  # 0.08 is the papers'; 0.5 suits drawings
        "flip_prob": (0.0, 0.5),
        "jitter_strength": (0.25, 0.5, 1.0),  # SimCLR, appendix B.9 and A
        "blur_prob": (0.0, 0.5),
    }
)

# options whose value hardly changes the time that a step takes
BUDGET_OPTIONS = ("optimizer", "lr", "warmup", "weight_decay", "adam_beta2")
# options that are chosen together: where the user sets one, the others keep the paper's values
TOGETHER = ({"optimizer", "lr"}, {"batch_size", "batch_tokens", "batch_seconds"})
SMALL_SIDE = 64  # px
SHORT_TEXT_RUN, SMALL_WIDTH = 20_000, 256
SHORT_RUN = 10_000  # steps: papers train for 100,000 and more


def short_run_lars(lr: float, *, base_batch: int, evidence: str) -> tuple[DefaultRule, ...]:
    """Return rules that train a short run with LARS, at a peak rate for `base_batch` examples."""

    def choose_optimizer(about: Conditions) -> str | None:
        return "lars" if about.steps <= SHORT_RUN else None

    def choose_lr(about: Conditions) -> float | None:
        return lr * sqrt(about.batch_size / base_batch) if about.steps <= SHORT_RUN else None

    when = f"up to {SHORT_RUN:,} steps"
    rate = f"{lr:g} * sqrt(batch / {base_batch}) {when}"
    return (
        DefaultRule("optimizer", "budget", choose_optimizer, f"lars {when}", evidence),
        DefaultRule("lr", "budget", choose_lr, rate, evidence),
    )


def choose_on_cpu(option: str, value: object, evidence: str) -> DefaultRule:
    """Return the rule that an option has this value on a CPU."""
    text = f"{value} on a CPU, whose runs are short"
    return DefaultRule(option, "machine", lambda c: value if c.on_cpu else None, text, evidence)


CROP_RULES = (  # of methods that compare two crops of an image
    DefaultRule(
        "min_crop_scale",
        "data",
        lambda about: 0.5 if about.image_kind == "drawing" else None,
        "0.5 for drawings, where a part is often another drawing",
        "how many steps a first run needs",
    ),
    DefaultRule(
        "min_crop_scale",
        "data",
        lambda about: 0.2 if 0 < about.side <= SMALL_SIDE else None,
        "0.2 for photos up to 64 px",
        "settings for SimCLR on CIFAR-10 with two cores",
    ),
)


def short_text_rules(
    choose_lr: Callable[[Conditions], float | None],
    about: str,
    evidence: str,
    *,
    average_decay: float,
) -> tuple[DefaultRule, ...]:
    """Return rules for a short run of a small transformer on text.

    Args:
        choose_lr: the peak rate; called for short runs alone.
        about: that rate in words.
        evidence: the experiment.
        average_decay: `adam_beta2`: with few tokens in a step, the average of squared gradients
            must be slow enough to be one, and fast enough to forget the large first gradients.
    """

    def is_short(conditions: Conditions) -> bool:
        return conditions.steps <= SHORT_TEXT_RUN and conditions.width <= SMALL_WIDTH

    when = f"up to {SHORT_TEXT_RUN:,} steps and a width of {SMALL_WIDTH}"
    return (
        DefaultRule(
            "lr", "budget", lambda c: choose_lr(c) if is_short(c) else None, about, evidence
        ),
        DefaultRule(
            "warmup", "budget", lambda c: 0.06 if is_short(c) else None, f"0.06 {when}", evidence
        ),
        DefaultRule(
            "adam_beta2",
            "budget",
            lambda c: average_decay if is_short(c) else None,
            f"{average_decay:g} {when}",
            evidence,
        ),
    )
