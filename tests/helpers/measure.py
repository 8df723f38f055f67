"""How long tests take, and the marks that follow: `run` from a second on, `slow` from ten.

    rm -f .times.jsonl
    python -m pytest -p tests.helpers.measure [FILE ...]
    python -m tests.helpers.measure

The first writes a line for each test, in seconds of processor time with that of its children, so
that a busy machine does not count. The second sets the marks in the files of the tests. A mark
that is set by hand and says why (`# kills`) stays.
"""

import ast
import json
import os
import re
import sys
from collections import defaultdict
from pathlib import Path

import pytest

FILE = Path(os.environ.get("MEASURED", ".times.jsonl"))
RUN, SLOW = 1.0, 10.0  # seconds


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item):
    """Append what a test took."""
    before = sum(os.times()[:4])
    try:
        return (yield)
    finally:
        line = {"test": item.nodeid, "seconds": round(sum(os.times()[:4]) - before, 3)}
        with FILE.open("a") as file:
            file.write(json.dumps(line) + "\n")


def read_times() -> dict[str, dict[str, float]]:
    """The longest time of each function, with any parameters, by file."""
    times: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for line in FILE.read_text().splitlines():
        entry = json.loads(line)
        file, _, name = entry["test"].partition("::")
        name = name.partition("[")[0]
        times[file][name] = max(times[file][name], entry["seconds"])
    return times


def set_marks(text: str, times: dict[str, float]) -> str:
    """The text of a file of tests with the mark of each function that was measured."""
    lines = text.split("\n")
    for node, name in sorted(_list_tests(ast.parse(text)), key=lambda one: -one[0].lineno):
        if name not in times:
            continue
        first = min([node.lineno, *(mark.lineno for mark in node.decorator_list)]) - 1
        old = [i for i in range(first, node.lineno - 1) if _is_measured(lines[i])]
        if any("#" in lines[i] for i in old):
            continue  # set by hand
        for i in reversed(old):
            del lines[i]
        seconds, indent = times[name], " " * node.col_offset
        if seconds >= RUN:
            mark = "slow" if seconds >= SLOW else "run"
            lines.insert(first, f"{indent}@pytest.mark.{mark}")
    return "\n".join(lines)


def _is_measured(line: str) -> bool:
    return bool(re.match(r"\s*@pytest\.mark\.(run|slow)\b(?!\()", line))


def _list_tests(tree: ast.AST, prefix: str = "") -> list[tuple[ast.FunctionDef, str]]:
    found = []
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test"):
            found.append((node, prefix + node.name))
        elif isinstance(node, ast.ClassDef):
            found += _list_tests(node, f"{prefix}{node.name}::")
    return found


if __name__ == "__main__":
    for name, times in sorted(read_times().items()):
        file = Path(name)
        before = file.read_text()
        after = set_marks(before, times)
        if after != before:
            if "import pytest" not in after:
                sys.exit(f"{file}: import pytest first")
            file.write_text(after)
            print(file)
