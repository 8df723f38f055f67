"""Tokenise text and keep the ids on the disk: a turn is one whole build, with empty caches.

The work is done in processes of each side's own, so that only the clock on the wall counts it.
"""

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.row import Contest, Prepared, Run, Setting
from benchmarks.texts import one_text
from selfwise.data.text.corpus import Corpus, open_corpus
from selfwise.tokenizers.tokenizer import Tokenizer, train_tokenizer

PEER = (
    "`datasets.map`, batched, over lines with a fast tokenizer of transformers, without attention "
    "masks. It has read the text into its own format before the clock starts; selfwise reads the "
    "file, takes its fingerprint and finds its documents within the time. The corpus is one text "
    "of 2 MB again and again, with a number in each tenth line; selfwise remembers the pieces of "
    "words that it has seen, so that it gains more by repetition than the peer, whose rows are "
    "lines of 35 characters. selfwise keeps ids in 16 bits, the peer a list for each row"
)
PACKAGES = ("datasets", "transformers", "tokenizers", "pyarrow")
CASES = {"text": "python-docs again and again up to 1 GB (10 MB when quick), WordPiece of 8,192"}
OURS, THEIRS = "selfwise", "datasets"
ON_CPU = ("text",)
OTHER_PROCESSES = ("text",)
QUICK_IS_LESS = True
GOALS = {"text": [Contest(OURS, THEIRS, 1.5)]}
MB = 10**6
FULL, SMALL = 1000, 10  # megabytes
PROCESSES = 2
VOCAB = 8192
FIRST = 1000  # number of the first piece that is timed; before it, a warm-up
Counts = dict[Path, int]  # tokens of each corpus, as the first side to build it has found


def lines(megabytes: int) -> Iterator[str]:
    """Again and again, every tenth with a number of its own, so that no copy is as another."""
    size = number = 0
    for line in cycle(one_text().splitlines()):
        told = f"{number} {line}\n" if number % 10 == 0 else f"{line}\n"
        number, size = number + 1, size + len(told.encode())
        yield told
        if size >= megabytes * MB:
            return


def written(home: Path, megabytes: int) -> Path:
    corpus = home / f"corpus-{megabytes}.txt"
    with corpus.open("w", encoding="utf-8") as stream:
        stream.writelines(lines(megabytes))
    return corpus


def emptied(cache: Path) -> Path:
    """A folder with nothing in it."""
    shutil.rmtree(cache, ignore_errors=True)
    cache.mkdir()
    return cache


class Ours:
    """What `pretrain` does with a text that it has not seen."""

    def __init__(self, home: Path, tokenizer: Tokenizer) -> None:
        self.cache, self.tokenizer = home / "selfwise", tokenizer
        os.environ["SELFWISE_CACHE"] = str(self.cache)

    def build(self, text: Path) -> Corpus:
        emptied(self.cache)
        return open_corpus(text, self.tokenizer, workers=PROCESSES)

    def count(self, text: Path) -> int:
        return self.build(text).size


class Theirs:
    """As the pages of `datasets` show it: a function of a batch of rows, mapped."""

    def __init__(self, home: Path, texts: list[Path]) -> None:
        os.environ["HF_HOME"] = str(home / "hub")  # read at the first import
        import datasets
        from transformers import PreTrainedTokenizerFast

        datasets.disable_progress_bars()
        self.cache = home / "datasets"
        self.encode = PreTrainedTokenizerFast(tokenizer_file=str(home / "tokenizer.json"))
        told = {"split": "train", "cache_dir": str(home / "read")}
        self.rows = {
            text: datasets.load_dataset("text", data_files=str(text), **told) for text in texts
        }

    def build(self, text: Path) -> Any:
        file = str(emptied(self.cache) / "tokens.arrow")
        told: dict[str, Any] = {"cache_file_name": file, "load_from_cache_file": False}
        return self.rows[text].map(
            self.batch, batched=True, num_proc=PROCESSES, remove_columns=["text"], **told
        )

    def batch(self, rows: dict[str, list[str]]) -> dict[str, Any]:
        told = {"return_attention_mask": False, "return_token_type_ids": False}
        return dict(self.encode(rows["text"], add_special_tokens=False, **told))

    def count(self, text: Path) -> int:
        return len(ids(self.build(text)))


def ids(made: Any) -> Any:
    """All ids of a data set in a row, as arrow has them."""
    import pyarrow

    parts = made.data.column("input_ids").chunks
    return pyarrow.chunked_array([part.flatten() for part in parts])


def same_ids(ours: Ours, theirs: Theirs, text: Path) -> str:
    """Every id of the corpus. Raises AssertionError where one differs."""
    mine, other = ours.build(text), ids(theirs.build(text)).to_numpy()
    assert mine.size == len(mine.tokens) == len(other), (mine.size, len(mine.tokens), len(other))
    differ = np.flatnonzero(mine.tokens != other)
    assert not len(differ), f"{len(differ)} ids differ, the first at {differ[0]}"
    size = round(text.stat().st_size / MB)
    return f"all {len(other):,} ids of {size} MB are the same; as many tokens in every build"


def builds(count: Callable[[Path], int], text: Path, small: Path, known: Counts) -> Run:
    """Builds, the first ones of the small text."""

    def run(number: int) -> float:
        now = text if number >= FIRST else small
        found = count(now)
        expected = known.setdefault(now, found)
        assert found == expected, f"{found:,} tokens, where there were {expected:,}"
        return now.stat().st_size / MB

    return run


def prepare(case: str, setting: Setting) -> Prepared:
    home = Path(tempfile.mkdtemp(prefix="tokenize-"))
    atexit.register(shutil.rmtree, home)
    small = written(home, SMALL)
    text = small if setting.quick else written(home, FULL)
    tokenizer = train_tokenizer(
        "wordpiece", [one_text()], vocab_size=VOCAB, lower=True, max_bytes=2**24
    )
    tokenizer.save(home)
    ours = Ours(home, tokenizer)
    theirs = Theirs(home, list(dict.fromkeys([small, text])))
    equal = same_ids(ours, theirs, small)
    known: Counts = {}
    sides = {
        OURS: builds(ours.count, text, small, known),
        THEIRS: builds(theirs.count, text, small, known),
    }
    told: dict[str, object] = {"processes": PROCESSES, "megabytes": text.stat().st_size / MB}
    return Prepared("MB", sides, equal, told=told)
