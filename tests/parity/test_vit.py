"""The vision transformer against transformers' and timm's BEiT: every layer, logits, gradients.

Weights, biases, gains, LayerScale and tables are random, so that another GELU, another eps, a
table that is shifted or a lost LayerScale are far above the tolerance.
"""

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from selfwise.interop.huggingface.beit import from_hf, from_timm, to_hf
from tests.helpers.vit_cases import (
    BIASES,
    MASKED,
    UNITS,
    hidden_patches,
    images,
    imported,
    ours,
    theirs,
    timms,
)

close = {"rtol": 1e-5, "atol": 1e-5}
biases = pytest.mark.parametrize("bias", BIASES)


def masked(tokens, mask, hidden):
    return torch.where(hidden[..., None], mask, tokens)


@biases
def test_hidden_states_of_every_layer(bias):
    model, x = theirs("BeitModel", bias, use_mean_pooling=False), images()
    encoder = ours(imported(model))
    with torch.no_grad():
        expected = model(2 * x - 1, output_hidden_states=True)
        found, features, hidden = encoder.layers(x), encoder(x), encoder.hidden(x)
    states = expected.hidden_states
    assert len(found) == len(states) == 4
    for layer, want in zip(found, states):
        assert 0.3 < want.std() < 5
        torch.testing.assert_close(layer, want, **close)
    last = expected.last_hidden_state[:, 1:]
    torch.testing.assert_close(features.tokens, last, **close)
    torch.testing.assert_close(features.pooled, last.mean(dim=1), **close)
    for part, want in zip(hidden, [*states[1:-1], expected.last_hidden_state]):
        torch.testing.assert_close(part.tokens, want[:, 1:], **close)
        torch.testing.assert_close(part.pooled, want[:, 1:].mean(dim=1), **close)


@biases
def test_pooled_features_of_fine_tuned_models(bias):
    model, x = theirs("BeitForImageClassification", bias, num_labels=5), images()
    found = imported(model)
    with torch.no_grad():
        expected, features = model.beit(2 * x - 1), ours(found)(x)
    torch.testing.assert_close(features.pooled, expected.pooler_output, **close)
    torch.testing.assert_close(features.tokens, expected.last_hidden_state[:, 1:], **close)
    assert found.options["norm"] == "pooled"
    assert "classifier.weight" in "".join(found.notes)


@biases
def test_logits_of_masked_patches(bias):
    model, x, hidden = theirs(bias=bias), images(), hidden_patches()
    found = imported(model)
    encoder, where = ours(found), hidden.nonzero()[:, 1].view(3, 5)
    with torch.no_grad():
        expected = model(2 * x - 1, bool_masked_pos=hidden).logits
        tokens = masked(encoder.embed(x), found.head["mask_embedding"], hidden)
        read = encoder.forward_at(tokens, where)
        logits = F.linear(read, found.head["head.weight"], found.head["head.bias"])
        every = encoder.trunk(tokens).tokens
    assert 0.3 < expected.std() < 5
    torch.testing.assert_close(logits.flatten(0, 1), expected[hidden], **close)
    torch.testing.assert_close(read.flatten(0, 1), every[hidden], **close)


@biases
def test_gradients_of_the_loss(bias):
    model, x, hidden = theirs(bias=bias), images(), hidden_patches()
    labels = torch.arange(15) % UNITS
    model(2 * x - 1, bool_masked_pos=hidden, labels=labels).loss.backward()

    found = imported(model)
    encoder = ours(found)
    head = {name: weight.requires_grad_() for name, weight in found.head.items()}
    tokens = masked(encoder.embed(x), head["mask_embedding"], hidden)
    read = encoder.forward_at(tokens, hidden.nonzero()[:, 1].view(3, 5))
    logits = F.linear(read, head["head.weight"], head["head.bias"])
    F.cross_entropy(logits.flatten(0, 1), labels).backward()

    grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    want = from_hf(model.config.to_dict(), grads)
    for own, expected in ((dict(encoder.named_parameters()), want.encoder), (head, want.head)):
        assert own.keys() == expected.keys()
        for name, p in own.items():
            assert expected[name].abs().max() > 1e-4, name
            torch.testing.assert_close(p.grad, expected[name], msg=lambda m, n=name: f"{n} {m}",
                                       **close)  # fmt: skip


@biases
def test_without_layer_scale(bias):
    model, x = theirs("BeitModel", bias, layer_scale_init_value=0.0), images()
    encoder = ours(imported(model))
    assert not any("scale" in name for name, _ in encoder.named_parameters())
    with torch.no_grad():
        expected = model(2 * x - 1).pooler_output
        torch.testing.assert_close(encoder(x).pooled, expected, **close)


@pytest.mark.parametrize("pooled", [False, True])
@biases
def test_timm(bias, pooled):
    model, x = timms(bias, use_fc_norm=pooled), images()
    found = imported(model)
    with torch.no_grad():
        expected, features = model.forward_features(2 * x - 1), ours(found)(x)
        want = model.forward_head(expected, pre_logits=True)
    assert 0.3 < expected.std() < 5
    torch.testing.assert_close(features.tokens, expected[:, 1:], **close)
    torch.testing.assert_close(features.pooled, want, **close)
    assert found.options["shared_bias"] == (bias == "shared")


def test_images_of_other_statistics_and_one_channel():
    mean, std, x = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), images()
    model = timms()
    config = {"architecture": "beit", "pretrained_cfg": {"mean": mean, "std": std}}
    found = from_timm(config, model.state_dict())
    shift, scale = (torch.tensor(t)[:, None, None] for t in (mean, std))
    with torch.no_grad():
        expected = model.forward_features((x - shift) / scale)[:, 1:]
        torch.testing.assert_close(ours(found)(x).tokens, expected, **close)
    assert "0.485" in found.notes[-1]
    model, x = theirs("BeitModel", num_channels=1), images(channels=1)
    told = {"image_mean": [0.2, 0.3, 0.4], "image_std": [0.6, 0.7, 0.8]}
    found = from_hf(model.config.to_dict(), model.state_dict(), told)
    with torch.no_grad():
        expected = model((x - 0.3) / 0.7).pooler_output
        torch.testing.assert_close(ours(found)(x).pooled, expected, **close)


CLASSES = [(MASKED, {}), ("BeitModel", {"use_mean_pooling": False}), ("BeitModel", {})]


@pytest.mark.parametrize(("kind", "options"), CLASSES)
@biases
def test_import_export_import_is_bitwise_and_files_are_those_of_transformers(
    kind, options, bias, tmp_path
):
    model = theirs(kind, bias, **options)
    first = imported(model)
    told = {"size": first.size, "channels": first.channels}
    head = first.head if kind == MASKED else {"mask_embedding": first.head["mask_embedding"]}
    config, weights = to_hf(first.options, first.encoder, head, **told)
    again = from_hf(config, weights)
    assert again.options == first.options
    for one, two in ((first.encoder, again.encoder), (first.head, again.head)):
        assert one.keys() == two.keys()
        assert all(torch.equal(one[name], two[name]) for name in one)
    model.save_pretrained(tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    assert weights.keys() == saved.keys()
    assert all(torch.equal(weights[name], saved[name]) for name in saved)
    loaded, info = type(model).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    theirs_told = loaded.config.to_dict()
    assert {name: theirs_told[name] for name in config if name != "dtype"} == (
        {name: value for name, value in config.items() if name != "dtype"}
    )
    from_files = from_hf(config, saved)
    assert all(torch.equal(first.encoder[n], w) for n, w in from_files.encoder.items())
