"""The task of a method on examples: views next to originals, masks, and answers.

A method provides what to show (`Method.inspect`); this module knows no method by name.
"""

from collections.abc import Callable

from selfwise.data.audio.dataset import Recordings
from selfwise.data.image.dataset import Images
from selfwise.data.text.labelled import Texts
from selfwise.report.page.parts import Section
from selfwise.report.sections import tasks_images, tasks_speech, tasks_text
from selfwise.runs.open import Run

_BY_MODALITY: dict[str, Callable[..., list[Section]]] = {
    "image": tasks_images.build_sections,
    "text": tasks_text.build_sections,
    "audio": tasks_speech.build_sections,
}


def build_sections(run: Run, examples: Images | Texts | Recordings, *, seed: int) -> list[Section]:
    """Show the views that the run's method makes of a few examples, and its current answers.

    The same run, examples and seed give the same sections; on the CPU, bit for bit. A sentence
    names what cannot be shown, such as answers where the data have no labels.

    Args:
        run: whose method it is.
        examples: images, texts or recordings, as `run.modality.open_examples` opens them.
        seed: decides which examples are drawn, and all that is drawn in their views.
    """
    return _BY_MODALITY[run.method.modality](run, examples, seed=seed)
