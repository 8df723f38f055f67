"""Choose the defaults of a run from its data and its budget.

The user's options, and those that belong to the weights of an earlier run, are never changed. With
`--defaults paper` nothing is. The rules are in the methods' files and in `data_rules.py`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from selfwise.core.config_class import (
    drop_none,
    list_option_paths,
    make_config,
    merge_values,
    nest_values,
    open_prefixes,
)
from selfwise.core.option_types import ENCODER_PREFIX
from selfwise.methods import Method
from selfwise.methods.default_rules import BUDGET_OPTIONS, TOGETHER, Conditions, DefaultRule
from selfwise.runs.data_rules import DATA_RULES
from selfwise.runs.pretrain_config import PretrainConfig, RunRequest, choose_encoder
from selfwise.training.config import ResolvedTraining


def list_rules(kind: type[Method]) -> list[DefaultRule]:
    """Return the rules that can apply to a method: its own first, then those about its data.

    Of several rules about one option, the first that has a value counts.
    """
    own = {rule.option for rule in kind.rules}
    return [*kind.rules, *(r for r in DATA_RULES[kind.modality] if r.option not in own)]


def choose_defaults(request: RunRequest, conditions: Conditions) -> RunRequest:
    """Return the request with the defaults that its data and its machine decide.

    `RunRequest.sources` then has the source of each. The rules about the budget follow in
    `choose_for_budget`, when the number of steps is known.
    """
    rules = [rule for rule in _open_rules(request) if rule.option not in BUDGET_OPTIONS]
    for of_encoder in (True, False):
        now = [rule for rule in rules if rule.option.startswith(ENCODER_PREFIX) is of_encoder]
        about = conditions._replace(encoder=MappingProxyType(drop_none(request.encoder.options)))
        request = _apply(request, now, about)
    return request


def _apply(request: RunRequest, rules: Sequence[DefaultRule], conditions: Conditions) -> RunRequest:
    """Return the request with the values that these rules choose."""
    chosen, sources = dict[str, object](), dict[str, str]()
    for rule in rules:
        if rule.option not in chosen and (value := rule.choose(conditions)) is not None:
            chosen[rule.option], sources[rule.option] = value, rule.source
    return set_values(request, chosen, sources) if chosen else request


def set_values(
    request: RunRequest, values: Mapping[str, object], sources: Mapping[str, str]
) -> RunRequest:
    """Return the request with these values of options and their sources.

    Raises ValueError for a value that the option does not allow.
    """
    config = _set_options(request.config, values)
    name, factory = request.encoder.name, request.encoder.factory
    return replace(
        request,
        config=config,
        encoder=choose_encoder(request.kind, config, name, factory),
        sources={**request.sources, **sources},
    )


def choose_for_budget(
    request: RunRequest, conditions: Conditions, training: ResolvedTraining
) -> ResolvedTraining:
    """Return the options of training with the defaults that the number of steps decides."""
    known = conditions._replace(steps=training.steps, batch_size=training.batch_size)
    chosen: dict[str, object] = {}
    for rule in _open_rules(request):
        if rule.option in BUDGET_OPTIONS and (value := rule.choose(known)) is not None:
            chosen.setdefault(rule.option, value)
    return training.replace(**chosen) if chosen else training


def _open_rules(request: RunRequest) -> Iterator[DefaultRule]:
    """Yield the rules about options that the run has and that nobody has set."""
    if request.config.defaults == "paper":
        return
    kind = type(request.config)
    options = list_option_paths(kind)
    fixed = {*request.requested, *request.sources}
    for group in TOGETHER:
        if group & fixed:
            fixed |= group
    # an encoder that the user names or shapes is what its name and these options say
    keeps_encoder = any(name.partition(".")[0] == "encoder" for name in fixed)
    for rule in list_rules(request.kind):
        is_shape = rule.option.startswith(ENCODER_PREFIX)
        if rule.option in fixed or (is_shape and keeps_encoder):
            continue
        if rule.option in options or rule.option.startswith(tuple(open_prefixes(kind))):
            yield rule


def _set_options(config: PretrainConfig, values: Mapping[str, object]) -> PretrainConfig:
    """Return a config with some values replaced, and everything checked again."""
    kind = type(config)
    kept = config.model_dump(exclude_unset=True)
    return make_config(kind, merge_values(kept, nest_values(kind, values)))
