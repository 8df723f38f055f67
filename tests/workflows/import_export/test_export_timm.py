"""Runs on images as timm loads them: the same features of the same files."""

import json

import numpy as np
import pytest
import timm
import torch
from PIL import Image, ImageOps

import selfwise
from selfwise.cli import main as cli
from selfwise.workflows.export import export_run
from selfwise.workflows.import_export import to_timm
from tests.helpers.exchange_cases import IMAGE_RUNS, QUICK, far, filled, photographs

SHORT = {32: 32, 96: 110}  # px of the shorter side that is not resized by timm
GIVEN = ["resnet", "resnet gray", "resnet normalised", "vit", "beit", "beit pooled"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Real photographs by the size of the run: PNG and JPEG, not square."""
    home = tmp_path_factory.mktemp("files")
    return {s: photographs(home / str(s), short=k, long=k * 3 // 2) for s, k in SHORT.items()}


def by_name(folder):
    """The model as `timm.create_model(name, checkpoint_path=...)` makes it."""
    told = json.loads((folder / "config.json").read_text())
    return timm.create_model(
        told["architecture"],
        checkpoint_path=folder / "model.safetensors",
        pretrained_cfg=told["pretrained_cfg"],
        num_classes=0,
        **told["model_args"],
    ).eval()


def by_folder(folder):
    return timm.create_model(f"local-dir:{folder}", pretrained=True).eval()


def of_files(model, files, mode):
    """Features as a user of timm computes them, and the names of the files."""
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    paths = sorted(files.iterdir())
    x = [transform(ImageOps.exif_transpose(Image.open(path)).convert(mode)) for path in paths]
    with torch.no_grad():
        return model(torch.stack(x)).numpy(), [path.name for path in paths]


@pytest.mark.parametrize("kind", GIVEN)
def test_timm_finds_the_same_in_the_same_files(kind, runs, files, tmp_path):
    run, (_, size, channels) = runs(kind), IMAGE_RUNS[kind]
    export_run(run.folder, to="timm", out=tmp_path / "timm")
    table = selfwise.embed(run, files[size])
    for load in (by_name, by_folder):
        model = load(tmp_path / "timm")
        config = timm.data.resolve_model_data_config(model)
        assert tuple(config["input_size"]) == (channels, size, size)
        found, names = of_files(model, files[size], "RGB" if channels == 3 else "L")
        assert names == list(table.ids)
        assert far(table.vectors, found) < 1e-5
    told = json.loads((tmp_path / "timm" / "config.json").read_text())["pretrained_cfg"]
    expected = {
        "resnet normalised": ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6]),
        **dict.fromkeys(("beit", "beit pooled"), ([0.5] * 3, [0.5] * 3)),
    }
    assert (told["mean"], told["std"]) == expected.get(kind, ([0.0] * channels, [1.0] * channels))


@pytest.mark.run
@pytest.mark.parametrize("name", ["test_vit", "test_resnet"])
def test_of_a_plain_model_the_name_and_the_file_are_enough(name, files, tmp_path):
    told = {"encoder": name, "image_size": 160 if name == "test_vit" else 32, **QUICK}
    run = filled(selfwise.pretrain("simclr", data=files[96], out=tmp_path / "run", **told))
    export_run(run.folder, to="timm", out=tmp_path / "timm")
    weights = tmp_path / "timm" / "model.safetensors"
    model = timm.create_model(name, checkpoint_path=weights, num_classes=0).eval()
    x = torch.rand(3, 3, run.size, run.size)
    with torch.no_grad():
        assert far(run.encoder(x).pooled, model(x)) < 1e-5


def test_pictures_of_other_sizes_give_nearly_the_same(runs, tmp_path):
    large = photographs(tmp_path / "large", short=200, long=320)
    export_run(runs("resnet").folder, to="timm", out=tmp_path / "timm")
    found, _ = of_files(by_name(tmp_path / "timm"), large, "RGB")
    expected = selfwise.embed(runs("resnet"), large).vectors
    assert np.linalg.norm(found - expected) < 0.1 * np.linalg.norm(expected - expected.mean(0))
    assert far(expected, found) > 1e-4, "then the card need not say `nearly`"


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("resnet small", "encoder resnet18 has the stem 'cifar', a 3x3 convolution with stride 1"),
        ("resnet half", "encoder resnet18 has the stem 'half', a 3x3 convolution with stride 2"),
        ("resnet lightness", "encoder resnet18 sees the lightness of Lab alone"),
    ],
)
def test_what_timm_cannot_be_told_is_named_with_what_works(kind, message, runs, tmp_path, capsys):
    told = ["export", runs(kind).folder, "--to", "timm", "--out", tmp_path / "new" / "timm"]
    assert cli.main([str(word) for word in told]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert "--to safetensors writes it unchanged" in line
    assert list(tmp_path.iterdir()) == []


def test_an_eps_that_timm_does_not_have(files, tmp_path):
    encoder = IMAGE_RUNS["beit"][0]
    options = {**encoder["encoder_options"], "eps": 1e-5}
    told = {**encoder, "encoder_options": options, "image_size": 32, **QUICK}
    run = selfwise.pretrain("simclr", data=files[32], out=tmp_path / "run", **told)
    with pytest.raises(ValueError, match=r"have an eps of 1e-05 and timm's beit has 1e-06"):
        export_run(run.folder, to="timm", out=tmp_path / "timm")
    assert not (tmp_path / "timm").exists()


def test_a_model_that_timm_computes_in_another_way_is_not_written(
    runs, tmp_path, monkeypatch, capsys
):
    """As it would be where another version of timm has changed what a name means."""
    real = to_timm.model_options
    other = {"act_layer": "gelu"}
    monkeypatch.setattr(to_timm, "model_options", lambda run: {**real(run), **other})
    told = ["export", runs("resnet").folder, "--to", "timm", "--out", tmp_path / "timm"]
    assert cli.main([str(word) for word in told]) == 2
    assert "computes other features for resnet18" in capsys.readouterr().err
    other["no_such_option"] = 1
    assert cli.main([str(word) for word in told]) == 2
    assert "cannot build resnet18 from the written files" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_other_mistakes_get_one_sentence(runs, tmp_path, capsys):
    run = runs("resnet gray").folder
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "mine.txt").write_text("keep me")
    for told, message in (
        (
            [run, "--to", "tim"],
            "--to must be hf, timm, onnx, safetensors or word2vec, not 'tim'; did you mean 'timm'?",
        ),
        (
            [run, "--to", "pickle"],
            "--to must be hf, timm, onnx, safetensors or word2vec, not 'pickle'",
        ),
        ([tmp_path, "--to", "timm"], "is not a run folder"),
        ([run, "--to", "timm", "--out", tmp_path / "there"], "exists already"),
        ([run, "--to", "timm", "--out", tmp_path / "there" / "mine.txt"], "exists already"),
    ):
        out = [] if "--out" in told else ["--out", tmp_path / "new"]
        assert cli.main(["export", *map(str, [*told, *out])]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line
    assert [path.name for path in tmp_path.rglob("*")] == ["there", "mine.txt"]
    assert (tmp_path / "there" / "mine.txt").read_text() == "keep me"
