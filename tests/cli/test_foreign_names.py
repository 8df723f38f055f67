"""Names from other tools, and the earlier ones of selfwise, lead to the names that are right."""

import pytest

from selfwise.cli import main as cli
from selfwise.commands import import_commands, make_method_classes
from selfwise.core.config_class import list_option_paths
from selfwise.core.errors import did_you_mean
from selfwise.core.foreign_names import ELSEWHERE, find_equivalent
from selfwise.methods import own_names


def refusal(capsys, *line):
    assert cli.main([str(word) for word in line]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    return said


@pytest.mark.parametrize(
    ("method", "typed", "right"),
    [
        ("simclr", "--output-dir", "--out"),
        ("simclr", "--learning-rate", "--lr"),
        ("simclr", "--gpus", "--devices"),
        ("simclr", "--batch", "--batch-size"),
        ("simclr", "--num_train_epochs", "--epochs"),
        ("simclr", "--workers", "--num-workers"),
        ("simclr", "--start", "--init-from"),
        ("simclr", "--crop", "--min-crop-scale"),
        ("jigsaw", "--crop", "--min-crop-side"),
        ("beit", "--mask-share", "--mask-ratio"),
        ("bert", "--mlm_probability", "--mask-prob"),
        ("bert", "--length", "--max-length"),
        ("hubert", "--longest", "--max-clip-seconds"),
        ("albert", "--longest", "--max-ngram"),
        ("hubert", "--alpha", "--unmasked-weight"),
    ],
)
def test_a_foreign_option_leads_to_ours(method, typed, right, tmp_path, capsys):
    said = refusal(capsys, "pretrain", method, "--data", "x", typed, "1", "--out", tmp_path / "run")
    assert said.endswith(f"; did you mean '{right}'?")
    assert not (tmp_path / "run").exists()


def test_an_underscore_is_a_dash(capsys):
    said = refusal(
        capsys, "pretrain", "simclr", "--num_workers", "two", "--data", "x", "--out", "y"
    )
    assert said == "selfwise: --num-workers must be a whole number, not 'two'"


@pytest.mark.parametrize(
    ("value", "right"), [("16-mixed", "fp16"), ("fp32", "float32"), ("bf16-mixed", "bf16")]
)
def test_a_foreign_value_leads_to_ours(value, right, capsys):
    said = refusal(capsys, "pretrain", "simclr", "--data", "x", "--out", "y", "--precision", value)
    assert said.endswith(f"not {value!r}; did you mean {right!r}?")


@pytest.mark.parametrize(("word", "right"), [("train", "pretrain"), ("eval", "probe")])
def test_a_foreign_command_leads_to_ours(word, right, capsys):
    assert refusal(capsys, word).endswith(f"; did you mean {right!r}?")


def test_a_name_is_no_equivalent_where_ours_is_not_there():
    assert find_equivalent("batch", ["lr", "steps"]) is None
    assert did_you_mean("batch", ["batches"]) == "; did you mean 'batches'?"


def test_no_foreign_name_is_an_option_of_the_method_that_has_ours():
    """Else the table would send users away from an option that exists."""
    pretrain = import_commands()["pretrain"]
    for method in own_names():
        kinds = make_method_classes(pretrain.load_function(), method)
        options = {name for kind in kinds for name in list_option_paths(kind)}
        for ours, elsewhere in ELSEWHERE.items():
            if ours in options:
                assert not options & set(elsewhere.split()), (method, ours)
