"""Files that are changed in place: regular ones alone, never through a link."""

import os
import socket
import stat
import threading

import pytest

from selfwise.core import own_files
from selfwise.core.files import atomic_write, hold_lock, write_file
from selfwise.core.own_files import (
    check_folder,
    make_folder,
    open_own,
    read_own,
    remove_own,
    remove_run,
)


def put_odd(kind, path, outside):
    """Put something that is not a regular file at `path`; a link leads to `outside`."""
    if kind == "a symbolic link":
        path.symlink_to(outside)
    elif kind == "a folder":
        path.mkdir()
    elif kind == "a named pipe":
        os.mkfifo(path)
    elif kind == "a socket":
        here = os.open(".", os.O_RDONLY)
        os.chdir(path.parent)  # the path of a socket is short
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
        os.fchdir(here)
        os.close(here)


ODD = ["a symbolic link", "a folder", "a named pipe", "a socket"]


@pytest.fixture
def outside(tmp_path):
    (tmp_path / "outside.txt").write_text("precious")
    return tmp_path / "outside.txt"


def use(action, path):
    if action == "append":
        open_own(path, "ab").close()
    elif action == "change":
        with open_own(path, "r+b") as file:
            file.truncate(0)
    elif action == "replace":
        write_file(path, "new")
    else:
        with hold_lock(path):
            pass


@pytest.mark.parametrize("action", ["append", "change", "replace", "lock"])
@pytest.mark.parametrize("kind", ODD)
def test_nothing_but_a_regular_file_is_written_to(tmp_path, outside, kind, action):
    (tmp_path / "run").mkdir()
    path = tmp_path / "run" / "metrics.jsonl"
    put_odd(kind, path, outside)
    before = os.lstat(path)
    if (kind, action) == ("a folder", "replace"):  # a folder may replace an empty one
        with pytest.raises(IsADirectoryError, match=r"metrics\.jsonl"):
            use(action, path)
    else:
        with pytest.raises(ValueError, match=f"metrics.jsonl is {kind}, not a file: "):
            use(action, path)
    assert outside.read_text() == "precious"
    assert os.lstat(path).st_ino == before.st_ino
    assert [one.name for one in path.parent.iterdir()] == ["metrics.jsonl"]


def test_a_link_that_appears_after_the_check_is_not_followed(tmp_path, outside, monkeypatch):
    path = tmp_path / "metrics.jsonl"
    path.symlink_to(outside)
    monkeypatch.setattr("selfwise.core.own_files.check_file", lambda path: None)
    with pytest.raises(OSError, match=r"metrics\.jsonl"):
        open_own(path, "r+b")


def test_a_pipe_is_not_waited_for(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="is a named pipe, not a file"):
        read_own(tmp_path / "pipe")
    monkeypatch.setattr("selfwise.core.own_files.check_file", lambda path: None)
    for mode in ("ab", "r+b"):
        with pytest.raises((ValueError, OSError), match="pipe"):
            open_own(tmp_path / "pipe", mode)


def test_a_folder_is_not_read_as_a_file(tmp_path):
    with pytest.raises(ValueError, match="is a folder, not a file"):
        read_own(tmp_path)


def test_a_file_of_two_names_is_not_changed_in_place(tmp_path, outside):
    os.link(outside, tmp_path / "metrics.jsonl")
    with pytest.raises(ValueError, match="has 2 names"):
        open_own(tmp_path / "metrics.jsonl", "ab")
    write_file(tmp_path / "metrics.jsonl", "new")  # gets contents of its own
    assert outside.read_text() == "precious"


def test_a_lock_keeps_what_its_file_holds(tmp_path):
    (tmp_path / ".lock").write_text("precious")
    with hold_lock(tmp_path / ".lock"):
        pass
    assert (tmp_path / ".lock").read_text() == "precious"


def test_a_regular_file_is_created_changed_and_read(tmp_path):
    with open_own(tmp_path / "a", "ab") as file:
        file.write(b"one")
    with open_own(tmp_path / "a", "r+b") as file:
        file.write(b"two")
    with open_own(tmp_path / "a", "ab") as file:
        file.write(b"more")
    (tmp_path / "b").symlink_to("a")
    assert read_own(tmp_path / "a") == read_own(tmp_path / "b") == b"twomore"
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o666 & ~_umask()


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_linked_folder_is_refused_but_not_above(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").symlink_to("disk")
    make_folder(tmp_path / "run" / "scores")
    make_folder(tmp_path / "run" / "scores")
    (tmp_path / "run" / "checkpoints").symlink_to("scores")
    for check in (check_folder, make_folder):
        with pytest.raises(ValueError, match="checkpoints is a symbolic link, not a folder"):
            check(tmp_path / "run" / "checkpoints")


def test_a_link_is_removed_without_its_target(tmp_path, outside):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "a").write_text("precious")
    (tmp_path / "link").symlink_to("disk")
    remove_own(tmp_path / "link")
    assert (tmp_path / "disk" / "a").read_text() == "precious"
    assert not (tmp_path / "link").is_symlink()
    (tmp_path / "run").symlink_to("disk")
    (tmp_path / "disk" / "checkpoints").symlink_to(tmp_path)
    remove_run(tmp_path / "run")  # of a linked run folder, what it holds
    assert (tmp_path / "run").is_symlink()
    assert list((tmp_path / "disk").iterdir()) == []
    assert outside.exists()


def test_a_run_that_cannot_be_removed_does_not_hide_the_error(tmp_path, monkeypatch):
    for name in ("first", "last"):
        (tmp_path / "run" / name).mkdir(parents=True)
        (tmp_path / "run" / name / "file").write_text("")
    (tmp_path / "link").symlink_to("run")
    unlink, removed = os.unlink, []

    def fail(path, **where):
        if not removed:
            removed.append(path)
            raise PermissionError(13, "Permission denied", path)
        unlink(path, **where)

    monkeypatch.setattr(os, "unlink", fail)
    remove_run(tmp_path / "link")
    left = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert [path.name for path in left] == ["file"]
    removed.clear()
    remove_run(tmp_path / "run")
    assert len([path for path in (tmp_path / "run").rglob("*") if path.is_file()]) == 1
    remove_run(tmp_path / "run")
    remove_run(tmp_path / "run")  # it is gone
    assert not (tmp_path / "run").exists()


def test_the_first_bytes_of_a_file(outside):
    assert read_own(outside, 4) == b"prec"
    assert read_own(outside) == b"precious"


@pytest.mark.skipif(not os.path.exists("/dev/null"), reason="devices of POSIX")
@pytest.mark.parametrize("action", ["append", "replace"])
@pytest.mark.parametrize("name", ["/dev/null", "/dev/fd", "/proc/self", "link"])
def test_a_device_is_not_to_be_removed(tmp_path, name, action):
    path = tmp_path / name
    if name == "link":
        path.symlink_to("/dev/null")
    with pytest.raises(ValueError, match=f"^{path} is a .*, not a file: ") as error:
        use(action, path)
    assert str(error.value).endswith(
        ": selfwise writes only to regular files and folders: choose another place"
    )


@pytest.mark.parametrize("named", [True, False])
def test_an_error_of_the_system_names_the_file_and_not_a_temporary_one(tmp_path, named):
    import errno

    def fail():
        with atomic_write(tmp_path / "report.html") as temporary:
            temporary.write_text("half")
            more = (str(temporary / "inner"),) if named else ()
            raise OSError(errno.ENOSPC, "No space left on device", *more)

    with pytest.raises(OSError, match=r"report\.html'$") as caught:
        fail()
    assert caught.value.filename == str(tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []


def test_two_threads_make_one_folder(tmp_path):
    folder = tmp_path / "a" / "b" / "c"
    threads = [threading.Thread(target=make_folder, args=[folder]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert folder.is_dir()


def test_two_processes_may_create_one_file(tmp_path, monkeypatch):
    file, original = tmp_path / "left_out.txt", os.open

    def open_late(path, flags, *mode):
        if flags & os.O_EXCL:
            file.write_bytes(b"first\n")  # of the other process
        return original(path, flags, *mode)

    monkeypatch.setattr(os, "open", open_late)
    with own_files.open_own(file, "ab") as stream:
        stream.write(b"second\n")
    assert file.read_bytes() == b"first\nsecond\n"
