"""The memory that reading one file may take: sizes, the default, and who is told."""

import os
import subprocess
import sys
from inspect import signature

import pytest

from selfwise.commands import command_names, import_command
from selfwise.core import memory_limit
from selfwise.core.free_memory import measure_free_memory
from selfwise.core.memory_limit import (
    check_size,
    describe_excess,
    find_limit,
    format_size,
    limit_memory,
    parse_size,
    takes_memory_limit,
)

MIB = 2**20


@pytest.mark.parametrize(
    ("text", "size"),
    [("4G", 2**32), ("500 MB", 500 * MIB), ("1.5GiB", 3 * 2**29), ("64k", 2**16), ("1024", 1024)],
)
def test_sizes_have_units(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "4X", "-1G", "0", "0.0G", "1e9", "nan", "G", "9" * 5000])
def test_other_texts_are_refused_with_the_option(text):
    with pytest.raises(ValueError, match=r"--max-memory must be a size above 0, such as 4G"):
        parse_size(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [(10, "10 bytes"), (1536, "1.5 KiB"), (3 * 2**30, "3.0 GiB"), (200 * MIB, "200 MiB")],
)
def test_sizes_in_messages(size, text):
    assert format_size(size) == text


def test_an_excess_names_file_size_limit_and_option():
    with (
        limit_memory("10M"),
        pytest.raises(
            ValueError,
            match=r"^a\.npz: reading it takes at least 20.0 MiB of memory, and the limit is "
            r"10.0 MiB \(--max-memory\); divide the file, or set a higher --max-memory or "
            r"variable SELFWISE_MAX_MEMORY, such as 20M$",
        ),
    ):
        check_size("a.npz", 20 * MIB)


def test_the_suggested_size_is_enough():
    for needed in (1, 20 * MIB + 1, 3 * 2**30 + 5, 2**41):
        with limit_memory("1"):
            text = describe_excess(needed).rpartition(" ")[2]
        assert not text or parse_size(text) >= needed


def test_without_an_option_half_of_the_free_memory_is_the_limit(monkeypatch):
    monkeypatch.setattr(memory_limit, "measure_free_memory", lambda: 100 * MIB)
    assert find_limit() == (50 * MIB, "50% of the free memory")
    assert not describe_excess(49 * MIB)
    assert "50% of the free memory" in describe_excess(51 * MIB)


def test_the_limit_ends_with_the_command_and_reaches_its_processes():
    @takes_memory_limit
    def command(*, max_memory: str = "") -> str:
        code = "from selfwise.core.memory_limit import find_limit; print(find_limit().bytes)"
        return subprocess.check_output([sys.executable, "-c", code], text=True)

    assert int(command(max_memory="3M")) == 3 * MIB
    assert memory_limit.VARIABLE not in os.environ
    with limit_memory("1G"), limit_memory("2G"):
        assert find_limit().bytes == 2**31
    with pytest.raises(ValueError, match="not 'much'"):
        command(max_memory="much")


READ_NOTHING = {"doctor", "list_methods", "list_recipes", "make_completion", "make_schema"}
CHOOSE_NOTHING = {"quickstart", "run_recipe"}  # their data are fixed


@pytest.mark.parametrize("name", command_names())
def test_each_command_that_reads_files_takes_the_limit(name, tmp_path):
    command = import_command(name)
    function = command.load_function()
    if name in READ_NOTHING | CHOOSE_NOTHING:
        return
    words = {"method": "rotation", "family": "bert", "data": tmp_path, "train": tmp_path}
    words |= {"out": tmp_path / "out"}
    given = {
        name: words.get(name, tmp_path)
        for name, one in signature(function).parameters.items()
        if one.default is one.empty and one.kind is not one.VAR_KEYWORD
    }
    with pytest.raises(ValueError, match="--max-memory must be a size above 0"):
        function(**given, max_memory="much")


def write_group(folder, limit: str, used: int, cached: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {cached}\nactive_file 0\n")


def test_the_smallest_limit_of_all_groups_counts(tmp_path):
    proc, groups = tmp_path / "proc", tmp_path / "sys/fs/cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text(f"MemTotal: 9 kB\nMemAvailable: {2**22} kB\n")
    assert measure_free_memory(tmp_path) == 2**32
    (proc / "self/cgroup").write_text("0::/user/job\n")
    write_group(groups / "user/job", "max", 2**29, 0)
    assert measure_free_memory(tmp_path) == 2**32
    write_group(groups / "user", str(2**30), 2**29, MIB)
    assert measure_free_memory(tmp_path) == 2**29 + MIB
    write_group(groups, str(2**28), 0, 0)  # the root, which a container sees as its own group
    assert measure_free_memory(tmp_path) == 2**28


def test_groups_of_the_first_version(tmp_path):
    group = tmp_path / "sys/fs/cgroup/memory/docker"
    group.mkdir(parents=True)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("3:cpu,memory:/docker\n1:name=x:/other\n")
    (group / "memory.limit_in_bytes").write_text(str(2**30))
    (group / "memory.usage_in_bytes").write_text(str(2**20))
    assert measure_free_memory(tmp_path) == 2**30 - 2**20


def test_this_machine_has_some_memory():
    assert 0 < measure_free_memory() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_what_a_reader_holds_does_not_lower_its_limit(monkeypatch):
    free = [2**30]
    monkeypatch.setattr(memory_limit, "measure_free_memory", lambda: free[0])
    budget = memory_limit.MemoryBudget("a.csv")
    for _ in range(30):  # 480 MiB
        budget.add(2**24)
        free[0] -= 2**24
    with pytest.raises(ValueError, match=r"^a.csv: .*the limit is 504 MiB"):
        budget.add(2**25)


def test_files_that_were_read_twice_can_be_dropped_too(tmp_path):
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/\n")
    group = tmp_path / "sys/fs/cgroup"
    write_group(group, str(2**30), 2**30, 0)
    assert measure_free_memory(tmp_path) == 0
    (group / "memory.stat").write_text(f"inactive_file {MIB}\nactive_file {2 * MIB}\n")
    assert measure_free_memory(tmp_path) == 3 * MIB
