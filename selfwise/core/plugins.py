"""Code from outside the package, named MODULE:NAME or FILE.py:NAME.

Importing runs the code, so only what a user has typed is imported. A place that stands in a file
is not typed: whoever reads it asks for it again (`--plugin`).
"""

import importlib.util
import inspect
import os
import sys
from collections.abc import Iterable
from importlib import import_module
from importlib.metadata import EntryPoint
from pathlib import Path
from traceback import FrameSummary, extract_tb
from types import ModuleType

from selfwise.core.files import digest

ALLOWED = "SELFWISE_PLUGINS"  # the environment variable that processes inherit
FROM_PYTHON = "<from Python>"  # stands in run.yaml for what lives in memory alone


def is_import_path(text: str) -> bool:
    """Whether a name is MODULE:NAME or FILE.py:NAME."""
    module, colon, name = text.rpartition(":")
    return bool(colon and module and name.isidentifier())


def load_object(place: str) -> object:
    """What MODULE:NAME or FILE.py:NAME names; the module is imported.

    Raises ValueError if there is no such file, module or name, or if importing it fails.
    """
    module_name, _, name = place.rpartition(":")
    module = load_module(module_name)
    if not hasattr(module, name):
        raise ValueError(f"{place}: {module_name} has no {name}")
    return getattr(module, name)


def load_module(name: str) -> ModuleType:
    """A module by its dotted name or by its file. Raises ValueError if it cannot be imported."""
    if _is_file(name):
        _check_file(name)
    else:
        _check_installed(name)
    try:
        return _load_file(Path(name)) if _is_file(name) else import_module(name)
    except Exception as error:  # somebody else's code may raise anything
        raise ValueError(f"{name} cannot be imported: {_describe(error, name)}") from error


def load_entry_point(point: EntryPoint) -> object:
    """Import what an installed package offers. Raises ValueError if importing it fails."""
    try:
        return point.load()
    except Exception as error:  # somebody else's code may raise anything
        raise ValueError(
            f"{point.value}, the entry point {point.name} of {point.group}, cannot be imported: "
            f"{_describe(error)}"
        ) from error


def _describe(error: Exception, file: str = "") -> str:
    """What an import has raised, and the line: of `file`, or else the innermost line of all."""
    if isinstance(error, SyntaxError):  # its message has the line
        return f"{type(error).__name__}: {error}"
    lines = [line for line in extract_tb(error.__traceback__) if not _is_import_machinery(line)]
    own = [line.lineno for line in lines if file and line.filename == str(Path(file).resolve())]
    if own:
        return f"{type(error).__name__}: {error} (line {own[-1]})"
    place = f" ({Path(lines[-1].filename).name}, line {lines[-1].lineno})" if lines else ""
    return f"{type(error).__name__}: {error}{place}"


def _is_import_machinery(line: FrameSummary) -> bool:
    """Whether a line of a traceback is of this file or of Python's own import."""
    return line.filename == __file__ or "importlib" in line.filename


def _check_file(name: str) -> None:
    if not Path(name).is_file():
        raise ValueError(f"{name}: there is no such file")


def _check_installed(name: str) -> None:
    if importlib.util.find_spec(name.partition(".")[0]) is None:
        raise ValueError(
            f"there is no module {name}: install it, or name a file, as in {name}.py:NAME"
        )


def _load_file(file: Path) -> ModuleType:
    """The module of a file, loaded once; other processes can load it by the same path."""
    file = file.resolve()
    name = f"selfwise_plugin_{file.stem}_{digest(str(file))[:8]}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None, "a .py file has a spec"
        assert spec.loader is not None, "a .py file has a loader"
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


def name_import_path(thing: type | object) -> str:
    """The place of a class or function for run.yaml; FROM_PYTHON if no import finds it."""
    module = inspect.getmodule(thing)
    name = getattr(thing, "__qualname__", "")
    if module is None or module.__name__ == "__main__" or getattr(module, name, None) is not thing:
        return FROM_PYTHON
    if module.__name__.startswith("selfwise_plugin_"):
        return f"{module.__file__}:{name}"
    return f"{module.__name__}:{name}"


def resolve_import_path(place: str) -> str:
    """The place with the absolute path of its file, as it holds from any folder."""
    module, _, name = place.rpartition(":")
    return f"{Path(module).resolve()}:{name}" if module.endswith(".py") else place


def module_part(place: str) -> str:
    """MODULE or FILE.py of a place."""
    return place.rpartition(":")[0]


def digest_code(thing: object) -> str:
    """A digest of the file that a class or function can be imported from, or else of its source.

    Empty where Python does not know the source.
    """
    try:
        if name_import_path(thing) == FROM_PYTHON:
            return digest(inspect.getsource(thing))  # type: ignore[arg-type]
        file = inspect.getsourcefile(thing)  # type: ignore[arg-type]
    except (TypeError, OSError):
        return ""
    return digest(Path(file).read_bytes()) if file and Path(file).is_file() else ""


def allow_plugins(plugins: Iterable[str]) -> None:
    """Let run folders name these modules and files, in this process and in those that it starts.

    Raises ValueError for a file that does not exist.
    """
    names = [*plugins]
    for file in filter(_is_file, names):
        _check_file(file)
    allowed = [
        *list_allowed_plugins(),
        *(str(Path(name).resolve()) if _is_file(name) else name for name in names),
    ]
    os.environ[ALLOWED] = os.pathsep.join(dict.fromkeys(allowed))


def list_allowed_plugins() -> list[str]:
    """The modules and files that run folders may name."""
    return [plugin for plugin in os.environ.get(ALLOWED, "").split(os.pathsep) if plugin]


def load_allowed_object(place: str, *, folder: Path) -> object:
    """What a place in the run.yaml of `folder` names.

    Raises ValueError if the user has not allowed its module to be imported.
    """
    module = module_part(place)
    if module not in list_allowed_plugins():
        raise ValueError(
            f"{folder} was made with {place}, which is not part of selfwise: --plugin {module} "
            f'allows it to be imported (in Python plugins=["{module}"])'
        )
    return load_object(place)


def _is_file(plugin: str) -> bool:
    return plugin.endswith(".py")
