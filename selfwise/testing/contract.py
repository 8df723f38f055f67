"""Checks that every method must pass. docs/adding.md has a sentence for each check."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from selfwise.core.rng import Rng, generator
from selfwise.core.types import Batch, Step, map_tensors, slice_batch, to_device
from selfwise.methods import Method
from selfwise.modalities.modality import EncoderFactory
from selfwise.testing.examples import COUNT, build_case
from selfwise.training.optimizers import OPTIMIZERS, build_optimizer
from selfwise.training.schedules import SHAPES

OVERFIT_STEPS, OVERFIT_LEARNING_RATE = 60, 3e-3  # of the attempt to overfit one batch
SPARSE_LEARNING_RATE = 0.2  # of sparse SGD, in the attempt to overfit
PART_ROWS = slice(4, 8)


@dataclass(frozen=True)
class Case:
    """A method with a batch for it; each check gets a new case."""

    method: Method
    batch: Batch
    draws: bool = True
    """Whether the view draws random numbers."""

    def view(self, seed: int = 1, part: slice | None = None, progress: float = 0.0) -> Any:
        """Return the view of the batch, or of a part of it, for a seed, after a fraction of a
        run."""
        total = None if part is None else COUNT
        rng = Rng(generator(seed, "test"), part, total, seed=seed, progress=progress)
        return self.method.view(self.batch if part is None else slice_batch(self.batch, part), rng)


def check_method(
    method: type[Method],
    *,
    encoder: EncoderFactory | None = None,
    draws: bool = True,
    learns: bool = True,
    **options: Any,
) -> None:
    """Run the contract test on a method, with a tiny encoder on generated examples.

    Args:
        method: the class.
        encoder: builds an encoder for it; by default a tiny one of the method's default kind.
        draws: False for a method whose view draws no random numbers.
        learns: False leaves out the check that the method can overfit one batch, the slowest check.
        options: options of the method.

    Raises AssertionError with a sentence for each check that fails.
    """
    broken: list[str] = []
    for check in CHECKS:
        if check is check_overfits and not learns:
            continue
        case = Case(*build_case(method, encoder=encoder, options=options), draws)
        try:
            check(case)
        except Exception as error:
            kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
            broken.append(f"{check.__name__.removeprefix('check_')}: {kind}{error}")
    if broken:
        lines = "\n  ".join(broken)
        raise AssertionError(f"{method.__name__} breaks the contract of methods:\n  {lines}")


def check_declaration(case: Case) -> None:
    """Check that the class declares its modality, recipe and docstring."""
    kind, paper = type(case.method), case.method.paper
    assert kind.modality in ("image", "text", "audio"), f"unknown modality {kind.modality!r}"
    assert paper.optimizer in OPTIMIZERS, f"unknown optimizer {paper.optimizer!r}"
    assert paper.schedule in SHAPES, f"unknown schedule {paper.schedule!r}"
    assert paper.scaling in ("none", "linear", "sqrt"), f"unknown scaling {paper.scaling!r}"
    about = kind.__doc__ or ""
    assert about != Method.__doc__, "it has no docstring"
    assert "Args:" in about, "its docstring does not describe the arguments"


def check_gradients(case: Case) -> None:
    """Check that every parameter gets a gradient. A table that starts at 0 would hide the others
    from it, so its start is drawn first."""
    for p in case.method.parameters():
        if not p.any():
            torch.nn.init.normal_(p, std=0.1)
    case.method(case.view()).loss.backward()
    parameters = list(case.method.named_parameters())
    missing = [name for name, p in parameters if p.grad is None]
    assert not missing, f"the loss does not reach {', '.join(missing)}"
    gradients = [(name, p.grad.to_dense()) for name, p in parameters if p.grad is not None]
    still = [name for name, gradient in gradients if not gradient.any()]
    assert not still, f"the loss does not depend on {', '.join(still)}"


def check_view_repeats(case: Case) -> None:
    """Check that the view is a function of the batch and of the generator."""
    a, b, c = (list_tensors(case.view(seed)) for seed in (1, 1, 2))
    assert _equal(a, b), "one generator gives two different views"
    changes = not _equal(a, c)
    assert changes == case.draws, (
        "another generator gives another view, though the test was called with draws=False"
        if changes
        else "another generator gives an equal view: are all draws from `rng`?"
    )


def check_global_state(case: Case) -> None:
    """Check that the view neither reads nor changes torch's global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        before = torch.get_rng_state()
        a = list_tensors(case.view())
        assert torch.equal(before, torch.get_rng_state()), "the view draws from torch's generator"
        torch.manual_seed(2)
        assert _equal(a, list_tensors(case.view())), "the view depends on torch.manual_seed"


def check_slices(case: Case) -> None:
    """Check that the view of a slice is the slice of the view, so that micro-batches are exact."""
    whole, some = list_tensors(case.view()), list_tensors(case.view(part=PART_ROWS))
    assert _equal([tensor[PART_ROWS] for tensor in whole], some), (
        "the view of rows 4 to 8 differs from rows 4 to 8 of the view: use rng to draw for each row"
    )


def check_progress(case: Case) -> None:
    """Check that the view changes during a run only by an option that the class declares."""
    first, last = list_tensors(case.view()), list_tensors(case.view(progress=1.0))
    assert case.method.views_change or _equal(first, last), (
        "the view depends on rng.progress: name the option that causes it in `progress_options`, "
        "so that a longer run is not called exact"
    )


def check_batch_unchanged(case: Case) -> None:
    """Check that the view does not change the batch."""
    before = [tensor.clone() for tensor in list_tensors(case.batch)]
    case.view()
    assert _equal(before, list_tensors(case.batch)), "`view` changes the batch in place"


def check_counts(case: Case) -> None:
    """Check that `counts` returns the counts of `forward`."""
    view = case.view()
    step = case.method(view)
    assert isinstance(step, Step), f"`forward` returns {type(step).__name__}, not a Step"
    counts = {name: float(count) for name, count in case.method.counts(view).items()}
    counted = {name: float(term.count) for name, term in step.terms.items()}
    assert counts == counted, f"`counts` returns {counts}, and `forward` counts {counted}"


@torch.no_grad()
def check_micro_batches(case: Case) -> None:
    """Check that sums and counts of slices add up to those of the batch, unless declared
    otherwise."""
    method = case.method.eval()
    if method.couples_batch:
        return
    whole = method(case.view())
    parts = [slice(0, 4), slice(4, 12), slice(12, COUNT)]
    steps = [method(case.view(part=part)) for part in parts]
    for name, term in (whole.terms | whole.metrics).items():
        pieces = [(step.terms | step.metrics)[name] for step in steps]
        count, total = (sum(float(getattr(p, of)) for p in pieces) for of in ("count", "sum"))
        assert count == float(term.count), f"{name}: counts of slices do not add up"
        assert abs(total - float(term.sum)) <= 1e-4 * max(abs(float(term.sum)), 1e-6), (
            f"{name}: sums of slices add up to {total:g}, and the batch has {float(term.sum):g}; "
            "give the reason in couples_batch if the loss compares examples with each other"
        )


def check_forward_repeats(case: Case) -> None:
    """Check that `forward` is a function of the view and the weights."""
    view = case.view()
    same = torch.equal(case.method(view).loss, case.method(view).loss)
    assert same, "two forward passes of one view differ: random draws belong in `view`"


def check_no_waiting(case: Case) -> None:
    """Check that `view` and `counts` read no values of tensors, which would wait for a GPU."""
    case.method.to("meta")
    rng = Rng(generator(1, "test"), None, None, seed=1)
    view = case.method.view(to_device(case.batch, "meta"), rng)
    assert all(tensor.is_meta for tensor in list_tensors(view)), "`view` leaves the device"
    counts = case.method.counts(view).values()
    assert all(count.is_meta for count in counts), "`counts` leaves the device"


def check_overfits(case: Case) -> None:
    """Check that the method can overfit one batch: the loss falls by at least a third."""
    view = case.view()
    first = case.method(view).loss.item()
    optimizer = build_overfitting_optimizer(case.method)
    loss = first
    for _ in range(OVERFIT_STEPS):
        optimizer.zero_grad()
        step = case.method(view)
        step.loss.backward()
        optimizer.step()
        loss = step.loss.item()
    assert loss < first - abs(first) / 3, (
        f"after {OVERFIT_STEPS} steps on one batch the loss is {loss:.4g}, and was {first:.4g}"
    )


def build_overfitting_optimizer(method: Method) -> Optimizer:
    """Return AdamW, or for sparse gradients the only optimizer that takes them."""
    if method.sparse_gradients:
        return build_optimizer("sparse_sgd", method, lr=SPARSE_LEARNING_RATE, weight_decay=0.0)
    return build_optimizer("adamw", method, lr=OVERFIT_LEARNING_RATE, weight_decay=0.0)


def check_precisions(case: Case) -> None:
    """Check that bfloat16 and float64 give nearly the loss of float32, in float32 or wider."""
    view = case.view()
    exact = case.method(view).loss.item()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = case.method(view).loss
    wide_view = map_tensors(lambda t: t.double() if t.is_floating_point() else t, view)
    wide = case.method.double()(wide_view).loss
    for loss, name, tolerance in ((rough, "bfloat16", 0.05), (wide, "float64", 1e-4)):
        assert loss.dtype in (torch.float32, torch.float64), f"in {name} the loss is {loss.dtype}"
        assert abs(loss.item() - exact) <= tolerance * max(abs(exact), 1e-6), (
            f"in {name} the loss is {loss.item():g}, and in float32 {exact:g}"
        )


def list_tensors(tree: object) -> list[Tensor]:
    """Return all tensors of nested tuples."""
    if isinstance(tree, Tensor):
        return [tree]
    return [t for part in tree for t in list_tensors(part)] if isinstance(tree, tuple) else []


def _equal(one: list[Tensor], other: list[Tensor]) -> bool:
    return len(one) == len(other) and all(torch.equal(s, t) for s, t in zip(one, other))


CHECKS: tuple[Callable[[Case], None], ...] = (
    check_declaration,
    check_gradients,
    check_view_repeats,
    check_global_state,
    check_slices,
    check_progress,
    check_batch_unchanged,
    check_counts,
    check_micro_batches,
    check_forward_repeats,
    check_no_waiting,
    check_precisions,
    check_overfits,
)
