"""Tiny runs whose numbers are kept: what each is given, how it is run, what is compared.

`python tests/golden/golden_cases.py record [NAME ...]` writes the files of this kind of processor
anew; on one with AVX-512, ATEN_CPU_CAPABILITY=avx2 is no substitute for the other kind. Do that
only in a commit of its own, which says why the numbers changed.
"""

import html
import json
import platform
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

import selfwise
from selfwise.report.write import write_page

# processors with wider vectors add in another order, and a few steps on maps of one pixel turn the
# last bit into a percent: each kind has numbers of its own
KERNELS = "avx512" if torch.backends.cpu.get_cpu_capability() == "AVX512" else "avx2"
HERE = Path(__file__).parent / KERNELS
OTHER = Path(__file__).parent / {"avx2": "avx512", "avx512": "avx2"}[KERNELS]
RECORDED = HERE / "recorded_with.json"
STEPS, EVERY = 20, 5
TIMED = re.compile("a second|time")  # rows that no rerun repeats

NET = {
    "encoder": "resnet18",
    "encoder_options": {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16]},
}
VIT = {"encoder": "beit-tiny", "encoder_options": {"patch": 2, "dim": 32, "depth": 2, "heads": 2}}
CODEC = {"encoder": "codec-tiny", "encoder_options": {"patch": 2}}
PATCHES = {"targets": "patches", "num_clusters": 16}
BANDS = {
    "encoder": "hubert-tiny",
    "encoder_options": {"stem": "logmel", "dim": 32, "heads": 2, "depth": 2},
}
SMALL = {"dim": 32, "depth": 2, "heads": 2, "length": 64}
FULL = {"precision": "float32", "device": "cpu", "cpu_threads": 1, "num_workers": 0}
FULL |= {"defaults": "paper"}
OFTEN = {"steps": STEPS, "log_every": EVERY, "monitor_every": 10, "save_every": 1_000}
ON_IMAGES = FULL | OFTEN | {"batch_size": 32, "cache": "no", "image_size": 8}
ON_TEXT = FULL | OFTEN | {"batch_size": 8, "max_length": 64}
ON_SOUND = FULL | OFTEN | {"batch_seconds": 8.0, "max_clip_seconds": 2.0}


def _family(name: str) -> dict[str, Any]:
    return {"encoder": f"{name}-tiny", "encoder_options": {"dim": 32, "depth": 2, "heads": 2}}


# name of the run: method, data, what is said about it; the kept file spells every option out
RUNS: dict[str, tuple[str, str, dict[str, Any]]] = {
    **{
        name: (name, "digits:train", ON_IMAGES | {**NET})
        for name in ("simclr", "supervised", "rotation", "triplet", "triplet_labelled")
    },
    "jigsaw": ("jigsaw", "pictures.npy", ON_IMAGES | {**NET, "image_size": 27, "batch_size": 8}),
    "colorization": (
        "colorization",
        "pictures.npy",
        ON_IMAGES | NET | {"image_size": 32, "batch_size": 8},
    ),
    "beit": ("beit", "digits:train", ON_IMAGES | PATCHES | {**VIT}),
    "fsq": ("fsq", "pictures.npy", ON_IMAGES | {**CODEC, "image_size": 16}),
    "dvae": ("dvae", "pictures.npy", ON_IMAGES | {**CODEC, "image_size": 16}),
    "gpt": ("gpt", "texts", ON_TEXT | {**_family("gpt"), "tokenizer": "bpe:400"}),
    **{
        name: (name, "texts", ON_TEXT | {**_family(name), "tokenizer": kind})
        for name, kind in (
            ("bert", "wordpiece:300"),
            ("roberta", "bpe:400"),
            ("albert", "unigram:200"),
        )
    },
    "word2vec": (
        "word2vec",
        "texts",
        ON_TEXT | {"encoder": "word2vec", "encoder_options": {"dim": 32}, "tokenizer": "words"},
    ),
    "hubert": ("hubert", "recordings", ON_SOUND | {**BANDS, "num_clusters": 8}),
}

PROBES = {
    "probe_images": (
        "simclr",
        {"train": "digits:train", "test": "digits:test", "labels_per_class": "5,all"},
    ),
    "probe_texts": ("bert", {"train": "texts.tsv", "labels_per_class": "5,all"}),
    "probe_recordings": ("hubert", {"train": "spoken.csv", "labels_per_class": "2,all"}),
}


def write_inputs(home: Path) -> None:
    """Pictures, texts and tones that are a function of nothing but this code."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (96, 5, 5, 3))
    smooth = np.kron(coarse, np.ones((1, 8, 8, 1)))
    noise = random.integers(-9, 10, smooth.shape)
    np.save(home / "pictures.npy", np.clip(smooth + noise, 0, 255).astype(np.uint8))
    syllables = [a + b for a in "bdfklmnprst" for b in "aeiou"]
    words = np.array(["".join(random.choice(syllables, k)) for k in random.integers(1, 4, 120)])
    (home / "texts").mkdir()
    rows = ["sentence\tlabel"]
    for number in range(40):
        mood = number % 2
        half = words[60 * mood : 60 * mood + 90]
        said = [" ".join(random.choice(half, random.integers(5, 12))) + "." for _ in range(20)]
        (home / "texts" / f"{number:02d}.txt").write_text(" ".join(said) + "\n")
        rows += [f"{sentence}\t{('low', 'high')[mood]}" for sentence in said[:2]]
    (home / "texts.tsv").write_text("\n".join(rows) + "\n")
    _write_tones(home, random)


def _write_tones(home: Path, random: np.random.Generator) -> None:
    (home / "recordings").mkdir()
    rows = ["path,label,group"]
    for number in range(36):
        label, speaker = number % 3, number // 3 % 4
        seconds = random.uniform(0.6, 1.4)
        hertz = np.linspace(*((300, 900), (900, 300), (600, 600))[label], int(16_000 * seconds))
        wave = np.sin(2 * np.pi * np.cumsum(hertz * (1 + speaker / 8)) / 16_000)
        wave = 0.3 * wave + 0.02 * random.normal(size=len(wave))
        name = f"recordings/{number:02d}.wav"
        soundfile.write(home / name, wave.astype(np.float32), 16_000, subtype="PCM_16")
        rows.append(f"{name},{('up', 'down', 'flat')[label]},{'abcd'[speaker]}")
    (home / "spoken.csv").write_text("\n".join(rows) + "\n")


def place(home: Path, data: str) -> str:
    """A path below the folder of inputs, or a name of data inside a library."""
    return data if data.startswith("digits") else str(home / data)


def run_golden(name: str, home: Path, options: dict[str, Any]) -> tuple[Any, list[dict[str, Any]]]:
    """Train the run and return it with the lines of its log."""
    method, data, _ = RUNS[name]
    out = home / "runs" / name
    run = selfwise.pretrain(method, data=place(home, data), out=out, quiet=True, **options)
    lines = (out / "metrics.jsonl").read_text().splitlines()
    return run, [json.loads(line) for line in lines]


def probe_golden(name: str, home: Path) -> dict[str, Any]:
    """Accuracies of each competitor and each budget of labels, by name."""
    run, told = PROBES[name]
    told = {
        key: place(home, value) if key != "labels_per_class" else value
        for key, value in told.items()
    }
    score = selfwise.probe(home / "runs" / run, seeds=2, **told)
    return {
        f"{one.competitor} {one.per_class or 'all'}": list(one.accuracies) for one in score.results
    }


def recorded_with() -> dict[str, str]:
    """What decides about the last bits: libraries and the kind of processor."""
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    return versions | {
        "numpy": np.__version__,
        "processor": f"{_find_processor()}, {torch.backends.cpu.get_cpu_capability()}",
    }


def _find_processor() -> str:
    """The processor: libraries choose their kernels by more than its widest vectors."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    fields = dict(reversed([line.partition("\t")[::2] for line in lines if "\t" in line]))
    names = ("vendor_id", "cpu family", "model")
    return " ".join(fields[name].strip("\t: ") for name in names if name in fields)


def report_golden(home: Path) -> list[str]:
    """The numbers of each row of a report's tables that has any, but for rows on time."""
    page = home / "page.html"
    write_page([home / "runs" / "simclr"], out=page)
    rows = re.findall(r"<tr.*?</tr>", page.read_text(encoding="utf-8"), re.DOTALL)
    texts = [html.unescape(re.sub(r"<[^>]+>", " ", row)) for row in rows]
    numbers = [re.findall(r"-?\d+\.\d+", text) for text in texts if not TIMED.search(text)]
    return [" ".join(row) for row in numbers if row]


def record(names: list[str]) -> None:
    """Write the kept files of these runs, or of all, and of all scores anew."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        write_inputs(home)
        for name, (method, data, said) in RUNS.items():
            run, log = run_golden(name, home, said)
            free = (
                {"data", "batch_size"} if "batch_seconds" in said else {"data"}
            )  # sound is no batch of rows
            options = {k: v for k, v in run.record.options.items() if k not in free}
            if name in names or not names:
                _write(
                    HERE / f"{name}.json", {"method": method, "data": data, "options": options}, log
                )
        scores = {name: probe_golden(name, home) for name in PROBES}
        _write(HERE / "scores.json", scores, [])
        _write(HERE / "report.json", {"rows": report_golden(home)}, [])
    _write(RECORDED, recorded_with(), [])


def _write(path: Path, content: dict[str, Any], log: list[dict[str, Any]]) -> None:
    lines = [json.dumps(line) for line in log]
    told = json.dumps(content, indent=1)
    path.write_text(told + "\n" + "".join(line + "\n" for line in lines))


if __name__ == "__main__":
    if sys.argv[1:2] != ["record"]:
        sys.exit("golden_cases.py record [NAME ...]")
    record(sys.argv[2:])
