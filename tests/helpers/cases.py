"""One small method and one small batch per modality, for the tests of what all methods share."""

from inspect import signature

import numpy as np
import torch
import torch.nn.functional as F

from selfwise import methods
from selfwise.core.rng import generator, init_seed
from selfwise.core.types import Batch, ImageBatch, Labelled, TextBatch, Vocabulary
from selfwise.encoders import image as image_encoders
from selfwise.encoders import speech, text
from selfwise.encoders.word_table import WORD_TABLE, build_word_table
from selfwise.methods import Method
from selfwise.views.image import color_bins
from tests.helpers import patch_cases, speech_cases

SIZE = 16
# timm starts each block's last norm at 0, which would hide the rest of the block from gradients
TINY = {"layers": [1, 1, 1, 1], "channels": [8, 16, 16, 32], "zero_init_last": False}
LENGTH = 24
# the same width as the tiny image encoder
TINY_TEXT = {"depth": 2, "dim": 32, "heads": 2, "length": LENGTH} | {
    "dropout": 0.0,
    "attention_dropout": 0.0,
}
DRAWS_NOTHING = ("gpt",)  # methods whose view has no chance in it


def tiny_encoder(seed: int = 0, **options):
    options = {**TINY, **options}
    return image_encoders.build_image_encoder(
        "resnet18", in_channels=3, size=SIZE, seed=seed, **options
    )


def vocabulary(size: int = 64) -> Vocabulary:
    """BERT's special tokens, then text of which every third token goes on with a word."""
    ids = torch.arange(size)
    starts = (ids >= 5) & (ids % 3 > 0)
    return Vocabulary(size, starts, (0, 1, 2, 3, 4), pad=0, unknown=1, first=2, last=3, mask=4)


def tiny_text_encoder(name: str, *, vocab: int = 64, **options):
    """The smallest encoder of the family that goes with the method."""
    family = methods.find_method(name).default_encoder.partition("-")[0]
    if family == WORD_TABLE:
        return build_word_table(vocab=vocab, special=vocabulary().special, dim=32, **options)
    narrow = {"embedding": 16} if family == "albert" else {}
    return text.build_text_encoder(
        f"{family}-tiny", vocab=vocab, **{**TINY_TEXT, **narrow, **options}
    )


def tiny_speech_encoder():
    """As wide as the other tiny encoders."""
    options = {"dim": 32, "heads": 2, "stem_dim": 16, "position_kernel": 8}
    none = dict.fromkeys(("dropout", "input_dropout", "attention_dropout"), 0.0)
    return speech.build_speech_encoder("hubert-tiny", **options, **none)


def build(name: str, **options) -> Method:
    """The method with a tiny encoder, and what a run would supply."""
    kind = methods.find_method(name)
    supplied = {"size": SIZE, "classes": 4, "vocab": vocabulary(), "length": LENGTH}
    supplied["counts"] = torch.arange(64, 0, -1)
    supplied |= {"num_clusters": speech_cases.CLUSTERS, "targets": patch_cases.Brightness()}
    supplied["prior"] = color_bins.smooth_prior(torch.ones(color_bins.BINS))
    wanted = signature(kind).parameters
    own = {n: v for n, v in supplied.items() if n in wanted} | options
    if "encoder" not in own:
        tiny = {"image": tiny_encoder, "audio": tiny_speech_encoder}
        make = tiny.get(kind.modality, lambda: tiny_text_encoder(name))
        make = patch_cases.encoder(kind.default_encoder) or make
        own["encoder"] = make(**kind.encoder_options)
    with init_seed(0, "method"):
        return kind(own.pop("encoder"), **own)


def batch(kind: type[Method], n: int = 16) -> Batch:
    """Structured examples, each unlike the others; never plain noise."""
    if kind.modality == "text":
        return text_batch(build(kind.__module__.rpartition(".")[2]), n)
    if kind.modality == "audio":
        return speech_cases.tones(n)
    field = torch.rand(n, 3, 4, 4, generator=generator(0, "images"))
    x = F.interpolate(field, SIZE, mode="bilinear", align_corners=False)
    images = ImageBatch((x * 255).round().to(torch.uint8), torch.arange(n))
    return Labelled(images, torch.arange(n) % 4) if kind.labelled else images


def corpus(
    documents: int = 40, *, seed: int = 0, vocab: int = 64, sentences: int = 6
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tokens, documents and sentences. Each document counts up from a number of its own."""
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 9, size=(documents, sentences))
    stops = sizes.cumsum().astype(np.int64)
    spans = np.stack([stops - sizes.ravel(), stops], axis=1)
    ends = stops[sentences - 1 :: sentences]
    whole = np.stack([np.r_[0, ends[:-1]], ends], axis=1)
    own = np.repeat(np.arange(documents), sizes.sum(axis=1))
    tokens = 5 + (own * 7 + np.arange(len(own))) % (vocab - 5)
    return tokens.astype(np.uint16), whole, spans


def text_batch(method: Method, n: int = 16) -> TextBatch:
    """Rows from all over the method's own plan, as a source would read them."""
    assert method.draw is not None
    tokens, documents, sentences = corpus()
    told = {"length": LENGTH, "vocabulary": vocabulary()}
    random = np.random.default_rng(0)
    plan = method.draw.plan(documents, sentences, random=random, **told)
    rows = np.linspace(0, plan.size - 1, n).astype(np.int64)
    read = method.draw.collate(tokens, plan, rows, **told)
    return read._replace(epoch=torch.zeros(n, dtype=torch.int64))


def tensors(tree) -> list[torch.Tensor]:
    """All tensors of nested NamedTuples."""
    if isinstance(tree, torch.Tensor):
        return [tree]
    return [t for part in tree for t in tensors(part)] if isinstance(tree, tuple) else []
