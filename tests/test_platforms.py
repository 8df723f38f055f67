"""Windows and macOS: nothing that only Linux has is needed to import selfwise."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import selfwise
from selfwise.cli import output
from selfwise.core.own_files import flush_to_disk
from selfwise.core.process import measure_free_shared_memory
from selfwise.profiling.step_timer import _read_peak_of_process

ROOT = Path(selfwise.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
UNIX_MODULES = {"crypt", "curses", "fcntl", "grp", "nis", "ossaudiodev", "posix", "pty", "pwd"}
UNIX_MODULES |= {"readline", "resource", "spwd", "syslog", "termios", "tty"}
# names of os and select that Windows or macOS lacks
UNIX_NAMES = ["fork", "forkpty", "getuid", "geteuid", "getgid", "getpgid", "getpwuid", "killpg"]
UNIX_NAMES += ["mkfifo", "nice", "pidfd_open", "posix_fadvise", "posix_fallocate", "pread"]
UNIX_NAMES += ["register_at_fork", "sched_getaffinity", "sched_setaffinity", "setsid", "statvfs"]
UNIX_NAMES += ["uname", "wait", "waitpid", "poll", "epoll", "kqueue", "O_DIRECTORY", "O_CLOEXEC"]


def unguarded(source: str) -> list[str]:
    """Names that Linux has and the source takes from os or select without asking for them first."""
    names = {
        node.attr
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("os", "select")
    }
    asked = set(re.findall(r'hasattr\((?:os|select), "(\w+)"\)', source))
    return sorted(names & {*UNIX_NAMES} - asked)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_that_only_linux_has_are_asked_for_first(path):
    assert unguarded(path.read_text("utf-8")) == []


def test_a_name_that_is_not_asked_for_is_seen():
    assert unguarded("if hasattr(os, 'x'): os.fork()\nselect.poll()") == ["fork", "poll"]
    assert unguarded('if hasattr(os, "fork"):\n    os.fork()') == []


IMPORTS = f"""
import importlib, os, pkgutil, select, signal, sys, warnings
import torch, torchvision, timm, sklearn.linear_model, scipy.stats, matplotlib.pyplot, pyarrow
import torch.utils.data, torch.distributed, pydantic, rich.console, jinja2, safetensors.torch
import tokenizers, soundfile, soxr, sentencex  # what others import is not ours to mend
for name in {sorted(UNIX_MODULES)}:
    sys.modules[name] = None
for name in {UNIX_NAMES}:
    for module in (os, select):
        if hasattr(module, name):
            delattr(module, name)
for name in ("SIGKILL", "SIGHUP", "SIGUSR1", "SIGCHLD", "SIGALRM"):
    delattr(signal, name)
sys.platform = {{platform!r}}
import selfwise
for module in pkgutil.walk_packages(selfwise.__path__, "selfwise."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
from selfwise.cli.main import main
sys.exit(main(["methods"]))
"""


@pytest.mark.run
@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_every_module_is_imported_without_what_only_linux_has(platform):
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS.format(platform=platform)],
        cwd=ROOT.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "simclr" in done.stdout


def test_where_there_is_no_poll_no_pipe_is_called_closed(monkeypatch):
    monkeypatch.delattr(output.select, "poll")
    assert output.find_closed_pipes() == []


def test_where_there_is_no_shared_memory_its_size_is_not_known(monkeypatch):
    monkeypatch.delattr("os.statvfs")
    assert measure_free_shared_memory() is None


def test_windows_flushes_files_that_are_open_for_writing_and_no_folders(tmp_path, monkeypatch):
    file = tmp_path / "a"
    file.write_bytes(b"x")
    flags, real_open = [], os.open
    monkeypatch.setattr(os, "open", lambda path, flag: flags.append(flag) or real_open(path, flag))
    flush_to_disk(file)
    flush_to_disk(tmp_path)
    assert flags == [os.O_RDONLY, os.O_RDONLY]
    flags.clear()
    with monkeypatch.context() as windows:  # pytest itself cannot do with it
        windows.setattr(os, "name", "nt")
        flush_to_disk(file)
        flush_to_disk(tmp_path)
    assert flags == [os.O_RDWR]


def test_peak_memory_is_not_known_where_the_system_does_not_count_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "resource", None)
    assert _read_peak_of_process() == 0
    monkeypatch.undo()
    assert _read_peak_of_process() > 2**20
