"""The examples that a page shows: those of the newest score, else some that were trained on."""

import re
from typing import Any, NamedTuple

import numpy as np

from selfwise.core.plugins import FROM_PYTHON
from selfwise.core.rng import shuffled
from selfwise.data.text.documents import Documents, open_documents
from selfwise.data.text.labelled import Texts, open_texts
from selfwise.modalities.modality import ReadingOptions
from selfwise.report.sections.summary import data_named
from selfwise.runs import records
from selfwise.runs.config import IMPORTED
from selfwise.runs.open import Run

READ = 1 << 23  # characters of a corpus at most; passages are drawn from these
PASSAGES = 2000  # drawn at most
LEAST = 40  # characters of a passage: below are headings and lists
BLANK = re.compile(r"\n\s*\n")


class Shown(NamedTuple):
    """Examples, and a few words on where they are from."""

    examples: Any
    where: str


def shown(run: Run, data: str, *, seed: int) -> Shown | str:
    """Examples of `data`, or without a name of what is known to the run; or why there are none.

    Of a corpus that a run on text was trained on, these are paragraphs, drawn by the seed.

    Args:
        run: which reads them as it has read those of training.
        data: where they are; "" for those that the newest score was measured on, else the run's
            own.
        seed: decides which paragraphs are drawn.

    Raises ValueError or OSError for `data` that cannot be read.
    """
    if data:
        return _told(run.modality.open_examples(run, data, ReadingOptions()), data, "")
    trained = run.record.data
    where = next((d for d in [*_tested(run), trained] if d not in (FROM_PYTHON, IMPORTED)), "")
    if not where:
        return "The run was given its data in Python or imported, so there are no examples to show."
    try:
        if where == trained:
            return _told(_trained(run, where, seed), where, ", which the run was trained on")
        return _told(run.modality.open_examples(run, where, ReadingOptions()), where, "")
    except (ValueError, OSError) as error:
        return f"The run's data cannot be shown: {error}."


def _told(examples: Any, where: str, more: str) -> Shown:
    """The examples with what a reader should know of them."""
    kind = "paragraphs" if isinstance(examples, Texts) else "examples"
    return Shown(examples, f"{len(examples):,} {kind} of {data_named(where)}{more}")


def _tested(run: Run) -> list[str]:
    """The data of test examples, where scores name them, newest first."""
    named = [score.get("data") or {} for score in reversed(records.scores(run.folder))]
    return [where for told in named if (where := told.get("test") or told.get("train"))]


def _trained(run: Run, where: str, seed: int) -> Any:
    """What the run was trained on, read with the same options."""
    record = run.record
    if record.modality == "text":
        corpus = open_documents(
            where, field=record.option("field"), documents=record.option("documents")
        )
        return passages(corpus, seed=seed)
    options = ReadingOptions(skip_broken=bool(record.get("skip_broken")))
    return run.modality.open_examples(run, where, options)


def passages(corpus: Documents, *, seed: int) -> Texts:
    """Up to 2,000 paragraphs from the first 8 million characters, in their order."""
    found: list[str] = []
    read, rest = 0, ""
    for piece in corpus.pieces():
        *whole, rest = BLANK.split(rest + piece.text)
        found += [*whole, rest] if piece.last else whole
        rest = "" if piece.last else rest
        read += len(piece.text)
        if read > READ:
            break
    long = [" ".join(text.split()) for text in found if len(text.strip()) >= LEAST]
    long = long or [text.strip() for text in found if text.strip()]
    rows = np.sort(shuffled(len(long), seed, "report passages")[:PASSAGES])
    return open_texts([long[row] for row in rows])
