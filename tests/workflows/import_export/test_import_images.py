"""Weights of timm and torchvision as runs: the same features, trained further, and back again."""

import json
import pickle
from functools import partial
from inspect import signature
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file, save_file
from timm.models import save_for_hf
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.vision_transformer import VisionTransformer

import selfwise
from selfwise.cli import main as cli
from selfwise.encoders import image as image_encoders
from selfwise.interop.torchvision import add_batch_counters, rename_weights
from selfwise.workflows.export import export_run
from selfwise.workflows.import_weights import import_weights
from tests.helpers.exchange_cases import QUICK, far, photographs, spread, with_precision

SMALL = {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16]}
# timm's name and arguments, and the side of its images
TIMMS = {
    "resnet": ("resnet18", SMALL, 64),
    "gray": ("resnet18", {**SMALL, "in_chans": 1}, 64),
    "vit": ("vit_tiny_patch16_224", {"depth": 2, "embed_dim": 48, "img_size": 64}, 64),
    "mean": (
        "vit_tiny_patch16_224",
        {"depth": 2, "embed_dim": 48, "img_size": 64, "global_pool": "avg"},
        64,
    ),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Photographs of 64 px, the size of the models."""
    return photographs(tmp_path_factory.mktemp("files") / "photos", short=64, long=90)


def timms(kind, folder):
    """A model of timm's with a classifier and random weights, saved as timm does it."""
    name, told, size = TIMMS[kind]
    model = timm.create_model(name, num_classes=5, **told).eval()
    spread(model)
    statistics = {"mean": (0.1, 0.2, 0.3)[: told.get("in_chans", 3)]}
    statistics |= {"std": (0.4, 0.5, 0.6)[: told.get("in_chans", 3)]}
    model.pretrained_cfg |= {**statistics, "input_size": (told.get("in_chans", 3), size, size)}
    arguments = {**told, "num_classes": 5}
    save_for_hf(model, folder, model_args=arguments, safe_serialization=True)
    return model


def seen(files, mean, std, mode="RGB"):
    """The middle squares of the files as a model wants them, and the names."""
    paths = sorted(files.iterdir())
    x = []
    for path in paths:
        image = Image.open(path)
        turned = image.transpose(Image.Transpose.ROTATE_270) if path.stem == "1" else image
        left, top = ((side - 64 + 1) // 2 for side in turned.size)
        square = turned.convert(mode).crop((left, top, left + 64, top + 64))
        planes = np.asarray(square, dtype=np.float32).reshape(64, 64, -1) / 255
        x.append((planes - mean) / std)
    return torch.from_numpy(np.stack(x).transpose(0, 3, 1, 2)), [p.name for p in paths]


@pytest.mark.parametrize("kind", TIMMS)
def test_timms_folder_gives_its_features(kind, files, tmp_path):
    model = timms(kind, tmp_path / "timm")
    run = import_weights("timm", tmp_path / "timm", out=tmp_path / "run")
    channels = TIMMS[kind][1].get("in_chans", 3)
    mean, std = (np.float32(v[:channels]) for v in ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6]))
    x, names = seen(files, mean, std, "RGB" if channels == 3 else "L")
    with torch.no_grad():
        expected = model.forward_head(model.forward_features(x), pre_logits=True)
    assert (run.size, run.record.info.channels) == (64, channels)
    said = run.record.imported
    classifier = "head" if "vit" in TIMMS[kind][0] else "fc"
    assert said["notes"] == [f"the classifier {classifier} was left out"]
    assert said["drawn anew"], "the heads of SimCLR"
    assert all(not name.startswith("encoder.") for name in said["drawn anew"])
    table = selfwise.embed(with_precision(run, "float32"), files)
    assert list(table.ids) == names
    assert far(expected, table.vectors) < 1e-5


def test_import_then_export_then_import(tmp_path):
    timms("vit", tmp_path / "timm")
    first = import_weights("timm", tmp_path / "timm", out=tmp_path / "first")
    export_run(first.folder, to="timm", out=tmp_path / "out")
    theirs, ours = (load_file(tmp_path / n / "model.safetensors") for n in ("timm", "out"))
    lost = {name for name in theirs if name.startswith("head.")}
    assert ours.keys() == theirs.keys() - lost
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    told = json.loads((tmp_path / "out" / "config.json").read_text())
    assert told["architecture"] == "vit_tiny_patch16_224"
    assert told["pretrained_cfg"]["mean"] == [0.1, 0.2, 0.3]
    assert told["pretrained_cfg"]["std"] == [0.4, 0.5, 0.6]
    again = import_weights("timm", tmp_path / "out", out=tmp_path / "again")
    assert again.record.encoder_name == first.record.encoder_name
    assert again.record.encoder_options == first.record.encoder_options
    one, two = (run.encoder.state_dict() for run in (first, again))
    assert all(torch.equal(one[name], two[name]) for name in one)


def torchvisions(file, **told):
    model = torchvision.models.resnet18(num_classes=7, **told).eval()
    spread(model)
    torch.save(model.state_dict(), file)
    return model


@pytest.mark.run
def test_torchvisions_file_gives_its_features_and_trains_further(files, tmp_path):
    model = torchvisions(tmp_path / "weights.pth")
    words = ["import", "torchvision", tmp_path / "weights.pth", "--encoder", "resnet18"]
    words += ["--image-size", "64", "--out", tmp_path / "run"]
    assert cli.main([str(word) for word in words]) == 0
    run = selfwise.load(tmp_path / "run")
    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    x, _ = seen(files, mean, std)
    model.fc = torch.nn.Identity()
    with torch.no_grad():
        expected = model(x)
    back = x * torch.from_numpy(std)[:, None, None] + torch.from_numpy(mean)[:, None, None]
    assert far(expected, run.encoder(back).pooled.detach()) < 1e-5
    assert run.record.option("encoder.stem") == "timm", "of 64 px it would be cifar"
    told = {"data": files, "init_from": run.folder, **QUICK, "steps": 4, "image_size": 64}
    more = selfwise.pretrain("rotation", out=tmp_path / "more", **told, lr=0.05)
    before, after = (r.encoder.state_dict() for r in (run, more))
    assert before.keys() == after.keys()
    moved = [n for n in before if not torch.equal(before[n], after[n])]
    assert len(moved) > 0.9 * len(before)
    still = selfwise.pretrain(
        "simclr", out=tmp_path / "still", **told | {"steps": 1}, lr=0.0, weight_decay=0.0
    )
    same = {n: w for n, w in still.encoder.state_dict().items() if "bn" not in n}
    assert all(torch.equal(before[n], w) for n, w in same.items() if "downsample.1" not in n)
    assert np.isfinite([float(w.double().sum()) for w in after.values()]).all()


def test_other_models_of_torchvision_by_timms_names():
    """Small ones of the same classes; only the names decide."""
    x, norm = torch.rand(2, 3, 32, 32), partial(torch.nn.LayerNorm, eps=1e-6)
    vit = VisionTransformer(32, 8, 2, 4, 32, 64, num_classes=5)
    theirs = timm.models.VisionTransformer(
        **{"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 4},
        mlp_ratio=2,
        num_classes=5,
        norm_layer=norm,
    )
    blocks = [CNBlockConfig(8, 16, 1), CNBlockConfig(16, 24, 1), CNBlockConfig(24, 32, 2)]
    convnext = ConvNeXt([*blocks, CNBlockConfig(32, None, 1)], num_classes=5)
    narrow = timm.models.ConvNeXt(num_classes=5, depths=(1, 1, 2, 1), dims=(8, 16, 24, 32))
    dense = torchvision.models.DenseNet(8, (2, 2), 16, num_classes=5)
    thin = timm.models.DenseNet(growth_rate=8, block_config=(2, 2), num_classes=5)
    thin.features.conv0 = torch.nn.Conv2d(3, 16, 7, 2, 3, bias=False)
    pairs = {"vit_b_16": (vit, theirs), "convnext_tiny": (convnext, narrow)}
    for name, (source, target) in pairs.items():
        spread(source)
        target.load_state_dict(rename_weights(name, source.state_dict()))
        with torch.no_grad():
            assert far(source.eval()(x), target.eval()(x)) < 1e-5
    old = {name.replace("conv1.", "conv.1."): w for name, w in dense.state_dict().items()}
    assert rename_weights("densenet121", old).keys() == dense.state_dict().keys()


def test_files_from_before_batch_norms_counted(tmp_path):
    model = torchvisions(tmp_path / "weights.pth")
    old = {n: w for n, w in model.state_dict().items() if "num_batches" not in n}
    assert add_batch_counters(old).keys() == model.state_dict().keys()
    torch.save(old, tmp_path / "old.pth")
    import_weights("torchvision", tmp_path / "old.pth", out=tmp_path / "run", encoder="resnet18")


class Evil:
    """What a pickle may do."""

    def __init__(self, proof: Path):
        self.proof = proof

    def __reduce__(self):
        return Path.touch, (self.proof,)


def refuse(words, message, capsys, out):
    """One sentence, exit code 2, nothing left behind."""
    assert cli.main([str(word) for word in [*words, "--out", out]]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not out.exists()


def test_no_pickle_is_loaded(tmp_path, capsys):
    proof, out = tmp_path / "executed", tmp_path / "new" / "run"
    weights = {"conv1.weight": torch.ones(2), "evil": Evil(proof)}
    torch.save(weights, tmp_path / "zip.pth")
    torch.save(weights, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    (tmp_path / "bare.pth").write_bytes(pickle.dumps(Evil(proof)))
    torch.save(torchvision.models.resnet18(), tmp_path / "module.pth")
    for name in ("zip.pth", "old.pt", "bare.pth", "module.pth"):
        for family in ("torchvision", "timm"):
            words = ["import", family, tmp_path / name, "--encoder", "resnet18"]
            refuse(
                words,
                "more than tensors and could run code; selfwise does not load it",
                capsys,
                out,
            )
    folder = tmp_path / "timm"
    folder.mkdir()
    (folder / "config.json").write_text('{"architecture": "resnet18"}')
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Evil(proof)))
    refuse(["import", "timm", folder], "a pickle that could run code", capsys, out)
    assert not proof.exists()
    assert not out.parent.exists()


@pytest.mark.parametrize("damage", ["empty", "words", "half", "flipped", "old", "safetensors"])
def test_broken_files(damage, tmp_path, capsys):
    good = tmp_path / "good.pth"
    torch.save({"conv1.weight": torch.rand(64, 3, 7, 7)}, good)
    whole = good.read_bytes()
    middle = len(whole) // 2
    flipped = whole[:40] + bytes(b ^ 0xFF for b in whole[40:400]) + whole[400:]
    torch.save({"a": torch.rand(3)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    old = (tmp_path / "old.pth").read_bytes()[:150]
    contents = {
        "old": old,
        "empty": b"",
        "words": b"weights?",
        "half": whole[:middle],
        "flipped": flipped,
    }
    file = tmp_path / ("bad.safetensors" if damage == "safetensors" else "bad.pth")
    file.write_bytes(contents.get(damage, b"\xff" * 99))
    words = ["import", "torchvision", file, "--encoder", "resnet18"]
    refuse(words, "bad.", capsys, tmp_path / "run")


def test_weights_of_another_shape_are_listed(tmp_path, capsys):
    out = tmp_path / "run"
    torchvisions(tmp_path / "r18.pth")
    words = ["import", "torchvision", tmp_path / "r18.pth", "--encoder"]
    message = "weights do not fit: the first three are layer1.0.bn3.bias absent ("
    refuse([*words, "resnet50"], message, capsys, out)
    message = "layer1.2.bn1.bias absent (expected [64]), layer1.2.bn1.num_batches_tracked absent"
    refuse([*words, "resnet34"], message, capsys, out)
    timms("vit", tmp_path / "vit")
    words = ["import", "timm", tmp_path / "vit", "--image-size", "32"]
    message = "1 weight does not fit: pos_embed [1, 17, 48] (expected [1, 5, 48])"
    refuse(words, message, capsys, out)
    told = json.loads((tmp_path / "vit" / "config.json").read_text())
    told["model_args"]["embed_dim"] = 24
    (tmp_path / "vit" / "config.json").write_text(json.dumps(told))
    message = "the first three are blocks.0.attn.proj.bias [48] (expected [24]), blocks.0."
    refuse(words[:3], message, capsys, out)


def test_other_mistakes_get_one_sentence(files, tmp_path, capsys):
    out, folder = tmp_path / "run", tmp_path / "timm"
    timms("resnet", folder)
    file = folder / "model.safetensors"
    (tmp_path / "weights.bin").write_bytes(b"x")
    torch.save({"model": {"a": torch.ones(1)}, "epoch": 3}, tmp_path / "wrapped.pth")
    torch.save({}, tmp_path / "nothing.pth")
    torch.save({"conv1.weight": torch.rand(64, 4, 7, 7)}, tmp_path / "four.pth")
    torch.save({0: torch.ones(1), "a": torch.ones(1)}, tmp_path / "int.pth")
    torch.save({"conv1.weight": torch.ones(1)}, tmp_path / "flat.pth")
    hf = tmp_path / "hf"
    hf.mkdir()
    (hf / "config.json").write_text('{"model_type": "beit"}')
    save_file({"a": torch.ones(1)}, hf / "model.safetensors")
    one = ["--encoder", "resnet18"]
    for words, message in (
        (["timn", folder], "unknown family 'timn'; did you mean 'timm'?"),
        (
            ["timm", file],
            "has weights without a config.json: give timm's name of the model with --encoder",
        ),
        (["timm", file, "--encoder", "resnet81"], "unknown encoder 'resnet81'; did you mean"),
        (["timm", folder, "--encoder", "resnet50"], "holds resnet18: leave out --encoder"),
        (["timm", hf], "names no architecture, so it is not a timm config (Hugging Face's beit?)"),
        (["timm", tmp_path / "gone.pth", *one], "there is no file"),
        (["timm", tmp_path / "weights.bin", *one], "must end in .safetensors, .pth or .pt"),
        (["timm", tmp_path / "wrapped.pth", *one], "it holds model, epoch"),
        (["timm", tmp_path / "nothing.pth", *one], "it holds nothing"),
        (["timm", tmp_path / "int.pth", *one], "saved alone: it holds 0, a"),
        (["timm", tmp_path / "flat.pth", *one], "weights do not fit: the first three are"),
        (
            ["timm", tmp_path / "four.pth", *one],
            "images of 4 channels, but images in selfwise have 1 or 3",
        ),
        (["torchvision", file], "give torchvision's name of it"),
        (["torchvision", file, "--encoder", "resnet81"], "cannot be imported; did you mean"),
        (["torchvision", file, "--encoder", "alexnet"], "choose one of resnet18, resnet34"),
        (["timm", folder, "--method", "simcrl"], "simclr"),
        (["timm", folder, "--method", "bert"], "--method bert is for text"),
        (["timm", folder, "--method", "beit"], "then run `pretrain beit --init-from RUN`"),
        (["timm", folder, "--tokenizer", "x"], "--tokenizer is for text"),
        (["beit", folder, "--image-size", "32"], "--image-size is for timm and torchvision"),
    ):
        refuse(["import", *words], message, capsys, out)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "mine.txt").write_text("keep me")
    words = ["import", "timm", folder, "--out", tmp_path / "there"]
    assert cli.main([str(word) for word in words]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["mine.txt"]


WRONG = {
    "model_args": [[1], "abc"],
    "pretrained_cfg": [None, [1]],
    "input_size": [32, [3, 64], [3, 64, None], [3, 64, -64]],
    "img_size": ["abc", [], 0, 10**400],
    "in_chans": ["3", [3]],
    "mean": ["abc", [None, 1, 1], [0.1, 0.2], [float("nan"), 0, 0], [10**400, 0, 0]],
    "std": [1, [1, 0, 1], [1]],
}
OURS = {
    "self",
    "stem",
    "normalize",
    "color_space",
    *signature(image_encoders.build_image_encoder).parameters,
} - {"options"}


@pytest.mark.parametrize("field", [*WRONG, *sorted(OURS)])
def test_a_config_is_not_trusted(field, tmp_path, capsys):
    folder = tmp_path / "timm"
    timms("resnet", folder)
    good = json.loads((folder / "config.json").read_text())
    for value in WRONG.get(field, [1]):
        told = json.loads(json.dumps(good))
        inside = field in OURS or field in ("img_size", "in_chans")
        level = told["model_args"] if inside else told["pretrained_cfg"]
        (told if field in told else level)[field] = value
        (folder / "config.json").write_text(json.dumps(told))
        message = f"config.json: {field} must be "
        message = f"config.json: model_args has {field!r}, which is" if field in OURS else message
        refuse(["import", "timm", folder], message, capsys, tmp_path / "run")


def test_methods_that_are_given_the_weights(files, tmp_path):
    timms("resnet", tmp_path / "timm")
    run = import_weights("timm", tmp_path / "timm", out=tmp_path / "run", method="rotation")
    assert run.record.method == "rotation"
    told = {"data": files, "init_from": run.folder, **QUICK, "image_size": 64}
    more = selfwise.pretrain("rotation", out=tmp_path / "more", **told)
    assert more.record.encoder_name == run.record.encoder_name
    assert more.record.encoder_options == run.record.encoder_options
    with pytest.raises(ValueError, match="was imported, so it has no training to resume"):
        selfwise.resume(run.folder)
