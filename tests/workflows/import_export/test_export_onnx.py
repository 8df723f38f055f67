"""Runs as ONNX: onnxruntime finds what we find, in files read as preprocessing.json says."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

import selfwise
from selfwise.cli import main as cli
from selfwise.core.types import ImageBatch
from selfwise.data.image.decode import decode_file
from selfwise.encoders.image import TimmEncoder
from selfwise.interop.image_preprocessing import describe_preprocessing
from selfwise.views.image.augment import evaluation_view
from selfwise.workflows.export import export_run
from tests.helpers.exchange_cases import QUICK, far, filled, image_run, photographs
from tests.helpers.text_cases import randomise

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

BICUBIC = Image.Resampling.BICUBIC
BATCHES = (1, 3, 7)
TEXTS = ["The old sea was calm.", "a", "An island [SEP] far out, " * 30, "Boats; green ones."]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Photographs of sides that have to be resized."""
    return photographs(tmp_path_factory.mktemp("files") / "photos", short=130, long=197)


def as_told(path: Path, told: dict) -> np.ndarray:
    """A file as preprocessing.json wants it, with nothing but numpy and Pillow.

    Of pictures that need no shrinking and have nothing transparent.
    """
    image = Image.open(path).convert("RGB")
    assert min(image.size) <= told["decode"]
    assert max(image.size) <= told["longest"] * min(image.size)
    image = ImageOps.exif_transpose(image.convert("RGB" if told["channels"] == 3 else "L"))
    side = round(min(image.size) * told["crop_fraction"])
    left, top = (round((whole - side) / 2) for whole in image.size)
    bands = image.crop((left, top, left + side, top + side)).split()
    planes = [Image.fromarray(np.asarray(band).astype(np.float32)) for band in bands]
    small = [np.asarray(p.resize((told["size"], told["size"]), BICUBIC)) for p in planes]
    assert (told["mean"], told["std"]) == ([0.0] * len(bands), [1.0] * len(bands))
    return np.clip(np.stack(small) / 255, 0, 1).astype(np.float32)


@pytest.mark.run
@pytest.mark.parametrize("kind", ["resnet", "resnet lightness", "vit"])
def test_features_of_files(kind, files, runs, tmp_path, capfd):
    run = runs(kind)
    out = tmp_path / "onnx"
    capfd.readouterr()
    assert cli.main(["export", str(run.folder), "--to", "onnx", "--out", str(out)]) == 0
    assert capfd.readouterr() == (f"Wrote {run.folder} as onnx to {out}\n", "")
    assert sorted(p.name for p in (tmp_path / "onnx").iterdir()) == (
        ["README.md", "model.onnx", "preprocessing.json"]
    )
    told = json.loads((tmp_path / "onnx" / "preprocessing.json").read_text())
    table = selfwise.embed(run, files)
    x = np.stack([as_told(files / name, told) for name in table.ids])
    session = onnxruntime.InferenceSession(tmp_path / "onnx" / "model.onnx")
    for batch in BATCHES:
        tokens, pooled = session.run(["tokens", "pooled"], {told["input"]: x[:batch]})
        assert len(tokens) == batch
        if batch > 1:
            assert far(table.vectors[:batch], pooled) < 1e-4
    with torch.no_grad():
        assert far(run.encoder(torch.from_numpy(x[:7])).tokens, tokens) < 1e-4


@pytest.mark.parametrize("size", [224, 96, 32])
def test_preprocessing_is_that_of_our_evaluation(size, files):
    for channels in (3, 1):
        told = describe_preprocessing(size, channels, 256)
        for path in sorted(files.iterdir())[:4]:
            x = torch.from_numpy(decode_file(path, channels, 256))[None]
            batch = ImageBatch(x, torch.zeros(1, dtype=torch.int64))
            fraction = 0.875 if size > 64 else 1.0
            expected = evaluation_view(batch, size, fraction=fraction)[0].numpy()
            assert np.abs(as_told(path, told) - expected).max() < 1e-5


@pytest.mark.run
def test_features_of_cifar_files(real_data, tmp_path):
    cats = real_data / "CIFAR-10-images" / "test" / "cat"
    some = tmp_path / "cats"
    some.mkdir()
    for path in sorted(cats.iterdir())[:24]:
        (some / path.name).symlink_to(path)
    run = image_run("resnet small", tmp_path / "run", some)
    export_run(run.folder, to="onnx", out=tmp_path / "onnx")
    table = selfwise.embed(run, some)
    x = np.stack([np.asarray(Image.open(some / name).convert("RGB")) for name in table.ids])
    x = x.transpose(0, 3, 1, 2).astype(np.float32) / 255
    session = onnxruntime.InferenceSession(tmp_path / "onnx" / "model.onnx")
    assert far(table.vectors, session.run(["pooled"], {"x": x})[0]) < 1e-4


@pytest.mark.run
def test_features_of_texts(tmp_path):
    """Of BERT, whose texts stand between two tokens, and of GPT, whose do not."""
    from tokenizers import Tokenizer

    corpus, asked = tmp_path / "corpus.txt", tmp_path / "asked.txt"
    corpus.write_text("\n\n".join(f"{t} {t.lower()} {i}" for i in range(20) for t in TEXTS))
    asked.write_text("\n".join(TEXTS))
    encoder = {"dim": 32, "heads": 2, "depth": 2}
    for method, kind in (("bert", "wordpiece:200"), ("gpt", "bpe:300")):
        told = {
            **QUICK,
            "encoder": f"{method}-tiny",
            "encoder_options": {**encoder},
            "tokenizer": kind,
        }
        told |= {"max_length": 32, "documents": "blank", "val_fraction": 0.0}
        run = selfwise.pretrain(method, data=corpus, out=tmp_path / method, **told)
        run = filled(run, randomise)
        export_run(run.folder, to="onnx", out=tmp_path / f"{method}-onnx")
        folder = tmp_path / f"{method}-onnx"
        told = json.loads((folder / "preprocessing.json").read_text())
        words = Tokenizer.from_file(str(folder / told["tokenizer"]))
        words.encode_special_tokens = True
        rows = [words.encode(text, add_special_tokens=False).ids for text in TEXTS]
        rows = [[*told["before"], *row[: told["most"]], *told["after"]] for row in rows]
        ids = np.full((len(rows), max(map(len, rows))), told["pad"])
        for i, row in enumerate(rows):
            ids[i, : len(row)] = row
        valid = np.arange(ids.shape[1]) < np.array([len(row) for row in rows])[:, None]
        session = onnxruntime.InferenceSession(folder / "model.onnx")
        (found,) = session.run(["pooled"], {"ids": ids, "valid": valid})
        assert ids.shape[1] == 32
        assert far(selfwise.embed(run, asked, window="first").vectors, found) < 1e-4
        (alone,) = session.run(["pooled"], {"ids": ids[1:2, :1], "valid": valid[1:2, :1]})
        assert alone.shape == (1, 32)


def branching(self, x):
    """What no trace can hold: the way depends on the values."""
    if x.sum() > 3:
        x = x + 1
    return TimmEncoder.forward_before(self, x)


def test_an_encoder_that_cannot_be_traced_is_named(runs, tmp_path, monkeypatch, capsys):
    run = runs("resnet gray")
    monkeypatch.setattr(TimmEncoder, "forward_before", TimmEncoder.forward, raising=False)
    monkeypatch.setattr(TimmEncoder, "forward", branching)
    out = tmp_path / "new" / "onnx"
    assert cli.main(["export", str(run.folder), "--to", "onnx", "--out", str(out)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "encoder resnet18 cannot be exported to ONNX: " in line
    assert "data-dependent" in line
    assert "--to safetensors writes any encoder" in line
    assert list(tmp_path.iterdir()) == []
