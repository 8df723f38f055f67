"""An encoder that cannot be is refused when it is built, in one sentence."""

import huggingface_hub.constants
import pytest

from selfwise.cli import main as cli
from selfwise.encoders.image import build_image_encoder

TINY_RESNET = {"layers": [1, 1, 1, 1], "channels": [4, 4, 8, 8]}
TINY_VIT = {"depth": 1, "embed_dim": 24, "num_heads": 3}


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    """No test asks the network, or finds what somebody has downloaded."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))


def refusal(name: str, *, size: int = 32, **options) -> str:
    with pytest.raises(ValueError) as error:  # noqa: PT011
        build_image_encoder(name, in_channels=3, size=size, **options)
    sentence = str(error.value)
    assert "\n" not in sentence
    assert len(sentence) < 500
    return sentence


@pytest.mark.parametrize(
    ("name", "size", "options", "words"),
    [
        ("vit_tiny_patch16_224", 8, TINY_VIT, ["vit_tiny_patch16_224", "8 px"]),
        ("vit_tiny_patch16_224", 32, {**TINY_VIT, "num_heads": 5}, ["num_heads=5", "divisible"]),
        ("vgg11", 8, {"mlp_ratio": 0.03}, ["8 px", "vgg11"]),
        ("resnet18", 32, {"layers": 3}, ["layers=3", "'int' object is not iterable"]),
        ("resnet18", 32, {"layers": [1, 1, 1]}, ["layers=[1, 1, 1]"]),
        ("resnet18", 32, {**TINY_RESNET, "channels": [4, 4, 8]}, ["channels=[4, 4, 8]"]),
        ("resnet18", 32, {**TINY_RESNET, "global_pool": ""}, ["not pooled", "(2, 8, 4, 4)"]),
        ("resnet18", 32, {**TINY_RESNET, "features_only": True}, ["features_only"]),
    ],
)
def test_what_does_not_fit_is_named_with_timms_words(name, size, options, words):
    sentence = refusal(name, size=size, **options)
    assert "does not fit" in sentence
    for word in words:
        assert word in sentence


@pytest.mark.parametrize(
    ("name", "option", "near"),
    [
        ("resnet18", "layer", "did you mean 'layers'?"),
        ("vit_tiny_patch16_224", "dephts", "did you mean 'depth'?"),
        ("mobilenetv3_small_050", "drop_rat", "did you mean 'drop_rate'?"),
    ],
)
def test_an_unknown_option_comes_with_the_nearest(name, option, near):
    sentence = refusal(name, **{option: 1})
    assert sentence == f"encoder {name} has no option '{option}'; {near}"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("checkpoint_path", "weights.pth"),
        ("cache_dir", "folder"),
        ("pretrained_cfg", {"file": "weights.pth"}),
        ("pretrained_cfg_overlay", {"file": "weights.pth"}),
        ("num_classes", 10),
        ("in_chans", 1),
        ("patch_drop_rate", 0.5),
    ],
)
def test_options_that_are_not_taken_are_refused_before_timm_sees_them(monkeypatch, option, value):
    monkeypatch.setattr("timm.create_model", lambda *_, **__: pytest.fail("timm was called"))
    assert f"encoder option {option!r} is not available" in refusal("resnet18", **{option: value})


def test_names_come_with_the_nearest():
    assert "did you mean 'resnet18'?" in refusal("resnet81")
    assert "did you mean 'cifar'?" in refusal("resnet18", stem="cifa")
    assert "auto, timm, unit" in refusal("resnet18", normalize="zero")
    assert "is for ResNets" in refusal("vit_tiny_patch16_224", **TINY_VIT, stem="half")


def test_published_weights_without_a_network():
    sentence = refusal("resnet10t", pretrained=True)
    assert "published weights of resnet10t are not in the cache" in sentence


def test_a_model_without_published_weights():
    assert "No pretrained weights exist" in refusal("efficientnet_lite1", pretrained=True)


def test_hidden_layers_that_timm_does_not_show(monkeypatch):
    encoder = build_image_encoder("resnet18", in_channels=3, size=32, **TINY_RESNET)
    monkeypatch.delattr(type(encoder.model), "forward_intermediates")
    with pytest.raises(ValueError, match="resnet18 does not expose its layers"):
        encoder.hidden(next(encoder.parameters()).new_zeros(2, 3, 32, 32))


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("bert --encoder bert-tiny --encoder.depth 0", "depth must be at least 1, got 0"),
        ("bert --encoder bert-tiny --encoder.dropout 1", "dropout must be at least 0 and below 1"),
        ("bert --encoder bert-tiny --encoder.norm none", "norm must be post or pre, not 'none'"),
        ("beit --encoder beit-tiny --encoder.layer-scale -1", "layer-scale must be at least 0"),
        ("hubert --encoder hubert-tiny --encoder.stem wav", "stem must be wave or logmel"),
        ("fsq --encoder codec-tiny --encoder.patch 0", "patch must be at least 1, got 0"),
    ],
)
def test_a_flag_of_an_encoder_has_the_range_of_its_shape(line, sentence, capsys):
    """One line, before any data are opened."""
    arguments = f"pretrain {line} --data /nowhere --out /nowhere/out".split()
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert f"--encoder.{sentence}" in error
    assert error.count("\n") == 1
