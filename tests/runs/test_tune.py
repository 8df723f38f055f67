"""A search before a run: the choice, the budget, kills, and what the run folder holds."""

import json
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import selfwise
from selfwise.core.types import Step, Term
from selfwise.methods.method import Method, PaperDefaults
from selfwise.report.sections import tuning
from selfwise.runs import trials
from selfwise.runs.run_yaml import read_record
from selfwise.runs.trials import fit_options
from selfwise.runs.tune_record import read_tune_record
from selfwise.training.config import TrainingConfig, resolve_training

SIDE, STEPS, FRACTION = 8, 260, 0.5


class Views(NamedTuple):
    a: Tensor
    b: Tensor


class Denoise(Method):
    """Tell the mean color of an image from a noisy view.

    Args:
        encoder: any image encoder.
        noise: added to each view.
        collapse: added to the loss, times the size of the features.
    """

    modality = "image"
    paper = PaperDefaults("sgd", lr=1e-4, batch_size=20, warmup=0.0)
    candidates = MappingProxyType({"collapse": (0.0, 1e3)})

    def __init__(self, encoder, *, noise: float = 0.05, collapse: float = 0.0):
        super().__init__()
        self.encoder, self.noise, self.collapse = encoder, noise, collapse
        self.head = nn.Linear(encoder.dim, 3)

    def view(self, batch, rng):
        x = batch.x.float() / 255
        return Views(*(x + self.noise * rng.normal(len(x), *x.shape[1:]) for _ in "ab"))

    def counts(self, view):
        return {"mse": view.a.new_full((), len(view.a))}

    def forward(self, view):
        h = self.encoder(view.a).pooled
        error = self.head(h) - view.a.mean(dim=(2, 3))
        loss = error.square().sum() + self.collapse * h.square().sum()
        return Step({"mse": Term(loss, self.counts(view)["mse"])}, {})


def flat(in_channels: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * SIDE**2, 16))


def images(n=300):
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (n, 3, 2, 2), dtype=np.uint8)
    return coarse.repeat(SIDE // 2, axis=2).repeat(SIDE // 2, axis=3)


def pretrain(out, method=Denoise, data=None, **options):
    """The paper's rate is far too low; a rate ten times as high is right."""
    values = {"steps": STEPS, "tune": 5, "tune_fraction": FRACTION, "monitor_every": 0}
    values |= {"cpu_threads": 1, "log_every": 200, "batch_size": 20}
    return selfwise.pretrain(
        method,
        data=images() if data is None else data,
        encoder=flat,
        out=out,
        **(values | options),
    )


def weights(run):
    return {name: value.clone() for name, value in run.method.state_dict().items()}


@pytest.mark.run
def test_the_rate_that_is_clearly_best_is_chosen_and_the_budget_is_kept(tmp_path, capsys):
    run = pretrain(tmp_path / "run")
    record, found = run.record, read_tune_record(tmp_path / "run")
    assert record.resolved["lr"] == (1e-3, "tune")
    assert record.get("optimizer") == "sgd"
    spent = found.search.count_spent(found.measuring)
    assert found.measuring == 1, "a batch of 20; 10 more images would not fill another"
    assert spent <= FRACTION * STEPS
    assert record.steps == STEPS - spent
    assert {trial.seed for trial in found.search.trials} == {0}
    text = capsys.readouterr().err
    assert "search: 5 settings, 5 for 11 steps, then 2 for 33 steps; compared by the loss" in text
    assert f"{spent} of 260 steps with measurements, about" in text
    assert "search: trial 7 of 7, lr 0.000316, 33 steps: held out loss" in text
    assert "search: chose lr 0.001; 5 settings in 7 trials" in text
    shown = selfwise.show(tmp_path / "run")
    assert "search for a setting" in shown
    assert "--lr 0.001 --optimizer sgd" in shown
    assert "--tune" not in shown
    [section] = tuning.build_sections([tmp_path / "run"])
    assert section.parts[0].head == ["lr", "steps", "seed", "held out loss", ""]
    assert [row[-1] for row in section.parts[0].rows if row[-1]] == ["default", "chosen"]
    assert tuning.build_sections([tmp_path / "run", tmp_path / "run"]) == []


@pytest.mark.run
def test_the_run_after_the_search_is_the_run_with_these_options(tmp_path):
    tuned = pretrain(tmp_path / "tuned")
    plain = pretrain(tmp_path / "plain", tune=0, lr=1e-3, steps=tuned.record.steps)
    both = weights(tuned), weights(plain)
    assert all(torch.equal(value, both[1][name]) for name, value in both[0].items())


class Stopped(BaseException):
    """A kill: nothing catches it."""


def kill(out, monkeypatch, *, after):
    """Stop a search after some trials."""
    calls, run_trial = [], trials.Trials.run

    def stop(self, setting, steps, number):
        if len(calls) == after:
            raise Stopped
        calls.append(number)
        return run_trial(self, setting, steps, number)

    with monkeypatch.context() as patch:
        patch.setattr(trials.Trials, "run", stop)
        with pytest.raises(Stopped):
            pretrain(out, tune_options="noise")
    assert len(read_tune_record(out).search.trials) == after


def list_trials(folder):
    """The trials without their times, and the choice."""
    search = read_tune_record(folder).search
    return [trial._replace(seconds=0) for trial in search.trials], search.chosen


@pytest.mark.run
def test_a_search_that_is_killed_and_resumed_makes_an_equal_run(tmp_path, monkeypatch):
    whole = pretrain(tmp_path / "whole", tune_options="noise")
    for after in (3, 6):
        out = tmp_path / str(after)
        kill(out, monkeypatch, after=after)
        again = selfwise.resume(out, data=images(), method=Denoise, encoder=flat)
        assert list_trials(out) == list_trials(tmp_path / "whole")
        both = weights(whole), weights(again)
        assert all(torch.equal(value, both[1][name]) for name, value in both[0].items())
        assert again.record.config == whole.record.config


def test_an_unfinished_search_is_never_overwritten(tmp_path, monkeypatch):
    out = tmp_path / "run"
    kill(out, monkeypatch, after=1)
    before = (out / "tune.json").read_bytes()
    with pytest.raises(ValueError, match="holds an unfinished search; continue it with"):
        pretrain(out, tune=0)
    with pytest.raises(ValueError, match="unfinished search with steps 260, not 700"):
        pretrain(out, tune_options="noise", steps=700)
    with pytest.raises(ValueError, match="unfinished search on other data"):
        pretrain(out, tune_options="noise", data=images(200))
    with pytest.raises(ValueError, match="continues with the options that it began with"):
        selfwise.resume(out, steps=900)
    assert (out / "tune.json").read_bytes() == before


@pytest.mark.run
def test_other_options_are_chosen_without_the_loss(tmp_path):
    """The loss of a collapsed encoder would be compared with one that has another meaning."""
    run = pretrain(tmp_path / "run", tune=6, tune_options="collapse", steps=300)
    search = read_tune_record(tmp_path / "run").search
    assert search.judge == "label_free_score"
    assert set(search.trials[0].values) == {"label_free_score", "effective_rank", "view_agreement"}
    tried = {setting["collapse"] for setting in search.settings}
    assert tried == {0.0, 1e3}
    assert run.record.resolved["collapse"] == (0.0, "tune")
    assert run.method.collapse == 0


@pytest.mark.run
def test_the_held_out_images_are_not_in_a_batch_of_any_trial(tmp_path, monkeypatch):
    seen, fit = set(), trials.fit

    def watch(method, source, options, **others):
        for step in range(options.steps):
            seen.update(bytes(x.numpy()) for x in source[step].x)
        return fit(method, source, options, **others)

    held, make = set(), trials.split_data

    def split(prepared):
        data = make(prepared)
        read, count = data.held_out
        held.update(bytes(x.numpy()) for number in range(count) for x in read(number).x)
        return data

    monkeypatch.setattr(trials, "fit", watch)
    monkeypatch.setattr(trials, "split_data", split)
    pretrain(tmp_path / "run")
    assert len(held) == 20, "whole batches of 20"
    assert len(seen) == 280
    assert not seen & held


@pytest.mark.run
def test_minutes_are_shared_between_search_and_run(tmp_path):
    run = pretrain(tmp_path / "run", steps=None, minutes=0.2, batch_size=100, tune=2)
    record = read_tune_record(tmp_path / "run")
    assert record.search.rungs[0].steps <= record.search.plan[0][1]
    assert run.record.resolved["minutes"].value is None
    assert run.record.config["minutes"] == 0.2
    assert run.record.steps <= record.steps


class OneView(Denoise):
    """It makes one view."""

    def view(self, batch, rng):
        return super().view(batch, rng)._replace(b=None)


def test_refusals_leave_nothing_behind(tmp_path):
    out = tmp_path / "run"
    with pytest.raises(ValueError, match=r"needs 234 steps, 117 of them.* has 200: give 234"):
        pretrain(out, steps=200)
    with pytest.raises(ValueError, match="300 images in batches of 8 are too few"):
        pretrain(out, batch_size=8)
    with pytest.raises(ValueError, match="the loss of all 5 settings became NaN or infinite"):
        pretrain(out, lr=1e30)
    with pytest.raises(ValueError, match="a method that makes two views of an image"):
        pretrain(out, OneView, tune_options="noise")
    assert not out.exists()
    assert pretrain(out, steps=234).record.steps == 234 - 117


def test_text_without_held_out_documents_is_refused(tmp_path):
    texts = [f"The {word} sat on the mat. It was a {word}." for word in ("cat", "dog", "cow")] * 40
    with pytest.raises(ValueError, match="judges settings on held-out documents"):
        selfwise.pretrain(
            "gpt", data=texts, out=tmp_path / "run", val_fraction=0, tune=2, steps=400,
            tokenizer="bpe:300", batch_size=4, max_length=16,
            encoder_options={"depth": 1, "dim": 16, "heads": 2},
        )  # fmt: skip


def base(**options):
    kind = Denoise
    return resolve_training(TrainingConfig(**options), kind, num_workers=0)


def test_a_trial_has_a_whole_schedule_within_its_steps():
    options = fit_options(base(steps=1_000, warmup=100), {"lr": 0.5, "noise": 2.0}, 50)
    assert (options.steps, options.lr, options.warmup_steps) == (50, 0.5, 5)
    assert options.lr_at(49) < 0.01
    stable = fit_options(base(steps=1_000, warmup=0.1, schedule="wsd"), {}, 50)
    assert (stable.warmup_steps, stable.decay_start) == (5, 40)
    assert fit_options(base(steps=100), {"warmup": 0.2}, 50).warmup_steps == 10


def test_adam_has_a_higher_rate_in_a_trial_than_in_the_run():
    adam = fit_options(base(steps=1_000, optimizer="adamw", lr=1.0), {"lr": 0.5}, 100)
    assert adam.lr == pytest.approx(0.5 * 10**0.32)
    long = fit_options(base(steps=100_000, optimizer="adamw", lr=1.0), {"lr": 0.5}, 10)
    assert long.lr == 2.0
    assert fit_options(base(steps=1_000, optimizer="lars", lr=1.0), {"lr": 0.5}, 100).lr == 0.5


def test_what_the_run_records_says_that_a_search_chose(tmp_path):
    pretrain(tmp_path / "run", lr=2e-4, tune=2, steps=100)
    record = read_record(tmp_path / "run")
    assert record.resolved["lr"].source == "tune"
    assert record.config["lr"] == 2e-4
    content = json.loads((tmp_path / "run" / "tune.json").read_text())
    assert [setting["lr"] for setting in content["settings"]] == [2e-4, 6.32e-4]
    assert content["budget"] <= 50
