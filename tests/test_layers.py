"""The arrows: a part may import only from the parts listed for it (docs/architecture.md)."""

import ast
from pathlib import Path

import pytest

import selfwise

ROOT = Path(selfwise.__file__).parent
MAY_IMPORT: dict[str, set[str]] = {
    "types": set(),
    "names": set(),
    "output": set(),
    "rng": set(),
    "losses": set(),
    "shown": {"types"},
    "mining": {"types", "rng"},
    "nn": {"types", "rng"},
    "views": {"types", "rng"},
    "encoders": {"types", "rng", "nn"},
    "units": {"types", "rng", "nn"},
    "methods": {"types", "rng", "nn", "losses", "mining", "shown", "views", "methods.method"},
    "data": {"types", "rng"},
    "train": {"types", "rng", "nn", "losses", "methods.method"},
    "evaluate": {"types", "rng", "nn", "losses", "views", "data", "train", "methods.method"}
    | {"units"},
    "convert": {"types"},
    "config": set(),
    "modalities": {"config", "data", "encoders", "evaluate", "methods", "rng", "train", "types"}
    | {"units"},
    "arguments": {"config", "data", "methods", "modalities", "train"},
    "members": {"arguments", "config", "methods", "modalities", "train"},
    "run": {"arguments", "config", "members", "methods", "modalities", "train"},
    "iterate": {"arguments", "methods", "modalities", "run"},
    "competitors": {"data", "evaluate", "methods", "rng", "run", "train"},
    "again": {"arguments", "flags", "methods", "modalities", "train"},
    "records": set(),
    "measured": {"evaluate", "rng"},
    "show": {"again", "config", "measured", "records", "train"},
    "use": {"arguments", "config", "evaluate", "members", "run", "train"},
    "fill": {"data", "evaluate", "run", "train", "types"},
    "language": {"arguments", "data", "evaluate", "modalities", "rng", "run", "train", "types"},
    "exchange": {"again", "arguments", "config", "convert", "data", "measured", "methods"}
    | {"modalities", "records", "run", "train", "types"},
    "proof": {"arguments", "competitors", "evaluate", "records", "rng", "run", "train"},
    "glue_options": {"data", "evaluate", "modalities", "names", "run"},
    "glue_competitors": {"data", "evaluate", "glue_options", "modalities", "run"},
    "glue_tuning": {"data", "evaluate", "glue_competitors", "glue_options", "run", "train"},
    "glue_results": {"evaluate", "glue_options", "records", "run"},
    "glue": {"data", "evaluate", "glue_competitors", "glue_options", "glue_results", "glue_tuning"}
    | {"records", "run"},
    "recipes": {"data", "evaluate", "iterate", "language", "proof", "report", "rng", "run"}
    | {"types"},
    "report": {"again", "arguments", "config", "data", "evaluate", "language", "measured"}
    | {"methods.method", "modalities", "nn", "records", "rng", "run", "show", "shown", "train"}
    | {"types", "use", "views"},
    "doctor": {"config", "data", "train"},
    "bench": {"config", "data", "members", "methods", "modalities", "run", "train", "types"},
    "flags": set(),
    "method_line": {"arguments", "config", "flags", "methods", "modalities", "run", "train"},
    "cli": {"bench", "doctor", "exchange", "fill", "flags", "glue", "iterate"}
    | {"language", "method_line", "methods", "output", "proof", "recipes", "report", "run", "show"}
    | {"train", "use"},
    "__main__": {"cli"},
    "__init__": {"run", "use", "proof", "losses"},
}
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
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "import_module":
            names += [a.value for a in node.args if isinstance(a, ast.Constant)]
    return [n.removeprefix("selfwise.") for n in names if n.startswith("selfwise.")]


def allowed(part: str, name: str) -> bool:
    own = name.split(".")[0] == part and part != "methods"
    listed = any(name == m or name.startswith(f"{m}.") for m in MAY_IMPORT[part] | {"names"})
    return own or listed


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_down(path):
    part = part_of(path)
    package = ["selfwise", *path.relative_to(ROOT).parts[:-1]]
    wrong = [n for n in imported(path.read_text(), package) if not allowed(part, n)]
    assert not wrong, f"{part} imports {wrong}"


def test_the_test_sees_every_form_of_import():
    source = """
import selfwise.train.fit
from selfwise.data import open_images
from ..run import pretrain
from .. import cli
def lazy():
    from selfwise import evaluate
    import_module("selfwise.recipes")
"""
    found = imported(source, ["selfwise", "views"])
    assert found == ["train.fit", "data.open_images", "run.pretrain", "cli", "evaluate", "recipes"]
    assert not any(allowed("views", name) for name in found)
    assert not allowed("methods", "methods.simclr.SimCLR")
    assert allowed("methods", "methods.method.Method")
