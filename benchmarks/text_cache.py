"""A token cache built by selfwise and by `datasets.map`, by turns, with the same WordPiece.

    python -m benchmarks.text_cache --data FOLDER [--megabytes 10 100 1000] [--peer 100]

The corpus is made of the text files in FOLDER, repeated until it is large enough; every tenth line
gets a number of its own, so that the copies differ. selfwise reads, tokenises and writes its memory
map; `datasets` has read the text into its own format before the clock starts, and maps a tokenizer
over batches of lines in as many processes. Each build runs in a process of its own, whose peak
memory is that of this process and of its largest child.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from statistics import median

from benchmarks.circumstances import circumstances, write

VOCAB = 8192
MB = 10**6


def novels(folder: Path, megabytes: int) -> Iterator[str]:
    """Lines of the files, again and again, the tenth of each ten with a number."""
    size = number = 0
    for path in cycle(sorted(folder.rglob("*.txt"))):
        text = path.read_text(encoding="utf-8-sig")
        for i, line in enumerate(text.splitlines()):
            number += 1
            told = f"{number} {line}\n" if i % 10 == 0 else f"{line}\n"
            size += len(told.encode())
            yield told
            if size >= megabytes * MB:
                return


def ours(corpus: Path, tokenizer: Path, workers: int) -> dict:
    from selfwise.data.corpus import open_corpus
    from selfwise.data.tokenizer import Tokenizer

    loaded = Tokenizer.load(tokenizer)
    before = clocks()
    made = open_corpus(corpus, loaded, workers=workers)
    return passed(before) | {"tokens": made.size}


def theirs(corpus: Path, tokenizer: Path, workers: int) -> dict:
    import datasets
    from transformers import PreTrainedTokenizerFast

    datasets.disable_progress_bars()
    encode = PreTrainedTokenizerFast(tokenizer_file=str(tokenizer / "tokenizer.json"))
    lines = datasets.load_dataset("text", data_files=str(corpus), split="train")

    def batch(rows: dict) -> dict:
        options = {"return_attention_mask": False, "return_token_type_ids": False}
        return dict(encode(rows["text"], add_special_tokens=False, **options))

    before = clocks()
    made = lines.map(batch, batched=True, num_proc=workers, remove_columns=["text"])
    return passed(before) | {"rows": len(made)}


def clocks() -> dict[str, float]:
    """Time on the wall, and of all processors for this process and the children that ended."""
    spent = os.times()
    return {"seconds": time.perf_counter(), "cpu_seconds": sum(spent[:4])}


def passed(before: dict[str, float]) -> dict[str, float]:
    """What has passed since."""
    return {name: now - before[name] for name, now in clocks().items()}


SIDES = {"selfwise": ours, "datasets": theirs}


def once(side: str, corpus: Path, tokenizer: Path, workers: int) -> dict:
    """One build in a fresh process with empty caches."""
    with tempfile.TemporaryDirectory(dir=corpus.parent) as cache:
        say = [sys.executable, "-m", "benchmarks.text_cache", "--data", str(corpus)]
        say += ["--child", side, "--tokenizer", str(tokenizer), "--workers", str(workers)]
        own = {
            "SELFWISE_CACHE": cache,
            "HF_HOME": cache,
            "HF_DATASETS_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
        }
        run = subprocess.run(say, env=os.environ | own, capture_output=True, text=True)
    if run.returncode:
        raise RuntimeError(run.stderr[-2000:])
    return json.loads(run.stdout.splitlines()[-1])


def child(side: str, corpus: Path, tokenizer: Path, workers: int) -> None:
    found = SIDES[side](corpus, tokenizer, workers)
    # of this process the kernel's own mark: ru_maxrss begins with that of the parent
    status = Path("/proc/self/status").read_text()
    (mark,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    found |= {"peak": round(int(mark) / 1024), "worker": round(children / 1024)}  # MiB on Linux
    print(json.dumps(found))


def compare(folder: Path, megabytes: int, sides: list[str], rounds: int, workers: int) -> dict:
    from selfwise.data.documents import open_documents
    from selfwise.data.tokenizer import train

    with tempfile.TemporaryDirectory() as home:
        corpus = Path(home) / "corpus.txt"
        with corpus.open("w", encoding="utf-8") as stream:
            stream.writelines(novels(folder, megabytes))
        texts = (piece.text for piece in open_documents(folder).pieces())
        train("wordpiece", texts, vocab=VOCAB, lower=True, most=2**24).save(Path(home))
        found: dict[str, list[dict]] = {side: [] for side in sides}
        for _ in range(rounds):
            for side in sides:
                found[side].append(once(side, corpus, Path(home), workers))
        size = corpus.stat().st_size / MB
    rates = {side: [size / run["seconds"] for run in runs] for side, runs in found.items()}
    made = {
        "benchmark": "text_cache",
        "megabytes": megabytes,
        "mb_per_second": {side: round(median(rate), 1) for side, rate in rates.items()},
        "spread": {side: [round(min(r), 1), round(max(r), 1)] for side, r in rates.items()},
        "cpu_seconds": {
            side: round(median(run["cpu_seconds"] for run in runs), 1)
            for side, runs in found.items()
        },
        "peak_mib": {side: max(run["peak"] for run in runs) for side, runs in found.items()},
        "worker_mib": {side: max(run["worker"] for run in runs) for side, runs in found.items()},
    }
    if len(sides) == 2:
        ratios = [a / b for a, b in zip(rates["selfwise"], rates["datasets"], strict=True)]
        made |= {"ratio": round(median(ratios), 1)}
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of text files")
    parser.add_argument("--megabytes", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--peer", type=int, default=100, help="largest corpus for datasets, in MB")
    parser.add_argument("--rounds", type=int, default=1, help="turns of each side")
    parser.add_argument("--workers", type=int, default=2, help="processes of each side")
    parser.add_argument("--child", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--tokenizer", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.data, options.tokenizer, options.workers)
        return
    print("    MB  tool       MB/s (spread)            processor s   peak MiB, of a worker")
    for megabytes in options.megabytes:
        sides = list(SIDES)[: 1 + (megabytes <= options.peer)]
        told = {"workers": options.workers, "rounds": options.rounds}
        told |= {"load_before": round(os.getloadavg()[0], 1)}
        found = compare(options.data, megabytes, sides, options.rounds, options.workers)
        for side in sides:
            low, high = found["spread"][side]
            rate = f"{found['mb_per_second'][side]:6.1f} ({low} to {high})"
            peaks = f"{found['peak_mib'][side]:6d} {found['worker_mib'][side]:6d}"
            spent = f"{found['cpu_seconds'][side]:8.1f}"
            print(f"{megabytes:6d}  {side:9s} {rate:24s} {spent}      {peaks}", flush=True)
        write(found | circumstances("tokenizers", "datasets", **told))


if __name__ == "__main__":
    main()
