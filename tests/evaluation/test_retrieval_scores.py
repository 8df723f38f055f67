"""What was retrieved, beside its baselines: the table, the intervals, and the way there."""

import json

import numpy as np
import pytest
from rich.console import Console

import selfwise
from selfwise.cli import main as cli
from selfwise.evaluation.features import image as image_features
from selfwise.evaluation.probes.retrieval import MAP, measure_retrieval
from selfwise.evaluation.scores.bootstrap import is_above_noise, paired_bootstrap
from selfwise.evaluation.scores.retrieval_score import RetrievalScore, compare_retrieval

TRUTH = np.repeat(np.arange(3), 50)
REQUIRED = ("pretrained", "untrained", "raw input")
PAIR = {"train": "digits:train", "test": "digits:test"}


def vectors(signal: float, seed: int = 0, truth: np.ndarray = TRUTH) -> np.ndarray:
    random = np.random.default_rng(seed)
    made = signal * np.eye(3, 8)[truth % 3] + random.standard_normal((len(truth), 8))
    return made.astype(np.float32)


def found(signal: float = 4.0, truth: np.ndarray = TRUTH) -> dict:
    return {
        "pretrained": [measure_retrieval(vectors(signal, 0, truth), truth)],
        "untrained": [measure_retrieval(vectors(2.0, seed, truth), truth) for seed in (1, 2, 3)],
        "raw input": [measure_retrieval(vectors(0.5, 4, truth), truth)],
    }


@pytest.fixture(scope="module")
def result() -> RetrievalScore:
    return compare_retrieval(found())


def text(result: RetrievalScore) -> str:
    console = Console(width=300, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(result.table())
    return " ".join(console.export_text().split())


def test_means_and_deviations_are_over_the_encoders(result):
    each = [one.values[MAP].mean() for one in result.by_competitor["untrained"]]
    assert result.mean(MAP, "untrained") == pytest.approx(np.mean(each))
    assert result.deviation(MAP, "untrained") == pytest.approx(np.std(each, ddof=1))
    assert result.deviation(MAP, "pretrained") is None
    assert (
        result.mean("recall@1") == result.by_competitor["pretrained"][0].values["recall@1"].mean()
    )
    assert result.measures == ["recall@1", "recall@2", "recall@4", "recall@8", "R-precision", MAP]
    for measure in result.measures:
        raw, twin, ours = (result.mean(measure, name) for name in reversed(REQUIRED))
        assert raw < twin < ours


def test_the_interval_is_paired_over_the_queries(result):
    keys = [(one.measure, one.competitor) for one in result.differences]
    assert keys == [(m, c) for m in ("recall@1", MAP) for c in REQUIRED[1:]]
    against = result.differences[2]
    ours = result.by_competitor["pretrained"][0].values[MAP]
    theirs = np.mean([one.values[MAP] for one in result.by_competitor["untrained"]], axis=0)
    assert against.difference == pytest.approx((ours - theirs).mean())
    assert against.interval == paired_bootstrap(ours, theirs, seed=0)
    assert against.interval[0] < against.difference < against.interval[1]
    assert against.verdict == "above the noise"
    assert is_above_noise(one.interval for one in result.differences)


def test_an_interval_over_values_that_are_hardly_ever_the_same(monkeypatch):
    random = np.random.default_rng(0)
    a, b = random.random(500), random.random(500)
    whole = paired_bootstrap(a, b, seed=0, draws=20_000)
    picks = random.integers(0, 500, (20_000, 500))
    expected = np.quantile((a - b)[picks].mean(axis=1), [0.025, 0.975])
    assert whole == pytest.approx(expected, abs=0.002)
    monkeypatch.setattr("selfwise.evaluation.scores.bootstrap.MAX_COUNTS", 1000)
    assert paired_bootstrap(a, b, seed=0, draws=20_000) == pytest.approx(whole, abs=1e-12)


@pytest.mark.parametrize(
    ("signal", "verdict"), [(2.0, "within the noise"), (0.0, "worse, beyond the noise")]
)
def test_sentences_say_what_the_intervals_say(signal, verdict):
    one, two = compare_retrieval(found(signal)).sentences()
    assert one.startswith("In recall@1, pretrained against untrained: ")
    assert two.startswith("In MAP@R, pretrained against untrained: ")
    assert f"), {verdict}; raw input: " in one


def test_it_is_plain_data(result):
    plain = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert (plain["kind"], plain["n_test"], plain["queries"]) == ("retrieval", 150, 150)
    assert len(plain["rows"]) == 6 * 3
    row = plain["rows"][1]
    assert (row["competitor"], row["measure"], len(row["values"])) == ("untrained", "recall@1", 3)
    assert row["low"] < row["difference"] < row["high"]
    assert row["mean"] == pytest.approx(np.mean(row["values"]))
    assert "difference" not in plain["rows"][0]
    assert plain["sentences"] == result.sentences()


def test_the_table_shows_it(result):
    shown = text(result)
    assert "retrieval in %, 150 queries, 150 test examples" in shown
    for measure in result.measures:
        ours, twin, raw = (f"{100 * result.mean(measure, name):.1f}" for name in REQUIRED)
        spread = f"{100 * result.deviation(measure, 'untrained'):.1f}"
        assert f"│ {measure} │ {ours} │ {twin} ± {spread} │ {raw} │" in shown
    assert all(sentence in shown for sentence in result.sentences())


@pytest.mark.parametrize(
    ("alone", "said"), [(1, "1 example was not a query: its"), (2, "2 were not queries: their")]
)
def test_it_says_how_many_were_left_out(alone, said):
    truth = np.concatenate([TRUTH, np.arange(3, 3 + alone)])
    result = compare_retrieval(found(truth=truth))
    assert result.sentences()[2] == f"{said} class has no other example."
    assert f"150 queries, {150 + alone} test examples" in text(result)
    assert result.to_dict()["left_out"] == alone
    assert result.to_dict()["n_test"] == 150 + alone


@pytest.mark.parametrize("missing", REQUIRED)
def test_nothing_without_its_baselines(result, missing):
    message = f"without its baselines is not a result: {missing} missing"
    kept = {name: several for name, several in result.by_competitor.items() if name != missing}
    with pytest.raises(ValueError, match=message):
        compare_retrieval(kept)
    with pytest.raises(ValueError, match=message):
        RetrievalScore(kept, result.differences)
    with pytest.raises(ValueError, match="untrained missing"):
        RetrievalScore(result.by_competitor, result.differences[1:2])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "digits"
    encoder = {
        "encoder": "resnet18",
        "encoder_options": {"layers": [1, 1, 1, 1], "channels": [4, 4, 8, 8]},
    }
    told = {**encoder, "steps": 1, "batch_size": 32, "cpu_threads": 1, "quiet": True}
    told["precision"] = "float32"  # in which `embed` computes
    return selfwise.pretrain("simclr", data="digits:train", out=out, **told, seed=1)


@pytest.mark.run
def test_a_run_is_measured_on_its_test_examples(run, capsys):
    result = selfwise.probe(run, **PAIR, kind="retrieval", quiet=True)
    ours = selfwise.embed(run, "digits:test")
    expected = measure_retrieval(ours.vectors, np.array([int(label) for label in ours.labels]))
    for measure in result.measures:
        assert np.array_equal(
            result.by_competitor["pretrained"][0].values[measure], expected.values[measure]
        )
    assert result.mean("recall@1", "raw input") > 0.95  # neighbours among digits look alike
    assert len(result.by_competitor["untrained"]) == 3
    assert result.deviation(MAP, "untrained") > 0
    command = ["probe", str(run.folder), "--train", PAIR["train"], "--test", PAIR["test"]]
    capsys.readouterr()
    assert cli.main([*command, "--kind", "retrieval"]) == 0
    assert "500 queries, 500 test" in " ".join(capsys.readouterr().out.split())
    (kept,) = (run.folder / "scores").glob("retrieval-*.json")  # both found the same
    plain = json.loads(kept.read_text())
    assert plain["rows"] == result.rows()
    assert plain["weights"] == run.weights
    assert cli.main(["show", str(run.folder)]) == 0
    assert "In MAP@R, pretrained against untrained" in capsys.readouterr().out


def test_no_features_are_computed_that_are_not_searched(run, monkeypatch):
    seen, original = [], image_features.extract_several

    def spy(encoder, images, **told):
        seen.append(len(images))
        return original(encoder, images, **told)

    monkeypatch.setattr(image_features, "extract_several", spy)
    selfwise.probe(run, **PAIR, kind="retrieval", layer=0, quiet=True)
    assert seen == [500] * 4


def test_other_classes_than_in_training_may_be_searched(run):
    x = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
    new = x, np.array(["heron", "egret"] * 20)
    result = selfwise.probe(run, train=x, test=new, kind="retrieval", quiet=True)
    assert result.to_dict()["queries"] == 40
    alone = selfwise.probe(run, train="digits:train", kind="retrieval", quiet=True)
    assert alone.to_dict()["n_test"] == 1297 // 5  # without test examples a fifth is split off
    with pytest.raises(ValueError, match="label"):
        selfwise.probe(run, train=x, test=x, kind="retrieval", quiet=True)


@pytest.mark.parametrize(
    ("option", "value"), [("--labels-per-class", "5"), ("--supervised-baseline", "true")]
)
def test_what_learns_from_labels_is_refused(run, option, value, capsys):
    command = ["probe", str(run.folder), "--train", PAIR["train"], "--kind", "retrieval"]
    assert cli.main([*command, option, value]) == 2
    said = capsys.readouterr().err.strip()
    assert (
        said
        == f"selfwise: {option} does not go with --kind retrieval, which does not learn from labels"
    )
    assert cli.main([*command[:-1], "retreival"]) == 2
    assert "retrieval" in capsys.readouterr().err
