"""What holds for every method that is found on disk, whatever it does."""

import pytest
import torch

from selfwise import methods
from selfwise.core.rng import Rng, generator
from selfwise.core.types import Step, slice_batch, to_device
from selfwise.methods import Method
from selfwise.training.optimizers import OPTIMIZERS, build_optimizer
from selfwise.training.schedules import SHAPES
from tests.helpers import cases


@pytest.fixture(params=methods.method_names())
def case(request):
    method = cases.build(request.param)
    return method, cases.batch(type(method))


def draws(seed: int = 1, part: slice | None = None, total: int | None = None) -> Rng:
    return Rng(generator(seed, "test"), part, total, seed=seed)


def test_declares_itself(case):
    method, _ = case
    assert method.modality in ("image", "text", "audio")
    assert method.paper.optimizer in OPTIMIZERS
    assert method.paper.schedule in SHAPES
    assert method.paper.scaling in ("none", "linear", "sqrt")
    assert type(method).__doc__ != Method.__doc__
    assert "Args:" in (type(method).__doc__ or "")


def test_every_parameter_gets_a_gradient(case):
    method, batch = case
    method(method.view(batch, draws())).loss.backward()
    missing = [n for n, p in method.named_parameters() if p.grad is None]
    assert not missing
    still = [n for n, p in method.named_parameters() if p.grad.abs().max() == 0]
    assert not still, f"the loss does not depend on {still}"


def test_view_is_a_function_of_the_generator(case):
    method, batch = case
    a, b, c = (cases.tensors(method.view(batch, draws(seed))) for seed in (1, 1, 2))
    assert all(torch.equal(s, t) for s, t in zip(a, b))
    drawn = type(method).__module__.rpartition(".")[2] not in cases.DRAWS_NOTHING
    assert all(torch.equal(s, t) for s, t in zip(a, c)) != drawn


def test_view_reads_no_global_state(case):
    method, batch = case
    torch.manual_seed(1)
    before = torch.get_rng_state()
    a = cases.tensors(method.view(batch, draws()))
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert all(torch.equal(s, t) for s, t in zip(a, cases.tensors(method.view(batch, draws()))))


def test_view_of_a_slice_is_the_slice_of_the_view(case):
    method, batch = case
    whole = cases.tensors(method.view(batch, draws()))
    part = slice(4, 8)
    some = cases.tensors(method.view(slice_batch(batch, part), draws(1, part, 16)))
    assert all(torch.equal(w[part], s) for w, s in zip(whole, some))


def test_view_leaves_the_batch_alone(case):
    method, batch = case
    before = [t.clone() for t in cases.tensors(batch)]
    method.view(batch, draws())
    assert all(torch.equal(s, t) for s, t in zip(before, cases.tensors(batch)))


def test_counts_are_known_before_the_forward_pass(case):
    method, batch = case
    view = method.view(batch, draws())
    step = method(view)
    assert isinstance(step, Step)
    assert {n: float(t.count) for n, t in step.terms.items()} == {
        n: float(c) for n, c in method.counts(view).items()
    }


@torch.no_grad()
def test_micro_batches_add_up_to_the_batch(case):
    """Sums and counts of the slices are those of the whole, where the method says so."""
    method, batch = case
    if method.couples_batch:
        pytest.skip(method.couples_batch)
    method.eval()
    whole = method(method.view(batch, draws()))
    parts = [slice(0, 4), slice(4, 12), slice(12, 16)]
    steps = [method(method.view(slice_batch(batch, part), draws(1, part, 16))) for part in parts]
    for name, term in (whole.terms | whole.metrics).items():
        found = [(step.terms | step.metrics)[name] for step in steps]
        assert sum(float(t.count) for t in found) == float(term.count)
        assert sum(float(t.sum) for t in found) == pytest.approx(float(term.sum), rel=1e-4)


def test_forward_is_a_function_of_view_and_weights(case):
    method, batch = case
    view = method.view(batch, draws())
    assert torch.equal(method(view).loss, method(view).loss)


def test_view_and_counts_wait_for_no_device(case):
    """On the meta device there are shapes and no numbers, so that nothing can be asked of it."""
    method, batch = case
    method.to("meta")
    view = method.view(to_device(batch, "meta"), draws())
    assert all(t.is_meta for t in cases.tensors(view))
    assert all(count.is_meta for count in method.counts(view).values())


def test_overfits_one_batch(case):
    method, batch = case
    view = method.view(batch, draws())
    first = method(view).loss.item()
    optimizer = build_optimizer("adamw", method, lr=3e-3, weight_decay=0.0)
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
    import math

    others = (2 * n - 2) * math.exp(-1 / (n - 1) / t)
    return -math.log(math.exp(1 / t) / (math.exp(1 / t) + others))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_runs_in_other_precisions(case, dtype):
    method, batch = case
    view = method.view(batch, draws())
    exact = method(view).loss.item()
    if dtype is torch.bfloat16:
        with torch.autocast("cpu", dtype=dtype):
            other = method(view).loss
    else:
        from selfwise.core.types import map_tensors

        method = method.double()
        other = method(map_tensors(lambda t: t.double() if t.is_floating_point() else t, view)).loss
    assert other.dtype in (torch.float32, torch.float64)
    assert other.item() == pytest.approx(exact, rel=0.05 if dtype is torch.bfloat16 else 1e-4)


def test_encoder_is_reachable_and_documented(case):
    method, _ = case
    assert method.encoder.dim == cases.TINY["channels"][-1]
