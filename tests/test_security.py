"""SECURITY.md: each promise has tests, and each of them exists."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TEXT)
PROMISE = re.compile(r"^- \*\*(.+?)\*\*.*?(?=^- |^#|^<!--|\Z)", re.MULTILINE | re.DOTALL)


def promises() -> dict[str, str]:
    """Each promise with all that is below it."""
    part = TEXT.partition("## What selfwise promises")[2].partition("## What it does not")[0]
    return {" ".join(found[1].split()): found[0] for found in PROMISE.finditer(part)}


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_a_test_that_is_named_exists(file, name):
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("promise", promises())
def test_a_promise_has_a_test(promise):
    assert "::test_" in promises()[promise]


def test_all_promises_are_seen():
    assert len(promises()) >= 12
    assert len(set(NAMED)) == len(NAMED) == TEXT.count("::test_")


@pytest.mark.run  # a process
def test_telemetry_of_libraries_is_off_unless_the_user_sets_it():
    code = "import os, selfwise; print(*[os.environ.get(n) for n in selfwise.QUIET])"
    names = ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK")
    env = {n: v for n, v in os.environ.items() if n not in names} | {"DO_NOT_TRACK": "0"}
    call = [sys.executable, "-c", code]
    done = subprocess.run(call, env=env, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split()[:3] == ["1", "1", "0"]
