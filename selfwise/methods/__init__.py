"""One file is one method; the file system is the registry."""

from importlib import import_module
from pathlib import Path

from selfwise.core.errors import did_you_mean
from selfwise.methods.method import Method

__all__ = ["Method", "find", "names"]

NOT_METHODS = ("__init__", "method", "inspection")


def names() -> list[str]:
    """The methods there are, by file name."""
    files = Path(__file__).parent.glob("*.py")
    return sorted(f.stem for f in files if f.stem not in NOT_METHODS)


def find(name: str) -> type[Method]:
    """The one Method class that `methods/<name>.py` defines.

    Raises ValueError with the nearest name if there is no such file.
    """
    if name not in names():
        raise ValueError(f"unknown method {name!r}{did_you_mean(name, names())}")
    module = import_module(f"selfwise.methods.{name}")
    own = [
        c
        for c in vars(module).values()
        if isinstance(c, type) and issubclass(c, Method) and c.__module__ == module.__name__
    ]
    assert len(own) == 1, f"methods/{name}.py must define exactly one Method, not {own}"
    return own[0]
