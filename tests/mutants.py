"""Plant one bug at a time and see a test go red: `python -m tests.mutants [PART OF A NAME]`.

A suite that every one of these passes by would say nothing about the code. The bugs are in
`tests/mutants_*.py`: every list there is taken. First the tests are run without any bug and must be
green, so that a red one is the bug's doing.

Libraries are imported once, and each bug has a process forked from that: torch and what comes with
it take longer to import than most tests take to run. selfwise itself is imported behind the fork.
"""

import ast
import contextlib
import gc
import importlib
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
OURS = ("selfwise", "tests")
LIMIT = 600  # seconds that one bug's tests may take
# what starts threads when imported, which a fork would lose; their tests import them themselves
THREADED = ("onnxruntime", "wandb", "datasets")


class Mutant(NamedTuple):
    """A bug: in `file` the text `old` becomes `new`; then `tests` (FILE or FILE::TEST) fail."""

    name: str
    file: str
    old: str
    new: str
    tests: str


class Result(NamedTuple):
    """How pytest ended: its exit code (negative: the signal that killed it), and what it said."""

    code: int
    line: str
    seconds: float


def listed() -> list[Mutant]:
    """All bugs of all lists beside this file."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("mutants_*.py"))
    lists = [importlib.import_module(f"tests.{name}").MUTANTS for name in names]
    return [Mutant(*one) for each in lists for one in each]


def import_libraries() -> None:
    """Import whatever selfwise and its tests import from others, as far as it is installed."""
    for path in sorted(path for folder in OURS for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                wanted = [(alias.name, "") for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                wanted = [(node.module, alias.name) for alias in node.names]
            else:
                continue
            for module, name in wanted:
                _import(module, name)


def _import(module: str, name: str) -> None:
    top = module.partition(".")[0]
    if top in (*OURS, "benchmarks", *THREADED) or (ROOT / "tests" / f"{top}.py").exists():
        return
    try:
        getattr(importlib.import_module(module), name, None)  # transformers imports when asked
    except ImportError:
        return  # an extra: its tests skip, or say what is missing


def plant(mutant: Mutant, copy: Path) -> str:
    """Change the copy; what is wrong with the mutant, if anything."""
    path = copy / "selfwise" / mutant.file
    text = path.read_text() if path.is_file() else ""
    if text.count(mutant.old) != 1:
        return f"the text to change occurs {text.count(mutant.old)} times"
    path.unlink()  # a link: the file itself is everybody's
    path.write_text(text.replace(mutant.old, mutant.new))
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
        compiled.unlink()
    return ""


def run_tests(copy: Path, tests: Iterable[str], kept: Path) -> int:
    """pytest on a copy of the repository, in this very process; its exit code.

    What tests write goes into `kept`.
    """
    os.chdir(copy)
    os.environ["PYTHONPATH"] = str(copy)  # for the processes that tests start
    here = {"", str(ROOT), str(ROOT / "tests")}
    sys.path[:] = [str(copy), *(place for place in sys.path if place not in here)]
    for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
        del sys.modules[name]
    import pytest

    quiet = ["-x", "-q", "-p", "no:cacheprovider", f"--basetemp={kept}"]
    return int(pytest.main([*quiet, *tests]))


def forked(work: Callable[[], int], log: Path) -> int:
    """Start `work` in a process of its own that writes into `log`; the number of the process."""
    number = os.fork()
    if number:
        return number
    code = 70
    try:
        os.setsid()
        signal.alarm(LIMIT)
        with log.open("wb") as file:
            for stream in (1, 2):
                os.dup2(file.fileno(), stream)
        code = work()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)  # nothing of the parent's is to be cleaned up here


def results(jobs: Iterable[tuple[list[str], Mutant | None]], base: Path) -> Iterator[Result]:
    """The result of each job, tests with a bug or without, in order; as many at once as cores.

    Without one they run in `base` itself, and leave bytecode there for the copies to come.
    """
    running: dict[int, tuple[int, Path, float]] = {}
    done: dict[int, Result] = {}
    told = 0
    for place, (tests, mutant) in enumerate(jobs):
        while len(running) >= (os.cpu_count() or 1):
            _wait(running, done)
        folder, copy, wrong = Path(tempfile.mkdtemp(dir=base.parent)), base, ""
        if mutant:
            # with bytecode; links are made faster than copies
            copy = shutil.copytree(base, folder / "copy", copy_function=os.link)
            wrong = plant(mutant, copy)
        if wrong:
            done[place] = Result(-1, wrong, 0.0)
        else:
            number = forked(partial(run_tests, copy, tests, folder / "kept"), folder / "log")
            running[number] = (place, folder, time.perf_counter())
        while told in done:
            yield done.pop(told)
            told += 1
    while running:
        _wait(running, done)
    yield from (done[place] for place in sorted(done))


def _wait(running: dict[int, tuple[int, Path, float]], done: dict[int, Result]) -> None:
    number, status = os.wait()
    place, folder, start = running.pop(number)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(number, signal.SIGKILL)  # what a test may have left behind
    lines = (folder / "log").read_text(errors="replace").strip().splitlines() or ["no output"]
    failed = [line.split(" - ")[0] for line in lines if line.startswith(("FAILED ", "ERROR "))]
    code, seconds = os.waitstatus_to_exitcode(status), time.perf_counter() - start
    done[place] = Result(code, (failed or lines)[-1], seconds)
    shutil.rmtree(folder, ignore_errors=True)


def by_file(tests: Iterable[str]) -> list[list[str]]:
    """Tests in groups of one file each; none twice, and none beside the whole of its file."""
    groups: dict[str, set[str]] = {}
    for test in tests:
        groups.setdefault(test.partition("::")[0], set()).add(test)
    return [[file] if file in named else sorted(named) for file, named in groups.items()]


def main() -> int:
    """Run all, or those whose name holds the first argument; 1 if any gets away."""
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    chosen = [mutant for mutant in listed() if wanted in mutant.name]
    if not chosen:
        sys.exit(f"no bug has {wanted!r} in its name")
    for library in ("OMP", "OPENBLAS", "MKL"):
        os.environ[f"{library}_NUM_THREADS"] = "1"
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # threads that wait let other tests compute
    import_libraries()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    assert threading.active_count() == 1, threading.enumerate()
    assert "selfwise" not in sys.modules
    gc.freeze()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        base = Path(folder) / "without"
        for name in OURS:
            shutil.copytree(ROOT / name, base / name)
        shutil.copy(ROOT / "pyproject.toml", base)
        alive = _report(chosen, base)
    for line in alive:
        print(line)  # once more, at the end, where one looks
    print(f"{len(chosen) - len(alive)} of {len(chosen)} mutants caught")
    return min(len(alive), 1)


def _report(chosen: list[Mutant], base: Path) -> list[str]:
    """What is said of those that get away; each result is printed as it comes."""
    groups = by_file(mutant.tests for mutant in chosen)
    red = [
        f"{' '.join(tests)}  ({result.line})"
        for tests, result in zip(groups, results([(tests, None) for tests in groups], base))
        if result.code
    ]
    if red:
        sys.exit("\n".join(["without any bug these are not green, so they prove nothing:", *red]))
    alive = []
    found = results([([mutant.tests], mutant) for mutant in chosen], base)
    for mutant, result in zip(chosen, found):
        # 1: a test failed. Anything else is no proof: nothing collected, a crash, an interrupt.
        state = "caught" if result.code == 1 else "ALIVE "
        line = f"{state}  {mutant.name}  ({result.line}; {result.seconds:.1f} s)"
        print(line, flush=True)
        if result.code != 1:
            alive.append(line)
    return alive


if __name__ == "__main__":
    sys.exit(main())
