"""Devices by name, and devices that have no float64."""

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from selfwise import methods
from selfwise.core import device as devices
from selfwise.core.device import (
    float64_device,
    resolve_device,
    resolve_precision,
    to_float64,
    wait_for_device,
)
from selfwise.core.types import Step, Term, map_tensors
from selfwise.evaluation.probes import knn, retrieval
from selfwise.testing.contract import Case
from selfwise.training.metrics_log import Meter
from tests.helpers import cases

# The views of other methods ask for values, which tensors without values do not have.
VIEWS = ("albert", "bert", "gpt", "hubert", "roberta")


@pytest.fixture
def apple(monkeypatch):
    """A machine on which torch has mps."""
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    devices._warn_untested.cache_clear()
    yield
    devices._warn_untested.cache_clear()


class WithoutFloat64(TorchDispatchMode):
    """Raises TypeError, as torch does on mps, for a float64 tensor on a device that is no CPU."""

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        result = operator(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            wide = isinstance(value, torch.Tensor) and value.dtype == torch.float64
            if wide and value.device.type != "cpu":
                raise TypeError(f"{operator} makes float64 on {value.device}")
        return result


@pytest.fixture
def no_float64(monkeypatch):
    """A device like mps, with tensors that have no values: torch calls it cuda."""
    monkeypatch.setattr(devices, "WITHOUT_FLOAT64", {"cuda"})
    with FakeTensorMode(allow_non_fake_inputs=True) as mode, WithoutFloat64():
        yield lambda tensor: mode.from_tensor(tensor).to("cuda")


def move(method: nn.Module, to_fake) -> None:
    for module in method.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                module._parameters[name] = nn.Parameter(
                    to_fake(weight.detach()), requires_grad=weight.requires_grad
                )
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = to_fake(buffer)


def test_mps_is_accepted_with_a_warning_that_comes_once(apple, capsys):
    assert resolve_device("mps") == "mps"
    assert resolve_device("mps") == "mps"
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: --device mps has not been tested")


def test_auto_does_not_choose_mps(apple, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == "cpu"
    assert not capsys.readouterr().err


def test_mps_is_refused_where_torch_does_not_have_it(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"^--device mps is not available; available: cpu"):
        resolve_device("mps")


def test_precisions_of_mps():
    assert resolve_precision("auto", "mps") == "float32"
    assert resolve_precision("bf16", "mps") == "bf16"
    with pytest.raises(ValueError, match=r"^--precision fp16 needs a CUDA GPU; on mps use bf16 or"):
        resolve_precision("fp16", "mps")
    with pytest.raises(ValueError, match=r"on cpu use bf16 or float32$"):
        resolve_precision("fp16", "cpu")


def test_waiting_for_mps_waits_for_torch(monkeypatch):
    waited = []
    monkeypatch.setattr(torch.mps, "synchronize", lambda: waited.append("mps"))
    wait_for_device("cpu")
    wait_for_device("mps")
    assert waited == ["mps"]


def test_float64_is_on_the_device_or_else_on_the_cpu():
    assert float64_device("cuda:1") == torch.device("cuda", 1)
    assert float64_device("mps") == torch.device("cpu")
    x = torch.tensor([1.0, 2.0])
    assert to_float64(x).dtype == torch.float64
    assert torch.equal(to_float64(x), x.double())


def test_the_stand_in_for_mps_refuses_float64(no_float64):
    x = no_float64(torch.ones(2))
    with pytest.raises(TypeError, match="float64 on cuda"):
        x.double()
    assert to_float64(x).device.type == "cpu"


@pytest.mark.parametrize("name", VIEWS)
def test_views_need_no_float64_on_the_device(request, name):
    method = cases.build(name)
    batch = cases.batch(type(method))
    to_fake = request.getfixturevalue("no_float64")
    move(method, to_fake)
    view = Case(method, map_tensors(to_fake, batch)).view()
    assert {value.device.type for value in tensors(view)} == {"cuda"}


@pytest.mark.parametrize("name", methods.method_names())
def test_steps_need_no_float64_on_the_device(request, name):
    method = cases.build(name)
    view = Case(method, cases.batch(type(method))).view()  # with values
    to_fake = request.getfixturevalue("no_float64")
    move(method, to_fake)
    step = method(map_tensors(to_fake, view))
    assert step.loss.device.type == "cuda"
    meter = Meter()
    meter.add_step(step)
    meter.add_step(step)
    assert all(value.dtype == torch.float64 for term in meter.terms.values() for value in term)


def test_a_meter_is_restored_where_float64_is(no_float64):
    meter = Meter()
    meter.restore({"loss": [3.0, 2.0]}, torch.device("cuda"))
    term = Term(no_float64(torch.tensor(1.0)), no_float64(torch.tensor(1.0)))
    meter.add_step(Step(terms={"loss": term}, metrics={}))
    assert meter.terms["loss"].mean.device.type == "cpu"


def test_votes_and_ranks_need_no_float64_on_the_device(no_float64):
    similarities = no_float64(torch.rand(3, 4))
    neighbours, targets = (no_float64(torch.zeros(s, dtype=torch.int64)) for s in ((3, 4), (5,)))
    assert knn._vote(similarities, neighbours, targets, 0.1, 2).shape == (3,)
    ranks, others = (no_float64(torch.ones(s, dtype=torch.int64)) for s in ((3, 2), (3,)))
    measures = retrieval._measure_queries(ranks, others, [1])
    assert {value.device.type for value in measures.values()} == {"cpu"}


def tensors(tree: object) -> list[torch.Tensor]:
    found: list[torch.Tensor] = []
    map_tensors(lambda tensor: found.append(tensor) or tensor, tree)
    return found
