"""Text encoders and their heads against transformers: numbers and gradients, padded and packed.

Weights, biases, gains and position tables are random, so that another GELU, another eps, a
position that is off by one or a lost mask are far above the tolerance.
"""

import pytest
import torch
import torch.nn.functional as F

from selfwise.interop.huggingface.text import from_hf
from tests.helpers.hf_cases import CONFIGS, imported, logits, ours, theirs
from tests.helpers.text_cases import VOCAB, N, batch, ids, real

families = pytest.mark.parametrize("family", CONFIGS)
padded = pytest.mark.parametrize("padded", [False, True])
close = {"rtol": 1e-5, "atol": 1e-5}


def told(family, part):
    """The batch as transformers' arguments."""
    given = {"input_ids": part.ids}
    if part.segment is not None:
        given["token_type_ids"] = part.segment
    if part.valid is not None:
        given["attention_mask"] = part.valid.long()
    return given


def example(family, *, padded=False):
    # RoBERTa in transformers finds padding by the id 1
    part = batch(padded=padded, segments=family in ("bert", "albert"))
    if padded:
        part = part._replace(ids=part.ids.masked_fill(~part.valid, 1))
    return part


@families
@padded
def test_hidden_states_of_every_layer(family, padded):
    model, part = theirs(family), example(family, padded=padded)
    encoder, _ = ours(imported(model))
    with torch.no_grad():
        expected = model(**told(family, part), output_hidden_states=True).hidden_states
        found, embedded = encoder.hidden(part), encoder.embed(part)
    assert len(found) == 3
    for layer, want in zip([embedded, *(f.tokens for f in found)], expected[-4:]):
        assert 0.05 < want.std() < 5
        if want.shape == layer.shape:  # ALBERT's embeddings are shown after they are widened
            torch.testing.assert_close(layer[real(part)], want[real(part)], **close)


@families
@padded
def test_logits_of_every_head(family, padded):
    model, part = theirs(family), example(family, padded=padded)
    encoder, heads = ours(imported(model))
    with torch.no_grad():
        expected = model(**told(family, part))
        features = encoder(part)
        found = logits(encoder, heads, features.tokens)
        scores = expected.prediction_logits if "prediction_logits" in expected else expected.logits
        assert 0.1 < scores.std() < 5
        torch.testing.assert_close(found[real(part)], scores[real(part)], **close)
        pair, name = {"bert": ("seq_relationship_logits", "next")}.get(
            family, ("sop_logits", "order")
        )
        assert (pair in expected) == (name in heads)
        if name in heads:
            pooled = encoder.pooler(features.tokens[:, 0]).tanh()
            torch.testing.assert_close(heads[name](pooled), expected[pair], **close)


@families
@padded
def test_gradients_of_the_loss(family, padded):
    model, part = theirs(family), example(family, padded=padded)
    encoder, heads = ours(imported(model))
    target = ids(seed=1).masked_fill(~real(part) | (torch.arange(N) % 3 > 0), -100)
    expected = model(**told(family, part))
    scores = expected.prediction_logits if "prediction_logits" in expected else expected.logits
    label = torch.tensor([0, 1, 1])
    loss = F.cross_entropy(scores.flatten(0, 1), target.flatten())
    pair = expected.get("seq_relationship_logits", expected.get("sop_logits"))
    (loss if pair is None else loss + F.cross_entropy(pair, label)).backward()

    # as in training: only the positions that the loss reads, and the first for the pairs
    where = (torch.arange(N) % 3 == 0).nonzero()[:, 0].expand(3, -1)
    read = encoder.forward_at(part, where)
    own = logits(encoder, heads, read)
    loss = F.cross_entropy(own.flatten(0, 1), target.gather(1, where).flatten())
    for name in heads.keys() - {"head"}:
        loss = loss + F.cross_entropy(heads[name](encoder.pooler(read[:, 0]).tanh()), label)
    loss.backward()

    grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    if family == "roberta":  # its one segment is part of our positions, and has their gradient
        del grads["roberta.embeddings.token_type_embeddings.weight"]
    want = from_hf(model.config.to_dict(), grads)
    for module, expected in ((encoder, want.encoder), (heads, want.head)):
        assert dict(module.named_parameters()).keys() == expected.keys()
        for name, p in module.named_parameters():
            assert expected[name].abs().max() > 1e-4 or "key" in name, name
            torch.testing.assert_close(p.grad, expected[name], msg=lambda m, n=name: f"{n} {m}",
                                       **close)  # fmt: skip


@families
def test_packed_documents_are_those_of_transformers(family):
    model, part = theirs(family), batch(packed=True, padded=True)
    encoder, heads = ours(imported(model))
    with torch.no_grad():
        found = logits(encoder, heads, encoder(part).tokens)
        for row, a, b in ((0, 0, 7), (0, 7, 15), (0, 15, N), (1, 0, 12), (1, 12, 17), (2, 0, 9)):
            expected = model(input_ids=part.ids[row : row + 1, a:b])
            scores = expected[0]
            assert scores.shape == (1, b - a, VOCAB)
            torch.testing.assert_close(found[row, a:b], scores[0], **close)


def test_a_cache_is_that_of_transformers():
    model, tokens = theirs("gpt"), ids()
    encoder, heads = ours(imported(model))
    past, cache = None, None
    with torch.no_grad():
        for part in tokens.split([9, 1, 1, 13], dim=1):
            expected = model(input_ids=part, past_key_values=past, use_cache=True)
            hidden, cache = encoder.extend(part, cache)
            past = expected.past_key_values
            torch.testing.assert_close(logits(encoder, heads, hidden), expected.logits, **close)
