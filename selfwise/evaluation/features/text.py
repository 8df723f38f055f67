"""Features of texts, in batches of similar length, and bags of words as a baseline."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from scipy.sparse import hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from torch import Tensor

from selfwise.core.errors import did_you_mean
from selfwise.core.types import TextBatch, TextEncoder, to_device
from selfwise.data.text.labelled import Texts
from selfwise.distributed.sharded_map import EMPTY, Arrays, gather_in_order
from selfwise.evaluation.features.compute import ON_CPU, ComputeOptions
from selfwise.evaluation.features.image import evaluation_mode, select_layer
from selfwise.evaluation.features.text_rows import TokenRow
from selfwise.evaluation.features.text_windows import DEVIATION, WindowAverage, split_into_windows
from selfwise.evaluation.probes.baselines import FeatureSplit
from selfwise.tokenizers.tokenizer import Tokenizer

LAYERS = "layers"
POOLINGS = ("mean", "cls", "last", LAYERS, DEVIATION)
BATCH_TOKENS = 8192  # tokens in a batch, padding included
MAX_TERMS = 50_000  # words and pairs of words that are counted at most


@runtime_checkable
class EmbeddingEncoder(Protocol):
    """An encoder whose embeddings can be computed alone."""

    def embed(self, batch: TextBatch) -> Tensor:
        """Return the embeddings (b n d)."""
        ...


@runtime_checkable
class WordsEncoder(Protocol):
    """An encoder whose features leave out some real tokens, such as unknown words."""

    def real_words(self, batch: TextBatch) -> Bool[Tensor, "b n"]:
        """Return which positions the features are computed from."""
        ...


def check_pooling(name: str) -> None:
    """Raise ValueError unless the name is empty or one of POOLINGS."""
    if name and name not in POOLINGS:
        raise ValueError(f"unknown pooling {name!r}{did_you_mean(name, POOLINGS)}")


def extract_features(
    encoder: TextEncoder,
    texts: Texts,
    tokenizer: Tokenizer,
    *,
    length: int,
    layer: int | None = None,
    pooling: str = "mean",
    window: str = "first",
    compute: ComputeOptions = ON_CPU,
) -> Float32[np.ndarray, "n d"]:
    """Return pooled features of every text, in the order of the data; longer ones are cut at
    `length`, or with `window` "mean" read in windows of that length, whose features are averaged by
    tokens.

    The encoder runs as `compute` specifies, in eval mode without gradients, and stays unchanged.
    Texts of similar length share a batch of at most 8,192 tokens, which limits the padding. Padding
    does not change a text's features.

    `layers` concatenates the means of the embeddings and of every layer, depth + 1 times as many
    numbers. (BERT, arXiv:1810.04805 section 5.3, does so with its last four layers, token by
    token.) `mean+deviation` appends the deviation of every number over the tokens.

    Several processes share the work: the first one returns the features, the other processes return
    empty arrays.

    Raises ValueError for no texts, an unknown layer or pooling, or a layer together with `layers`.
    """
    (features,) = extract_poolings(
        encoder,
        texts,
        tokenizer,
        places=[(layer, pooling)],
        length=length,
        window=window,
        compute=compute,
    )
    return features


def extract_poolings(
    encoder: TextEncoder,
    texts: Texts,
    tokenizer: Tokenizer,
    *,
    places: Sequence[tuple[int | None, str]],
    length: int,
    window: str = "first",
    compute: ComputeOptions = ON_CPU,
    file_prefix: Path | None = None,
) -> list[Float32[np.ndarray, "n _"]]:
    """As `extract_features`, for several pairs of layer and pooling from one reading of the texts.

    With `file_prefix`, the start of the names of files, the arrays are on disk, not in memory.
    """
    for layer, pooling in places:
        check_pooling(pooling)
        if pooling == LAYERS and layer is not None:
            problem = (
                f"pooling {LAYERS!r} uses every layer, so --layer {layer} has no effect: leave it "
                "out"
            )
            raise ValueError(problem)
    if not len(texts):
        raise ValueError("there are no texts to compute features of")
    windows = split_into_windows(texts, tokenizer, length=length, window=window)
    rows, combined = windows.rows, WindowAverage(windows, [pooling for _, pooling in places])
    device, env = compute.device, compute.env
    out: list[np.ndarray] = []
    groups = list(batch_by_length([len(row.ids) for row in rows]))

    def vectors_of(places_of: np.ndarray) -> Arrays:
        batch = to_device(pad_rows([rows[i] for i in places_of], encoder, tokenizer), device)
        return tuple(pooled.cpu().numpy() for pooled in _encode_poolings(encoder, batch, places))

    with evaluation_mode(encoder, device), compute.autocast():
        computed = map(vectors_of, groups[env.rank :: env.size])
        for windows_read, vectors in zip(groups, gather_in_order(computed, len(groups), env)):
            if not out:
                out = [
                    _allocate_array((len(texts), v.shape[1]), file_prefix, i)
                    for i, v in enumerate(vectors)
                ]
            combined.add_windows(out, windows_read, vectors)
    combined.write_sums(out)
    return out or [EMPTY for _ in places]


def tokenize_rows(texts: Texts, tokenizer: Tokenizer, *, length: int) -> list[TokenRow]:
    """Return every text with its special tokens, cut to `length`; of a pair the longer part is
    cut."""
    return split_into_windows(texts, tokenizer, length=length, window="first").rows


def batch_by_length(lengths: list[int]) -> Iterator[np.ndarray]:
    """Yield places of rows of similar length, whose padded batch has at most BUDGET tokens."""
    order = np.argsort(lengths, kind="stable")[::-1]
    start = 0
    while start < len(order):
        widest = max(1, lengths[order[start]])
        stop = start + max(1, BATCH_TOKENS // widest)
        yield order[start:stop]
        start = stop


def pad_rows(rows: list[TokenRow], encoder: TextEncoder, tokenizer: Tokenizer) -> TextBatch:
    """Return rows side by side, padded at the end."""
    width = max(1, *(len(row.ids) for row in rows))
    pad = tokenizer.vocabulary.pad or 0
    ids = np.full((len(rows), width), pad, dtype=np.int64)
    segment, valid = np.zeros_like(ids), np.zeros(ids.shape, dtype=bool)
    for i, row in enumerate(rows):
        ids[i, : len(row.ids)], segment[i, : len(row.ids)] = row
        valid[i, : max(1, len(row.ids))] = True  # an empty text is one padding token
    batch = TextBatch(torch.from_numpy(ids), torch.arange(len(rows)), torch.from_numpy(valid))
    return batch._replace(segment=torch.from_numpy(segment)) if encoder.segments else batch


def pool_tokens(
    tokens: Float[Tensor, "b n d"], valid: Tensor | None, how: str
) -> Float[Tensor, "b _"]:
    """Return the mean over the real tokens, with their deviation behind it if asked for, the first
    one, or the last real one.
    """
    if how == "cls":
        return tokens[:, 0]
    if how == DEVIATION:
        mean = pool_tokens(tokens, valid, "mean")
        squares = pool_tokens((tokens - mean[:, None]).square(), valid, "mean")
        return torch.cat([mean, squares.sqrt()], dim=1)
    if valid is None:
        return tokens.mean(dim=1) if how == "mean" else tokens[:, -1]
    count = valid.sum(dim=1).clamp_min(1)  # a text may have only unknown words
    if how == "mean":
        return (tokens * valid[..., None]).sum(dim=1) / count[:, None]
    return tokens[torch.arange(len(tokens), device=tokens.device), count - 1]


def fit_bag_of_words(train: Texts, test: Texts) -> FeatureSplit:
    """TF-IDF of words and pairs of words, fitted on the training texts alone: a strong baseline.

    Sparse matrices (n, words). A pair of texts is counted as two bags side by side.
    """
    parts = []
    for side in ("texts", "pairs"):
        train_texts, test_texts = getattr(train, side), getattr(test, side)
        if train_texts is None:
            continue
        vectorizer = _build_vectorizer()
        parts.append((vectorizer.fit_transform(train_texts), vectorizer.transform(test_texts)))
    return FeatureSplit(*(hstack(side).tocsr() for side in zip(*parts)))


def fit_pair_bag_of_words(train: Texts, test: Texts) -> FeatureSplit:
    """Return pairs as [u; v; |u - v|; u v] of their bags, with one vocabulary for both sides.

    Two concatenated bags cannot express that they share a word; these features can. Fitted on
    `train` alone.
    """
    assert train.pairs is not None
    assert test.pairs is not None
    vectorizer = _build_vectorizer().fit([*train.texts, *train.pairs])
    parts = []
    for texts in (train, test):
        u, v = vectorizer.transform(texts.texts), vectorizer.transform(texts.pairs)
        parts.append(hstack([u, v, abs(u - v), u.multiply(v)]).tocsr())
    return FeatureSplit(*parts)


def _build_vectorizer() -> TfidfVectorizer:
    return TfidfVectorizer(
        ngram_range=(1, 2),
        sublinear_tf=True,
        max_features=MAX_TERMS,
        token_pattern=r"(?u)\w+|[^\w\s]",
        dtype=np.float32,
    )


def _encode_poolings(
    encoder: TextEncoder, batch: TextBatch, places: Sequence[tuple[int | None, str]]
) -> list[Float[Tensor, "b _"]]:
    if all(layer is None and pooling != LAYERS for layer, pooling in places):
        layers = [encoder(batch)]
    else:
        layers = encoder.hidden(batch)
    valid = encoder.real_words(batch) if isinstance(encoder, WordsEncoder) else batch.valid
    tokens = [features.tokens for features in layers if features.tokens is not None]
    vectors = []
    for layer, pooling in places:
        if pooling == LAYERS:
            assert isinstance(encoder, EmbeddingEncoder), type(encoder)
            layer_tokens = [encoder.embed(batch), *tokens]
            means = [
                pool_tokens(layer_output.float(), valid, "mean") for layer_output in layer_tokens
            ]
            vectors.append(torch.cat(means, dim=1))
        else:
            layer_output = tokens[-1] if layer is None else select_layer(tokens, layer)
            vectors.append(pool_tokens(layer_output.float(), valid, pooling))
    return vectors


def _allocate_array(shape: tuple[int, int], file_prefix: Path | None, number: int) -> np.ndarray:
    if file_prefix is None:
        return np.empty(shape, np.float32)
    path = file_prefix.with_name(f"{file_prefix.name}-{number}.npy")
    return np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
