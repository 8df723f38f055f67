"""A sheet of images: originals, and beside each what a method makes of it and answers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from selfwise.core.rng import Rng, generator, shuffled
from selfwise.core.types import ImageBatch, Labelled, to_device
from selfwise.data.image.dataset import Images
from selfwise.evaluation.features.image import evaluation_mode
from selfwise.methods import inspection
from selfwise.methods.method import Method
from selfwise.report.page import pixels
from selfwise.report.page.parts import Picture, Section, Sheet, Strip
from selfwise.runs.open import Run
from selfwise.training.config import resolve_device
from selfwise.views.image.augment import evaluation_view

TITLE = "What the method does"
SHOWN = 8  # examples on the sheet
TOGETHER = 32  # examples in the batch of a method whose loss compares them
LONGEST = 96  # px: the longest side of a picture
EXACT = 48  # px: up to here PNG
SIGNS = {"": "", "right": "✓ ", "wrong": "✗ "}  # for those who see no colours
MOST = 4  # pictures of one tensor of a view that nothing more is known of


def sections(run: Run, images: Images, *, seed: int) -> list[Section]:
    """One sheet of eight images, drawn by the seed, in the mode in which the encoder is used."""
    method = run.method
    try:
        batch = _batch(method, images, seed)
        with evaluation_mode(method, resolve_device("auto")):
            view, found = _looked(method, batch, seed)
    except ValueError as error:  # of the data, or of a run that came without what it needs
        return [Section(TITLE, f"These examples cannot be shown: {error}.", [])]
    sheet = found or _pictures_of(view)
    if not sheet.columns:
        return [Section(TITLE, sheet.about, [])]
    return [_drawn(run, images, batch, sheet)]


def _looked(
    method: Method, batch: ImageBatch | Labelled, seed: int
) -> tuple[Any, inspection.Sheet | None]:
    """The view of a batch, and what the method shows of it."""
    place = next(method.parameters()).device
    view = method.view(to_device(batch, place), Rng(generator(seed, "report view"), seed=seed))
    found = method.shown(view)
    assert found is None or isinstance(found, inspection.Sheet), "a method on images shows a sheet"
    return view, found


def _batch(method: Method, images: Images, seed: int) -> ImageBatch | Labelled:
    """Examples in the order in which they are shown, with labels where the method has them.

    Raises ValueError if there are no labels, or too few examples.
    """
    rows = _rows(method, images, seed)
    batch = images.read(rows)
    if not method.labelled:
        return batch
    if images.labels is None:
        raise ValueError("the method learns from labels, and these data have none")
    return Labelled(batch, torch.from_numpy(images.labels[rows].astype(np.int64)))


def _rows(method: Method, images: Images, seed: int) -> np.ndarray:
    n, most = len(images), TOGETHER if method.couples_batch else SHOWN
    if n < 2 and method.couples_batch:
        raise ValueError("the method compares images, and there is only one")
    if method.draw is None or images.labels is None:
        return shuffled(n, seed, "report task")[:most]
    told: dict[str, Any] = {"names": images.classes}
    reasons: list[ValueError] = []
    for batch in range(most, 1, -1):
        try:
            draw: Any = method.draw(images.labels, batch=batch, **told)  # type: ignore[operator]
        except ValueError as error:
            reasons.append(error)
        else:
            return draw(n, batch, 0, seed)
    raise reasons[0]


def _pictures_of(view: Any) -> inspection.Sheet:
    """The pictures in a view that nothing more is known of, by the names of its parts."""
    columns = []
    for name, part in getattr(view, "_asdict", dict)().items():
        if not isinstance(part, Tensor) or not part.is_floating_point():
            continue
        if part.ndim == 4 and part.shape[1] in (1, 3):
            columns.append(inspection.Column(name, part))
        elif part.ndim == 5 and part.shape[2] in (1, 3):
            several = part[:, :MOST].unbind(dim=1)
            columns += [inspection.Column(f"{name} {i}", one) for i, one in enumerate(several, 1)]
    about = "What the method makes of each image, without its answers."
    return inspection.Sheet(
        about if columns else "The views of this method are no pictures.", columns
    )


def _drawn(
    run: Run, images: Images, batch: ImageBatch | Labelled, sheet: inspection.Sheet
) -> Section:
    plain = batch.batch if isinstance(batch, Labelled) else batch
    asked = len(sheet.columns[0].x) if sheet.rows is None else len(sheet.rows)
    rows = range(min(SHOWN, asked))
    which = torch.arange(asked) if sheet.rows is None else sheet.rows.cpu()
    originals = evaluation_view(plain, min(run.size, LONGEST))[which]
    labels = batch.label[which] if isinstance(batch, Labelled) else None
    columns = [inspection.Column("original", originals, classes=labels), *sheet.columns]
    known = len(images.classes or []) == run.record.info.classes
    drawn = [_column(column, rows, images.classes or [], known=known) for column in columns]
    strips = [Strip([column[row] for column in drawn], lead=1) for row in rows]
    told = f"{sheet.about} {_right(drawn)}".strip()
    return Section(TITLE, told, [Sheet(strips)])


def _right(drawn: Sequence[Sequence[Picture]]) -> str:
    """How many of the answers on the sheet are right."""
    marks = [picture.mark for column in drawn for picture in column if picture.mark]
    return f"Of these {len(marks)}, {marks.count('right')} are right." if marks else ""


def _column(
    column: inspection.Column, rows: range, classes: Sequence[str], *, known: bool
) -> list[Picture]:
    """The pictures of a column, with what is said below each."""
    # an answer has the number of a class of the training, which these data may not have
    checked = column.right is not None and (known or column.classes is None)
    named = known or column.right is None
    pictures = []
    for row in rows:
        lines = []
        if column.classes is not None and (label := int(column.classes[row])) >= 0:
            lines.append(classes[label] if named and label < len(classes) else f"class {label}")
        lines += [column.said[row]] if column.said else []
        mark = ("right" if column.right[row] else "wrong") if checked else ""  # type: ignore[index]
        lines[:1] = [f"{SIGNS[mark]}{line}" for line in lines[:1]]
        caption = "\n".join([column.name, *lines])
        picture = encoded(column.x[row], column.name)
        pictures.append(picture._replace(caption=caption, mark=mark))  # type: ignore[arg-type]
    return pictures


def encoded(x: Float[Tensor, "c h w"], alt: str) -> Picture:
    """A picture of one or three channels, in 0 to 1, as a small file."""
    x = x.detach().float().cpu().clamp(0, 1)
    if (longest := max(x.shape[1:])) > LONGEST:
        side = [max(1, round(length * LONGEST / longest)) for length in x.shape[1:]]
        x = F.interpolate(x[None], side, mode="bilinear", antialias=True)[0].clamp(0, 1)
    return pixels.encoded((x * 255).round().byte().permute(1, 2, 0).numpy(), alt, exact=EXACT)
