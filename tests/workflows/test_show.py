"""What is shown of runs: options, state, scores, what differs, and how they are made again."""

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from selfwise.cli import main as cli
from selfwise.evaluation.scores.probe_score import format_percent
from selfwise.runs import score_groups
from selfwise.runs.create import pretrain
from selfwise.runs.reproduce import Change, format_reproduce_command, list_changes
from selfwise.runs.run_yaml import read_record
from selfwise.workflows import describe_runs as describe_runs
from selfwise.workflows.iterate import iterate
from selfwise.workflows.probe import probe
from tests.helpers import show_cases as cases
from tests.helpers import unit_cases
from tests.helpers.report_cases import TINY, photos, roberta, sentences, simclr


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Runs of three modalities, and their data, in a folder whose name a shell would read."""
    home = tmp_path_factory.mktemp("it's $HOME")
    data = photos(home / "my photos")
    simclr(data, home / "plain", temperature=0.2, knn_every=2, seed=3)
    deeper = {**TINY["encoder_options"], "zero_init_last": False}
    simclr(data, home / "longer", steps=6, batch_size=8, temperature=0.5, encoder_options=deeper)
    roberta(sentences(home / "text.txt"), home / "text")
    told = {**unit_cases.SPEECH, "iterations": 1}
    iterate("hubert", data=unit_cases.voices(home / "voices"), out=home / "speech", **told)
    probe(home / "plain", train=data, labels_per_class="4,all", seeds=2, quiet=True)
    probe(home / "longer", train=data, labels_per_class="4,all", seeds=2, quiet=True)
    return home


def copied(run: Path, to: Path) -> Path:
    return Path(shutil.copytree(run, to))


def said(*words, capsys) -> str:
    """What the command prints; it ends well."""
    assert cli.main([str(word) for word in words]) == 0
    return capsys.readouterr().out


def refused(*words, capsys) -> str:
    """The one sentence of a command that ends with exit code 2."""
    assert cli.main([str(word) for word in words]) == 2
    found = capsys.readouterr()
    assert found.out == ""
    assert found.err.startswith("selfwise: ")
    assert found.err.count("\n") == 1
    return found.err


def typed(command: str) -> list[str]:
    """The words of a command as a shell reads them."""
    script = f"selfwise() {{ printf '%s\\0' \"$@\"; }}; {command}"
    found = subprocess.run(["sh", "-c", script], capture_output=True, check=True, text=True)
    return found.stdout.split("\0")[:-1]


def row(text: str, name: str) -> list[str]:
    """The cells of a line that begins so."""
    (line,) = [line for line in text.splitlines() if line.strip().startswith(f"{name}  ")]
    return [cell.strip() for cell in line.split("  ") if cell.strip()][1:]


@pytest.mark.run
def test_options_state_and_metrics_of_one_run(home, capsys):
    text = said("show", home / "plain", capsys=capsys)
    assert text.startswith(f"simclr in {home / 'plain'}\n  step 4 of 4\n")
    newest = json.loads((home / "plain" / "metrics.jsonl").read_text().splitlines()[-1])
    assert row(text, "nt_xent") == [f"{newest['nt_xent']:.6g}"]
    changes = text.partition("options that differ from the defaults")[2].partition("all options")[0]
    assert row(changes, "temperature") == ["0.2", "not 0.5"]
    assert row(changes, "seed") == ["3", "not 0"]
    assert row(changes, "batch_size") == ["16", "not 256"]
    assert row(changes, "encoder.layers") == ["[1, 1, 1, 1]"]
    for usual in (
        "flip_prob",
        "optimizer",
        "lr",
        "device",
        "cpu_threads",
        "precision",
        "keep_last",
    ):
        assert f"  {usual}  " not in changes
    rest = text.partition("all options")[2]
    assert row(rest.partition("found")[0], "flip_prob") == ["0.5"]
    assert row(rest, "fingerprint") == [read_record(home / "plain").info.fingerprint]
    assert row(rest, "torch")


def test_scores_stand_beside_their_baselines(home, capsys):
    text = said("show", home / "plain", capsys=capsys)
    (file,) = (home / "plain" / "scores").glob("*.json")
    score = json.loads(file.read_text())
    where = f"a fifth of {(home / 'my photos').resolve()}"
    assert f"linear probe, {score['n_test']} test examples of {where}, in %" in text
    known = {(str(r["per_class"]), r["competitor"]): r for r in score["rows"]}
    assert row(text, "labels per class") == ["pretrained", "untrained", "raw input"]
    for budget in ("4", "all"):
        rows = [known[budget, n] for n in ("pretrained", "untrained", "raw input")]
        assert row(text, budget) == [format_percent(r["mean"], r["deviation"]) for r in rows]
    for sentence in score["sentences"]:
        assert sentence in text


def indented(text: str) -> str:
    return "".join(f"  {line}\n" for line in text.splitlines())


@pytest.mark.run  # a process
@pytest.mark.parametrize("name", ["plain", "longer", "text", "speech/iteration-1"])
def test_the_command_makes_the_run_again_bitwise(home, name, tmp_path, capsys):
    run, made = home / name, tmp_path / "made again's"
    record = read_record(run)
    shown = indented(format_reproduce_command(record, out=f"{run}-again").command)
    assert shown in said("show", run, capsys=capsys)
    assert cli.main(typed(format_reproduce_command(record, out=str(made)).command)) == 0
    again = read_record(made)
    assert again.options == record.options
    assert (again.info, again.needs) == (record.info, record.needs)
    last = f"checkpoints/step-{record.steps:08d}/model.safetensors"
    assert (made / last).read_bytes() == (run / last).read_bytes()
    assert (made / "metrics.jsonl").read_bytes() == (run / "metrics.jsonl").read_bytes()


@pytest.mark.run  # a process
def test_a_run_that_started_from_another_is_made_again(home, tmp_path):
    first, second, third = home / "plain", tmp_path / "second", tmp_path / "third"
    told = {"steps": 2, "batch_size": 12, "log_every": 1, "cpu_threads": 1, "quiet": True}
    pretrain("simclr", data=str(home / "my photos"), out=second, init_from=first, **told)
    command = format_reproduce_command(read_record(second), out=str(third)).command
    assert typed(command)[typed(command).index("--init-from") + 1] == str(first.resolve())
    assert cli.main(typed(command)) == 0
    assert unit_cases.weights(third, 2) == unit_cases.weights(second, 2)


@pytest.mark.run  # a process
def test_what_the_machine_chose_is_in_the_command():
    words = typed(
        format_reproduce_command(cases.settings(cpu_threads=7, device="cuda"), out="b").command
    )
    for name, value in {"cpu-threads": "7", "device": "cuda", "precision": "float32"}.items():
        assert words[words.index(f"--{name}") + 1] == value
    changes = list_changes(cases.settings(cpu_threads=7, device="cuda"))
    assert not {"cpu_threads", "device", "precision"} & {*changes}
    assert {"temperature", "batch_size", "steps"} <= {*changes}


@pytest.mark.run  # a process
def test_another_optimiser_has_no_rate_of_the_paper():
    """0.6 is SimCLR's rate for 64 examples with LARS; with SGD it must be said."""
    assert "--lr" not in format_reproduce_command(cases.settings(), out="b").command
    assert "lr" not in list_changes(cases.settings(lr=0.6))
    other = cases.settings(optimizer="sgd", lr=0.6)
    words = typed(format_reproduce_command(other, out="b").command)
    assert words[words.index("--lr") + 1] == "0.6"
    assert list_changes(other)["lr"] == Change(0.6, None)


@pytest.mark.run  # a process
def test_what_cannot_be_typed_is_told():
    record = cases.settings(data="<from Python>", forgotten=3)
    asked = {name: value for name, value in record.config.items() if name != "steps"}
    record = replace(record, config={**asked, "epochs": 2.0})
    found = format_reproduce_command(record, out="b")
    words = typed(found.command)
    assert words[words.index("--data") + 1] == "PATH"
    assert words[words.index("--steps") + 1] == "60"
    assert "--forgotten" not in words
    assert found.notes == [
        "The data were passed in Python: write them to files and name them as PATH.",
        "Its epochs of 2 gave 60 steps.",
        "Options of another version are left out: forgotten.",
    ]


@pytest.mark.run  # a process
def test_weights_from_elsewhere_are_imported_again():
    record = cases.settings("bert", data="<imported>")
    words = typed(format_reproduce_command(record, out="b").command)
    assert words == ["import", "bert", "a model's folder", "--out", "b"]


def test_weights_of_timm_are_imported_again_as_they_were():
    record = cases.settings("rotation", data="<imported>")
    asked = {"method": "rotation", "encoder": "resnet18", "image_size": 64}
    record = replace(record, imported={"family": "timm", "from": "a.safetensors", "asked": asked})
    words = format_reproduce_command(record, out="b").command.split()[1:]
    told = ["--method", "rotation", "--encoder", "resnet18", "--image-size", "64"]
    assert words == ["import", "timm", "a.safetensors", *told, "--out", "b"]


@pytest.mark.run
def test_only_what_differs_stands_beside_each_other(home, capsys):
    runs = [home / "plain", home / "longer"]
    text = said("show", *runs, capsys=capsys)
    assert row(text, "method") == ["simclr", "simclr"]
    assert row(text, "state") == ["step 4 of 4", "step 6 of 6"]
    options = text.partition("options that differ")[2].partition("found")[0]
    assert row(options, "temperature") == ["0.2", "0.5"]
    assert row(options, "steps") == ["4", "6"]
    assert row(options, "encoder.zero_init_last") == ["no"]
    for same in ("image_size", "encoder.layers", "data", "flip_prob", "save_every"):
        assert f"\n{same}  " not in options
    assert "found: nothing differs" in text
    assert "environment: nothing differs" in text
    scores = [score_groups.group_scores(show_scores(run), step=0)[0] for run in runs]
    values = [score_groups.format_row(one.rows["all", "pretrained"]) for one in scores]
    assert row(text, "linear probe, all labels: pretrained") == values


def show_scores(run: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in (run / "scores").glob("*.json")]


def test_runs_of_other_methods_and_modalities(home, capsys):
    text = said("show", home / "plain", home / "text", home / "speech/iteration-1", capsys=capsys)
    assert text.splitlines()[0].split() == ["plain", "text", "iteration-1"]
    assert row(text, "method") == ["simclr", "roberta", "hubert"]
    options = text.partition("options that differ")[2].partition("found, where")[0]
    assert row(options, "temperature") == ["0.2", "0.1"]  # text has none
    assert row(options, "encoder") == ["resnet18", "roberta-tiny", "hubert-tiny"]
    assert row(options, "tokenizer") == ["bpe:300"]
    found = text.partition("found, where it differs")[2]
    assert "environment: nothing differs" in found
    assert len(row(found, "fingerprint")) == 3
    assert row(found, "num_clusters.num_clusters") == ["6"]


def test_a_long_value_keeps_its_ends(tmp_path):
    long = [cases.folder(tmp_path / n, cases.settings(data=f"/{'x' * 90}/{n}")) for n in "ab"]
    line = row(describe_runs.show(long), "data")
    assert [len(text) for text in line] == [describe_runs.WIDTH - 1] * 2
    assert line == [f"/{'x' * 19}...{'x' * 18}/{n}" for n in "ab"]


def test_before_the_first_checkpoint(tmp_path, capsys):
    run = cases.folder(tmp_path / "run")
    text = said("show", run, capsys=capsys)
    assert f"step 0 of 60; continue with selfwise resume {run}" in text
    assert "last metrics" not in text
    beside = said("show", run, cases.folder(tmp_path / "other"), capsys=capsys)
    assert row(beside, "state") == ["step 0 of 60", "step 0 of 60"]
    assert "options: nothing differs" in beside


def test_damaged_weights_are_named(home, tmp_path, capsys):
    run = copied(home / "plain", tmp_path / "run")
    newest, older = (run / f"checkpoints/step-{n:08d}/model.safetensors" for n in (4, 2))
    newest.write_bytes(newest.read_bytes()[:-9])
    text = said("show", run, capsys=capsys)
    assert f"step 2 of 4; continue with selfwise resume {run}" in text
    assert "step-00000004: model.safetensors is truncated" in text
    assert "of step 4, not the newest" in text  # the score
    older.unlink()
    beside = said("show", home / "longer", run, capsys=capsys)
    assert row(beside, "state") == ["step 6 of 6", "step 0 of 4"]
    assert "run: step-00000002: model.safetensors is missing" in beside
    assert row(beside, "linear probe, all labels: pretrained")[1:] == []  # of other weights


def test_what_is_no_run(home, tmp_path, capsys):
    run = cases.folder(tmp_path / "run")
    assert "is not a run folder" in refused("show", tmp_path, capsys=capsys)
    assert "nowhere does not exist" in refused("show", run, tmp_path / "nowhere", capsys=capsys)
    assert "given twice" in refused("show", run, tmp_path / "run", capsys=capsys)
    assert "usage: selfwise show RUN..." in refused("show", capsys=capsys)
    (run / "run.yaml").write_text("method: simclr\noptions: [1")
    assert "not readable YAML" in refused("show", run, capsys=capsys)
    with pytest.raises(ValueError, match="name the folder of a run"):
        describe_runs.show([])


def test_the_help_says_what_is_shown(capsys):
    text = said("show", "--help", capsys=capsys)
    assert "usage: selfwise show RUN... [options]" in text
    assert "or the differences of several" in " ".join(text.split())
    assert "show       Show options, state, metrics and scores" in said("--help", capsys=capsys)


def test_a_log_that_is_not_whole(tmp_path, capsys):
    log = cases.lines(
        {"step": 20, "nt_xent": 3.0, "effective_rank": 8.0}, "{oops", {"step": 40, "nt_xent": 2}
    )
    run = cases.folder(tmp_path / "run", metrics=log + '{"step": 60, "nt_xent": 1.')
    text = said("show", run, capsys=capsys)
    assert row(text, "nt_xent") == ["2"]
    assert row(text, "effective_rank") == ["8 (step 20)"]
    assert "1 line of metrics.jsonl cannot be read" in text


def test_scores_of_older_versions_are_shown(tmp_path, capsys):
    run = cases.folder(tmp_path / "run", scores=[cases.older(cases.score())])
    text = said("show", run, capsys=capsys)
    assert "linear probe, 40 test examples, in %" in text
    known = score_groups.group_scores([cases.score()], step=0)[0]
    assert row(text, "all") == [
        score_groups.format_row(known.rows["all", n]) for n in known.competitors
    ]


def test_a_file_that_is_no_score(tmp_path, capsys):
    run = cases.folder(tmp_path / "run", scores=[cases.score()])
    (run / "scores" / "mine.json").write_text('{"kind": "linear"}')
    assert "mine.json is not a score written by selfwise probe" in refused(
        "show", run, capsys=capsys
    )


def test_scores_on_other_examples_are_not_in_one_line(tmp_path, capsys):
    told = [cases.score(test=name, data={"train": "a", "test": name}) for name in ("b", "c")]
    runs = [cases.folder(tmp_path / f"r{i}", scores=[one]) for i, one in enumerate(told)]
    lines = [
        line for line in said("show", *runs, capsys=capsys).splitlines() if line[:9] == "linear pr"
    ]
    assert {line.partition(" (")[0] for line in lines} == {
        "linear probe on b",
        "linear probe on c",
    }
    both = cases.folder(tmp_path / "both", scores=told)
    text = said("show", both, capsys=capsys)
    assert "linear probe on b (" in text
    assert "linear probe on c (" in text


def test_scores_of_older_weights_are_told_from_those_of_the_newest(tmp_path, capsys):
    old, new = cases.score(step=20, right=0.3, weights="v"), cases.score()
    runs = [cases.folder(tmp_path / n, scores=[s]) for n, s in (("old", old), ("new", new))]
    assert "in %, of step 20, not the newest" in said("show", runs[0], capsys=capsys)
    assert "not the newest" not in said("show", runs[1], capsys=capsys)
    beside = said("show", *runs, capsys=capsys)
    assert len(row(beside, "linear probe, all labels: pretrained")) == 1


def test_more_seeds_win_and_budgets_of_several_files_are_one_curve(tmp_path):
    few = cases.score(budgets=(2, 5), seeds=1)
    many = cases.score(budgets=(5, None), seeds=3, seed=1)
    newer = cases.score(budgets=(2,), seeds=1, seed=2)
    (one,) = score_groups.group_scores([many, few, newer], step=0)
    assert one.places == [2, 5, "all"]
    assert score_groups.count_seeds(one.rows[5, "pretrained"]) == 3
    assert one.rows[5, "pretrained"] == many["rows"][0]
    assert one.rows[2, "pretrained"] == newer["rows"][0] != few["rows"][0]  # of as many seeds


def test_names_do_not_move_the_cursor(tmp_path, capsys):
    run = cases.folder(tmp_path / "run", cases.settings(data="a\x1b[2Jb\nc"))
    text = said("show", run, capsys=capsys).partition("to reproduce it")[0]
    assert "\x1b" not in text
    assert row(text.partition("all options")[2], "data") == ["a\\x1b[2Jb\\nc"]


def test_numbers_that_differ_are_not_shown_the_same(tmp_path):
    rates = (0.1, 0.1 + 1e-9)
    runs = [cases.folder(tmp_path / str(i), cases.settings(lr=r)) for i, r in enumerate(rates)]
    assert row(describe_runs.show(runs), "lr") == ["0.1", "0.100000001"]
