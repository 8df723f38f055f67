"""Much of everything: files, classes, loader processes, points of a report; and little memory."""

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import selfwise
from selfwise.report.write import write_page
from tests.cli.test_cli import TINY

pytestmark = pytest.mark.slow

QUICK = ["--cpu-threads", "1", "--quiet", "--steps", "2", "--batch-size", "16"]
GIB = 2**30


def run(*arguments: object, limit: int = 0, seconds: float = 900) -> tuple[int, str]:
    """Return the exit code and the last words of a command in a process of its own.

    `limit`: of its address space in bytes.
    """

    def restrict() -> None:
        if limit:
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    command = [sys.executable, "-m", "selfwise", *map(str, arguments)]
    told = {"capture_output": True, "text": True, "timeout": seconds, "preexec_fn": restrict}
    ended = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, **told)
    assert limit or "Traceback" not in ended.stderr, ended.stderr[-3000:]
    return ended.returncode, ended.stderr[-2000:]


def write_image(path: Path, seed: int) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def link_images(folder: Path, count: int, classes: int) -> Path:
    """`count` images in folders of classes; hard links of 16 files, since a disk is slow."""
    sources = [write_image(folder / "sources" / f"{i}.png", i) for i in range(16)]
    for number in range(count):
        place = folder / "images" / f"class-{number % classes:06}"
        if number < classes:
            place.mkdir(parents=True)
        os.link(sources[number % 16], place / f"{number:06}.png")
    return folder / "images"


def test_200_000_images(tmp_path):
    data = link_images(tmp_path, 200_000, 20)
    code, said = run("pretrain", "simclr", "--data", data, "--out", tmp_path / "run", *TINY, *QUICK)
    assert code == 0, said


def test_200_000_texts(tmp_path):
    for number in range(200_000):
        folder = tmp_path / "texts" / f"{number // 1000:03}"
        if number % 1000 == 0:
            folder.mkdir(parents=True)
        (folder / f"{number}.txt").write_text(f"The sea was calm on day {number}.\n")
    more = ["--encoder", "gpt-tiny", "--max-length", "16", "--tokenizer", "chars"]
    told = ["--data", tmp_path / "texts", "--out", tmp_path / "run", *more, *QUICK]
    code, said = run("pretrain", "gpt", *told)
    assert code == 0, said


def test_50_000_classes(tmp_path):
    data = link_images(tmp_path, 100_000, 50_000)
    out = tmp_path / "run"
    code, said = run("pretrain", "simclr", "--data", data, "--out", out, *TINY, *QUICK)
    assert code == 0, said
    few = tmp_path / "few"
    for place in sorted(data.iterdir())[::50]:  # 1,000 of the classes
        shutil.copytree(place, few / place.name)
    code, said = run("probe", out, "--kind", "knn", "--train", data, "--test", few)
    assert code == 0, said


def test_20_000_images_with_24_workers(tmp_path):
    data = link_images(tmp_path, 20_000, 4)
    told = ["--data", data, "--out", tmp_path / "run", *TINY, *QUICK, "--num-workers", "24"]
    code, said = run("pretrain", "simclr", *told)
    assert code == 0, said


def test_a_report_with_10_000_points(tmp_path):
    data, out = link_images(tmp_path, 64, 4), tmp_path / "run"
    code, said = run("pretrain", "simclr", "--data", data, "--out", out, *TINY, *QUICK)
    assert code == 0, said
    rows = [{"step": step, "nt_xent": 5 - step / 4000, "lr": 0.1} for step in range(1, 10_001)]
    (out / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    begun = time.monotonic()
    code, said = run("report", out)
    assert code == 0, said
    assert time.monotonic() - begun < 120
    assert (out / "report.html").stat().st_size < 5e6


@pytest.mark.parametrize("gib", [1.5, 2, 2.5, 3, 4, 5, 6])
def test_little_address_space(tmp_path, gib):
    """Enough, or a sentence; at least a warning before an abort; and no run is left behind."""
    data, out = link_images(tmp_path, 64, 4), tmp_path / "run"
    told = ["--data", data, "--out", out, *TINY, *QUICK]
    code, said = run("pretrain", "simclr", *told, limit=int(gib * GIB))
    if code != 0:
        assert said.startswith(f"warning: ulimit -v allows {gib:.3g} GiB"), said
        assert not out.exists()
    if code == 2:
        assert f"selfwise: not enough memory (ulimit -v allows {gib:.3g} GiB)" in said
    assert code in (0, 2, -6), (code, said)


def test_a_clock_that_is_set_back(tmp_path, monkeypatch):
    """Files are then younger than the present."""
    (tmp_path / "text.txt").write_text("The sea was calm and the boat went far. " * 200)
    told = {"data": tmp_path / "text.txt", "encoder": "gpt-tiny", "max_length": 16, "steps": 6}
    told |= {"save_every": 2, "cpu_threads": 1, "batch_size": 4, "quiet": True}
    whole = selfwise.pretrain("gpt", out=tmp_path / "run", **told).folder
    stopped = tmp_path / "stopped"
    shutil.copytree(whole, stopped)
    for step in (4, 6):
        shutil.rmtree(stopped / f"checkpoints/step-{step:08}")
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() - 2 * 365 * 24 * 3600)
    selfwise.resume(stopped, quiet=True)
    for name in ("metrics.jsonl", "checkpoints/step-00000006/model.safetensors"):
        assert (stopped / name).read_bytes() == (whole / name).read_bytes(), name
    vectors = selfwise.embed(stopped, told["data"]).vectors
    assert np.array_equal(vectors, selfwise.embed(whole, told["data"]).vectors)
    assert write_page([stopped]).is_file()
