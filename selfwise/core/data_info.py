"""What was found about the data of a run: facts that run.yaml records, never options."""

from selfwise.core.config_class import Config


class DataInfo(Config):
    """Facts about the examples that a run trains on."""

    examples: int = 0
    """Examples in a pass over the data; 0 for imported weights."""
    fingerprint: str = ""
    """Depends on every example; empty for imported weights."""


class ImageInfo(DataInfo):
    """Facts about images."""

    channels: int
    """1 or 3."""
    size: int
    """Side of the views in px."""
    classes: int = 0
    """Number of classes; 0 without labels."""
    broken: int = 0
    """Files that cannot be read and are left out."""


class TextInfo(DataInfo):
    """Facts about documents, as their tokenizer reads them."""

    vocab: int
    """Rows of the token table. Published tables may have more than their tokenizer has tokens."""
    length: int
    """Tokens in a row."""
    documents: int = 0
    tokens: int = 0
    held_out_tokens: int = 0
    bytes_per_token: float = 0.0
    unigram_entropy: float = 0.0
    """Of the held-out tokens, in nats: the loss of guessing by frequency."""


class AudioInfo(DataInfo):
    """Facts about recordings."""

    hours: float = 0.0
    """Of the recordings that are trained on."""
    held_out_examples: int = 0
    left_out: int = 0
    """Files that cannot be read or are too short."""
