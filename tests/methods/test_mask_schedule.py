"""`final_mask_prob`: the fraction of masked tokens changes linearly during a run."""

import pytest
import torch

import selfwise
from selfwise.core.rng import Rng, generator
from selfwise.core.types import TextBatch, Vocabulary
from selfwise.distributed.sharding import LocalBatch
from selfwise.encoders.text import build_text_encoder
from selfwise.methods.bert import BERT
from selfwise.methods.roberta import RoBERTa
from selfwise.training.config import TrainingConfig, resolve_training
from selfwise.training.memory_estimate import measure_saved_bytes
from selfwise.training.step import _make_rng, build_state
from tests.data.text.test_mixture import story

SIZE, SPECIAL = 50, (0, 1, 2, 3, 4)
TINY = {"dim": 16, "heads": 2, "depth": 1}


def vocabulary():
    starts = torch.ones(SIZE, dtype=torch.bool)
    return Vocabulary(SIZE, starts, SPECIAL, 0, 1, first=2, last=3, mask=4)


def view(kind, progress, **options):
    given = {} if progress is None else {"progress": progress}
    rng = Rng(generator(1, "view"), seed=1, **given)
    return make_method(kind, **options).view(make_batch(), rng)


def make_method(kind, **options):
    encoder = build_text_encoder("bert-tiny", vocab=SIZE, seed=0, length=64, **TINY)
    return kind(encoder, vocab=vocabulary(), **options)


def make_batch():
    ids = torch.randint(5, SIZE, (8, 40), generator=torch.Generator().manual_seed(0))
    return TextBatch(ids, torch.arange(8))


def equal(a, b):
    return torch.equal(a.batch.ids, b.batch.ids) and torch.equal(a.chosen, b.chosen)


@pytest.mark.parametrize("kind", [BERT, RoBERTa])
@pytest.mark.parametrize(("progress", "share"), [(0.0, 0.4), (0.5, 0.3), (1.0, 0.2), (None, 0.2)])
def test_the_view_is_that_of_a_constant_fraction(kind, progress, share):
    changing = view(kind, progress, mask_prob=0.4, final_mask_prob=0.2)
    assert equal(changing, view(kind, progress, mask_prob=share))
    assert not equal(changing, view(kind, progress, mask_prob=0.25))


@pytest.mark.parametrize("kind", [BERT, RoBERTa])
def test_without_the_option_the_fraction_is_constant(kind):
    assert equal(view(kind, 0.0, mask_prob=0.2), view(kind, 0.7, mask_prob=0.2))


def test_micro_batches_have_one_progress():
    batch = LocalBatch(TextBatch(torch.zeros(4, 3, dtype=torch.int64), torch.arange(4)))
    for part in (slice(0, 2), slice(2, 4)):
        assert _make_rng(1, 5, part, batch, 4, 0.25).progress == 0.25


@pytest.mark.run
def test_a_resumed_run_equals_an_uninterrupted_one_and_a_longer_run_differs(
    tmp_path, capsys, monkeypatch
):
    seen, make_view = [], RoBERTa.view

    def record(self, batch, rng):
        seen.append(rng.progress)
        return make_view(self, batch, rng)

    monkeypatch.setattr(RoBERTa, "view", record)
    for i in range(4):
        (tmp_path / f"{i}.txt").write_text(story(i, 20))
    told = {"data": [tmp_path / f"{i}.txt" for i in range(4)], "encoder": "roberta-tiny"}
    told |= {"encoder_options": TINY, "steps": 6, "save_every": 3, "batch_size": 4}
    told |= {"max_length": 32, "cpu_threads": 1, "tokenizer": "wordpiece:200", "quiet": True}
    told |= {"mask_prob": 0.5, "final_mask_prob": 0.1, "schedule": "constant", "val_fraction": 0}
    run = selfwise.pretrain("roberta", out=tmp_path / "run", **told).folder
    assert seen[-6:] == [step / 6 for step in range(6)]
    last = run / "checkpoints/step-00000006"
    final = (last / "model.safetensors").read_bytes()
    for path in last.iterdir():
        path.unlink()
    last.rmdir()
    selfwise.resume(run, quiet=True)
    assert (last / "model.safetensors").read_bytes() == final
    selfwise.resume(run, steps=8)
    assert "with final_mask_prob the views depend on the number of steps" in capsys.readouterr().err


@pytest.mark.parametrize(("first", "last"), [(0.1, 0.6), (0.6, 0.1)])
def test_memory_is_estimated_where_most_is_masked(first, last):
    changing = measure_memory(mask_prob=first, final_mask_prob=last)
    assert changing == measure_memory(mask_prob=0.6) > measure_memory(mask_prob=0.1)


def measure_memory(**options):
    config = TrainingConfig(steps=6, batch_size=8, device="cpu", cpu_threads=1)
    training = resolve_training(config, RoBERTa, num_workers=0)
    state = build_state(make_method(RoBERTa, **options), training)
    return measure_saved_bytes(state, make_batch(), 8, seed=0)
