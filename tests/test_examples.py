"""The scripts in `examples/` run, and what they train falls; here with fewer steps."""

import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import torch

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
STEPS = {"simclr": 40, "bert": 40, "hubert": 25}


def load_example(name: str):
    spec = spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_example_is_run():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(STEPS)


@pytest.mark.parametrize("name", STEPS)
def test_the_loss_of_an_example_falls(name, capsys, monkeypatch):
    module = load_example(name)
    monkeypatch.setattr(module, "STEPS", STEPS[name])
    with torch.random.fork_rng():
        module.main()
    printed = capsys.readouterr().out
    losses = [float(text) for text in re.findall(r"step \d+: \w+ ([\d.]+)", printed)]
    assert len(losses) >= 3
    assert losses[-1] < 0.9 * losses[0]
    if name == "simclr":
        probes = re.findall(r"linear probe, (\w+): [\d.]+ % of 500", printed)
        assert probes == ["pixels", "untrained", "SimCLR"]
