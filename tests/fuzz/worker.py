"""Damaged files are read in a forked process, with limits of time and memory."""

import json
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

SECONDS = 10.0  # of processor time for one file, and six times as long in all
SPARE_BYTES = 2**28  # that a reader may take beyond the limit of the test
ADDRESS_BYTES = 2**31  # of address space that one process may take beyond what it has
SENTENCE_ERRORS = (ValueError, OSError, FloatingPointError)  # the command line prints a line


class Fault(NamedTuple):
    """What one damaged file did that it must not do."""

    number: int
    text: str


def find_faults(read: Callable[[int], None], numbers: range, named: str, limit: int) -> list[Fault]:
    """Call `read` for every number; an error must be a sentence that names the file.

    The numbers share a forked process, until it dies and another takes the rest.
    """
    faults: list[Fault] = []
    while len(numbers):
        done = numbers.start
        for number, text in _fork(read, numbers, named, limit):
            done = number + 1
            if text:
                faults.append(Fault(number, text))
        numbers = range(done, numbers.stop)
    return faults


def _fork(
    read: Callable[[int], None], numbers: range, named: str, limit: int
) -> Iterator[tuple[int, str]]:
    """(number, fault or "") of each; the last one where the process died."""
    out, into = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if not child:
        os.close(out)
        _run_child(read, numbers, named, limit, into)
    os.close(into)
    last = numbers.start - 1
    with os.fdopen(out, encoding="utf-8") as lines:
        for line in lines:
            last, text = json.loads(line)
            yield last, text
    _, status = os.waitpid(child, 0)
    if last + 1 < numbers.stop:
        code = os.waitstatus_to_exitcode(status)
        late = code in (-signal.SIGALRM, -signal.SIGPROF)
        why = f"took more than {SECONDS:g} s" if late else f"died ({code})"
        yield last + 1, f"the process {why}"


def _run_child(
    read: Callable[[int], None], numbers: range, named: str, limit: int, into: int
) -> None:
    """Read all files and leave the process, whatever happens."""
    try:
        for alarm in (signal.SIGALRM, signal.SIGPROF):
            signal.signal(alarm, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        address = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (address + ADDRESS_BYTES,) * 2)
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        for number in numbers:
            signal.setitimer(signal.ITIMER_PROF, SECONDS)  # other work on the machine is not its
            signal.setitimer(signal.ITIMER_REAL, 6 * SECONDS)
            text = _read_one(read, number, named, limit)
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.setitimer(signal.ITIMER_REAL, 0)
            os.write(into, (json.dumps([number, text]) + "\n").encode())
    finally:
        os._exit(0)


def _read_one(read: Callable[[int], None], number: int, named: str, limit: int) -> str:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        read(number)
    except SENTENCE_ERRORS as error:
        where = getattr(error, "filename", None) or ""
        if named not in f"{where}{error}":
            return f"{type(error).__name__} without the file: {error}"[:500]
        if type(error).__name__ in str(error) or "Traceback" in str(error):
            return f"not a sentence: {error}"[:500]
    except BaseException as error:
        return f"{type(error).__name__}: {error}"[:300] + _last_frames(error)
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    return f"took {grown / 2**20:.0f} MiB" if grown > limit + SPARE_BYTES else ""


def _last_frames(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    return "".join(f"\n    {f.filename}:{f.lineno} {f.name}" for f in frames)
