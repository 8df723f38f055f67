"""Numbers that a probe gives: with their k, drawn or not, and never without a word."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

import selfwise
from selfwise.data.audio.open import open_recordings
from selfwise.data.image import open_images
from selfwise.data.text.labelled import open_texts
from selfwise.evaluation.probes import scalers
from selfwise.evaluation.probes.baselines import FeatureSplit
from selfwise.evaluation.probes.knn import choose_k, predict_knn
from selfwise.evaluation.probes.label_curve import compute_label_curve, probe_features
from selfwise.evaluation.probes.linear import fit_linear, fit_sgd
from selfwise.evaluation.probes.overlap import count_overlap
from selfwise.report.sections import scores, summary
from selfwise.runs import logs_and_scores, score_groups
from selfwise.workflows.describe_runs import show
from tests.helpers import show_cases as cases

ENCODER = {
    "encoder": "resnet18",
    "encoder_options": {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16]},
}
QUICK = {**ENCODER, "steps": 2, "batch_size": 16, "cpu_threads": 1, "quiet": True}
TOLD = {"train": "digits:train", "test": "digits:test", "quiet": True}
LABELS = np.arange(60) % 3


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "digits"
    return selfwise.pretrain("simclr", data="digits:train", out=out, **QUICK)


def clouds(n: int, d: int, *, apart: float = 1.0, seed: int = 0):
    """Three classes of normal features."""
    random = np.random.default_rng(seed)
    y = np.arange(n) % 3
    x = random.standard_normal((n, d)) + apart * np.eye(3, d)[y]
    return x.astype(np.float32), y


def loop_choice(x: np.ndarray, y: np.ndarray, ks: list[int], groups: np.ndarray | None) -> int:
    """Each example by the votes of the others, one after another."""
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    right = dict.fromkeys(ks, 0)
    for i in range(len(x)):
        other = np.arange(len(x)) != i if groups is None else groups != groups[i]
        near = sorted(np.flatnonzero(other), key=lambda j: -float(x[i] @ x[j]))
        for k in ks:
            votes = np.zeros(3)
            for j in near[:k]:
                votes[y[j]] += np.exp(float(x[i] @ x[j]) / 0.1)
            right[k] += int(votes.argmax() == y[i])
    return max(ks, key=lambda k: (right[k], k))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("grouped", [False, True])
def test_k_is_chosen_by_leaving_one_out(seed, grouped, monkeypatch):
    x, y = clouds(48, 6, seed=seed)
    groups = np.arange(48) // 8 if grouped else None
    ks = [1, 3, 9, 40]
    expected = loop_choice(x.astype(np.float64), y, ks, groups)
    assert choose_k(x, y, candidates=ks, groups=groups) == expected
    monkeypatch.setattr("selfwise.evaluation.probes.knn.MAX_SIMILARITIES", 48 * 5)
    assert choose_k(x, y, candidates=ks, groups=groups) == expected


def test_k_is_no_more_than_there_are_others():
    x, y = clouds(12, 4, apart=9.0)
    assert choose_k(x, y) <= 11
    assert choose_k(x, y, candidates=[200]) == 11


def test_many_neighbours_of_other_classes_are_not_chosen():
    """Where each class is a few examples close together, 200 neighbours are mostly others."""
    random = np.random.default_rng(0)
    y = np.repeat(np.arange(40), 5)
    x = random.standard_normal((40, 8))[y] + 0.4 * random.standard_normal((200, 8))
    x = x.astype(np.float32)
    assert choose_k(x, y) <= 5
    assert choose_k(np.abs(x), y) == choose_k(np.abs(x), y)


@pytest.mark.run
def test_each_competitor_has_its_own_k_in_the_score(run):
    score = selfwise.probe(run, **TOLD, kind="knn", labels_per_class="5,all", seeds=2)
    rows = {(row["competitor"], row["per_class"]): row for row in score.rows()}
    assert [len(rows["untrained", at]["k"]) for at in (5, "all")] == [6, 3]
    assert all(1 <= k <= 49 for k in rows["pretrained", 5]["k"])
    assert len(rows["raw input", "all"]["k"]) == 1
    (said,) = [text for text in score.sentences() if "With all labels, so many" in text]
    assert f"raw input {rows['raw input', 'all']['k'][0]}." in said
    (file,) = [one for one in logs_and_scores.read_scores(run.folder) if one["kind"] == "knn"]
    assert file["k"] == "chosen"
    assert said in show([run.folder])
    assert any(said in part.about for part in scores.build_sections([run.folder]))


@pytest.mark.run
def test_k_can_be_fixed(run, tmp_path):
    folder = shutil.copytree(run.folder, tmp_path / "run")
    shutil.rmtree(folder / "scores", ignore_errors=True)
    score = selfwise.probe(folder, **TOLD, kind="knn", k=7, seeds=1)
    assert {k for result in score.results for k in result.ks} == {7}
    few = selfwise.probe(folder, **TOLD, kind="knn", k=70, labels_per_class="2", seeds=1)
    assert {k for result in few.results for k in result.ks} == {20}
    found = score_groups.group_scores(logs_and_scores.read_scores(folder), step=2)
    assert {one.title for one in found} == {
        "nearest-neighbor probe, k 7", "nearest-neighbor probe, k 70"
    }  # fmt: skip
    with pytest.raises(ValueError, match="use it with --kind knn, not linear"):
        selfwise.probe(run, **TOLD, k=7)
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        selfwise.probe(run, **TOLD, kind="knn", k=0)


def counted(calls: list, signal: float):
    x, y = clouds(60, 5, apart=signal)
    test, _ = clouds(30, 5, apart=signal, seed=1)

    def probe(train, labels_per_class, asked, seed):
        calls.append(len(labels_per_class))
        return fit_linear(train, labels_per_class, asked, seed=seed).predicted

    return lambda **how: probe_features([FeatureSplit(x, test)], y, probe, **how)


@pytest.mark.run
def test_nothing_is_fitted_again_where_nothing_is_drawn():
    calls: list[int] = []
    names = ("pretrained", "untrained", "raw input")
    among = {name: counted(calls, 2.0)() for name in names}
    among["trained"] = counted(calls, 2.0)(uses_seed=True)
    told = {"labels": LABELS, "truth": np.arange(30) % 3, "seeds": range(4)}
    score = compute_label_curve(among, **told, budgets=[5, 20, None])
    # 20 of each class are all that there are
    counts = [
        (len(r.accuracies), r.uses_seed) for r in score.results if r.competitor == "raw input"
    ]
    assert counts == [(4, True), (1, False), (1, False)]
    assert len(score.result("trained", None).accuracies) == 4
    assert calls.count(60) == 2 * (3 + 4)
    rows = score.rows()
    assert [r["deviation"] is None for r in rows if r["competitor"] == "pretrained"] == [
        False, True, True
    ]  # fmt: skip
    alone = compute_label_curve({name: among[name] for name in names}, **told, budgets=[None])
    assert alone.to_dict()["seeds"] == [0]
    assert next(c for c in alone.comparisons).error is None


def test_a_deviation_of_nothing_is_not_shown(tmp_path):
    """Earlier versions filed the deviation over fits that were all the same."""
    old = cases.score(budgets=(2, None))
    for row in old["rows"]:
        if row["per_class"] == "all":
            row |= {"accuracies": [row["mean"]] * 3, "deviation": 0.0}
    folder = cases.folder(tmp_path / "run", scores=[old])
    page = (
        repr(scores.build_sections([folder])) + summary.describe_best_score(folder) + show([folder])
    )
    assert "± 0.0" not in page
    assert " ± " in page


def test_a_newer_score_of_all_labels_replaces_refits_of_an_earlier_version(tmp_path):
    old, new = cases.score(budgets=(None,)), cases.score(budgets=(None,), seeds=1, seed=5)
    for row in new["rows"]:
        row["drawn"] = False
    folder = cases.folder(tmp_path / "run", scores=[old, new])
    (one,) = score_groups.group_scores(logs_and_scores.read_scores(folder), step=0)
    assert one.rows["all", "pretrained"] == new["rows"][0]


def test_more_features_than_examples_give_the_same_predictions(monkeypatch):
    x, y = clouds(80, 700, apart=4.0)
    test, _ = clouds(200, 700, apart=4.0, seed=1)
    x, test = (part * np.linspace(0.1, 3, 700, dtype=np.float32) + 2 for part in (x, test))
    rotated = fit_linear(x, y, test)
    monkeypatch.setattr(scalers, "RotatingScaler", StandardScaler)
    plain = fit_linear(x, y, test)
    assert plain.C == rotated.C
    # both stop at a tolerance, so that an example between two classes may fall to either
    np.testing.assert_allclose(plain.searched, rotated.searched, atol=0.03)
    np.testing.assert_array_equal(plain.predicted, rotated.predicted)
    scale = StandardScaler()
    model = LogisticRegression(C=plain.C, tol=1e-6, max_iter=9999).fit(scale.fit_transform(x), y)
    np.testing.assert_array_equal(model.predict(scale.transform(test)), rotated.predicted)


def test_many_features_that_do_not_vary_are_fitted():
    x = np.ones((12, 40), np.float32)
    assert len(fit_linear(x, np.arange(12) % 2, x).predicted) == 12


def test_more_features_than_examples_are_fitted_as_few(monkeypatch):
    shapes = []

    class Watched(LogisticRegression):
        def fit(self, x, y):
            shapes.append(x.shape)
            return super().fit(x, y)

    monkeypatch.setattr("sklearn.linear_model.LogisticRegression", Watched)
    x, y = clouds(50, 900)
    fit_linear(x, y, x)
    assert max(width for _, width in shapes) <= 50


@pytest.mark.parametrize("kind", ["linear", "knn", "sgd", "finetune"])
def test_one_class_is_refused(run, kind):
    x = np.random.default_rng(0).integers(0, 255, (20, 8, 8), dtype=np.uint8)
    one = (x, np.zeros(20, int))
    with pytest.raises(ValueError, match="two classes, but all 20 labels are equal"):
        selfwise.probe(run, train=one, test=one, kind=kind, quiet=True)


def test_one_class_is_refused_by_every_classifier():
    x, _ = clouds(9, 4)
    for probe in (fit_linear, predict_knn, fit_sgd):
        with pytest.raises(ValueError, match="two classes, but all 9 labels are equal"):
            probe(x, np.zeros(9, np.int64), x)


def digits(classes: list[int], part: str = "digits:test"):
    data = open_images(part)
    rows = np.flatnonzero(np.isin(data.labels, classes))
    return data.read(rows).x.numpy()[:, 0], data.labels[rows]


def test_a_number_that_training_lacks_is_refused(run):
    with pytest.raises(ValueError, match=r"without an example in --train: 7$"):
        selfwise.probe(run, train=digits([1, 3, 9]), test=digits([1, 7, 9]), quiet=True)
    with pytest.raises(ValueError, match=r"missing from --train: 7$"):
        selfwise.probe(run, train=digits([1, 3]), test=digits([1, 7]), quiet=True)
    score = selfwise.probe(run, train=digits([1, 3, 9]), test=digits([1, 9]), seeds=1, quiet=True)
    assert score.n_test == len(digits([1, 9])[1])


def test_a_class_that_the_split_takes_away_is_said(run):
    x, y = digits([1, 3])
    score = None
    for place in range(10):  # one of the ten falls into the fifth that is split off
        labels = np.where(np.arange(len(y)) == place * 3, 5, y)
        score = selfwise.probe(run, train=(x, labels), seeds=1, kind="knn", quiet=True)
        if score.warnings:
            break
    (said,) = score.warnings
    assert said.startswith("Warning: 1 of ")
    assert "classes without a training example (5)" in said


@pytest.mark.run
def test_test_examples_that_are_training_examples_are_counted(run, tmp_path):
    x, y = digits([1, 3])
    score = selfwise.probe(run, train=(x, y), test=(x[:10], y[:10]), kind="knn", quiet=True)
    said = "Warning: all 10 test examples are also training examples, so they tell nothing about"
    assert score.sentences()[-1].startswith(said)
    assert said in show([run.folder])
    folder = shutil.copytree(run.folder, tmp_path / "run")
    for old in (folder / "scores").glob("*"):
        old.unlink()
    selfwise.probe(folder, train=(x, y), test=(x[:10], y[:10]), quiet=True)
    assert said in summary.describe_best_score(folder)
    assert any(said in section.about for section in scores.build_sections([folder]))
    pair = {"train": "digits:train", "test": "digits:test"}
    assert selfwise.probe(run, **pair, kind="knn", k=1, quiet=True).warnings == ()


def test_overlap_of_files_arrays_and_texts(tmp_path):
    random = np.random.default_rng(0)
    for i in range(12):
        for part in ("train", "test"):
            size = (40 + i, 60) if i != 5 else (100, 100)
            new = random.integers(0, 256, (*size, 3), dtype=np.uint8)
            path = tmp_path / part / "ab"[i % 2] / f"{part}{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(new).save(path)
    for i in (2, 5, 8):
        kind = "ab"[i % 2]
        shutil.copy(tmp_path / f"train/{kind}/train{i}.png", tmp_path / f"test/b/copy{i}.png")
    for cache in ("no", "auto"):
        known, asked = (open_images(tmp_path / part, cache=cache) for part in ("train", "test"))
        assert count_overlap(known, asked) == 3
        assert count_overlap(asked, known) == 3
        assert count_overlap(known, known) == 12
    texts = [open_texts((each, [0, 1, 0])) for each in (["a", "b", "c"], ["c", "d", "a"])]
    assert count_overlap(*texts) == 2


def test_overlap_of_recordings(tmp_path):
    import soundfile

    random = np.random.default_rng(0)
    for part, names in (("train", "abcd"), ("test", "efgh")):
        for name in names:
            path = tmp_path / part / "xy"[ord(name) % 2] / f"{name}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, 0.1 * random.standard_normal(16_000), 16_000)
    shutil.copy(tmp_path / "train/x/b.wav", tmp_path / "test/y/copy.wav")
    known, asked = (open_recordings(tmp_path / part, labelled=True) for part in ("train", "test"))
    assert count_overlap(known, asked) == 1


def test_vectors_that_are_no_numbers_are_not_written(run, tmp_path):
    folder = shutil.copytree(run.folder, tmp_path / "run")
    broken = selfwise.load(folder)
    with torch.no_grad():
        next(broken.encoder.parameters()).fill_(torch.nan)
    with pytest.raises(ValueError, match=r"not finite for all 500 examples, first for 0:"):
        selfwise.embed(broken, "digits:test")
    with pytest.raises(ValueError, match="the pretrained encoder gives values that are not finite"):
        selfwise.probe(broken, **TOLD)


def test_the_file_of_a_vector_that_is_no_number_is_named(run, tmp_path, monkeypatch):
    for i in range(4):
        picture = np.full((8, 8), 40 * i, np.uint8)
        Image.fromarray(picture).save(tmp_path / f"{i}.png")
    from selfwise.evaluation.features import image as image_features

    real = image_features.extract_several

    def extract(*told, **more):
        vectors = real(*told, **more)
        vectors[0][2] = np.inf
        return vectors

    monkeypatch.setattr(image_features, "extract_several", extract)
    out = tmp_path / "vectors.npz"
    with pytest.raises(ValueError, match=r"not finite for 1 of 4 examples, first for 2\.png"):
        selfwise.embed(run.folder, data=str(tmp_path), out=out)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".png"] * 4


def watched(folder):
    """A run with an online probe, and its data."""
    data = digits([1, 3, 9])
    told = {**QUICK, "steps": 6, "knn_every": 2, "save_every": 1, "log_every": 1}
    told |= {"keep_last": 6, "monitor_every": 0}
    return selfwise.pretrain("simclr", data=data, out=folder, **told), data


def test_the_online_probe_keeps_its_k(tmp_path, monkeypatch):
    from selfwise.evaluation.monitors import online_knn

    chosen: list[int] = []
    monkeypatch.setattr(
        online_knn, "choose_k", lambda *told, **more: chosen.append(1) or 3 + len(chosen)
    )
    run, data = watched(tmp_path / "run")
    text = (run.folder / "metrics.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["knn_k"] for line in lines if "knn_top1" in line] == [4, 4, 4]
    for step in (6, 5, 4):
        shutil.rmtree(run.folder / "checkpoints" / f"step-0000000{step}")
    selfwise.resume(run.folder, data=data, quiet=True)
    assert (run.folder / "metrics.jsonl").read_text() == text
    assert len(chosen) == 1


def test_a_run_of_an_earlier_version_keeps_its_k_of_twenty(tmp_path):
    from selfwise.evaluation.monitors.online_knn import _read_logged_k

    log = tmp_path / "metrics.jsonl"
    assert _read_logged_k(log) is None
    log.write_text(json.dumps({"step": 1, "loss": 2.0}) + "\n")
    assert _read_logged_k(log) is None
    log.write_text(log.read_text() + json.dumps({"step": 2, "knn_top1": 0.5}) + "\n")
    assert _read_logged_k(log) == 20


def test_an_online_probe_of_one_class_is_refused(tmp_path):
    x = np.random.default_rng(0).integers(0, 255, (40, 8, 8), dtype=np.uint8)
    told = {**QUICK, "knn_every": 1, "out": tmp_path / "run"}
    with pytest.raises(ValueError, match="--knn-every needs two classes"):
        selfwise.pretrain("simclr", data=(x, np.zeros(40, int)), **told)
    assert not (tmp_path / "run").exists()
