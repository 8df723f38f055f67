"""`--init-tokens`: the token table of a new run comes from an earlier run."""

import shutil

import pytest
import torch

import selfwise
from selfwise.cli import main as cli
from selfwise.runs.create import request_run
from selfwise.runs.prepare import prepare_run
from selfwise.runs.processes import reopen_run
from selfwise.runs.run_yaml import read_record
from tests.data.text.test_mixture import story

TINY = {"dim": 16, "heads": 2, "depth": 1}
QUICK = {"batch_size": 4, "max_length": 16, "cpu_threads": 1, "quiet": True}
QUICK |= {"precision": "float32", "val_fraction": 0, "steps": 4}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    for i in range(6):
        (folder / f"{i}.txt").write_text(story(i, 12))
    return folder


@pytest.fixture(scope="module")
def vectors(corpus, tmp_path_factory):
    """A run with a trained token table."""
    told = {**QUICK, "encoder": "gpt-tiny", "encoder_options": TINY, "tokenizer": "bpe:280"}
    out = tmp_path_factory.mktemp("vectors") / "run"
    return selfwise.pretrain("gpt", data=corpus, out=out, **told, lr=0.01, seed=7).folder


def prepare(method, corpus, **options):
    encoder = {**TINY, **options.pop("encoder_options", {})}
    told = {**QUICK, **options, "encoder_options": encoder}
    told = {name: value for name, value in told.items() if name != "quiet"}
    request = request_run(method, corpus, f"{method}-tiny", told.pop("init_from", ""), 3, told)
    return prepare_run(request, corpus, quiet=True)


METHODS = ("bert", "roberta", "albert", "gpt")


@pytest.mark.parametrize("method", METHODS)
def test_the_table_is_the_earlier_one_centered_and_scaled(corpus, vectors, method):
    options = {"embedding": 16} if method == "albert" else {}
    made = prepare(method, corpus, init_tokens=str(vectors), encoder_options=options)
    source = selfwise.load(vectors).encoder.token.weight.detach()
    table = made.method.encoder.token.weight.detach()
    centered = source - source.mean(0)
    scale = 0.05 / centered.flatten().pow(2).mean().sqrt()
    torch.testing.assert_close(table, centered * scale)
    assert made.data.tokenizer.fingerprint == selfwise.load(vectors).tokenizer.fingerprint


def test_only_the_token_table_differs(corpus, vectors):
    plain = prepare("roberta", corpus, tokenizer=str(vectors)).method.state_dict()
    made = prepare("roberta", corpus, init_tokens=str(vectors)).method.state_dict()
    assert plain.keys() == made.keys()
    differing = [name for name in plain if not torch.equal(plain[name], made[name])]
    assert differing
    assert all("token" in name for name in differing), differing


def test_another_width_goes_through_a_linear_layer(corpus, vectors):
    wide = {"dim": 32, "embedding": 16}
    made = prepare("roberta", corpus, init_tokens=str(vectors), encoder_options=wide)
    assert made.method.encoder.token.weight.shape[1] == 16
    assert made.method.encoder.dim == 32


@pytest.mark.run
def test_a_run_records_the_table_and_resumes(corpus, vectors, tmp_path):
    told = {**QUICK, "encoder": "gpt-tiny", "encoder_options": TINY, "save_every": 2}
    run = selfwise.pretrain(
        "gpt", data=corpus, out=tmp_path / "run", init_tokens=str(vectors), **told
    ).folder
    record = read_record(run)
    assert record.option("init_tokens") == str(vectors)
    assert record.option("tokenizer") == str(vectors)
    final = (run / "checkpoints/step-00000004/model.safetensors").read_bytes()
    for removed in (("step-00000004",), ("step-00000004", "step-00000002")):
        copy = tmp_path / f"copy{len(removed)}"
        shutil.copytree(run, copy)
        for name in removed:
            shutil.rmtree(copy / "checkpoints" / name)
        if len(removed) == 2:  # other processes open the run before its first checkpoint
            table = reopen_run(copy).method.encoder.token.weight.detach()
            assert float(table.square().mean().sqrt()) == pytest.approx(0.05, rel=1e-4)
        selfwise.resume(copy, quiet=True)
        assert (copy / "checkpoints/step-00000004/model.safetensors").read_bytes() == final


def test_the_tokenizer_of_a_run_can_be_named_by_the_run(corpus, vectors):
    made = prepare("bert", corpus, tokenizer=str(vectors))
    assert made.data.tokenizer.fingerprint == selfwise.load(vectors).tokenizer.fingerprint


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tokenizer": "bpe:290"}, r"has another tokenizer than this run.*leave out tokenizer"),
        (
            {"encoder_options": {"dim": 32}},
            r"vectors of 16 numbers, and the token table of this encoder has 32.*"
            r"encoder.embedding 16",
        ),
        ({"init_tokens": "nowhere"}, "init_tokens nowhere is neither word2vec nor the folder of"),
        ({"init_tokens": "word2vce"}, "neither word2vec.*; did you mean 'word2vec'"),
        ({"init_fraction": 0.25}, "init_fraction needs init_tokens word2vec"),
        ({"init_from": "{vectors}"}, r"init_from and init_tokens both set the token table"),
    ],
)
def test_a_table_that_does_not_fit_is_an_error(corpus, vectors, tmp_path, options, words):
    options = {n: str(vectors) if v == "{vectors}" else v for n, v in options.items()}
    encoder = {**TINY, **options.pop("encoder_options", {})}
    told = {**QUICK, "init_tokens": str(vectors), "encoder_options": encoder, **options}
    with pytest.raises(ValueError, match=words):
        selfwise.pretrain("gpt", data=corpus, out=tmp_path / "run", encoder="gpt-tiny", **told)
    assert not (tmp_path / "run").exists()


@pytest.mark.run
def test_a_run_on_images_has_no_tokens(corpus, tmp_path, capsys):
    tiny = ["--encoder", "resnet18", "--encoder.layers", "[1, 1, 1, 1]", "--steps", "1"]
    line = ["pretrain", "rotation", "--data", "digits", "--batch-size", "8", *tiny, "--quiet"]
    assert cli.main([*line, "--out", str(tmp_path / "images")]) == 0
    line = ["pretrain", "gpt", "--data", str(corpus), "--tokenizer", "bpe:280", "--steps", "1"]
    line += ["--batch-size", "4", "--max-length", "16", "--encoder", "gpt-tiny"]
    line += ["--init-tokens", str(tmp_path / "images"), "--out", str(tmp_path / "run")]
    assert cli.main(line) == 2
    assert "images is a run on image, which has no tokens" in capsys.readouterr().err
