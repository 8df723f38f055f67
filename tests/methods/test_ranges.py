"""Every option of every method that has a range is refused outside, in Python and as a flag."""

from inspect import signature
from math import inf, nan

import pytest

from selfwise import methods
from selfwise.core.config_class import make_config, make_options_class
from selfwise.core.option_types import describe_bounds, find_bounds
from selfwise.core.ranges import PositiveInt, Probability, check_ranges
from tests.helpers import cases

OPTIONS = [
    (name, option, bounds)
    for name in methods.method_names()
    for option, parameter in signature(methods.find_method(name)).parameters.items()
    if (bounds := find_bounds(parameter.annotation))
]


def outside(bounds, kind):
    """Values beyond each bound, of the type of the option."""
    if "ge" in bounds:
        yield kind(bounds["ge"] - 1)
    if "gt" in bounds:
        yield kind(bounds["gt"])
    if "le" in bounds:
        yield kind(bounds["le"] + 1)
    if "lt" in bounds:
        yield kind(bounds["lt"])
    if kind is float:
        yield from (nan, inf)


@pytest.mark.parametrize(("name", "option", "bounds"), OPTIONS)
def test_a_value_outside_its_range_is_refused(name, option, bounds):
    hint = signature(methods.find_method(name)).parameters[option].annotation
    kind = float if "float" in str(hint) else int
    sentence = f"{option} must be {describe_bounds(hint)}, got"
    for value in outside(bounds, kind):
        with pytest.raises(ValueError, match=sentence) as error:
            cases.build(name, **{option: value})
        assert "\n" not in str(error.value)
        skip = {*methods.find_method(name).needs, "encoder"}
        options = make_options_class(methods.find_method(name), skip=skip)
        if option in options.model_fields:
            flag = "--" + option.replace("_", "-")
            with pytest.raises(ValueError, match=f"{flag} must be {describe_bounds(hint)}, got"):
                make_config(options, {option: value})


def test_most_methods_have_ranges():
    assert {name for name, _, _ in OPTIONS} >= set(methods.method_names()) - {"gpt"}


def test_arguments_are_checked_by_position_and_by_name_and_none_is_no_number():
    @check_ranges
    def function(a: PositiveInt, b: Probability | None = None) -> tuple[int, float | None]:
        return a, b

    assert function(1, 0.5) == function(b=0.5, a=1) == (1, 0.5)
    assert function(1) == (1, None)
    with pytest.raises(ValueError, match="a must be at least 1, got 0"):
        function(0)
    with pytest.raises(ValueError, match="b must be at least 0 and at most 1, got 2"):
        function(1, b=2.0)
