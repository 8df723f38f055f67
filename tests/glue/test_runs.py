"""`selfwise glue` from end to end: kept as it comes, gone on with, put together, submitted."""

import json
from dataclasses import replace
from statistics import fmean

import numpy as np
import pytest
import torch

import selfwise
from selfwise.cli import main as cli
from selfwise.evaluation.scores.bootstrap import paired_bootstrap
from selfwise.evaluation.scores.names import PRETRAINED, UNTRAINED, WORDS
from selfwise.glue import compare, competitors
from selfwise.glue import search as search
from selfwise.glue.benchmark import run_glue
from selfwise.glue.finetune import finetune_on_task
from selfwise.glue.metrics import AVERAGES, METRICS
from selfwise.glue.scores import COMPETITORS, GlueScores
from selfwise.glue.submission import FILES, check_submission
from selfwise.glue.task_results import CompetitorFit, TaskResults
from selfwise.glue.tasks import find_task
from tests.helpers.glue_cases import ROWS, write_glue

TINY = {"encoder": "bert-tiny", "encoder_options": {"dim": 16, "heads": 2, "depth": 2}}
QUICK = {"poolings": "mean", "layers": "last", "seeds": 1, "quiet": True}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("glue")
    lines = [
        f"the {mood} sea was {mood} and a small boat went far again. it is a green island. "
        for mood in ("bad cold", "good warm", "old calm", "bad old")
    ]
    told = {**TINY, "tokenizer": "wordpiece:120", "documents": "line", "val_fraction": 0.0}
    told |= {
        "steps": 2,
        "batch_size": 4,
        "max_length": 16,
        "cpu_threads": 1,
        "precision": "float32",
    }
    (folder / "lines.txt").write_text("\n".join(line * 4 for line in lines))
    data = folder / "lines.txt"
    return selfwise.pretrain("bert", data=data, out=folder / "run", **told, quiet=True)


@pytest.fixture(scope="module")
def whole(run, data, tmp_path_factory):
    """All tasks, measured once."""
    out = tmp_path_factory.mktemp("whole") / "out"
    return run_glue(run, data=data, out=out, **QUICK), out


@pytest.mark.run
def test_all_tasks_come_with_baselines_averages_and_a_zip_that_can_be_sent(whole):
    scores, out = whole
    assert scores.left_out == {}
    columns = ["cola", "sst2", "mrpc", "stsb", "qqp", "mnli-m", "mnli-mm", "qnli", "rte", "wnli"]
    assert list(dict.fromkeys(row["column"] for row in scores.rows())) == columns
    told = json.loads((out / "glue.json").read_text())
    assert told == json.loads(json.dumps({"step": 2, **scores.to_dict()}))
    for row in told["rows"]:
        assert all(len(row[name]["values"]) == 1 for name in COMPETITORS)
        assert row["n"] == ROWS["dev"]
    for name in COMPETITORS:
        found = told["averages"][name]
        assert list(found) == [*AVERAGES, "mean of the 9 tasks here"]
        official = found["official (9 tasks)"]
        assert official == pytest.approx(found["mean of the 9 tasks here"])
        assert None not in found.values()
    # the labels are in the words
    assert told["averages"][WORDS]["BERT paper (9 columns, no WNLI)"] > 0.9
    ids = {name: [str(i) for i in range(ROWS["test"])] for name in FILES}
    check_submission(out / "glue.zip", ids)
    assert not list(out.glob(".*"))


def test_the_answers_are_the_pretrained_encoders(whole):
    scores, out = whole
    for name, expected in FILES.items():
        header, *rows = (out / name).read_text().splitlines()
        assert header == "index\tprediction"
        task = "mnli" if name == "AX.tsv" else expected.task.name
        found = next(one for one in scores.tasks if one["task"] == task)
        own = next(fit for fit in found["fits"] if fit["competitor"] == PRETRAINED)
        said = own["predicted"][name]
        if expected.task.labels:
            assert [row.split("\t")[1] for row in rows] == [expected.task.labels[i] for i in said]
        others = [fit for fit in found["fits"] if fit["setting"] != {"answer": "majority"}]
        assert all(name not in f["predicted"] for f in others if f["competitor"] != PRETRAINED)


def test_wnli_is_answered_with_the_majority_unless_a_probe_is_asked_for(run, data, whole, tmp_path):
    scores, _ = whole
    found = next(one for one in scores.tasks if one["task"] == "wnli")
    lines = (data / "WNLI" / "train.tsv").read_text().splitlines()[1:]
    ones = sum(line.split("\t")[-1] == "1" for line in lines)
    often = int(ones > len(lines) - ones)
    assert all(set(fit["predicted"]["wnli"]) == {often} for fit in found["fits"])
    assert found["comparisons"] == []
    assert any("--wnli probe" in said for said in scores.sentences())
    probed = run_glue(run, data=data, out=tmp_path / "a", tasks="WNLI", wnli="probe", **QUICK)
    (found,) = probed.tasks
    assert {len(set(fit["predicted"]["wnli"])) for fit in found["fits"]} == {2}
    assert [one["competitor"] for one in found["comparisons"]] == [UNTRAINED, WORDS]
    assert not any("--wnli probe" in said for said in probed.sentences())


def test_a_killed_run_goes_on_where_it_stopped(run, data, tmp_path, monkeypatch):
    told = {"data": data, "tasks": "rte,cola", **QUICK, "seeds": 2, "limit": 30}
    expected = run_glue(run, out=tmp_path / "whole", **told)
    original, calls = competitors.probe_frozen, []

    def counting(*arguments, **options):
        calls.append(arguments[0].task.name)
        if len(calls) == stop:
            raise KeyboardInterrupt
        return original(*arguments, **options)

    monkeypatch.setattr(competitors, "probe_frozen", counting)
    stop = 9  # cola has six fits, of rte two are there
    with pytest.raises(KeyboardInterrupt):
        run_glue(run, out=tmp_path / "cut", **told)
    assert len(json.loads((tmp_path / "cut" / "rte.json").read_text())["fits"]) == 2
    calls.clear()
    found = run_glue(run, out=tmp_path / "cut", **told)
    assert calls == ["rte"] * 4
    assert found.to_dict() == expected.to_dict()
    calls.clear()
    assert run_glue(run, out=tmp_path / "cut", **told).to_dict() == expected.to_dict()
    assert calls == []
    names = ("glue.json", "rte.json", "cola.json", "RTE.tsv", "CoLA.tsv")
    for name in names:
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert sorted(path.name for path in (tmp_path / "cut").iterdir()) == sorted(names)


def test_what_is_sent_is_the_seed_that_is_best_on_dev(tmp_path):
    split = {"train": "t", "mnli-m": "m", "mnli-mm": "mm", "MNLI-m.tsv": "x"}
    told = {"task": "mnli", "data": split, "rows": {}, "ids": {"MNLI-m.tsv": ["0"]}, "notes": []}
    kept = TaskResults(tmp_path / "mnli.json", {"weights": "w", "step": 1}, told)
    assert kept.choose_answers() == {}
    for seed, reached in enumerate([(0.9, 0.1), (0.6, 0.7), (0.7, 0.6), (0.2, 0.2)]):
        scores = dict(zip(("mnli-m", "mnli-mm"), ({"accuracy": value} for value in reached)))
        kept.add_fit(
            PRETRAINED, seed, CompetitorFit({}, [], {"MNLI-m.tsv": np.array([seed])}, scores)
        )
    best = {"mnli-m": {"accuracy": 1.0}, "mnli-mm": {"accuracy": 1.0}}
    kept.add_fit(UNTRAINED, 0, CompetitorFit({}, [], {}, best))
    (answers,) = kept.choose_answers().values()
    assert (answers.ids, answers.predicted.tolist()) == (["0"], [1])


def test_a_task_that_fails_does_not_stop_the_others(run, data, tmp_path, monkeypatch, capsys):
    original = competitors.probe_frozen

    def failing(train, *arguments, **options):
        if train.task.name == "cola" and bad:
            raise ValueError("cola: no numbers")
        return original(train, *arguments, **options)

    monkeypatch.setattr(competitors, "probe_frozen", failing)
    told = {"data": data, "out": tmp_path / "out", **QUICK, "quiet": False, "limit": 30}
    bad = True
    with pytest.raises(ValueError, match=r"cola: no numbers \(the other tasks are in .*out\)"):
        run_glue(run, tasks="cola,rte", **told)
    assert "cola failed: cola: no numbers" in capsys.readouterr().out
    told["quiet"] = True
    kept = json.loads((tmp_path / "out" / "glue.json").read_text())
    assert [row["column"] for row in kept["rows"]] == ["rte"]
    assert kept["left_out"] == {"cola": "cola: no numbers"}
    bad = False
    scores = run_glue(run, tasks="cola,rte", **told)
    assert [one["task"] for one in scores.tasks] == ["cola", "rte"]
    with pytest.raises(ValueError, match="cola: the 1 training rows that seed 0 draws have one"):
        run_glue(run, tasks="cola", **{**told, "limit": 1, "out": tmp_path / "one"})


def test_tasks_of_an_earlier_call_stay_in_the_table(run, data, tmp_path, capsys):
    out, place = tmp_path / "out", run.folder / "glue" / "frozen-2.json"
    place.unlink(missing_ok=True)  # of other tests
    told = {"data": data, "out": out, **QUICK, "limit": 30}
    run_glue(run, tasks="rte", **told)
    scores = run_glue(run, tasks="wnli,cola", **told)
    assert [one["task"] for one in scores.tasks] == ["cola", "rte", "wnli"]
    before = place.read_text()
    assert [row["column"] for row in json.loads(before)["rows"]] == ["cola", "rte", "wnli"]
    # another try with fewer tasks
    told |= {"quiet": False, "limit": 20, "out": tmp_path / "other"}
    scores = run_glue(run, tasks="rte", **told)
    assert [one["task"] for one in scores.tasks] == ["rte"]
    assert (
        "the run's report keeps its earlier table, which has more tasks" in capsys.readouterr().out
    )
    assert place.read_text() == before
    run_glue(run, tasks="rte", **{**told, "out": out, "limit": 30})
    assert len(json.loads(place.read_text())["rows"]) == 3
    # with other options those of the folder do not count
    (out / "rte.json").unlink()
    run_glue(run, tasks="rte", **{**told, "out": out, "limit": 20})
    assert len(json.loads((out / "glue.json").read_text())["rows"]) == 1
    place.unlink()
    own = run.folder / "glue"
    refused(
        capsys,
        "glue",
        run.folder,
        "--data",
        data,
        "--out",
        own,
        what=["holds the run's tables for"],
    )


def test_what_lies_in_the_folder_is_looked_at_first(run, tmp_path):
    data = write_glue(tmp_path / "glue_data", tasks=("rte", "wnli"))
    told = {"data": data, "out": tmp_path / "out", **QUICK, "limit": 30}
    run_glue(run, **told)
    (data / "WNLI").rename(tmp_path / "WNLI")
    scores = run_glue(run, **told)  # measured before, so nothing is left out
    assert [one["task"] for one in scores.tasks] == ["rte", "wnli"]
    assert "wnli" not in scores.left_out
    assert "cola" in scores.left_out
    (tmp_path / "out" / "rte.json").unlink()
    (tmp_path / "out" / "wnli.json").write_text("{}")
    with pytest.raises(ValueError, match=r"wnli\.json was not written by selfwise glue"):
        run_glue(run, **told)
    assert not (tmp_path / "out" / "rte.json").exists()


@pytest.mark.run
def test_it_is_said_whether_the_zip_can_be_sent(run, data, tmp_path, capsys):
    told = {"data": data, **QUICK, "quiet": False, "limit": 30, "wnli": "majority"}
    run_glue(run, out=tmp_path / "some", tasks="wnli,rte", **told)
    said = capsys.readouterr().out
    assert "no glue.zip: answers are missing for CoLA.tsv, SST-2.tsv" in said
    run_glue(run, out=tmp_path / "all", **told)
    said = capsys.readouterr().out
    assert "glue.zip would be refused: CoLA.tsv, line 8: 1,063 rows expected, got 6" in said


def test_other_ids_are_other_data(run, tmp_path):
    data = write_glue(tmp_path / "glue_data", tasks=("rte",))
    told = {"data": data, "out": tmp_path / "out", **QUICK, "limit": 30}
    run_glue(run, **told)
    path = data / "RTE" / "test.tsv"
    path.write_text(path.read_text().replace("\n0\t", "\n500\t"))
    with pytest.raises(ValueError, match=r"on other data, in RTE\.tsv"):
        run_glue(run, **told)


def test_averages_are_of_the_mean_or_the_median_over_seeds():
    values = {"cola": {"matthews": [0.1, 0.2, 0.6]}, "mrpc": {"f1": [0.8] * 3}}
    values["mrpc"]["accuracy"] = [0.4] * 3
    told = []
    for column, metrics in values.items():
        fits = [
            {"competitor": name, "seed": seed, "setting": {}}
            | {"scores": {column: {metric: metrics[metric][seed] for metric in metrics}}}
            for name in COMPETITORS
            for seed in range(3)
        ]
        told.append({"rows": {column: 9}, "fits": fits, "comparisons": [], "notes": []})
    for mode, middle in (("frozen", 0.3), ("finetune", 0.2)):
        scores = GlueScores(mode, told, {})
        assert scores.means(PRETRAINED)["cola"]["matthews"] == pytest.approx(middle)
        mean = scores.averages(WORDS)["mean of the 2 tasks here"]
        assert mean == pytest.approx((middle + 0.6) / 2)


def test_fine_tuning_starts_from_the_run_and_its_twin_from_fresh_weights(
    run, data, tmp_path, monkeypatch
):
    seen = []

    def spy(given, train, asked, *, recipe, seed, start, **told):
        seen.append((recipe.name, seed, len(train), len(asked), start))
        quick = recipe._replace(steps=1, warmup=0)
        return finetune_on_task(given, train, asked, recipe=quick, seed=seed, start=start, **told)

    monkeypatch.setattr(search, "finetune_on_task", spy)
    told = {"data": data, "mode": "finetune", "limit": 20, "quiet": True}
    scores = run_glue(run, out=tmp_path / "out", tasks="stsb,wnli", seeds=2, **told)
    assert [one[:4] for one in seen] == [
        ("fixed", seed, 20, count) for seed in (0, 1) for count in (2, 1)
    ]
    assert [one[4] is None for one in seen] == [True, False] * 2
    fresh = run.build_untrained(1).state_dict()
    assert all(torch.equal(seen[3][4][name], fresh[name]) for name in fresh)
    assert scores.tasks[0]["fits"][0]["setting"] == {
        "rate": 4e-5,
        "batch": 16,
        "epoch": 1,
        "examples": 20,
    }
    assert {path.name for path in (tmp_path / "out").glob("*.tsv")} == {"STS-B.tsv", "WNLI.tsv"}
    for wrong, said in (
        ({"layers": "0"}, "--layers needs --mode frozen"),
        ({"recipe": "brt"}, "did you mean 'bert'"),
        ({"recipe": "albert", "tasks": "wnli", "wnli": "probe"}, "albert has no settings for wnli"),
        ({"mode": "frozen", "recipe": "bert"}, "--recipe needs --mode finetune"),
    ):
        with pytest.raises(ValueError, match=said):
            selfwise.run_glue(run, out=tmp_path / "wrong", **{**told, **wrong})


def test_every_seed_draws_its_rows_and_its_twin(run, data, tmp_path, monkeypatch):
    seen, twins, original = [], [], competitors.probe_frozen

    def spy(train, asked, embed, tried, *, seed):
        seen.append((seed, tuple(train.texts.ids), [one.split for one in asked], list(tried)))
        return original(train, asked, embed, tried, seed=seed)

    monkeypatch.setattr(competitors, "probe_frozen", spy)
    fresh = type(run).build_untrained
    spied = lambda run, seed: twins.append(seed) or fresh(run, seed)  # noqa: E731
    monkeypatch.setattr(type(run), "build_untrained", spied)
    told = {**QUICK, "seeds": 2, "limit": 30, "layers": "all", "poolings": "mean,cls"}
    run_glue(run, data=data, out=tmp_path / "out", tasks="rte", **told)
    assert twins == [0, 1]
    assert [len(rows) for _, rows, _, _ in seen] == [30] * 6
    first, second = {rows for s, rows, *_ in seen if s == 0}, {r for s, r, *_ in seen if s == 1}
    assert len(first) == len(second) == 1  # the same for all competitors
    assert first != second
    assert [asked for *_, asked, _ in seen] == [["dev", "test"], ["dev"], ["dev"]] * 2
    assert [len(tried) for *_, tried in seen[:3]] == [8, 8, 2]


def test_tasks_that_are_not_there_are_left_out_and_said(run, tmp_path, capsys):
    root = write_glue(tmp_path / "glue", tasks=("cola", "mrpc", "qnli", "ax"))
    (root / "QNLI" / "train.tsv").unlink()
    (root / "MRPC" / "test.tsv").unlink()
    scores = run_glue(run, data=root, out=tmp_path / "out", **{**QUICK, "quiet": False})
    assert {row["column"] for row in scores.rows()} == {"cola", "mrpc"}
    assert scores.left_out["qnli"] == "there is no train.tsv in QNLI"
    assert scores.left_out["ax"] == "only the model of mnli answers it"
    assert set(scores.left_out) == {"qnli", "ax", "sst2", "stsb", "qqp", "mnli", "rte", "wnli"}
    assert "skipping qnli: there is no train.tsv in QNLI" in capsys.readouterr().out
    found = scores.averages(PRETRAINED)
    assert [found[name] for name in AVERAGES] == [None] * 3
    means = scores.means(PRETRAINED)
    both = fmean(means["mrpc"].values())
    assert found["mean of the 2 tasks here"] == pytest.approx(
        (means["cola"]["matthews"] + both) / 2
    )
    assert any("official (9 tasks): no average without sst2" in s for s in scores.sentences())
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"cola.json", "mrpc.json", "glue.json", "CoLA.tsv"}


def refused(capsys, *arguments, what):
    capsys.readouterr()
    assert cli.main([str(a) for a in arguments]) == 2
    error = capsys.readouterr().err
    lines = [line for line in error.splitlines() if line.startswith("selfwise: ")]
    assert len(lines) == 1, error
    for word in what:
        assert word in lines[0], lines[0]


@pytest.mark.run
def test_the_command_and_its_mistakes(run, data, tmp_path, capsys):
    out = tmp_path / "out"
    call = ["glue", run.folder, "--data", data, "--out", out, "--quiet"]
    small = ["--tasks", "rte", "--poolings", "mean", "--layers", "last", "--seeds", "1"]
    assert cli.main([str(a) for a in [*call, *small]]) == 0
    printed = capsys.readouterr().out
    assert "GLUE, dev in %, frozen, mean of seed 0" in printed
    assert f"Wrote all results to {out}" in printed
    other = write_glue(tmp_path / "other", tasks=("rte",), rows={**ROWS, "train": 41})
    (tmp_path / "file").write_text("")
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "rte.json").write_text('{"task": "rte"}')
    cases = [
        ([*call, "--tasks", "rtee"], ("rtee", "did you mean 'rte'")),
        ([*call, "--tasks", ","], ("--tasks",)),
        ([*call, "--tasks", "ax"], ("ax", "mnli")),
        ([*call, "--mode", "frozn"], ("frozn", "frozen")),
        ([*call, "--seeds", "0"], ("--seeds",)),
        ([*call, "--limit", "-1"], ("--limit",)),
        ([*call, "--wnli", "most"], ("most", "majority")),
        ([*call, "--layers", "lst"], ("lst", "last")),
        ([*call, "--layers", "2"], ("layer 2", "0 to 1")),
        ([*call, "--poolings", "men"], ("men", "mean")),
        ([*call, "--layers", ","], ("--layers",)),
        ([*call[:3], tmp_path / "nothing", *call[4:]], ("nothing", "is not a folder")),
        ([*call[:3], foreign, *call[4:]], ("foreign", "is this the folder of GLUE")),
        ([*call[:3], other, *call[4:], "--tasks", "rte,cola"], ("CoLA",)),
        ([*call[:5], tmp_path / "file", *small], ("file", "folder")),
        ([*call[:5], foreign, *small], ("rte.json", "--out")),
        ([*call, *small[:-1], "2"], ("rte.json", "seeds 1, not 2", "--out")),
        ([*call, *small[:-3], "0", *small[-2:]], ("settings last:mean, not 0:mean", "--out")),
        ([*call[:3], other, *call[4:], *small], ("rte.json", "other data, in train", "--out")),
    ]
    for arguments, what in cases:
        refused(capsys, *arguments, what=what)
    assert sorted(p.name for p in out.iterdir()) == ["RTE.tsv", "glue.json", "rte.json"]


def test_another_run_is_refused(run, data, tmp_path):
    told = {"data": data, "out": tmp_path / "out", "tasks": "rte", **QUICK}
    run_glue(run, **told)
    with pytest.raises(ValueError, match=r"rte\.json belongs to another run"):
        run_glue(replace(run, loaded=replace(run.loaded, weights="0" * 64)), **told)


def test_a_run_on_images_is_refused(data, tmp_path, capsys):
    images = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), dtype=np.uint8)
    told = {"steps": 1, "batch_size": 4, "cpu_threads": 1, "quiet": True, "encoder": "resnet10t"}
    made = selfwise.pretrain("simclr", data=images, out=tmp_path / "run", **told)
    call = ["glue", made.folder, "--data", data, "--out", tmp_path / "out"]
    refused(capsys, *call, what=("GLUE needs a run of bert", "image"))


@pytest.mark.run
@pytest.mark.parametrize("name", ["cola", "mrpc", "stsb", "rte"])
def test_the_interval_is_that_of_the_metric_on_resampled_examples(name):
    task, random = find_task(name), np.random.default_rng(0)
    if task.labels:
        truth = random.integers(0, 2, 120)
        ours, theirs = (np.where(random.random((2, 120)) < p, truth, 1 - truth) for p in (0.8, 0.6))
    else:
        truth = random.random(120) * 5
        ours, theirs = (truth + random.normal(size=(2, 120)) * s for s in (1, 3))
    value, interval = compare.compare_metric(task, truth, ours, theirs)
    metric = METRICS[task.metrics[0]]

    def between(rows):
        both = [fmean(metric(truth[rows], one[rows]) for one in fits) for fits in (ours, theirs)]
        return both[0] - both[1]

    assert value == pytest.approx(between(np.arange(120)))
    drawn = [between(random.integers(120, size=120)) for _ in range(300)]
    assert interval == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=0.05)
    assert interval[0] < value < interval[1]
    if name == "rte":
        right = [(fits == truth).mean(axis=0) for fits in (ours, theirs)]
        assert interval == paired_bootstrap(*right, seed=0)
    same = compare.compare_metric(task, truth, ours, ours)
    assert same == (0, (0, 0))


@pytest.mark.parametrize("name", ["cola", "mrpc", "stsb"])
def test_a_resampled_metric_is_the_metric_where_it_is_undefined_too(name):
    task = find_task(name)
    metric, some = task.metrics[0], np.array([0, 1, 1, 0]) if task.labels else np.arange(4.0)
    for truth in (some, some * 0, some * 0 + 1):
        for said in (some, some[::-1], some * 0, some * 0 + 1):
            found = compare._RESAMPLED_METRICS[metric](np.ones((1, 4)), truth, said)
            assert found == pytest.approx([METRICS[metric](truth, said)], abs=1e-9)
