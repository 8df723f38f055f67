"""Values of runs are compared where their numbers mean the same, and nowhere else."""

from dataclasses import replace

import pytest

from selfwise.workflows.comparability import explain_differences, group_comparable
from tests.helpers import show_cases as cases


def compare(metric, one, two):
    records = {"a": one, "b": two}
    return len(group_comparable(records, metric)) == 1, explain_differences(records, metric)


@pytest.mark.parametrize(
    "options",
    [
        {"lr": 0.1},
        {"seed": 3},
        {"steps": 90},
        {"proj_dim": 64},
        {"encoder.channels": [8, 8, 8, 8]},
        {"precision": "bf16"},
        {"num_workers": 2},
        {"init_from": "runs/x"},
        {"defaults": "paper"},
    ],
)
def test_what_leaves_the_task_alone(options):
    assert compare("nt_xent", cases.settings(), cases.settings(**options)) == (True, "")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"temperature": 0.9}, "temperature (0.2 in a; 0.9 in b)"),
        ({"batch_size": 256}, "batch size (64 in a; 256 in b)"),
        ({"min_crop_scale": 0.3}, "min crop scale (0.08 in a; 0.3 in b)"),
    ],
)
def test_what_changes_the_task(options, why):
    other = cases.settings(**options)
    for metric in ("nt_xent", "contrastive_top1", "alignment", "val/nt_xent"):
        assert compare(metric, cases.settings(), other) == (False, why)
    for metric in ("lr", "effective_rank", "uniformity", "knn_top1"):
        assert compare(metric, cases.settings(), other) == (True, "")


def test_the_batch_matters_where_its_examples_are_compared():
    one, two = (cases.settings("rotation", batch_size=n) for n in (64, 256))
    assert compare("rotation_loss", one, two) == (True, "")
    for name in ("simclr", "triplet", "triplet_labelled", "mine.py:Mine", "not-installed-here"):
        coupled = [replace(one, method=name) for one in (one, two)]
        assert not compare("rotation_loss", *coupled)[0], name


def test_other_methods_data_tokenizers_and_targets():
    bert, roberta = cases.settings("bert"), cases.settings("roberta")
    assert compare("mlm_loss", bert, roberta) == (False, "method (bert in a; roberta in b)")
    other = replace(bert, info=bert.info.replace(vocab=8192))
    assert compare("mlm_loss", bert, other) == (False, "vocabulary (300 in a; 8192 in b)")
    one, two = (cases.settings("bert", tokenizer=name) for name in ("bpe", "wordpiece"))
    assert not compare("mlm_loss", one, two)[0]
    one, two = (cases.settings("hubert", num_clusters=n) for n in (100, 500))
    assert compare("mlm_loss", one, two) == (False, "num clusters (100 in a; 500 in b)")
    other = replace(bert, info=bert.info.replace(fingerprint="77"))
    assert compare("mlm_loss", bert, other) == (False, "the data")
    assert compare("knn_top1", bert, other) == (False, "the data")
    assert compare("effective_rank", bert, other) == (True, "")
