"""Real text that every Python has: python-docs, with a tokenizer that is trained on it."""

from dataclasses import dataclass
from functools import cache
from typing import Any

from selfwise import methods
from selfwise.data.text.batches import TextSource
from selfwise.data.text.documents import open_documents
from selfwise.methods.method import Method
from selfwise.runs.build import started
from selfwise.tokenizers.tokenizer import Tokenizer


@cache
def one_text() -> str:
    """All of python-docs as one text."""
    return "\n\n".join(piece.text for piece in open_documents("python-docs").pieces())


@dataclass(frozen=True)
class Opened:
    """What a run on this text would have."""

    method: Method
    source: TextSource
    tokenizer: Tokenizer


def opened(
    name: str,
    encoder: dict[str, Any],
    *,
    batch: int,
    length: int,
    tokenizer: str,
    data: Any = "python-docs",
    vocab: int = 0,
    **options: Any,
) -> Opened:
    """A method with its encoder, and a source of its rows; nothing held out.

    `vocab`: rows of the table of tokens, where that is more than the tokenizer has tokens.
    """
    kind = methods.find_method(name)
    text = modality_of(kind)
    found = text.opened(
        data, kind, encoder=encoder, tokenizer=tokenizer, length=length, held_out=0.0
    )
    found.follow({"vocab": vocab})
    told = {"encoder": encoder, "seed": 0, "start": "", **found.told, **options}
    settings = {"method": name, "options": told, "found": found.found}
    method = started(settings, found.kept)
    return Opened(method, found.source(method, batch=batch, seed=0), found.kept)
