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
from pathlib import Path
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
    try:
        return _load_file(Path(name)) if name.endswith(".py") else _load_dotted(name)
    except (ImportError, SyntaxError) as error:
        raise ValueError(f"{name} cannot be imported: {error}") from error


def _load_dotted(name: str) -> ModuleType:
    if importlib.util.find_spec(name.partition(".")[0]) is None:
        raise ValueError(
            f"there is no module {name}: install it, or name a file, as in {name}.py:NAME"
        )
    return import_module(name)


def _load_file(file: Path) -> ModuleType:
    """The module of a file, loaded once; other processes can load it by the same path."""
    if not file.is_file():
        raise ValueError(f"{file}: there is no such file")
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
    """Let run folders name these modules and files, in this process and in those that it starts."""
    allowed = [
        *list_allowed_plugins(),
        *(str(Path(p).resolve()) if _is_file(p) else p for p in plugins),
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
