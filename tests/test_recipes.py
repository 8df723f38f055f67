"""Recipes: found by file name, say what they reach, and run, for a few steps, as they are."""

import numpy as np
import pytest
from PIL import Image

from selfwise import config, recipes


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


@pytest.mark.parametrize(
    ("name", "options"),
    [("simclr_cifar10", {"steps": 2, "batch": 32}), ("simclr_cifar10_cpu", {"steps": 2})],
)
def test_a_recipe_runs_and_scores(name, options, pictures, tmp_path):
    out = tmp_path / "run"
    score = recipes.find(name)(data=str(pictures), out=str(out), **options)
    assert score.n_test == 24
    assert {row["competitor"] for row in score.rows()} == {"pretrained", "untrained", "raw input"}
    told = config.read(out)["options"]
    assert told["steps"] == 2
    assert told["optimizer"] == "lars"
    with pytest.raises(ValueError, match="holds a run with seed 0, not 1"):
        recipes.find(name)(data=str(pictures), out=str(out), seed=1, **options)


@pytest.mark.parametrize("name", recipes.names())
def test_a_recipe_says_its_command_and_what_to_expect(name):
    text = recipes.find(name).__doc__ or ""
    assert f"selfwise run {name}" in text or f"selfwise {name}" in text
    assert "%" in text
    assert "Args:" in text


def test_the_quickstart_runs_twice(tmp_path, monkeypatch):
    from selfwise import competitors
    from selfwise.recipes import quickstart as module

    monkeypatch.setattr(competitors, "SCRATCH_RATES", (0.1,))
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
