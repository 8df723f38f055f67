"""Runs on several sources of text: what they record and print, and how they resume."""

import re
import shutil
from pathlib import Path

import pytest

import selfwise
from selfwise.cli import main as cli
from selfwise.cli.parse import parse_method_line
from selfwise.commands import import_commands
from selfwise.core.data_sources import DataSources
from selfwise.report.sections.examples import find_examples
from selfwise.report.sections.summary import shorten_data_name, write_title
from selfwise.runs.reproduce import format_reproduce_command
from selfwise.runs.run_yaml import read_record
from selfwise.workflows.perplexity import perplexity
from tests.data.text.test_mixture import story

QUICK = {"steps": 10, "batch_size": 16, "max_length": 16, "cpu_threads": 1, "quiet": True}
QUICK |= {"precision": "float32", "save_every": 2, "keep_last": 9, "log_every": 1}
QUICK |= {"tokenizer": "wordpiece:120", "val_fraction": 0.1, "monitor_every": 5}
QUICK |= {"encoder_options": {"dim": 16, "heads": 2, "depth": 1}}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    for name, count in (("a", 8), ("b", 4)):
        (folder / name).mkdir()
        for i in range(count):
            (folder / name / f"{i}.txt").write_text(story(i + 100 * count, 12))
    (folder / "c.txt").write_text(story(7, 30))
    return folder


@pytest.fixture(scope="module")
def runs(root, tmp_path_factory):
    """One run of each method, made when a test needs it."""
    made = {}

    def get(method):
        if method not in made:
            out = tmp_path_factory.mktemp("runs") / method
            told = {**QUICK, "encoder": f"{method}-tiny", "data_weights": [1, 2, 1]}
            made[method] = selfwise.pretrain(method, data=places(root), out=out, **told).folder
        return made[method]

    return get


def places(root: Path) -> list[Path]:
    return [root / "a", root / "b", root / "c.txt"]


def weights(run: Path) -> bytes:
    return (run / "checkpoints/step-00000010/model.safetensors").read_bytes()


def stopped(run: Path, copy: Path, step: int) -> Path:
    """A copy of the run as it was when it was stopped right after a step."""
    shutil.copytree(run, copy)
    for path in (copy / "checkpoints").glob("step-*"):
        if int(path.name[5:]) > step:
            shutil.rmtree(path)
    return copy


def refusal(capsys, *line) -> str:
    assert cli.main([str(word) for word in line]) == 2
    return capsys.readouterr().err.splitlines()[-1].removeprefix("selfwise: ")


@pytest.mark.run
@pytest.mark.parametrize("method", ["gpt", "bert"])
def test_a_resumed_run_is_bitwise_the_run_that_was_not_stopped(runs, tmp_path, method):
    run = runs(method)
    for step in (4, 8):
        copy = stopped(run, tmp_path / f"at{step}", step)
        selfwise.resume(copy, quiet=True)
        assert weights(copy) == weights(run)


@pytest.mark.run
def test_a_run_records_and_prints_each_source(root, runs, capsys, tmp_path):
    record = read_record(runs("gpt"))
    assert record.option("data") == [str(place) for place in places(root)]
    assert record.option("data_weights") == [1, 2, 1]
    documents = [source.documents for source in record.info.sources]
    assert documents == [8, 4, 1]
    assert sum(source.tokens for source in record.info.sources) == record.info.tokens
    assert len({source.fingerprint for source in record.info.sources}) == 3
    argv = [word for place in places(root) for word in ("--data", str(place))]
    argv += ["--data-weights", "1,2,1", "--steps", "1", "--batch-size", "4", "--max-length", "16"]
    assert cli.main(["pretrain", "gpt", *argv, "--out", str(tmp_path / "run")]) == 0
    printed = capsys.readouterr().err
    assert re.search(r"data +3 sources\n", printed)
    for place, count, part in zip(places(root), ("8", "4", "1"), ("25.0%", "50.0%", "25.0%")):
        assert re.search(rf"{place}: {count} documents? with .*; {part} of an epoch", printed)


@pytest.mark.run
def test_a_run_can_be_repeated_from_its_record(runs, root, tmp_path):
    config = runs("gpt") / "run.yaml"
    again = tmp_path / "again"
    line = ["pretrain", "--config", str(config), "--out", str(again), "--quiet"]
    assert cli.main(line) == 0
    assert weights(again) == weights(runs("gpt"))
    command = format_reproduce_command(read_record(again), out="x").command
    words = command.replace("\\\n", " ").split()
    assert [w for w, before in zip(words[1:], words) if before == "--data"] == [
        str(place) for place in places(root)
    ]
    assert words[words.index("--data-weights") + 1] == "1,2,1"


@pytest.mark.run
def test_held_out_text_is_of_every_source_and_one_number(runs):
    record = read_record(runs("gpt"))
    values = perplexity(runs("gpt"))
    assert values["unigram_entropy"] == pytest.approx(record.info.unigram_entropy, abs=1e-3)


@pytest.mark.run
def test_a_report_names_all_sources_and_shows_paragraphs_of_each(runs, root):
    run = runs("gpt")
    names = [shorten_data_name(str(place)) for place in places(root)]
    assert write_title([run]) == f"gpt on {' + '.join(names)}"
    shown = find_examples(selfwise.load(run), "", seed=0)
    assert shown.where.endswith(f"{' + '.join(names)}, which the run was trained on")
    texts = [*shown.examples.texts]
    for place in places(root):
        files = [place] if place.is_file() else place.iterdir()
        assert {file.read_text() for file in files} & {*texts}


@pytest.mark.run
def test_a_list_of_one_path_is_the_path(root, tmp_path):
    told = {**QUICK, "encoder": "gpt-tiny", "steps": 10}
    plain = selfwise.pretrain("gpt", data=root / "a", out=tmp_path / "plain", **told).folder
    listed = selfwise.pretrain("gpt", data=[root / "a"], out=tmp_path / "listed", **told).folder
    assert weights(plain) == weights(listed)
    assert (plain / "run.yaml").read_text() == (listed / "run.yaml").read_text()
    assert "  sources:" not in (plain / "run.yaml").read_text()


@pytest.mark.run
def test_moved_sources_are_accepted_and_others_are_not(runs, root, tmp_path, capsys):
    copy = stopped(runs("gpt"), tmp_path / "run", 8)
    moved = tmp_path / "moved"
    shutil.copytree(root, moved)
    said = refusal(capsys, "resume", copy, "--data", moved / "a", "--data", moved / "b")
    assert "has 3 numbers and --data has 2 sources" in said
    line = [w for place in ("b", "a", "c.txt") for w in ("--data", moved / place)]
    said = refusal(capsys, "resume", copy, *line)
    assert f"{moved / 'b'} differ from the source" in said
    assert "in the same order" in said
    selfwise.resume(copy, data=places(moved), quiet=True)
    assert weights(copy) == weights(runs("gpt"))
    assert read_record(copy).sources == [str(place) for place in places(moved)]


def test_a_changed_source_is_named(runs, root, tmp_path, capsys):
    copy, moved = stopped(runs("gpt"), tmp_path / "run", 8), tmp_path / "moved"
    shutil.copytree(root, moved)
    (moved / "b" / "0.txt").write_text("Another text.")
    line = [w for place in places(moved) for w in ("--data", place)]
    assert f"the data at {moved / 'b'} differ" in refusal(capsys, "resume", copy, *line)


def test_a_removed_source_is_named(runs, tmp_path, capsys):
    copy = stopped(runs("gpt"), tmp_path / "run", 8)
    record = copy / "run.yaml"
    record.write_text(re.sub(r"\S*c\.txt", str(tmp_path / "gone.txt"), record.read_text()))
    said = refusal(capsys, "resume", copy)
    assert "gone.txt no longer exists" in said
    assert "all sources in their order" in said


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--data-weights", "1,2,3"], "has 3 numbers and --data has 2 sources: give one weight"),
        (["--data-weights", "1"], "has 1 number and --data has 2 sources"),
        (["--data-weights", "0,1"], "--data-weights must be above 0, got 0"),
        (["--data-weights", "1,-2"], "--data-weights must be above 0, got -2"),
        (["--data-weights", "1,nan"], "--data-weights must be above 0, got nan"),
        (["--data-weights", "1,x"], "--data-weights must be a number, not 'x'"),
        (["--data-weights", "1,100000"], "gives {a} 0 tokens of an epoch, which is less than"),
        (["--data", "{b}"], "--data names {b} twice"),
        (["--data", "{b}x"], "{b}x does not exist"),
    ],
)
def test_wrong_sources_and_weights_are_errors(root, tmp_path, capsys, more, words):
    names = {"a": root / "a", "b": root / "b"}
    line = ["--data", root / "a", "--data", root / "b", *(word.format(**names) for word in more)]
    line += ["--batch-size", 4, "--max-length", 16, "--steps", 1, "--out", tmp_path / "run"]
    said = refusal(capsys, "pretrain", "gpt", *line)
    assert words.format(**names) in said
    assert not (tmp_path / "run").exists()


def test_a_list_of_str_with_weights_is_an_error_and_paths_as_str_a_warning(root, tmp_path, capsys):
    listed = [str(root / "a"), str(root / "b")]
    told = {**QUICK, "out": tmp_path / "run", "quiet": False}
    with pytest.raises(ValueError, match=r"data_weights has 2 .* as a list of Path"):
        selfwise.pretrain("gpt", data=listed, data_weights=[1, 2], **told)
    with pytest.raises(ValueError, match=r"does not fit the data"):
        selfwise.pretrain("gpt", data=listed, **{**told, "batch_size": 500})
    assert "to read these, give a list of Path" in capsys.readouterr().err


@pytest.mark.parametrize(("method", "what"), [("simclr", "images"), ("hubert", "recordings")])
def test_other_modalities_have_one_source(root, tmp_path, method, what):
    with pytest.raises(ValueError, match=rf"only methods on text mix several: put the {what}"):
        selfwise.pretrain(method, data=places(root), out=tmp_path / "run", steps=1)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("job.yaml", "method: gpt\ndata: [x, y]\ndata_weights: [1, 3]\nout: run\n"),
        ("job.yaml", "method: gpt\ndata:\n- x\n- y\ndata_weights: 1,3\nout: run\n"),
        ("job.toml", 'method = "gpt"\ndata = ["x", "y"]\ndata_weights = [1, 3]\nout = "run"\n'),
    ],
)
def test_a_config_file_may_list_sources(tmp_path, name, text):
    command = import_commands()["pretrain"]

    def parse(*line):
        words = ["--config", str(tmp_path / name), *line]
        return parse_method_line("pretrain", command, command.load_function(), words)

    (tmp_path / name).write_text(text)
    values = parse()
    assert values["data"] == DataSources(["x", "y"])
    weights = str(values["data_weights"]).strip("[]").split(",")
    assert [float(weight) for weight in weights] == [1, 3]
    assert parse("--data", "z")["data"] == "z"
    assert parse("--data", "z", "--data", "x")["data"] == DataSources(["z", "x"])


def test_other_commands_keep_the_last_of_several_values(root):
    from selfwise.cli.parse import parse_line

    command = import_commands()["embed"]
    line = ["run", "--data", "x", "--data", "y", "--out", "o.npz"]
    assert parse_line("embed", command, command.load_function(), line)["data"] == "y"
