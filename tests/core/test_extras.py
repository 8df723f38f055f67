"""Optional packages: pyproject, the table of extras and the imports agree, and absence is said."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest

import selfwise
from selfwise.core.extras import (
    EXTRAS,
    LazyModule,
    check_extra,
    check_modality,
    find_extra,
    import_extra,
    missing_modules,
)
from tests.helpers.hidden_packages import hide_packages

ROOT = Path(selfwise.__file__).parent
PROJECT = tomllib.loads((ROOT.parent / "pyproject.toml").read_text("utf-8"))["project"]
# distributions whose modules have other names
MODULES = {"protobuf": "google.protobuf", "pillow": "PIL", "pyyaml": "yaml"}
MODULES |= {"scikit-learn": "sklearn"}
OURS = {"test", "bench", "dev", "docs"}  # extras for those who change selfwise
BROUGHT_ALONG = {"pydantic_core", "cycler", "markupsafe"}  # by pydantic, matplotlib and jinja2


def distribution(requirement: str) -> str:
    """The name in a requirement: soxr of soxr>=0.5."""
    return re.split(r"[<>=!~\[; ]", requirement, maxsplit=1)[0]


def install(extra: str) -> str:
    """The command that installs an extra, as a pattern."""
    return re.escape(f"pip install 'selfwise[{extra}]'")


def modules(requirements: list[str]) -> set[str]:
    names = {distribution(requirement) for requirement in requirements}
    return {MODULES.get(name, name.replace("-", "_")) for name in names}


def imports_at_load(nodes: Iterable[ast.AST]) -> set[str]:
    """The top-level packages that a file imports when it is itself imported."""
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            names |= imports_at_load(node.orelse)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names |= imported(node) | imports_at_load(ast.iter_child_nodes(node))
    return names


def imported(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Import):
        return {alias.name.partition(".")[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom) and not node.level:
        return {str(node.module).partition(".")[0]}
    return set()


@pytest.mark.parametrize("name", EXTRAS)
def test_an_extra_brings_the_modules_that_the_table_lists(name):
    assert modules(PROJECT["optional-dependencies"][name]) == set(EXTRAS[name].modules)


def test_all_is_every_extra_for_users():
    extras = PROJECT["optional-dependencies"]
    assert extras.keys() == {*EXTRAS, "all", *OURS & extras.keys()}
    assert extras["all"] == [f"selfwise[{','.join(EXTRAS)}]"]


def test_the_tests_have_the_extras_that_they_need():
    extras = PROJECT["optional-dependencies"]
    together = ",".join(r for r in extras["test"] + extras["bench"] if r.startswith("selfwise["))
    for name in ("text", "speech", "m4a", "export", "hub"):
        assert name in re.findall(r"\w+", together)


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module_imports_only_what_a_plain_install_has(path):
    plain = modules(PROJECT["dependencies"]) | BROUGHT_ALONG | sys.stdlib_module_names
    assert imports_at_load(ast.parse(path.read_text("utf-8")).body) <= plain | {"selfwise"}


def test_a_plain_install_has_nothing_that_is_not_imported():
    used = set[str]()
    for path in ROOT.rglob("*.py"):
        used |= set().union(*map(imported, ast.walk(ast.parse(path.read_text("utf-8")))))
    assert modules(PROJECT["dependencies"]) <= used


def test_the_scan_of_imports_sees_every_form():
    source = """
import av
if TYPE_CHECKING:
    import soxr
else:
    from soundfile import read
try:
    import onnx.checker
except ImportError:
    import datasets
class A:
    import wandb
def lazy():
    import tokenizers
from . import near
"""
    names = {"av", "soundfile", "onnx", "datasets", "wandb"}
    assert imports_at_load(ast.parse(source).body) == names


@pytest.mark.parametrize(("extra", "modules"), [(n, e.modules) for n, e in EXTRAS.items()])
def test_an_absent_extra_is_named_with_the_command_that_installs_it(extra, modules):
    with hide_packages(*(module.partition(".")[0] for module in modules)):
        assert missing_modules(extra) == [*modules]
        with pytest.raises(
            ValueError, match=rf" needs the extra: pip install 'selfwise\[{extra}\]'$"
        ):
            check_extra(extra)
        with pytest.raises(ValueError, match=r"^--logger x needs the extra: pip install"):
            import_extra(modules[0], "--logger x")


def test_one_absent_package_of_several_is_enough():
    with hide_packages("sentencex"):
        assert missing_modules("text") == ["sentencex"]
        with pytest.raises(
            ValueError, match=r"^text needs the extra: pip install 'selfwise\[text\]'$"
        ):
            check_modality("text")
        check_modality("image")
        check_modality("audio")


def test_an_installed_extra_is_not_imported_by_the_check():
    before = set(sys.modules)
    for name in ("text", "speech", "m4a", "export", "hub"):
        check_extra(name)
    assert not {name for name in set(sys.modules) - before if not name.startswith("google")}


def test_a_package_that_is_damaged_is_not_called_absent(tmp_path, monkeypatch):
    (tmp_path / "soxr.py").write_text('raise OSError("libsoxr.so.0: cannot open\\n shared object")')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "soxr", raising=False)
    words = r"^soxr is installed but cannot be imported \(libsoxr.so.0: cannot open shared object\)"
    with pytest.raises(ValueError, match=words):
        import_extra("soxr")


def test_a_lazy_module_is_the_module_from_its_first_use_on():
    import sentencex

    lazy = LazyModule("sentencex")
    assert "segment" not in vars(lazy)
    assert lazy.segment is sentencex.segment
    assert vars(lazy)["segment"] is sentencex.segment
    with pytest.raises(AttributeError):
        _ = lazy.no_such_name


def test_a_lazy_module_that_is_absent_names_its_extra_at_its_first_use():
    with hide_packages("soundfile"):
        lazy = LazyModule("soundfile")
        assert not hasattr(lazy, "__wrapped__")  # tools ask this of any object
        with pytest.raises(ValueError, match=r"^speech needs the extra: "):
            lazy.read("a.wav")


@pytest.mark.parametrize(
    ("module", "extra"),
    [("tokenizers.models", "text"), ("google.protobuf.message", "text"), ("av", "m4a")],
)
def test_a_part_of_a_package_belongs_to_the_extra_of_the_package(module, extra):
    assert find_extra(module) == extra


def test_the_page_on_installing_lists_every_extra_with_its_packages():
    page = (ROOT.parent / "docs" / "guide" / "install.md").read_text("utf-8")
    rows = [row.split(" | ") for row in re.findall(r"^\| (`.*) \|$", page, re.MULTILINE)]
    named = [name for extras, *_ in rows for name in re.findall(r"`([a-z0-9]+)`", extras)]
    assert named == [*EXTRAS, "all"]
    for extras, _, packages in rows[:5]:  # the others are the package of that name
        requirements = PROJECT["optional-dependencies"][extras.strip("`")]
        wanted = ", ".join(map(distribution, requirements))
        assert packages.startswith(wanted), extras
