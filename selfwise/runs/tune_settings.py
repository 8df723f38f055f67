"""The settings that a search tries, and requests that it refuses.

The rate is always tried. Candidates of another option are those of the method (`candidates`), or
follow from the type of the option and its default.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from math import isfinite

from selfwise.core.config_class import find_field, list_option_paths, spell_option
from selfwise.core.errors import did_you_mean
from selfwise.core.option_types import find_bounds, get_hint, list_choices
from selfwise.core.ranges import is_within
from selfwise.core.rng import shuffle_indices
from selfwise.runs.pretrain_config import RunRequest
from selfwise.training.config import TrainingConfig

Setting = dict[str, object]  # values of options by name

MOST_OTHERS = 2  # options besides the rate
WARMUP = "warmup"  # like the rate, it leaves the meaning of the loss alone
# options of training that may be tried; 0.1 and less is what the papers use for the warm-up
TRAINING_CANDIDATES: Mapping[str, Sequence[object]] = {
    WARMUP: (0.0, 0.05, 0.1, 0.2),
    "weight_decay": (0.0, 1e-6, 1e-4, 1e-2),
}
SPREAD = 10.0  # the rates reach from a tenth of the default to ten times the default
FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the default, for other numbers
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # for probabilities


def check_tuning(request: RunRequest) -> None:
    """Raise ValueError, before anything is read, for a search that is not possible."""
    tuning, kind, flag = request.config.tuning, request.kind, spell_option("tune")
    if not tuning.tune:
        # a script that switches the search off with 0 may still pass its fraction
        unused = {"tune_options", *([] if "tune" in request.requested else ["tune_fraction"])}
        for option in sorted(unused & {*request.requested}):
            raise ValueError(f"{spell_option(option)} needs {flag}, the number of settings to try")
        return
    if tuning.tune == 1:
        raise ValueError(
            f"{flag} 1 compares nothing: it needs 2 settings or more; 6 is a good start"
        )
    if kind.labelled:
        raise ValueError(
            f"{flag} judges settings without labels, and {request.method} trains with labels: "
            "compare its runs by their scores"
        )
    if request.config.training.devices > 1:
        raise ValueError(f"{flag} searches in one process: leave out {spell_option('devices')}")
    _check_others(request)


def _check_others(request: RunRequest) -> None:
    """Raise ValueError for an option that the search cannot try."""
    others, flag = request.config.tuning.others, spell_option("tune_options")
    paths = list_option_paths(type(request.config))
    if len(others) > MOST_OTHERS:
        raise ValueError(
            f"{flag} has {len(others)} options, and a short search can tell at most {MOST_OTHERS} "
            "apart: leave out the others"
        )
    for name in others:
        own = [n for n, path in paths.items() if path[0] == "method_options"]
        if name not in (*own, *TRAINING_CANDIDATES):
            raise ValueError(
                f"{flag} {name} cannot be tried; options of {request.method}, warmup and "
                f"weight_decay can{did_you_mean(name, [*own, *TRAINING_CANDIDATES])}"
            )
        if request.modality.name != "image" and name != WARMUP:
            raise ValueError(
                f"{flag} {name} is for methods with two views of an image: {request.method} is "
                "judged by its held-out loss, whose meaning other options than lr and warmup change"
            )
        list_candidates(request, name, request.config.training)


def list_candidates(request: RunRequest, name: str, training: TrainingConfig) -> list[object]:
    """Return the values to try for an option besides the rate; its present value is the first.

    `training` has the present values of options of training.

    Raises ValueError if they do not follow from the type of the option.
    """
    kind = type(request.config)
    path = list_option_paths(kind)[name]
    section = training if path[0] == "training" else getattr(request.config, path[0])
    now = getattr(section, name)
    field = find_field(kind, path)
    known = {**TRAINING_CANDIDATES, **request.kind.candidates}.get(name)
    others = list(known) if known is not None else _derive(now, get_hint(field))
    values = list(dict.fromkeys([now, *others]))
    if len(values) < 2:
        raise ValueError(
            f"{spell_option('tune_options')} {name}: the values to try do not follow from its "
            "type; a method can list them in `candidates`"
        )
    return values


def _derive(now: object, hint: object) -> list[object]:
    """Return candidates that follow from a type and the present value; none if they do not."""
    if isinstance(now, bool):
        return [False, True]
    if choices := list_choices(hint):
        return choices
    if not isinstance(now, int | float):
        return []
    bounds = find_bounds(hint)
    if isinstance(now, float) and bounds == {"ge": 0, "le": 1}:
        return list(SHARES)
    if isinstance(now, int) and bounds.keys() == {"ge", "le"} and bounds["le"] - bounds["ge"] < 5:
        return list(range(int(bounds["ge"]), int(bounds["le"]) + 1))
    if isinstance(now, int):
        values: Iterable[float] = (round(now * factor) for factor in FACTORS)
    else:
        values = (float(f"{now * factor:.3g}") for factor in FACTORS)
    return [value for value in values if is_within(value, bounds)]


def make_rates(lr: float, count: int) -> list[float]:
    """Return learning rates on a logarithmic grid; the first is `lr` itself.

    The grid has `lr` in its middle; with an even number of rates the extra one is higher, because
    the rates of papers are for longer runs. Neighbors differ by a factor of 3.16, or less where
    more rates fit between a tenth of `lr` and ten times `lr`.
    """
    below = (count - 1) // 2
    factor = SPREAD ** (1 / max(2, below))
    exponents = sorted(range(-below, count - below), key=lambda k: (abs(k), k))
    return [lr if k == 0 else float(f"{lr * factor**k:.3g}") for k in exponents]


def make_settings(
    count: int, lr: float, others: Mapping[str, Sequence[object]], *, seed: int
) -> list[Setting]:
    """Return the settings to try; the first has all defaults.

    With the rate alone, they are the grid of `make_rates`. With other options, they are drawn from
    all combinations of five rates and the candidates, without repetition: random search (Bergstra
    and Bengio 2012) tries more values of the option that matters than a grid of the same size.

    Args:
        count: number of settings; fewer if there are fewer combinations.
        lr: the default rate.
        others: candidates of the other options, the default first.
        seed: seed of the draw.

    Raises ValueError for a rate of 0, around which there is no grid.
    """
    if not (lr > 0 and isfinite(lr)):
        raise ValueError(
            f"{spell_option('tune')} looks around the learning rate, and {spell_option('lr')} is "
            f"{lr:g}: give a rate above 0"
        )
    if not others:
        return [{"lr": rate} for rate in make_rates(lr, count)]
    names = ["lr", *others]
    combinations = list(product(make_rates(lr, 5), *others.values()))
    drawn = 1 + shuffle_indices(len(combinations) - 1, seed, "tune")[: count - 1]
    return [dict(zip(names, combinations[row])) for row in (0, *drawn.tolist())]
