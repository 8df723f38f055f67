"""Self-supervised learning: point it at unlabeled files, get an encoder and its proof.

run = selfwise.pretrain("simclr", data="photos/", encoder="resnet18", epochs=100, out="runs/a")
run = selfwise.load("runs/a")
table = selfwise.embed(run, "photos/")
score = selfwise.probe(run, train="train/", test="test/")

Every command is a function here; `dir(selfwise)` lists them.
"""

import os
from importlib import import_module
from typing import Any

# Before any library is imported: onnxruntime would look up an address and leave an identifier of
# the machine in the user's cache; huggingface_hub, wandb, mlflow and gradio would report use and
# errors.
QUIET = {"ORT_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}
QUIET |= {"WANDB_ERROR_REPORTING": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
QUIET |= {"GRADIO_ANALYTICS_ENABLED": "False"}
for _name, _value in QUIET.items():
    os.environ.setdefault(_name, _value)


# what is not a command: name -> where it is defined; a module where nothing stands behind the colon
PARTS = {
    "Method": "selfwise.methods.method:Method",
    "load": "selfwise.runs.open:load",
    "losses": "selfwise.losses:",
    "views": "selfwise.views:",
    "encoders": "selfwise.encoders:",
    "probes": "selfwise.evaluation.probes:",
    "targets": "selfwise.targets:",
    "testing": "selfwise.testing:",
}


def __getattr__(name: str) -> Any:
    """Import on first use, so that `selfwise --help` answers without waiting for torch."""
    if name == "__version__":
        return import_module("importlib.metadata").version("selfwise")
    if name in PARTS:
        module, _, part = PARTS[name].partition(":")
        return getattr(import_module(module), part) if part else import_module(module)
    commands = import_module("selfwise.commands")
    if name in commands.command_names():
        return commands.make_api_function(name)
    raise AttributeError(f"module 'selfwise' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*import_module("selfwise.commands").command_names(), "__version__", *PARTS])
