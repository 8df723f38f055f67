"""Hide spans of frames (wav2vec 2.0, HuBERT): where they start, what they cover, what to guess.

Everything is a function of the rows' lengths and of numbers that are handed in, works on the
batch's device and waits for none. A view has k places in every row, whatever it hides there.
"""

from math import ceil
from typing import NamedTuple

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from selfwise.core.device import to_float64
from selfwise.core.rng import Rng
from selfwise.core.types import HOP, WINDOW, AudioBatch, count_frames
from selfwise.views.text.token_mask import sort_masked_first

MIN_SPANS = 2  # spans in a row, as in fairseq's HuBERT (`min_masks`)


class MaskedFrames(NamedTuple):
    """A batch, the frames that are hidden in it, and their units."""

    batch: AudioBatch
    mask: Bool[Tensor, "b t"]  # True where a frame is hidden
    where: Int64[Tensor, "b k"]  # k different frames; all hidden ones are among them
    chosen: Bool[Tensor, "b k"]  # True where that frame is hidden
    target: Int64[Tensor, "b k"]  # its unit; 0 where none is hidden


class SpanMask(NamedTuple):
    """The length and the frequency of masked spans."""

    share: float = 0.8  # spans times their length, as a share of the row; overlap counts twice
    length: int = 10  # frames in a span

    def max_masked(self, t: int) -> int:
        """Return the largest number of masked frames in a row of up to t frames, and at least 1."""
        spans = max(MIN_SPANS, ceil(t * self.share / self.length))
        return max(1, min(t - 1, spans * self.length))

    def draw(self, count: Int64[Tensor, "b"], t: int, rng: Rng) -> Bool[Tensor, "b t"]:
        """Return the hidden frames of rows with `count` real ones, in a batch t frames wide.

        As in fairseq (`compute_mask_indices`, static): the number of spans is share * count /
        length, rounded up or down at random, at least 2; starts are numbers without replacement
        from the first count - length frames, so that the last frame is never hidden; spans may
        overlap. Two things differ. Nothing makes all rows hide equally many (there
        `require_same_masks` drops frames by what the other rows are). And in a row of less than
        two spans they are half as long as the row, which there could be hidden whole.
        """
        numbers = rng.uniform(len(count), 1 + t).to(count.device, non_blocking=True)
        length = (count // 2).clamp(1, self.length)
        room = (count - length).clamp_min(0)
        wanted = to_float64(count) * self.share / self.length + to_float64(numbers[:, 0])
        spans = wanted.floor().long().to(count.device)
        spans = torch.minimum(spans.clamp_min(MIN_SPANS), room)
        position = torch.arange(t, device=count.device)
        order = (
            numbers[:, 1:].masked_fill(position >= room[:, None], 2.0).argsort(dim=1, stable=True)
        )
        starts = torch.zeros_like(order).scatter(1, order, (position < spans[:, None]).long())
        return _expand_starts(starts, length)

    def mask_frames(self, batch: AudioBatch, rng: Rng) -> MaskedFrames:
        """Draw a mask and look up the targets. The batch must have units."""
        assert batch.units is not None, "span masks need the units of the frames"
        t = batch.units.shape[1]
        assert t == count_frames(batch.x.shape[1]), f"{t} units for {batch.x.shape[1]} samples"
        mask = self.draw(count_valid_frames(batch), t, rng)
        where, chosen = sort_masked_first(mask, self.max_masked(t))
        # units of frames that do not exist are -1, which no loss can take
        target = torch.where(chosen, batch.units.gather(1, where), 0)
        return MaskedFrames(batch, mask, where, chosen, target)


def count_valid_frames(batch: AudioBatch) -> Int64[Tensor, "b"]:
    """Count the real frames of each row: those whose 400 samples are all real."""
    if batch.extent is None:
        return batch.index.new_full((len(batch.x),), count_frames(batch.x.shape[1]))
    return ((batch.extent - WINDOW) // HOP + 1).clamp_min(0)


def _expand_starts(starts: Int64[Tensor, "b t"], length: Int64[Tensor, "b"]) -> Bool[Tensor, "b t"]:
    """Mask every frame of which one of the last `length` frames is a start (1)."""
    before = torch.nn.functional.pad(starts.cumsum(dim=1), (1, 0))
    position = torch.arange(starts.shape[1], device=starts.device) + 1
    return before[:, 1:] > before.gather(1, (position - length[:, None]).clamp_min(0))
