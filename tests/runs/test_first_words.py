"""What a run says before its first step, also in a pipe."""

import re

import numpy as np
import pytest
from PIL import Image

import selfwise
from selfwise.cli import main as cli

SMALL = {
    "encoder": "resnet18",
    "encoder_options": {"layers": [1, 1, 1, 1], "channels": [4, 4, 8, 8]},
}
SMALL |= {"steps": 2, "batch_size": 8, "cpu_threads": 1, "precision": "float32", "device": "cpu"}


def photos(root, n=12):
    random = np.random.default_rng(0)
    for folder, count in (("", n), (".thumbs", 1)):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            picture = random.integers(0, 256, (20, 24, 3), dtype=np.uint8)
            Image.fromarray(picture).save(root / folder / f"{i}.png")
    (root / "broken.png").write_bytes(b"no picture")
    (root / "notes.txt").write_text("none")
    return root


def first_words(capsys):
    """The block before the first step, by name."""
    lines = capsys.readouterr().err.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("selfwise pretrain "))
    found, name = {}, ""
    for line in lines[start + 1 :]:
        if not line.startswith("  "):
            break
        name = line[2:14].strip() or name
        found.setdefault(name, []).append(line[14:])
    return found


@pytest.mark.run  # training
def test_images(tmp_path, capsys):
    out = tmp_path / "run"
    run = selfwise.pretrain(
        "simclr", data=photos(tmp_path / "photos"), out=out, skip_broken=True, **SMALL
    )
    said = first_words(capsys)
    assert said["data"][0] == str(tmp_path / "photos")
    assert said["data"][1].startswith("12 images of 20 px")
    assert "1 hidden entry" in said["data"][2]
    assert ".txt 1" in said["data"][2]
    assert said["data"][3] == "skipped: 1 broken file, in broken.txt"
    count = sum(p.numel() for p in run.encoder.parameters())
    assert said["encoder"][0].startswith(f"resnet18, {count:,} parameters")
    assert said["training"][0].startswith("2 steps of 8 examples")
    assert said["machine"] == ["cpu, float32, 1 thread, 0 data workers"]
    assert re.fullmatch(r"about \d+:\d\d", said["time"][0])
    assert said["run folder"] == [str(out)]
    assert "--encoder.stem timm" in said["export"][0]


@pytest.mark.run  # training
def test_quiet_prints_nothing(tmp_path, capfd):
    data = photos(tmp_path / "photos")
    selfwise.pretrain(
        "simclr", data=data, out=tmp_path / "run", skip_broken=True, quiet=True, **SMALL
    )
    assert capfd.readouterr() == ("", "")


@pytest.mark.run  # training
def test_embed_and_probe_leave_out_what_the_run_left_out(tmp_path, capsys):
    data = photos(tmp_path / "photos")
    out = tmp_path / "run"
    selfwise.pretrain("simclr", data=data, out=out, skip_broken=True, quiet=True, **SMALL)
    table = selfwise.embed(out, data)
    assert len(table.ids) == 12
    assert "1 image cannot be read and is left out, such as broken.png" in capsys.readouterr().err
    (data / "other.png").write_bytes(b"no picture either")
    with pytest.raises(ValueError, match=r"other.png.*broken.txt does not list it.*--skip-broken"):
        selfwise.embed(out, data)


@pytest.mark.run  # training
def test_embeddings_are_in_float32_unless_asked(tmp_path, capsys):
    out = tmp_path / "run"
    options = {**SMALL, "precision": "bf16", "defaults": "paper"}
    selfwise.pretrain("simclr", data="digits:test", out=out, quiet=True, **options)
    exact, asked = (
        selfwise.embed(out, "digits:test"),
        selfwise.embed(out, "digits:test", precision="bf16"),
    )
    assert 0 < np.abs(exact.vectors - asked.vectors).max() < 0.1
    line = ["embed", out, "--data", "digits:test", "--out", tmp_path / "vectors.npz"]
    assert cli.main([str(word) for word in line]) == 0
    assert "computed in float32" in capsys.readouterr().out
    assert (
        cli.main([str(word) for word in [*line[:-1], tmp_path / "b.npz", "--precision", "fp16"]])
        == 2
    )
    assert "float32 or bf16" in capsys.readouterr().err
