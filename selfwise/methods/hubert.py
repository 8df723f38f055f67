"""HuBERT (Hsu et al. 2021, arXiv:2106.07447): predict the cluster of masked frames."""

from types import MappingProxyType
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor, nn

from selfwise.core.ranges import (
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    PositiveShare,
    check_ranges,
)
from selfwise.core.rng import Rng
from selfwise.core.types import (
    AudioBatch,
    Encoder,
    Frames,
    PatchEncoder,
    SpeechEncoder,
    Step,
    Term,
    TextEncoder,
)
from selfwise.losses.cross_entropy import cosine_logits
from selfwise.methods.default_rules import Conditions, DefaultRule
from selfwise.methods.inspection import MaskedAudioExamples, rank_predictions
from selfwise.methods.method import Method, PaperDefaults, Summary, cross_entropy_step
from selfwise.methods.needs import FrameTargetNeed
from selfwise.views.audio.span_mask import MaskedFrames, SpanMask, count_valid_frames

FEW_HOURS = 10.0  # of recordings: with less, convolutions over the wave do not learn enough
SHORT_CLIP = 1.0  # seconds: a span of 10 frames would hide most of a single word
SHORT_RUN = 20_000  # steps
LOG = "what makes HuBERT's second iteration pay on 20 minutes of speech"


def _choose_stem(about: Conditions) -> str | None:
    return "logmel" if about.hours < FEW_HOURS else None


def _choose_penalty(about: Conditions) -> float | None:
    return 0.0 if about.encoder.get("stem") == "logmel" else None


def _choose_mask_length(about: Conditions) -> int | None:
    return 5 if about.clip_seconds < SHORT_CLIP else None


def _choose_clusters(about: Conditions) -> int | None:
    return 64 if about.hours < 1 else None


def _choose_seconds(about: Conditions) -> float | None:
    return max(20.0, about.longest_seconds) if about.hours < FEW_HOURS else None


def _choose_lr(about: Conditions) -> float | None:
    return 1e-3 if about.width <= 256 and about.steps <= SHORT_RUN else None


# The log compares stems. The other values are those of its runs, and were not compared alone.
RULES = (
    DefaultRule(
        "encoder.stem",
        "data",
        _choose_stem,
        "logmel below 10 hours: three times as fast, and better where convolutions over the wave "
        "cannot learn what a mel scale is",
        LOG,
    ),
    DefaultRule(
        "feature_penalty",
        "data",
        _choose_penalty,
        "0 with the logmel stem, which is not trained: there the penalty only shifts the loss",
    ),
    DefaultRule(
        "mask_length",
        "data",
        _choose_mask_length,
        "5 where the median recording is shorter than a second, of which 10 would hide most",
    ),
    DefaultRule("num_clusters", "data", _choose_clusters, "64 below an hour"),
    DefaultRule(
        "batch_seconds",
        "data",
        _choose_seconds,
        "20 below 10 hours, or the longest clip where that is more: more steps in the same time",
    ),
    DefaultRule(
        "lr",
        "budget",
        _choose_lr,
        "0.001 up to 20,000 steps and a width of 256",
    ),
)


class HuBERT(Method):
    """Mask spans of frames after the stem; the encoder predicts their discrete targets.

    The targets are clusters of MFCC first, then of a layer of the encoder that was trained on the
    first targets. A frame's scores are the cosines between its projection and a learned code of
    each cluster, divided by a temperature (section II-C, equation 3).

    Args:
        encoder: a speech encoder.
        num_clusters: number of clusters.
        mask_prob: number of spans times their length, as a fraction of the frames; 0.8 masks about
            0.57 of the frames, because spans overlap.
        mask_length: frames of 20 ms in a span. 10 suits speech; less may suit clips under a second.
        temperature: divides the cosines.
        unmasked_weight: weight of the mean loss on unmasked frames; 0 (best in the paper) leaves it
            out.
        feature_penalty: weight of the mean square of the stem's output; 0 leaves it out. It only
            shifts the loss if the stem is not trained, as the log-mel stem.
        proj_dim: width of the codes; by default 256 or the encoder's width, whichever is less.
    """

    modality = "audio"
    summary = Summary(
        predicts="the cluster of each masked frame",
        source="the unmasked frames of a recording",
        loss="cross-entropy at masked frames",
        reference="Hsu et al. 2021, arXiv:2106.07447",
    )
    needs = MappingProxyType({"num_clusters": FrameTargetNeed()})
    carried = ("mask_embedding",)
    default_encoder = "hubert-mini"
    rules = RULES
    # Section IV-C and fairseq's hubert_base_librispeech.yaml: 32,000 of 400,000 steps of warm-up,
    # then linear to 0; 2,800 s of audio in a batch. The number of rows depends on the recordings,
    # and the paper gives no rule for other batches.
    paper = PaperDefaults(
        lr=5e-4,
        weight_decay=0.01,
        warmup=0.08,
        schedule="linear",
        betas=(0.9, 0.98),
        eps=1e-6,
        grad_clip=10.0,
    )

    @check_ranges
    def __init__(
        self,
        encoder: Encoder[AudioBatch],
        *,
        num_clusters: Annotated[int, Ge(2)],
        mask_prob: PositiveShare = 0.8,
        mask_length: PositiveInt = 10,
        temperature: PositiveFloat = 0.1,
        unmasked_weight: NonNegativeFloat = 0.0,
        feature_penalty: NonNegativeFloat = 10.0,
        proj_dim: PositiveInt | None = None,
    ):
        super().__init__()
        _check_encoder(encoder)
        self.spans = SpanMask(mask_prob, mask_length)
        self.encoder, self.num_clusters, self.temperature = encoder, num_clusters, temperature
        self.unmasked_weight, self.feature_penalty = unmasked_weight, feature_penalty
        width = min(256, encoder.dim) if proj_dim is None else proj_dim
        # both uniform in 0..1, as in fairseq (models/hubert/hubert.py); the paper does not specify
        # it
        self.mask_embedding = nn.Parameter(torch.rand(encoder.dim))
        self.code_embeddings = nn.Parameter(torch.rand(num_clusters, width))
        self.final_projection = nn.Linear(encoder.dim, width)

    def view(self, batch: AudioBatch, rng: Rng) -> MaskedFrames:
        return self.spans.mask_frames(batch, rng)

    def counts(self, view: MaskedFrames) -> dict[str, Tensor]:
        masked, real = view.mask.sum().float(), count_valid_frames(view.batch).sum().float()
        unmasked = {"unmasked_loss": real - masked} if self.unmasked_weight else {}
        power = {"feature_penalty": real} if self.feature_penalty else {}
        return {"masked_loss": masked, **unmasked, **power}

    def forward(self, view: MaskedFrames) -> Step:
        tokens, valid, power = self._seen(view)
        guess = self._all if self.unmasked_weight else self._masked
        step = guess(view, tokens, valid)
        real = valid.sum().float()
        if self.feature_penalty:
            # fairseq: 10 * mean square * frames in the loss, all divided by the frames in the loss
            step.terms["feature_penalty"] = Term(self.feature_penalty * power.mean * real, real)
        step.metrics["masked_share"] = Term(view.mask.sum().float(), real)
        return step

    def inspect(self, view: MaskedFrames) -> MaskedAudioExamples:
        """Return the predicted targets of the masked frames."""
        tokens, valid, _ = self._seen(view)
        scores = self._scores(self.encoder.forward_at(tokens, valid, view.where))
        about = (
            f"Each frame of 20 ms has one of {self.num_clusters} units. Spans of frames are "
            "masked, and the encoder predicts their units."
        )
        predictions = rank_predictions(scores, view.where, view.chosen, view.target)
        return MaskedAudioExamples(about, view.batch, view.mask, predictions)

    def _seen(self, view: MaskedFrames) -> Frames:
        """Return the frames with the mask embedding in place of the masked frames."""
        tokens, valid, power = self.encoder.embed(view.batch)
        # after the projection, where frames have the width of the trunk (section II-C)
        tokens = torch.where(view.mask[..., None], self.mask_embedding.to(tokens.dtype), tokens)
        return Frames(tokens, valid, power)

    def _masked(self, view: MaskedFrames, tokens: Tensor, valid: Tensor) -> Step:
        hidden = self.encoder.forward_at(tokens, valid, view.where)
        return cross_entropy_step(
            "masked", self._scores(hidden), view.target.flatten(), view.chosen.flatten()
        )

    def _all(self, view: MaskedFrames, tokens: Tensor, valid: Tensor) -> Step:
        """Return the loss on masked frames and on unmasked frames.

        The paper (equation 2) weights sums over frames. Here the masked and the unmasked frames
        each have their own mean, so that the weight keeps its meaning for any fraction of masked
        frames.
        """
        assert view.batch.units is not None
        scores = self._scores(self.encoder.trunk(tokens, valid).tokens)
        target = torch.where(valid, view.batch.units, 0).flatten()
        step = cross_entropy_step("masked", scores, target, view.mask.flatten())
        other = cross_entropy_step("unmasked", scores, target, (valid & ~view.mask).flatten())
        term = other.terms["unmasked_loss"]
        step.terms["unmasked_loss"] = Term(self.unmasked_weight * term.sum, term.count)
        step.metrics.update(other.metrics)
        return step

    def _scores(self, hidden: Tensor) -> Tensor:
        return cosine_logits(
            self.final_projection(hidden.flatten(0, 1)), self.code_embeddings, self.temperature
        )


def _check_encoder(encoder: Encoder[AudioBatch]) -> None:
    """Raise ValueError unless frames can be masked inside the encoder."""
    # other encoders have functions of these names with other arguments
    if not isinstance(encoder, SpeechEncoder) or isinstance(encoder, PatchEncoder | TextEncoder):
        raise ValueError(
            f"hubert needs a speech encoder, and {type(encoder).__name__} is not one: hubert masks "
            "frames between `embed` and `trunk`; hubert-mini would be right"
        )
