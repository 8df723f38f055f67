"""Pictures of the first batch as a method sees it, for loggers: a grid, texts or spectrograms."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from selfwise.core.rng import Rng, generator
from selfwise.core.types import (
    AudioBatch,
    Labelled,
    TextBatch,
    batch_size,
    map_tensors,
    slice_batch,
    to_device,
)
from selfwise.evaluation.features.image import evaluation_mode
from selfwise.evaluation.monitors.pictures import MAX_COLUMNS, draw_image_grid
from selfwise.methods.inspection import (
    ImageGrid,
    Inspection,
    MaskedAudioExamples,
    MaskedTextExamples,
    collect_images,
)
from selfwise.nn.audio_stems import MelStem
from selfwise.runs.prepare import PreparedRun
from selfwise.tokenizers.tokenizer import Tokenizer
from selfwise.training.loggers import ViewPicture

NAME = "views"
MAX_EXAMPLES = 64  # of the first batch, for methods that compare examples with each other
NUM_TEXTS, NUM_RECORDINGS = 4, 4
SIDE = 96  # pixels of an image in the grid
MELS, MAX_FRAMES = 80, 600  # bands, and columns of 10 ms of a spectrogram


def draw_first_views(run: PreparedRun) -> list[ViewPicture]:
    """Return the views of the first examples of the first batch.

    The method is in eval mode meanwhile, and no random draw of the run changes.
    """
    method = run.method
    batch = run.source[0]
    batch = slice_batch(batch, slice(0, min(batch_size(batch), MAX_EXAMPLES)))
    device = next(method.parameters()).device
    with evaluation_mode(method, device):
        rng = Rng(generator(run.seed, "logged view"), seed=run.seed)
        view = method.view(to_device(batch, device), rng)
        inspection: Inspection | None = method.inspect(view)
    view, inspection = map_tensors(lambda part: part.detach().cpu(), (view, inspection))
    if isinstance(batch, TextBatch):
        data: Any = run.data
        return [_show_texts(data.tokenizer, batch, inspection)]
    if isinstance(batch, AudioBatch):
        return [_draw_recordings(batch, inspection)]
    images = batch.batch if isinstance(batch, Labelled) else batch
    return _draw_images(images.x, inspection if isinstance(inspection, ImageGrid) else None, view)


def _draw_images(originals: Tensor, grid: ImageGrid | None, view: object) -> list[ViewPicture]:
    """Draw a row of originals and a row for each part of the view, one example per column."""
    grid = grid or collect_images(view)
    if not grid.columns:
        return []
    num_examples = len(grid.columns[0].images) if grid.rows is None else len(grid.rows)
    rows = torch.arange(num_examples) if grid.rows is None else grid.rows
    rows = rows[: min(MAX_COLUMNS, num_examples)]
    lines = [_resize(originals[rows].float() / 255)]
    lines += [_resize(column.images[: len(rows)].float()) for column in grid.columns]
    names = ", ".join(["the original", *(column.name for column in grid.columns)])
    caption = f"{grid.about} From top to bottom: {names}."
    return [ViewPicture(NAME, caption, draw_image_grid(lines))]


def _resize(images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 3 s s"]:
    """Return squares of one size, without smoothing."""
    resized = F.interpolate(images, (SIDE, SIDE), mode="nearest-exact")
    return resized[:, :3] if resized.shape[1] >= 3 else resized[:, :1].expand(-1, 3, -1, -1)


def _show_texts(
    tokenizer: Tokenizer, batch: TextBatch, inspection: Inspection | None
) -> ViewPicture:
    """Show the first texts as the encoder reads them, and the tokens that it predicts."""
    masked = inspection if isinstance(inspection, MaskedTextExamples) else None
    seen = batch if masked is None else masked.batch
    lines = []
    for row in range(min(NUM_TEXTS, len(seen.ids))):
        ids = seen.ids[row].numpy()
        ids = ids if seen.valid is None else ids[seen.valid[row].numpy()]
        lines.append(f"text {row + 1}: {tokenizer.decode(ids, keep_special=True)}")
        if masked is not None:
            chosen = masked.predictions.valid[row]
            targets = masked.predictions.target[row][chosen].tolist()
            lines.append(f"to predict: {' '.join(map(tokenizer.piece, targets))}")
    about = "The first texts." if inspection is None else str(getattr(inspection, "about", ""))
    return ViewPicture(NAME, about, text="\n".join(lines))


def _draw_recordings(batch: AudioBatch, inspection: Inspection | None) -> ViewPicture:
    """Draw spectrograms of the first recordings, one below another; masked frames are tinted."""
    masked = inspection if isinstance(inspection, MaskedAudioExamples) else None
    stem = MelStem(MELS, norm="fixed")
    with torch.no_grad():
        mels = stem(batch.x[:NUM_RECORDINGS].cpu().float(), None)
    columns = mels.unflatten(2, (2, MELS)).flatten(1, 2)[:, :MAX_FRAMES]
    strips = [
        _draw_spectrogram(
            columns[row].T.numpy(), None if masked is None else masked.mask[row].numpy()
        )
        for row in range(len(columns))
    ]
    gap = np.full((4, strips[0].shape[1], 3), 255, np.uint8)
    image = np.concatenate([part for strip in strips for part in (strip, gap)])
    about = "The first recordings." if masked is None else masked.about
    return ViewPicture(NAME, f"{about} Masked frames are tinted red.", image)


def _draw_spectrogram(
    mel: Float[np.ndarray, "c m"], mask: np.ndarray | None
) -> UInt8[np.ndarray, "h w 3"]:
    """Draw low bands at the bottom, two columns for each frame."""
    low, high = np.percentile(mel, [2, 99.7])
    gray = np.clip((mel - low) / max(high - low, 1e-6), 0, 1)[::-1]
    image = np.repeat(gray[..., None], 3, axis=2)
    if mask is not None:
        hidden = np.repeat(mask, 2)[: image.shape[1]]
        hidden = np.pad(hidden, (0, image.shape[1] - len(hidden)))
        image[:, hidden] = 0.5 * image[:, hidden] + 0.5 * np.array([0.8, 0.2, 0.2])
    return np.round(255 * np.repeat(image, 2, axis=0)).astype(np.uint8)
