"""`--init-tokens word2vec`: a run trains skip-gram on its own tokens before its first step."""

import json
import os
import shlex
import shutil
import signal
from dataclasses import replace

import pytest
import torch

import selfwise
from selfwise.cli import main as cli
from selfwise.methods.word2vec import Word2Vec
from selfwise.runs import create
from selfwise.runs.create import request_run
from selfwise.runs.prepare import prepare_run
from selfwise.runs.processes import reopen_run
from selfwise.runs.reproduce import format_reproduce_command
from selfwise.runs.run_yaml import read_record
from selfwise.runs.unfinished import find_unfinished
from selfwise.runs.vectors import learn_vectors, reserve_minutes
from selfwise.runs.vectors_record import read_vectors_record, write_vectors_record
from tests.data.text.test_mixture import story

OPTIONS = {"batch_size": 16, "max_length": 16, "cpu_threads": 1, "precision": "float32"}
OPTIONS |= {"tokenizer": "wordpiece:200", "init_tokens": "word2vec"}
OPTIONS |= {"encoder_options": {"dim": 16, "heads": 2, "depth": 1}}
LAST = "checkpoints/step-00000040/model.safetensors"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    for i in range(6):
        (folder / f"{i}.txt").write_text(story(i, 200))
    return folder


def pretrain(corpus, out, **options):
    told = {"encoder": "roberta-tiny", "steps": 40, "seed": 3, "quiet": True, **OPTIONS, **options}
    return selfwise.pretrain("roberta", data=corpus, out=out, **told).folder


def prepare(corpus, **options):
    request = request_run("roberta", corpus, "roberta-tiny", "", 3, {**OPTIONS, **options})
    return prepare_run(request, corpus, quiet=True)


@pytest.fixture(scope="module")
def run(corpus, tmp_path_factory):
    return pretrain(corpus, tmp_path_factory.mktemp("run") / "run")


@pytest.mark.run
def test_the_table_is_that_of_the_vectors_centered_and_scaled(corpus, run, tmp_path):
    shutil.copytree(run, tmp_path / "begun")
    shutil.rmtree(tmp_path / "begun" / "checkpoints")
    table = reopen_run(tmp_path / "begun").method.encoder.token.weight.detach()
    vectors = selfwise.load(run / "word2vec").encoder.token.weight.detach()
    assert vectors.shape == table.shape
    special = list(selfwise.load(run).tokenizer.vocabulary.special)
    words = torch.ones(len(vectors), dtype=torch.bool)
    words[special] = False
    centered = vectors[words] - vectors[words].mean(0)
    torch.testing.assert_close(table[words], centered * (0.05 / centered.square().mean().sqrt()))
    own = prepare(corpus).method.encoder.token.weight.detach()  # before the vectors
    assert torch.equal(table[special], own[special])
    assert len(table[special].unique(dim=0)) == len(special)


@pytest.mark.run
def test_the_vectors_have_the_text_the_tokens_and_the_seed_of_the_run(run):
    record, vectors = read_record(run), read_record(run / "word2vec")
    assert (vectors.method, vectors.seed) == ("word2vec", 3)
    assert vectors.option("encoder.dim") == 16
    for name in ("documents", "held_out_tokens", "tokens", "vocab"):
        assert getattr(vectors.info, name) == getattr(record.info, name), name
    assert selfwise.load(run / "word2vec").tokenizer.fingerprint == (
        selfwise.load(run).tokenizer.fingerprint
    )
    assert record.steps == 40
    assert record.resolved["init_tokens"] == ("word2vec", "user")


@pytest.mark.run
def test_a_run_that_is_stopped_in_the_vectors_becomes_the_same_run(
    corpus, run, tmp_path, monkeypatch
):
    calls, forward = [], Word2Vec.forward

    def stop_at_the_third(self, view):  # the first measures the memory
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return forward(self, view)

    with monkeypatch.context() as patch:
        patch.setattr(Word2Vec, "forward", stop_at_the_third)
        with pytest.raises(KeyboardInterrupt, match=r"stopped in word2vec.*selfwise resume"):
            pretrain(corpus, tmp_path / "run")
    stopped = tmp_path / "run"
    assert (stopped / "word2vec/checkpoints/step-00000002").is_dir()
    assert find_unfinished(stopped).what == "token table"
    with pytest.raises(ValueError, match="unfinished token table with seed 3, not 4"):
        pretrain(corpus, stopped, seed=4)
    with pytest.raises(ValueError, match="holds an unfinished token table; continue it with"):
        pretrain(corpus, stopped, init_tokens="")
    selfwise.resume(stopped, quiet=True)
    steps = read_record(run / "word2vec").steps
    assert steps > 2
    last = f"word2vec/checkpoints/step-{steps:08d}/model.safetensors"
    assert (stopped / last).read_bytes() == (run / last).read_bytes()
    assert (stopped / LAST).read_bytes() == (run / LAST).read_bytes()
    assert find_unfinished(stopped) is None


@pytest.mark.run
def test_the_minutes_of_the_vectors_are_taken_from_those_of_the_run(corpus, tmp_path):
    prepared = learn_vectors(prepare(corpus, minutes=2), tmp_path / "run", corpus, quiet=True)
    seconds = read_vectors_record(tmp_path / "run").seconds
    assert seconds > 0
    assert prepared.training.minutes == pytest.approx(2 - seconds / 60)
    vectors = reopen_run(tmp_path / "run/word2vec")
    assert vectors.training.steps <= 5 * vectors.source.steps_per_epoch
    assert vectors.training.steps > vectors.source.steps_per_epoch
    planned = reserve_minutes(prepare(corpus, minutes=2, init_fraction=0.25))
    assert planned.training.minutes == pytest.approx(1.5)


@pytest.mark.run
def test_a_stop_between_vectors_and_first_step_says_how_to_continue(corpus, tmp_path, monkeypatch):
    out = tmp_path / "run"

    def stop(*given, **told):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(create, "train_prepared", stop)
        with pytest.raises(KeyboardInterrupt, match=f"continue with: selfwise resume {out}"):
            pretrain(corpus, out)
        with pytest.raises(KeyboardInterrupt) as plain:
            pretrain(corpus, tmp_path / "plain", init_tokens="")
    assert str(plain.value) == ""
    with pytest.raises(ValueError, match="has not taken its first step: continue it with"):
        selfwise.load(out)
    assert selfwise.resume(out, quiet=True).record.steps == 40


@pytest.mark.run
def test_the_logged_time_of_killed_processes_counts(corpus, tmp_path):
    out = tmp_path / "run"
    learn_vectors(prepare(corpus, minutes=2), out, corpus, quiet=True)
    record = read_vectors_record(out)
    write_vectors_record(out, replace(record, seconds=0.0))  # as if killed: never written
    lines = [{"step": step, "seconds": time} for step, time in ((1, 3.0), (2, 5.0), (3, 20.0))]
    lines += [{"step": 4, "seconds": 2.0}, {"step": 5, "seconds": 7.5}]  # the second process
    (out / "word2vec/timing.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    prepared = learn_vectors(prepare(corpus, minutes=2), out, corpus, quiet=True)
    found = read_vectors_record(out).seconds
    assert 27.5 < found < 27.5 + 20
    assert prepared.training.minutes == pytest.approx(2 - found / 60)


@pytest.mark.run
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"steps": 40, "tune": 3},
            r"tune 3 needs \d+ steps, \d+ of them \(25%\) for the search, and the run has 40",
        ),
        ({"minutes": 0.05, "tune": 3, "lr": 0.0}, "give a rate above 0"),
    ],
)
def test_a_search_that_cannot_be_leaves_no_vectors(corpus, tmp_path, options, words, capsys):
    with pytest.raises(ValueError, match=words):
        pretrain(corpus, tmp_path / "run", **{"quiet": False, "steps": None, **options})
    assert not (tmp_path / "run").exists()
    assert ("token table" in capsys.readouterr().err) == ("minutes" in options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"devices": 2}, r"init_tokens word2vec trains in one process, and devices is 2"),
        ({"init_from": "{run}"}, r"init_from and init_tokens both set the token table"),
    ],
)
def test_what_does_not_fit_is_refused(corpus, run, tmp_path, options, words):
    options = {name: str(run) if value == "{run}" else value for name, value in options.items()}
    with pytest.raises(ValueError, match=words):
        pretrain(corpus, tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_word2vec_itself_has_no_vectors_before_it(corpus, tmp_path):
    with pytest.raises(ValueError, match="trains this method itself: leave the option out"):
        selfwise.pretrain(
            "word2vec", data=corpus, out=tmp_path / "run", init_tokens="word2vec", quiet=True
        )


@pytest.mark.run
def test_the_command_makes_the_run_again_with_its_vectors(run, tmp_path):
    made = tmp_path / "again"
    command = format_reproduce_command(read_record(run), out=str(made), folder=run)
    assert command.notes[0] == f"Its word vectors are those in {run.resolve() / 'word2vec'}."
    assert cli.main(shlex.split(command.command.replace("\\\n", ""))[1:]) == 0
    assert (made / LAST).read_bytes() == (run / LAST).read_bytes()
    assert not (made / "word2vec").exists()
