"""Code from outside the package, named MODULE:NAME or FILE.py:NAME.

Importing runs the code, so only names that a user typed are imported. A name in a file was not
typed:
its reader requests permission again (`--plugin`).
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

ALLOWED = "SELFWISE_PLUGINS"  # the environment variable that child processes inherit
FROM_PYTHON = "<from Python>"  # in run.yaml, for objects that exist only in memory


def is_import_path(text: str) -> bool:
    """Return whether a name is MODULE:NAME or FILE.py:NAME."""
    module, colon, name = text.rpartition(":")
    return bool(colon and module and name.isidentifier())


def load_object(place: str) -> object:
    """Import the module of MODULE:NAME or FILE.py:NAME and return the object.

    Raises ValueError if the file, module or name does not exist, or if importing it fails.
    """
    module_name, _, name = place.rpartition(":")
    module = load_module(module_name)
    if not hasattr(module, name):
        raise ValueError(f"{place}: {module_name} has no {name}")
    return getattr(module, name)


def load_module(name: str) -> ModuleType:
    """Import a module by its dotted name or by its file. Raises ValueError if that fails."""
    if _is_file(name):
        _check_file(name)
    else:
        _check_installed(name)
    try:
        return _load_file(Path(name)) if _is_file(name) else import_module(name)
    except Exception as error:  # external code may raise anything
        raise ValueError(f"{name} cannot be imported: {_describe(error, name)}") from error


def load_entry_point(point: EntryPoint) -> object:
    """Import an entry point of an installed package. Raises ValueError if importing it fails."""
    try:
        return point.load()
    except Exception as error:  # external code may raise anything
        raise ValueError(
            f"{point.value}, the entry point {point.name} of {point.group}, cannot be imported: "
            f"{_describe(error)}"
        ) from error


def _describe(error: Exception, file: str = "") -> str:
    """Return the import's error and its line: the line in `file`, otherwise the innermost line."""
    if isinstance(error, SyntaxError):  # its message has the line
        return f"{type(error).__name__}: {error}"
    lines = [line for line in extract_tb(error.__traceback__) if not _is_import_machinery(line)]
    own = [line.lineno for line in lines if file and line.filename == str(Path(file).resolve())]
    if own:
        return f"{type(error).__name__}: {error} (line {own[-1]})"
    place = f" ({Path(lines[-1].filename).name}, line {lines[-1].lineno})" if lines else ""
    return f"{type(error).__name__}: {error}{place}"


def _is_import_machinery(line: FrameSummary) -> bool:
    """Return whether a line of a traceback is in this file or in Python's own import."""
    return line.filename == __file__ or "importlib" in line.filename


def _check_file(name: str) -> None:
    if not Path(name).is_file():
        raise ValueError(f"{name}: this file does not exist")


def _check_installed(name: str) -> None:
    if importlib.util.find_spec(name.partition(".")[0]) is None:
        raise ValueError(
            f"module {name} does not exist: install it, or name a file, as in {name}.py:NAME"
        )


def _load_file(file: Path) -> ModuleType:
    """Return the module of a file, loaded once; other processes can load it by the same path."""
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
    """Return the import path of a class or function; FROM_PYTHON if no import finds it."""
    module = inspect.getmodule(thing)
    name = getattr(thing, "__qualname__", "")
    if module is None or module.__name__ == "__main__" or getattr(module, name, None) is not thing:
        return FROM_PYTHON
    if module.__name__.startswith("selfwise_plugin_"):
        return f"{module.__file__}:{name}"
    return f"{module.__name__}:{name}"


def resolve_import_path(place: str) -> str:
    """Return the import path with its file's absolute path, which works from any folder."""
    module, _, name = place.rpartition(":")
    return f"{Path(module).resolve()}:{name}" if module.endswith(".py") else place


def module_part(place: str) -> str:
    """Return MODULE or FILE.py of an import path."""
    return place.rpartition(":")[0]


def digest_code(thing: object) -> str:
    """Return a digest of the file that defines a class or function, otherwise of its source.

    Empty if Python has no source.
    """
    try:
        if name_import_path(thing) == FROM_PYTHON:
            return digest(inspect.getsource(thing))  # type: ignore[arg-type]
        file = inspect.getsourcefile(thing)  # type: ignore[arg-type]
    except (TypeError, OSError):
        return ""
    return digest(Path(file).read_bytes()) if file and Path(file).is_file() else ""


def allow_plugins(plugins: Iterable[str]) -> None:
    """Allow run folders to name these modules and files, in this process and its child processes.

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
    """Return the modules and files that run folders may name."""
    return [plugin for plugin in os.environ.get(ALLOWED, "").split(os.pathsep) if plugin]


def load_allowed_object(place: str, *, folder: Path) -> object:
    """Import the object that the run.yaml of `folder` names.

    Raises ValueError if the user has not allowed its module to be imported.
    """
    module = module_part(place)
    if module not in list_allowed_plugins():
        raise ValueError(
            f"{folder} needs {place}, which is not part of selfwise: --plugin {module} "
            f'allows its import (in Python plugins=["{module}"])'
        )
    return load_object(place)


def _is_file(plugin: str) -> bool:
    return plugin.endswith(".py")
