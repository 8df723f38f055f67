"""Each rule on a run made for it: it speaks where it should, is silent elsewhere, and its command
is one that the command line takes."""

import json
import shlex

import pytest

from selfwise import commands
from selfwise.cli import parse
from selfwise.runs.names import IMPORTED
from selfwise.workflows.next_steps import MAX_STEPS, RULES, list_next_steps, score_rules
from selfwise.workflows.next_steps import training_rules as training
from selfwise.workflows.next_steps.situation import read_situation
from tests.helpers import show_cases as cases
from tests.workflows.test_verdict import ABOVE, BELOW, WITHIN, at, score


def situation(path, told=None, *, log=(), scores=(), step=0):
    """What the rules see of a run folder made by hand."""
    folder = cases.folder(path / "run", told, metrics=cases.lines(*log), scores=list(scores))
    return read_situation(folder)._replace(step=step)


def good(**more):
    return score(*at(10, ABOVE, ABOVE), *at("all", ABOVE, ABOVE), **more)


def bad(**more):
    return score(*at(10, ABOVE, WITHIN), *at("all", ABOVE, BELOW), **more)


def parsed(command: str) -> dict:
    """The options that the command line reads out of a command."""
    program, word, *argv = shlex.split(command)
    assert program == "selfwise"
    module = commands.import_commands()[word]
    function = module.load_function()
    if commands.takes_method(module):
        options = parse.parse_method_line(word, module, function, argv)
    else:
        options = parse.parse_line(word, module, function, argv)
    assert options is not None
    return options


def test_a_run_that_stopped_is_resumed(tmp_path):
    run = situation(tmp_path)
    step = training.resume_unfinished(run)
    assert "step 0 of 60" in step.text
    assert parsed(step.command)["run"] == run.folder
    assert training.resume_unfinished(run._replace(step=60)) is None
    imported = situation(tmp_path / "b", cases.settings(data=IMPORTED))
    assert training.resume_unfinished(imported) is None


def test_what_was_not_probed_is_measured(tmp_path):
    step = score_rules.measure(situation(tmp_path))
    assert "raw pixels" in step.text
    assert parsed(step.command)["train"] == "PATH"
    assert score_rules.measure(situation(tmp_path / "b", scores=[good()])) is None


@pytest.mark.parametrize(
    ("line", "fires"),
    [
        ({"effective_rank": 1.4, "uniformity": -1.0}, True),
        ({"effective_rank": 9.0, "uniformity": -0.01}, True),
        ({"effective_rank": 9.0, "uniformity": -1.0}, False),
        ({}, False),
    ],
)
def test_a_collapse_wants_a_lower_rate(tmp_path, line, fires):
    step = training.mend_collapse(situation(tmp_path, log=[{"step": 20, "lr": 0.6, **line}]))
    assert (step is not None) == fires
    if step is not None:
        assert parsed(step.command)["lr"] == "0.3"


@pytest.mark.parametrize(("last", "fires"), [(3.5, True), (3.01, False), (2.0, False)])
def test_a_rising_held_out_loss_keeps_the_best(tmp_path, last, fires):
    losses = [4.0, 3.0, last]
    log = [{"step": 20 * i, "val/mlm_loss": v} for i, v in enumerate(losses, 1)]
    log[0]["val/mlm_accuracy"] = 0.1
    log[2]["val/mlm_accuracy"] = 0.9  # an accuracy may rise
    told = cases.settings(log_every=20)
    step = training.keep_best_weights(situation(tmp_path, told, log=log))
    assert (step is not None) == fires
    if step is not None:
        assert "since step 40, from 3 to 3.5" in step.text
        assert parsed(step.command)["keep_best"] == "-val/mlm_loss"


def test_a_small_test_set_says_how_many_examples_would_do(tmp_path):
    file = score(*at("all", ABOVE, (-0.01, 0.03)), n_test=40)
    for row in file["rows"]:
        row["verdict"] = "within the noise" if row["competitor"] == "raw input" else ""
    step = score_rules.add_test_examples(situation(tmp_path, scores=[file]))
    assert "40 examples leave +1.0 points" in step.text
    assert "About 180 would" in step.text  # an interval of +-2, made half as wide, and a tenth more
    assert parsed(step.command)["test"] == "LARGER_PATH"
    hopeless = json.loads(json.dumps(file))
    for row in hopeless["rows"]:
        row |= {"difference": 0.001} if row["competitor"] == "raw input" else {}
    for i, other in enumerate([hopeless, good(), bad()]):
        run = situation(tmp_path / str(i), scores=[other])
        assert score_rules.add_test_examples(run) is None


def test_labels_that_were_drawn_once_are_drawn_again(tmp_path):
    step = score_rules.draw_labels_again(situation(tmp_path, scores=[good(seeds=1)]))
    options = parsed(step.command)
    assert (options["labels_per_class"], options["seeds"]) == ("10,all", 5)
    assert score_rules.draw_labels_again(situation(tmp_path / "b", scores=[good(seeds=3)])) is None
    everything = score(*at("all", ABOVE, ABOVE), seeds=1)
    assert score_rules.draw_labels_again(situation(tmp_path / "c", scores=[everything])) is None


def test_a_disappointing_score_asks_for_another_layer(tmp_path):
    data = {"train": "some where", "test": "t"}
    step = score_rules.probe_another_layer(situation(tmp_path, scores=[bad(data=data)]))
    options = parsed(step.command)
    assert (options["layer"], options["train"], options["test"]) == (-2, "some where", "t")
    tried = [bad(), bad(layer=-2)]
    for i, files in enumerate(([good()], tried, [])):
        assert score_rules.probe_another_layer(situation(tmp_path / str(i), scores=files)) is None
    text = situation(tmp_path / "text", cases.settings("bert"), scores=[bad()])
    assert parsed(score_rules.probe_another_layer(text).command)["pooling"] == "layers"


def test_a_small_batch_of_simclr_is_enlarged(tmp_path):
    step = training.enlarge_batch(situation(tmp_path))
    assert parsed(step.command)["batch_size"] == "256"
    assert training.enlarge_batch(situation(tmp_path / "b", cases.settings(batch_size=256))) is None
    other = cases.settings("rotation", temperature=None)
    assert training.enlarge_batch(situation(tmp_path / "c", other)) is None


@pytest.mark.parametrize(("accuracy", "rule"), [(0.995, "solved"), (0.3, "chance"), (0.6, "")])
def test_a_task_that_is_too_easy_or_too_hard(tmp_path, accuracy, rule):
    told = cases.settings("rotation", temperature=None)
    run = situation(tmp_path, told, log=[{"step": 20, "rotation_accuracy": accuracy}])
    easy, hard = training.harden_task(run), training.ease_task(run)
    assert (easy is not None, hard is not None) == (rule == "solved", rule == "chance")
    assert not easy or "shortcut" in easy.text
    assert not hard or "near chance (25.0 %)" in hard.text


def test_chance_of_simclr_depends_on_the_batch(tmp_path):
    log = [{"step": 20, "contrastive_top1": 0.009}]  # 1 of 127 is chance
    assert training.ease_task(situation(tmp_path, log=log)) is not None
    log = [{"step": 20, "contrastive_top1": 0.09}]
    assert training.ease_task(situation(tmp_path / "b", log=log)) is None
    assert training.ease_task(situation(tmp_path / "c")) is None  # nothing is logged


def test_few_photos_begin_with_published_weights(tmp_path):
    told = cases.settings()
    photos = told.info.replace(size=64, channels=3)
    run = situation(tmp_path, scores=[bad()])
    step = training.start_from_published(run._replace(record=_with_info(told, photos)))
    options = parsed(step.command)
    assert options["encoder"] == "resnet18"
    assert options["encoder.pretrained"] == "true"
    assert training.start_from_published(run) is None  # 8 px, and gray
    tiny = _with_info(told, photos.replace(size=8))
    assert training.start_from_published(run._replace(record=tiny)) is None
    many = _with_info(told, photos.replace(examples=50_000))
    assert training.start_from_published(run._replace(record=many)) is None


def _with_info(record, info):
    from dataclasses import replace

    return replace(record, info=info)


def test_few_passes_want_a_longer_run(tmp_path):
    run = situation(tmp_path, scores=[good()], step=60)
    step = training.train_longer(run)
    assert "about 2.96 times" in step.text  # 60 steps of 64, of 1,297 examples
    assert parsed(step.command)["steps"] == "240"
    lengthened = situation(tmp_path / "wsd", cases.settings(schedule="wsd"), step=60)
    assert parsed(training.train_longer(lengthened).command)["steps"] == 240
    long = situation(tmp_path / "b", cases.settings(steps=6000), step=6000)
    assert training.train_longer(long) is None
    assert training.train_longer(run._replace(step=20)) is None  # it is resumed first
    text = situation(tmp_path / "c", cases.settings("bert"), scores=[good()], step=60)
    assert training.train_longer(text) is None


def test_other_methods_give_way_to_simclr(tmp_path):
    told = cases.settings("rotation", temperature=None)
    step = training.try_another_method(situation(tmp_path, told, scores=[bad()]))
    options = parsed(step.command)
    assert (options["method"], options["data"]) == ("simclr", "digits:train")
    assert training.try_another_method(situation(tmp_path / "b", told, scores=[good()])) is None
    assert training.try_another_method(situation(tmp_path / "c", scores=[bad()])) is None


def test_a_good_score_is_compared_repeated_and_used(tmp_path):
    run = situation(tmp_path, scores=[good(data={"train": "a", "test": "b"})], step=60)
    rival = score_rules.add_supervised_baseline(run)
    assert parsed(rival.command)["supervised_baseline"] is True
    again = score_rules.repeat_with_seed(run)
    assert parsed(again.command)["seed"] == 1
    export = score_rules.export_encoder(run)
    assert parsed(export.command)["to"] == "safetensors"
    worse = situation(tmp_path / "b", scores=[bad()], step=60)
    for rule in ("add_supervised_baseline", "export_encoder"):
        assert getattr(score_rules, rule)(worse) is None
    assert score_rules.repeat_with_seed(situation(tmp_path / "c")) is None
    rows = [*at("all", ABOVE, ABOVE), ("supervised", "all", 0.9, *BELOW)]
    compared = situation(tmp_path / "d", scores=[score(*rows)])
    assert score_rules.add_supervised_baseline(compared) is None


def test_no_command_needs_data_from_python(tmp_path):
    run = situation(tmp_path, cases.settings(data="<from Python>"), scores=[good()], step=60)
    for rule in RULES:
        step = rule(run)
        assert step is None or "<from" not in step.command


def test_the_most_urgent_come_first(tmp_path):
    log = [{"step": 20, "effective_rank": 1.0, "uniformity": 0.0}]
    steps = list_next_steps(situation(tmp_path, log=log).folder)
    assert [step.command.split()[1] for step in steps[:3]] == ["resume", "pretrain", "probe"]
    assert len(steps) <= MAX_STEPS
