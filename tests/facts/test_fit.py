"""The loop: one global batch is one loss, a step is a function of its number, logs are exact."""

import json
from dataclasses import replace

import cases
import pytest
import torch

from selfwise import methods
from selfwise.methods.simclr import SimCLR
from selfwise.methods.supervised import Supervised
from selfwise.train import checkpoint
from selfwise.train import fit as loop
from selfwise.train.options import Options, resolve
from selfwise.types import Term


class Repeated:
    """The same small batch at every step."""

    def __init__(self, kind, n=16):
        self.all = cases.batch(kind, n)

    def __getitem__(self, step):
        return self.all


class Recording(Supervised):
    """Remembers the views that it was shown."""

    def forward(self, view):
        self.__dict__.setdefault("seen", []).append(view.x.clone())
        return super().forward(view)


def options(kind, **given) -> Options:
    told = {"steps": 6, "batch": 16, "precision": "float32", "device": "cpu", "threads": 1}
    return resolve(Options(**{**told, **given}), kind, workers=0)


def no_norm(name: str):
    """A method whose encoder has no batch norm, so that micro-batches can equal the batch."""
    method = cases.build(name)
    method.encoder = cases.vision.build(
        "vit_tiny_patch16_224",
        in_channels=3,
        size=16,
        seed=0,
        patch_size=8,
        depth=1,
        embed_dim=32,
        num_heads=2,
    )
    if name == "supervised":
        method.head = torch.nn.Linear(32, 4)
        with torch.no_grad():
            method.head.weight.copy_(torch.randn(4, 32, generator=loop.generator(0)))
    return method


def weights(method):
    return [p.detach().clone() for p in method.parameters()]


def test_micro_batches_give_the_loss_and_step_of_the_whole_batch():
    results = {}
    for accumulate in (1, 2, 4):
        torch.manual_seed(0)
        method = no_norm("supervised")
        told = options(Supervised, accumulate=accumulate, lr=0.05)
        parts = loop.assemble(method, told)
        step = loop.train_step(parts, cases.batch(Supervised), 0, seed=0, options=told)
        results[accumulate] = step, weights(method)
    for accumulate in (2, 4):
        step, moved = results[accumulate]
        torch.testing.assert_close(step.loss, results[1][0].loss)
        for a, b in zip(moved, results[1][1]):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_terms_with_other_counts_in_each_micro_batch_add_before_they_divide():
    counts = [{"a": torch.tensor(1.0)}, {"a": torch.tensor(3.0)}]
    assert float(loop.added(counts)["a"]) == 4
    terms = [{"a": Term(torch.tensor(2.0), torch.tensor(1.0))}]
    terms += [{"a": Term(torch.tensor(6.0), torch.tensor(3.0))}]
    total = loop.added_terms(terms)["a"]
    assert (float(total.sum), float(total.count)) == (8.0, 4.0)


def test_gradients_do_not_pile_up_from_step_to_step():
    method = cases.build("supervised")
    told = options(Supervised, lr=0.0, optimizer="sgd")
    parts = loop.assemble(method, told)
    norms = []
    for _ in range(3):
        loop.train_step(parts, cases.batch(Supervised), 0, seed=0, options=told)
        norms.append(torch.stack([p.grad.norm() for p in method.parameters()]))
    torch.testing.assert_close(norms[0], norms[2], rtol=1e-4, atol=1e-5)


def test_views_are_a_function_of_seed_and_step():
    def seen(seed, steps):
        method = cases.build("supervised")
        method.__class__ = Recording
        told = options(Supervised, steps=steps)
        loop.fit(method, Repeated(Supervised), told, seed=seed, quiet=True)
        return method.seen

    a, b, c = seen(0, 3), seen(0, 2), seen(1, 2)
    assert all(torch.equal(x, y) for x, y in zip(a, b))
    assert not torch.equal(a[0], a[1])
    assert not torch.equal(a[0], c[0])


def test_dropout_is_a_function_of_the_step_and_global_state_does_not_matter():
    def run(global_seed):
        method = cases.build("supervised")
        method.encoder.model.drop_rate = 0.5
        torch.manual_seed(global_seed)
        return weights(
            loop.fit(method, Repeated(Supervised), options(Supervised), seed=0, quiet=True)
        )

    assert all(torch.equal(a, b) for a, b in zip(run(1), run(2)))


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("name", methods.names())
def test_a_stopped_run_goes_on_bitwise(name, precision, tmp_path):
    kind = methods.find(name)
    told = options(kind, precision=precision, steps=12, save_every=4, log_every=5)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        folder.mkdir()
    a = loop.fit(cases.build(name), Repeated(kind), told, seed=0, out=whole, quiet=True)

    class Stops(Repeated):
        def __getitem__(self, step):
            if step == 7:
                raise RuntimeError("power cut")
            return self.all

    with pytest.raises(RuntimeError, match="power cut"):
        loop.fit(cases.build(name), Stops(kind), told, seed=0, out=broken, quiet=True)
    assert checkpoint.latest(broken / "checkpoints")[0].step == 4
    b = loop.fit(cases.build(name), Repeated(kind), told, seed=0, out=broken, quiet=True)
    assert all(torch.equal(x, y) for x, y in zip(weights(a), weights(b)))
    lines = [(folder / "metrics.jsonl").read_bytes() for folder in (whole, broken)]
    assert lines[0] == lines[1]
    steps = [json.loads(line)["step"] for line in lines[0].splitlines()]
    assert steps == [5, 10, 12]  # the line of step 5 was written after the save at 4: once


def test_the_log_holds_means_over_its_interval(tmp_path):
    told = options(Supervised, steps=4, log_every=2, lr=0.0, optimizer="sgd")
    method = no_norm("supervised")
    losses = []
    for step in range(4):
        parts = loop.assemble(method, told)
        found = loop.train_step(parts, cases.batch(Supervised), step, seed=0, options=told)
        losses.append(found.loss.item())
    loop.fit(method, Repeated(Supervised), told, seed=0, out=tmp_path, quiet=True)
    logged = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert logged[0]["cross_entropy"] == pytest.approx(sum(losses[:2]) / 2, rel=1e-5)
    assert logged[1]["cross_entropy"] == pytest.approx(sum(losses[2:]) / 2, rel=1e-5)


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_checkpoint(tmp_path):
    told = options(Supervised, steps=40, lr=1e30, optimizer="sgd", log_every=2, save_every=1)
    with pytest.raises(FloatingPointError, match=r"lower --lr"):
        loop.fit(
            cases.build("supervised"), Repeated(Supervised), told, seed=0, out=tmp_path, quiet=True
        )
    for path in checkpoint.everything(tmp_path / "checkpoints"):
        checkpoint.verify(path)


def test_a_probe_changes_nothing_of_the_run(tmp_path):
    class Nosy:
        every = 2

        def __call__(self, method):
            torch.rand(5)
            method.eval()
            method.encoder(torch.rand(2, 3, 16, 16))
            method.train()
            return {"nosy": 0.5}

    told = options(SimCLR, log_every=3)
    a = loop.fit(cases.build("simclr"), Repeated(SimCLR), told, seed=0, quiet=True)
    b = loop.fit(
        cases.build("simclr"),
        Repeated(SimCLR),
        told,
        seed=0,
        quiet=True,
        out=tmp_path,
        probes=[Nosy()],
    )
    assert all(torch.equal(x, y) for x, y in zip(weights(a), weights(b)))
    logged = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in logged if "nosy" in line] == [2, 4, 6]


def test_clipping_bounds_the_gradient():
    method = cases.build("supervised")
    told = options(Supervised, clip=0.01)
    parts = loop.assemble(method, told)
    loop.train_step(parts, cases.batch(Supervised), 0, seed=0, options=told)
    norm = torch.stack([p.grad.norm() for p in method.parameters()]).norm()
    assert norm == pytest.approx(0.01, rel=1e-3)


def test_minutes_become_steps_and_leave_the_method_alone():
    from selfwise.train.measure import measure_steps

    method = cases.build("simclr")
    before = weights(method)
    told = replace(options(SimCLR), steps=None, minutes=0.05)
    steps = measure_steps(lambda: cases.build("simclr"), Repeated(SimCLR), told, seed=0)
    assert steps >= 1
    assert all(torch.equal(a, b) for a, b in zip(before, weights(method)))
    double = replace(told, minutes=0.5)
    more = measure_steps(lambda: cases.build("simclr"), Repeated(SimCLR), double, seed=0)
    assert more > 3 * steps
