"""Text into sentences, with sentencex: rules for many languages, nothing learned or downloaded."""

from itertools import pairwise
from typing import TYPE_CHECKING

from selfwise.core.extras import LazyModule

if TYPE_CHECKING:
    import sentencex
else:
    sentencex = LazyModule("sentencex")

LANGUAGE = "en"  # whose abbreviations are known; the marks that end sentences are those of all
WINDOW = 2**12  # characters that sentencex sees at once: its time grows with their square
_SPACES = {point: " " for point in range(128, 0x3001) if chr(point).isspace()}


def split_sentences(text: str, language: str = LANGUAGE) -> list[str]:
    """Return the sentences of a text, which joined are the text: no character is lost or changed.

    White space goes to the sentence after it, where tokenizers expect it; at the end of the text it
    stays with the last one. A line that is separated by blank ones is a separate sentence.
    """
    # sentencex 1.0 takes every white space to be one byte long, and panics where it is not
    ascii_spaced = text if text.isascii() else text.translate(_SPACES)
    begins: list[int] = []
    at, width = 0, WINDOW
    while at < len(text):
        places = _find_begins(ascii_spaced[at : at + width], language)
        whole = at + width >= len(text)
        if not whole and len(places) < 2:
            width *= 2  # a sentence longer than the window
            continue
        # the last one may continue behind the window
        begins += [at + begin for begin in (places if whole else places[:-1])]
        at, width = len(text) if whole else at + places[-1], WINDOW
    begins.append(len(text))
    return [text[i:j] for i, j in pairwise(begins)]


def _find_begins(text: str, language: str) -> list[int]:
    """Return where the sentences begin, each with the white space before it; the first is at 0."""
    places, at = [], 0
    for part in sentencex.segment(language, text):
        # Between two of its blocks of ten kilobytes sentencex leaves out blank lines, so this
        # uses the places of its sentences, and not its characters.
        place = text.find(part, at)
        if place < 0 or part.isspace():
            continue
        places.append(at)
        at = place + len(part.rstrip())
    return places or [0]
