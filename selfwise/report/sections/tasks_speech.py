"""Speech: spectrograms with the unit of each frame, the hidden spans, and what is guessed there."""

import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image
from torch import Tensor

from selfwise.core.device import resolve_device
from selfwise.core.rng import Rng, generator, shuffle_indices
from selfwise.core.types import HOP, RATE, WINDOW, AudioBatch, map_tensors, to_device
from selfwise.data.audio.batches import read_batch
from selfwise.data.audio.open import Recordings
from selfwise.evaluation.features.image import evaluation_mode
from selfwise.methods.inspection import MaskedAudioExamples, color_units
from selfwise.modalities.audio import targets
from selfwise.nn.audio_stems import MelStem
from selfwise.report.page.parts import Picture, Section
from selfwise.report.sections.tasks_images import TITLE
from selfwise.runs.build import open_newest
from selfwise.runs.open import Run
from selfwise.runs.pretrain_config import needs_class
from selfwise.views.audio.span_mask import count_valid_frames

BATCH_SIZE, NUM_PICTURES = 16, 4  # recordings
SECONDS = 3.0  # of a recording that are drawn
MIN_SAMPLES = WINDOW + HOP  # two frames: one is hidden and one is seen
MELS = 80
INK = "#757b83"  # words and lines: gray that can be read on white and on black
WIDTH, HEIGHT = 344, 214  # CSS pixels of a picture, as wide as a phone
DENSITY = 2  # pixels of the picture for one of the page
PALETTE_SIZE = 96  # colors of a picture, for a small file
RIGHT, WRONG = (0.23, 0.62, 0.42), (0.79, 0.31, 0.33)
STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 8,
    "text.color": INK,
    "axes.facecolor": "none",
    **dict.fromkeys(("axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
}


class FrameUnits(NamedTuple):
    """The units of a recording's frames, and what was predicted where frames are masked."""

    units: Int64[Tensor, "t"]
    predicted: Int64[Tensor, "t"]  # -1 where there is no prediction
    mask: Bool[Tensor, "t"]


def build_sections(run: Run, recordings: Recordings, *, seed: int) -> list[Section]:
    """Return four recordings, drawn by the seed, with their units and what is guessed of them."""
    long_enough = np.flatnonzero(recordings.samples >= MIN_SAMPLES)
    if not len(long_enough):
        return [Section(TITLE, "No recording has two frames.", [])]
    rows = long_enough[shuffle_indices(len(long_enough), seed, "report task")[:BATCH_SIZE]]
    max_samples = round(float(run.record.get("max_clip_seconds", 15.6)) * RATE)
    stop = np.minimum(recordings.samples[rows], max_samples)
    batch = read_batch(recordings, rows, np.zeros_like(stop), stop)
    names = _name_recordings(recordings, rows, np.minimum(stop, round(SECONDS * RATE)))
    try:
        device = resolve_device("auto")
        with evaluation_mode(run.method, device):
            examples = _inspect(run, batch, seed, device)
        about = (
            f"{examples.about} {_describe(examples)}" if examples else "The inputs of the method."
        )
    except ValueError as error:
        examples, about = None, f"Neither units nor predictions can be shown: {error}."
    return [Section(TITLE, about, _draw_pictures(batch, names, examples))]


def _name_recordings(
    recordings: Recordings, rows: Int64[np.ndarray, "b"], samples: Int64[np.ndarray, "b"]
) -> list[str]:
    """Return the name of each recording; of a longer one also how many seconds are drawn."""
    return [
        recordings.ids[row] + (f", first {n / RATE:g} s" if recordings.samples[row] > n else "")
        for row, n in zip(rows.tolist(), samples.tolist())
    ]


def _inspect(run: Run, batch: AudioBatch, seed: int, device: str) -> MaskedAudioExamples | None:
    """Inspect the recordings with the method, on the CPU. Raises ValueError without units."""
    (_, options), *_ = run.record.needs_options(needs_class(type(run.method)))
    batch = to_device(batch, device)
    units = targets.compute_unseen_targets(
        run.facts.targets, options, batch, open_run=open_newest, device=device
    )
    batch = batch._replace(units=units.to(device))
    view = run.method.view(batch, Rng(generator(seed, "report view"), seed=seed))
    examples = run.method.inspect(view)
    assert examples is None or isinstance(examples, MaskedAudioExamples), (
        "a method on speech shows recordings"
    )
    return map_tensors(lambda part: part.cpu(), examples)


def _describe(examples: MaskedAudioExamples) -> str:
    """Explain the pictures, and count the correct predictions over all inspected frames."""
    predictions = examples.predictions
    n = int(predictions.valid.sum())
    share = 100 * float(predictions.correct.sum()) / max(1, n)
    loss = float(predictions.nats[predictions.valid].double().mean()) if n else 0.0
    accuracy = f"{share:.0f} % are predicted correctly; the loss is {loss:.2f} nats a frame"
    how = "Masked spans are veiled in gray; each unit has its own color."
    return f"{how} Of {n:,} masked frames of {len(predictions.valid)} recordings, {accuracy}."


def _draw_pictures(
    batch: AudioBatch, names: Sequence[str], examples: MaskedAudioExamples | None
) -> list[Picture]:
    mels = compute_spectrogram(batch)
    num_frames = count_valid_frames(batch).clamp_max(round(SECONDS * RATE / HOP)).tolist()
    pictures = []
    for row in range(min(NUM_PICTURES, len(names))):
        mel = mels[row, : 2 * num_frames[row]].T.numpy()
        if examples is None:
            alt = f"Spectrogram of {names[row]}."
            data = _draw_spectrogram(mel, None)
            pictures.append(Picture(data, "png", alt, names[row], density=DENSITY))
        else:
            frames = _select_frames(examples, row, num_frames[row])
            pictures.append(_draw_masked(mel, frames, names[row]))
    return pictures


def compute_spectrogram(batch: AudioBatch) -> Float[Tensor, "b m c"]:
    """Log-mel energies, 100 a second; each frame of 20 ms has two columns."""
    stem = MelStem(MELS, norm="fixed")
    return stem(batch.x.cpu().float(), None).unflatten(2, (2, MELS)).flatten(1, 2)


def _select_frames(examples: MaskedAudioExamples, row: int, num_frames: int) -> FrameUnits:
    """Return the first frames of a recording."""
    predictions = examples.predictions
    assert examples.batch.units is not None, "they were looked up before"
    predicted = torch.full((examples.mask.shape[1],), -1)
    valid = predictions.valid[row]
    predicted[predictions.positions[row][valid]] = predictions.top_ids[row, :, 0][valid]
    return FrameUnits(
        examples.batch.units[row, :num_frames],
        predicted[:num_frames],
        examples.mask[row, :num_frames],
    )


def _draw_masked(mel: Float[np.ndarray, "c m"], frames: FrameUnits, name: str) -> Picture:
    """Return the spectrogram of a recording with its units and the predictions."""
    num_correct = int((frames.predicted == frames.units)[frames.mask].sum())
    accuracy = f"{num_correct} of {int(frames.mask.sum())} masked frames predicted correctly"
    alt = f"Spectrogram of {name} with the units of its frames; {accuracy}."
    data = _draw_spectrogram(mel, frames)
    return Picture(data, "png", alt, f"{name}: {accuracy}", density=DENSITY)


def _draw_spectrogram(mel: Float[np.ndarray, "c m"], frames: FrameUnits | None) -> bytes:
    """Return the spectrogram above strips of units and predictions, on a transparent ground."""
    seconds = mel.shape[1] // 2 * HOP / RATE
    extent = (0.0, seconds, 0.0, 1.0)
    ratios = [9] if frames is None else [9, 1, 1, 0.5]
    with matplotlib.rc_context(STYLE):
        figure = Figure(
            figsize=(WIDTH / 100, HEIGHT / 100),
            dpi=100 * DENSITY,
            layout=ConstrainedLayoutEngine(h_pad=0.01, w_pad=0.01, hspace=0.02),
        )
        axes = figure.subplots(len(ratios), 1, sharex=True, height_ratios=ratios, squeeze=False)
        top, *strips = axes[:, 0]
        low, high = np.percentile(mel, [2, 99.7])
        top.imshow(
            mel,
            origin="lower",
            cmap="magma",
            vmin=low,
            vmax=high,
            aspect="auto",
            extent=extent,
            interpolation="nearest",
        )
        top.set_yticks([])
        top.set_ylabel("mel bands")
        if frames is not None:
            _veil_spans(top, frames.mask)
            _draw_strips(strips, frames, extent)
        axes[-1, 0].set_xlabel("seconds", labelpad=1)
        for panel in axes[:, 0]:
            panel.tick_params(length=2, width=0.5)
            for side in panel.spines.values():
                side.set(linewidth=0.4)
        return _encode_png(figure)


def _veil_spans(axes: Axes, mask: Bool[Tensor, "t"]) -> None:
    """Cover the masked frames with gray."""
    for start, stop in _find_spans(mask):
        axes.axvspan(
            start * HOP / RATE, stop * HOP / RATE, 0, 1, color=INK, alpha=0.72, linewidth=0
        )


def _draw_strips(
    axes: Sequence[Axes], frames: FrameUnits, extent: tuple[float, float, float, float]
) -> None:
    """Units, predictions where frames are masked, and whether these are right."""
    units, predicted, mask = frames
    clear = np.ones((1, len(units), 4), np.float32)
    opacity = np.where(mask.numpy(), 1.0, 0.0)
    unit_cells, predicted_cells, correct_cells = clear.copy(), clear.copy(), clear.copy()
    unit_cells[0, :, :3] = color_units(units.clamp_min(0)).numpy()
    predicted_cells[0, :, :3] = color_units(predicted.clamp_min(0)).numpy()
    correct_cells[0, :, :3] = np.where((predicted == units).numpy()[:, None], RIGHT, WRONG)
    predicted_cells[0, :, 3] = correct_cells[0, :, 3] = opacity
    strips = {"unit": unit_cells, "guess": predicted_cells, "right": correct_cells}
    for panel, (name, cells) in zip(axes, strips.items()):
        panel.imshow(cells, aspect="auto", extent=extent, interpolation="nearest")
        panel.set_yticks([])
        panel.set_ylabel(name, rotation=0, ha="right", va="center", labelpad=4)


def _find_spans(mask: Bool[Tensor, "t"]) -> list[tuple[int, int]]:
    """Return where masked frames begin and end, adjacent frames as one span."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.numpy().astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2])]


def _encode_png(figure: Figure) -> bytes:
    """Return the figure as a PNG of few colors."""
    canvas = FigureCanvasAgg(figure)
    figure.patch.set_alpha(0.0)
    canvas.draw()
    pixels = Image.fromarray(np.asarray(canvas.buffer_rgba()))
    file = io.BytesIO()
    quantized = pixels.quantize(PALETTE_SIZE, method=Image.Quantize.FASTOCTREE)
    quantized.save(file, "png", optimize=True)
    return file.getvalue()
