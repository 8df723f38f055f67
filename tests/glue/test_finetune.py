"""Fine-tuning on GLUE: it learns, dev and padding change nothing, recipes are the papers'."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from selfwise.core import memory
from selfwise.core.data_info import TextInfo
from selfwise.data.text.labelled import Texts
from selfwise.encoders import text
from selfwise.evaluation.features.text import pad_rows, tokenize_rows
from selfwise.glue import finetune_recipes, training
from selfwise.glue.classifier import ClassifierHead, copy_encoder
from selfwise.glue.finetune import finetune_on_task
from selfwise.glue.finetune_recipes import (
    RECIPES,
    FinetuneRecipe,
    FinetuneSetting,
    find_finetune_recipe,
)
from selfwise.glue.read import GlueSplit
from selfwise.glue.tasks import find_task
from selfwise.tokenizers import tokenizer
from tests.helpers import cases
from tests.helpers.text_cases import randomise

WORDS = ["the", "cat", "sat", "on", "a", "mat", "and", "good", "bad"]
KIND = {"bert": "wordpiece", "albert": "wordpiece", "roberta": "bpe", "gpt": "bpe"}
FAST = FinetuneRecipe("fast", (3e-3,), (32,), epochs=8, dropout=0.0, head_dropout=0.0)


@pytest.fixture(autouse=True)
def few_may_choose(monkeypatch):
    """Searches are tested on small data."""
    monkeypatch.setattr(finetune_recipes, "MIN_CHOOSERS", 0)


def run_of(family="bert", **options):
    """A tiny encoder that has seen nothing, and a tokenizer whose tokens are the words."""
    lines = [" ".join(WORDS), *(" ".join([word] * 40) for word in WORDS)] * 3
    reader = tokenizer.train_tokenizer(KIND[family], lines, vocab_size=300)
    size = {"dim": 32, "heads": 2, "depth": 1, "length": 48, "ff": 64}
    narrow = {"embedding": 16} if family == "albert" else {}
    encoder = text.build_text_encoder(
        family, vocab=reader.vocabulary.size, **{**size, **narrow, **options}
    )
    record = SimpleNamespace(info=TextInfo(vocab=encoder.vocab, length=encoder.length))
    return SimpleNamespace(encoder=encoder, tokenizer=reader, record=record)


def split(name, n, seed, named="train"):
    """Texts whose label, or score, is how many good words are in them and in their partners.

    Of a single text it is 1 if it has a good word; of a pair 1 if both have one; a score is the
    number of good words in both.
    """
    task, draw = find_task(name), np.random.default_rng(seed)
    sides, many = len(task.text), 3 if name == "stsb" else 2
    goods = (
        draw.integers(many, size=(n, sides))
        if name == "stsb"
        else draw.random((n, sides)) < 0.5 ** (1 / sides)
    )
    written = [[_sentence(draw, int(count)) for count in row] for row in goods]
    labels = goods.all(axis=1).astype(np.int64) if task.labels else None
    scores = None if task.labels else goods.sum(axis=1).astype(np.float64)
    columns = [list(column) for column in zip(*written)]
    pairs = columns[1] if sides > 1 else None
    ids = [str(i) for i in range(n)]
    texts = Texts(ids, columns[0], pairs, labels, None, f"{name} {n} {seed}")
    return GlueSplit(task, named, texts, scores, ())


def _sentence(draw, goods):
    words = [WORDS[i] for i in draw.integers(7, size=draw.integers(3, 9))] + ["bad"]
    words[:goods] = ["good"] * goods
    return " ".join(draw.permutation(words))


@pytest.mark.parametrize(
    ("family", "name", "least"),
    [
        ("bert", "sst2", 0.98),
        ("gpt", "sst2", 0.98),
        ("bert", "rte", 0.95),
        ("gpt", "rte", 0.95),
        ("roberta", "stsb", 0.9),
    ],
)
def test_a_tiny_encoder_learns(family, name, least):
    train, dev = split(name, 400, 0), split(name, 120, 1, "dev")
    found = finetune_on_task(run_of(family), train, [dev], recipe=FAST, seed=0)
    assert found.scores[0][dev.task.metrics[0]] >= least  # one text of a pair alone: 0.79
    assert len(found.curve) == found.epoch == 8
    assert found.curve[-1] == found.scores[0]
    assert (found.chosen_by, found.tried, found.trained_on) == ("", (), 400)
    if name == "stsb":
        off = np.abs(found.predicted[0] - dev.scores)
        assert off.mean() < 0.5  # in scores, not in fifths
        assert found.predicted[0].dtype == np.float64


def test_a_seed_gives_the_same_again_and_touches_nothing():
    train, dev = split("sst2", 40, 0), split("sst2", 20, 1, "dev")
    run, recipe = run_of(), FAST._replace(epochs=2, dropout=0.1, head_dropout=0.1)
    before = {name: one.clone() for name, one in run.encoder.state_dict().items()}
    state = torch.get_rng_state()
    one, same, other = (
        finetune_on_task(run, train, [dev], recipe=recipe, seed=s) for s in (0, 0, 1)
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(one.encoder[name], same.encoder[name]) for name in before)
    assert not torch.equal(one.encoder["token.weight"], other.encoder["token.weight"])
    assert all(torch.equal(before[name], now) for name, now in run.encoder.state_dict().items())
    assert not torch.equal(one.encoder["token.weight"], before["token.weight"])
    assert run.encoder.dropout == 0.1
    rounded = finetune_on_task(run, train, [dev], recipe=recipe._replace(precision="bf16"), seed=0)
    off = (rounded.encoder["token.weight"] - one.encoder["token.weight"]).abs().max()
    assert 0 < off < 0.05


@pytest.mark.parametrize("family", ["bert", "albert", "roberta", "gpt"])
@pytest.mark.parametrize("pooling", ["", "mean"])
def test_padding_changes_no_prediction(family, pooling):
    run = run_of(family)
    model = ClassifierHead(run.encoder, 2, FAST._replace(pooling=pooling)).eval()
    randomise(model)
    rows = tokenize_rows(split("rte", 9, 0).texts, run.tokenizer, length=48)
    assert len({len(row.ids) for row in rows}) > 2
    together = model(pad_rows(rows, run.encoder, run.tokenizer))
    for row, logits in zip(rows, together):
        alone = model(pad_rows([row], run.encoder, run.tokenizer))[0]
        assert alone.tolist() == pytest.approx(logits.tolist(), abs=1e-5)


@pytest.mark.parametrize("family", ["bert", "roberta", "gpt"])
def test_the_head_sees_both_texts(family):
    run = run_of(family)
    model = ClassifierHead(run.encoder, 2, FAST).eval()
    randomise(model)
    one = Texts(["0"], ["the cat"], ["a mat"], None, None, "")

    def logits(texts):
        rows = tokenize_rows(texts, run.tokenizer, length=48)
        return model(pad_rows(rows, run.encoder, run.tokenizer))

    for other in (replace(one, texts=["the good"]), replace(one, pairs=["a good"])):
        assert (logits(one) - logits(other)).abs().max() > 1e-3
    swapped = replace(one, texts=one.pairs, pairs=one.texts)
    assert (logits(one) - logits(swapped)).abs().max() > 1e-3


def test_heads_are_those_of_the_papers():
    bert, roberta, gpt = (run_of(family) for family in ("bert", "roberta", "gpt"))
    texts = split("sst2", 4, 0).texts
    for run in (bert, roberta, gpt):
        model = ClassifierHead(run.encoder, 3, FAST).eval()
        randomise(model)
        batch = pad_rows(tokenize_rows(texts, run.tokenizer, length=48), run.encoder, run.tokenizer)
        tokens, last = run.encoder(batch).tokens, batch.valid.sum(1) - 1
        if run is gpt:
            right = tokens[torch.arange(4), last]
            assert model.dense is None
        else:
            right = (run.encoder.pooler or model.dense)(tokens[:, 0]).tanh()
            assert (model.dense is None) == (run is bert)
        assert torch.allclose(model(batch), model.out(right), atol=1e-5)


def test_scores_are_learned_in_fifths_and_cut():
    run = run_of()
    model = ClassifierHead(run.encoder, 0, FAST).eval()
    rows = tokenize_rows(split("sst2", 3, 0).texts, run.tokenizer, length=48)
    batch = pad_rows(rows, run.encoder, run.tokenizer)
    found, truth = model(batch)[:, 0], torch.tensor([0.0, 5.0, 2.5], dtype=torch.float64)
    right = ((found - torch.tensor([0, 1, 0.5])) ** 2).mean()
    assert model.loss(batch, truth).item() == pytest.approx(right.item())
    with torch.no_grad():
        model.out.weight.zero_()
        for bias, score in ((0.3, 1.5), (-0.2, 0), (1.7, 5)):
            model.out.bias.fill_(bias)
            said = training.predict_rows(model, rows, run.tokenizer, device="cpu")
            assert said == pytest.approx([score] * 3)


def test_texts_are_cut_where_the_run_and_the_recipe_end(monkeypatch):
    run, lengths, train = run_of(), [], split("rte", 40, 0)
    whole = [len(row.ids) for row in tokenize_rows(train.texts, run.tokenizer, length=48)]
    step = training.FinetuneJob._train_batch

    def seen(self, model, optimizer, data, number):
        lengths.extend(len(row.ids) for row in data.rows)
        return step(self, model, optimizer, data, number)

    monkeypatch.setattr(training.FinetuneJob, "_train_batch", seen)
    recipe = FAST._replace(epochs=1, length=14)
    for longest in (9, 14):
        run.record.info = run.record.info.replace(length=longest if longest == 9 else 48)
        finetune_on_task(run, train, [], recipe=recipe, seed=0)
        assert sorted(lengths) == sorted(min(one, longest) for one in whole)
        assert max(whole) > 14
        lengths.clear()


def test_memory_is_kept_while_a_model_is_trained(monkeypatch):
    run, train, step, seen = run_of(), split("rte", 20, 0), training.FinetuneJob._train_batch, []

    def looks(*told):
        seen.append(memory._inside[0])
        return step(*told)

    monkeypatch.setattr(training.FinetuneJob, "_train_batch", looks)
    finetune_on_task(run, train, [], recipe=FAST._replace(epochs=2), seed=0)
    assert seen
    assert min(seen) > 0
    assert memory._inside == [0]


def test_early_stop_takes_the_best_epoch(monkeypatch):
    train, dev = split("sst2", 50, 0), split("sst2", 20, 1, "dev")
    right, seen = [], []

    def told(model, rows, *others, **more):
        seen.append({name: one.clone() for name, one in model.state_dict().items()})
        if len(rows) == 20:  # at the end dev, once
            return dev.texts.labels
        share = [2, 8, 5, 8][len(seen) - 1]
        right.append(share)
        truth = apart.texts.labels
        return np.where(np.arange(10) < share, truth, 1 - truth)

    order = training.shuffle_indices(50, 3, "glue held out", "sst2")
    apart = replace(train, texts=train.texts.take(np.sort(order[:10])))
    monkeypatch.setattr(training, "predict_rows", told)
    recipe = FAST._replace(early=True, epochs=4, batches=(16,))
    found = finetune_on_task(run_of(), train, [dev], recipe=recipe._replace(held_out=0.2), seed=3)
    assert right == [2, 8, 5, 8]
    assert [one["accuracy"] for one in found.curve] == [0.2, 0.8, 0.5, 0.8]
    assert found.epoch == 2  # the first of equals
    assert found.chosen_by == "10 of 50 training examples"
    assert found.trained_on == 40
    assert len(seen) == 5
    for name, one in seen[4].items():
        assert torch.equal(one, seen[1][name]), name
    assert not torch.equal(seen[1]["out.weight"], seen[3]["out.weight"])


@pytest.mark.run
def test_dev_chooses_only_if_asked_to():
    train, dev = split("sst2", 200, 0), split("sst2", 20, 1, "dev")
    wrong = replace(dev, texts=replace(dev.texts, labels=1 - dev.texts.labels))
    run, recipe = run_of(), FAST._replace(rates=(1e-9, 5e-3), epochs=4, early=True, batches=(8,))
    one, other = (
        finetune_on_task(run, train, [some], recipe=recipe, seed=0) for some in (dev, wrong)
    )
    assert np.array_equal(one.predicted[0], other.predicted[0])
    assert one.tried == other.tried
    assert one.chosen_by == "20 of 200 training examples"
    (_, low), (_, high) = one.tried
    assert one.setting.rate == 5e-3
    assert low < high == one.curve[one.epoch - 1]["accuracy"]
    as_in_papers = finetune_on_task(run, train, [dev], recipe=recipe._replace(held_out=0.0), seed=0)
    assert as_in_papers.chosen_by == "dev"
    assert as_in_papers.trained_on == 200
    assert as_in_papers.curve[as_in_papers.epoch - 1] == as_in_papers.scores[0]
    test = replace(dev, split="test", texts=replace(dev.texts, labels=None))
    with pytest.raises(ValueError, match="sst2: no split with labels was requested, so dev"):
        finetune_on_task(run, train, [test], recipe=recipe._replace(held_out=0.0), seed=0)


def test_the_mean_of_the_metrics_chooses(monkeypatch):
    """F1 alone would take the first epoch, in which all answers are the same."""
    told = [{"f1": 0.81, "accuracy": 0.68}, {"f1": 0.8, "accuracy": 0.72}]
    reached = iter([*told, told[0]])
    monkeypatch.setattr(training, "compute_metrics", lambda *_: next(reached))
    train, dev = split("mrpc", 50, 0), split("mrpc", 10, 1, "dev")
    recipe = FAST._replace(epochs=3, early=True)
    found = finetune_on_task(run_of(), train, [dev], recipe=recipe, seed=0)
    assert found.epoch == 2
    assert list(found.curve[:2]) == told


@pytest.mark.run
def test_the_search_takes_the_best_and_then_all_of_train():
    train, dev = split("sst2", 300, 0), split("sst2", 60, 1, "dev")
    test = replace(dev, split="test", texts=replace(dev.texts, labels=None))
    recipe = FAST._replace(rates=(1e-9, 3e-3, 1e35), batches=(8,), epochs=5)
    found = finetune_on_task(
        run_of(), train, [test, dev], recipe=recipe._replace(held_out=0.2), seed=0
    )
    assert found.setting == FinetuneSetting(3e-3, 8)
    assert [setting.rate for setting, _ in found.tried] == [1e-9, 3e-3, 1e35]
    assert found.tried[2][1] is None
    assert found.tried[1][1] > max(0.9, found.tried[0][1])
    assert found.chosen_by == "60 of 300 training examples"
    assert found.trained_on == 300
    assert found.scores[0] is None
    assert found.scores[1]["accuracy"] > 0.9
    assert np.array_equal(*found.predicted)
    told = finetune_on_task(
        run_of(), train, [dev], recipe=recipe.with_setting(found.setting), seed=0
    )
    assert np.array_equal(told.predicted[0], found.predicted[1])
    with pytest.raises(ValueError, match=r"sst2: .* diverged at every setting .*rate 1e\+35"):
        finetune_on_task(run_of(), train, [dev], recipe=recipe._replace(rates=(1e35,)), seed=0)


def test_the_rate_rises_and_falls(monkeypatch):
    rates, steps = [], []

    def optimizer(name, model, *, lr, **more):
        made = torch.optim.SGD(model.parameters(), lr)
        take = made.step
        made.step = lambda: (rates.append(made.param_groups[0]["lr"]), take())
        assert more == {"weight_decay": 0.01, "betas": (0.9, 0.999), "eps": 1e-6}
        return made

    monkeypatch.setattr(training, "build_optimizer", optimizer)
    recipe = FAST._replace(rates=(1.0,), batches=(4,), steps=5, warmup=2)
    told = {"seed": 0, "progress": lambda *said: steps.append(said)}
    found = finetune_on_task(run_of(), split("sst2", 12, 0), [], recipe=recipe, **told)
    assert rates == pytest.approx([0.5, 1, 1, 2 / 3, 1 / 3])
    assert steps == [(i, 5, "rate 1, batch 4") for i in range(1, 6)]
    assert found.epoch == 2  # the second ends after its second batch


def test_a_model_goes_on_from_another():
    run, train = run_of(), split("mrpc", 30, 0)
    still = FAST._replace(rates=(0.0,), epochs=1)
    first = finetune_on_task(run, train, [], recipe=FAST._replace(epochs=1), seed=0)
    second = finetune_on_task(
        run, split("stsb", 20, 0), [], recipe=still, seed=1, start=first.encoder
    )
    assert all(torch.equal(first.encoder[name], one) for name, one in second.encoder.items())
    assert not torch.equal(first.encoder["token.weight"], run.encoder.token.weight)
    other = run_of(ff=80).encoder.state_dict()
    with pytest.raises(ValueError, match=r"another encoder: .*mlp.down.weight is \(32, 80\) but"):
        copy_encoder(run.encoder, other)


def test_dropout_is_the_recipes():
    run = run_of()
    rows = tokenize_rows(split("sst2", 5, 0).texts, run.tokenizer, length=48)
    batch = pad_rows(rows, run.encoder, run.tokenizer)
    for own, head, changes in ((0.0, 0.0, False), (0.3, 0.0, True), (0.0, 0.3, True)):
        recipe = FAST._replace(dropout=own, head_dropout=head)
        model = ClassifierHead(copy_encoder(run.encoder, None), 2, recipe).train()
        assert torch.equal(model(batch), model(batch)) != changes
    assert (
        ClassifierHead(
            copy_encoder(run.encoder, None), 2, FAST._replace(dropout=None)
        ).encoder.dropout
        == 0.1
    )


def test_batches_are_of_similar_length_and_hold_everything_once():
    lengths = np.random.default_rng(0).integers(5, 60, size=1003)
    found = training.batch_epoch(lengths, 8, 0, "rte", 0)
    assert sorted(np.concatenate(found)) == list(range(1003))
    assert sorted({len(one) for one in found}) == [3, 8]
    width = sum(lengths[one].max() * len(one) for one in found)
    assert width < 1.1 * lengths.sum()  # 1.8 without sorting
    means = [lengths[one].mean() for one in found]
    assert np.abs(np.corrcoef(means[1:], means[:-1])[0, 1]) < 0.3  # no run from long to short
    again = training.batch_epoch(lengths, 8, 0, "rte", 0)
    assert all(np.array_equal(*pair) for pair in zip(found, again))
    later = training.batch_epoch(lengths, 8, 0, "rte", 1)
    assert {tuple(sorted(one)) for one in found} != {tuple(sorted(one)) for one in later}


def test_recipes_are_those_of_the_papers():
    bert, roberta, fixed = (RECIPES[name] for name in ("bert", "roberta", "fixed"))
    assert sorted(bert.rates) == [2e-5, 3e-5, 4e-5, 5e-5]
    assert (bert.batches, bert.epochs, bert.warmup, bert.schedule) == ((32,), 3, 0.1, "linear")
    assert (bert.weight_decay, bert.eps, bert.clip, bert.dropout) == (0.01, 1e-6, 1.0, 0.1)
    assert not bert.early
    assert roberta.rates == (1e-5, 2e-5, 3e-5)
    assert (roberta.batches, roberta.epochs, roberta.warmup) == ((16, 32), 10, 0.06)
    assert (roberta.weight_decay, roberta.betas, roberta.early) == (0.1, (0.9, 0.98), True)
    assert len(roberta.list_settings()) == 6
    assert fixed.list_settings() == [FinetuneSetting(4e-5, 16)]
    assert (fixed.epochs, fixed.schedule, fixed.early, fixed.length) == (5, "cosine", False, 128)
    for name, numbers in {  # run_glue.sh: warm-up, rate, steps, batch
        "sst2": (1256, 1e-5, 20935, 32),
        "mnli": (1000, 3e-5, 10000, 128),
        "cola": (320, 1e-5, 5336, 16),
        "qnli": (1986, 1e-5, 33112, 32),
        "qqp": (1000, 5e-5, 14000, 128),
        "rte": (200, 3e-5, 800, 32),
        "stsb": (214, 2e-5, 3598, 16),
        "mrpc": (200, 2e-5, 800, 32),
    }.items():
        albert = find_finetune_recipe("albert", find_task(name))
        (setting,) = albert.list_settings()
        assert (albert.warmup, setting.rate, albert.steps, setting.batch) == numbers
        assert albert.dropout is None


def test_what_cannot_be_is_one_sentence():
    run, train = run_of(), split("sst2", 20, 0)
    test = replace(train, split="test", texts=replace(train.texts, labels=None))
    image = SimpleNamespace(encoder=cases.tiny_encoder(), tokenizer=None, record=None)
    told = {"recipe": FAST, "seed": 0}
    for wrong, message in (
        (
            lambda: finetune_on_task(image, train, [], **told),
            "GLUE needs a text encoder, and .* not one",
        ),
        (
            lambda: finetune_on_task(run, test, [], **told),
            "fine-tuning needs labels, and test has none",
        ),
        (
            lambda: finetune_on_task(run, train, [split("rte", 3, 0)], **told),
            "sst2 cannot answer rte",
        ),
        (
            lambda: finetune_on_task(run, train, [], recipe=FAST._replace(held_out=1.5), seed=0),
            "from 0 to below 1, not 1.5",
        ),
        (
            lambda: finetune_on_task(
                run, train, [], recipe=FAST._replace(early=True, held_out=0.01), seed=0
            ),
            "20 training examples are too few to hold out a fraction of 0.01",
        ),
        (
            lambda: ClassifierHead(run.encoder, 2, FAST._replace(pooling="clss")),
            "unknown pooling 'clss'",
        ),
        (lambda: find_finetune_recipe("robert", train.task), "unknown recipe 'robert'.*roberta"),
        (
            lambda: find_finetune_recipe("albert", find_task("wnli")),
            "albert has no settings for wnli",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            wrong()
