"""Speech: spectrograms with the unit of each frame, the hidden spans, and what is guessed there."""

import io
from functools import partial
from typing import Any

import matplotlib
import numpy as np
import torch
from jaxtyping import Float
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image
from torch import Tensor

from selfwise.core.rng import Rng, generator, shuffled
from selfwise.core.types import HOP, RATE, WINDOW, AudioBatch, map_tensors, to_device
from selfwise.data.audio.batches import read_batch
from selfwise.data.audio.open import Recordings
from selfwise.evaluation.features.image import evaluation_mode
from selfwise.methods import inspection
from selfwise.modalities.audio import targets
from selfwise.nn.audio_stems import MelStem
from selfwise.report.page.parts import Picture, Section
from selfwise.report.sections.tasks_images import TITLE
from selfwise.runs.build import open_newest
from selfwise.runs.config import needs_class
from selfwise.runs.open import Run
from selfwise.training.config import resolve_device
from selfwise.views.audio.span_mask import count_valid_frames

LOOKED, SHOWN = 16, 4  # recordings
SECONDS = 3.0  # of a recording that are drawn
LEAST = WINDOW + HOP  # samples of two frames: one is hidden and one is seen
MELS = 80
INK = "#757b83"  # words and lines: gray that can be read on white and on black
WIDTH, HEIGHT = 344, 214  # CSS pixels of a picture, as wide as a phone
DENSITY = 2  # pixels of the picture for one of the page
KINDS = 96  # colours of a picture, for a small file
LAYOUT: Any = {"h_pad": 0.01, "w_pad": 0.01, "hspace": 0.02}
RIGHT, WRONG = (0.23, 0.62, 0.42), (0.79, 0.31, 0.33)
STYLE: Any = {"font.family": "sans-serif", "font.size": 8, "text.color": INK}
STYLE |= {"axes.facecolor": "none"}
STYLE |= dict.fromkeys(("axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK)


def sections(run: Run, recordings: Recordings, *, seed: int) -> list[Section]:
    """Four recordings, drawn by the seed, with their units and what is guessed of them."""
    long = np.flatnonzero(recordings.samples >= LEAST)
    if not len(long):
        return [Section(TITLE, "No recording is as long as two frames.", [])]
    rows = long[shuffled(len(long), seed, "report task")[:LOOKED]]
    most = round(float(run.record.get("longest", 15.6)) * RATE)
    stop = np.minimum(recordings.samples[rows], most)
    batch = read_batch(recordings, rows, np.zeros_like(stop), stop)
    seen = np.minimum(stop, round(SECONDS * RATE))
    cut = [f", first {n / RATE:g} s" for n in seen.tolist()]
    names = [
        recordings.ids[row] + (more if recordings.samples[row] > n else "")
        for row, n, more in zip(rows.tolist(), seen, cut)
    ]
    try:
        device = resolve_device("auto")
        with evaluation_mode(run.method, device):
            found = _looked(run, batch, seed, device)
        about = f"{found.about} {_told(found)}" if found else "What the method hears."
    except ValueError as error:
        found, about = None, f"Neither units nor guesses can be shown: {error}."
    return [Section(TITLE, about, _pictures(batch, names, found))]


def _looked(run: Run, batch: AudioBatch, seed: int, device: str) -> inspection.Heard | None:
    """What the method shows of the recordings, on the CPU. Raises ValueError without units."""
    options = run.record.needs_options(needs_class(type(run.method)))
    batch = to_device(batch, device)
    of_others = partial(targets.of_others, run.facts.targets, open_run=open_newest, device=device)
    units = of_others(next(iter(options))[1], batch)
    batch = batch._replace(units=units.to(device))
    view = run.method.view(batch, Rng(generator(seed, "report view"), seed=seed))
    found = run.method.shown(view)
    assert found is None or isinstance(found, inspection.Heard), (
        "a method on speech shows recordings"
    )
    return map_tensors(lambda part: part.cpu(), found)


def _told(found: inspection.Heard) -> str:
    """What the pictures mean, and how many guesses are right of all that were looked at."""
    own = found.guesses.chosen
    n, share = int(own.sum()), 100 * float(found.guesses.right.sum()) / max(1, int(own.sum()))
    loss = float(found.guesses.nats[own].double().mean()) if n else 0.0
    guessed = f"{share:.0f} % are named right; the loss is {loss:.2f} nats a frame"
    how = "Hidden spans are veiled in gray; each unit has a colour of its own."
    return f"{how} Of {n:,} hidden frames of {len(own)} recordings, {guessed}."


def _pictures(batch: AudioBatch, names: list[str], found: inspection.Heard | None) -> list[Picture]:
    mels = spectrogram(batch)
    rows = range(min(SHOWN, len(names)))
    return [_picture(batch, mels, names[row], row, found) for row in rows]


def spectrogram(batch: AudioBatch) -> Float[Tensor, "b m c"]:
    """Log-mel energies, 100 a second; each frame of 20 ms has two columns."""
    stem = MelStem(MELS, norm="fixed")
    return stem(batch.x.cpu().float(), None).unflatten(2, (2, MELS)).flatten(1, 2)


def _picture(
    batch: AudioBatch,
    mels: Float[Tensor, "b m c"],
    name: str,
    row: int,
    found: inspection.Heard | None,
) -> Picture:
    """The first seconds of a recording: its spectrogram, units, and guesses."""
    count = min(int(count_valid_frames(batch)[row]), round(SECONDS * RATE / HOP))
    heard = mels[row, : 2 * count].T.numpy()
    if found is None:
        data = _drawn(heard, None, None, None)
        return Picture(data, "png", f"Spectrogram of {name}.", name, density=DENSITY)
    guesses = found.guesses
    assert found.batch.units is not None, "they were looked up before"
    units, mask = found.batch.units[row, :count], found.mask[row, :count]
    guess = torch.full((found.mask.shape[1],), -1)
    own = guesses.chosen[row]
    guess[guesses.where[row][own]] = guesses.best[row, :, 0][own]
    right = int((guess[:count] == units)[mask].sum())
    told = f"{right} of {int(mask.sum())} hidden frames named right"
    data = _drawn(heard, units, guess[:count], mask)
    alt = f"Spectrogram of {name} with the units of its frames; {told}."
    return Picture(data, "png", alt, f"{name}: {told}", density=DENSITY)


def _drawn(heard: np.ndarray, units: Any, guess: Any, mask: Any) -> bytes:
    """The spectrogram above strips of units and guesses, on a transparent ground."""
    count = heard.shape[1] // 2
    seconds = count * HOP / RATE
    strips = 0 if units is None else 3
    with matplotlib.rc_context(STYLE):
        made = Figure(
            figsize=(WIDTH / 100, HEIGHT / 100),
            dpi=100 * DENSITY,
            layout=ConstrainedLayoutEngine(**LAYOUT),
        )
        axes = made.subplots(1 + strips, 1, sharex=True, height_ratios=[9, *[1, 1, 0.5][:strips]])
        axes = np.atleast_1d(axes)
        low, high = np.percentile(heard, [2, 99.7])
        box = (0.0, seconds, 0.0, 1.0)
        told: Any = {"aspect": "auto", "extent": box, "interpolation": "nearest"}
        axes[0].imshow(heard, origin="lower", cmap="magma", vmin=low, vmax=high, **told)
        axes[0].set_yticks([])
        axes[0].set_ylabel("mel bands")
        if units is not None:
            for start, stop in _spans(mask):
                edge = {"color": INK, "alpha": 0.72, "linewidth": 0}
                axes[0].axvspan(start * HOP / RATE, stop * HOP / RATE, 0, 1, **edge)
            _strips(axes[1:], units, guess, mask, told)
        axes[-1].set_xlabel("seconds", labelpad=1)
        for one in axes:
            one.tick_params(length=2, width=0.5)
            for side in one.spines.values():
                side.set(linewidth=0.4)
        return _file(made)


def _strips(axes: Any, units: Any, guess: Any, mask: Any, told: Any) -> None:
    """Units, guesses where frames are hidden, and whether these are right."""
    clear = np.ones((1, len(units), 4), np.float32)
    ground = np.where(mask.numpy(), 1.0, 0.0)
    every, some, hits = clear.copy(), clear.copy(), clear.copy()
    every[0, :, :3] = inspection.colors_of(units.clamp_min(0)).numpy()
    some[0, :, :3] = inspection.colors_of(guess.clamp_min(0)).numpy()
    hits[0, :, :3] = np.where((guess == units).numpy()[:, None], RIGHT, WRONG)
    some[0, :, 3] = hits[0, :, 3] = ground
    for one, cells, name in zip(axes, (every, some, hits), ("unit", "guess", "right")):
        one.imshow(cells, **told)
        one.set_yticks([])
        one.set_ylabel(name, rotation=0, ha="right", va="center", labelpad=4)


def _spans(mask: Any) -> list[tuple[int, int]]:
    """Where hidden frames begin and end, those beside each other as one."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.numpy().astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2])]


def _file(made: Figure) -> bytes:
    """The figure as a PNG of few colours."""
    canvas = FigureCanvasAgg(made)
    made.patch.set_alpha(0.0)
    canvas.draw()
    pixels = Image.fromarray(np.asarray(canvas.buffer_rgba()))
    file = io.BytesIO()
    pixels.quantize(KINDS, method=Image.Quantize.FASTOCTREE).save(file, "png", optimize=True)
    return file.getvalue()
