"""What GLUE says of its numbers: noise of seeds, bags of words, settings chosen on few rows."""

import numpy as np
import pytest

from selfwise.data.text.labelled import Texts
from selfwise.evaluation.scores.names import PRETRAINED, RAW_NAMES, UNTRAINED, WORDS
from selfwise.glue import finetune_recipes
from selfwise.glue.compare import MIN_EXAMPLES, compare_metric, compute_seed_intervals, judge_seeds
from selfwise.glue.finetune import _count_choosers
from selfwise.glue.finetune_recipes import RECIPES
from selfwise.glue.frozen import DEFAULT_PENALTY, FeatureSetting, probe_frozen
from selfwise.glue.read import GlueSplit
from selfwise.glue.scores import COMPETITORS, GlueScores
from selfwise.glue.task_results import compare_fits
from selfwise.glue.task_splits import TaskSplits, _note_constant_labels
from selfwise.glue.tasks import find_task
from selfwise.workflows.verdict_glue import judge_glue_table

TASK = find_task("rte")
N = 400


def fits(*rights, seed=0):
    """Predictions of one fit for each share that is right, and the truth."""
    random = np.random.default_rng(seed)
    truth = np.arange(N) % 2
    return np.stack([np.where(random.random(N) < p, truth, 1 - truth) for p in rights]), truth


def split(n):
    labels = np.arange(n) % 2
    texts = [str(label) for label in labels]
    ids = [str(i) for i in range(n)]
    return GlueSplit(TASK, "train", Texts(ids, texts, texts, labels, None, f"{n}"), None, ())


def test_one_seed_within_the_noise_is_within_the_noise():
    ours, truth = fits(0.8, 0.8, 0.55)
    theirs, _ = fits(0.5, 0.5, 0.5, seed=1)
    value, interval = compare_metric(TASK, truth, ours, theirs)
    assert value > 0.1
    assert interval[0] > 0  # the mean of the seeds alone would be above the noise
    seeds = compute_seed_intervals(TASK, truth, ours, theirs)
    assert seeds == [compare_metric(TASK, truth, ours[[i]], theirs[[i]])[1] for i in range(3)]
    assert judge_seeds(seeds, N) == "within the noise"
    assert judge_seeds(seeds[:2], N) == "above the noise"
    turned = [(-high, -low) for low, high in seeds[:2]]
    assert judge_seeds(turned, N) == "worse, beyond the noise"
    assert judge_seeds([turned[0], seeds[0]], N) == "within the noise"


def test_a_dev_of_a_few_examples_is_not_judged():
    assert judge_seeds([(1.0, 1.0)], MIN_EXAMPLES - 1).startswith("not judged")
    assert judge_seeds([(1.0, 1.0)], MIN_EXAMPLES) == "above the noise"


def found(words, ours=(0.8, 0.8)):
    """What the file of a task holds, of a run that beats its twin, beside bags that get `words`."""
    rights = {PRETRAINED: ours, UNTRAINED: (0.5, 0.5), WORDS: (words, words)}
    rows = []
    for i, name in enumerate(COMPETITORS):
        said, truth = fits(*rights[name], seed=i)
        for seed, one in enumerate(said):
            rows.append({"competitor": name, "seed": seed, "setting": {"chosen_on": 498}})
            rows[-1]["predicted"] = {"rte": one}
            rows[-1]["scores"] = {"rte": {"accuracy": float((one == truth).mean())}}
    texts = Texts([], ["a text"] * len(truth), None, truth, ["0", "1"], "made up")
    dev = GlueSplit(TASK, "dev", texts, None, ())
    comparisons = compare_fits(TaskSplits(TASK, dev, {"rte": dev}, {}), rows, COMPETITORS[1:])
    told = {"task": "rte", "asked": {}, "data": {}, "rows": {"rte": N}, "notes": []}
    return told | {"fits": rows, "comparisons": comparisons}


def test_a_run_below_bags_of_words_is_named_wherever_it_is_above_its_twin():
    scores = GlueScores("frozen", [found(0.95)], {})
    against, words = scores.tasks[0]["comparisons"]
    assert len(against["seeds"]) == 2
    assert against["verdict"].startswith("above the noise, but below bag of words (-1")
    assert words["verdict"] == "worse, beyond the noise"
    (said,) = [one for one in scores.sentences() if "is below bag of words: rte (-1" in one]
    table = scores.to_dict()
    assert said in table["sentences"]
    level, text, _ = judge_glue_table(table, RAW_NAMES)
    assert level == "no better"
    assert text.endswith("on any of rte. It is below a bag of words on rte.")
    for column in table["rows"]:  # a baseline that is ahead within the noise is not above us
        for other in column["against"].values():
            other |= {"difference": -0.001, "verdict": "within the noise"}
    assert "is below" not in judge_glue_table(table, RAW_NAMES)[1]
    scores = GlueScores("frozen", [found(0.6)], {})
    assert scores.tasks[0]["comparisons"][0]["verdict"] == "above the noise"
    assert not any("below bag" in one for one in scores.sentences())
    level, text, _ = judge_glue_table(scores.to_dict(), RAW_NAMES)
    assert level == "better"
    rivals = "the untrained encoder and than a bag of words"
    assert text == f"GLUE, frozen: better than {rivals}, beyond the noise, on 1 of 1 dev sets."
    assert any("excludes zero for every seed" in one for one in scores.sentences())


def test_the_verdict_is_not_that_of_the_mean():
    against = found(0.6, ours=(0.9, 0.52))["comparisons"][0]
    assert against["low"] > 0
    assert against["verdict"].startswith("within the noise")


def test_one_seed_is_named():
    alone = found(0.6)
    alone["fits"] = [fit for fit in alone["fits"] if fit["seed"] == 0]
    said = GlueScores("frozen", [alone], {}).sentences()
    assert any(one.startswith("One seed was fitted") for one in said)


def test_the_scores_are_one_line_in_a_notebook():
    scores = GlueScores("frozen", [found(0.6)], {})
    means = [100 * scores.means(name)["rte"]["accuracy"] for name in COMPETITORS]
    averages = ", ".join(f"{name} {mean:.1f} %" for name, mean in zip(COMPETITORS, means))
    assert repr(scores) == f"GlueScores(frozen on rte; on average {averages})"
    assert f"<td>{means[0]:.1f} ± " in scores._repr_html_()


def test_twenty_rows_choose_nothing_and_are_named():
    def embed(known, others, setting):
        assert setting == FeatureSetting()  # nothing else is read
        return [np.arange(2.0 * len(t)).reshape(-1, 2).astype(np.float32) for t in (known, *others)]

    few = probe_frozen(split(100), [split(10)], embed, [FeatureSetting(0), FeatureSetting()])
    assert (few.setting, few.penalty, few.tried, few.chosen_on) == (
        FeatureSetting(),
        DEFAULT_PENALTY,
        (),
        0,
    )
    told = found(0.6)
    for fit in told["fits"][:2]:
        fit["setting"] = {"chosen_on": 0}
    said = " ".join(GlueScores("frozen", [told], {}).sentences())
    assert "Training examples that chose the settings: rte 498." in said
    assert "No search of settings in rte: fewer than 100" in said


def test_enough_rows_choose():
    def embed(known, others, setting):
        return [np.array([[float(text)] for text in t.texts], np.float32) for t in (known, *others)]

    rows = 5 * finetune_recipes.MIN_CHOOSERS
    many = probe_frozen(split(rows), [split(10)], embed, [FeatureSetting(0)])
    assert many.chosen_on == finetune_recipes.MIN_CHOOSERS
    assert many.tried


@pytest.mark.parametrize("name", ["bert", "roberta", "small"])
def test_a_recipe_without_a_search_is_its_first_setting(name):
    recipe = RECIPES[name].without_search()
    assert recipe.list_settings() == RECIPES[name].list_settings()[:1]
    assert not recipe.early


def test_how_many_would_choose():
    assert _count_choosers(split(100), [], 0.1) == 10
    assert _count_choosers(split(100), [split(30)], 0) == 30
    assert [finetune_recipes.can_choose(n) for n in (20, 99, 100)] == [False, False, True]


def test_a_dev_of_one_label_is_named():
    two, one = split(30), split(30)
    one.texts.labels[:] = 1
    (said,) = _note_constant_labels({"mnli-m": two, "rte": one})
    assert said.startswith("rte: all 30 examples of dev have one label")
