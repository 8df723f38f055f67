"""Files that are whole or not there, and the lock."""

import os
import subprocess
import sys
import time

import pytest

from selfwise.core.files import atomic_write, digest, hash_file, hold_lock, publish, write_file


def test_a_file_replaces_the_old_one_and_leaves_nothing_else(tmp_path):
    write_file(tmp_path / "new" / "a.txt", "old")
    write_file(tmp_path / "new" / "a.txt", b"new")
    assert (tmp_path / "new" / "a.txt").read_bytes() == b"new"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.txt"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_error_keeps_the_old_file(tmp_path, error):
    write_file(tmp_path / "a.txt", "old")

    def fail():
        with atomic_write(tmp_path / "a.txt") as temporary:
            temporary.write_text("new")
            raise error

    with pytest.raises(error):
        fail()
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_appears_whole_and_never_over_another(tmp_path):
    (tmp_path / "home").mkdir()
    with atomic_write(tmp_path / "home") as temporary:
        (temporary / "inner").mkdir(parents=True)
        (temporary / "inner" / "a.txt").write_text("a")
        assert not any((tmp_path / "home").iterdir())
    with pytest.raises(OSError, match="not empty"), atomic_write(tmp_path / "home") as temporary:
        temporary.mkdir()
    assert (tmp_path / "home" / "inner" / "a.txt").read_text() == "a"
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_contents_are_on_the_disk_before_the_name(tmp_path, monkeypatch):
    events, fsync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (events.append(os.fstat(fd).st_ino), fsync(fd)))
    monkeypatch.setattr(os, "replace", lambda a, b: (events.append("rename"), replace(a, b)))
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "a.txt").write_text("a")
    publish(tmp_path / "half", tmp_path / "home")
    inodes = [(tmp_path / name).stat().st_ino for name in ("home/a.txt", "home", ".")]
    assert events == [*inodes[:2], "rename", inodes[2]]


def test_leftovers_of_killed_processes_go_after_a_day(tmp_path):
    for name, hours in (("a.txt", 30), ("a.txt", 1), ("b.txt", 30)):
        path = tmp_path / f".{name}.{hours}.writing"
        path.touch()
        os.utime(path, (time.time() - 3600 * hours,) * 2)
    write_file(tmp_path / "a.txt", "a")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [".a.txt.1.writing", ".b.txt.30.writing", "a.txt"]


@pytest.mark.run  # a process
def test_a_lock_is_held_by_one_process_and_ends_with_it(tmp_path):
    code = """
import os, pathlib, sys, time
from selfwise.core.files import hold_lock
with hold_lock(pathlib.Path(sys.argv[1])):
    if os.fork() == 0:  # a child that outlives the holder does not keep the lock
        print("held", flush=True)
    time.sleep(60)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "lock")]
    other = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert other.stdout.readline()
        with pytest.raises(TimeoutError), hold_lock(tmp_path / "lock", wait=False):
            pass
        other.kill()
        other.wait()
        with hold_lock(tmp_path / "lock", wait=False):
            pass
    finally:
        os.killpg(other.pid, 9)


def test_digests_tell_parts_and_contents_apart(tmp_path):
    assert len({digest("ab", "c"), digest("a", "bc"), digest("abc"), digest(b"abc", "")}) == 4
    (tmp_path / "a").write_bytes(b"abc")
    assert hash_file(tmp_path / "a").hex().startswith("ba7816bf")
