"""What units of images are filed by, how much they hold, and the picture of a resumed tokenizer."""

import shutil

import pytest
import torch

from selfwise.core.rng import Rng
from selfwise.data.image import open_images
from selfwise.evaluation.monitors.representation import RepresentationMonitor
from selfwise.methods.fsq import FSQ
from selfwise.methods.needs import PatchTargetOptions
from selfwise.modalities.image import targets
from selfwise.runs.build import open_newest
from selfwise.runs.create import pretrain
from selfwise.runs.resume import resume
from selfwise.runs.run_yaml import read_record
from tests.helpers import unit_cases as cases


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SELFWISE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def pictures(tmp_path):
    return cases.pictures(tmp_path / "pictures", 12)


def find(images, **changed):
    """`changed`: options of the targets, and the patch or longest side they are learned at."""
    told = {"size": 16, "patch": 4, "decode": 256}
    told |= {name: changed.pop(name) for name in ("patch", "decode") if name in changed}
    options = PatchTargetOptions(num_clusters=4, **changed)
    return targets.learn_targets(images, options, open_run=open_newest, **told)


def test_units_are_those_of_images_read_the_same_way(pictures):
    """In grey the files are the same ones, and so is what is known of them without reading."""
    colour, grey = open_images(pictures), open_images(pictures, channels=1)
    assert colour.fingerprint == grey.fingerprint
    assert find(colour).units.channels == 3
    assert find(grey).units.channels == 1
    assert find(colour, decode=12).folder != find(colour).folder == find(colour).folder


def test_codes_are_counted_on_the_runs_own_images(pictures, tmp_path):
    run = pretrain("fsq", data=pictures, out=tmp_path / "fsq", **cases.CODEC)
    told = {"targets": str(run.folder)}
    one, other = (find(open_images(pictures).take(torch.arange(n).numpy()), **told) for n in (1, 9))
    assert one.about["perplexity"] != other.about["perplexity"]
    x = torch.rand(2, 3, 16, 16)
    assert torch.equal(one.units(x), other.units(x))


def test_features_of_large_images_are_held_and_read_once(pictures, monkeypatch):
    images, read = open_images(pictures, cache="no"), []
    monkeypatch.setattr(targets, "MAX_FEATURE_BYTES", 5 * 3 * 16 * 16 * 4)
    original = targets.iterate_views

    def counted(images, rows, **told):
        read.extend(len(group) for group in rows)
        return original(images, rows, **told)

    monkeypatch.setattr(targets, "iterate_views", counted)
    find(images)
    assert read[:2] == [1, 5]  # one to know how large they are; then those of usage and picture
    assert len(read) == 4


def test_the_picture_of_a_tokenizer_is_there_after_a_resume(pictures, tmp_path):
    told = cases.CODEC | {"monitor_every": 0, "save_every": 2}
    folder = pretrain("fsq", data=pictures, out=tmp_path / "fsq", **told).folder
    shutil.rmtree(folder / "checkpoints" / "step-00000004")
    (folder / "reconstructions.png").unlink()
    resume(folder, quiet=True)
    assert (folder / "reconstructions.png").is_file()


@pytest.mark.run
def test_a_tokenizer_whose_steps_are_not_known_yet_is_not_looked_at_in_each(pictures, tmp_path):
    told = {**cases.CODEC, "monitor_every": 0, "log_every": 100, "epochs": 3}
    told.pop("steps")
    run = pretrain("fsq", data=pictures, out=tmp_path / "fsq", **told)
    looked = [line["step"] for line in cases.logged(run.folder) if "reconstruction_mse" in line]
    assert looked == [read_record(run.folder).steps]
    assert looked[0] > 1


def test_health_makes_no_views_that_it_does_not_need(pictures, tmp_path, monkeypatch):
    seen, original = [], FSQ.view

    def counted(self, batch, rng: Rng):
        seen.append(rng.total or len(batch.x))
        return original(self, batch, rng)

    run = pretrain("fsq", data=pictures, out=tmp_path / "fsq", **cases.CODEC)
    monkeypatch.setattr(FSQ, "view", counted)
    health = RepresentationMonitor(open_images(pictures), size=16, seed=0, every=1)
    assert "alignment" not in health(run.method)
    assert seen == [1]


def test_a_layer_with_other_patches_makes_no_units(pictures, tmp_path):
    earlier = pretrain("beit", data=pictures, out=tmp_path / "beit", **cases.PATCHES)
    with pytest.raises(ValueError, match="has 16 positions, and the encoder has 4 patches of 8 px"):
        find(open_images(pictures), targets=str(earlier.folder), patch=8)
