"""A Python in which some packages are not installed."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder


@contextmanager
def hide_packages(*names: str) -> Iterator[None]:
    """Inside, these top-level packages cannot be found or imported.

    What was imported before is put back afterwards; a module that has taken a name out of such a
    package keeps it.
    """
    find = PathFinder.find_spec

    def find_others(name: str, *place: object) -> ModuleSpec | None:
        return None if name.partition(".")[0] in names else find(name, *place)

    hidden = {name: sys.modules.pop(name) for name in [*sys.modules] if _top(name) in names}
    PathFinder.find_spec = staticmethod(find_others)  # type: ignore[assignment]
    try:
        yield
    finally:
        PathFinder.find_spec = find  # type: ignore[method-assign]
        sys.modules.update(hidden)


def _top(name: str) -> str:
    return name.partition(".")[0]
