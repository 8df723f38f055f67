"""The card beside an export: its Python gives our features, and what it says is true."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from markdown_it import MarkdownIt
from PIL import Image

import selfwise
from selfwise.cli import main as cli
from selfwise.runs.run_yaml import Choice, RunRecord, read_record, write_record
from selfwise.workflows.export import export_run
from selfwise.workflows.import_export.model_card import to_markdown
from selfwise.workflows.import_weights import import_weights
from tests.helpers.audio_cases import noise
from tests.helpers.exchange_cases import (
    IMAGE_RUNS,
    QUICK,
    blocks,
    far,
    filled,
    image_run,
    photographs,
    spread,
)
from tests.helpers.text_cases import randomise

HOSTILE = (
    "<img src=x onerror=alert(1)> [a](javascript:b) *c* _d_ | www.evil.example & @e `f` \u202eg"
)
SAYS = ["How to load the model", "Inputs", "Training", "Scores", "Licenses"]


def rendered(text):
    """The card as HTML, addresses made links as GitHub does."""
    return MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(text)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Photographs in a folder whose name wants to be more than a name, one folder for a class."""
    home = tmp_path_factory.mktemp("files") / HOSTILE
    for name in ("a", "b"):
        photographs(home / name, 6, short=32, long=50)
    return home


@pytest.fixture(scope="module")
def run(files, tmp_path_factory):
    """A run with a score."""
    made = image_run("resnet small", tmp_path_factory.mktemp("runs") / "small", files)
    told = {"train": files, "test": files, "seeds": 1, "kind": "knn", "quiet": True}
    selfwise.probe(made, **told)
    return made


@pytest.fixture(scope="module")
def told(run, tmp_path_factory):
    """Its card."""
    out = tmp_path_factory.mktemp("cards") / "out"
    export_run(run.folder, to="safetensors", out=out)
    return (out / "README.md").read_text()


def executed(folder, monkeypatch, **instead):
    """What the blocks of the folder's card find: one after the other, each `features` of them."""
    monkeypatch.chdir(folder)
    names, found = {}, []
    for block in blocks((folder / "README.md").read_text()):
        for old, new in instead.items():
            block = block.replace({"image": 'Image.new("RGB", (300, 200))', **PLACES}[old], new)
        names.pop("features", None)
        exec(block, names)
        assert not getattr(names.get("model"), "training", False), "features would be of training"
        found += [np.asarray(names["features"])] if "features" in names else []
    return found


PLACES = {
    "text": '"a text"',
    "waves": "np.random.randn(2, 16000).astype(np.float32)",
    "tensor": "torch.randn(2, 16000)",
    "wave": "torch.randn(16000).numpy()",
}


@pytest.mark.run
@pytest.mark.parametrize(
    ("kind", "form", "ways"),
    [
        ("resnet small", "onnx", 1),
        ("resnet small", "safetensors", 2),
        ("resnet half", "safetensors", 2),
        ("resnet lightness", "safetensors", 2),
        ("resnet normalised", "safetensors", 2),
        ("resnet normalised", "timm", 1),
        ("resnet gray", "timm", 1),
        ("vit", "safetensors", 2),
        ("beit pooled", "safetensors", 1),
        ("beit", "hf", 1),
        ("beit pooled", "hf", 1),
        ("method beit", "hf", 1),
    ],
)
def test_its_python_finds_our_features(kind, form, ways, run, runs, files, tmp_path, monkeypatch):
    if kind == "method beit":
        monkeypatch.setenv("SELFWISE_CACHE", str(tmp_path / "cache"))
        asked = {**QUICK, **IMAGE_RUNS["beit"][0], "num_clusters": 8, "image_size": 32}
        run = filled(selfwise.pretrain("beit", data=files, out=tmp_path / "run", **asked))
    elif kind != "resnet small":
        run = runs(kind)
    export_run(run.folder, to=form, out=tmp_path / "out")
    expected = selfwise.embed(run, files).vectors
    found: list = [[] for _ in range(ways)]
    paths = [files / name for name in selfwise.embed(run, files).ids][:4]
    for path in paths:
        for way, features in enumerate(executed(tmp_path / "out", monkeypatch, image=str_of(path))):
            found[way].append(features[0])
    assert all(far(expected[:4], np.stack(rows)) < 1e-4 for rows in found)


def str_of(path):
    return f"Image.open({str(path)!r})"


@pytest.mark.run
def test_its_python_reads_large_and_odd_pictures_too(tmp_path, monkeypatch):
    """Shrunk when read, cut to 3:1, turned, transparent, gray."""
    odd = photographs(tmp_path / "odd", 2, short=700, long=1000)
    whole = Image.open(odd / "0.png")
    whole.resize((1200, 300)).save(odd / "long.png")
    turned = Image.Exif()
    turned[274] = 8
    whole.resize((400, 1500)).save(odd / "high.jpg", exif=turned)
    whole.save(odd / "turned.tif", exif=turned)
    whole.putalpha(whole.convert("L"))
    whole.save(odd / "clear.png")
    whole.convert("P").save(odd / "palette.gif", transparency=3)
    whole.convert("L").save(odd / "gray.jpg")
    for size in ((473, 313), (498, 329)):  # whose boxes would begin 1e-14 outside
        whole.convert("RGB").resize(size).save(odd / f"{size[0]}.jpg")
    run = image_run("resnet", tmp_path / "run", odd)
    export_run(run.folder, to="safetensors", out=tmp_path / "out")
    table = selfwise.embed(run, odd)
    rows = [
        executed(tmp_path / "out", monkeypatch, image=str_of(odd / name))[0] for name in table.ids
    ]
    assert len(rows) == 10
    assert far(table.vectors, np.concatenate(rows)) < 1e-4


@pytest.mark.run
def test_of_text_and_speech(tmp_path, monkeypatch):
    monkeypatch.setenv("SELFWISE_CACHE", str(tmp_path / "cache"))
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n\n".join(f"The sea was calm, {i} boats went out." for i in range(40)))
    encoder = {"encoder": "gpt-tiny", "encoder_options": {"dim": 32, "heads": 2, "depth": 2}}
    told = {**QUICK, **encoder, "tokenizer": "bpe:300", "max_length": 32, "val_fraction": 0.0}
    told["documents"] = "blank"
    run = filled(selfwise.pretrain("gpt", data=corpus, out=tmp_path / "gpt", **told), randomise)
    texts = ["The sea [SEP] was calm", "seven boats " * 40]
    expected = selfwise.embed(run, texts).vectors
    export_run(run.folder, to="safetensors", out=tmp_path / "gpt-safetensors")
    found = [
        executed(tmp_path / "gpt-safetensors", monkeypatch, text=repr(text))[0][0] for text in texts
    ]
    assert far(expected, np.stack(found)) < 1e-5
    waves = tmp_path / "waves"
    waves.mkdir()
    for i in range(6):
        soundfile.write(waves / f"{i}.wav", 3 * noise(9_000, seed=i)[:, 0], 16_000)
    encoder = {
        "encoder": "hubert-tiny",
        "encoder_options": {"depth": 1, "dim": 32, "heads": 2, "stem_dim": 16},
    }
    told = {
        **encoder,
        "num_clusters": 4,
        "val_fraction": 0.0,
        "batch_seconds": 4.0,
        "max_clip_seconds": 2.0,
    }
    told |= {name: value for name, value in QUICK.items() if name != "batch_size"}
    run = selfwise.pretrain("hubert", data=waves, out=tmp_path / "hubert", **told)
    expected = selfwise.embed(run, waves).vectors
    places = {"safetensors": "tensor", "hf": "wave"}
    for form, place in places.items():
        export_run(run.folder, to=form, out=tmp_path / form)
        rows = []
        for path in sorted(waves.iterdir()):
            read = f'__import__("soundfile").read({str(path)!r}, dtype="float32")[0]'
            read = f"torch.from_numpy({read}[None])" if place == "tensor" else read
            rows += list(executed(tmp_path / form, monkeypatch, **{place: read})[-1])
        assert np.abs(np.stack(rows) - expected).max() < 1e-5


def test_what_it_says(run, told, tmp_path):
    assert [line[3:] for line in told.splitlines() if line.startswith("## ")] == SAYS
    assert told.startswith("# resnet18, pre-trained with simclr, for safetensors\n")
    assert "SimCLR (Chen et al. 2020, arXiv:2002.05709)" in told
    for fact in (
        "- steps: 2 of 1",
        f"- SHA-256 of the run's weights: {run.weights}",
        f"- data fingerprint: {run.record.info.fingerprint}",
        "examples 12, channels 3, size 32, classes 2",
        "layers \\[1, 1, 1, 1\\], channels \\[8, 8, 16, 16\\]",
        f"torch {torch.__version__.partition('+')[0]}",
        "- the code of selfwise: Apache License 2.0",
        "batch_size 8",
        "the central square with all of the shorter side, resized once to 32 px",
    ):
        assert fact in told, fact
    assert str(run.folder.parent) not in told
    assert os.path.expanduser("~") not in told
    (file,) = (run.folder / "scores").glob("*.json")
    score = json.loads(file.read_text())
    assert "nearest neighbours, in percent ± deviation, 12 test examples of " in told
    for row in score["rows"]:
        assert row["competitor"] in told
        assert f"{100 * row['mean']:.1f}" in told
    again = selfwise.load(run.folder)
    export_run(
        filled(again, lambda m: spread(m, 1)).folder, to="safetensors", out=tmp_path / "later"
    )
    text = (tmp_path / "later" / "README.md").read_text()
    assert "Not measured yet" in text, "the score is of weights that are no more"


def test_names_cannot_say_more_than_names(told):
    page = rendered(told)
    shown = page.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    name = HOSTILE.replace("\u202e", "\N{REPLACEMENT CHARACTER}")
    assert shown.count(name) >= 2, "of the data, and of what was measured"
    for forbidden in ("<img", "<a ", "<em>", "onerror=alert(1)>[", "\u202e"):
        assert forbidden not in page
    assert "www.evil" not in told, "which GitHub would make a link"
    for value in ("__a__", "_a_ b", "a\n# b", "1 < 2 && 3", "https://x.y", "\x1b[31m", "![i](j)"):
        line = rendered(f"- data: {to_markdown(value)}")
        assert line.startswith("<ul>\n<li>data: ")
        assert "<" not in line.removeprefix("<ul>\n<li>").removesuffix("</li>\n</ul>\n")
        assert "\x1b" not in line


@pytest.mark.run
def test_where_weights_began(run, files, tmp_path):
    export_run(run.folder, to="safetensors", out=tmp_path / "given")
    weights = tmp_path / "given" / "model.safetensors"
    told = {"image_size": 32, **QUICK}
    zero = {**told, **IMAGE_RUNS["resnet"][0]}
    other = selfwise.pretrain("simclr", data=files, out=tmp_path / "other", **zero)
    export_run(other.folder, to="timm", out=tmp_path / "published")
    first = import_weights("timm", tmp_path / "published", out=tmp_path / "first")
    export_run(first.folder, to="timm", out=tmp_path / "again")
    text = (tmp_path / "again" / "README.md").read_text()
    assert text.startswith("# resnet18, imported and not trained, for timm\n")
    assert "arXiv" not in text
    assert "- steps" not in text
    assert "- weights imported from published (timm)" in text
    assert "began as imported weights, whose license applies to them too" in text
    told |= {"data": files, "init_from": first.folder}
    second = selfwise.pretrain("simclr", out=tmp_path / "second", **told)
    export_run(second.folder, to="timm", out=tmp_path / "third")
    text = (tmp_path / "third" / "README.md").read_text()
    assert text.startswith("# resnet18, pre-trained with simclr, for timm\n")
    assert "- started from the run first\n- weights imported from published (timm)" in text
    assert "began as the weights of an earlier run, whose license" in text
    record = read_record(second.folder)
    write_record(second.folder, with_option(record, "init_from", str(tmp_path / "gone")))
    export_run(second.folder, to="timm", out=tmp_path / "fourth")
    text = (tmp_path / "fourth" / "README.md").read_text()
    assert (
        "- started from the run gone, whose folder no longer exists: its data are unknown" in text
    )
    told |= {"init_from": other.folder}
    fifth = selfwise.pretrain("simclr", out=tmp_path / "fifth", **told)
    export_run(fifth.folder, to="timm", out=tmp_path / "sixth")
    text = (tmp_path / "sixth" / "README.md").read_text()
    assert f"- started from the run other, simclr on {to_markdown(str(files))}\n" in text
    assert weights.stat().st_mode & 0o044 == config_mode(tmp_path)


def with_option(record: RunRecord, name: str, value: str) -> RunRecord:
    return replace(record, resolved={**record.resolved, name: Choice(value, "user")})


def config_mode(folder):
    """What a new file may be read by."""
    (folder / "new").touch()
    return (folder / "new").stat().st_mode & 0o044


def test_precision_is_told_where_embed_has_another(run, tmp_path):
    record = read_record(run.folder)
    write_record(run.folder, with_option(record, "precision", "bf16"))
    try:
        out = str(tmp_path / "out")
        words = ["export", str(run.folder), "--to", "safetensors", "--out", out]
        assert cli.main(words) == 0
        assert (
            "computes the features of this run in bf16"
            in (tmp_path / "out" / "README.md").read_text()
        )
    finally:
        write_record(run.folder, record)
