"""Scores, label curves, caching, and what a user is told when something does not fit."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from torch import nn

from selfwise.core.types import Features
from selfwise.data.image import open_images
from selfwise.data.image.dataset import ArrayImages
from selfwise.data.image.files import FileImages
from selfwise.data.unreadable import ReadError
from selfwise.evaluation.features.compute import ComputeOptions
from selfwise.evaluation.features.image import (
    digest_weights,
    extract_features,
    extract_pixels,
    load_or_compute,
)
from selfwise.evaluation.monitors.online_knn import OnlineKNN
from selfwise.evaluation.probes.baselines import FeatureSplit, extract_untrained
from selfwise.evaluation.probes.knn import predict_knn
from selfwise.evaluation.probes.label_curve import (
    compute_label_curve,
    draw_labels,
    parse_budgets,
    probe_features,
)
from selfwise.evaluation.probes.linear import fit_linear, fit_sgd
from selfwise.evaluation.scores.bootstrap import is_above_noise, paired_bootstrap, standard_error
from selfwise.evaluation.scores.probe_score import (
    ProbeComparison,
    ProbeResult,
    ProbeScore,
    join_scores,
)
from selfwise.training.loop import Probe
from tests.helpers import cases

LABELS = np.repeat(np.arange(3), 40)
TRUTH = np.repeat(np.arange(3), 50)


def split(signal: float, seed: int = 0) -> FeatureSplit:
    """Features of three classes that are `signal` standard deviations apart."""
    random = np.random.default_rng(seed)
    make = lambda y: (signal * np.eye(3, 8)[y] + random.standard_normal((len(y), 8))).astype("f4")  # noqa: E731
    return FeatureSplit(make(LABELS), make(TRUTH))


def competitors(signal: float = 6.0) -> dict:
    return {
        "pretrained": probe_features([split(signal)], LABELS),
        "untrained": probe_features([split(2.0, seed) for seed in range(1, 4)], LABELS),
        "raw input": probe_features([split(1.0, 4)], LABELS),
    }


@pytest.fixture(scope="module")
def score() -> ProbeScore:
    return compute_label_curve(competitors(), LABELS, TRUTH, budgets=[5, 20, None], seeds=range(3))


@pytest.mark.run
def test_curve_has_every_competitor_at_every_budget(score):
    assert [(r.competitor, r.per_class, r.n_train, len(r.accuracies)) for r in score.results] == [
        (name, budget, n, seeds)
        for budget, n, seeds in ((5, 15, 3), (20, 60, 3), (None, 120, 1))
        for name in ("pretrained", "untrained", "raw input")
    ]
    assert score.n_test == 150
    assert score.seeds == (0, 1, 2)
    assert score.accuracy == score.result("pretrained", None).mean > 0.97
    assert score.budgets == [5, 20, None]
    for budget in score.budgets:
        low, high = score.result("raw input", budget).mean, score.result("untrained", budget).mean
        assert low < high < score.result("pretrained", budget).mean
        assert is_above_noise(score.intervals(budget))


def test_curve_gives_each_competitor_the_same_draws():
    seen: dict[str, list] = {
        name: [] for name in ("pretrained", "untrained", "raw input", "scratch")
    }

    def watcher(name):
        def predict(rows, seed):
            seen[name].append((seed, *rows))
            return np.zeros(150, dtype=np.int64)

        return predict

    compute_label_curve(
        {n: watcher(n) for n in seen}, LABELS, TRUTH, budgets=[4, None], seeds=[7, 8]
    )
    assert seen["pretrained"] == seen["untrained"] == seen["raw input"] == seen["scratch"]
    assert [s[0] for s in seen["scratch"]] == [7, 8, 7, 8]
    np.testing.assert_array_equal(seen["scratch"][1][1:], draw_labels(LABELS, 4, 8))


def test_repetitions_are_averaged():
    right = TRUTH.copy()
    half = np.where(np.arange(150) % 2, TRUTH, (TRUTH + 1) % 3)
    wrong = (TRUTH + 1) % 3
    score = compute_label_curve(
        {
            "pretrained": lambda rows, seed: right,
            "untrained": lambda rows, seed: np.stack([right, half, wrong]),
            "raw input": lambda rows, seed: half if seed else wrong,
        },
        LABELS, TRUTH, budgets=[None], seeds=[0, 1],
    )  # fmt: skip
    assert score.result("untrained", None).accuracies == pytest.approx((0.5, 0.5))
    assert score.result("raw input", None).accuracies == (0, 0.5)
    assert score.result("raw input", None).deviation == pytest.approx(0.5 / np.sqrt(2))
    raw = next(c for c in score.comparisons if c.competitor == "raw input")
    assert raw.difference == pytest.approx(0.75)
    assert raw.error == pytest.approx(0.25)
    assert raw.interval == pytest.approx((0.71, 0.79), abs=0.012)


@pytest.mark.parametrize(
    ("signal", "verdict"),
    [(6.0, "above the noise"), (2.0, "within the noise"), (0.0, "worse, beyond the noise")],
)
def test_sentence_says_what_the_interval_says(signal, verdict):
    score = compute_label_curve(competitors(signal), LABELS, TRUTH, budgets=[20], seeds=[0])
    against = next(c for c in score.comparisons if c.competitor == "untrained")
    assert against.verdict == verdict
    (sentence,) = score.sentences()
    assert f"), {verdict}; raw input" in sentence
    assert sentence.startswith("With 20 labels per class, pretrained against untrained: ")
    assert against.error is None


@pytest.mark.run
def test_score_is_plain_data(score):
    plain = json.loads(json.dumps(score.to_dict(), allow_nan=False))
    assert len(plain["rows"]) == 9
    row = plain["rows"][1]
    assert (row["competitor"], row["per_class"], row["n_train"]) == ("untrained", 5, 15)
    assert row["low"] < row["difference"] < row["high"]
    assert row["mean"] == pytest.approx(np.mean(row["accuracies"]))
    assert "difference" not in plain["rows"][0]
    assert plain["rows"][-1]["per_class"] == "all"
    alone = compute_label_curve(competitors(), LABELS, TRUTH, budgets=[None], seeds=[0])
    json.dumps(alone.to_dict(), allow_nan=False)


def test_table_shows_it(score):
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(score.table())
    text = console.export_text()
    few = score.result("pretrained", 5)
    assert f"{100 * few.mean:.1f} ± {100 * few.deviation:.1f}" in text
    assert f"{100 * score.accuracy:.1f}" in text
    assert f"{100 * score.accuracy:.1f} ± " not in text.replace(f"{100 * few.mean:.1f} ± ", "")
    for word in (
        "untrained",
        "raw input",
        "5 labels per class (15)",
        "all labels (120)",
        "150 test",
    ):
        assert word in text


@pytest.mark.parametrize("missing", ["pretrained", "untrained", "raw input"])
def test_no_score_without_its_baselines(score, missing):
    kept = {name: c for name, c in competitors().items() if name != missing}
    with pytest.raises(
        ValueError, match=f"without its baselines is not a result: {missing} missing"
    ):
        compute_label_curve(kept, LABELS, TRUTH, budgets=[5], seeds=[0])
    results = tuple(r for r in score.results if (r.competitor, r.per_class) != (missing, 20))
    with pytest.raises(ValueError, match=missing):
        ProbeScore("linear", results, score.comparisons, score.seeds, 150)
    with pytest.raises(ValueError, match="untrained"):
        ProbeScore("linear", score.results, score.comparisons[1:], score.seeds, 150)
    with pytest.raises(ValueError, match="needs results"):
        ProbeScore("linear", (), (), (0,), 150)


def test_labels_that_run_out_are_told_before_anything_is_computed():
    def never(rows, seed):
        raise AssertionError

    with pytest.raises(ValueError, match=r"class 'cat' has 40 labeled examples, .* needs 41"):
        compute_label_curve(
            dict.fromkeys(("pretrained", "untrained", "raw input"), never),
            LABELS, TRUTH, budgets=[1, 41], seeds=[0], classes=["cat", "dog", "eel"],
        )  # fmt: skip
    with pytest.raises(ValueError, match="class 'fox' has 0 "):
        draw_labels(LABELS, 1, 0, classes=["cat", "dog", "eel", "fox"])
    with pytest.raises(ValueError, match="class 1 has 2 labeled examples"):
        draw_labels(np.array([0, 0, 0, 1, 1, 4, 4, 4]), 3, 0)
    assert len(draw_labels(np.array([0, 0, 0, 1, 1, 4, 4, 4]), 2, 0)) == 6


def test_curve_needs_seeds_and_budgets():
    for seeds, given in (([], [5]), ([0], [])):
        with pytest.raises(ValueError, match="at least one seed and one label budget"):
            compute_label_curve(competitors(), LABELS, TRUTH, budgets=given, seeds=seeds)


def test_curve_tells_its_progress():
    told: list[str] = []
    for seeds in ([0], [0, 1]):
        compute_label_curve(
            competitors(), LABELS, TRUTH, budgets=[2], seeds=seeds, progress=told.append
        )
    assert told[0] == "pretrained with 6 labels, once"
    assert told[3] == "pretrained with 6 labels, 2 times"
    assert len(told) == 6


def test_budgets():
    assert parse_budgets("10,100,all") == [10, 100, None]
    assert parse_budgets(" all, 5 ") == [5, None]


@pytest.mark.parametrize("text", ["", "10,,all", "0", "-3", "1.5", "ten", "all,every", "²"])
def test_budgets_that_are_none(text):
    with pytest.raises(ValueError, match="is not valid: use numbers of labels"):
        parse_budgets(text)


def test_budgets_twice():
    with pytest.raises(ValueError, match="'10' occurs twice in '10,10'"):
        parse_budgets("10,10")


def test_probes_refuse_what_does_not_fit():
    train, test = split(1.0)
    for probe in (fit_linear, predict_knn, fit_sgd):
        with pytest.raises(ValueError, match="needs training examples, and there are none"):
            probe(train[:0], LABELS[:0], test)
        with pytest.raises(ValueError, match="needs test examples, and there are none"):
            probe(train, LABELS, test[:0])
        with pytest.raises(ValueError, match="test features have values that are not finite"):
            probe(train, LABELS, np.where(np.arange(8) == 3, np.float32("nan"), test))
    with pytest.raises(ValueError, match="two classes, but all 120 labels are equal"):
        fit_linear(train, LABELS * 0, test)
    with pytest.raises(ValueError, match=r"k >= 1 and temperature > 0, got 0 and 0.1"):
        predict_knn(train, LABELS, test, k=0)
    with pytest.raises(ValueError, match="got 200 and 0"):
        predict_knn(train, LABELS, test, temperature=0.0)
    with pytest.raises(ValueError, match="the SGD probe diverged"):
        fit_sgd(train * 1e30, LABELS, test * 1e30)


def test_sgd_is_keyed():
    train, test = split(1.0)
    state = torch.get_rng_state()
    few = {"batch": 8, "epochs": 1}
    first = fit_sgd(train, LABELS, test, **few)
    np.testing.assert_array_equal(first, fit_sgd(train, LABELS, test, **few))
    assert not np.array_equal(first, fit_sgd(train, LABELS, test, seed=1, **few))
    assert torch.equal(state, torch.get_rng_state())


def test_comparisons_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match="needs test examples, and there are none"):
        paired_bootstrap(np.ones(0), np.ones(0), seed=0)
    with pytest.raises(ValueError, match="at least 2 values, got 1"):
        standard_error(np.ones(1))
    with pytest.raises(ValueError, match="a comparison needs at least one interval"):
        is_above_noise([])
    assert is_above_noise([(0.1, 0.2), (0.01, 0.5)])
    assert not is_above_noise([(0.1, 0.2), (0.0, 0.5)])
    assert standard_error(np.array([1.0, 3.0])) == 1


class Mean(nn.Module):
    """The mean of each channel, times a weight."""

    dim = 3

    def __init__(self, seed: int = 0):
        super().__init__()
        self.weight = nn.Parameter(torch.full((3,), 1.0 + seed))
        self.register_buffer("count", torch.zeros((), dtype=torch.bfloat16))

    def forward(self, x):
        return Features(self.weight * x.mean(dim=(2, 3)))

    def hidden(self, x):
        return [self(x)]


class Variant(Mean):
    """Differs in what has no weights."""

    def __init__(self, stride: int, act: type[nn.Module]):
        super().__init__()
        self.pool, self.act = nn.AvgPool2d(2, stride), act()


def images(n: int) -> ArrayImages:
    x = np.random.default_rng(0).integers(0, 256, (n, 3, 8, 8), dtype=np.uint8)
    return ArrayImages(x=x, ids=[str(i) for i in range(n)], channels=3, fingerprint="f")


def test_extraction_refuses_what_is_not_there():
    with pytest.raises(ValueError, match="unknown precision 'fp32'; did you mean 'float32'"):
        extract_features(Mean(), images(3), size=8, compute=ComputeOptions(precision="fp32"))
    with pytest.raises(ValueError, match="no images to compute features of"):
        extract_features(Mean(), images(0), size=8)
    for layer in (1, -2):
        with pytest.raises(ValueError, match=f"layer {layer} does not exist: .* layers 0 to 0"):
            extract_features(Mean(), images(3), size=8, layer=layer)


def test_an_untrained_encoder_without_batch_norm():
    data = images(6)
    splits = extract_untrained(
        Mean, data, data, size=8, embed=lambda e, i: extract_features(e, i, size=8)
    )
    np.testing.assert_allclose(splits[2].test, 3 * splits[0].train, rtol=1e-5)


def test_features_are_computed_once(tmp_path):
    calls = []

    def compute():
        calls.append(1)
        return extract_pixels(images(4), size=8)

    first = load_or_compute(tmp_path / "features", ("a", "b", 8, None), compute)
    again = load_or_compute(tmp_path / "features", ("a", "b", 8, None), compute)
    np.testing.assert_array_equal(first, again)
    assert len(calls) == 1
    load_or_compute(tmp_path / "features", ("a", "b", 8, -1), compute)
    assert len(calls) == 2
    assert {file.suffix for file in (tmp_path / "features").iterdir()} == {".npy"}


def test_a_pickle_in_the_cache_is_not_loaded(tmp_path):
    load_or_compute(tmp_path, ("a",), lambda: np.zeros((1, 1), dtype=np.float32))
    (file,) = tmp_path.iterdir()
    np.save(file, np.array([{}]), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle=False"):
        load_or_compute(tmp_path, ("a",), lambda: np.zeros((1, 1), dtype=np.float32))


def test_checksum_depends_on_weights_buffers_and_structure():
    encoder = Mean()
    first = digest_weights(encoder)
    assert first == digest_weights(Mean())
    encoder.weight.data[0] += 1e-6
    assert digest_weights(encoder) != first
    encoder = Mean()
    encoder.count += 1
    assert digest_weights(encoder) != first
    variants = {
        digest_weights(Variant(stride, act)) for stride in (1, 2) for act in (nn.ReLU, nn.GELU)
    }
    assert len(variants) == 4


def test_score_types_stand_alone():
    results = tuple(
        ProbeResult(n, None, (0.5,), 10) for n in ("pretrained", "untrained", "raw input")
    )
    compared = tuple(
        ProbeComparison(n, None, 0.0, (0.0, 0.0), None) for n in ("untrained", "raw input")
    )
    more = ProbeComparison("scratch", None, -0.1, (-0.2, -0.1), None)
    score = ProbeScore("knn", results, (*compared, more), (0,), 5)
    assert score.accuracy == 0.5
    assert score.intervals(None) == [(0.0, 0.0)] * 2
    with pytest.raises(KeyError):
        ProbeScore("knn", results, compared, (0,), 5).result("pretrained", 3)


def test_numbers_that_stand_for_themselves_are_classes_only_with_examples():
    sparse = np.repeat([1, 2, 5], 4)
    names = [str(number) for number in range(6)]  # as the labels of an array are named
    rows = draw_labels(sparse, 3, 0, classes=names)
    assert np.bincount(sparse[rows]).tolist() == [0, 3, 3, 0, 0, 3]
    with pytest.raises(ValueError, match="class '1' has 4 labeled examples"):
        draw_labels(sparse, 5, 0, classes=names)
    with pytest.raises(ValueError, match="class 'cat' has 0 labeled examples"):
        draw_labels(sparse, 3, 0, classes=["cat", *names[1:]])


@pytest.mark.run
def test_only_scores_of_the_same_seeds_are_joined():
    made = {
        (budget, seeds): compute_label_curve(
            competitors(), LABELS, TRUTH, budgets=[budget], seeds=range(seeds)
        )
        for budget, seeds in ((2, 2), (4, 2), (4, 1))
    }
    both = join_scores(made[2, 2], made[4, 2])
    assert (both.seeds, both.budgets) == ((0, 1), [2, 4])
    assert both.results == made[2, 2].results + made[4, 2].results
    with pytest.raises(
        ValueError, match=r"with equal seeds can be joined, not with seeds 0, 1 and 0$"
    ):
        join_scores(made[2, 2], made[4, 1])
    with pytest.raises(ValueError, match="both scores contain the label budget 2"):
        join_scores(made[2, 2], made[2, 2])


def photos(folder, n: int = 30) -> None:
    """Noise of different sizes, one folder a class."""
    random = np.random.default_rng(0)
    for i in range(n):
        path = folder / f"{'ab'[i % 2]}/{i:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        size = (12 + i % 3, 10 + i % 4, 3)
        Image.fromarray(random.integers(0, 256, size, dtype=np.uint8)).save(path)


def test_the_online_probe_reads_its_files_once(tmp_path, monkeypatch):
    photos(tmp_path)
    monkeypatch.setattr("selfwise.data.image.memory.ROWS_AT_ONCE", 7)
    files = open_images(tmp_path, cache="no")
    method = cases.build("simclr")
    with monkeypatch.context() as patch:
        patch.setattr(
            "selfwise.evaluation.monitors.online_knn.load_into_memory", lambda images: images
        )
        reading = OnlineKNN(files, size=16, seed=3, every=1)
    probe = OnlineKNN(files, size=16, seed=3, every=1)
    for kept, read in ((probe.test, reading.test), (probe.reference, reading.reference)):
        assert isinstance(kept, ArrayImages)
        assert isinstance(read, FileImages)
        np.testing.assert_array_equal(
            extract_features(method.encoder, kept, size=16, batch=5),
            extract_features(method.encoder, read, size=16, batch=5),
        )
        assert list(kept.ids) == list(read.ids)
        assert kept.labels.tolist() == read.labels.tolist()
    first = probe(method)
    assert isinstance(probe, Probe)
    assert first == reading(method)
    for path in tmp_path.rglob("*.png"):
        path.unlink()
    assert probe(method) == first
    assert probe.warning(first) is None


def test_features_that_are_no_numbers_are_left_to_the_loop():
    method = cases.build("simclr")
    data = replace(images(20), labels=np.arange(20) % 2)
    probe = OnlineKNN(data, size=16, seed=0, every=1)
    assert 0 <= probe(method)["knn_top1"] <= 1
    next(method.encoder.parameters()).data.fill_(torch.nan)
    assert np.isnan(probe(method)["knn_top1"])


def test_a_damaged_file_is_one_sentence_from_a_loader_process_too(tmp_path):
    photos(tmp_path)
    files = open_images(tmp_path, cache="no")
    (tmp_path / "b" / "03.png").write_bytes((tmp_path / "b" / "03.png").read_bytes()[:90])
    told = []
    for workers in (0, 1):
        with pytest.raises(ReadError) as caught:
            extract_features(cases.build("simclr").encoder, files, size=16, workers=workers)
        told.append(str(caught.value))
    assert told[0] == told[1]
    assert len(told[0].splitlines()) == 1
    assert told[0].startswith(f"{tmp_path}/b/03.png: cannot be read: ")
