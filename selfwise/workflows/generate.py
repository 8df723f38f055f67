"""Continue a text with a causal language model."""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from selfwise.core.device import resolve_device
from selfwise.core.memory_limit import takes_memory_limit
from selfwise.core.ranges import NonNegativeFloat, NonNegativeInt, PositiveInt, PositiveShare
from selfwise.core.rng import generator
from selfwise.evaluation.features.image import evaluation_mode
from selfwise.runs.open import Run, load


@takes_memory_limit
def generate(
    run: Run | str | Path,
    prompt: str = "",
    *,
    max_new_tokens: PositiveInt = 100,
    temperature: NonNegativeFloat = 1.0,
    top_k: NonNegativeInt = 0,
    top_p: PositiveShare = 1.0,
    seed: int = 0,
    device: str = "auto",
    max_memory: str = "",
) -> str:
    """Return the prompt and its continuation by the model, up to the end of a document.

    Keys and values of earlier tokens are cached. After the last trained position, the model
    continues from the last half of the text.

    Args:
        run: a run of gpt, or its folder.
        prompt: the beginning; without a prompt the model begins a document.
        max_new_tokens: number of tokens to draw at most.
        temperature: below 1 is more cautious, above 1 bolder; 0 takes the most likely token.
        top_k: draw among the k most likely tokens; 0 for all.
        top_p: draw among the most likely tokens that together have this probability.
        seed: determines every draw.
        device: cpu, cuda, mps (Apple, not tested) or auto.
        max_memory: most memory for reading one file, as in 4G; by default half of what is free.

    Raises ValueError for a model that is not causal.
    """
    run = run if isinstance(run, Run) else load(run)
    if run.method.modality != "text" or not run.encoder.causal:
        masked = hasattr(run.method, "head")
        advice = "fill gaps with selfwise fill" if masked else "it needs a run of gpt"
        raise ValueError(f"{run.folder} is not a causal language model; {advice}")
    vocabulary, encoder = run.tokenizer.vocabulary, run.encoder
    begin = vocabulary.last if vocabulary.first is None else vocabulary.first
    ids = run.tokenizer.encode([prompt])[0].tolist() if prompt else []
    ids = ids if begin is None else [begin, *ids]
    if not ids:
        raise ValueError("an empty prompt needs a tokenizer with a token that begins a text")
    draws, written, cache = generator(seed, "generate"), list(ids), None
    longest = run.record.info.length  # the run never trained the positions behind
    resolved_device = resolve_device(device)
    with evaluation_mode(encoder, resolved_device), torch.no_grad():
        unread = ids[-(longest - 1) :]
        held = 0
        for _ in range(max_new_tokens):
            if held + len(unread) > longest:
                unread, held, cache = written[-(longest // 2) :], 0, None
            hidden, cache = encoder.extend(torch.tensor([unread], device=resolved_device), cache)
            held += len(unread)
            logits = (hidden[0, -1] @ encoder.token.weight[: vocabulary.size].T).float().cpu()
            chosen = _draw_token(logits, draws, temperature=temperature, top_k=top_k, top_p=top_p)
            if chosen == vocabulary.last:
                break
            written.append(chosen)
            unread = [chosen]
    return run.tokenizer.decode(written)


def _draw_token(
    logits: Float[Tensor, "v"],
    draws: torch.Generator,
    *,
    temperature: float,
    top_k: int,
    top_p: float,
) -> int:
    """Draw one token among the likeliest, by its probability among the remaining tokens."""
    if temperature == 0:
        return int(logits.argmax())
    chances, order = (logits.double() / temperature).softmax(dim=-1).sort(descending=True)
    if top_k:
        chances = chances[:top_k]
    # nucleus sampling (Holtzman et al. 2019, arXiv:1904.09751): the token that reaches p is in
    before = chances.cumsum(0) - chances
    chances = chances[: max(1, int((before < top_p * (1 - 1e-12)).sum()))]
    reached = chances.cumsum(0)
    drawn = torch.rand(1, generator=draws, dtype=torch.float64) * reached[-1]
    return int(order[min(int(torch.searchsorted(reached, drawn, right=True)), len(chances) - 1)])
