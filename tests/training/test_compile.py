"""--compile: what runs of each method is compiled, and the training stays the same."""

import os
import shutil
from copy import deepcopy
from functools import partial

import pytest
import torch
from torch._dynamo.utils import counters

from selfwise import methods
from selfwise.training import checkpoint
from selfwise.training import compile as compiled
from selfwise.training.config import ResolvedTraining, TrainingConfig, resolve_training
from selfwise.training.loop import fit
from selfwise.training.step import build_state, train_step
from tests.helpers import cases


@pytest.fixture(autouse=True)
def traced(monkeypatch):
    """Graphs are made and run, and not translated to C++, which takes a minute for a method."""
    monkeypatch.setattr(compiled, "BACKEND", "eager")
    torch._dynamo.reset()
    counters.clear()


def options(kind, **given) -> ResolvedTraining:
    told = {"steps": 2, "batch_size": 8, "precision": "float32", "device": "cpu", "cpu_threads": 1}
    return resolve_training(TrainingConfig(**{**told, **given}), kind, num_workers=0)


def losses(name, *, compile, **given):
    method = given.pop("method", None) or cases.build(name)
    told = options(type(method), compile=compile, **given)
    parts, batch = build_state(method, told), cases.batch(type(method), 8)
    return [
        train_step(parts, batch, number, seed=0, options=told).loss.item() for number in range(2)
    ]


SPARSE = [n for n in methods.method_names() if methods.find_method(n).sparse_gradients]


@pytest.mark.parametrize("name", SPARSE)
def test_methods_with_sparse_gradients_refuse_to_compile(name):
    with pytest.raises(ValueError, match="--compile does not work with the sparse gradients"):
        options(methods.find_method(name), compile=True)


@pytest.mark.slow  # compiles
@pytest.mark.parametrize("name", [n for n in methods.method_names() if n not in SPARSE])
def test_every_method_runs_compiled_graphs(name):
    before = compiled.COMPILED_RUNS.count
    method = cases.build(name)
    names = list(method.state_dict())
    with_graphs = losses(name, compile=True, method=method)
    assert counters["stats"]["unique_graphs"] > 0
    assert compiled.COMPILED_RUNS.count >= before + 2  # at least one in each step
    assert list(method.state_dict()) == names
    assert with_graphs == pytest.approx(losses(name, compile=False), rel=1e-5)


@pytest.mark.slow  # compiles
@pytest.mark.parametrize("name", ["bert", "gpt", "hubert", "beit"])
def test_every_block_is_compiled(name):
    method = cases.build(name)
    blocks = [m for m, way in compiled.list_entry_points(method.encoder) if way == "forward"]
    assert len(blocks) == 2
    before = compiled.COMPILED_RUNS.count
    losses(name, compile=True, method=method)
    # type checks of the tests cut a block into several graphs
    assert compiled.COMPILED_RUNS.count >= before + 2 * len(blocks)
    assert all(
        isinstance(vars(m)[way], partial) for m, way in compiled.list_entry_points(method.encoder)
    )


@pytest.mark.slow
def test_dropout_draws_what_it_draws_without_compile():
    def found(compile):
        encoder = cases.tiny_text_encoder("bert", dropout=0.1, attention_dropout=0.1)
        return losses("bert", compile=compile, method=cases.build("bert", encoder=encoder))

    assert found(True) == pytest.approx(found(False), rel=1e-5)


@pytest.mark.run
def test_a_copy_of_a_compiled_encoder_has_weights_of_its_own():
    method = cases.build("supervised")
    losses("supervised", compile=True, method=method)
    x = torch.rand(2, 3, cases.SIZE, cases.SIZE)
    copy = deepcopy(method.eval().encoder)
    with torch.no_grad():
        expected = method.encoder(x).pooled
        for weight in method.parameters():
            weight.zero_()
        assert torch.equal(copy(x).pooled, expected)


@pytest.mark.run
def test_a_compiled_run_is_resumed_exactly(tmp_path):
    class Repeated:
        def __getitem__(self, step):
            return cases.batch(methods.find_method("roberta"), 8)

    def train(folder, steps):
        folder.mkdir(exist_ok=True)
        told = options(
            methods.find_method("roberta"), compile=True, steps=steps, schedule="constant"
        )
        fit(cases.build("roberta"), Repeated(), told, seed=0, out=folder, quiet=True)
        found, _ = checkpoint.find_latest(folder / "checkpoints")
        return checkpoint.verify_checkpoint(found.folder).folder / "model.safetensors"

    train(tmp_path / "a", 2)
    stopped = train(tmp_path / "a", 4)
    assert stopped.read_bytes() == train(tmp_path / "b", 4).read_bytes()
    from safetensors.torch import load_file

    assert set(load_file(stopped)) == set(cases.build("roberta").state_dict())


def test_nothing_compiled_is_an_error(monkeypatch):
    monkeypatch.setattr(compiled, "list_entry_points", lambda encoder: [(encoder, "extend")])
    with pytest.raises(ValueError, match=r"--compile compiled nothing .* of encoder bert-tiny"):
        losses("bert", compile=True)


def test_a_missing_compiler_is_named_first(monkeypatch):
    monkeypatch.setattr(compiled, "which", lambda name: None)
    with pytest.raises(ValueError, match=r"--compile needs a C\+\+ compiler"):
        options(methods.find_method("bert"), compile=True)


@pytest.mark.run
@pytest.mark.skipif(not shutil.which(os.environ.get("CXX", "g++")), reason="needs a C++ compiler")
def test_a_block_in_cpp_trains_as_well(monkeypatch):
    monkeypatch.setattr(compiled, "BACKEND", "inductor")
    assert losses("gpt", compile=True) == pytest.approx(losses("gpt", compile=False), rel=1e-4)
