"""What a method does with examples: views beside originals, what is hidden, and what is answered.

A method says what there is to see (`Method.shown`); nothing here knows one by its name.
"""

from collections.abc import Callable
from typing import Any

from selfwise.report.page.parts import Section
from selfwise.report.sections import tasks_images, tasks_speech, tasks_text
from selfwise.runs.open import Run

_SOURCES: dict[str, Callable[..., list[Section]]] = {
    "image": tasks_images.sections,
    "text": tasks_text.sections,
    "audio": tasks_speech.sections,
}


def sections(run: Run, examples: Any, *, seed: int) -> list[Section]:
    """What the run's method makes of a few examples, and what it answers now.

    The same run, examples and seed give the same sections; on the CPU, bit for bit. What cannot be
    shown, as answers where the data have no labels, is said in a sentence.

    Args:
        run: whose method it is.
        examples: images, texts or recordings, as `run.modality.open_examples` opens them.
        seed: decides which examples are drawn, and all that is drawn in their views.
    """
    return _SOURCES[run.method.modality](run, examples, seed=seed)
