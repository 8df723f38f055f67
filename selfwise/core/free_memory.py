"""How much memory this process can still allocate, within the limits of a container."""

from collections.abc import Iterator
from pathlib import Path

SYSTEM = Path("/")
# the files of a cgroup, and the counts of cached files that the system can drop
V2 = ("memory.max", "memory.current", "memory.stat", ("inactive_file", "active_file"))
V1 = (
    *("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat"),
    ("total_inactive_file", "total_active_file"),
)


def measure_free_memory(system: Path = SYSTEM) -> int:
    """Return the bytes that the system has without swapping, within the limits of all cgroups."""
    free = [_find_limit_left(home, *names) for home, names in _list_cgroups(system)]
    for line in _read_lines(system / "proc/meminfo"):
        if line.startswith("MemAvailable:"):
            free.append(int(line.split()[1]) * 1024)
    return min((one for one in free if one is not None), default=2**63)


def _list_cgroups(system: Path) -> Iterator[tuple[Path, tuple[str, str, str, tuple[str, ...]]]]:
    """Yield the folder of each cgroup that this process belongs to, and the names of its files.

    A limit also holds for all groups inside a group. In a container the root of the tree is the
    container's own group.
    """
    for line in ["0::/", "0:memory:/", *_read_lines(system / "proc/self/cgroup")]:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            home, names = system / "sys/fs/cgroup", V2
        elif "memory" in controllers.split(","):
            home, names = system / "sys/fs/cgroup/memory", V1
        else:
            continue
        place = Path(path.lstrip("/"))
        for group in (place, *place.parents):
            yield home / group, names


def _find_limit_left(
    home: Path, limit: str, use: str, statistics: str, caches: tuple[str, ...]
) -> int | None:
    """Return the bytes left within the limit of a cgroup; None without a limit.

    Files in the cache count as used, but the system drops them when it needs the memory.
    """
    most, used = _read_lines(home / limit), _read_lines(home / use)
    if not most or not used or not most[0].isdigit():
        return None
    lines = map(str.split, _read_lines(home / statistics))
    cached = [words[1] for words in lines if words and words[0] in caches]
    return max(0, int(most[0]) - int(used[0]) + sum(map(int, cached)))


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:  # another operating system, or a group outside of the container
        return []
