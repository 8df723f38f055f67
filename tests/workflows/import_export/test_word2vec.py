"""Exports of word vectors: what gensim reads, and what other commands say of a run of word2vec."""

import numpy as np
import pytest
import torch

import selfwise
from selfwise.cli import main as cli
from selfwise.interop.word2vec import check_words, write_word2vec
from selfwise.workflows.export import export_run
from tests.helpers.exchange_cases import QUICK, blocks, filled
from tests.helpers.text_cases import randomise

TEXT = "The sea was calm, said Zoë. Don't go to sea, she said; the sea isn't calm. " * 40


def read_text(path):
    """Words and vectors of a text file, by a plain loop."""
    head, *lines = path.read_text("utf-8").split("\n")[:-1]
    rows = [line.split(" ") for line in lines]
    assert head == f"{len(rows)} {len(rows[0]) - 1}"
    return [row[0] for row in rows], np.array([row[1:] for row in rows], dtype=np.float32)


def read_binary(path):
    """Words and vectors of a binary file, byte by byte."""
    head, _, rest = path.read_bytes().partition(b"\n")
    count, width = map(int, head.split())
    words, rows = [], []
    for _ in range(count):
        word, _, rest = rest.partition(b" ")
        words.append(word.decode())
        rows.append(np.frombuffer(rest[: 4 * width], "<f4"))
        assert rest[4 * width : 4 * width + 1] == b"\n"
        rest = rest[4 * width + 1 :]
    assert not rest
    return words, np.stack(rows)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    home = tmp_path_factory.mktemp("words")
    (home / "text.txt").write_text(TEXT, encoding="utf-8")
    options = {"encoder_options": {"dim": 7}, "val_fraction": 0.0, "max_length": 32}
    made = selfwise.pretrain(
        "word2vec", data=home / "text.txt", out=home / "run", **QUICK, **options
    )
    return filled(made, randomise)


@pytest.fixture(scope="module")
def out(run):
    folder = run.folder.parent / "out"
    export_run(run.folder, to="word2vec", out=folder)
    return folder


@pytest.mark.run
def test_both_files_hold_all_words_most_frequent_first(run, out):
    words, vectors = read_text(out / "vectors.vec")
    assert sorted(p.name for p in out.iterdir()) == ["README.md", "vectors.bin", "vectors.vec"]
    assert words[:2] == ["sea", "calm"]
    assert sorted(words) == sorted(run.tokenizer.piece(i) for i in range(2, len(words) + 2))
    assert " ".join(sorted(words)) == "calm don't go isn't said sea she the to was zoë"
    table = run.encoder.token.weight.detach().numpy()
    assert np.array_equal(vectors, table[[run.tokenizer.id(word) for word in words]])
    again, numbers = read_binary(out / "vectors.bin")
    assert again == words
    assert np.array_equal(numbers, vectors)


@pytest.mark.run
def test_gensim_reads_both_files_and_finds_our_neighbors(out, run, monkeypatch):
    models = pytest.importorskip("gensim.models")
    words, vectors = read_text(out / "vectors.vec")
    for name, binary in (("vectors.vec", False), ("vectors.bin", True)):
        theirs = models.KeyedVectors.load_word2vec_format(out / name, binary=binary)
        assert theirs.index_to_key == words
        assert np.array_equal(theirs.vectors, vectors)
    monkeypatch.chdir(out)
    names = {}
    (code,) = blocks((out / "README.md").read_text())
    exec(code, names)
    unit = torch.nn.functional.normalize(torch.from_numpy(vectors))
    nearest = (unit @ unit[0]).argsort(descending=True)[1:]
    assert [word for word, _ in names["similar"]] == [words[i] for i in nearest]


@pytest.mark.parametrize("word", ["a b", "", "a\n", "\u2028", "a\u00a0b"])
def test_words_that_the_formats_cannot_hold_are_refused(word, tmp_path):
    with pytest.raises(ValueError, match="end a word at white space"):
        write_word2vec(tmp_path, ["sea", word], np.zeros((2, 3), np.float32))
    assert not [*tmp_path.iterdir()]
    with pytest.raises(ValueError, match="at least one word"):
        check_words([])


@pytest.mark.run
@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("export RUN --to hf --out OUT", "--to word2vec writes files for gensim"),
        ("export RUN --to timm --out OUT", "is for runs on images"),
        ("fill RUN [MASK]", "it needs a run of bert, roberta or albert"),
        ("generate RUN --prompt sea", "it needs a run of gpt"),
        ("perplexity RUN", "gives text no probability"),
        ("glue RUN --data DATA --out OUT", "measure it with selfwise probe"),
    ],
)
def test_other_commands_refuse_word_vectors_in_one_line(line, sentence, run, tmp_path, capsys):
    places = {"RUN": run.folder, "DATA": run.folder.parent, "OUT": tmp_path / "out"}
    words = [str(places.get(word, word)) for word in line.split()]
    assert cli.main(words) == 2
    (message,) = capsys.readouterr().err.splitlines()
    assert sentence in message
    assert not [*tmp_path.iterdir()]


@pytest.mark.run
@pytest.mark.parametrize("form", ["safetensors", "onnx"])
def test_other_forms_give_the_vectors_of_texts(form, run, tmp_path, monkeypatch):
    if form == "onnx":
        pytest.importorskip("onnxruntime")
    export_run(run.folder, to=form, out=tmp_path / "out")
    monkeypatch.chdir(tmp_path / "out")
    names = {}
    (code,) = blocks((tmp_path / "out" / "README.md").read_text())
    exec(code.replace('"a text"', '"said the unknown sea"'), names)
    expected = selfwise.embed(run, ["said the unknown sea"]).vectors
    np.testing.assert_allclose(np.asarray(names["features"]), expected, rtol=1e-5)


@pytest.mark.run
def test_only_tables_of_word_vectors_are_written(run, tmp_path):
    options = {"encoder": "gpt-tiny", "encoder_options": {"dim": 32, "heads": 2, "depth": 1}}
    options |= {"tokenizer": "chars", "max_length": 16, "val_fraction": 0.0, **QUICK}
    gpt = selfwise.pretrain(
        "gpt", data=run.folder.parent / "text.txt", out=tmp_path / "gpt", **options
    )
    with pytest.raises(ValueError, match="gpt-tiny, whose vectors depend on the words around"):
        export_run(gpt.folder, to="word2vec", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
