"""From Python: pre-train, load, embed, probe, resume; what a user does with a run."""

import json

import numpy as np
import pytest
import torch

import selfwise
from selfwise.data.image import open_images
from selfwise.runs.run_yaml import Choice, read_record
from selfwise.workflows import embed as embedding
from selfwise.workflows import probe_examples

SHAPE = {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16]}
ENCODER = {"encoder": "resnet18", "encoder_options": SHAPE}
QUICK = {
    **ENCODER,
    "steps": 20,
    "batch_size": 64,
    "cpu_threads": 1,
    "quiet": True,
    "flip_prob": 0.0,
    "defaults": "paper",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "digits"
    return selfwise.pretrain("simclr", data="digits:train", out=out, **QUICK, seed=1)


@pytest.fixture(scope="module")
def score(run):
    labels = {"train": "digits:train", "test": "digits:test", "labels_per_class": "5,20"}
    return selfwise.probe(run, **labels, seeds=2, quiet=True)


@pytest.mark.parametrize("quiet", [False, True])
def test_how_a_task_was_made_is_said_once_and_kept(tmp_path, capsys, quiet):
    told = {**QUICK, "steps": 1, "batch_size": 8, "quiet": quiet, "grid": 2, "image_size": 16}
    run = selfwise.pretrain("jigsaw", data="digits:train", out=tmp_path / "run", **told)
    sentence = "jigsaw: permutations 24, least_hamming 2, mean_hamming 3.13043\n"
    assert capsys.readouterr().err.count(sentence) == (0 if quiet else 1)
    kept = read_record(run.folder).about
    assert kept["permutations"] == 24
    assert kept["mean_hamming"] == pytest.approx(3.13043, abs=1e-4)


def test_a_run_says_what_it_was_told_and_what_it_found(run):
    settings = read_record(run.folder)
    assert settings.method == "simclr"
    assert settings.encoder_name == "resnet18"
    assert settings.chosen_encoder_options == SHAPE
    assert settings.resolved["seed"] == Choice(1, "user")
    assert settings.resolved["temperature"] == Choice(0.5, "default")
    assert settings.resolved["optimizer"] == Choice("lars", "paper")
    assert settings.info.examples == 1297
    assert settings.info.channels == 1
    assert torch.__version__.startswith(settings.environment["torch"])
    metrics = [json.loads(t) for t in (run.folder / "metrics.jsonl").read_text().splitlines()]
    assert metrics[-1]["step"] == 20
    assert not (run.folder / "tensorboard").exists()  # only with --logger


def test_embed_gives_each_example_its_vector(run):
    table = selfwise.embed(run, "digits:test")
    assert table.vectors.shape == (500, 16)
    assert table.vectors.dtype == np.float32
    assert len(table.ids) == len(table.labels) == 500
    images = open_images("digits:test")
    one = images.read(np.array([7])).x / 255
    with torch.no_grad():
        vector = run.encoder.eval()(one).pooled[0]
    close = 0.02 if run.record.option("precision") == "bf16" else 1e-5
    assert np.linalg.norm(table.vectors[7] - vector.numpy()) < close * np.linalg.norm(vector)
    again = selfwise.embed(run.folder, "digits:test")  # from the folder, and from the cache
    assert np.array_equal(again.vectors, table.vectors)
    assert not np.array_equal(selfwise.embed(run, "digits:test", layer=0).vectors, table.vectors)


def test_embeddings_go_to_parquet_and_npz(run, tmp_path):
    import pyarrow.parquet as pq

    table = selfwise.embed(run, "digits:test")
    for name in ("t.parquet", "t.npz"):
        embedding.embed(run.folder, data="digits:test", out=tmp_path / name)
    parquet = pq.read_table(tmp_path / "t.parquet")
    assert np.array_equal(np.stack(parquet["vector"].to_numpy()), table.vectors)
    assert parquet["id"].to_pylist() == table.ids
    assert parquet["label"].to_pylist() == table.labels
    npz = np.load(tmp_path / "t.npz", allow_pickle=False)
    assert np.array_equal(npz["vectors"], table.vectors)
    assert npz["ids"].tolist() == table.ids
    assert not list(tmp_path.glob(".*"))


@pytest.mark.run
def test_a_score_has_its_baselines_seeds_and_intervals(run, score):
    names = {row["competitor"] for row in score.rows()}
    assert names == {"pretrained", "untrained", "raw input"}
    assert score.budgets == [5, 20]
    assert score.n_test == 500
    assert score.seeds == (0, 1)
    assert all(len(row["accuracies"]) == 2 for row in score.rows())
    assert 0.3 < score.accuracy <= 1.0
    kept = [json.loads(p.read_text()) for p in (run.folder / "scores").glob("linear-*.json")]
    assert any(k["accuracy"] == score.accuracy and k["weights"] == run.weights for k in kept)


@pytest.mark.parametrize("kind", ["knn", "sgd", "finetune"])
def test_other_probes(run, kind, monkeypatch):
    from selfwise.workflows import supervised

    monkeypatch.setattr(supervised, "TUNING_EPOCHS", 1)
    monkeypatch.setattr(supervised, "LEAST_STEPS", 20)
    monkeypatch.setattr(supervised, "TUNING_RATES", (0.02,))
    weights = run.encoder.state_dict()["model.conv1.weight"].clone()
    pair = {"train": "digits:train", "test": "digits:test", "labels_per_class": "10", "seeds": 1}
    found = selfwise.probe(run, **pair, kind=kind, quiet=True)
    assert 0.2 < found.accuracy <= 1.0
    assert torch.equal(weights, run.encoder.state_dict()["model.conv1.weight"])


@pytest.mark.run
def test_supervised_from_scratch_has_the_views_and_steps_of_the_run(run, monkeypatch):
    from selfwise.workflows import supervised

    seen = []
    original = supervised.finetune

    def spy(make, known, asked, options, **more):
        method = make(0)
        seen.append((options, method.augment, known, more))
        return original(make, known, asked, options, **{**more, "rates": (0.1,)})

    monkeypatch.setattr(supervised, "finetune", spy)
    pair = {"train": "digits:train", "test": "digits:test", "labels_per_class": "10", "seeds": 1}
    found = selfwise.probe(run, **pair, supervised_baseline=True, quiet=True)
    assert "supervised" in {row["competitor"] for row in found.rows()}
    options, augment, known, more = seen[0]
    assert options.steps == 20
    assert options.batch_size == 64
    assert augment == run.method.augment
    assert len(known) == 100
    assert len(more["rates"]) > 1


def test_without_a_test_set_a_fifth_is_split_off(run):
    train, test = probe_examples.open_labelled_pair(run, "digits:train", None)
    assert len(test) == 1297 // 5
    assert set(train.ids).isdisjoint(test.ids)
    assert len(train) + len(test) == 1297


def test_other_classes_are_named(run, tmp_path):
    x = np.zeros((4, 8, 8), np.uint8)
    with pytest.raises(ValueError, match="missing from --train: zebra"):
        probe_examples.open_labelled_pair(
            run, "digits:train", (x, np.array(["0", "1", "2", "zebra"]))
        )


@pytest.mark.run
def test_arrays_and_data_sets_from_python(tmp_path):
    x = np.random.default_rng(0).integers(0, 255, (96, 8, 8, 3), dtype=np.uint8)
    out = tmp_path / "array"
    told = {**QUICK, "steps": 4, "save_every": 2}
    whole = selfwise.pretrain("simclr", data=x, out=out, **told)
    assert whole.record.option("data") == "<from Python>"
    with pytest.raises(ValueError, match="data="):
        selfwise.resume(out, quiet=True)
    newest = out / "checkpoints" / "step-00000004"
    expected = (newest / "model.safetensors").read_bytes()
    for path in newest.iterdir():
        path.unlink()
    newest.rmdir()
    selfwise.resume(out, data=x, quiet=True)
    assert (newest / "model.safetensors").read_bytes() == expected

    class Pictures:
        def __len__(self):
            return len(x)

        def __getitem__(self, i):
            return x[i]

    same = selfwise.pretrain("simclr", data=Pictures(), out=tmp_path / "set", **told)
    ours, theirs = (r.method.state_dict() for r in (whole, same))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.run
def test_seeds_make_runs(run, tmp_path):
    again = selfwise.pretrain("simclr", data="digits:train", out=tmp_path / "a", **QUICK, seed=1)
    other = selfwise.pretrain("simclr", data="digits:train", out=tmp_path / "b", **QUICK, seed=2)
    assert again.weights == run.weights
    assert other.weights != run.weights
    fresh = run.build_untrained(1).state_dict()
    assert any(not torch.equal(fresh[n], w) for n, w in run.encoder.state_dict().items())


def test_an_earlier_run_is_a_start(run, tmp_path):
    out = tmp_path / "next"
    told = {**QUICK, "steps": 1, "lr": 0.0, "optimizer": "sgd"}
    after = selfwise.pretrain(
        "supervised", data="digits:train", out=out, **told, init_from=run.folder
    )
    before = dict(run.encoder.named_parameters())
    assert all(torch.equal(p, before[n]) for n, p in after.encoder.named_parameters())
    other = {**told, "encoder_options": {**SHAPE, "channels": [8, 8, 16, 32]}}
    with pytest.raises(ValueError, match=r"weights do not fit: .*layer4"):
        selfwise.pretrain(
            "simclr", data="digits:train", out=tmp_path / "x", **other, init_from=run.folder
        )
    assert not (tmp_path / "x").exists()


def test_the_untrained_twin_is_untrained_whatever_the_start(run):
    weights = run.build_untrained(0).state_dict()["model.conv1.weight"]
    assert not torch.equal(weights, run.encoder.state_dict()["model.conv1.weight"])


def test_a_checkpoint_can_be_opened_by_its_folder(tmp_path):
    told = {**QUICK, "steps": 4, "save_every": 2, "keep_last": 2}
    whole = selfwise.pretrain("simclr", data="digits:train", out=tmp_path / "run", **told)
    assert whole.step == 4
    early = selfwise.load(tmp_path / "run" / "checkpoints" / "step-00000002")
    assert early.step == 2
    assert early.weights != whole.weights
    with pytest.raises(ValueError, match="step-00000002, step-00000004"):
        selfwise.load(tmp_path / "run" / "checkpoints" / "step-00000003")


def test_a_recipe_goes_on_only_with_its_own_run(run):
    from selfwise.runs.resume import pretrain_or_resume

    told = {**QUICK, "data": "digits:train", "out": run.folder}
    assert pretrain_or_resume("simclr", **told, seed=1).weights == run.weights
    with pytest.raises(ValueError, match="holds a run with --seed 1, not 2"):
        pretrain_or_resume("simclr", **told, seed=2)
    # None is how a recipe says that it does not choose: here the length, which `minutes` decides
    assert pretrain_or_resume("simclr", **(told | {"steps": None}), seed=1).weights == run.weights


def test_paths_are_recorded_so_that_they_hold_from_anywhere(tmp_path, monkeypatch):
    from selfwise.runs.names import name_data

    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)
    assert name_data("photos") == str(tmp_path / "photos")
    assert name_data("digits:train") == "digits:train"
    assert name_data("mnist:photos:test") == f"mnist:{tmp_path / 'photos'}:test"
    assert name_data(np.zeros(3)) == "<from Python>"


@pytest.mark.run
def test_health_is_logged_and_changes_nothing(tmp_path):
    weights = []
    for every in (0, 5):
        out = tmp_path / str(every)
        told = {**QUICK, "steps": 10, "monitor_every": every, "log_every": 10}
        weights.append(selfwise.pretrain("simclr", data="digits", out=out, **told).weights)
        lines = [json.loads(t) for t in (out / "metrics.jsonl").read_text().splitlines()]
        looked = [line["step"] for line in lines if "effective_rank" in line]
        assert looked == ([5, 10] if every else [])
    assert weights[0] == weights[1]
    assert {"alignment", "uniformity", "effective_rank"} <= set(lines[-1])


@pytest.mark.run
def test_without_a_budget_there_is_one_that_ends_and_its_time_is_printed(
    tmp_path, monkeypatch, capsys
):
    from selfwise.methods.simclr import SimCLR

    monkeypatch.setattr(SimCLR, "paper", SimCLR.paper._replace(epochs=0.5))
    told = {k: v for k, v in QUICK.items() if k not in ("steps", "quiet")}
    done = selfwise.pretrain("simclr", data="digits", out=tmp_path / "d", **told)
    assert done.record.option("steps") == 14
    said = capsys.readouterr().err
    assert "14 steps of 64 examples (0.5 epochs)" in said
    assert "time        about 0:" in said


def test_classes_are_matched_by_name(run):
    digits = open_images("digits:test")
    odd = digits.take(np.flatnonzero(digits.labels % 2 == 1))
    x, y = odd.read(np.arange(len(odd))).x.numpy()[:, 0], odd.labels
    names = np.array([str(label) for label in y])
    _, test = probe_examples.open_labelled_pair(run, "digits:train", (x, names))
    assert np.array_equal(test.labels, y)


@pytest.mark.run
def test_epochs_and_minutes_become_steps(tmp_path):
    told = {k: v for k, v in QUICK.items() if k != "steps"}
    epochs = selfwise.pretrain("simclr", data="digits", out=tmp_path / "e", **told, epochs=0.5)
    assert epochs.record.option("steps") == 14  # half of 1797 // 64 = 28
    assert epochs.record.config["epochs"] == 0.5
    minutes = selfwise.pretrain("simclr", data="digits", out=tmp_path / "m", **told, minutes=0.02)
    assert minutes.record.option("steps") >= 1
    assert minutes.record.option("minutes") is None


def test_what_is_not_there_is_said():
    with pytest.raises(AttributeError, match="pretrian"):
        selfwise.pretrian  # noqa: B018
    assert selfwise.losses.nt_xent
