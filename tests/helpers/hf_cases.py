"""Small models of transformers with weights that show mistakes, and ours with the same weights."""

from typing import Any

import torch
import transformers

from selfwise.encoders import text
from selfwise.interop.huggingface.text import TextCheckpoint, from_hf
from selfwise.nn.mlm_head import MaskedLMHead
from tests.helpers.text_cases import VOCAB, randomise

_SMALL = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
CONFIGS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "bert": ("BertConfig", "BertForPreTraining", _SMALL),
    "roberta": (
        "RobertaConfig",
        "RobertaForMaskedLM",
        # as published; the class alone would have two segments and 1e-12
        {**_SMALL, "max_position_embeddings": 42, "type_vocab_size": 1, "layer_norm_eps": 1e-5},
    ),
    "albert": ("AlbertConfig", "AlbertForPreTraining", {**_SMALL, "embedding_size": 16}),
    "gpt": (
        "GPT2Config",
        "GPT2LMHeadModel",
        {
            **{"vocab_size": VOCAB, "n_positions": 40, "n_embd": 32, "n_layer": 3, "n_head": 4},
            **{"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "n_inner": 48},
            **{"bos_token_id": 3, "eos_token_id": 3},
        },
    ),
}


def theirs(family: str, seed: int = 0, **options: Any) -> Any:
    """transformers' model with all heads, random weights, in evaluation mode."""
    config, model, small = CONFIGS[family]
    made = getattr(transformers, config)(**{**small, **options})
    found = getattr(transformers, model)(made)
    randomise(found, seed)
    found.tie_weights()
    return found.eval()


def imported(model: Any) -> TextCheckpoint:
    return from_hf(model.config.to_dict(), model.state_dict())


def ours(found: TextCheckpoint) -> tuple[text.TextTransformer, torch.nn.ModuleDict]:
    """The encoder and the heads of a method, by the names of the method's."""
    encoder = text.build_text_encoder(found.family, vocab=found.vocab, **found.options).eval()
    encoder.load_state_dict(found.encoder)
    heads = torch.nn.ModuleDict()
    if found.family != "gpt":
        width = encoder.token.embedding_dim
        activation, eps = encoder.shape.activation, encoder.shape.eps
        heads["head"] = MaskedLMHead(
            encoder.dim, width, found.vocab, activation=activation, eps=eps
        )
    for name in ("next", "order"):
        if f"{name}.weight" in found.head:
            heads[name] = torch.nn.Linear(encoder.dim, 2)
    heads.load_state_dict(found.head)
    return encoder, heads


def logits(
    encoder: text.TextTransformer, heads: torch.nn.ModuleDict, hidden: torch.Tensor
) -> torch.Tensor:
    """(b n d) to (b n v)."""
    if "head" not in heads:
        return hidden @ encoder.token.weight.T
    return heads["head"](hidden.flatten(0, 1), encoder.token.weight).unflatten(0, hidden.shape[:2])
