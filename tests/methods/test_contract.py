"""What holds for every method that is found on disk, whatever it does."""

import math

import pytest

from selfwise import methods
from selfwise.methods import Method
from selfwise.testing import contract
from tests.helpers import cases

# learning one batch by heart is asked for below, and more of it
CHECKS = [check for check in contract.CHECKS if check is not contract.check_overfits]


@pytest.fixture(params=methods.method_names())
def case(request) -> contract.Case:
    method = cases.build(request.param)
    draws = request.param not in cases.DRAWS_NOTHING
    return contract.Case(method, cases.batch(type(method)), draws)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_contract(case, check):
    check(case)


def test_the_encoder_is_reachable(case):
    assert case.method.encoder.dim == cases.TINY["channels"][-1]


@pytest.mark.run  # training
def test_overfits_one_batch(case):
    method, view = case.method, case.view()
    first = method(view).loss.item()
    optimizer = contract.build_overfitting_optimizer(method)
    for _ in range(60):
        optimizer.zero_grad()
        loss = method(view).loss
        loss.backward()
        optimizer.step()
    floor = lowest(method, view)
    assert loss.item() - floor < 0.5 * (first - floor), (first, loss.item(), floor)


def lowest(method: Method, view) -> float:
    """The least loss there can be: NT-Xent's is above 0, since cosines end at -1."""
    if type(method).__name__ != "SimCLR":
        return 0.0
    # at best every partner has cosine 1 and the 2n - 2 others are spread around the mean -1/(n-1)
    n, t = len(view.a), method.temperature
    others = (2 * n - 2) * math.exp(-1 / (n - 1) / t)
    return -math.log(math.exp(1 / t) / (math.exp(1 / t) + others))
