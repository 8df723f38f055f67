"""Real text that every Python has: python-docs, with a tokenizer that is trained on it."""

from dataclasses import dataclass
from functools import cache
from typing import Any

from selfwise.data.text.batches import TextSource
from selfwise.data.text.documents import open_documents
from selfwise.methods.method import Method
from selfwise.modalities import modality_of
from selfwise.modalities.modality import Opening
from selfwise.runs.build import RunCode, build_method, open_newest
from selfwise.runs.config import make_request
from selfwise.runs.prepare import make_record
from selfwise.tokenizers.tokenizer import Tokenizer
from selfwise.training.config import resolve_training


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

    `encoder`: its name, and its options where some are not the defaults, as `pretrain` is told.
    `vocab`: rows of the table of tokens, where that is more than the tokenizer has tokens.
    """
    told: dict[str, Any] = {"tokenizer": tokenizer, "length": length, "held_out": 0.0, "steps": 1}
    told |= {"batch": batch, "encoder_options": encoder.get("encoder_options", {}), **options}
    request = make_request(name, told, data=data, encoder=encoder["encoder"])
    kind, config = request.kind, request.config
    found = modality_of(kind).open_data(
        data, config.reading, Opening(kind, request.encoder, open_newest)
    )
    found.info = found.info.replace(vocab=max(found.info.vocab, vocab))
    record = make_record(request, found, resolve_training(config.training, kind, workers=0))
    method = build_method(record, RunCode(kind), found, found.inputs)
    return Opened(method, found.source(method, batch=batch, seed=0), found.tokenizer)
