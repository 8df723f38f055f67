"""`selfwise` as editors, notebooks and scripts see it."""

import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from torch import nn

import selfwise
from selfwise import commands
from selfwise.methods.method import Method
from selfwise.modalities.image.modality import ImageFacts
from selfwise.runs.build import LoadedRun, RunCode
from selfwise.runs.open import Run
from tests.helpers import show_cases

QUICK = 0.2  # seconds; of processor time, so that other work on the machine does not count
PROGRAM = """
import sys, time
begun = time.process_time()
import selfwise
names = dir(selfwise)
print(time.process_time() - begun, "torch" in sys.modules, len(names))
"""


def run_python(code: str) -> str:
    """What a fresh interpreter prints."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.run  # a process
def test_import_is_quick_and_does_not_wait_for_torch():
    seconds, has_torch, names = min(run_python(PROGRAM).split() for _ in range(3))
    assert float(seconds) < QUICK
    assert has_torch == "False"
    assert int(names) == len(dir(selfwise))


@pytest.mark.run  # a process
def test_every_command_is_completed_by_tab():
    code = "import rlcompleter, selfwise\n"
    code += "find = rlcompleter.Completer({'selfwise': selfwise}).complete\n"
    code += "word, n = 'selfwise.', 0\nwhile found := find(word, n):\n    print(found)\n    n += 1"
    completed = {line.removeprefix("selfwise.").rstrip("()") for line in run_python(code).split()}
    assert {*commands.command_names(), "load", "losses", "views", "Method"} <= completed


def test_the_version_is_that_of_the_package():
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", selfwise.__version__)


def test_a_name_that_there_is_not_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'pretrian'"):
        selfwise.pretrian  # noqa: B018


def test_no_room_takes_the_place_of_a_function():
    """Importing a submodule sets a name in the package."""
    for module in pkgutil.walk_packages(selfwise.__path__, "selfwise."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in commands.command_names():
        function = getattr(selfwise, name)
        assert not isinstance(function, ModuleType), name
        assert callable(function), name


def test_signatures_name_the_options_with_their_defaults():
    for name in commands.command_names():
        parameters = inspect.signature(getattr(selfwise, name)).parameters
        assert "args" not in parameters, name
        assert "kwargs" not in parameters, name
    probe = inspect.signature(selfwise.probe).parameters
    assert (probe["kind"].default, probe["labels_per_class"].default) == ("linear", "all")
    pretrain = inspect.signature(selfwise.pretrain).parameters
    assert pretrain["data"].default is inspect.Parameter.empty
    assert pretrain["precision"].default == "auto"


@pytest.mark.parametrize("function", [selfwise.show, selfwise.write_report])
@pytest.mark.parametrize("kind", [str, Path])
def test_one_run_needs_no_list(function, kind):
    with pytest.raises(ValueError, match=r"^run runs/none"):
        function(kind("runs/none"))


@pytest.mark.run  # a process, in which hints are not checked as they are here
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("int", "<class 'int'> is not a method: a method is a class that inherits selfwise.Method"),
        (
            "'simclr', encoder=3",
            "encoder must be a name, MODULE:NAME, a torch module or a function",
        ),
    ],
)
def test_what_is_neither_a_method_nor_an_encoder_is_one_sentence(arguments, sentence, tmp_path):
    code = f"import selfwise\ntry: selfwise.pretrain({arguments}, data='digits:train', "
    code += f"out={str(tmp_path / 'run')!r})\nexcept ValueError as error: print(error)"
    assert run_python(code).startswith(sentence)


@pytest.mark.run  # a process
def test_parts_are_there_without_another_import():
    for part in selfwise.PARTS:
        code = f"import selfwise; print(selfwise.{part}.__name__)"
        assert run_python(code).strip().rpartition(".")[2] == part


@pytest.fixture
def run() -> Run:
    record = show_cases.settings("simclr", encoder="resnet<18>")
    method = Method()
    method.encoder = nn.Linear(9, 111)
    code = RunCode(Method)
    return Run(Path("runs/first"), LoadedRun(record, ImageFacts(record.info), method, "", 3, code))


def test_a_run_is_one_short_line(run):
    steps = run.record.steps
    assert repr(run) == f"Run('runs/first', simclr, resnet<18>, step 3 of {steps})"


def test_a_run_is_a_table_in_a_notebook(run):
    html = run._repr_html_()
    assert html.startswith("<table>")
    assert "<th>encoder</th><td>resnet&lt;18&gt;</td>" in html
    assert "<th>parameters</th><td>1,110</td>" in html
    other = replace(run, folder=Path("runs/a&b"))
    assert "runs/a&amp;b" in other._repr_html_()
