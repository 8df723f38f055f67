"""What the encoder finds alike: a map of some examples, and the nearest to a few of them.

The map is t-SNE (van der Maaten and Hinton, 2008) of unit vectors, so that its neighbourhoods are
those of the cosine; it starts from the principal components, which keeps what is far apart apart
(Kobak and Berens, 2019).
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Float64

from selfwise.core.rng import hash_keys, shuffled
from selfwise.data.audio.dataset import Recordings
from selfwise.data.text.labelled import Texts
from selfwise.evaluation.features.image import crop_fraction, iterate_views
from selfwise.modalities.modality import FeatureOptions
from selfwise.report.page.parts import Map, Picture, Rows, Section, Strip
from selfwise.report.page.pixels import encoded
from selfwise.runs.open import Run

EXAMPLES, FEWEST = 600, 12  # on the map at most; with fewer than the second there is none
PERPLEXITY = 30.0  # neighbours that count, as is usual
ASKED, NEAREST = 6, 7  # of so many examples the nearest ones are shown; a row fits the page
LISTED = 4  # the nearest ones of a text or recording
POINT, ROW = 64, 96  # px: the longest sides of pictures on the map and in rows
EXACT = 16  # px: up to here PNG
BEGINNING = 160  # characters of a text
SAME = 1e-6  # a spread of unit vectors below it: all examples have the same


class Sample(NamedTuple):
    """Some examples, what the encoder makes of them, and what they are called."""

    examples: Any
    vectors: Float32[np.ndarray, "n d"]  # of length 1
    names: list[str]
    groups: list[str]  # the classes' names; empty without labels

    def short(self, row: int) -> str:
        """The name below its class: without the class's folder."""
        return self.names[row].removeprefix(f"{self.groups[row]}/" if self.groups else "")

    def called(self, row: int) -> str:
        """Name and, where known, class."""
        return ", ".join([self.names[row], *([self.groups[row]] if self.groups else [])])


def sections(run: Run, examples: Any, *, seed: int) -> list[Section]:
    """A map of at most 600 examples, drawn by the seed, and the nearest neighbours of six of them.

    The same run, examples and seed give the same sections; on the CPU, bit for bit.

    Args:
        run: whose encoder it is.
        examples: images, texts or recordings, as `run.modality.open_examples` opens them.
        seed: decides which examples are drawn.
    """
    if len(examples) < FEWEST:
        few = f"The data have {len(examples)} examples; a map takes at least {FEWEST}."
        return [Section("Map", few, [])]
    drawn = np.sort(shuffled(len(examples), seed, "report map")[:EXAMPLES])
    some = examples.take(drawn)
    embed = run.modality.make_embed(run, FeatureOptions())
    vectors = np.asarray(embed(run.encoder, some), dtype=np.float32)
    if sentence := _useless(vectors):
        return [Section("Map", sentence, [])]
    vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    groups = [some.classes[label] for label in some.labels] if some.labels is not None else []
    sample = Sample(some, vectors, _names(some), groups)
    return [_mapped(run, sample, seed), _near(run, sample, seed)]


def _useless(vectors: Float32[np.ndarray, "n d"]) -> str:
    """Why there is nothing to see in the vectors, in a sentence; or nothing."""
    if not np.isfinite(vectors).all():
        return "The encoder's vectors are not finite numbers, so there is no map of them."
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if (vectors / np.maximum(lengths, 1e-12)).std(axis=0).max() < SAME:
        return "The encoder gives all examples the same vector: it has collapsed."
    return ""


def _names(examples: Any) -> list[str]:
    """What each example is called: a text by its beginning, else by its path or number."""
    if isinstance(examples, Texts):
        pairs = examples.pairs or [""] * len(examples)
        return [_beginning(" / ".join(filter(None, p))) for p in zip(examples.texts, pairs)]
    return [f"example {name}" if name.isdigit() else name for name in examples.ids]


def _beginning(text: str) -> str:
    text = " ".join(text[: 4 * BEGINNING].split())
    return text if len(text) <= BEGINNING else f"{text[:BEGINNING].rstrip()}…"


def _mapped(run: Run, sample: Sample, seed: int) -> Section:
    """The map, with what share of the examples has a nearest neighbour of its own class."""
    n = len(sample.names)
    points = in_the_plane(sample.vectors, seed=seed)
    about = (
        f"{n:,} examples by t-SNE of their vectors: what the encoder finds alike lies together. "
        "Distances between far groups, and sizes of groups, mean nothing."
    )
    if sample.groups:
        about += " The encoder was not told the classes." * (not type(run.method).labelled)
        about += f" {_purity(sample)}"
    pointed = "Point at it, touch it, or go through it with the arrow keys"
    caption = f"{pointed}; a class in the list is shown alone when it is pressed."
    caption = caption if sample.groups else f"{pointed}."
    pictures = _pictures(run, sample, range(n), POINT)
    made = Map([(float(x), float(y)) for x, y in points], sample.groups, sample.names, pictures)
    return Section("Map of the embeddings", about, [made._replace(caption=caption)])


def _purity(sample: Sample) -> str:
    groups = np.unique(sample.groups, return_inverse=True)[1]
    near = nearest(sample.vectors, np.arange(len(groups)), 1)[0][:, 0]
    sizes, n = np.bincount(groups), len(groups)
    chance = 100 * float((sizes * (sizes - 1)).sum()) / (n * (n - 1))
    share = 100 * float((groups[near] == groups).mean())
    said = f"The nearest neighbour is of the same class for {share:.0f} %"
    return f"{said} (by chance {chance:.0f} %)."


def in_the_plane(vectors: Float32[np.ndarray, "n d"], *, seed: int) -> Float64[np.ndarray, "n 2"]:
    """Each vector as a point, 0 to 1 in both directions. One thread, so that it is repeatable."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    perplexity = min(PERPLEXITY, (len(vectors) - 1) / 3)
    state = hash_keys(seed, "report t-SNE") % 2**32
    with threadpool_limits(limits=1):
        fitted = TSNE(perplexity=perplexity, init="pca", random_state=state, n_jobs=1)
        points = fitted.fit_transform(vectors).astype(np.float64)
    low, high = points.min(axis=0), points.max(axis=0)
    return (points - low) / np.maximum(high - low, 1e-12)


def nearest(
    vectors: Float32[np.ndarray, "n d"], asked: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """The `count` others with the highest cosine to each of the asked rows, and these cosines.

    Vectors are of length 1; of equal ones the first comes first.
    """
    cosine = vectors[asked] @ vectors.T
    cosine[np.arange(len(asked)), asked] = -np.inf
    order = np.argsort(-cosine, axis=1, kind="stable")[:, :count]
    return order, np.take_along_axis(cosine, order, axis=1)


def _near(run: Run, sample: Sample, seed: int) -> Section:
    """Rows of the nearest neighbours of a few examples."""
    n = len(sample.names)
    asked = shuffled(n, seed, "report neighbours")[:ASKED]
    wordy = isinstance(sample.examples, Texts | Recordings)
    found, cosines = nearest(sample.vectors, asked, LISTED if wordy else NEAREST)
    place = "above them" if wordy else "left of the line"
    about = (
        f"The {found.shape[1]} of these {n:,} examples whose vectors have the highest cosine with "
        f"that of the one {place}, which was drawn by chance, not chosen."
    )
    drawn: Callable[..., Any] = _table if wordy else _strip
    rows = zip(asked.tolist(), found.tolist(), cosines.tolist())
    parts = [drawn(run, sample, row, others, near) for row, others, near in rows]
    return Section("Nearest neighbours", about, parts)


def _table(
    run: Run, sample: Sample, row: int, others: Sequence[int], near: Sequence[float]
) -> Rows:
    rows = [[f"{cosine:.3f}", sample.called(i)] for i, cosine in zip(others, near)]
    return Rows(["cosine", f"nearest to: {sample.called(row)}"], rows)


def _strip(
    run: Run, sample: Sample, row: int, others: Sequence[int], near: Sequence[float]
) -> Strip:
    pictures = _pictures(run, sample, [row, *others], ROW)
    cosines = ["", *(f"{cosine:.2f}" for cosine in near)]
    known = [[*sample.groups[i : i + 1], c] for i, c in zip([row, *others], cosines)]
    below = [" · ".join(filter(None, told)) for told in known]
    named = [
        picture._replace(caption=f"{text}\n{sample.short(i)}".strip())
        for picture, i, text in zip(pictures, [row, *others], below)
    ]
    return Strip(named, lead=1)


def _pictures(run: Run, sample: Sample, rows: Sequence[int], longest: int) -> list[Picture]:
    """Images as the encoder sees them, in small; of text and sound there are none."""
    if isinstance(sample.examples, Texts | Recordings):
        return []
    size, rows = run.size, list(rows)
    fraction = crop_fraction(size)
    pictures: list[Picture] = []
    seen = iterate_views(
        sample.examples, [np.array(rows)], size=min(size, longest), fraction=fraction
    )
    for part in seen:
        told = zip((part * 255).round().byte().permute(0, 2, 3, 1).numpy(), rows)
        pictures += [encoded(x, sample.called(row), exact=EXACT) for x, row in told]
    return pictures
