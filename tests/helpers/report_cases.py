"""Small runs for the tests of the report, on files with names that would like to be markup."""

from pathlib import Path

import numpy as np
from PIL import Image

from selfwise.runs.create import pretrain
from selfwise.runs.open import Run

EVIL = "<img src=x onerror=alert(1)>"
CLASSES = ("cats", "</script><script>alert(2)</script>".replace("/", "\u2215"), EVIL)
TINY = {
    "encoder": "resnet18",
    "encoder_options": {"layers": [1, 1, 1, 1], "channels": [4, 4, 8, 8]},
}
# a PNG of one pixel
DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
QUICK = {"steps": 4, "log_every": 2, "save_every": 2, "cpu_threads": 1, "quiet": True}


def photos(folder: Path, *, each: int = 12, size: int = 20) -> Path:
    """A folder of pictures, a sub-folder for each class; one file is called like an element."""
    random = np.random.default_rng(0)
    for number, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for i in range(each):
            pixels = random.integers(0, 120, (size, size, 3), dtype=np.uint8)
            pixels[..., number] += 120  # so that classes differ
            called = f"{EVIL}.png" if i == 0 else f"{i}.png"
            Image.fromarray(pixels).save(folder / name / called)
    return folder


def simclr(data: Path | str, out: Path, **options) -> Run:
    """A SimCLR run of four steps on small pictures."""
    told = {**TINY, "batch_size": 16, "image_size": 16, "monitor_every": 2, **QUICK}
    return pretrain("simclr", data=str(data), out=out, **{**told, **options})


def roberta(data: Path | str, out: Path) -> Run:
    """A RoBERTa run of four steps on paragraphs."""
    small = {"encoder": "roberta-tiny", "encoder_options": {"depth": 2, "dim": 32, "heads": 2}}
    told = {**small, "batch_size": 8, "max_length": 32, "tokenizer": "bpe:300"}
    return pretrain("roberta", data=str(data), out=out, documents="blank", **told, **QUICK)


def sentences(path: Path) -> Path:
    """Paragraphs of text, one of which would like to be markup."""
    words = "the cat saw a dog near the old house while rain fell on every road"
    random = np.random.default_rng(0)
    lines = [" ".join(random.permutation(words.split())) for _ in range(60)]
    path.write_text("\n\n".join([f"{EVIL} is what the cat saw near the old house", *lines]))
    return path
