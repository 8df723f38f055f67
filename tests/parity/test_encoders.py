"""Every family of timm models through `Vision`: shapes that agree, and timm's own numbers.

Weights, biases, norm gains and running statistics are random and of a size that keeps activations
of order 1: at the default initialisation many mistakes are too small to see.
"""

from math import prod

import pytest
import timm
import torch

from selfwise.core.rng import generator
from selfwise.encoders.image import (
    TimmEncoder,
    build_image_encoder,
    enable_residual_blocks,
    without_pretrained_weights,
)

VIT = {"depth": 1, "patch_size": 8, "embed_dim": 24, "num_heads": 3}
STAGES = {"depths": (1, 1, 1, 1), "dims": (8, 12, 16, 24)}
# name: size in px, options, how `pooled` follows from `tokens`: "mean", "class" token or ""
FAMILIES = {
    "resnet18": (40, {"layers": [1, 1, 1, 1], "channels": [4, 8, 8, 12], "stem": "timm"}, "mean"),
    "resnet10t": (32, {"channels": [4, 8, 8, 12], "stem": "timm"}, "mean"),
    "regnetx_002": (48, {}, "mean"),
    "mobilenetv3_small_050": (32, {}, ""),
    "efficientnet_lite0": (32, {}, "mean"),
    "convnext_atto": (64, STAGES, ""),
    "vgg11": (32, {"mlp_ratio": 0.03}, ""),
    "vit_tiny_patch16_224": (32, VIT, "class"),
    "vit_base_patch14_reg4_dinov2": (32, VIT, "class"),
    "deit_tiny_distilled_patch16_224": (32, VIT, ""),
    "vit_tiny_patch16_224 ": (32, {**VIT, "class_token": False, "global_pool": "avg"}, ""),
    "swin_tiny_patch4_window7_224": (
        32,
        {"embed_dim": 12, "depths": (1, 1), "num_heads": (2, 2), "window_size": 4},
        "mean",
    ),
    "mixer_s32_224": (64, {}, "mean"),
    "poolformer_s12": (64, {}, ""),
    "mambaout_femto": (64, {"depths": (1, 1, 1, 1), "dims": (8, 12, 16, 24)}, ""),
}


@torch.no_grad()
def randomise(model: torch.nn.Module, seed: int = 0) -> None:
    """Random everything, activations of order 1."""
    rng = generator(seed, "weights")

    def noise(t: torch.Tensor, scale: float) -> torch.Tensor:
        return scale * torch.randn(t.shape, generator=rng)

    for name, p in model.named_parameters():
        if p.ndim == 4 or (p.ndim == 2 and "bias" not in name):
            p.copy_(noise(p, (1.5 / p[0].numel()) ** 0.5))
        elif name.endswith("bias"):
            p.copy_(noise(p, 0.3))
        elif p.ndim == 1:  # gains of norms, LayerScale
            p.copy_(1 + noise(p, 0.2))
        else:  # positions, class token
            p.copy_(noise(p, 0.5))
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.copy_(noise(buffer, 0.3))
        elif name.endswith("running_var"):
            buffer.copy_(1 + noise(buffer, 0.2).abs())


def images(size: int, channels: int = 3) -> torch.Tensor:
    return torch.rand(3, channels, size, size, generator=generator(0, "images"))


def encoder_of(name: str) -> tuple[TimmEncoder, int, dict]:
    size, options, _ = FAMILIES[name]
    encoder = build_image_encoder(name.strip(), in_channels=3, size=size, **options)
    randomise(encoder.model)
    return encoder, size, {k: v for k, v in options.items() if k != "stem"}


@pytest.mark.parametrize("name", FAMILIES)
def test_pooled_is_what_timm_computes(name):
    encoder, size, options = encoder_of(name)
    if timm.get_pretrained_cfg(name.strip()).fixed_input_size:
        options["img_size"] = size
    theirs = timm.create_model(name.strip(), num_classes=0, **options).eval()
    theirs.load_state_dict(encoder.model.state_dict())
    with torch.no_grad():
        ours, expected = encoder.eval()(images(size)).pooled, theirs(images(size))
    assert 0.03 < expected.std() < 30
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_widths_tokens_grid_and_layers_agree_in_every_mode(name):
    encoder, size, _ = encoder_of(name)
    shapes = []
    for training in (True, False):
        with torch.no_grad():
            features, layers = encoder.train(training)(images(size)), encoder.hidden(images(size))
        assert features.pooled.shape == (3, encoder.dim)
        assert features.tokens.shape[:2] == (3, prod(features.grid))
        for layer in layers:
            assert layer.tokens.shape == (3, prod(layer.grid), layer.pooled.shape[1])
            torch.testing.assert_close(layer.pooled, layer.tokens.mean(dim=1))
        if FAMILIES[name][2]:
            assert layers[-1].grid == features.grid
        everything = [features, *layers]
        shapes.append([(f.pooled.shape, f.tokens.shape, f.grid) for f in everything])
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("name", [name for name, (_, _, how) in FAMILIES.items() if how])
def test_tokens_are_the_positions_that_pooled_comes_from(name):
    encoder, size, _ = encoder_of(name)
    with torch.no_grad():
        features = encoder.eval()(images(size))
        last = encoder.hidden(images(size))[-1]
    if FAMILIES[name][2] == "mean":
        torch.testing.assert_close(features.tokens.mean(dim=1), features.pooled)
    else:  # the last block's positions, without class and register tokens, normalised
        torch.testing.assert_close(encoder.model.norm(last.tokens), features.tokens)


def test_building_leaves_modes_statistics_and_the_global_generator_alone():
    before = torch.get_rng_state()
    encoder = build_image_encoder("mobilenetv3_small_050", in_channels=3, size=32)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(part.training for part in encoder.modules())
    tracked = [b for n, b in encoder.named_buffers() if n.endswith("num_batches_tracked")]
    assert tracked
    assert not any(tracked)


@pytest.mark.parametrize("channels", [1, 3])
def test_normalise_brings_the_input_to_what_timm_expects(channels):
    tiny = {"layers": [1, 1, 1, 1], "channels": [4, 4, 8, 8]}
    plain = build_image_encoder("resnet18", in_channels=channels, size=32, **tiny).eval()
    scaled = build_image_encoder(
        "resnet18", in_channels=channels, size=32, normalize="timm", **tiny
    ).eval()
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    if channels == 1:
        mean, std = mean.mean(dim=0, keepdim=True), std.mean(dim=0, keepdim=True)
    x = images(32, channels)
    by_hand = (x - mean[:, None, None]) / std[:, None, None]
    with torch.no_grad():
        torch.testing.assert_close(scaled(x).pooled, plain(by_hand).pooled)
        torch.testing.assert_close(scaled.hidden(x)[0].pooled, plain.hidden(by_hand)[0].pooled)
    assert plain.state_dict().keys() == scaled.state_dict().keys()
    assert list(dict(plain.named_buffers())) == [
        n for n, _ in plain.model.named_buffers(prefix="model")
    ]


@pytest.fixture
def published(monkeypatch) -> dict[str, torch.Tensor]:
    """Stands in for the download: the weights of resnet18 with its classifier."""
    model = timm.create_model("resnet18")
    randomise(model)
    weights = model.state_dict()
    found = "timm.models._builder.load_state_dict_from_hf"
    monkeypatch.setattr(found, lambda *_, **__: dict(weights))
    return weights


def test_pretrained_starts_from_the_published_weights(published):
    encoder = build_image_encoder("resnet18", in_channels=3, size=32, pretrained=True).eval()
    own = encoder.model.state_dict()
    assert all(torch.equal(own[name], published[name]) for name in own)  # the stem too
    model = timm.create_model("resnet18", num_classes=0).eval()
    model.load_state_dict(own)
    mean, std = (torch.tensor(model.pretrained_cfg[k])[:, None, None] for k in ("mean", "std"))
    with torch.no_grad():
        expected = model((images(32) - mean) / std)
    torch.testing.assert_close(encoder(images(32)).pooled, expected)


@pytest.mark.parametrize("size", [32, 96])
def test_the_untrained_twin_differs_in_its_weights_alone(published, size):
    options = {"pretrained": True, "drop_path_rate": 0.1}
    trained = build_image_encoder("resnet18", in_channels=3, size=size, **options).eval()
    twin = build_image_encoder(
        "resnet18", in_channels=3, size=size, **without_pretrained_weights(options)
    ).eval()
    assert not torch.equal(twin.model.conv1.weight, trained.model.conv1.weight)
    twin.load_state_dict(trained.state_dict())  # which is also how a run is loaded, offline
    with torch.no_grad():
        assert torch.equal(twin(images(size)).pooled, trained(images(size)).pooled)


def test_untrained_changes_nothing_else():
    plain = {"stem": "half", "layers": [1, 1, 1, 1]}
    assert without_pretrained_weights(plain) == plain
    assert without_pretrained_weights({**plain, "pretrained": False}) == plain
    assert without_pretrained_weights({**plain, "pretrained": True}) == {
        **plain,
        "normalize": "timm",
    }
    unit = {"pretrained": True, "normalize": "unit"}
    assert without_pretrained_weights(unit) == {"normalize": "unit", "stem": "timm"}
    assert unit["pretrained"]


def test_an_untrained_twin_hides_no_block():
    hidden = build_image_encoder("resnet18", in_channels=3, size=16, seed=0, layers=[1, 1, 1, 1])
    x = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    block = hidden.model.layer4[0]
    assert not block.bn2.weight.any()
    before = hidden.eval()(x).pooled
    shown = enable_residual_blocks(hidden)
    assert block.bn2.weight.eq(1).all()
    assert not torch.allclose(before, shown.eval()(x).pooled)
