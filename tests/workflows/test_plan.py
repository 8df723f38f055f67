"""`selfwise plan`: it plans what `pretrain` then does, writes nothing, and names its evidence."""

import json
import shlex

import numpy as np
import pytest
import soundfile
from PIL import Image

import selfwise
from selfwise import commands
from selfwise.cli import main as cli
from selfwise.cli import parse
from selfwise.core.data_sources import DataSources
from selfwise.runs import steps
from selfwise.runs.forecast import propose
from selfwise.runs.forecast.propose import find_data_modality, propose_method
from selfwise.training.step_time import Pace
from selfwise.workflows import plan as workflow
from tests.workflows.test_next_steps import parsed

SMALL = {"cpu_threads": 1, "precision": "float32", "device": "cpu", "monitor_every": 0}
SMALL |= {"quiet": True}
TINY = {"layers": [1, 1, 1, 1], "channels": [4, 4, 8, 8]}
IMAGES = {"encoder": "resnet18", "encoder_options": TINY, "batch_size": 8, **SMALL}
TEXT = {"encoder": "gpt-tiny", "tokenizer": "chars", "batch_size": 4, "max_length": 16, **SMALL}
SOUND = {"encoder": "hubert-tiny", "num_clusters": 4, "batch_seconds": 4.0, **SMALL}
SOUND |= {"encoder_options": {"stem": "logmel", "dim": 32, "heads": 2}, "max_clip_seconds": 1.0}


def photos(folder, n=12, size=(24, 20)):
    random = np.random.default_rng(0)
    folder.mkdir()
    for i in range(n):
        Image.fromarray(random.integers(0, 256, (*size, 3), dtype=np.uint8)).save(
            folder / f"{i}.png"
        )
    return folder


def texts(folder, n=8):
    folder.mkdir()
    for i in range(n):
        (folder / f"{i}.txt").write_text(
            f"The sea was calm on day {i}. An island lay far out. " * 4
        )
    return folder


def recordings(folder, n=8):
    folder.mkdir()
    for i in range(n):
        wave = 0.3 * np.sin(np.arange(12_000) * (0.05 + 0.01 * i))
        soundfile.write(folder / f"{i}.wav", wave.astype(np.float32), 16_000)
    return folder


CASES = {
    "simclr": (photos, IMAGES, "image", "photo"),
    "gpt": (texts, TEXT, "text", "short texts"),
    "hubert": (recordings, SOUND, "audio", "words"),
}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty folder, and a cache apart from it."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("SELFWISE_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def pace(monkeypatch):
    """A step takes half a second and measuring takes no time, on any machine."""
    monkeypatch.setattr(steps, "measure_pace", lambda *args, **options: Pace(0.5, []))
    monkeypatch.setattr(steps, "monotonic", lambda: 0.0)


def files(folder):
    return {p.relative_to(folder): p.stat().st_size for p in folder.rglob("*") if p.is_file()}


@pytest.mark.run  # training
@pytest.mark.parametrize("method", CASES)
def test_a_plan_is_what_pretrain_then_does(method, home, tmp_path, pace, monkeypatch):
    make, options, modality, kind = CASES[method]
    data = make(tmp_path / "data")
    plan = selfwise.plan(method, data=data, minutes=0.05, **options)
    assert (plan.method, plan.modality, plan.kind, plan.steps) == (method, modality, kind, 6)
    assert plan.minutes == pytest.approx(0.05)
    assert not files(home), "a plan writes nothing"
    cached = files(tmp_path / "cache") if (tmp_path / "cache").exists() else {}
    monkeypatch.setenv("SELFWISE_CACHE", str(tmp_path / "other"))
    run = selfwise.pretrain(method, data=data, out="run", minutes=0.05, **options)
    written = files(tmp_path / "other") if (tmp_path / "other").exists() else {}
    assert {path.name for path in cached} <= {path.name for path in written}
    assert run.record.steps == plan.steps
    assert run.record.training.batch_size == plan.batch_size
    assert run.record.encoder_name == plan.encoder
    assert sum(p.numel() for p in run.encoder.parameters()) == plan.parameters
    for one in plan.defaults:
        assert run.record.resolved[one.option] == (one.value, one.source)


@pytest.mark.run  # training
def test_pretrain_prints_the_first_three_lines_of_the_plan(home, tmp_path, pace, capsys):
    data = photos(tmp_path / "data")
    options = {**IMAGES, "quiet": False, "minutes": 0.05}
    planned = str(selfwise.plan("simclr", data=data, **options)).splitlines()
    capsys.readouterr()
    selfwise.pretrain("simclr", data=data, out="run", **options)
    lines = capsys.readouterr().err.splitlines()
    start = lines.index("selfwise pretrain simclr")
    assert planned[0] == "selfwise plan simclr"
    assert planned[1:4] == lines[start + 1 : start + 4]
    assert [line.split()[0] for line in planned[1:4]] == ["encoder", "training", "worth"]
    assert max(map(len, planned[1:4])) <= 80


def test_a_plan_ends_with_advice_and_the_command(home, tmp_path, pace):
    data = photos(tmp_path / "with space")
    plan = selfwise.plan("simclr", data=data, minutes=0.05, min_crop_scale=0.3, **IMAGES)
    text = str(plan)
    assert "6 steps teach little: 300 take about 2.5 minutes here (--minutes 2.5)." in text
    assert text.endswith(plan.command)
    options = parsed(plan.command.replace("\\\n", " "))
    assert (str(options["data"]), float(options["minutes"])) == (str(data), 0.05)
    assert (float(options["min_crop_scale"]), str(options["out"])) == (0.3, "runs/simclr")
    assert options["encoder.layers"] == [1, 1, 1, 1]


def test_three_sentences_are_printed_and_json_has_all(home, pace, capsys, monkeypatch):
    many = [workflow.Advice(f"Sentence {i}.") for i in range(5)]
    monkeypatch.setattr(workflow, "list_advice", lambda facts: many)
    words = "plan simclr --data digits --steps 100 --batch-size 8 --monitor-every 0"
    line = [*words.split(), "--encoder", "resnet18", "--encoder.layers", "[1,1,1,1]"]
    assert cli.main(line) == 0
    printed = capsys.readouterr().out
    assert "Sentence 2." in printed
    assert "Sentence 3." not in printed
    assert cli.main([*line, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["text"] for one in found["advice"]] == [one.text for one in many]
    assert found["steps"] == 100
    assert found["forecast"]["text"].startswith(("probably", "about"))
    assert {"data", "score", "raw", "where"} <= found["forecast"]["cases"][0].keys()


def test_labels_per_class_are_those_of_the_forecast(home, tmp_path, pace):
    data = photos(tmp_path / "data")
    plan = selfwise.plan("simclr", data=data, steps=400, labels_per_class=1_000, **IMAGES)
    assert plan.forecast.labels_per_class == 1_000
    assert any("train supervised as well" in one.text for one in plan.advice)
    assert plan.steps == 400


def test_data_from_python_have_no_command(home, pace):
    images = np.random.default_rng(0).integers(0, 256, (16, 16, 16, 3), dtype=np.uint8)
    plan = selfwise.plan(data=images, minutes=0.05, **IMAGES)
    assert (plan.method, plan.proposed, plan.command) == ("simclr", True, "")
    assert "(proposed for these data)" in str(plan)


def test_weights_of_a_run_are_not_forecast_as_random_ones(home, tmp_path, pace):
    data = photos(tmp_path / "data")
    selfwise.pretrain("simclr", data=data, out="first", steps=1, **IMAGES)
    options = {n: v for n, v in IMAGES.items() if not n.startswith("encoder")}
    plan = selfwise.plan("simclr", data=data, init_from="first", steps=400, **options)
    assert plan.forecast.level == "not measured"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("plan", ["--data must be given"]),
        ("plan simclr", ["--data must be given"]),
        ("plan simclrr --data x", ["unknown method 'simclrr'", "simclr"]),
        ("plan --data nowhere", ["nowhere does not exist"]),
        ("plan --data empty", ["neither images, recordings nor text"]),
        ("plan simclr --data nowhere", ["nowhere", "not"]),
        (
            "plan simclr --data photos --labels-per-class 0",
            ["--labels-per-class must be at least 1"],
        ),
        ("plan simclr --data photos --minuets 3", ["unknown option --minuets", "--minutes"]),
        ("plan simclr --data photos --out full", ["full", "not empty"]),
        ("plan simclr --data photos --minutes 1 --steps 2", ["minutes", "steps"]),
    ],
)
def test_a_wrong_input_is_one_line(line, words, home, capsys):
    photos(home / "photos")
    (home / "empty").mkdir()
    (home / "full").mkdir()
    (home / "full" / "x").write_text("x")
    assert cli.main(shlex.split(line)) == 2
    (said,) = capsys.readouterr().err.splitlines()
    for word in words:
        assert word in said


def test_help_names_the_methods_and_the_optional_word(capsys):
    assert cli.main(["plan", "--help"]) == 0
    printed = capsys.readouterr().out
    assert "usage: selfwise plan [METHOD] [options]" in printed
    assert "simclr" in printed
    assert cli.main(["plan", "simclr", "--help"]) == 0
    assert "--labels-per-class" in capsys.readouterr().out


def test_a_line_without_a_method_has_the_options_of_the_proposed_one(home):
    photos(home / "photos")
    command = commands.import_commands()["plan"]
    argv = shlex.split("--data photos --temperature 0.3")
    options = parse.parse_method_line("plan", command, command.load_function(), argv)
    assert (options["method"], options["temperature"]) == ("", "0.3")
    argv = shlex.split("--data photos --mask-prob 0.3")
    with pytest.raises(ValueError, match="unknown option --mask-prob"):
        parse.parse_method_line("plan", command, command.load_function(), argv)


def test_methods_are_proposed_by_the_files(tmp_path, monkeypatch):
    monkeypatch.setattr(propose, "own_names", lambda: ["simclr", "roberta", "hubert"])
    assert propose_method(photos(tmp_path / "photos")) == "simclr"
    assert propose_method(texts(tmp_path / "texts")) == "roberta"
    assert propose_method(recordings(tmp_path / "sound")) == "hubert"
    assert propose_method("digits") == "simclr"
    assert propose_method("python-docs") == "roberta"
    assert propose_method(DataSources([tmp_path / "texts", "python-docs"])) == "roberta"


def test_small_text_gets_word_vectors_where_they_exist(tmp_path, monkeypatch):
    data = texts(tmp_path / "texts")
    monkeypatch.setattr(propose, "own_names", lambda: ["roberta", "word2vec"])
    assert propose_method(data) == "word2vec"
    assert propose_method(["one text", "another"]) == "word2vec"
    monkeypatch.setattr(propose, "SMALL_TEXT", 100)
    assert propose_method(data) == "roberta"


def test_tables_are_judged_by_what_they_name(tmp_path):
    tables = {
        "image": "path,label\nx/1.png,cat\n",
        "audio": 'path\tspeaker\n"a.wav"\tann\n',
        "text": "sentence,label\nA fine film,1\n",
    }
    for modality, rows in tables.items():
        suffix = "tsv" if "\t" in rows else "csv"
        (tmp_path / f"{modality}.{suffix}").write_text(rows)
        assert find_data_modality(tmp_path / f"{modality}.{suffix}") == modality


def test_objects_are_judged_by_their_types():
    pixels, waves = np.zeros((4, 8, 8), np.uint8), [np.zeros(800, np.float32)]
    assert find_data_modality(pixels) == "image"
    assert find_data_modality((pixels, np.arange(4))) == "image"
    assert find_data_modality(["a text"]) == "text"
    assert find_data_modality(waves) == "audio"
    assert find_data_modality((waves, [0])) == "audio"


def test_most_files_decide(tmp_path):
    folder = photos(tmp_path / "photos")
    (folder / "notes.txt").write_text("taken in June")
    (folder / ".hidden.wav").write_bytes(b"")
    assert find_data_modality(folder) == "image"
