"""The state of an optimizer from a file, checked against the optimizer before it is used."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.optim import Optimizer


def check_optimizer_state(content: object, optimizer: Optimizer) -> dict[str, Any]:
    """Return the state. Raises ValueError naming the first part that does not fit the optimizer."""
    own = optimizer.state_dict()["param_groups"]
    if not isinstance(content, dict) or not {"state", "param_groups"} <= content.keys():
        raise ValueError("it has no state and param_groups")
    groups, state = content["param_groups"], content["state"]
    if not isinstance(groups, list) or len(groups) != len(own):
        raise ValueError(f"param_groups must be a list of {len(own)}")
    for i, (group, expected) in enumerate(zip(groups, own)):
        _check_group(f"param_groups {i}", group, expected)
    shapes = [tuple(p.shape) for group in optimizer.param_groups for p in group["params"]]
    if not isinstance(state, dict) or not all(type(number) is int for number in state):
        raise ValueError("state must have the numbers of parameters")
    for number, values in state.items():
        if not 0 <= number < len(shapes):
            raise ValueError(f"state has parameter {number}, and there are {len(shapes)}")
        _check_values(f"state {number}", values, shapes[number])
    return content


def _check_group(where: str, group: object, expected: Mapping[str, Any]) -> None:
    if not isinstance(group, dict) or not {"params", "lr"} <= group.keys() <= expected.keys():
        raise ValueError(f"{where} must have {', '.join(expected)}")
    for name, given in group.items():  # an earlier torch may have had fewer
        value = expected[name]
        number = type(value) in (int, float) and type(given) in (int, float)
        if name == "params" and given != value:
            raise ValueError(f"{where} has other parameters")
        if not number and type(given) is not type(value):
            raise ValueError(f"{where} has a {name} of type {type(given).__name__}")


def _check_values(where: str, values: object, shape: tuple[int, ...]) -> None:
    """Check the tensors of a parameter: of its shape, or a single number."""
    if not isinstance(values, dict):
        raise ValueError(f"{where} must have names and tensors")
    for name, value in values.items():
        if isinstance(value, Tensor) and tuple(value.shape) not in (shape, ()):
            raise ValueError(
                f"{where}: {name} has the shape {list(value.shape)}, not {list(shape)}"
            )
        if not isinstance(value, Tensor | int | float | None):
            raise ValueError(f"{where}: {name} is of type {type(value).__name__}")
