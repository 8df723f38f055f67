"""The state of an optimizer from a file fits the optimizer, or is refused with its place."""

import copy

import pytest
import torch
from torch import nn

from selfwise.training.optimizer_file import check_optimizer_state


def make() -> torch.optim.Optimizer:
    model = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return optimizer


def test_an_own_state_is_loaded():
    optimizer = make()
    state = check_optimizer_state(copy.deepcopy(optimizer.state_dict()), optimizer)
    optimizer.load_state_dict(state)
    fresh = torch.optim.AdamW(nn.Linear(3, 2).parameters())
    check_optimizer_state(
        fresh.state_dict(), optimizer
    )  # before the first step there are no values


WRONG = {
    "it has no state": lambda s: [s],
    "it has no state and": lambda s: {"state": {}},
    "param_groups must be a list of 1": lambda s: {**s, "param_groups": []},
    "param_groups 0 must have lr": lambda s: {**s, "param_groups": [{"lr": 1}]},
    "param_groups 0 has a lr of type str": lambda s: s["param_groups"][0].update(lr="x"),
    "param_groups 0 has other parameters": lambda s: s["param_groups"][0].update(params=[0]),
    "param_groups 0 has a betas of type list": lambda s: s["param_groups"][0].update(betas=[]),
    "state must have the numbers": lambda s: {**s, "state": {"a": {}}},
    "state has parameter 7": lambda s: s["state"].update({7: {}}),
    "state 0 must have names": lambda s: s["state"].update({0: 5}),
    r"state 0: exp_avg has the shape \[9\]": lambda s: s["state"][0].update(exp_avg=torch.ones(9)),
    "state 0: exp_avg is of type str": lambda s: s["state"][0].update(exp_avg="x"),
}


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_state_is_refused_with_its_place(text):
    optimizer = make()
    state = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(ValueError, match=f"^{text}"):
        check_optimizer_state(WRONG[text](state) or state, optimizer)


def test_a_state_of_an_earlier_torch_may_have_fewer_names():
    optimizer = make()
    content = copy.deepcopy(optimizer.state_dict())
    del content["param_groups"][0]["foreach"]
    assert check_optimizer_state(content, optimizer) == content
    optimizer.load_state_dict(content)
