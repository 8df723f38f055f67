"""Views as functions of plain tensors and a seed, for training loops of one's own."""

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from selfwise.core.ranges import PositiveInt, PositiveShare, ProperShare, check_ranges
from selfwise.core.rng import Rng, generator
from selfwise.core.types import AudioBatch, ImageBatch, TextBatch, count_frames
from selfwise.views.audio.span_mask import MaskedFrames, SpanMask
from selfwise.views.text import token_mask
from selfwise.views.text.token_mask import MaskedTokens

Images = UInt8[Tensor, "b c h w"] | Float[Tensor, "b c h w"]
SPANS = SpanMask()  # of the paper


def simclr(
    images: Images,
    *,
    seed: int = 0,
    size: int | None = None,
    min_crop_scale: float = 0.08,
    flip_prob: float = 0.5,
    jitter_strength: float | None = None,
    blur_prob: float | None = None,
) -> tuple[Float[Tensor, "b c s s"], Float[Tensor, "b c s s"]]:
    """Return two augmentations of each image, as SimCLR makes them (arXiv:2002.05709, appendix A).

    Args:
        images: (b, c, h, w), uint8 in 0..255 or float in 0..1, of one or three channels.
        seed: every draw is a function of it; a training loop passes the number of the step.
        size: side of the views in px; by default the shorter side of the images.
        min_crop_scale: smallest share of the image's area that a crop may show.
        flip_prob: probability of a horizontal flip.
        jitter_strength: of the color jitter; by default 1, and 0.5 up to 64 px.
        blur_prob: probability of Gaussian blur; by default 0.5, and 0 up to 64 px.

    Returns two float tensors (b, c, size, size) on the device of the images.
    """
    from selfwise.views.image.augment import build_simclr_augment  # text and sound need none of it

    side = size or min(images.shape[2:])
    augment = build_simclr_augment(
        side,
        min_crop_scale=min_crop_scale,
        flip_prob=flip_prob,
        jitter_strength=jitter_strength,
        blur_prob=blur_prob,
    )
    rows = torch.arange(len(images), device=images.device)
    rng = Rng(generator(seed, "views"), seed=seed)
    batch = ImageBatch(images, rows)
    return augment(batch, rng), augment(batch, rng)


@check_ranges
def mask_tokens(
    ids: Int64[Tensor, "b n"],
    *,
    mask: int,
    vocab_size: int,
    special: tuple[int, ...] = (),
    valid: Bool[Tensor, "b n"] | None = None,
    share: ProperShare = 0.15,
    seed: int = 0,
) -> MaskedTokens:
    """Mask tokens as BERT does (arXiv:1810.04805, section 3.1).

    Of the chosen tokens 80 % become the mask, 10 % a random token, and 10 % stay.

    Args:
        ids: (b, n) rows of token ids.
        mask: the id of the mask token.
        vocab_size: a random token is drawn from 0 to `vocab_size` - 1.
        special: ids that are never chosen, such as those of [CLS], [SEP] and [PAD].
        valid: (b, n), True where a token is real and not padding; None: all are real.
        share: share of the real tokens of a row that is chosen.
        seed: every draw is a function of it; a training loop passes the number of the step.

    Returns k = round(share n) places of each row: `batch` (what the encoder sees), `where` (b, k),
    `target` (b, k), and `chosen` (b, k), False where a row has fewer than k tokens to predict.
    Raises ValueError if `share` is not between 0 and 1.
    """
    (b, n), device = ids.shape, ids.device
    batch = TextBatch(ids, torch.arange(b, device=device), valid)
    special_table = token_mask.id_table(special, vocab_size).to(device)
    k, rng = token_mask.max_masked(n, share), Rng(generator(seed, "mask"), seed=seed)
    where, chosen = token_mask.choose_positions(
        token_mask.maskable_positions(batch, special_table),
        rng.uniform(b, n).to(device),
        token_mask.num_to_mask(token_mask.count_valid_tokens(batch), share),
        k,
    )
    kind, other = rng.uniform(b, k).to(device), rng.integers(vocab_size, b, k).to(device)
    return token_mask.apply_mask(batch, where, chosen, kind=kind, other=other, mask=mask)


@check_ranges
def mask_spans(
    waves: Float[Tensor, "b s"],
    targets: Int64[Tensor, "b t"],
    *,
    extent: Int64[Tensor, "b"] | None = None,
    share: PositiveShare = SPANS.share,
    length: PositiveInt = SPANS.length,
    seed: int = 0,
) -> MaskedFrames:
    """Mask spans of frames as HuBERT does (arXiv:2106.07447, section IV-C).

    Args:
        waves: (b, s) clips at 16 kHz; s samples have t = (s - 400) // 320 + 1 frames.
        targets: (b, t) the class of each frame; -1 where a row has no such frame.
        extent: (b,) real samples of each row; None: all are real.
        share: spans times their length as a share of the frames; spans overlap.
        length: frames of 20 ms in a span.
        seed: every draw is a function of it; a training loop passes the number of the step.

    Returns `batch` (what an encoder's `embed` takes), `mask` (b, t), and k places of each row:
    `where`, `target`, and `chosen`, False where a row masks fewer than k frames. Raises ValueError
    if share or length is out of range, or if the clips do not have t frames.
    """
    spans = SpanMask(share, length)
    if targets.shape[1] != (t := count_frames(waves.shape[1])):
        raise ValueError(
            f"{waves.shape[1]} samples have {t} frames, got {targets.shape[1]} targets"
        )
    rows = torch.arange(len(waves), device=waves.device)
    batch = AudioBatch(waves, rows, extent, units=targets)
    return spans.mask_frames(batch, Rng(generator(seed, "mask"), seed=seed))
