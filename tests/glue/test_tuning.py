"""Fine-tuning in `selfwise glue`: what the seeds share, what starts from MNLI, what is said."""

import json
import shutil
from inspect import signature

import pytest
import torch

import selfwise
from selfwise.cli import main as cli
from selfwise.core.option_types import list_choices
from selfwise.evaluation.scores.names import PRETRAINED, UNTRAINED
from selfwise.glue import search as search
from selfwise.glue.benchmark import run_glue
from selfwise.glue.finetune import DivergenceError, finetune_on_task
from selfwise.glue.finetune_recipes import RECIPES

TOLD = {"mode": "finetune", "limit": 20, "quiet": True}


@pytest.fixture(scope="module")
def run(trained_bert, tmp_path_factory):
    """A copy, which is written into."""
    copy = tmp_path_factory.mktemp("tuning") / "run"
    shutil.copytree(trained_bert.folder, copy)
    return selfwise.load(copy)


@pytest.fixture
def trained(monkeypatch):
    """What every training was told; it takes one step."""
    seen = []

    def spy(run, train, asked, *, recipe, **told):
        seen.append({"task": train.task.name, "recipe": recipe, **told})
        quick = recipe._replace(steps=1, warmup=0)
        return finetune_on_task(run, train, asked, recipe=quick, **told)

    monkeypatch.setattr(search, "finetune_on_task", spy)
    return seen


def test_the_first_seed_searches_and_the_others_take_what_it_chose(run, data, trained, tmp_path):
    told = {**TOLD, "data": data, "tasks": "rte", "recipe": "small", "precision": "bf16"}
    (found,) = run_glue(run, out=tmp_path / "out", seeds=1, **told).tasks
    assert [len(one["recipe"].list_settings()) for one in trained] == [4, 4]
    assert {one["recipe"].precision for one in trained} == {"bf16"}
    path = tmp_path / "out" / "rte.json"
    chosen = {PRETRAINED: 5e-5, UNTRAINED: 1e-4}
    for fit in found["fits"]:
        fit["setting"]["rate"] = chosen.get(fit["competitor"])
    found["asked"]["seeds"], found["done"] = 3, False
    path.write_text(json.dumps(found))
    trained.clear()
    run_glue(run, out=tmp_path / "out", seeds=3, **told)  # goes on: the first seed is in the file
    assert [one["seed"] for one in trained] == [1, 1, 2, 2]
    assert [one["recipe"].rates for one in trained] == [(5e-5,), (1e-4,)] * 2
    assert [one["recipe"].batches for one in trained] == [(32,)] * 4


def test_a_seed_that_diverges_with_it_searches_anew(run, data, trained, tmp_path, monkeypatch):
    spy = search.finetune_on_task

    def diverging(run, train, asked, *, recipe, seed, **told):
        if seed == 1 and len(recipe.list_settings()) == 1:
            raise DivergenceError("no numbers")
        return spy(run, train, asked, recipe=recipe, seed=seed, **told)

    monkeypatch.setattr(search, "finetune_on_task", diverging)
    told = {**TOLD, "data": data, "tasks": "rte", "seeds": 2}
    run_glue(run, out=tmp_path / "out", recipe="small", **told)
    assert [(one["seed"], len(one["recipe"].list_settings())) for one in trained] == [
        (0, 4), (0, 4), (1, 4), (1, 4),
    ]  # fmt: skip
    with pytest.raises(ValueError, match="no numbers"):  # with one setting nothing is left to try
        run_glue(run, out=tmp_path / "fixed", recipe="fixed", **told)


def test_small_tasks_of_pairs_start_from_the_model_of_mnli(run, data, trained, tmp_path):
    told = {**TOLD, "data": data, "tasks": "rte,stsb,cola,mnli", "seeds": 2, "init_from": "mnli"}
    scores = run_glue(run, out=tmp_path / "out", **told)
    assert [one["task"] for one in trained[::4]] == ["mnli", "cola", "stsb", "rte"]
    assert [one["task"] for one in scores.tasks] == ["cola", "stsb", "mnli", "rte"]
    asked = {one["task"]: one["asked"].get("init_from") for one in scores.tasks}
    assert asked == {"cola": None, "stsb": "mnli", "mnli": "mnli", "rte": "mnli"}
    starts = {(o["task"], o["seed"], i % 2): o["start"] for i, o in enumerate(trained)}
    for seed in (0, 1):
        fresh = run.build_untrained(seed).state_dict()
        own = run.encoder.state_dict()
        for task in ("mnli", "cola"):
            assert starts[task, seed, 0] is None
            assert all(torch.equal(starts[task, seed, 1][n], w) for n, w in fresh.items())
        for task in ("stsb", "rte"):
            for place, (name, before) in enumerate([(PRETRAINED, own), (UNTRAINED, fresh)]):
                start = starts[task, seed, place]
                kept = torch.cat([w.flatten() for w in start.values()])
                moved = kept - torch.cat([before[n].flatten() for n in start])
                assert 0 < moved.abs().max() < 1e-3  # one step of 4e-5 away
                path = tmp_path / "out" / f"mnli-{name}-{seed}.safetensors"
                assert path.exists()
    assert not torch.equal(*(torch.cat([w.flatten() for w in starts["rte", s, 0].values()])
                             for s in (0, 1)))  # fmt: skip


def test_weights_that_are_gone_or_damaged_are_named(run, data, trained, tmp_path, capsys):
    told = {**TOLD, "data": data, "seeds": 1, "init_from": "mnli", "out": tmp_path / "out"}
    run_glue(run, tasks="mnli", **told)
    path = tmp_path / "out" / "mnli-pretrained-0.safetensors"
    for damage in (lambda: path.write_bytes(b"\x08"), path.unlink):
        damage()
        with pytest.raises(ValueError, match=r"mnli-pretrained-0\.safetensors, from which rte"):
            run_glue(run, tasks="mnli,rte", **told)


def refused(run, data, tmp_path, capsys, *options):
    told = ["--data", str(data), "--out", str(tmp_path / "out"), *options]
    assert cli.main(["glue", str(run.folder), *told]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


def test_options_that_do_not_go_together(run, data, tmp_path, capsys):
    said = refused(run, data, tmp_path, capsys, "--mode", "finetune", "--init-from", "mnli",
                   "--tasks", "rte")  # fmt: skip
    assert (
        "--init-from mnli: rte, mrpc, stsb start from the model of mnli, which is not among" in said
    )
    said = refused(run, data, tmp_path, capsys, "--mode", "finetune", "--init-from", "mnl")
    assert "--init-from must be mnli, not 'mnl'; did you mean 'mnli'?" in said
    said = refused(run, data, tmp_path, capsys, "--mode", "finetune", "--precision", "bf61")
    assert "--precision must be float32 or bf16, not 'bf61'; did you mean 'bf16'?" in said
    for option, value in (("--precision", "bf16"), ("--init-from", "mnli"), ("--recipe", "bert")):
        said = refused(run, data, tmp_path, capsys, option, value)
        assert f"{option} needs --mode finetune" in said
    assert not (tmp_path / "out").exists()


def test_a_long_training_says_how_far_it_is(run, data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(search, "PROGRESS_SECONDS", 0.0)
    told = {**TOLD, "data": data, "tasks": "rte", "seeds": 1, "out": tmp_path / "out"}
    run_glue(run, **{**told, "quiet": False})
    said = capsys.readouterr().out
    for name in (PRETRAINED, UNTRAINED):
        assert f"  {name}, seed 0, rate 4e-05, batch 16: step 10 of 10\n" in said


def test_every_recipe_can_be_chosen():
    assert set(list_choices(signature(run_glue).parameters["recipe"].annotation)) == set(RECIPES)
