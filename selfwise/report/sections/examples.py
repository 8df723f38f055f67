"""The examples that a page shows: those of the newest score, else some that were trained on."""

import re
from typing import NamedTuple

import numpy as np

from selfwise.core.plugins import FROM_PYTHON
from selfwise.core.rng import shuffle_indices
from selfwise.data.audio.dataset import Recordings
from selfwise.data.image.dataset import Images
from selfwise.data.text.documents import Documents, open_documents
from selfwise.data.text.labelled import Texts, open_texts
from selfwise.modalities.reading_options import ReadingOptions
from selfwise.report.sections.summary import name_training_data, shorten_data_name
from selfwise.runs import logs_and_scores
from selfwise.runs.names import IMPORTED
from selfwise.runs.open import Run

MAX_CHARACTERS = 1 << 23  # characters of a corpus at most; passages are drawn from these
MAX_PASSAGES = 2000  # drawn at most
MIN_PASSAGE = 40  # characters of a passage: below are headings and lists
BLANK_LINE = re.compile(r"\n\s*\n")


class ShownExamples(NamedTuple):
    """Examples, and a few words on where they are from."""

    examples: Images | Texts | Recordings
    where: str


def find_examples(run: Run, data: str, *, seed: int) -> ShownExamples | str:
    """Return examples of `data`, or without a name of what is known to the run; or why there are
    none.

    Of a corpus that a run on text was trained on, these are paragraphs, drawn by the seed.

    Args:
        run: which reads them as it has read those of training.
        data: where they are; "" for those that the newest score was measured on, else the run's
            own.
        seed: decides which paragraphs are drawn.

    Raises ValueError or OSError for `data` that cannot be read.
    """
    if data:
        examples = run.modality.open_examples(run, data, ReadingOptions())
        return _describe_examples(examples, shorten_data_name(data), "")
    training_data = run.record.data
    candidates = [*_list_test_data(run), training_data]
    where = next((data for data in candidates if data not in (FROM_PYTHON, IMPORTED)), "")
    if not where:
        return (
            "The data came from Python, or the run was imported, so there are no examples to show."
        )
    try:
        if where == training_data:
            examples = _read_training_data(run, seed)
            name = name_training_data(run.record)
            return _describe_examples(examples, name, ", which the run was trained on")
        examples = run.modality.open_examples(run, where, ReadingOptions())
        return _describe_examples(examples, shorten_data_name(where), "")
    except (ValueError, OSError) as error:
        return f"The run's data cannot be shown: {error}."


def _describe_examples(
    examples: Images | Texts | Recordings, where: str, more: str
) -> ShownExamples:
    """Return the examples with what a reader should know of them."""
    kind = "paragraphs" if isinstance(examples, Texts) else "examples"
    return ShownExamples(examples, f"{len(examples):,} {kind} of {where}{more}")


def _list_test_data(run: Run) -> list[str]:
    """Return the data of test examples, where scores name them, newest first."""
    score_data = [
        score.get("data") or {} for score in reversed(logs_and_scores.read_scores(run.folder))
    ]
    return [where for names in score_data if (where := names.get("test") or names.get("train"))]


def _read_training_data(run: Run, seed: int) -> Images | Texts | Recordings:
    """Read the run's training data with the run's options."""
    record = run.record
    if record.modality == "text":
        corpus = open_documents(
            record.place, field=record.option("text_column"), documents=record.option("documents")
        )
        return draw_passages(corpus, seed=seed)
    options = ReadingOptions(skip_broken=bool(record.get("skip_broken")))
    return run.modality.open_examples(run, record.data, options)


def draw_passages(corpus: Documents, *, seed: int) -> Texts:
    """Return up to 2,000 paragraphs from the first 8 million characters, in their order.

    Several sources have equal parts of these characters.
    """
    sources = corpus.sources or [corpus]
    most = MAX_CHARACTERS // len(sources)
    paragraphs = [text for source in sources for text in _read_paragraphs(source, most)]
    long = [" ".join(text.split()) for text in paragraphs if len(text.strip()) >= MIN_PASSAGE]
    long = long or [text.strip() for text in paragraphs if text.strip()]
    rows = np.sort(shuffle_indices(len(long), seed, "report passages")[:MAX_PASSAGES])
    return open_texts([long[row] for row in rows])


def _read_paragraphs(corpus: Documents, max_characters: int) -> list[str]:
    """Return the paragraphs at the beginning of a corpus."""
    paragraphs: list[str] = []
    num_read, rest = 0, ""
    for piece in corpus.pieces():
        *whole, rest = BLANK_LINE.split(rest + piece.text)
        paragraphs += [*whole, rest] if piece.last else whole
        rest = "" if piece.last else rest
        num_read += len(piece.text)
        if num_read > max_characters:
            break
    return paragraphs
