"""Defaults that depend on data, machine and budget: what a rule may change, and what it may not."""

import numpy as np
import pytest

import selfwise
from docs.generate.defaults import find_anchor
from selfwise.methods import find_method, own_names
from selfwise.methods.default_rules import BUDGET_OPTIONS, Conditions, DefaultRule
from selfwise.methods.rotation import Rotation
from selfwise.runs.data_rules import DATA_RULES
from selfwise.runs.defaults import choose_defaults, choose_for_budget, list_rules
from selfwise.runs.pretrain_config import config_class, make_request
from selfwise.training.config import resolve_training

DRAWINGS = Conditions(examples=5_000, image_kind="drawing", side=32, on_cpu=True)
PHOTOS = Conditions(examples=5_000, image_kind="photo", side=224)
WORDS = Conditions(examples=3_000, hours=0.4, clip_seconds=0.5, longest_seconds=15.6)


def request(method, data="x", **options):
    return make_request(method, options, data=data)


def chosen(made):
    return {name: made.sources[name] for name in made.sources}


def test_drawings_are_cropped_less_and_never_mirrored():
    made = choose_defaults(request("simclr"), DRAWINGS)
    options = made.config.method_options
    assert (options.min_crop_scale, options.flip_prob) == (0.5, 0.0)
    assert made.sources["min_crop_scale"] == made.sources["flip_prob"] == "data"


def test_large_photos_on_a_gpu_have_the_values_of_the_paper():
    made = choose_defaults(request("simclr"), PHOTOS)
    assert made.config == request("simclr").config
    assert made.sources == {}


def test_what_the_user_sets_stays():
    made = choose_defaults(request("simclr", min_crop_scale=0.3, temperature=0.4), DRAWINGS)
    assert made.config.method_options.min_crop_scale == 0.3
    assert made.config.method_options.temperature == 0.4
    assert "min_crop_scale" not in made.sources


def test_paper_switches_every_rule_off():
    made = request("simclr", defaults="paper")
    assert choose_defaults(made, DRAWINGS) is made
    training = resolve_training(made.config.training, made.kind, num_workers=0)
    assert choose_for_budget(made, DRAWINGS, training.replace(steps=100)).lr == training.lr


def test_a_cpu_gets_a_small_encoder_unless_one_is_named():
    small = choose_defaults(request("simclr"), DRAWINGS)
    assert small.encoder.options.layers == [1, 1, 1, 1]
    assert small.sources["encoder.layers"] == "machine"
    for named in (
        make_request("simclr", {}, data="x", encoder="resnet18"),
        request("simclr", **{"encoder.stem": "timm"}),
    ):
        made = choose_defaults(named, DRAWINGS)
        assert made.encoder == named.encoder
        assert made.config.method_options.min_crop_scale == 0.5, "the other rules still apply"


def test_an_encoder_without_the_option_is_left_alone():
    made = choose_defaults(request("beit"), DRAWINGS)
    assert "encoder.layers" not in made.sources


def test_few_images_get_a_batch_that_fits():
    few = DRAWINGS._replace(examples=100)
    assert choose_defaults(request("rotation"), few).config.training.batch_size == 32
    assert choose_defaults(request("rotation"), DRAWINGS).config.training.batch_size is None


def budget(made, steps, about=DRAWINGS):
    training = resolve_training(made.config.training, made.kind, num_workers=0)
    return choose_for_budget(made, about, training.replace(steps=steps))


def test_short_runs_train_with_lars_and_long_ones_as_the_paper():
    short, long = (budget(request("rotation"), steps) for steps in (1_000, 200_000))
    assert (short.optimizer, short.lr) == ("lars", 4.0)
    assert (long.optimizer, long.lr) == ("sgd", 0.1)


def test_a_rate_of_the_user_keeps_the_optimizer_that_it_belongs_to():
    assert budget(request("rotation", lr=0.05), 1_000).optimizer == "sgd"
    training = budget(request("rotation", optimizer="adamw", lr=1e-3), 1_000)
    assert (training.optimizer, training.lr) == ("adamw", 1e-3)


def test_the_penalty_of_hubert_goes_with_the_stem_that_it_gets():
    words = choose_defaults(request("hubert"), WORDS)
    assert words.config.method_options.feature_penalty == 0
    assert words.config.method_options.mask_length == 5
    wave = choose_defaults(make_request("hubert", {}, data="x", encoder="hubert-mini"), WORDS)
    assert wave.config.method_options.feature_penalty == 10


def test_a_step_of_sound_holds_the_longest_clip_that_the_user_allows():
    made = choose_defaults(
        request("hubert", max_clip_seconds=30.0), WORDS._replace(longest_seconds=30.0)
    )
    assert made.config.reading.batch_seconds == 30


class Turned(Rotation):
    """A method from outside, with a rule of its own."""

    rules = (DefaultRule("flip_prob", "data", lambda about: 0.25, "0.25", "none"),)


def test_a_rule_of_the_method_goes_before_one_about_the_data():
    made = choose_defaults(make_request(Turned, {}, data="x"), DRAWINGS)
    assert made.config.method_options.flip_prob == 0.25
    assert [rule.about for rule in list_rules(Turned) if rule.option == "flip_prob"] == ["0.25"]


def test_a_value_out_of_range_is_refused_as_if_the_user_had_given_it():
    class Wrong(Rotation):
        """A rule with a wrong value."""

        rules = (DefaultRule("flip_prob", "data", lambda about: 2.0, "2", "none"),)

    with pytest.raises(ValueError, match="flip-prob must be"):
        choose_defaults(make_request(Wrong, {}, data="x"), DRAWINGS)


@pytest.mark.parametrize("name", own_names())
def test_every_rule_is_about_an_option_and_has_its_experiment(name):
    kind = find_method(name)
    assert DATA_RULES.keys() == {"image", "text", "audio"}
    fields = config_class(kind)
    for rule in kind.rules:
        assert not rule.evidence or find_anchor(rule.evidence)
        section = rule.option.partition(".")[0]
        assert section == "encoder" or rule.option in flat(fields), rule.option
        assert (rule.source == "budget") == (rule.option in BUDGET_OPTIONS)
    for rule in DATA_RULES[kind.modality]:
        assert not rule.evidence or find_anchor(rule.evidence)


def flat(kind):
    from selfwise.core.config_class import list_option_paths

    return list_option_paths(kind)


def test_the_run_says_and_records_where_its_values_come_from(tmp_path, capsys):
    images = np.zeros((64, 1, 28, 28), np.uint8)
    images[:, :, 8:20, 10:18] = 255
    images[::2, :, 4:8, 4:24] = 255
    run = selfwise.pretrain(
        "simclr", data=images, out=tmp_path / "run", steps=2, temperature=0.3, monitor_every=0
    )
    resolved = run.record.resolved
    assert resolved["min_crop_scale"] == (0.5, "data")
    assert resolved["batch_size"] == (32, "data")
    assert resolved["lr"].source == "budget"
    assert resolved["temperature"] == (0.3, "user")
    assert resolved["weight_decay"].source == "paper"
    assert resolved["defaults"].value == "auto"
    said = capsys.readouterr().err
    assert "--min-crop-scale 0.5 (data)" in said
    assert "--lr" in said
    assert "--defaults paper" in said


TEXT = Conditions(characters=10_000_000, on_cpu=True, width=256)


def test_text_on_a_cpu_gets_short_rows_in_small_batches():
    made = choose_defaults(request("bert"), TEXT)
    assert (made.config.training.batch_size, made.config.reading.max_length) == (32, 64)
    on_gpu = choose_defaults(request("bert"), TEXT._replace(on_cpu=False))
    assert on_gpu.sources == {}


def test_a_budget_of_tokens_keeps_the_batch_open():
    made = choose_defaults(request("roberta", batch_tokens=4096), TEXT)
    assert made.config.training.batch_size is None
    assert made.config.reading.max_length == 64


def test_the_rate_of_text_follows_steps_and_width():
    bert, gpt = request("bert"), request("gpt")
    short = budget(bert, 3_000, TEXT)
    assert (short.lr, short.warmup, short.adam_beta2) == (7e-4, 0.06, 0.98)
    long, wide = budget(bert, 500_000, TEXT), budget(bert, 3_000, TEXT._replace(width=768))
    assert long.lr == wide.lr == 1e-4
    assert budget(gpt, 3_000, TEXT._replace(width=128)).lr == 4e-3
    assert budget(gpt, 3_000, TEXT).lr == 2e-3
