"""Similarity by the encoder: a map of some examples, and the nearest neighbors of a few.

The map is t-SNE (van der Maaten and Hinton, 2008) of unit vectors, so that its neighborhoods are
those of the cosine; it starts from the principal components, which keeps what is far apart apart
(Kobak and Berens, 2019).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64

from selfwise.core.rng import hash_keys, shuffle_indices
from selfwise.data.audio.dataset import Recordings
from selfwise.data.image.dataset import Images
from selfwise.data.text.labelled import Texts
from selfwise.evaluation.features.image import iterate_views
from selfwise.modalities.feature_options import (
    FeatureOptions,
)
from selfwise.nn.evaluation_crop import choose_crop_fraction
from selfwise.report.page.parts import Map, Part, Picture, Section, Strip, Table
from selfwise.report.page.pixels import encode_pixels
from selfwise.runs.open import Run

MAX_EXAMPLES, MIN_EXAMPLES = 600, 12  # on the map; with fewer there is none
PERPLEXITY = 30.0  # neighbors that count, as is usual
NUM_QUERIES, NUM_NEAREST = 6, 7  # examples, and the nearest of each that fit the page
NUM_LISTED = 4  # the nearest ones of a text or recording
POINT_SIDE, ROW_SIDE = 64, 96  # px: the longest sides of pictures on the map and in rows
PNG_SIDE = 16  # px: up to here PNG
MAX_TEXT = 160  # characters of a text
MIN_SPREAD = 1e-6  # a spread of unit vectors below it: all examples have the same


class EmbeddedExamples(NamedTuple):
    """Some examples, what the encoder makes of them, and what they are called."""

    examples: Images | Texts | Recordings
    vectors: Float32[np.ndarray, "n d"]  # of length 1
    names: list[str]
    groups: list[str]  # the classes' names; empty without labels

    def name_within_class(self, row: int) -> str:
        """Return the name below its class: without the class's folder."""
        return self.names[row].removeprefix(f"{self.groups[row]}/" if self.groups else "")

    def describe(self, row: int) -> str:
        """Name and, where known, class."""
        return ", ".join([self.names[row], *([self.groups[row]] if self.groups else [])])


def build_sections(run: Run, examples: Images | Texts | Recordings, *, seed: int) -> list[Section]:
    """Return a map of at most 600 examples, drawn by the seed, and the nearest neighbors of six of
    them.

    The same run, examples and seed give the same sections; on the CPU, bit for bit.

    Args:
        run: whose encoder it is.
        examples: images, texts or recordings, as `run.modality.open_examples` opens them.
        seed: decides which examples are drawn.
    """
    if len(examples) < MIN_EXAMPLES:
        few = f"The data have {len(examples)} examples; a map needs at least {MIN_EXAMPLES}."
        return [Section("Map", few, [])]
    rows = np.sort(shuffle_indices(len(examples), seed, "report map")[:MAX_EXAMPLES])
    subset = examples.take(rows)
    embed = run.modality.make_embed(run, FeatureOptions())
    vectors = np.asarray(embed(run.encoder, subset), dtype=np.float32)
    if sentence := _explain_collapse(vectors):
        return [Section("Map", sentence, [])]
    vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    sample = EmbeddedExamples(subset, vectors, _name_examples(subset), _name_classes(subset))
    return [_build_map_section(run, sample, seed), _build_neighbour_section(run, sample, seed)]


def _name_classes(examples: Images | Texts | Recordings) -> list[str]:
    """Return the name of each example's class; empty without labels."""
    if examples.labels is None:
        return []
    assert examples.classes is not None, "labels are numbers of classes"
    return [examples.classes[label] for label in examples.labels]


def _explain_collapse(vectors: Float32[np.ndarray, "n d"]) -> str:
    """Explain in a sentence why the vectors show nothing; "" if they do."""
    if not np.isfinite(vectors).all():
        return "The encoder's vectors are not finite numbers, so they have no map."
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if (vectors / np.maximum(lengths, 1e-12)).std(axis=0).max() < MIN_SPREAD:
        return "The encoder gives all examples the same vector: it has collapsed."
    return ""


def _name_examples(examples: Images | Texts | Recordings) -> list[str]:
    """Name each example: a text by its beginning, else by its path or number."""
    if isinstance(examples, Texts):
        pairs = examples.pairs or [""] * len(examples)
        return [_shorten_text(" / ".join(filter(None, p))) for p in zip(examples.texts, pairs)]
    return [f"example {name}" if name.isdigit() else name for name in examples.ids]


def _shorten_text(text: str) -> str:
    text = " ".join(text[: 4 * MAX_TEXT].split())
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT].rstrip()}…"


def _build_map_section(run: Run, sample: EmbeddedExamples, seed: int) -> Section:
    """Return the map, with the fraction of examples whose nearest neighbor has their class."""
    n = len(sample.names)
    points = project_tsne(sample.vectors, seed=seed)
    about = (
        f"{n:,} examples by t-SNE of their vectors: similar examples are close together. "
        "Large distances and the sizes of groups have no meaning."
    )
    if sample.groups:
        about += " The encoder never saw the classes." * (not type(run.method).labelled)
        about += f" {_describe_purity(sample)}"
    pointing = "Point at the map, touch it, or use the arrow keys"
    caption = f"{pointing}; press a class in the list to show it alone."
    caption = caption if sample.groups else f"{pointing}."
    pictures = _encode_pictures(run, sample, range(n), POINT_SIDE)
    map_part = Map([(float(x), float(y)) for x, y in points], sample.groups, sample.names, pictures)
    return Section("Map of the embeddings", about, [map_part._replace(caption=caption)])


def _describe_purity(sample: EmbeddedExamples) -> str:
    groups = np.unique(sample.groups, return_inverse=True)[1]
    near = find_nearest(sample.vectors, np.arange(len(groups)), 1)[0][:, 0]
    sizes, n = np.bincount(groups), len(groups)
    chance = 100 * float((sizes * (sizes - 1)).sum()) / (n * (n - 1))
    share = 100 * float((groups[near] == groups).mean())
    text = f"The nearest neighbor has the class of the example for {share:.0f} %"
    return f"{text} (by chance {chance:.0f} %)."


def project_tsne(vectors: Float32[np.ndarray, "n d"], *, seed: int) -> Float64[np.ndarray, "n 2"]:
    """Return each vector as a point, 0 to 1 in both directions. One thread, so that it is
    repeatable."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    perplexity = min(PERPLEXITY, (len(vectors) - 1) / 3)
    state = hash_keys(seed, "report t-SNE") % 2**32
    with threadpool_limits(limits=1):
        fitted = TSNE(perplexity=perplexity, init="pca", random_state=state, n_jobs=1)
        points = fitted.fit_transform(vectors).astype(np.float64)
    low, high = points.min(axis=0), points.max(axis=0)
    return (points - low) / np.maximum(high - low, 1e-12)


def find_nearest(
    vectors: Float32[np.ndarray, "n d"], queries: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the `count` others with the highest cosine to each of the asked rows, and these
    cosines.

    Vectors are of length 1; of equal ones the first comes first.
    """
    cosine = vectors[queries] @ vectors.T
    cosine[np.arange(len(queries)), queries] = -np.inf
    order = np.argsort(-cosine, axis=1, kind="stable")[:, :count]
    return order, np.take_along_axis(cosine, order, axis=1)


def _build_neighbour_section(run: Run, sample: EmbeddedExamples, seed: int) -> Section:
    """Return rows of the nearest neighbors of a few examples."""
    n = len(sample.names)
    queries = shuffle_indices(n, seed, "report neighbours")[:NUM_QUERIES]
    is_listed = isinstance(sample.examples, Texts | Recordings)
    count = NUM_LISTED if is_listed else NUM_NEAREST
    neighbours, cosines = find_nearest(sample.vectors, queries, count)
    place = "above them" if is_listed else "left of the line"
    about = (
        f"The {neighbours.shape[1]} of these {n:,} examples with the highest cosine similarity to "
        f"the one {place}, which was drawn at random."
    )
    draw_row = _tabulate_neighbours if is_listed else _draw_neighbours
    rows = zip(queries.tolist(), neighbours.tolist(), cosines.tolist())
    parts: list[Part] = [draw_row(run, sample, row, others, near) for row, others, near in rows]
    return Section("Nearest neighbors", about, parts)


def _tabulate_neighbours(
    run: Run, sample: EmbeddedExamples, row: int, others: Sequence[int], near: Sequence[float]
) -> Table:
    rows = [[f"{cosine:.3f}", sample.describe(i)] for i, cosine in zip(others, near)]
    return Table(["cosine", f"nearest to: {sample.describe(row)}"], rows)


def _draw_neighbours(
    run: Run, sample: EmbeddedExamples, row: int, others: Sequence[int], near: Sequence[float]
) -> Strip:
    pictures = _encode_pictures(run, sample, [row, *others], ROW_SIDE)
    cosines = ["", *(f"{cosine:.2f}" for cosine in near)]
    caption_parts = [[*sample.groups[i : i + 1], c] for i, c in zip([row, *others], cosines)]
    captions = [" · ".join(filter(None, texts)) for texts in caption_parts]
    captioned = [
        picture._replace(caption=f"{text}\n{sample.name_within_class(i)}".strip())
        for picture, i, text in zip(pictures, [row, *others], captions)
    ]
    return Strip(captioned, lead=1)


def _encode_pictures(
    run: Run, sample: EmbeddedExamples, rows: Sequence[int], longest: int
) -> list[Picture]:
    """Return images as the encoder sees them, in small; of text and sound there are none."""
    if isinstance(sample.examples, Texts | Recordings):
        return []
    size, rows = run.size, list(rows)
    fraction = choose_crop_fraction(size)
    pictures: list[Picture] = []
    batches = iterate_views(
        sample.examples, [np.array(rows)], size=min(size, longest), fraction=fraction
    )
    for images in batches:
        pixels = (images * 255).round().byte().permute(0, 2, 3, 1).numpy()
        pictures += [
            encode_pixels(x, sample.describe(row), png_side=PNG_SIDE)
            for x, row in zip(pixels, rows)
        ]
    return pictures
