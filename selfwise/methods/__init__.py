"""Every file is one method: the file system is the registry, and installed packages add to it.

Installing a package is consent to its entry points. A name in a run folder is not: see runs.
"""

from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from selfwise.core.errors import did_you_mean
from selfwise.core.plugins import load_entry_point
from selfwise.methods.method import Method

__all__ = ["Method", "find_method", "method_names", "name_of"]

GROUP = "selfwise.methods"  # of entry points
NOT_METHODS = ("__init__", "default_rules", "inspection", "method", "needs")


def own_names() -> list[str]:
    """Return the methods of this package, by file name."""
    files = Path(__file__).parent.glob("*.py")
    return sorted(f.stem for f in files if f.stem not in NOT_METHODS)


def method_names() -> list[str]:
    """Return all methods: the files of this package and the entry points of installed packages."""
    return sorted({*own_names(), *_installed()})


def find_method(name: str) -> type[Method]:
    """Return the class of a method by the name of its file or of its entry point.

    Raises ValueError with the nearest name for an unknown method, and for an installed method that
    cannot be imported.
    """
    if name in own_names():
        return _own_class(name)
    if name not in (installed := _installed()):
        raise ValueError(f"unknown method {name!r}{did_you_mean(name, method_names())}")
    kind = load_entry_point(installed[name])
    if not (isinstance(kind, type) and issubclass(kind, Method)):
        raise ValueError(f"the entry point {name} of {GROUP} is not a method but {kind!r}")
    return kind


def name_of(kind: type[Method]) -> str:
    """Return the name of a method of this package or of an entry point; empty for other classes."""
    package, _, name = kind.__module__.rpartition(".")
    if package == __name__ and name in own_names():
        return name
    places = {point.value: point.name for point in _installed().values()}
    return places.get(f"{kind.__module__}:{kind.__qualname__}", "")


def _installed() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def _own_class(name: str) -> type[Method]:
    """Return the Method class that `methods/<name>.py` defines."""
    module = import_module(f"selfwise.methods.{name}")
    own = [
        c
        for c in vars(module).values()
        if isinstance(c, type) and issubclass(c, Method) and c.__module__ == module.__name__
    ]
    assert len(own) == 1, f"methods/{name}.py must define exactly one Method, not {own}"
    return own[0]
