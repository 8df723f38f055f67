"""A sheet of images: originals, and next to each the method's view and answer."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from selfwise.core.device import resolve_device
from selfwise.core.rng import Rng, generator, shuffle_indices
from selfwise.core.types import ImageBatch, Labelled, to_device
from selfwise.data.image.dataset import Images
from selfwise.evaluation.features.image import evaluation_mode
from selfwise.methods.inspection import ImageColumn, ImageGrid, collect_images
from selfwise.methods.method import Method
from selfwise.report.page.parts import Mark, Picture, Section, Sheet, Strip
from selfwise.report.page.pixels import encode_pixels
from selfwise.runs.open import Run
from selfwise.views.image.augment import evaluation_view

TITLE = "What the method does"
NUM_ROWS = 8  # examples on the sheet
BATCH_SIZE = 32  # examples in the batch of a method whose loss compares them
MAX_SIDE = 96  # px: the longest side of a picture
PNG_SIDE = 48  # px: up to here PNG
SIGNS: dict[Mark, str] = {"": "", "right": "✓ ", "wrong": "✗ "}  # for those who see no colors


def build_sections(run: Run, images: Images, *, seed: int) -> list[Section]:
    """Return one sheet of eight images, drawn by the seed, in the mode in which the encoder is
    used."""
    method = run.method
    try:
        batch = _read_batch(method, images, seed)
        with evaluation_mode(method, resolve_device("auto")):
            view, grid = _inspect(method, batch, seed)
    except ValueError as error:  # of the data, or of a run that came without what it needs
        return [Section(TITLE, f"These examples cannot be shown: {error}.", [])]
    grid = grid or collect_images(view)
    if not grid.columns:
        return [Section(TITLE, grid.about, [])]
    return [_draw_grid(run, images, batch, grid)]


def _inspect(
    method: Method, batch: ImageBatch | Labelled, seed: int
) -> tuple[object, ImageGrid | None]:
    """The view of a batch, and what the method shows of it."""
    device = next(method.parameters()).device
    view = method.view(to_device(batch, device), Rng(generator(seed, "report view"), seed=seed))
    grid = method.inspect(view)
    assert grid is None or isinstance(grid, ImageGrid), "a method on images shows a grid of images"
    return view, grid


def _read_batch(method: Method, images: Images, seed: int) -> ImageBatch | Labelled:
    """Return examples in the order in which they are shown, with labels where the method has them.

    Raises ValueError if there are no labels, or too few examples.
    """
    rows = _choose_rows(method, images, seed)
    batch = images.read(rows)
    if not method.labelled:
        return batch
    if images.labels is None:
        raise ValueError("the method learns from labels, and these data have none")
    return Labelled(batch, torch.from_numpy(images.labels[rows].astype(np.int64)))


def _choose_rows(method: Method, images: Images, seed: int) -> np.ndarray:
    n, max_rows = len(images), BATCH_SIZE if method.couples_batch else NUM_ROWS
    if n < 2 and method.couples_batch:
        raise ValueError("the method compares images, and there is only one")
    if method.draw is None or images.labels is None:
        return shuffle_indices(n, seed, "report task")[:max_rows]
    make_sampler: Any = method.draw  # a function of labels, for a method that learns from them
    errors: list[ValueError] = []
    for batch_size in range(max_rows, 1, -1):
        try:
            sampler = make_sampler(images.labels, batch=batch_size, names=images.classes)
        except ValueError as error:
            errors.append(error)
        else:
            return sampler(n, batch_size, 0, seed)
    raise errors[0]


def _draw_grid(run: Run, images: Images, batch: ImageBatch | Labelled, grid: ImageGrid) -> Section:
    image_batch = batch.batch if isinstance(batch, Labelled) else batch
    num_examples = len(grid.columns[0].images) if grid.rows is None else len(grid.rows)
    rows = range(min(NUM_ROWS, num_examples))
    examples = torch.arange(num_examples) if grid.rows is None else grid.rows.cpu()
    originals = evaluation_view(image_batch, min(run.size, MAX_SIDE))[examples]
    labels = batch.label[examples] if isinstance(batch, Labelled) else None
    columns = [ImageColumn("original", originals, labels=labels), *grid.columns]
    same_classes = len(images.classes or []) == run.record.info.classes
    pictures = [
        _draw_column(column, rows, images.classes or [], same_classes=same_classes)
        for column in columns
    ]
    strips = [Strip([column[row] for column in pictures], lead=1) for row in rows]
    about = f"{grid.about} {_count_right(pictures)}".strip()
    return Section(TITLE, about, [Sheet(strips)])


def _count_right(columns: Sequence[Sequence[Picture]]) -> str:
    """Return how many of the answers on the sheet are right."""
    marks = [picture.mark for column in columns for picture in column if picture.mark]
    return f"Of these {len(marks)}, {marks.count('right')} are correct." if marks else ""


def _draw_column(
    column: ImageColumn, rows: range, class_names: Sequence[str], *, same_classes: bool
) -> list[Picture]:
    """Return the pictures of a column, with their captions.

    `same_classes`: the classes of these data are those of the training.
    """
    # an answer has the number of a class of the training, which these data may not have
    judged = column.correct is not None and (same_classes or column.labels is None)
    use_names = same_classes or column.correct is None
    pictures = []
    for row in rows:
        lines = []
        if column.labels is not None and (label := int(column.labels[row])) >= 0:
            has_name = use_names and label < len(class_names)
            lines.append(class_names[label] if has_name else f"class {label}")
        lines += [column.captions[row]] if column.captions else []
        mark: Mark = ""
        if judged and column.correct is not None:
            mark = "right" if column.correct[row] else "wrong"
        lines[:1] = [f"{SIGNS[mark]}{line}" for line in lines[:1]]
        caption = "\n".join([column.name, *lines])
        picture = encode_image(column.images[row], column.name)
        pictures.append(picture._replace(caption=caption, mark=mark))
    return pictures


def encode_image(x: Float[Tensor, "c h w"], alt: str) -> Picture:
    """Return a picture of one or three channels, in 0 to 1, as a small file."""
    x = x.detach().float().cpu().clamp(0, 1)
    if (longest := max(x.shape[1:])) > MAX_SIDE:
        size = [max(1, round(length * MAX_SIDE / longest)) for length in x.shape[1:]]
        x = F.interpolate(x[None], size, mode="bilinear", antialias=True)[0].clamp(0, 1)
    pixels = (x * 255).round().byte().permute(1, 2, 0).numpy()
    return encode_pixels(pixels, alt, png_side=PNG_SIDE)
