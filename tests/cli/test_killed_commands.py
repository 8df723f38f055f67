"""SIGKILL at events of files: what was there before stays, and the same command then succeeds.

`KILLS=200` spreads so many kills over the commands; `make test` has a few of each.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

import selfwise
from selfwise.core.files import UNFINISHED
from tests.helpers import kill_server
from tests.helpers.glue_cases import write_glue

FEW = ["--cpu-threads", "1", "--quiet", "--steps", "2", "--batch-size", "16"]
SMALL = {"cpu_threads": 1, "quiet": True, "steps": 2, "batch_size": 16, "precision": "float32"}
RESNET = {"layers": [1, 1, 1, 1], "channels": [4, 4, 8, 8]}
TEXT = {"dim": 16, "heads": 2, "depth": 2}
GLUE = ["--poolings", "mean", "--layers", "last", "--seeds", "1"]


class Case(NamedTuple):
    """A command that writes, with patterns of files that hold a time, so that bytes differ."""

    line: str
    timed: tuple[str, ...] = ()


CASES = {
    "embed": Case("embed image --data {data}/photos --out vectors.npz"),
    "embed as a table": Case("embed text --data {data}/texts.csv --out vectors.parquet"),
    "probe": Case(
        "probe image --train {data}/photos --test {data}/photos --seeds 1", ("image/scores/*",)
    ),
    "fine-tuning": Case(
        "probe image --kind finetune --train {data}/photos --test {data}/photos --seeds 1",
        ("image/scores/*",),
    ),
    "export for transformers": Case("export text --to hf --out hf"),
    "export to ONNX": Case("export image --to onnx --out onnx"),
    "export of word vectors": Case("export words --to word2vec --out vectors.txt"),
    "report": Case("report image", ("image/report.html",)),
    "tokenizer": Case("tokenizer {data}/texts --kind bpe --vocab-size 300 --out tokenizer"),
    "glue": Case(
        f"glue text --data {{data}}/glue --out glue {' '.join(GLUE)} --limit 30",
        ("glue/*.json", "glue/*.html", "glue/*.zip"),
    ),
    "pretrain": Case(
        "pretrain gpt --data {data}/texts --out new --encoder gpt-tiny --max-length 16 "
        f"{' '.join(FEW)}",
        ("new/timing.jsonl",),
    ),
}
SLOW = ("fine-tuning",)  # a minute for each of its runs
KILLS = max(2, int(os.environ.get("KILLS", 0)) // len(CASES))


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for name in ("photos/day", "photos/night", "texts"):
        (folder / name).mkdir(parents=True)
    random = np.random.default_rng(0)
    for i in range(32):
        pixels = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "photos" / ("day", "night")[i % 2] / f"{i}.png")
    texts = [f"The sea was calm on day {i}. An island lay far out. " * 8 for i in range(24)]
    for i, text in enumerate(texts):
        (folder / "texts" / f"{i}.txt").write_text(text)
    (folder / "texts.csv").write_text("\n".join(["text", *(text[:60] for text in texts)]))
    write_glue(folder / "glue", tasks=("rte", "cola"))
    return folder


@pytest.fixture(scope="module")
def start(data, tmp_path_factory) -> Path:
    """A folder with runs, in which each command begins."""
    folder = tmp_path_factory.mktemp("start")
    encoder = {"encoder": "resnet18", "encoder_options": RESNET}
    selfwise.pretrain("simclr", data=data / "photos", out=folder / "image", **encoder, **SMALL)
    told = {"data": data / "texts", "max_length": 16, **SMALL}
    encoder = {"encoder": "bert-tiny", "encoder_options": TEXT}
    selfwise.pretrain("bert", out=folder / "text", **encoder, **told)
    selfwise.pretrain("word2vec", out=folder / "words", encoder_options={"dim": 8}, **told)
    (folder / "cache").mkdir()
    return folder


class Server:
    """Runs commands in forks of a process that has imported everything."""

    def __init__(self, output: Path):
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        command = [sys.executable, kill_server.__file__]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, env=environment, **pipes)
        self.output = output
        assert self.process.stdout.readline() == "ready\n"

    def run(self, args: list[str], folder: Path, kill_at: int = 0) -> tuple[int, int]:
        """Return the exit code, and the number of events."""
        job = {"args": args, "folder": str(folder), "kill_at": kill_at, "output": str(self.output)}
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        return answer["code"], answer["events"]

    def said(self) -> str:
        return self.output.read_text(errors="replace")[-2000:]


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server") / "output")
    yield server
    server.process.stdin.close()
    server.process.wait()


def read_tree(folder: Path, timed: tuple[str, ...] = ()) -> dict[str, str]:
    """Return the digest of each file, or only its name where it holds a time.

    Locks, and what a killed process was writing, are left out.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        parts = [part for part in name.parts if part.endswith((UNFINISHED, ".lock"))]
        if path.is_file() and not parts and name.parts[0] != "cache":
            is_timed = any(name.match(pattern) for pattern in timed)
            found[str(name)] = "" if is_timed else sha256(path.read_bytes()).hexdigest()
    return found


def choose_events(name: str, count: int) -> list[int]:
    """Return events to kill at: the first, the last, and some between."""
    random = np.random.default_rng([len(name), count])
    some = random.permutation(np.arange(2, count))[: max(0, KILLS - 2)] if count > 2 else []
    return sorted({1, count, *map(int, some)})


@pytest.mark.run
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in CASES],
)
def test_a_killed_command_loses_nothing_and_can_be_repeated(name, data, start, server, tmp_path):
    case, work = CASES[name], tmp_path / "work"
    args = case.line.format(data=data).split()

    def begin() -> None:
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(start, work)

    begin()
    code, events = server.run(args, work)
    assert code == 0, server.said()
    whole, before = read_tree(work, case.timed), read_tree(start, case.timed)
    assert set(whole) > set(before)
    for event in choose_events(name, events):
        begin()
        code, _ = server.run(args, work, kill_at=event)
        assert code == -9, (event, server.said())
        left = read_tree(work, case.timed)
        assert {file: left.get(file) for file in before} == before, event
        again = ["resume", "new", "--quiet"] if (work / "new/run.yaml").exists() else args
        code, _ = server.run(again, work)
        if code:  # it had finished, and its result is not overwritten
            assert code == 2, (event, server.said())
            assert left == whole, (event, server.said())
        assert read_tree(work, case.timed) == whole, event
