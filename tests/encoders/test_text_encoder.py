"""Text encoders by themselves: documents, padding, single positions, caches, options."""

import pytest
import torch
from torch import nn

from selfwise.core.types import Encoder, TextBatch, TextEncoder
from selfwise.encoders import text
from selfwise.nn import attention
from selfwise.nn.mlm_head import MaskedLMHead
from tests.helpers.text_cases import FAMILIES, VOCAB, N, batch, encoder_of, ids, real

KINDS = [(packed, padded) for packed in (False, True) for padded in (False, True)]
both = pytest.mark.parametrize(("packed", "padded"), KINDS)
every = pytest.mark.parametrize("family", FAMILIES)


def changed(part: TextBatch, row: int, places: slice) -> TextBatch:
    """Other tokens at some places."""
    tokens = part.ids.clone()
    tokens[row, places] = (tokens[row, places] - 5 + 17) % (VOCAB - 5) + 5
    return part._replace(ids=tokens)


@every
def test_it_is_an_encoder(family):
    encoder = encoder_of(family)
    assert isinstance(encoder, Encoder)
    assert isinstance(encoder, TextEncoder)
    features = encoder(batch())
    assert features.tokens.shape == (3, N, 32)
    assert features.grid == (N,)
    assert 0.3 < features.tokens.std() < 3


@every
@pytest.mark.parametrize("padded", [False, True])
def test_a_document_sees_no_other(family, padded):
    encoder, before = encoder_of(family), batch(packed=True, padded=padded)
    a = encoder(before).tokens
    b = encoder(changed(before, 0, slice(7, 15))).tokens
    torch.testing.assert_close(a[0, :7], b[0, :7], rtol=0, atol=0)
    torch.testing.assert_close(a[0, 15:], b[0, 15:], rtol=0, atol=0)
    assert (a[0, 7:15] - b[0, 7:15]).abs().amax(dim=1).min() > 1e-3


@every
def test_a_packed_document_is_what_it_is_alone(family):
    encoder, packed = encoder_of(family), batch(packed=True, padded=True)
    found = encoder(packed).tokens
    for row, a, b in ((0, 0, 7), (0, 7, 15), (0, 15, N), (1, 0, 12), (1, 12, 17), (2, 0, 9)):
        alone = encoder(TextBatch(packed.ids[row : row + 1, a:b], torch.arange(1))).tokens[0]
        torch.testing.assert_close(found[row, a:b], alone, rtol=1e-5, atol=1e-5)


@every
@pytest.mark.parametrize("packed", [False, True])
def test_padding_changes_nothing(family, packed):
    encoder, before = encoder_of(family), batch(packed=packed, padded=True)
    after = changed(before, 1, slice(17, N))
    a, b = encoder(before), encoder(after)
    torch.testing.assert_close(a.tokens[real(before)], b.tokens[real(before)], rtol=0, atol=0)
    torch.testing.assert_close(a.pooled, b.pooled, rtol=0, atol=0)


@pytest.mark.parametrize("family", ["gpt", "gpt1"])
@both
def test_a_causal_encoder_sees_only_what_was_before(family, packed, padded):
    encoder, before = encoder_of(family), batch(packed=packed, padded=padded)
    a, b = encoder(before).tokens, encoder(changed(before, 0, slice(9, 10))).tokens
    torch.testing.assert_close(a[0, :9], b[0, :9], rtol=0, atol=0)
    assert (a[0, 9:15] - b[0, 9:15]).abs().amax(dim=1).min() > 1e-4


def test_others_see_what_comes_after():
    encoder, before = encoder_of("bert"), batch()
    a, b = encoder(before).tokens, encoder(changed(before, 0, slice(9, 10))).tokens
    assert (a[0] - b[0]).abs().amax(dim=1).min() > 1e-4


def test_a_row_of_padding_alone_is_finite_and_has_a_gradient():
    encoder = encoder_of("bert").train()
    empty = batch()._replace(valid=torch.tensor([[True], [True], [False]]).expand(3, N))
    found = encoder(empty)
    (found.pooled.sum() + found.tokens.sum()).backward()
    assert all(p.grad.isfinite().all() for n, p in encoder.named_parameters() if "pooler" not in n)
    assert found.pooled[2].eq(0).all()


@every
@both
@pytest.mark.parametrize("norm", ["pre", "post"])
def test_reading_a_few_positions_is_the_whole_forward_pass_there(family, packed, padded, norm):
    encoder, part = encoder_of(family, norm=norm), batch(packed=packed, padded=padded)
    where = torch.tensor([[3, 0, 16, 3], [16, 11, 12, 0], [8, 0, 1, 2]])
    expected = encoder(part).tokens.gather(1, where[..., None].expand(-1, -1, 32))
    torch.testing.assert_close(encoder.forward_at(part, where), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("family", ["bert", "gpt"])
def test_reading_has_the_gradient_of_the_whole_forward_pass(family):
    part, where = (
        batch(packed=True, padded=True),
        torch.tensor([[3, 3, 16], [12, 11, 0], [8, 0, 1]]),
    )
    found = []
    for read in (True, False):
        encoder = encoder_of(family)
        tokens = encoder.forward_at(part, where) if read else encoder(part).tokens[
            torch.arange(3)[:, None], where
        ]  # fmt: skip
        tokens.square().sum().backward()
        found.append([p.grad for n, p in encoder.named_parameters() if "pooler" not in n])
    for a, b in zip(*found):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_reading_computes_the_rest_of_the_last_block_at_those_positions_alone():
    encoder, seen = encoder_of("bert"), []
    for block in encoder.trunk.blocks:
        block.mlp.register_forward_hook(lambda _, x, __: seen.append(x[0].shape[1]))
    encoder.forward_at(batch(), torch.zeros(3, 5, dtype=torch.int64))
    assert seen == [N, N, 5]


def test_picking_has_the_same_gradient_bits_on_two_threads():
    # the threads meet within a row, at positions that are picked again and again
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(3, 24, 64, generator=rng, requires_grad=True)
    where, grad = (
        torch.randint(3, (3, 1000), generator=rng),
        torch.randn(3, 1000, 64, generator=rng),
    )
    torch.set_num_threads(2)
    found = [
        torch.autograd.grad(attention.gather_positions(x, where), x, grad)[0] for _ in range(20)
    ]
    assert all(torch.equal(found[0], other) for other in found[1:])
    expected = torch.zeros_like(x).scatter_add(1, where[..., None].expand(-1, -1, 64), grad)
    torch.testing.assert_close(found[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", ["gpt", "gpt1"])
@pytest.mark.parametrize("steps", [[1] * N, [5, 1, 1, 10, 7], [N]])
def test_a_cache_gives_what_the_whole_row_gives(family, steps):
    encoder, tokens = encoder_of(family), ids()
    cache, found = None, []
    for part in tokens.split(steps, dim=1):
        hidden, cache = encoder.extend(part, cache)
        found.append(hidden)
    assert cache.size == N
    expected = encoder(TextBatch(tokens, torch.arange(3))).tokens
    torch.testing.assert_close(torch.cat(found, dim=1), expected, rtol=1e-5, atol=1e-5)


@every
def test_every_layer_is_shown_and_the_last_is_the_output(family):
    encoder, part = encoder_of(family), batch(padded=True)
    layers, features = encoder.hidden(part), encoder(part)
    assert len(layers) == 3
    torch.testing.assert_close(layers[-1], features)
    assert not torch.allclose(layers[0].tokens, layers[1].tokens, atol=1e-2)


def test_pooling_takes_what_it_says():
    part = batch(padded=True)
    tokens = encoder_of("bert")(part).tokens
    found = {how: encoder_of("bert", pooling=how)(part).pooled for how in ("mean", "cls", "last")}
    expected = torch.stack([tokens[i, :n].mean(dim=0) for i, n in enumerate((N, 17, 9))])
    torch.testing.assert_close(found["mean"], expected)
    torch.testing.assert_close(found["cls"], tokens[:, 0])
    torch.testing.assert_close(found["last"], tokens[[0, 1, 2], [N - 1, 16, 8]])
    plain = encoder_of("bert")(batch())
    torch.testing.assert_close(plain.pooled, plain.tokens.mean(dim=1))
    last = encoder_of("gpt", pooling="last")(batch())
    torch.testing.assert_close(last.pooled, last.tokens[:, -1])


def test_a_plain_batch_has_no_mask_and_the_mask_is_made_once(monkeypatch):
    made = []
    monkeypatch.setattr(
        attention,
        "build_additive_mask",
        lambda *a, f=attention.build_additive_mask: made.append(1) or f(*a),
    )
    for family in ("bert", "gpt"):
        encoder_of(family)(batch())
    encoder_of("gpt")(batch(padded=True))  # no real position sees the padding after it
    assert not made
    encoder_of("bert")(batch(packed=True))
    assert len(made) == 1


def varlen_by_hand(q, k, v, cu_q, cu_k, max_q, max_k, *, causal):
    """What torch.nn.attention.varlen computes, one sequence after the other."""
    out = torch.zeros_like(q)
    assert cu_q.dtype == torch.int32
    assert cu_q[0] == 0
    assert cu_q[-1] == len(q)
    assert torch.equal(cu_q, cu_k)
    for a, b in zip(cu_q[:-1].tolist(), cu_q[1:].tolist()):
        assert 0 <= b - a <= max_q == max_k
        if b > a:
            scores = torch.einsum("qhc,khc->hqk", q[a:b], k[a:b]) / q.shape[-1] ** 0.5
            if causal:
                scores += torch.full((b - a, b - a), -torch.inf).triu(1)
            out[a:b] = torch.einsum("hqk,khc->qhc", scores.softmax(dim=-1), v[a:b])
    return out


@every
@both
def test_the_kernel_for_sequences_of_any_length_gets_the_right_ones(
    family, packed, padded, monkeypatch
):
    encoder, part = encoder_of(family), batch(packed=packed, padded=padded)
    expected = encoder(part).tokens[real(part)]
    calls = []

    def kernel(*tensors, causal):
        calls.append(tensors)
        return varlen_by_hand(*tensors, causal=causal)

    monkeypatch.setattr(attention, "has_varlen", lambda like: True)
    monkeypatch.setattr(attention, "load_varlen_kernel", lambda: kernel)
    found = encoder(part).tokens[real(part)]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    needed = packed or (padded and not encoder.causal)
    assert len(calls) == (3 if needed else 0)
    where = torch.tensor([[3, 0, 16], [16, 11, 12], [8, 0, 1]])
    expected = encoder(part).tokens.gather(1, where[..., None].expand(-1, -1, 32))
    torch.testing.assert_close(encoder.forward_at(part, where), expected, rtol=1e-5, atol=1e-5)


def test_the_bounds_of_sequences():
    starts = torch.tensor([[0, 3, 6], [0, 6, 6]])
    valid = torch.tensor([[True] * 5 + [False], [True] * 6])
    # documents 0-3 and 3-5 and padding 5-6; one document 6-12, and no padding
    compute_bounds = attention.compute_sequence_bounds
    assert compute_bounds(starts, valid).tolist() == [0, 3, 5, 5, 6, 12, 12, 12, 12]
    assert compute_bounds(None, valid).tolist() == [0, 5, 6, 12, 12]
    assert attention.number_documents(starts, 6).tolist() == [[0, 0, 0, 1, 1, 1], [0] * 6]
    assert attention.number_positions(starts, 6).tolist() == [
        [0, 1, 2, 0, 1, 2],
        [0, 1, 2, 3, 4, 5],
    ]


def test_weights_are_a_function_of_the_seed():
    state = torch.get_rng_state()
    a, b, c = (
        text.build_text_encoder("bert-tiny", vocab=VOCAB, seed=s).token.weight for s in (0, 0, 1)
    )
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_weights_start_as_the_papers_say():
    for family in FAMILIES:
        encoder = text.build_text_encoder(f"{family}-mini", vocab=500)
        for name, p in encoder.named_parameters():
            if p.ndim == 1:
                assert p.eq(0.0 if name.endswith("bias") else 1.0).all(), name
        wide = encoder.trunk.blocks[0].mlp.up.weight
        cut = family in ("bert", "albert")
        assert (wide.abs().max() <= 0.04) == cut
        assert wide.std().item() == pytest.approx(0.02 * (0.88 if cut else 1), rel=0.02)
    gpt = text.build_text_encoder("gpt-mini", vocab=500)
    assert gpt.position.weight.std().item() == pytest.approx(0.01, rel=0.02)
    for linear in (gpt.trunk.blocks[2].mlp.down, gpt.trunk.blocks[1].attention.out):
        assert linear.weight.std().item() == pytest.approx(0.02 / 8**0.5, rel=0.02)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        # BERT-base and -large without heads; counts of the published checkpoints
        ("bert", 109_482_240),
        ("bert-large", 335_141_888),
        ("gpt", 124_439_808),
        # version 2 of base without the language head: 11.7 million
        ("albert", 11_683_584),
    ],
)
def test_sizes_are_the_published_ones(name, parameters):
    vocab = {"bert": 30_522, "albe": 30_000, "gpt": 50_257}[name[:4]]
    with torch.device("meta"):
        encoder = text.TextTransformer(name, vocab=vocab)
    assert sum(p.numel() for p in encoder.parameters()) == parameters


def test_families_differ_as_the_papers_say():
    shapes = {
        family: text.build_text_encoder(f"{family}-tiny", vocab=9).shape for family in FAMILIES
    }
    assert {f for f, s in shapes.items() if s.norm == "pre"} == {"gpt"}
    assert {f for f, s in shapes.items() if s.causal} == {"gpt", "gpt1"}
    assert {f for f, s in shapes.items() if s.pooler and s.segments == 2} == {"bert", "albert"}
    assert {f for f, s in shapes.items() if s.eps == 1e-12} == {"bert", "albert"}
    assert {f for f, s in shapes.items() if s.activation == "gelu"} == {"bert", "roberta"}
    assert {f for f, s in shapes.items() if s.offset == 2} == {"roberta"}
    assert {f for f, s in shapes.items() if s.dropout == 0} == {"albert"}
    assert shapes["albert"].embedding == 128
    assert shapes["gpt"].length == 1024
    assert len(text.list_text_encoders()) == 30


def test_dropout_is_where_the_options_put_it():
    part = batch()
    for options in ({"dropout": 0.5, "attention_dropout": 0.0}, {"dropout": 0.0}):
        encoder = encoder_of("bert", **{"attention_dropout": 0.5} | options).train()
        assert not torch.equal(encoder(part).tokens, encoder(part).tokens)
        assert torch.equal(encoder.eval()(part).tokens, encoder(part).tokens)
    encoder = encoder_of("bert", dropout=0.0, attention_dropout=0.0).train()
    assert torch.equal(encoder(part).tokens, encoder(part).tokens)
    encoder = encoder_of("bert", dropout=0.5, attention_dropout=0.0).train()
    x = encoder.eval().embed(part)
    layers, plain = encoder.train().trunk, attention.Layout()
    assert not torch.equal(layers(x, plain), layers(x, plain))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_by_products_is_that_of_sdpa(causal, masked, monkeypatch):
    monkeypatch.setattr(attention, "_sdpa_is_slow", lambda q, dropout: False)
    rng = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 2, 9, 4, 8, generator=rng, dtype=torch.float64).requires_grad_()
    seen = torch.rand(2, 1, 9, 9, generator=rng) < 0.6
    seen |= torch.eye(9, dtype=torch.bool)
    mask = attention.build_additive_mask(seen.tril() if causal else seen, q) if masked else None
    layout, found = attention.Layout(causal, mask=mask), []
    for attend in (attention.attend, attention.attend_by_products):
        out = attend(q, k, v, layout)
        found.append((out, *torch.autograd.grad(out.square().sum(), (q, k, v))))
    for a, b in zip(*found):
        torch.testing.assert_close(a, b)


def test_dropped_attention_weights_are_rescaled_and_their_mean_is_the_weight():
    rng = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 1, 6, 2, 8, generator=rng)
    many = [part.expand(20_000, -1, -1, -1) for part in (q, k, v)]
    torch.manual_seed(0)
    found = attention.attend(*many, attention.Layout(), dropout=0.3)
    assert found[0].ne(found[1]).any()
    expected = attention.attend(q, k, v, attention.Layout())[0]
    torch.testing.assert_close(found.mean(dim=0), expected, rtol=0, atol=0.02)


def test_training_in_bf16_is_near_float32():
    part, found = batch(packed=True, padded=True), []
    for enabled in (False, True):
        encoder = encoder_of("bert", dropout=0.0, attention_dropout=0.0).train()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            tokens = encoder(part).tokens
        tokens[real(part)].square().sum().backward()
        found.append((tokens[real(part)], encoder.token.weight.grad))
    for a, b in zip(*found):
        assert (a - b).norm() / a.norm() < 0.03


def test_segments_default_to_the_first():
    encoder = encoder_of("bert")
    first = batch()._replace(segment=torch.zeros(3, N, dtype=torch.int64))
    torch.testing.assert_close(encoder(batch()).tokens, encoder(first).tokens)
    assert not torch.allclose(encoder(batch(segments=True)).tokens, encoder(first).tokens, atol=0.1)


def test_the_masked_head_ends_in_the_token_table():
    head, table = MaskedLMHead(32, 16, VOCAB), torch.randn(VOCAB, 16)
    hidden = torch.randn(7, 32)
    nn.init.normal_(head.bias)
    inner = head.norm(nn.functional.gelu(hidden @ head.dense.weight.T + head.dense.bias))
    expected = torch.einsum("me,ve->mv", inner, table) + head.bias
    torch.testing.assert_close(head(hidden, table), expected)
    assert head.norm.eps == 1e-12
    assert MaskedLMHead(4, 4, 9).bias.eq(0).all()


MISFITS = {
    "unknown text encoder 'bert-huge'; did you mean": ("bert-huge", {}),
    "did you mean 'roberta-mini'?": ("robreta-mini", {}),
    "no option 'layers'": ("bert-tiny", {"layers": 3}),
    "no option 'droput'; did you mean 'dropout'?": ("bert-tiny", {"droput": 0.3}),
    "3 heads do not divide its width of 128": ("bert-tiny", {"heads": 3}),
    "unknown activation 'swish'; there are: gelu": ("bert-tiny", {"activation": "swish"}),
    "unknown pooling 'max'": ("bert-tiny", {"pooling": "max"}),
    "unknown norm 'none'": ("bert-tiny", {"norm": "none"}),
    "depth must be a whole number, not 2.5": ("bert-tiny", {"depth": 2.5}),
    "depth must be at least 1": ("bert-tiny", {"depth": 0}),
    "dropout must be at least 0 and below 1": ("bert-tiny", {"dropout": 1.0}),
    "eps must be above 0": ("bert-tiny", {"eps": 0}),
    "segments must be at least 0, not -1": ("bert-tiny", {"segments": -1}),
    "embedding must equal dim, 128": ("gpt-tiny", {"embedding": 64}),
    "shared must be true or false": ("bert-tiny", {"shared": "yes"}),
}


@pytest.mark.parametrize("sentence", MISFITS)
def test_what_does_not_fit_gets_one_sentence(sentence):
    name, options = MISFITS[sentence]
    with pytest.raises(ValueError, match="encoder") as found:
        text.build_text_encoder(name, vocab=9, **options)
    assert sentence in str(found.value)
    assert "\n" not in str(found.value)


def test_rows_and_ids_beyond_the_tables_get_one_sentence():
    encoder = encoder_of("gpt")
    with pytest.raises(ValueError, match="rows of at most 40 tokens, not 41"):
        encoder(TextBatch(ids(2, 41), torch.arange(2)))
    _, cache = encoder.extend(ids(2, 40))
    with pytest.raises(ValueError, match="rows of at most 40 tokens, not 41"):
        encoder.extend(ids(2, 1), cache)
    with pytest.raises(ValueError, match=r"range from 5 to 61, but encoder gpt has a vocabulary"):
        encoder(TextBatch(torch.tensor([[5, VOCAB]]), torch.arange(1)))
    with pytest.raises(ValueError, match="bert is not causal"):
        encoder_of("bert").extend(ids())
    with pytest.raises(ValueError, match="vocabulary must have tokens"):
        text.build_text_encoder("bert-tiny", vocab=0)
