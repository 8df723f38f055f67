"""Time and memory of a training step against the size of the corpus."""

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.costs_record import Clock, Found, Goal, middle

WHAT = "a step of a small GPT, end to end, on a corpus that was tokenised before"
SIZES = {"10 MB": 10, "100 MB": 100, "1 GB": 1000}
QUICK = {"1 MB": 1, "10 MB": 10}
ROUNDS = 5
GROWS = True
GOALS = [
    Goal("step ms", "growth", 1.1),
    Goal("training MiB", "growth", 1.1),
    Goal("opening MiB", "growth", 1.1),
]
MEGABYTES = SIZES | QUICK
DOCUMENT = 4000  # characters; about the mean of pages from the web
ENCODER: dict[str, Any] = {
    "encoder": "gpt-mini",
    "encoder_options": {"depth": 2, "dim": 64, "heads": 2},
}
BATCH, LENGTH, VOCAB = 4, 128, 2048
WARM_UP, STEPS = 30, 200


def documents(megabytes: int) -> Iterator[str]:
    """Lines of a .jsonl. No document is as another: every tenth line of text has a number."""
    from benchmarks.rows.tokenize import lines

    piece: list[str] = []
    held = 0
    for line in lines(megabytes):
        piece.append(line)
        held += len(line)
        if held >= DOCUMENT:
            yield json.dumps({"text": "".join(piece)}) + "\n"
            piece, held = [], 0
    if piece:
        yield json.dumps({"text": "".join(piece)}) + "\n"


def place(home: Path, size: str) -> Path:
    return home / f"corpus-{MEGABYTES[size]}.jsonl"


def prepare(home: Path, sizes: list[str]) -> dict[str, Any]:
    """Corpora and their token caches; how long making these took is told."""
    from benchmarks.texts import one_text
    from selfwise.data.text.corpus import open_corpus
    from selfwise.tokenizers.tokenizer import train_tokenizer

    tokenizer = train_tokenizer("bpe", [one_text()], vocab_size=VOCAB, max_bytes=2**24)
    (home / "tokenizer").mkdir()
    tokenizer.save(home / "tokenizer")
    took = {}
    for size in sizes:
        with place(home, size).open("w", encoding="utf-8") as stream:
            stream.writelines(documents(MEGABYTES[size]))
        begun = time.perf_counter()
        made = open_corpus(place(home, size), tokenizer, workers=2)
        took[size] = {"seconds": round(time.perf_counter() - begun, 1), "tokens": made.size}
    return {"tokenising": took, "batch": BATCH, "length": LENGTH}


def measure(home: Path, size: str, now: Clock) -> Found:
    """Opened as a run with a new seed opens it: the plan of its first epoch is made, too.

    The peaks are of the whole process, torch included: what has to be free for it. The model is
    small, so that beside a real one what grows would be less.
    """
    from benchmarks.row import Setting
    from benchmarks.texts import opened
    from benchmarks.training import Training
    from selfwise.core.files import cache_dir

    shutil.rmtree(cache_dir("plans"), ignore_errors=True)
    begun = time.monotonic()
    shape: dict[str, Any] = {"batch": BATCH, "length": LENGTH, "data": str(place(home, size))}
    made = opened("gpt", ENCODER, tokenizer=str(home / "tokenizer"), **shape)
    ready = time.monotonic()
    step = Training(
        made.method, made.source, Setting(threads=1), batch_size=BATCH, precision="float32"
    )
    times = []
    for number in range(WARM_UP + STEPS):
        mark = now()
        step(number)
        times.append(now() - mark)
    figures = {"step ms": 1000 * middle(times[WARM_UP:]), "opening seconds": ready - begun}
    phases = {"opening": (begun, ready), "training": (ready, time.monotonic())}
    return Found(figures, phases)
