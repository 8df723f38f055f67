"""Small files and functions: a report of the largest, and limits that 90 % must keep."""

import ast
from pathlib import Path

import selfwise

ROOT = Path(selfwise.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))


def p90(values: list[int]) -> int:
    return sorted(values)[int(0.9 * (len(values) - 1))]


def functions() -> list[tuple[int, str]]:
    found = []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                found.append((length, f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"))
    return sorted(found, reverse=True)


def test_functions_fit_on_a_screen():
    found = functions()
    print("\nlongest functions:", *(f"{n:4d} {where}" for n, where in found[:5]), sep="\n")
    assert p90([n for n, _ in found]) <= 25
    assert found[0][0] <= 60, found[0]


def test_files_are_short():
    found = sorted(
        ((len(p.read_text().splitlines()), str(p.relative_to(ROOT))) for p in FILES), reverse=True
    )
    print("\nlongest files:", *(f"{n:4d} {where}" for n, where in found[:5]), sep="\n")
    assert p90([n for n, _ in found]) <= 250
    assert found[0][0] <= 350, found[0]


def test_public_functions_say_what_they_do():
    silent = []
    for path in FILES:
        for node in ast.parse(path.read_text()).body:
            public = isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_"
            if public and not ast.get_docstring(node):
                long = (node.end_lineno or 0) - node.lineno > 5
                silent += [f"{path.relative_to(ROOT)}: {node.name}"] if long else []
    assert not silent, silent


def test_modules_say_what_they_are():
    silent = [
        str(p.relative_to(ROOT))
        for p in FILES
        if p.stem not in ("__init__", "__main__")
        and not ast.get_docstring(ast.parse(p.read_text()))
    ]
    assert not silent, silent
