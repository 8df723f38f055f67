"""Recipes: found by file name, say what they reach, and run, for a few steps, as they are."""

import ast
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from selfwise import recipes
from selfwise.runs.run_yaml import read_record


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """train/ and test/ with two classes that differ in brightness, 32 px, as CIFAR-10's JPEGs."""
    root = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for part, n in (("train", 256), ("test", 24)):
        for i in range(n):
            name, level = ("dark", 60) if i % 2 else ("light", 180)
            folder = root / part / name
            folder.mkdir(parents=True, exist_ok=True)
            noise = random.integers(-50, 50, (32, 32, 3))
            Image.fromarray((level + noise).astype(np.uint8)).save(folder / f"{i}.jpg")
    return root


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [("simclr_cifar10", {"steps": 2, "batch_size": 32}), ("simclr_cifar10_cpu", {"steps": 2})],
)
def test_a_recipe_runs_and_scores(name, options, pictures, tmp_path):
    out = tmp_path / "run"
    score = recipes.find_recipe(name)(data=str(pictures), out=str(out), **options)
    assert score.n_test == 24
    assert {row["competitor"] for row in score.rows()} == {"pretrained", "untrained", "raw input"}
    record = read_record(out)
    assert record.steps == 2
    assert record.training.optimizer == "lars"
    with pytest.raises(ValueError, match="holds a run with --seed 0, not 1"):
        recipes.find_recipe(name)(data=str(pictures), out=str(out), seed=1, **options)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """DIGIT_SPEAKER_NUMBER.wav: the digit is the pitch, the speaker the loudness of an overtone."""
    import soundfile

    root = tmp_path_factory.mktemp("digits")
    random = np.random.default_rng(0)
    time = np.arange(2_400) / 8_000
    for speaker, name in enumerate(("ann", "bob", "cem")):
        for digit in range(10):
            for number in range(8):
                pitch = 2 * np.pi * (200 + 90 * digit) * time
                wave = np.sin(pitch) + 0.3 * speaker * np.sin(2 * pitch)
                wave = 0.3 * wave + 0.02 * random.standard_normal(len(time))
                soundfile.write(root / f"{digit}_{name}_{number}.wav", wave, 8_000)
    return root


@pytest.mark.slow  # training
@pytest.mark.parametrize("exclude", ["", "bob"])
def test_spoken_digits_run_and_score(digits, tmp_path, monkeypatch, exclude):
    from selfwise.recipes import free_spoken_digits as module

    monkeypatch.setattr(module, "UNTRAINED", (0,))
    own = module.iterate_hubert.keywords["encoder_options"]
    small = {**own, "depth": 2, "dim": 32, "heads": 2}
    monkeypatch.setattr(
        module,
        "iterate_hubert",
        partial(module.iterate_hubert, encoder_options=small, num_clusters=12),
    )
    told = {"data": str(digits), "out": str(tmp_path / "out"), "steps": 2, "next_num_clusters": 8}
    found = module.free_spoken_digits(**told, exclude=exclude)
    assert found["MFCC: other speakers"] > 0.4  # one in ten is chance
    assert 0 < found["PNMI 1"] <= 1
    records = [read_record(tmp_path / "out" / f"iteration-{i}") for i in (1, 2)]
    assert [record.option("num_clusters") for record in records] == [12, 8]
    first = str(tmp_path / "out" / "iteration-1")
    assert records[1].option("targets") == records[1].option("init_from") == first
    heard = [record.info for record in records]
    assert all(i.examples + i.held_out_examples == (160 if exclude else 240) for i in heard)


@pytest.mark.slow  # training
@pytest.mark.parametrize("units", ["patches", "fsq", "dvae"])
def test_beit_runs_and_scores(pictures, tmp_path, monkeypatch, units):
    from selfwise.recipes import beit_cifar10_cpu as module

    monkeypatch.setattr(module, "UNTRAINED", (0,))
    told = {"data": str(pictures), "out": str(tmp_path / "out"), "steps": 2, "tokenizer_steps": 2}
    found = module.beit_cifar10_cpu(targets=units, cpu_threads=1, **told)
    assert set(found) == {"BEiT", "untrained 0", "pixels"}
    assert found["pixels"] > 0.9
    there = read_record(tmp_path / "out" / "beit").needs["targets"]
    assert there["num_clusters"] == 512
    assert (there["of"] == "patches") == (units == "patches")
    with pytest.raises(ValueError, match="did you mean 'fsq'"):
        recipes.run_recipe("beit_cifar10_cpu", targets="fsqq", **told)


@pytest.mark.parametrize("name", recipes.recipe_names())
def test_a_recipe_says_its_command_and_what_to_expect(name):
    text = recipes.find_recipe(name).__doc__ or ""
    assert f"selfwise run {name}" in text or f"selfwise {name}" in text
    assert "%" in text
    assert "Args:" in text


@pytest.mark.slow
def test_the_quickstart_runs_twice(tmp_path, monkeypatch):
    from selfwise.recipes import quickstart as module
    from selfwise.workflows import supervised

    monkeypatch.setattr(supervised, "SCRATCH_RATES", (0.1,))
    original = module.pretrain_or_resume
    monkeypatch.setattr(
        module, "pretrain_or_resume", lambda *a, **k: original(*a, **{**k, "steps": 3})
    )
    out = str(tmp_path / "run")
    first = module.quickstart(out=out, seeds=1)
    assert first.budgets == [10, 50, None]
    assert first.result("supervised", 10).n_train == 100
    assert module.quickstart(out=out, seeds=1).to_dict() == first.to_dict()
    assert len(list((tmp_path / "run" / "scores").glob("*.json"))) == 2


@pytest.mark.slow  # training
def test_pretexts_run_and_score(pictures, tmp_path, capsys):
    from selfwise.recipes import pretexts_cifar10 as module

    told = {"data": str(pictures), "out": str(tmp_path / "out"), "steps": 1, "cpu_threads": 1}
    found = module.pretexts_cifar10(methods="colorization,rotation,supervised", **told)
    assert list(found) == [
        "untrained, lightness", "colorization", "untrained", "rotation", "supervised", "pixels",
    ]  # fmt: skip
    assert [len(each) for each in found.values()] == [3, 1, 3, 1, 1, 1]
    assert found["pixels"][0].correct.mean() > 0.9
    assert len(found["pixels"][0].few_labels) == module.DRAWS
    table = capsys.readouterr().out
    assert "rotation_accuracy" in table
    assert "512" in table  # 128 images, each of which is seen four times
    with pytest.raises(ValueError, match="did you mean 'rotation'"):
        module.pretexts_cifar10(methods="rotatoin", **told)


@pytest.mark.parametrize("name", recipes.recipe_names())
def test_a_recipe_is_what_it_says_and_not_what_the_machine_decides(name):
    """Its numbers were measured with the values that it names and the paper's for the rest."""
    source = Path(recipes.__file__).with_name(f"{name}.py").read_text()
    calls = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and "pretrain_or_resume" in ast.unparse(node).split("(")[0]
    ]
    calls += [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) == "partial"
        and ast.unparse(node.args[0]) in ("pretrain_or_resume", "iterate")
    ]
    assert calls
    for call in calls:
        chosen = {word.arg: ast.unparse(word.value) for word in call.keywords}
        assert chosen.get("defaults") == "'paper'", ast.unparse(call)


@pytest.mark.parametrize("name", recipes.recipe_names())
def test_a_recipe_prints_names_from_data_visibly(name):
    file = Path(recipes.__file__).with_name(f"{name}.py")
    called = {node.func for node in ast.walk(ast.parse(file.read_text())) if type(node) is ast.Call}
    names = {function.id for function in called if isinstance(function, ast.Name)}
    assert not names & {"print", "Console"}  # but print_visible
