"""What the page shows of texts and of speech: fillings, probabilities, positions, units."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from selfwise.core.types import TextBatch
from selfwise.methods import inspection
from selfwise.methods.needs import FrameTargetOptions
from selfwise.modalities.audio import targets
from selfwise.modalities.reading_options import ReadingOptions
from selfwise.report.page import page
from selfwise.report.page.parts import Lines, Picture, Section, Token
from selfwise.report.sections import tasks, tasks_lines, tasks_rows, tasks_speech, tasks_text
from selfwise.runs.build import open_newest
from selfwise.runs.open import Run
from selfwise.tokenizers.tokenizer import train_tokenizer
from tests.helpers import report_tasks_cases as cases

TEXT = "The king's daughter, unquestionably: went!\nA na\u00efve \u65e5\u672c end."


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A function: name -> a tiny run of that method, made once."""
    made: dict[str, Run] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SELFWISE_CACHE", str(tmp_path_factory.mktemp("cache")))

        def get(name: str) -> Run:
            if name not in made:
                made[name] = cases.run(name, tmp_path_factory.mktemp("runs") / name)
            return made[name]

        yield get


def sections(run: Run, data=None, *, seed: int = 0) -> list[Section]:
    data = cases.data(run.record.method) if data is None else data
    return tasks.build_sections(
        run, run.modality.open_examples(run, data, ReadingOptions()), seed=seed
    )


def tokenizer(kind: str, **told):
    return train_tokenizer(
        kind, [TEXT] * 3, **{"vocab_size": None if kind == "chars" else 300, **told}
    )


def plain(line) -> str:
    return "".join(token.text for token in line)


# tokens as text


@pytest.mark.parametrize("kind", ["bpe", "chars"])
def test_pieces_are_the_text_where_tokens_keep_all_of_it(kind):
    known = train_tokenizer("bpe", ["aaaa"], vocab_size=262) if kind == "bpe" else tokenizer(kind)
    ids = known.encode([TEXT])[0].tolist()
    found = tasks_lines.split_text(known, ids)
    assert len(found) == len(ids)
    assert "".join(found) == TEXT
    if kind == "bpe":
        assert len(ids) > len(TEXT)  # characters that lie in several tokens


@pytest.mark.parametrize(("kind", "vocab"), [("wordpiece", 90), ("unigram", 64)])
def test_pieces_have_spaces_where_words_begin(kind, vocab):
    text = "the king went to the old house, and the king laughed: so the queen went, too!"
    known = train_tokenizer(kind, [text] * 5, vocab_size=vocab)
    ids = known.encode([text])[0].tolist()
    assert "".join(tasks_lines.split_text(known, ids)).strip() == text


def test_tokens_that_could_not_be_seen_have_signs():
    known = tokenizer("chars")
    newline, space = (int(known.encode([text])[0][0]) for text in ("\n", " "))
    assert tasks_lines.show_token(known, newline) == "\u23ce"
    assert tasks_lines.show_token(known, space) == "\u2423"
    assert known.vocabulary.mask is not None
    assert tasks_lines.show_token(known, known.vocabulary.mask) == "[MASK]"
    size = known.vocabulary.size
    assert tasks_lines.show_token(known, size) == f"row {size}, no token"


# what is filled in


def filled(known, text: str) -> tuple[inspection.MaskedTextExamples, list[int]]:
    """A row whose second and fourth tokens are hidden: one guessed right, one seen as another."""
    ids = known.encode([text])[0].tolist()
    true = [ids[1], ids[3]]
    seen = [ids[0], known.vocabulary.mask, ids[2], ids[0], *ids[4:]]
    batch = TextBatch(torch.tensor([[*seen, 0, 0]]), torch.zeros(1, dtype=torch.int64))
    batch = batch._replace(valid=torch.arange(len(seen) + 2)[None] < len(seen))
    guesses = inspection.Predictions(
        torch.tensor([[1, 3, 0]]),
        torch.tensor([[True, True, False]]),
        torch.tensor([[*true, ids[0]]]),
        torch.tensor([[0.5, 4.0, 9.0]]),
        torch.tensor([[[true[0], ids[2]], [ids[4], true[1]], [ids[0], ids[1]]]]),
        torch.tensor([[[0.61, 0.2], [0.34, 0.004], [1.0, 0.0]]]),
    )
    return inspection.MaskedTextExamples("", batch, guesses), true


def test_hidden_tokens_are_marked_and_what_was_filled_in_stands_below():
    text = "one two three four five six"
    known = train_tokenizer("wordpiece", [text] * 5, vocab_size=64)
    found, _ = filled(known, text)
    line = tasks_lines.mark_masked(known, found, 0)
    above, below = plain(line).split("\n")
    assert above == text
    assert [(t.text, t.kind) for t in line if t.kind not in ("", "quiet")] == [
        ("two", "right"),
        ("four", "wrong"),
        ("two", "right"),
        ("five", "wrong"),
    ]
    below = below.replace("\u00a0", " ")
    assert below.strip() == "two \u2192 two 61 %   four (seen as one) \u2192 five 34 %"
    hints = [token.hint.replace("\u00a0", " ") for token in line if token.hint]
    assert hints == ["Expected: two 61 %, three 20 %.", "Expected: five 34 %, four 0.4 %."]


def test_answers_about_pairs_say_what_was_right():
    known = train_tokenizer("wordpiece", ["one two three four five six"] * 5, vocab_size=64)
    found, _ = filled(known, "one two three four five six")
    for truth, told in ((0, "before 80 %"), (1, "before 80 %, but behind")):
        chance = torch.tensor([[0.8, 0.2]])
        answers = inspection.PairPredictions(("before", "behind"), torch.tensor([truth]), chance)
        line = tasks_lines.mark_masked(known, found._replace(pairs=answers), 0)
        assert plain(line).split("\n")[0].replace("\u00a0", " ") == told
        assert line[0].kind == ("wrong" if truth else "right")


def test_guesses_are_those_of_the_scores(runs):
    logits = torch.randn(6, 9, generator=torch.Generator().manual_seed(0))
    where = torch.tensor([[0, 2, 4], [1, 3, 5]])
    target = torch.tensor([[1, 2, 3], [4, 5, 6]])
    chosen = torch.tensor([[True, True, False], [True, False, False]])
    found = inspection.rank_predictions(logits, where, chosen, target)
    share = torch.exp(logits) / torch.exp(logits).sum(dim=1, keepdim=True)
    for row in range(2):
        for k in range(3):
            own = share[3 * row + k]
            assert found.nats[row, k] == pytest.approx(-float(own[target[row, k]].log()), abs=1e-5)
            assert found.top_ids[row, k].tolist() == own.argsort(descending=True)[:3].tolist()
            assert found.top_probs[row, k, 0] == pytest.approx(float(own.max()), abs=1e-6)
            hit = bool(chosen[row, k]) and int(own.argmax()) == int(target[row, k])
            assert bool(found.correct[row, k]) == hit


@pytest.mark.parametrize("name", ["bert", "roberta", "albert", "gpt"])
def test_numbers_are_those_of_the_methods_loss(runs, name):
    """Over the same rows, with the same views."""
    run = runs(name)
    texts = run.modality.open_examples(run, cases.texts(), ReadingOptions())
    made = tasks_rows.make_rows(run, texts, seed=0)
    with torch.no_grad():
        found = [one for _, one in tasks_rows.inspect_rows(run, made, seed=0)]
        expected = []
        inspect_ = type(run.method).inspect

        def forward(method, view):
            expected.append(method(view))
            return inspect_(method, view)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(run.method), "inspect", forward)
            list(tasks_rows.inspect_rows(run, made, seed=0))
    term = "lm" if name == "gpt" else "mlm"
    for one, step in zip(found, expected, strict=True):
        own = one.predictions.valid
        assert int(own.sum()) == int(step.terms[f"{term}_loss"].count)
        nats = float(one.predictions.nats[own].sum())
        assert nats == pytest.approx(float(step.terms[f"{term}_loss"].sum), rel=1e-4)
        hits = int(one.predictions.correct.sum())
        assert hits == int(step.metrics[f"{term}_accuracy"].sum)
    count = sum(int(one.predictions.valid.sum()) for one in found)
    (section,) = tasks_text.build_sections(run, texts, seed=0)
    assert f"Of {count:,} " in section.about
    if name in ("bert", "albert"):
        pairs = torch.cat([one.pairs.target for one in found])
        chance = torch.cat([one.pairs.probs for one in found])
        share = 100 * float((chance.argmax(dim=1) == pairs).float().mean())
        assert (
            f"Of {len(pairs):,} pairs of texts, {share:.0f} % are answered correctly"
            in section.about
        )
        assert (
            f"correct for {100 * max(pairs.bincount().tolist()) / len(pairs):.0f} %"
            in section.about
        )


def test_single_sentences_make_no_pairs_and_are_shown_all_the_same(runs):
    text = ["the old cat saw a dog", "rain fell on every road", "the house"] * 4
    (section,) = sections(runs("albert"), text)
    assert section.parts
    assert "pairs of texts" not in section.about
    assert "[CLS] the old cat saw a dog[SEP]" in plain(section.parts[0].lines[0]).replace(
        " [SEP]", "[SEP]"
    ) or any("rain fell" in plain(line) for line in section.parts[0].lines)


@pytest.mark.parametrize("name", ["bert", "roberta", "albert", "gpt"])
def test_a_single_text_is_enough(runs, name):
    (section,) = sections(runs(name), ["The old cat saw a dog. Rain fell on every road."])
    assert section.parts, section.about


def test_second_texts_of_pairs_are_read_too(runs):
    run = runs("roberta")
    texts = run.modality.open_examples(run, ["first words"] * 4, ReadingOptions())
    texts.pairs = ["second words"] * 4
    batch = tasks_rows.make_rows(run, texts, seed=0).read(np.array([0]))
    assert "first words second words" in run.tokenizer.decode(batch.ids[0].tolist())


def test_texts_without_tokens_are_told(runs):
    run = runs("gpt")
    texts = run.modality.open_examples(run, ["a", "b"], ReadingOptions())
    texts.texts = ["", ""]
    (section,) = tasks.build_sections(run, texts, seed=0)
    assert "the texts contain no token" in section.about


# probabilities and positions


def test_grounds_are_darker_where_tokens_were_not_expected():
    levels = [
        tasks_lines.choose_level(chance)
        for chance in (0.0, 0.0099, 0.01, 0.099, 0.1, 0.49, 0.5, 1.0)
    ]
    assert levels == [f"level{i}" for i in (1, 1, 2, 2, 3, 3, 4, 4)]


def test_each_token_stands_on_its_probability():
    known = tokenizer("chars")
    ids = known.encode(["king's end"])[0].tolist()
    n = len(ids) - 1
    batch = TextBatch(torch.tensor([ids[:-1]]), torch.zeros(1, dtype=torch.int64))
    nats = torch.linspace(0.01, 6, n)[None]
    chosen = torch.arange(n)[None] != 4  # where another text begins
    best, chance = torch.tensor(ids[1:])[None, :, None], torch.exp(-nats)[..., None]
    where = torch.arange(n)[None]
    guesses = inspection.Predictions(where, chosen, torch.tensor([ids[1:]]), nats, best, chance)
    line = tasks_lines.mark_probabilities(
        known, inspection.NextTokenExamples("", batch, guesses), 0
    )
    assert plain(line) == "king's end"
    for place, token in enumerate(line):
        if place in (0, 5):
            assert token == Token(token.text, "quiet")
            continue
        assert token.kind == tasks_lines.choose_level(float(torch.exp(-nats[0, place - 1])))
        assert f"{float(nats[0, place - 1]):.2f} nats" in token.hint


def test_positions_begin_anew_with_each_text():
    batch = TextBatch(
        torch.zeros(2, 8, dtype=torch.int64),
        torch.zeros(2, dtype=torch.int64),
        starts=torch.tensor([[0, 3, 8, 8], [0, 8, 8, 8]]),
    )
    where = torch.arange(8).expand(2, 8)
    none = torch.zeros(2, 8, 1)
    guesses = inspection.Predictions(where, where >= 0, where, none[..., 0], where[..., None], none)
    found = tasks_rows.compute_text_positions(inspection.NextTokenExamples("", batch, guesses))
    assert found.tolist() == [[0, 1, 2, 0, 1, 2, 3, 4], list(range(8))]
    whole = inspection.NextTokenExamples("", batch._replace(starts=None), guesses)
    assert torch.equal(tasks_rows.compute_text_positions(whole), where)


def test_the_loss_by_position_is_a_mean_of_each_part():
    position = torch.arange(32).repeat(20)
    nats = torch.where(position < 2, 7.0, torch.where(position >= 30, 3.0, 5.0))
    found = tasks_lines.plot_loss_by_position(position, nats, about="so many")
    assert found is not None
    assert found.alt == "Loss by position: 7.00 at the beginning and 3.00 at the end."
    assert found.caption == "so many"
    few = tasks_lines.plot_loss_by_position(position[:4], nats[:4], about="")
    assert few is None
    assert tasks_lines.plot_loss_by_position(position[:0], nats[:0], about="") is None


def test_a_continuation_goes_on_from_whole_words(runs):
    (section,) = sections(runs("gpt"))
    line = section.parts[-1].lines[0]
    assert [token.kind for token in line] == ["quiet", ""]
    assert "temperature of 0.8" in section.parts[-1].caption
    assert plain(section.parts[0].lines[0]).startswith("Probability of a token: below 1")


# speech


def test_units_of_the_recordings_are_those_that_were_trained_on(runs):
    run = runs("hubert")
    recordings = run.modality.open_examples(run, cases.sounds(), ReadingOptions())
    rows = np.arange(len(recordings))
    batch = tasks_speech.read_batch(recordings, rows, 0 * rows, recordings.samples)
    units, options = run.facts.targets, FrameTargetOptions(num_clusters=8)
    found = targets.compute_unseen_targets(
        units, options, batch, open_run=open_newest, device="cpu"
    )
    kept = [labels for labels in (units.trained, units.held_out) if labels is not None]
    known = {
        tuple(labels.read_labels(i, 0, found.shape[1]).tolist())
        for labels in kept
        for i in range(len(labels))
    }
    assert {tuple(row) for row in found.tolist()} == known


def test_units_that_cannot_be_made_again_are_told(runs, tmp_path):
    run = runs("hubert")
    recordings = run.modality.open_examples(run, cases.sounds(), ReadingOptions())
    without = replace(run, loaded=replace(run.loaded, facts=replace(run.facts, targets=None)))
    (section,) = tasks.build_sections(without, recordings, seed=0)
    assert "imported without its units" in section.about
    assert all(isinstance(part, Picture) for part in section.parts)
    batch = tasks_speech.read_batch(recordings, np.array([0]), np.array([0]), np.array([4000]))
    gone = FrameTargetOptions(targets=str(tmp_path / "gone"))
    with pytest.raises(ValueError, match="which no longer exists"):
        targets.compute_unseen_targets(
            run.facts.targets, gone, batch, open_run=open_newest, device="cpu"
        )
    other = FrameTargetOptions(targets=str(run.folder))
    with pytest.raises(ValueError, match="its units come from MFCC, not from layer 1"):
        targets.compute_unseen_targets(
            run.facts.targets, other, batch, open_run=open_newest, device="cpu"
        )


def test_recordings_too_short_for_a_task_are_told(runs):
    run = runs("hubert")
    (section,) = sections(run, [np.ones(500, np.float32) * 0.1] * 3)
    assert section.about == "No recording has two frames."


def test_pictures_of_speech_say_how_many_frames_are_right(runs, monkeypatch):
    run = runs("hubert")
    real = type(run.method).inspect

    def knows_all(method, view):
        found = real(method, view)
        predictions = found.predictions
        top_ids = predictions.top_ids.clone()
        top_ids[..., 0] = predictions.target
        return found._replace(predictions=predictions._replace(top_ids=top_ids))

    monkeypatch.setattr(type(run.method), "inspect", knows_all)
    (section,) = sections(run)
    assert "100 % are predicted correctly" in section.about
    assert len(section.parts) == 4
    for part in section.parts:
        told = part.caption.partition(": ")[2].split(" ")
        assert told[0] == told[2] != "0"
        width, height = Image.open(io.BytesIO(part.data)).size
        assert (width, height) == (2 * tasks_speech.WIDTH, 2 * tasks_speech.HEIGHT)


def test_hidden_spans_are_veiled_and_guesses_stand_only_there():
    heard = np.random.default_rng(0).random((80, 40))
    units = torch.arange(20) % 5
    mask = torch.zeros(20, dtype=torch.bool)
    mask[5:10] = True
    guess = torch.where(mask, units, -1)
    data = [
        tasks_speech._draw_spectrogram(heard, tasks_speech.FrameUnits(units, guess, one))
        for one in (mask, torch.zeros_like(mask))
    ]
    first, second = (
        np.asarray(Image.open(io.BytesIO(d)).convert("RGBA")).astype(int) for d in data
    )
    columns = np.flatnonzero((abs(first - second).max(axis=2) > 24).sum(axis=0) > 20)
    left, right = columns.min() / first.shape[1], columns.max() / first.shape[1]
    upper = first[: first.shape[0] // 2, :, :3].astype(float).std(axis=(0, 2))
    middle = first.shape[1] * 9 // 10
    assert upper[columns].mean() < 0.6 * upper[middle]  # a veil takes contrast
    # the axes begin a little right of the picture's edge
    assert 0.25 < left < 0.4
    assert 0.5 < right < 0.62
    assert tasks_speech._find_spans(mask) == [(5, 10)]
    assert tasks_speech._find_spans(~mask) == [(0, 5), (10, 20)]


@pytest.mark.run
def test_long_recordings_are_shown_to_their_first_seconds(runs, monkeypatch):
    run = runs("hubert")
    (section,) = sections(run, cases.sounds(3, samples=16_000 * 5))
    assert all(", first 2 s: " in part.caption for part in section.parts)  # as in training
    monkeypatch.setattr(tasks_speech, "SECONDS", 1.5)
    (section,) = sections(run, cases.sounds(3, samples=16_000 * 5))
    assert all(", first 1.5 s: " in part.caption for part in section.parts)
    assert len(page.render("", [section])) < 600_000
    assert isinstance(section.parts[0], Picture)
    assert not any(isinstance(part, Lines) for part in section.parts)
