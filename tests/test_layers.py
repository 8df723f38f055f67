"""The arrows: a part may import only from the parts listed for it (docs/architecture.md)."""

import ast
import re
from pathlib import Path

import pytest

import selfwise

ROOT = Path(selfwise.__file__).parent
LOW = {"core"}  # what every room may import
PARTS = {"nn", "losses", "targets", "tokenizers", "views", "distributed"}
BELOW_RUNS = PARTS | {"encoders", "data", "methods", "training", "evaluation", "profiling"}
BELOW_RUNS |= {"interop", "modalities"}
BELOW_WORKFLOWS = BELOW_RUNS | {"runs", "glue"}
CONTRACT = {"methods.method", "methods.needs", "methods.inspection"}  # which are no methods
CONTRACT |= {"methods.default_rules"}
# what users find as attributes of the package; each is imported when it is asked for
OPEN_PARTS = {"encoders", "evaluation", "losses", "methods.method", "targets", "testing", "views"}
MAY_IMPORT: dict[str, set[str]] = {
    "core": set(),
    **{part: set() for part in PARTS},
    "encoders": {"nn", "views"},
    "data": {"tokenizers"},
    "methods": {"distributed", "losses", "nn", "views"} | CONTRACT,
    "training": {"distributed", "methods.method", "nn"},
    "evaluation": {"data", "distributed", "methods.method", "nn", "targets", "tokenizers"}
    | {"training", "views"},
    "profiling": {"distributed", "methods.method", "training"},
    "interop": {"encoders", "nn", "tokenizers"},
    "modalities": {"data", "distributed", "encoders", "evaluation", "methods"}
    | {"targets", "tokenizers", "training"},
    "testing": {"methods", "modalities", "training"},
    "runs": BELOW_RUNS,
    "glue": BELOW_RUNS | {"runs"},
    "workflows": BELOW_WORKFLOWS,
    "report": BELOW_WORKFLOWS | {"workflows"},
    "recipes": BELOW_WORKFLOWS | {"workflows", "report"},
    "commands": BELOW_WORKFLOWS | {"workflows", "report", "recipes"},
    "cli": {"commands", "distributed", "methods", "modalities", "recipes", "runs", "training"},
    "__main__": {"cli"},
    "__init__": {"commands", "runs"} | OPEN_PARTS,
}
PLACE = re.compile(r"selfwise(\.\w+)+(:\w*)?")  # "selfwise.runs.open:load"
FILES = sorted(ROOT.rglob("*.py"))


def part_of(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").parts[0]


def imported(source: str, package: list[str]) -> list[str]:
    """Modules of ours that the source imports, without `selfwise.`, however it says so."""
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names += [f"{module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            names += [beginning(a) for a in node.args]
        elif isinstance(node, ast.Constant) and PLACE.fullmatch(str(node.value)):
            names.append(str(node.value).partition(":")[0])  # a table of what to import when asked
    ours = [n.removeprefix("selfwise.") for n in names if n.startswith("selfwise.")]
    return list(dict.fromkeys(ours))


def beginning(name: ast.expr) -> str:
    """What the name of a module begins with, also where its end is put in: "selfwise.methods."."""
    if isinstance(name, ast.JoinedStr):
        name = name.values[0]
    return name.value if isinstance(name, ast.Constant) and isinstance(name.value, str) else ""


def allowed(part: str, name: str, file: str = "") -> bool:
    # a method imports no method; the list of methods imports all
    own = name.split(".")[0] == part and (part != "methods" or file == "__init__")
    listed = any(name == m or name.startswith(f"{m}.") for m in MAY_IMPORT[part] | LOW)
    return own or listed


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_down(path):
    part = part_of(path)
    package = ["selfwise", *path.relative_to(ROOT).parts[:-1]]
    found = imported(path.read_text(), package)
    wrong = [name for name in found if not allowed(part, name, path.stem)]
    assert not wrong, f"{part} imports {wrong}"


def test_the_table_has_no_circle():
    done: set[str] = set()
    while left := set(MAY_IMPORT) - done:
        next_floor = {p for p in left if {n.split(".")[0] for n in MAY_IMPORT[p]} - {p} <= done}
        assert next_floor, f"these import each other: {sorted(left)}"
        done |= next_floor


def test_the_rooms_are_those_of_the_table():
    assert {part_of(path) for path in FILES} == set(MAY_IMPORT)
    loose = {path.name for path in ROOT.iterdir() if path.is_file()}
    assert loose <= {"__init__.py", "__init__.pyi", "__main__.py", "py.typed"}


def test_the_test_sees_every_form_of_import():
    source = """
import selfwise.training.loop
from selfwise.data.image import open_images
from ..runs import pretrain
from .. import cli
def lazy():
    from selfwise import evaluation
    import_module("selfwise.recipes")
    importlib.import_module(f"selfwise.commands.{name}")
PLACES = {"load": "selfwise.glue.tasks:load"}
"""
    found = imported(source, ["selfwise", "views"])
    assert found == [
        "training.loop", "data.image.open_images", "runs.pretrain", "cli", "evaluation", "recipes",
        "commands.", "glue.tasks",
    ]  # fmt: skip
    assert not any(allowed("views", name) for name in found)
    assert not allowed("methods", "methods.simclr.SimCLR")
    assert allowed("methods", "methods.method.Method")
    assert allowed("methods", "core.rng.Rng")
