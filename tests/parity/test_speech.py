"""Speech encoders against transformers' HubertModel: numbers, gradients, files.

Weights, biases, gains and the norms of positions are random and activations of order 1, so that
another GELU, another eps or a lost mask are far above the tolerance. Group-norm models are compared
unpadded: transformers' depend on the padding, ours do not.
"""

import json
import re
from dataclasses import asdict

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoFeatureExtractor,
    HubertConfig,
    HubertForCTC,
    HubertModel,
    Wav2Vec2FeatureExtractor,
)

from selfwise.core.rng import generator
from selfwise.core.types import AudioBatch, count_frames
from selfwise.encoders import speech
from selfwise.interop.huggingface.hubert import from_hf, to_hf, write_preprocessor
from selfwise.interop.onnx import export_speech

SMALL = {
    **{"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4},
    **{"intermediate_size": 48, "conv_dim": (16,) * 7, "num_conv_pos_embeddings": 8},
    **{"num_conv_pos_embedding_groups": 4, "layer_norm_eps": 1e-3, "activation_dropout": 0.0},
    # SDPA and our attention add in other orders
    **{"attn_implementation": "eager", "layerdrop": 0.0},
}
BASE = {"feat_extract_norm": "group", "do_stable_layer_norm": False}
LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
KINDS = {
    "base": BASE,
    "large": LARGE,
    "group and pre": {**BASE, "do_stable_layer_norm": True, "conv_bias": True},
    "layer and post": {**LARGE, "do_stable_layer_norm": False, "conv_bias": False},
    "odd positions": {**BASE, "num_conv_pos_embeddings": 7, "hidden_act": "gelu_new"},
}
LENGTHS = (9000, 6100, 3999)
kinds = pytest.mark.parametrize("kind", KINDS)
close = {"rtol": 1e-5, "atol": 1e-5}


@torch.no_grad()
def theirs(kind, seed=0):
    """transformers' model with random weights, in evaluation mode."""
    model = HubertModel(HubertConfig(**SMALL | KINDS[kind]))
    rng = generator(seed, "weights")
    for name, p in model.named_parameters():
        noise = torch.randn(p.shape, generator=rng)
        if name.endswith("original0"):
            p.copy_(0.5 + noise.abs())
        elif p.ndim > 1:
            p.copy_(noise * (1.5 / p[0].numel()) ** 0.5)
        else:
            p.copy_(0.3 * noise if name.endswith("bias") else 1 + 0.3 * noise)
    return model.eval()


def imported(model):
    given = {"do_normalize": False, "sampling_rate": 16000}
    return from_hf(model.config.to_dict(), model.state_dict(), given)


def ours(found, **options):
    encoder = speech.build_speech_encoder(found.name, **found.options | options).eval()
    encoder.load_state_dict(found.encoder)
    return encoder


def wave(*, padded=False):
    """(batch, attention mask of transformers or None)"""
    x = 0.3 * torch.randn(3, LENGTHS[0], generator=generator(0, "wave")) + 0.1
    index = torch.arange(3)
    if not padded:
        return AudioBatch(x, index), None
    extent = torch.tensor(LENGTHS)
    mask = torch.arange(LENGTHS[0]) < extent[:, None]
    return AudioBatch(x * mask, index, extent), mask.long()


def states(model, x, mask=None):
    """hidden_states, with the final norm in the last one."""
    found = model(x, attention_mask=mask, output_hidden_states=True)
    return [*found.hidden_states[:-1], found.last_hidden_state]


def compare(found, expected, batch):
    assert len(found) == len(expected) == 4
    for layer, want in zip(found, expected, strict=True):
        assert 0.3 < want.std() < 4
        for i, length in enumerate(LENGTHS if batch.extent is not None else LENGTHS[:1] * 3):
            t = count_frames(length)
            torch.testing.assert_close(layer[i, :t], want[i, :t], **close)


@kinds
def test_hidden_states_of_every_layer(kind):
    model, (batch, _) = theirs(kind), wave()
    encoder = ours(imported(model))
    with torch.no_grad():
        expected = states(model, batch.x)
        compare(encoder.layers(batch), expected, batch)
        compare([expected[0], *(f.tokens for f in encoder.hidden(batch))], expected, batch)
        torch.testing.assert_close(encoder(batch).tokens, expected[-1], **close)
        torch.testing.assert_close(encoder(batch).pooled, expected[-1].mean(dim=1), **close)


@pytest.mark.parametrize("kind", ["large", "layer and post"])
def test_padded_rows_of_layer_norm_models(kind):
    model, (batch, mask) = theirs(kind), wave(padded=True)
    encoder = ours(imported(model))
    with torch.no_grad():
        compare(encoder.layers(batch), states(model, batch.x, mask), batch)


@pytest.mark.parametrize("kind", ["base", "group and pre"])
def test_padded_rows_of_group_norm_models_are_theirs_unpadded(kind):
    model, (batch, mask) = theirs(kind), wave(padded=True)
    encoder = ours(imported(model))
    with torch.no_grad():
        alone = [states(model, batch.x[i : i + 1, :length]) for i, length in enumerate(LENGTHS)]
        found = encoder.layers(batch)
        padded = states(model, batch.x, mask)
    for i, length in enumerate(LENGTHS):
        for layer, want in zip(found, alone[i], strict=True):
            torch.testing.assert_close(layer[i, : count_frames(length)], want[0], **close)
    last = count_frames(LENGTHS[-1])
    assert (padded[-1][-1, :last] - alone[-1][-1][0]).abs().max() > 1e-2  # theirs depend on it


@kinds
def test_gradients(kind):
    model, (batch, _) = theirs(kind), wave()
    encoder = ours(imported(model), stem_grad=1.0)
    target = torch.randn(3, count_frames(LENGTHS[0]), 32, generator=generator(1, "target"))
    for module, out in (
        (model, model(batch.x).last_hidden_state),
        (encoder, encoder(batch).tokens),
    ):
        module.zero_grad()
        (out - target).square().mean().backward()
    grads = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    want = from_hf(model.config.to_dict(), grads, {"do_normalize": False}).encoder
    for name, p in encoder.named_parameters():
        if kind == "group and pre" and name == "stem.convs.0.bias":
            assert p.grad is None  # a group norm takes it off: theirs is rounding
            assert want[name].abs().max() < 1e-5
            continue
        assert want[name].abs().max() > 1e-4 or "qkv.bias" in name, name
        torch.testing.assert_close(p.grad, want[name], msg=lambda m, n=name: f"{n}: {m}", **close)


def test_the_normalised_wave_is_that_of_their_feature_extractor():
    model, (batch, _) = theirs("large"), wave(padded=True)
    quiet = batch._replace(x=batch.x * 1e-3)
    encoder = ours(imported(model), normalize=True)
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)
    rows = [row[:length].numpy() for row, length in zip(quiet.x, LENGTHS)]
    given = extractor(rows, sampling_rate=16000, padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = states(model, given["input_values"], given["attention_mask"])
        found = encoder.layers(quiet)
    for i, length in enumerate(LENGTHS):
        torch.testing.assert_close(
            found[-1][i, : count_frames(length)],
            expected[-1][i, : count_frames(length)],
            rtol=1e-4,
            atol=1e-4,
        )


def test_frames_are_counted_as_theirs():
    model, encoder = theirs("base"), speech.build_speech_encoder("hubert-tiny").eval()
    for samples in (400, 719, 720, 4321, 190_800):
        count = int(model._get_feat_extract_output_lengths(samples))
        assert count_frames(samples) == count
        with torch.no_grad():
            embedded = encoder.embed(AudioBatch(torch.zeros(1, samples), torch.zeros(1).long()))
        assert embedded.tokens.shape[1] == count
    assert count == 596


@pytest.mark.parametrize(("name", "options"), [
    ("base", {}),
    ("large", {**LARGE, "conv_bias": False, "hidden_size": 1024, "num_hidden_layers": 24,
               "num_attention_heads": 16, "intermediate_size": 4096}),
])  # fmt: skip
def test_base_and_large_have_the_shapes_of_theirs(name, options):
    with torch.device("meta"):
        model, own = (
            HubertModel(HubertConfig(**options)),
            speech.SpeechTransformer(f"hubert-{name}"),
        )
    found = from_hf(model.config.to_dict(), model.state_dict())
    assert {n: w.shape for n, w in found.encoder.items()} == {
        n: w.shape for n, w in own.state_dict().items()
    }
    assert sum(p.numel() for p in own.parameters()) + own.dim == sum(
        p.numel() for p in model.parameters()
    )
    told = {option: getattr(own.shape, option) for option in found.options}
    drawn = ("dropout", "input_dropout", "attention_dropout", "layerdrop")
    assert all(found.options[o] == v for o, v in told.items() if o not in drawn)


@kinds
def test_a_folder_that_their_class_loads_whole(kind, tmp_path):
    model = theirs(kind)
    found = imported(model)
    encoder = ours(found)
    config, weights = to_hf(found.options, encoder.state_dict(), found.mask)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps(write_preprocessor(found.options))
    )
    loaded, said = HubertModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(said.values()), said
    assert loaded.state_dict().keys() == model.state_dict().keys()
    for name, weight in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], weight), name
    extractor = AutoFeatureExtractor.from_pretrained(tmp_path)
    assert (extractor.do_normalize, extractor.sampling_rate) == (False, 16000)
    written = load_file(tmp_path / "model.safetensors")
    again = from_hf(json.loads((tmp_path / "config.json").read_text()), written,
                    write_preprocessor(found.options))  # fmt: skip
    assert again.options == found.options
    assert again.encoder.keys() == found.encoder.keys()
    assert all(torch.equal(again.encoder[n], w) for n, w in found.encoder.items())
    assert torch.equal(again.mask, found.mask)
    batch, _ = wave()
    with torch.no_grad():
        want = loaded.eval()(batch.x).last_hidden_state
        torch.testing.assert_close(encoder(batch).tokens, want, **close)


def test_weights_of_classes_with_heads_and_of_older_torch():
    config = HubertConfig(**SMALL, **BASE, vocab_size=7)
    weights = HubertForCTC(config).state_dict()
    told = {"do_normalize": False}
    found = from_hf(config.to_dict(), weights, told)
    assert [note.split()[0] for note in found.notes] == ["lm_head.bias", "lm_head.weight"]
    ending = "parametrizations.weight.original"
    old = {n.replace(f"{ending}0", "weight_g").replace(f"{ending}1", "weight_v"): w
           for n, w in weights.items()}  # fmt: skip
    assert old.keys() != weights.keys()
    again = from_hf(config.to_dict(), old, told)
    assert all(torch.equal(again.encoder[n], w) for n, w in found.encoder.items())
    assert not found.missing


def test_a_run_without_a_mask_is_a_model_without_one(tmp_path):
    found = imported(theirs("base"))
    config, weights = to_hf(found.options, found.encoder)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text(json.dumps(config))
    _, said = HubertModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(said.values()), said
    again = from_hf(config, weights, write_preprocessor(found.options))
    assert again.mask is None
    assert again.missing == ["mask_embedding"]


def test_the_loss_is_the_published_one():
    step = pytest.importorskip("benchmarks.rows.hubert")  # not beside planted bugs
    draw = generator(0, "loss")
    hidden, codes = torch.randn(50, 8, generator=draw), torch.rand(12, 8, generator=draw)
    codes[3] = codes[7]  # of codes that are equal the published loss counts one
    target = torch.randint(12, (50,), generator=draw)
    other = (target != 3) & (target != 7)
    found = []
    for loss in (step.published_loss, step.own_loss):
        parts = [part.clone().requires_grad_() for part in (hidden, codes)]
        value = loss(parts[0][other], parts[1], target[other])
        found.append([value, *torch.autograd.grad(value, parts)])
    for ours, want in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(ours, want, **close)


@pytest.mark.parametrize("stem", ["wave", "logmel"])
def test_onnxruntime_finds_what_torch_finds(stem, tmp_path):
    import onnxruntime

    small = {"depth": 1, "dim": 32, "stem_dim": 16, "mels": 20, "position_kernel": 8}
    encoder, path = (
        speech.build_speech_encoder("hubert-tiny", stem=stem, **small).eval(),
        tmp_path / "it.onnx",
    )
    assert export_speech(encoder, path) < 1e-4
    assert [p.name for p in tmp_path.iterdir()] == ["it.onnx"]
    batch, _ = wave()
    x = batch.x[:2, :5003]
    tokens, pooled = onnxruntime.InferenceSession(path).run(None, {"x": x.numpy()})
    with torch.no_grad():
        want = encoder(AudioBatch(x, torch.arange(2)))
    torch.testing.assert_close(torch.from_numpy(tokens), want.tokens, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(torch.from_numpy(pooled), want.pooled, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"model_type": "huberd"}, "cannot"),
        ({"feat_extract_activation": "relu"}, "feat_extract_activation is 'relu', but"),
        ({"feat_proj_layer_norm": False}, "feat_proj_layer_norm is False, but"),
        ({"conv_pos_batch_norm": True}, "conv_pos_batch_norm is True, but"),
        ({"conv_kernel": [10, 3, 3, 3, 3, 3, 3]}, "conv_kernel is [10, 3, 3, 3, 3, 3, 3], but"),
        ({"conv_dim": [16] * 6 + [8]}, "convolutions have one number of channels"),
        ({"hidden_act": "selu"}, "hidden_act 'selu' is not supported"),
        ({"intermediate_size": 50}, "encoder.layers.0.feed_forward.intermediate_dense.weight does"),
        ({"num_hidden_layers": 4}, "the checkpoint has no weight encoder.layers.3.attention.q_p"),
        ({"hidden_size": 64}, "does not fit its config.json"),
    ],
)
def test_what_cannot_be_imported_is_said_in_one_sentence(fields, said):
    model = theirs("base")
    with pytest.raises(ValueError, match=re.escape(said.replace("cannot", "cannot be"))):
        from_hf(model.config.to_dict() | fields, model.state_dict())


def test_other_rates_and_stems_are_refused():
    model = theirs("base")
    with pytest.raises(ValueError, match="sampling_rate is 8000, but selfwise's speech has 16000"):
        from_hf(model.config.to_dict(), model.state_dict(), {"sampling_rate": 8000})
    encoder = speech.build_speech_encoder("hubert-tiny", stem="logmel")
    with pytest.raises(ValueError, match="HubertModel reads the wave, and this encoder has the"):
        to_hf(asdict(encoder.shape), encoder.state_dict())
