"""The loop: one global batch is one loss, a step is a function of its number, logs are exact."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from selfwise import methods
from selfwise.core.process import MAX_PATH_BYTES, check_temporary_folder
from selfwise.core.rng import generator
from selfwise.core.types import Term
from selfwise.methods.simclr import SimCLR
from selfwise.methods.supervised import Supervised
from selfwise.training import checkpoint
from selfwise.training.config import ResolvedTraining, TrainingConfig, resolve_training
from selfwise.training.loop import fit, load_batches
from selfwise.training.step import (
    add_counts,
    add_terms,
    build_state,
    split_micro_batches,
    train_step,
)
from selfwise.training.step_time import measure_pace
from tests.helpers import cases


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


def options(kind, **given) -> ResolvedTraining:
    told = {"steps": 6, "batch_size": 16, "precision": "float32", "device": "cpu", "cpu_threads": 1}
    return resolve_training(TrainingConfig(**{**told, **given}), kind, num_workers=0)


def no_norm(name: str):
    """A method whose encoder has no batch norm, so that micro-batches can equal the batch."""
    method = cases.build(name)
    method.encoder = cases.image_encoders.build_image_encoder(
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
            method.head.weight.copy_(torch.randn(4, 32, generator=generator(0)))
    return method


def weights(method):
    return [p.detach().clone() for p in method.parameters()]


def test_micro_batches_give_the_loss_and_step_of_the_whole_batch():
    results = {}
    for accumulate in (1, 2, 4):
        torch.manual_seed(0)
        method = no_norm("supervised")
        told = options(Supervised, grad_accum_steps=accumulate, lr=0.05)
        parts = build_state(method, told)
        found = train_step(parts, cases.batch(Supervised), 0, seed=0, options=told)
        results[accumulate] = found, weights(method)
    for accumulate in (2, 4):
        found, moved = results[accumulate]
        torch.testing.assert_close(found.loss, results[1][0].loss)
        for a, b in zip(moved, results[1][1]):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_terms_with_other_counts_in_each_micro_batch_add_before_they_divide():
    counts = [{"a": torch.tensor(1.0)}, {"a": torch.tensor(3.0)}]
    assert float(add_counts(counts)["a"]) == 4
    terms = [{"a": Term(torch.tensor(2.0), torch.tensor(1.0))}]
    terms += [{"a": Term(torch.tensor(6.0), torch.tensor(3.0))}]
    total = add_terms(terms)["a"]
    assert (float(total.sum), float(total.count)) == (8.0, 4.0)


@pytest.mark.parametrize("name", ["hubert", "fsq", "simclr"])
def test_half_precision_leaves_the_view_as_it_is(name, monkeypatch):
    """A wave in bf16 has noise in every band; only what was measured with rounding has it."""
    method, seen = cases.build(name), []
    forward = type(method).forward
    monkeypatch.setattr(
        type(method), "forward", lambda m, view: seen.append(view) or forward(m, view)
    )
    told = options(type(method), precision="bf16", lr=1e-3)
    train_step(build_state(method, told), cases.batch(type(method)), 0, seed=0, options=told)
    kinds = {t.dtype for t in cases.tensors(seen[0]) if t.is_floating_point()}
    assert kinds == {torch.bfloat16 if name == "simclr" else torch.float32}


@pytest.mark.parametrize(
    ("n", "accumulate", "sizes"), [(8, 2, [4, 4]), (7, 3, [3, 3, 1]), (2, 4, [1, 1])]
)
def test_micro_batches_have_every_row_once(n, accumulate, sizes):
    parts = split_micro_batches(n, accumulate)
    assert [p.stop - p.start for p in parts] == sizes
    assert [i for p in parts for i in range(n)[p]] == list(range(n))


def test_gradients_do_not_pile_up_from_step_to_step():
    method = cases.build("supervised")
    told = options(Supervised, lr=0.0, optimizer="sgd")
    parts = build_state(method, told)
    norms = []
    for _ in range(3):
        train_step(parts, cases.batch(Supervised), 0, seed=0, options=told)
        norms.append(torch.stack([p.grad.norm() for p in method.parameters()]))
    torch.testing.assert_close(norms[0], norms[2], rtol=1e-4, atol=1e-5)


def test_views_are_a_function_of_seed_and_step():
    def seen(seed, steps):
        method = cases.build("supervised")
        method.__class__ = Recording
        told = options(Supervised, steps=steps)
        fit(method, Repeated(Supervised), told, seed=seed, quiet=True)
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
        return weights(fit(method, Repeated(Supervised), options(Supervised), seed=0, quiet=True))

    assert all(torch.equal(a, b) for a, b in zip(run(1), run(2)))


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("name", methods.method_names())
def test_a_stopped_run_goes_on_bitwise(name, precision, tmp_path):
    stop_and_go_on(name, tmp_path, precision=precision)


@pytest.mark.run
def test_two_threads_stop_and_go_on_bitwise(tmp_path):
    stop_and_go_on("simclr", tmp_path, precision="float32", cpu_threads=2)


def stop_and_go_on(name, tmp_path, **given):
    kind = methods.find_method(name)
    told = options(kind, steps=12, save_every=4, log_every=5, **given)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        folder.mkdir()
    a = fit(cases.build(name), Repeated(kind), told, seed=0, out=whole, quiet=True)

    class Stops(Repeated):
        def __getitem__(self, step):
            if step == 7:
                raise RuntimeError("power cut")
            return self.all

    with pytest.raises(RuntimeError, match="power cut"):
        fit(cases.build(name), Stops(kind), told, seed=0, out=broken, quiet=True)
    assert checkpoint.find_latest(broken / "checkpoints")[0].step == 4
    b = fit(cases.build(name), Repeated(kind), told, seed=0, out=broken, quiet=True)
    assert all(torch.equal(x, y) for x, y in zip(weights(a), weights(b)))
    lines = [(folder / "metrics.jsonl").read_bytes() for folder in (whole, broken)]
    assert lines[0] == lines[1]
    steps = [json.loads(line)["step"] for line in lines[0].splitlines()]
    assert steps == [5, 10, 12]  # the line of step 5 was written after the save at 4: once


def train_in(folder, steps=4):
    """Train in `folder` with a checkpoint every two steps."""
    told = options(Supervised, steps=steps, save_every=2)
    fit(cases.build("supervised"), Repeated(Supervised), told, seed=0, out=folder, quiet=True)


CHANGES = {
    "step": lambda m: m.update(step=3),
    "length of the log": lambda m: m["state"].update(offset=0),
    "best": lambda m: m["state"]["best"].update(step=2.0),
    "a file without a checksum": lambda m: m["sha256"].pop("optimizer.pt"),
    "no checksum of its own": lambda m: m.pop(checkpoint.SEAL),
    "more": lambda m: m.update(more=1),
    "another type": lambda m: m.update(state=[]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_manifest_is_torn(tmp_path, change):
    train_in(tmp_path)
    path = tmp_path / "checkpoints" / "step-00000004" / "manifest.json"
    manifest = json.loads(path.read_text())
    CHANGES[change](manifest)
    path.write_text(json.dumps(manifest))
    found, torn = checkpoint.find_latest(tmp_path / "checkpoints")
    assert found is not None
    assert found.step == 2
    assert torn == ["step-00000004: manifest.json was changed (its own checksum differs)"]


def test_a_checkpoint_has_the_step_of_its_folder(tmp_path):
    train_in(tmp_path)
    folder = tmp_path / "checkpoints"
    (folder / "step-00000004").rename(folder / "step-00000005")
    (folder / "step-00000009.bak").mkdir()
    found, torn = checkpoint.find_latest(folder)
    assert found is not None
    assert found.step == 2
    assert torn == ["step-00000005: the folder was renamed; it holds step 4"]
    checkpoint.remove_old_checkpoints(folder, 1)  # leaves what a user has named
    assert (folder / "step-00000009.bak").is_dir()


def test_damaged_times_are_one_sentence(tmp_path):
    train_in(tmp_path, steps=2)
    (tmp_path / "timing.jsonl").write_text("{}\n")
    with pytest.raises(ValueError, match=r"timing\.jsonl was damaged or changed"):
        train_in(tmp_path)


def test_the_log_holds_means_over_its_interval(tmp_path):
    told = options(Supervised, steps=4, log_every=2, lr=0.0, optimizer="sgd")
    method = no_norm("supervised")
    losses = []
    for step in range(4):
        parts = build_state(method, told)
        found = train_step(parts, cases.batch(Supervised), step, seed=0, options=told)
        losses.append(found.loss.item())
    fit(method, Repeated(Supervised), told, seed=0, out=tmp_path, quiet=True)
    logged = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert logged[0]["cross_entropy"] == pytest.approx(sum(losses[:2]) / 2, rel=1e-5)
    assert logged[1]["cross_entropy"] == pytest.approx(sum(losses[2:]) / 2, rel=1e-5)


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_checkpoint(tmp_path):
    told = options(Supervised, steps=40, lr=1e30, optimizer="sgd", log_every=2, save_every=1)
    with pytest.raises(FloatingPointError, match=r"last good checkpoint is .*step-"):
        fit(cases.build("supervised"), Repeated(Supervised), told, seed=0, out=tmp_path, quiet=True)
    kept = checkpoint.list_checkpoints(tmp_path / "checkpoints")
    assert kept
    for path in kept:
        weights_kept = load_file(checkpoint.verify_checkpoint(path).folder / "model.safetensors")
        assert all(bool(w.isfinite().all()) for w in weights_kept.values())


def test_a_probe_changes_nothing_of_the_run(tmp_path):
    class Nosy:
        every = 2

        def __call__(self, method):
            torch.rand(5)
            method.eval()
            method.encoder(torch.rand(2, 3, 16, 16))
            method.train()
            return {"nosy": 0.5}

        def warning(self, values):
            return None

    told = options(SimCLR, log_every=3)
    a = fit(cases.build("simclr"), Repeated(SimCLR), told, seed=0, quiet=True)
    b = fit(
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
    told = options(Supervised, grad_clip=0.01)
    parts = build_state(method, told)
    train_step(parts, cases.batch(Supervised), 0, seed=0, options=told)
    norm = torch.stack([p.grad.norm() for p in method.parameters()]).norm()
    assert norm == pytest.approx(0.01, rel=1e-3)


def test_the_time_of_a_step_is_measured_on_a_copy_and_probes_count():
    class Slow:
        every = 2

        def __call__(self, method):
            time.sleep(0.4)
            return {}

        def warning(self, values):
            return None

    made = []

    def make():
        made.append(cases.build("simclr"))
        return made[-1]

    told = options(SimCLR)
    measure = partial(measure_pace, make, Repeated(SimCLR), told, seed=0, patience=0.1)
    plain, probed = measure(), measure(probes=[Slow()])
    assert len(made) == 2
    assert 0 < plain.step < 0.4
    assert plain.looks == []
    with_probes = probed.step + probed.looks[0] / Slow.every
    # 0.2 s a step for the probe, less what the machine's noise takes
    assert with_probes > plain.step + 0.1


def test_the_best_checkpoint_is_kept_beside_the_last(tmp_path):
    class Falling:
        every = 1
        values = iter([0.1, 0.9, 0.5, 0.4, 0.3, 0.2])

        def __call__(self, method):
            return {"score": next(self.values)}

        def warning(self, values):
            return None

    told = options(Supervised, save_every=1, keep_last=1, keep_best="score", log_every=1)
    method = cases.build("supervised")
    fit(method, Repeated(Supervised), told, seed=0, out=tmp_path, probes=[Falling()], quiet=True)
    kept = [p.name for p in checkpoint.list_checkpoints(tmp_path / "checkpoints")]
    assert kept == ["step-00000002", "step-00000006"]


def test_a_value_that_is_not_logged_cannot_be_the_best(tmp_path):
    told = options(Supervised, keep_best="score", log_every=1, save_every=1)
    with pytest.raises(ValueError, match=r"--keep-best score: .* is not logged.*cross_entropy"):
        fit(cases.build("supervised"), Repeated(Supervised), told, seed=0, out=tmp_path, quiet=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_says_how_to_go_on(number, tmp_path):
    class Signalled(Repeated):
        def __getitem__(self, step):
            if step == 2:
                os.kill(os.getpid(), number)
            return self.all

    before = signal.getsignal(number)
    told = options(Supervised, save_every=100)
    with pytest.raises(KeyboardInterrupt, match=f"step 3 and saved; .*selfwise resume {tmp_path}"):
        fit(
            cases.build("supervised"), Signalled(Supervised), told, seed=0, out=tmp_path, quiet=True
        )
    assert checkpoint.find_latest(tmp_path / "checkpoints")[0].step == 3
    assert signal.getsignal(number) is before


def test_warnings_of_a_probe_reach_the_user(capsys):
    class Worried:
        every = 3

        def __call__(self, method):
            return {"effective_rank": 1.0}

        def warning(self, values):
            return f"the rank is {values['effective_rank']}"

    told = options(Supervised)
    fit(cases.build("supervised"), Repeated(Supervised), told, seed=0, probes=[Worried()])
    assert "warning: step 3: the rank is 1.0" in capsys.readouterr().err


@pytest.mark.run  # a process
def test_a_folder_is_trained_by_one_process_only(tmp_path):
    code = f"""
import pathlib, time
from selfwise.core.files import hold_lock
with hold_lock(pathlib.Path({str(tmp_path / ".lock")!r})):
    print("held", flush=True)
    time.sleep(30)
"""
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        assert other.stdout.readline()
        with pytest.raises(ValueError, match="another process"):
            fit(
                cases.build("supervised"),
                Repeated(Supervised),
                options(Supervised),
                seed=0,
                out=tmp_path,
                quiet=True,
            )
    finally:
        other.kill()
        other.wait()


@pytest.mark.run
def test_compiled_training_is_the_same_training():
    def losses(compiled):
        found = []
        told = options(Supervised, compile=compiled, steps=2)
        parts = build_state(cases.build("supervised"), told)
        for number in range(2):
            step = train_step(parts, cases.batch(Supervised), number, seed=0, options=told)
            found.append(step.loss.item())
        return found

    assert losses(True) == pytest.approx(losses(False), rel=1e-3)


@pytest.mark.parametrize(("precision", "last"), [("float32", True), ("bf16", False)])
def test_a_cpu_convolves_float32_with_channels_last(precision, last):
    shape = {"layers": [1, 1, 1, 1], "channels": [16, 16, 32, 32]}
    encoder = cases.image_encoders.build_image_encoder("resnet18", in_channels=3, size=16, **shape)
    method = Supervised(encoder, size=16, classes=3)
    weights = [p for p in method.parameters() if p.dim() == 4 and min(p.shape[1:3]) > 1]
    build_state(method, options(Supervised, precision=precision))
    assert weights
    assert {p.is_contiguous(memory_format=torch.channels_last) for p in weights} == {last}


def test_a_temporary_folder_that_is_too_long_for_sockets_is_refused(monkeypatch):
    long = "/tmp/" + "x" * (MAX_PATH_BYTES - 5)
    monkeypatch.setattr(tempfile, "tempdir", long)
    check_temporary_folder(2)
    monkeypatch.setattr(tempfile, "tempdir", long + "x")
    check_temporary_folder(0)
    with pytest.raises(ValueError, match=f"at most {MAX_PATH_BYTES}: set TMPDIR"):
        load_batches(Repeated(Supervised), 0, options(Supervised).replace(num_workers=1))


@pytest.mark.parametrize(("longer", "fits"), [(0, True), (1, False)])
def test_sockets_fit_into_the_longest_temporary_folder(longer, fits):
    assert len(Path(tempfile.mktemp(prefix="listener-")).name) == len("listener-12345678")
    with tempfile.TemporaryDirectory(prefix="socket-", dir="/tmp") as short:
        place = Path(short) / ("x" * (MAX_PATH_BYTES + longer - len(short) - 1)) / "pymp-12345678"
        place.mkdir(parents=True)
        with socket.socket(socket.AF_UNIX) as listener:
            path = str(place / "listener-12345678")
            if fits:
                listener.bind(path)
            else:
                with pytest.raises(OSError, match="too long"):
                    listener.bind(path)
