"""No damaged file is a traceback, takes long, or takes memory: `make fuzz` tries 200 of each."""

import os
from pathlib import Path
from random import Random

import pytest

from selfwise.core.memory_limit import VARIABLE
from selfwise.data.audio.decode import SUFFIXES as SOUND_SUFFIXES
from selfwise.data.listing import SUFFIXES as IMAGE_SUFFIXES
from selfwise.data.table_cells import CELL_SUFFIXES
from selfwise.data.text.file_kinds import PLAIN_SUFFIXES
from selfwise.data.text.plain_files import COMPRESSED
from selfwise.data.text.tables import TABLE_SUFFIXES
from selfwise.interop.huggingface.folder import PICKLED
from tests.fuzz import worker
from tests.fuzz.model_targets import COVERED_NAMES, MODEL_TARGETS
from tests.fuzz.mutate import compress, mutate
from tests.fuzz.record_targets import RECORD_TARGETS
from tests.fuzz.targets import DATA_TARGETS, Target
from tests.fuzz.worker import find_faults

TARGETS = [*DATA_TARGETS, *MODEL_TARGETS, *RECORD_TARGETS]
COUNT = int(os.environ.get("FUZZ_MUTATIONS", "5"))
FIRST = int(os.environ.get("FUZZ_FIRST", "0"))
LIMIT = 2**26  # bytes, the --max-memory of these tests


def write_target(target: Target, folder: Path) -> tuple[Path, bytes]:
    """The path of the file that is damaged, and what it holds without compression."""
    path = folder / target.file
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = path.with_name(path.name.removesuffix(".gz").removesuffix(".zst").removesuffix(".zstd"))
    target.write(plain)
    data = plain.read_bytes()
    if plain != path:
        plain.unlink()
    path.write_bytes(compress(path.name, data))
    return path, data


@pytest.fixture(autouse=True)
def limits(monkeypatch, tmp_path):
    monkeypatch.setenv(VARIABLE, str(LIMIT))
    monkeypatch.setenv("SELFWISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")


@pytest.mark.run
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_damaged_files_are_read_or_refused_in_a_sentence(target, tmp_path):
    path, data = write_target(target, tmp_path)
    if target.whole:
        target.read(path)

    def read(number: int) -> None:
        path.write_bytes(mutate(path.name, target.kind, data, Random(f"{target.name} {number}")))
        target.read(path)

    faults = find_faults(read, range(FIRST, FIRST + COUNT), target.must_name, LIMIT)
    assert not faults, "\n".join(f"{target.name} {number}: {text}" for number, text in faults)


def test_every_suffix_of_a_reader_has_a_file():
    names = [target.file for target in TARGETS]
    for suffix in (
        *IMAGE_SUFFIXES, *SOUND_SUFFIXES, *TABLE_SUFFIXES, *CELL_SUFFIXES, *PLAIN_SUFFIXES,
        *COMPRESSED, *PICKLED, ".npy", ".npz", ".safetensors", ".yaml", ".toml",
    ):  # fmt: skip
        assert any(name.endswith(suffix) for name in names), suffix
    for name in COVERED_NAMES:
        assert any(file.endswith(name) for file in names), name


class Broken(Exception):
    """An error that is not a sentence."""


def die(number: int) -> None:
    """What a reader must not do, by number."""
    if number == 1:
        raise Broken("a bug")
    if number == 2:
        os.abort()
    if number == 3:
        while True:
            pass
    if number == 4:
        bytearray(b"x") * 2**29
    if number == 5:
        raise ValueError("without its place")
    if number == 6:
        raise ValueError("a.txt: in a sentence")


def test_the_harness_sees_tracebacks_deaths_time_and_memory(monkeypatch):
    monkeypatch.setattr(worker, "SECONDS", 2.0)
    faults = {fault.number: fault.text for fault in find_faults(die, range(8), "a.txt", LIMIT)}
    assert list(faults) == [1, 2, 3, 4, 5]
    for number, text in enumerate(("Broken: a bug", "died (-6)", "more than 2 s", "MiB"), 1):
        assert text in faults[number]
    assert "without the file" in faults[5]
