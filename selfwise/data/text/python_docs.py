"""`python-docs`: the documentation that ships inside CPython, so that all runs with no file.

Each topic of the reference is a document, and the docstrings of each module of the standard
library are one.
"""

import ast
import os
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from inspect import cleandoc
from pathlib import Path

from selfwise.core.files import digest
from selfwise.data.text.plain_files import cut_pieces

PYTHON_DOCS = "python-docs"
EXCLUDED_FOLDERS = {
    "test",
    "tests",
    "idlelib",
    "lib2to3",
    "turtledemo",
    "site-packages",
    "__pycache__",
}
EXCLUDED_FOLDERS |= {"dist-packages", "lib-dynload", "ensurepip", "pydoc_data"}


@dataclass
class ReferenceTopics:
    """The language reference as `help()` shows it."""

    bytes: int
    read: int = 0

    def pieces(self) -> Iterator[tuple[str, bool]]:
        from pydoc_data import topics  # type: ignore[import-untyped]

        for name in sorted(topics.topics):
            yield from cut_pieces(topics.topics[name])


@dataclass
class ModuleDocs:
    """The docstrings of a source file: read, never imported."""

    path: Path
    bytes: int
    read: int = 0

    def pieces(self) -> Iterator[tuple[str, bool]]:
        text = read_docstrings(self.path)
        if text:
            yield from cut_pieces(text)
        self.read = self.bytes


@cache
def list_parts() -> list[ReferenceTopics | ModuleDocs]:
    """Return the topics and one part for each module, sorted by path.

    Raises ValueError if this Python came without its sources.
    """
    root = _library_root()
    topics = root / "pydoc_data" / "topics.py"
    files = sorted(_list_sources(root))
    if not files or not topics.is_file():
        raise ValueError(f"{PYTHON_DOCS}: this Python has no source files of its standard library")
    modules = [ModuleDocs(file, file.stat().st_size) for file in files]
    return [ReferenceTopics(topics.stat().st_size), *modules]


@cache
def fingerprint_docs() -> str:
    """Changes with the version of Python and with the names and sizes of the files."""
    root = _library_root()
    listed = [
        f"{p.path.relative_to(root)} {p.bytes}" for p in list_parts() if isinstance(p, ModuleDocs)
    ]
    return digest(PYTHON_DOCS, sys.version, *listed)


@cache
def read_docstrings(path: Path) -> str:
    """Return all docstrings of a file in the order of its lines, between blank lines."""
    tree = ast.parse(path.read_bytes())
    texts = []
    for node in _definitions(tree):
        text = ast.get_docstring(node, clean=False)
        if text and not text.isspace():
            texts.append(cleandoc(text))
    return "\n\n".join(texts)


def _definitions(node: ast.AST) -> Iterator[ast.Module | ast.ClassDef | ast.FunctionDef]:
    """Yield the module, its classes and their functions; expressions are not searched."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        yield node  # type: ignore[misc]
        for child in node.body:
            yield from _definitions(child)


def _library_root() -> Path:
    return Path(sysconfig.get_paths()["stdlib"])


def _list_sources(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in EXCLUDED_FOLDERS]
        yield from (Path(folder, name) for name in names if name.endswith(".py"))
