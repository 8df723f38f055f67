"""Forecasts from measured cases: the table repeats the documents, and what follows from it."""

import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from docs.generate import forecasts as page
from selfwise.evaluation.scores.names import RAW_NAMES
from selfwise.methods import own_names
from selfwise.runs.forecast import advice as rules
from selfwise.runs.forecast.advice import Advice, PlanFacts, list_advice
from selfwise.runs.forecast.cases import FILE, IMPORT, MeasuredCase, read_cases
from selfwise.runs.forecast.estimate import (
    FARTHEST,
    TrainingOutline,
    forecast,
    measure_distance,
)
from selfwise.runs.forecast.hindsight import (
    count_errors,
    forecast_left_out,
    judge_difference,
    outline_case,
)
from selfwise.runs.presets.files import preset_names

DOCS = Path(__file__).parents[2] / "docs"
CASE = MeasuredCase(
    "image", "photo", "pets", "pets", 10_000, "simclr", "", 1_000, 20, 10, "accuracy",
    60.0, 40.0, 30.0, "none",
)  # fmt: skip
PLAN = TrainingOutline("image", "photo", 10_000, "simclr", steps=1_000)


@cache
def sections() -> dict[str, str]:
    """The entries of the results and the log by their titles, without dates."""
    found = {}
    for name in ("results", "log"):
        text = (DOCS / f"{name}.md").read_text(encoding="utf-8")
        for part in re.split(r"^## ", text, flags=re.M)[1:]:
            title, _, body = part.partition("\n")
            found[re.sub(r"^\d{4}-\d\d-\d\d: ", "", title)] = body
    return found


@pytest.mark.parametrize("case", read_cases(), ids=lambda c: f"{c.data}-{c.method}-{c.score:g}")
def test_a_case_repeats_numbers_of_the_entry_that_it_names(case):
    entries = sections()
    text = " ".join(entries[title.strip()] for title in case.where.split(";"))
    for number in (case.score, case.raw):
        assert re.search(rf"(?<![\d.]){re.escape(f'{number:.1f}')}(?!\d)", text), number


def test_cases_have_known_words():
    kinds = {"image": {"photo", "gray", "drawing"}, "text": {"running text", "short texts"}}
    kinds["audio"] = {"words", "speech"}
    for case in read_cases():
        assert case.kind in kinds[case.modality]
        assert case.modality in RAW_NAMES
        assert case.method in (*own_names(), IMPORT)
        assert case.start in ("", "published")
        assert case.steps or case.core_minutes or case.method == IMPORT
        assert case.labels_per_class > 0


@pytest.mark.parametrize(
    ("row", "words"),
    [("image,photo,pets", "line 2: expected 15 cells, got 3"),
     ("image,photo,pets,pets,many,simclr,,1,1,10,accuracy,60,40,30,none", "line 2.*'many'")],
)  # fmt: skip
def test_a_wrong_row_is_named_with_its_line(tmp_path, row, words):
    head = FILE.read_text(encoding="utf-8").splitlines()[0]
    file = tmp_path / "cases.csv"
    file.write_text(f"{head}\n{row}\n")
    with pytest.raises(ValueError, match=words):
        read_cases(file)


def test_an_equal_case_is_at_distance_zero_and_decides():
    assert measure_distance(PLAN, CASE) == 0
    one = forecast(PLAN, [CASE])
    assert (one.level, one.difference, one.cases) == ("above", 20.0, (CASE,))
    assert forecast(PLAN, [CASE._replace(score=20.0)]).level == "below"
    assert forecast(PLAN, [CASE._replace(score=41.0)]).level == "level"


@pytest.mark.parametrize(
    ("change", "farther"),
    [({"kind": "drawing"}, True), ({"amount": 100}, True), ({"steps": 100}, True),
     ({"method": "triplet"}, True), ({"labels_per_class": 1_000}, True), ({}, False)],
)  # fmt: skip
def test_each_difference_adds_distance_and_uncertainty(change, farther):
    near, far = forecast(PLAN, [CASE]), forecast(PLAN._replace(**change), [CASE])
    assert (far.distance > near.distance) == farther
    assert (far.high - far.low > near.high - near.low) == farther


@pytest.mark.parametrize(
    "change",
    [{"modality": "text"}, {"method": "beit"}, {"start": "published"}, {"steps": 1},
     {"method": "my_module:Method"}],
)  # fmt: skip
def test_nothing_is_promised_where_nothing_near_was_measured(change):
    one = forecast(PLAN._replace(**change), [CASE])
    assert one.level == "not measured"
    assert str(one) == "not measured: nothing like this was measured"


def test_core_minutes_count_where_steps_are_not_known():
    case = CASE._replace(steps=0)
    near = measure_distance(PLAN._replace(core_minutes=20), case)
    assert near == 0
    assert measure_distance(PLAN._replace(core_minutes=400), case) > near
    assert measure_distance(PLAN, case) > near, "an unknown budget is a distance, too"


def test_nearer_cases_weigh_more():
    other = CASE._replace(score=30.0, labels_per_class=300)
    mean = forecast(PLAN, [CASE, other]).difference
    assert 5 < mean < 20
    assert forecast(PLAN, [CASE, other]).cases == (CASE, other)
    assert measure_distance(PLAN, other) < FARTHEST


def test_a_forecast_is_a_short_line_that_says_how_many_labels():
    assert str(forecast(PLAN, [CASE])) == (
        "probably above raw pixels at few labels (+16 to +24 points)"
    )
    many = PLAN._replace(labels_per_class=1_000)
    assert "with 1,000 labels per class" in str(forecast(many, [CASE]))
    for modality in RAW_NAMES:
        case = CASE._replace(modality=modality, score=41.0)
        line = str(forecast(PLAN._replace(modality=modality), [case]))
        assert len(line) <= 66, "with its name it fits into 80 columns"


def test_a_set_is_forecast_without_its_own_cases():
    other = CASE._replace(data="pets, seen from above", score=45.0)
    far = CASE._replace(data="cars", trained_on="cars", score=20.0)
    first, second, third = forecast_left_out([CASE, other, far])
    assert first.forecast.cases == second.forecast.cases == (far,)
    assert set(third.forecast.cases) == {CASE, other}


def test_both_kinds_of_error_are_counted():
    bad = CASE._replace(data="cars", score=20.0)
    pets, cars = count_errors(list(forecast_left_out([CASE, bad])))
    assert (pets.data_set, pets.missed, pets.broken_promises, pets.promised) == ("pets", 1, 0, 0)
    assert (cars.data_set, cars.missed, cars.broken_promises, cars.promised) == ("cars", 0, 1, 1)
    level = CASE._replace(data="cars", score=41.0)
    assert count_errors(list(forecast_left_out([CASE, level])))[1].broken_promises == 1
    assert [judge_difference(x) for x in (2, 1.9, -1.9, -2)] == ["above", "level", "level", "below"]


def test_published_weights_are_not_forecast():
    assert list(forecast_left_out([CASE._replace(method=IMPORT)])) == []


def test_the_table_of_the_results_is_the_one_that_the_cases_give():
    assert page.read_written_table() == page.make_forecast_table().strip(), (
        "write it again: python -m docs.generate.forecasts"
    )


def facts(step_seconds=0.1, size=32, channels=3, flip_prob=0.0, **change) -> PlanFacts:
    outline = PLAN._replace(**change)
    numbers = {"size": size, "channels": channels, "flip_prob": flip_prob}
    return PlanFacts(outline, forecast(outline), "--data pets/", step_seconds, **numbers)


def test_too_few_steps_are_named_with_the_minutes_that_are_enough():
    one = rules.give_more_time(facts(steps=120, step_seconds=2.0))
    assert one == Advice("120 steps teach little: 300 take about 10 minutes here (--minutes 10).")
    assert "1 step teaches" in rules.give_more_time(facts(steps=1)).text
    assert rules.give_more_time(facts(steps=300)) is None
    assert "minutes" not in rules.give_more_time(facts(steps=20, step_seconds=0)).text


@pytest.mark.parametrize(
    ("change", "applies"),
    [({"amount": 1_200}, True), ({"amount": 5_000}, False), ({"kind": "drawing"}, False),
     ({"channels": 1}, False), ({"size": 28}, False), ({"start": "published"}, False)],
)  # fmt: skip
def test_few_photos_start_from_published_weights(change, applies):
    one = rules.start_from_published(facts(**{"amount": 1_200, **change}))
    assert (one is not None) == applies
    assert not applies or "--encoder.pretrained true" in one.command


def test_little_text_and_sound_import_published_weights():
    text = {"modality": "text", "kind": "running text", "method": "bert"}
    one = rules.start_from_published(facts(**text, amount=1e6))
    assert one.command == "selfwise import bert FOLDER --out runs/bert"
    assert "published weights had 73.9" in one.text
    assert rules.start_from_published(facts(**text, amount=1e9)) is None
    speech = {"modality": "audio", "kind": "words", "method": "hubert"}
    assert "import hubert" in rules.start_from_published(facts(**speech, amount=0.3)).command
    assert rules.start_from_published(facts(**speech, amount=100)) is None


def test_word_vectors_are_proposed_once_the_method_exists(monkeypatch):
    text = {"modality": "text", "kind": "running text", "method": "bert"}
    monkeypatch.setattr(rules, "own_names", lambda: ["bert"])
    assert rules.use_word2vec(facts(**text, amount=1e6)) is None
    monkeypatch.setattr(rules, "own_names", lambda: ["bert", "word2vec"])
    one = rules.use_word2vec(facts(**text, amount=1e6))
    assert one.command == "selfwise plan word2vec --data pets/"
    assert "bert had 63.5 where a bag of words had 86.3" in one.text
    assert rules.use_word2vec(facts(**text, amount=1e9)) is None
    assert rules.use_word2vec(facts(**{**text, "method": "word2vec"}, amount=1e6)) is None


@pytest.mark.parametrize(
    ("method", "preset"), [("bert", "bert-fast"), ("roberta", "bert-fast"), ("gpt", "gpt-fast")]
)
def test_transformers_on_small_text_start_from_word_vectors(method, preset):
    text = {"modality": "text", "kind": "running text", "method": method}
    one = rules.use_fast_preset(facts(**text, amount=1e6))
    assert one.command == f"selfwise plan --config {preset} --data pets/"
    assert preset in preset_names()
    assert "nats" in one.text
    assert rules.use_fast_preset(facts(**text, amount=1e9)) is None
    assert rules.use_fast_preset(facts(**text, amount=1e6, start="published")) is None
    begun = facts(**text, amount=1e6)._replace(init_tokens="word2vec")
    assert rules.use_fast_preset(begun) is None
    assert rules.use_fast_preset(facts(**{**text, "method": "albert"}, amount=1e6)) is None


def test_many_labels_call_for_supervised_training():
    one = rules.train_supervised(facts(labels_per_class=1_000))
    assert "supervised training had 80.1" in one.text
    assert "simclr had 62.9" in one.text
    assert rules.train_supervised(facts(labels_per_class=999)) is None
    assert rules.train_supervised(facts(method="supervised", labels_per_class=1_000)) is None


def test_a_clearly_better_method_is_named():
    photos = {"amount": 50_000, "steps": 2_000, "labels_per_class": 1_000}
    one = rules.use_better_method(facts(**photos, method="jigsaw"))
    assert one.command == "selfwise plan simclr --data pets/"
    assert rules.use_better_method(facts(**photos, method="simclr")) is None


def test_words_are_counted_in_passes_and_word2vec_is_named_once():
    words = {"modality": "text", "kind": "", "amount": 60_100}
    assert rules.give_more_time(facts(**words, method="word2vec", steps=121)) is None
    assert rules.give_more_time(facts(**words, method="roberta", steps=121)) is not None
    texts = [one.text for one in list_advice(facts(**words, method="roberta", steps=1_300))]
    assert len([text for text in texts if "word2vec" in text]) == 1
    assert any(text.startswith("60,100 characters are") for text in texts)
    random = facts(**words, method="roberta", steps=1_300)
    begun = rules.mention_random_tables(random._replace(init_tokens="word2vec"))
    assert "random token tables" in begun.text
    assert rules.mention_random_tables(random) is None


def test_left_and_right_speakers_and_an_upright():
    assert "--flip-prob 0" in rules.keep_left_and_right(facts(flip_prob=0.5)).text
    assert rules.keep_left_and_right(facts()) is None
    assert "upright" in rules.keep_left_and_right(facts(method="rotation")).text
    speech = {"modality": "audio", "kind": "words", "method": "hubert"}
    assert "never heard" in rules.collect_more_speakers(facts(**speech, amount=0.3)).text
    assert rules.collect_more_speakers(facts(**speech, amount=30)) is None


def test_the_most_urgent_advice_comes_first():
    texts = [one.text for one in list_advice(facts(amount=900, steps=20, flip_prob=0.5))]
    assert "20 steps" in texts[0]
    assert "published weights" in texts[1]
    assert "--flip-prob 0" in texts[-1]


def test_an_outline_of_a_case_has_its_numbers():
    assert measure_distance(outline_case(CASE), CASE) == 0
    assert np.isclose(CASE.difference, 20)
