"""A training step of HuBERT, mini or base, and its loss as published."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.limit import counted
from benchmarks.row import Contest, Prepared, Run, Setting
from benchmarks.training import Training, agreed, counting
from selfwise.core.rng import Rng, generator, init_seed
from selfwise.core.types import RATE, AudioBatch, count_frames
from selfwise.encoders import speech
from selfwise.interop.huggingface.hubert import from_hf
from selfwise.losses.cross_entropy import cosine_logits, masked_cross_entropy
from selfwise.methods.hubert import HuBERT
from selfwise.views.audio.span_mask import MaskedFrames

PEER = (
    "transformers' `HubertModel` with its own masking function, the penalty on features and the "
    "loss as published (fairseq, `models/hubert/hubert.py`): for S hidden frames and C clusters "
    "cosines out of a tensor (C + 1) x S x 256. The loss of frames that are not hidden, which "
    "fairseq computes for its log alone, is left out, as it is here. Fused AdamW without decay of "
    "biases and norms, gradients clipped at 10"
)
PACKAGES = ("transformers",)
ON_CPU = ("mini",)
ON_GPU = ("base",)
CASES = {
    "mini": "HuBERT mini, 8 clips of 4 s, a wave stem of 128 channels, 100 clusters",
    "base": "HuBERT base, 22 clips of 4 s (2 on a CPU), 500 clusters",
}
EQUAL, BEST = "selfwise float32", "selfwise bf16"
THEIRS, THEIR_BEST = "transformers float32", "transformers bf16"
GOALS = {
    "mini": [
        Contest(EQUAL, THEIRS, 1.5),
        Contest(BEST, THEIR_BEST, 1.5),
        Contest(BEST, THEIRS, 1.5, "bf16 autocast"),
    ],
    "base": [
        Contest(EQUAL, THEIRS, 2),
        Contest(BEST, THEIR_BEST, 2),
        Contest(BEST, THEIRS, 2, "bf16 autocast"),
    ],
}
SECONDS, WIDTH, TEMPERATURE, CLIP = 4, 256, 0.1, 10.0
SAMPLES = SECONDS * RATE
CLUSTERS = {"mini": 100, "base": 500}


class Clips:
    """Other clips and units for each of 16 steps, then the same again, ready in memory.

    They are noise: what a step costs does not depend on what is heard.
    """

    def __init__(self, count: int, clusters: int) -> None:
        self.made = [self._clips(number, count, clusters) for number in range(16)]

    def __getitem__(self, step: int) -> AudioBatch:
        return self.made[step % len(self.made)]

    @staticmethod
    def _clips(number: int, count: int, clusters: int) -> AudioBatch:
        draw = generator(number, "clips")
        x = 0.1 * torch.randn(count, SAMPLES, generator=draw)
        units = torch.randint(clusters, (count, count_frames(SAMPLES)), generator=draw)
        index = torch.arange(count)
        return AudioBatch(x, index, None, torch.zeros_like(index), units)


def clips_of(case: str, device: str) -> int:
    return 8 if case == "mini" else 2 if device == "cpu" else 22


def method_of(case: str, **told: Any) -> Any:
    with init_seed(0, "method"):
        encoder = speech.build_speech_encoder(f"hubert-{case}", **told)
        return HuBERT(encoder, num_clusters=CLUSTERS[case])


def published_logits(hidden: Tensor, codes: Tensor, target: Tensor) -> Tensor:
    """(S, C + 1): the cosine with the right code, then with all; the right one only once."""
    right = codes[target]
    pairs = torch.cat([right[None], codes[:, None].expand(-1, len(hidden), -1)])
    logits = F.cosine_similarity(hidden.float(), pairs.float(), dim=-1) / TEMPERATURE
    again = (pairs[1:] == right).all(dim=-1)
    logits[1:][again] = -torch.inf
    return logits.T


def published_loss(hidden: Tensor, codes: Tensor, target: Tensor) -> Tensor:
    """Sum over frames."""
    logits = published_logits(hidden, codes, target)
    right = torch.zeros(len(logits), dtype=torch.long, device=logits.device)
    return F.cross_entropy(logits, right, reduction="sum")


def own_loss(hidden: Tensor, codes: Tensor, target: Tensor) -> Tensor:
    """The same, as a step of ours computes it."""
    scores = cosine_logits(hidden, codes, TEMPERATURE)
    return masked_cross_entropy(scores, target, torch.ones_like(target, dtype=torch.bool))


class Published(nn.Module):
    """HuBERT's training step around transformers' model."""

    def __init__(self, shape: Any, clusters: int) -> None:
        from transformers import HubertConfig, HubertModel

        super().__init__()
        config = HubertConfig(
            hidden_size=shape.dim, num_hidden_layers=shape.depth,
            num_attention_heads=shape.heads, intermediate_size=shape.ff,
            conv_dim=(shape.stem_dim,) * 7, num_conv_pos_embeddings=shape.position_kernel,
            num_conv_pos_embedding_groups=shape.position_groups,
            hidden_dropout=shape.dropout, attention_dropout=shape.attention_dropout,
            feat_proj_dropout=shape.input_dropout, activation_dropout=0.0,
            layerdrop=shape.layerdrop,
        )  # fmt: skip
        self.model = HubertModel(config)
        self.project = nn.Linear(shape.dim, WIDTH)
        self.codes = nn.Parameter(torch.rand(clusters, WIDTH))

    def forward(self, part: AudioBatch, mask: Tensor) -> Tensor:
        assert part.units is not None
        found = self.model.feature_extractor(part.x)
        found.register_hook(lambda grad: 0.1 * grad)
        penalty = found.float().square().mean()
        hidden = self.model.feature_projection(found.transpose(1, 2))
        hidden = self.model._mask_hidden_states(hidden, mask_time_indices=mask)
        hidden = self.project(self.model.encoder(hidden).last_hidden_state)
        loss = published_loss(hidden[mask], self.codes, part.units[mask])
        return loss / mask.sum() + 10 * penalty


class Peer:
    """A step of theirs."""

    def __init__(self, method: Any, setting: Setting, *, lr: float = 5e-4, bf16: bool = False):
        with init_seed(0, "peer"):
            model = Published(method.encoder.shape, method.clusters)
        self.model, self.device, self.bf16 = model.train().to(setting.device), setting.device, bf16
        decayed = [p for p in model.parameters() if p.dim() > 1]
        rest = [p for p in model.parameters() if p.dim() <= 1]
        groups = [{"params": decayed, "weight_decay": 0.01}, {"params": rest, "weight_decay": 0.0}]
        self.adamw = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98), eps=1e-6, fused=True)

    def __call__(self, batch: AudioBatch, mask: Tensor) -> Tensor:
        assert batch.units is not None
        x, units, mask = (
            part.to(self.device, non_blocking=True) for part in (batch.x, batch.units, mask)
        )
        with torch.autocast(self.device, torch.bfloat16, enabled=self.bf16):
            loss: Tensor = self.model(batch._replace(x=x, units=units), mask)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        self.adamw.step()
        self.adamw.zero_grad()
        return loss.detach()


def their_mask(batch: AudioBatch) -> Tensor:
    """Drawn anew by their function, with HuBERT's numbers."""
    from transformers.models.hubert.modeling_hubert import _compute_mask_indices

    assert batch.units is not None
    b, t = batch.units.shape
    return torch.from_numpy(_compute_mask_indices((b, t), 0.8, 10, min_masks=2))


def theirs(peer: Peer, clips: Clips, units: float) -> Run:
    def step(number: int) -> float:
        batch = clips[number]
        peer(batch, their_mask(batch))
        return units

    return step


def take_weights(method: Any, model: Published) -> None:
    config = model.model.config.to_dict()
    found = from_hf(config, model.model.state_dict(), {"do_normalize": False})
    assert found.mask is not None
    told = {f"encoder.{name}": weight for name, weight in found.encoder.items()}
    told |= {"mask": found.mask, "codes": model.codes}
    told |= {f"project.{name}": part for name, part in model.project.state_dict().items()}
    method.load_state_dict(told)


def view_of(method: Any, batch: AudioBatch, number: int) -> MaskedFrames:
    """What a step of ours with this number hides."""
    n = len(batch.x)
    rng = Rng(generator(0, "view", number), slice(0, n), n, seed=0)
    return method.view(batch, rng)  # type: ignore[no-any-return]


def same_losses(case: str, setting: Setting) -> str:
    """Both from the same weights, five steps on the same clips with the same frames hidden."""
    count = 2
    none = dict.fromkeys(("dropout", "attention_dropout", "input_dropout", "layerdrop"), 0.0)
    method, clips = method_of(case, **none), Clips(count, CLUSTERS[case])
    step = Training(method, clips, setting, batch_size=count, precision="float32")
    peer = Peer(method, setting, lr=step.options.lr)
    take_weights(method, peer.model)
    found = []
    for number in range(5):
        batch = clips[number]
        mask = view_of(method, batch, number).mask
        found.append((step.loss(batch, number), float(peer(batch, mask))))
    first, second = (list(losses) for losses in zip(*found))
    what = "losses of five steps on the same clips with the same frames hidden"
    return agreed(first, second, within=1e-4, what=what)


def prepare(case: str, setting: Setting) -> Prepared:
    equal = same_losses(case, setting)
    count = clips_of(case, setting.device)
    clips, units = Clips(count, CLUSTERS[case]), float(count * SECONDS)
    sides: dict[str, Run] = {}
    for name, precision in {EQUAL: "float32", BEST: "bf16"}.items():
        told: Any = {"batch_size": count, "precision": precision, "grad_clip": CLIP}
        sides[name] = counting(units, Training(method_of(case), clips, setting, **told))
    for name, bf16 in {THEIRS: False, THEIR_BEST: True}.items():
        sides[name] = theirs(Peer(method_of(case), setting, bf16=bf16), clips, units)
    flops = counted(lambda: sides[EQUAL](0), setting.device) / units
    size = {"clips": count, "seconds": SECONDS, "clusters": CLUSTERS[case]}
    return Prepared(
        "s of sound", sides, equal, dict(size), {EQUAL: flops, BEST: flops}, in_a_run=True
    )
