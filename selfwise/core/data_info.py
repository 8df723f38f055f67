"""Facts about the data of a run, which run.yaml records; never options."""

from collections.abc import Callable

from pydantic import model_serializer

from selfwise.core.config_class import Config


class DataInfo(Config):
    """Facts about the examples that a run trains on."""

    examples: int = 0
    """Examples in a pass over the data; 0 for imported weights."""
    fingerprint: str = ""
    """A digest of every example; empty for imported weights."""


class ImageInfo(DataInfo):
    """Facts about images."""

    channels: int
    """1 or 3."""
    size: int
    """Side of the views in px."""
    classes: int = 0
    """Number of classes; 0 without labels."""
    broken: int = 0
    """Unreadable files that are left out."""


class SourceInfo(Config):
    """Facts about one of several sources."""

    fingerprint: str
    """A digest of its text."""
    documents: int = 0
    tokens: int = 0


class TextInfo(DataInfo):
    """Facts about documents, as their tokenizer reads them."""

    vocab: int
    """Rows of the token table. Published tables may have more rows than their tokenizer has
    tokens."""
    length: int
    """Tokens in a row."""
    documents: int = 0
    tokens: int = 0
    held_out_tokens: int = 0
    bytes_per_token: float = 0.0
    unigram_entropy: float = 0.0
    """Entropy of the held-out tokens in nats: the loss of predicting by frequency."""
    sources: tuple[SourceInfo, ...] = ()
    """Several sources in their order; empty for one."""

    @model_serializer(mode="wrap")
    def _leave_out_no_sources(
        self, to_dict: Callable[[object], dict[str, object]]
    ) -> dict[str, object]:
        """Return the facts without `sources` if the run has one source."""
        facts = to_dict(self)
        return facts if self.sources else {n: v for n, v in facts.items() if n != "sources"}


class AudioInfo(DataInfo):
    """Facts about recordings."""

    hours: float = 0.0
    """Hours of the training recordings."""
    held_out_examples: int = 0
    left_out: int = 0
    """Files that are unreadable or too short."""
