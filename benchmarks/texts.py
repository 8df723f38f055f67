"""Real text that every Python has: python-docs, with a tokenizer that is trained on it."""

from dataclasses import dataclass
from functools import cache
from typing import Any

from selfwise.data.text.batches import TextSource
from selfwise.data.text.documents import open_documents
from selfwise.methods.method import Method
from selfwise.modalities.modality import Opening
from selfwise.modalities.text.data import OpenText
from selfwise.runs.build import MethodPlan, open_newest
from selfwise.runs.pretrain_config import make_request
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

    `encoder`: its name, and its options where some are not the defaults, as `pretrain` is told.
    `vocab`: rows of the table of tokens, where that is more than the tokenizer has tokens.
    """
    settings: dict[str, Any] = {"tokenizer": tokenizer, "max_length": length, "val_fraction": 0.0}
    settings |= {"steps": 1, "batch_size": batch, **options}
    settings |= {"encoder_options": encoder.get("encoder_options", {})}
    request = make_request(name, settings, data=data, encoder=encoder["encoder"])
    kind, config = request.kind, request.config
    modality = request.modality
    documents = modality.read_data(data, config.reading, kind)
    opening = Opening(kind, request.encoder, open_newest)
    run_data = modality.open_data(documents, config.reading, opening)
    assert isinstance(run_data, OpenText)
    run_data.info = run_data.info.replace(vocab=max(run_data.info.vocab, vocab))
    plan = MethodPlan(kind, config.method_options, request.modality, request.encoder, 0)
    method = plan.build(run_data, run_data.inputs)
    return Opened(method, run_data.source(method, batch_size=batch, seed=0), run_data.tokenizer)
