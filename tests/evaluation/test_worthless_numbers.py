"""Numbers that say nothing are refused, or carry a sentence."""

import numpy as np
import pytest
import torch

import selfwise
from selfwise import losses
from selfwise.cli import main as cli
from selfwise.glue import task_splits
from selfwise.glue.tasks import find_task
from selfwise.losses import triplet_mining as mining
from selfwise.training import checkpoint
from selfwise.workflows import perplexity as measuring


def test_a_contrastive_loss_needs_two_examples():
    a, b = torch.randn(2, 1, 8)
    with pytest.raises(ValueError, match="two examples or more, got 1"):
        losses.nt_xent(a, b)
    assert losses.nt_xent(*torch.randn(2, 2, 8)) > 0


@pytest.mark.parametrize("method", ["simclr", "triplet", "triplet_labelled"])
def test_a_batch_of_one_is_refused_before_a_folder_is_there(method, tmp_path, capsys):
    line = f"pretrain {method} --data digits --out {tmp_path / 'run'} --batch-size 1 --steps 1"
    assert cli.main(line.split()) == 2
    assert "--batch-size 1 is not possible" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_batch_hard_without_a_pair_has_no_triplet():
    identity = torch.arange(4)
    distance = mining.compute_squared_distances(torch.randn(4, 3))
    triplets = mining.mine_batch_hard(distance, identity, mining.find_positives(identity))
    assert not triplets.chosen.any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers_are_refused_by_name(value, tmp_path):
    module = torch.nn.Linear(3, 2)
    weights = {name: w.clone() for name, w in module.state_dict().items()}
    weights["bias"][1] = value
    with pytest.raises(ValueError, match="the weight bias has NaN or infinite values"):
        checkpoint.copy_weights(module, weights, where=tmp_path)
    assert module.bias.isfinite().all()


def test_a_loss_above_the_unigram_entropy_carries_a_sentence():
    good = {"lm_loss": 3.0, "unigram_entropy": 5.0, "perplexity": 20.0}
    assert "Warning" not in measuring.describe_perplexity(good)
    assert "not below the unigram entropy, 5.00" in measuring.describe_perplexity(
        {**good, "lm_loss": 5.0}
    )
    said = measuring.describe_perplexity({**good, measuring.TRAINING_TEXT: 1.0})
    assert "this is text that the run was trained on" in said
    assert measuring.TRAINING_TEXT not in said
    said = measuring.describe_perplexity({**good, measuring.TRAINING_TEXT: 0.25})
    assert "about 25% of this is text that the run was trained on" in said


def test_perplexity_on_the_training_text_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setenv("SELFWISE_CACHE", str(tmp_path / "cache"))
    for name in ("corpus", "other"):
        days = [[f"On day {i} of {name} {k} boats went out." for k in range(8)] for i in range(40)]
        lines = [" ".join(day) for day in days]
        (tmp_path / f"{name}.txt").write_text("\n\n".join(lines))
    encoder = {"encoder": "gpt-tiny", "encoder_options": {"dim": 16, "heads": 2, "depth": 1}}
    told = {
        "steps": 1,
        "batch_size": 2,
        "device": "cpu",
        "cpu_threads": 1,
        "quiet": True,
        "max_length": 16,
    }
    told |= {"tokenizer": "chars", "documents": "blank", **encoder}
    run = selfwise.pretrain("gpt", data=tmp_path / "corpus.txt", out=tmp_path / "run", **told)
    measure = {"documents": "blank"}
    same = measuring.perplexity(run, tmp_path / "corpus.txt", **measure)
    assert same[measuring.TRAINING_TEXT] == 1
    assert measuring.TRAINING_TEXT not in measuring.perplexity(
        run, tmp_path / "other.txt", **measure
    )
    known, new = ((tmp_path / f"{n}.txt").read_text().split("\n\n") for n in ("corpus", "other"))
    mixed, want = tmp_path / "mixed.txt", {1.0: known[:3], 0.5: [*known[:20], *new[:20]]}
    for share, lines in want.items():
        mixed.write_text("\n\n".join(lines))
        found = measuring.perplexity(run, mixed, **measure)[measuring.TRAINING_TEXT]
        assert abs(found - share) < 0.15  # a few of the known ones were held out
    mixed.write_text(" ".join(known))  # one document
    assert measuring.perplexity(run, mixed, documents="file")[measuring.TRAINING_TEXT] > 0.4
    own = measuring.perplexity(run)
    assert measuring.TRAINING_TEXT not in own
    # one step is nothing; an n-gram model has seen these sentences
    assert own[measuring.NGRAM_BITS] < 1 < own[measuring.BITS]
    said = measuring.describe_perplexity(own)
    assert "of an n-gram model of bytes on the same training text" in said
    few = measuring._read_documents(load_corpus(run), run.tokenizer, limit=50)
    assert sum(map(len, few)) == 50
    monkeypatch.setenv("SELFWISE_CACHE", str(tmp_path / "empty"))
    missing = measuring.perplexity(run, tmp_path / "other.txt", **measure)
    assert measuring.NGRAM_BITS not in missing
    assert measuring.BITS in missing


def load_corpus(run):
    trained = measuring._find_training_text(run)
    assert trained is not None
    return trained


def test_one_class_is_not_learned_whatever_its_number(tmp_path, capsys):
    images, labels = np.zeros((8, 16, 16), np.uint8), np.ones(8, np.int64)
    np.savez(tmp_path / "one.npz", x=images, y=labels)
    line = f"pretrain supervised --data {tmp_path / 'one.npz'} --out {tmp_path / 'run'} --steps 1"
    assert cli.main(line.split()) == 2
    assert "one class" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_run_that_diverges_at_once_leaves_no_folder(tmp_path, capsys):
    line = f"pretrain simclr --data digits --out {tmp_path / 'run'} --batch-size 16"
    line += " --steps 4 --lr 1e30"
    line += " --encoder resnet18 --encoder.layers [1,1,1,1] --encoder.channels [4,4,8,8] --quiet"
    assert cli.main([*line.split(), "--optimizer", "sgd", "--warmup", "0"]) == 2
    assert "selfwise: " in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_half_of_mnli_is_measured_and_the_other_half_named(monkeypatch):
    mnli = find_task("mnli")
    monkeypatch.setattr(task_splits, "list_splits", lambda data, task: ["train", "dev_matched"])
    found, left = task_splits.find_tasks("data", [mnli], required=False)
    assert found == ["mnli"]
    assert left == {"mnli-mm": "there is no dev_mismatched.tsv in MNLI"}
    monkeypatch.setattr(task_splits, "list_splits", lambda data, task: ["dev_matched"])
    monkeypatch.setattr(task_splits, "open_glue", lambda *_: None)
    found, left = task_splits.find_tasks("data", [mnli, find_task("rte")], required=False)
    assert "no train.tsv" in left["mnli"]
