"""Colorization from pictures to a run folder: the prior, the lightness, the picture, mistakes."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from selfwise import embed, load, pretrain, probe
from selfwise.data.image import open_images
from selfwise.methods.colorization import SAMPLE, Colorization, PriorOptions, color_prior
from selfwise.methods.needs import PatchTargetOptions
from selfwise.modalities import find_modality
from selfwise.modalities.image.targets import learn_targets
from selfwise.modalities.modality import EncoderChoice, Opening
from selfwise.runs.build import open_newest
from selfwise.runs.pretrain_config import needs_class
from selfwise.runs.resume import pretrain_or_resume, resume
from selfwise.views.image.color_bins import smooth_prior
from selfwise.views.image.color_counts import count_colors
from selfwise.views.image.color_space import lab_to_rgb, lightness
from tests.helpers import unit_cases as cases

SHAPE = {"layers": [1, 1, 1, 1], "channels": [8, 8, 8, 8], "stem": "half"}
SMALL = {"encoder": "resnet18", "encoder_options": SHAPE}
TOLD = {**SMALL, "head_dim": 8, "batch_size": 8, "steps": 4, "save_every": 2, "keep_last": 9}
TOLD |= {"cpu_threads": 1, "quiet": True, "monitor_every": 2, "precision": "float32"}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SELFWISE_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return cases.pictures(tmp_path_factory.mktemp("images") / "pictures", 12)


@pytest.fixture(scope="module")
def run(pictures, tmp_path_factory):
    return pretrain("colorization", data=pictures, out=tmp_path_factory.mktemp("r") / "run", **TOLD)


def kept_prior(folder: Path) -> torch.Tensor:
    """The prior that a run folder has."""
    return load_file(folder / "needs.safetensors")["prior"]


def test_the_run_folder_says_what_was_seen_and_counted(run):
    told = yaml.safe_load((run.folder / "run.yaml").read_text())
    assert told["config"]["encoder"] == told["resolved"]["encoder"]["value"] == "resnet18"
    assert run.record.chosen_encoder_options == {**SHAPE, "color_space": "lightness"}
    assert told["resolved"]["encoder.color_space"] == {"value": "lightness", "source": "method"}
    assert told["resolved"]["prior"] == {"value": "images", "source": "default"}
    assert told["needs"]["prior"] == {"of": "images", "read": 12, "gray": 0}
    assert run.encoder.color_space == "lightness"
    assert run.build_untrained(0).color_space == "lightness"
    kept = kept_prior(run.folder)
    assert (kept.shape, kept.dtype) == ((313,), torch.float32)
    assert kept.sum() == pytest.approx(1, abs=1e-5)
    assert torch.equal(load(run.folder).method.rarity, run.method.rarity)
    looks = [line for line in cases.logged(run.folder) if "color_error" in line]
    assert [line["step"] for line in looks] == [2, 4]
    assert Image.open(run.folder / "colors.png").size == (12 * 96 + 13 * 4, 3 * 96 + 4 * 4)


def test_a_run_goes_on_as_if_it_had_not_stopped(run, pictures, tmp_path):
    again = pretrain("colorization", data=pictures, out=tmp_path / "again", **TOLD).folder
    whole = cases.weights(again)
    assert whole == cases.weights(run.folder)
    shutil.rmtree(again / "checkpoints" / "step-00000004")
    prior = (again / "needs.safetensors").read_bytes()
    resume(again, quiet=True)
    assert cases.weights(again) == whole
    assert (again / "needs.safetensors").read_bytes() == prior
    assert pretrain_or_resume("colorization", data=pictures, out=again, **TOLD).step == 4


def test_its_encoder_sees_no_colors_when_it_is_used(run, pictures, tmp_path):
    files = sorted(pictures.rglob("*.png"))
    x = torch.stack([torch.from_numpy(np.array(Image.open(f))) for f in files]).permute(0, 3, 1, 2)
    black = lab_to_rgb(torch.cat([lightness(x / 255), torch.zeros(len(x), 2, 16, 16)], dim=1))
    with torch.no_grad():
        gray = run.encoder.eval()(black).pooled
    assert np.abs(embed(run, pictures).vectors - gray.numpy()).max() < 1e-3
    score = probe(run, train=pictures, test=pictures, seeds=1, kind="knn", quiet=True)
    assert score


def test_a_prior_of_a_file_is_taken_as_it_is(pictures, tmp_path):
    prior = np.random.default_rng(0).dirichlet(np.ones(313))
    np.save(tmp_path / "prior.npy", 5 * prior)
    told = {**TOLD, "prior": str(tmp_path / "prior.npy"), "steps": 1}
    run = pretrain("colorization", data=pictures, out=tmp_path / "run", **told)
    np.testing.assert_allclose(kept_prior(run.folder), prior, rtol=1e-5)
    assert run.record.needs["prior"] == {"of": "prior.npy"}
    (tmp_path / "prior.npy").unlink()
    found = load(run.folder)
    assert found.record.option("prior") == str(tmp_path / "prior.npy")
    assert torch.equal(found.method.rarity, run.method.rarity)


def test_the_prior_is_a_function_of_the_images(pictures):
    one, same = opened(pictures), opened(pictures)
    assert torch.equal(one.inputs["prior"], same.inputs["prior"])
    assert torch.equal(one.inputs["prior"], color_prior(one, PriorOptions()).value)
    few = replace(one, images=one.images.take(np.arange(3)))
    assert not torch.equal(one.inputs["prior"], color_prior(few, PriorOptions()).value)
    counted = count_colors(one.sample(SAMPLE, purpose="colors"))
    assert torch.equal(one.inputs["prior"], smooth_prior(counted.counts).float())


def opened(pictures):
    """The images as a run opens them."""
    modality, kind = find_modality("image"), Colorization
    choice = EncoderChoice("resnet18", modality.find_encoder_options("resnet18")())
    opening = Opening(method=kind, encoder=choice, open_run=open_newest, needs=needs_class(kind)())
    examples = modality.read_data(pictures, modality.reading(), opening.method)
    return modality.open_data(examples, modality.reading(), opening)


def test_units_may_be_clusters_of_what_a_colorization_has_learned(run, pictures):
    options = PatchTargetOptions(targets=str(run.folder), num_clusters=4, target_layer=2)
    told = {"size": 16, "patch": 4, "open_run": open_newest}
    units = learn_targets(open_images(pictures), options, **told)
    assert units.units(torch.rand(2, 3, 16, 16)).shape == (2, 16)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"channels": 1}, ("colors", "1 channel", "--channels 1")),
        (
            {"encoder_options": {**SHAPE, "color_space": "color"}},
            ("--encoder.color-space lightness",),
        ),
        ({"encoder_options": {**SHAPE, "color_space": "grey"}}, ("'grey'", "lightness")),
        ({"encoder": "beit-tiny", "encoder_options": {}}, ("beit-tiny", "resnet18")),
        ({"prior": "nothing.npy"}, ("--prior", "images", "nothing.npy")),
        ({"prior": "short.npy"}, ("313", "(300,)")),
        ({"prior": "below.npy"}, ("frequencies",)),
        ({"prior": "object.npy"}, ("not an npy file of plain numbers",)),
        ({"prior": "archive.npz"}, ("313", "an archive")),
        ({"stages": 6}, ("stages", "at most 5")),
    ],
)  # fmt: skip
def test_mistakes_have_a_sentence(changed, words, pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("short.npy", np.ones(300))
    np.save("below.npy", -np.ones(313))
    np.save("object.npy", np.array([{}]), allow_pickle=True)
    np.savez("archive.npz", np.ones(313))
    with pytest.raises(ValueError, match=re.escape(words[0])) as caught:
        pretrain("colorization", data=pictures, out=tmp_path / "run", **{**TOLD, **changed})
    assert all(word in str(caught.value) for word in words), caught.value
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run" / "run.yaml").exists()


@pytest.mark.parametrize("mode", ["L", "L as RGB"])
def test_gray_images_are_refused(mode, tmp_path):
    folder = cases.pictures(tmp_path / "gray", 4, mode="L")
    if mode != "L":
        for file in folder.rglob("*.png"):
            Image.open(file).convert("RGB").save(file)
    with pytest.raises(ValueError, match="all 4 images are gray"):
        pretrain("colorization", data=folder, out=tmp_path / "run", **TOLD)


def test_a_prior_is_no_option_of_other_methods(pictures, tmp_path):
    told = {n: v for n, v in TOLD.items() if n != "head_dim"}
    with pytest.raises(ValueError, match="unknown option prior"):
        pretrain("simclr", data=pictures, out=tmp_path / "run", **told, prior="images")
