"""Labelled texts of every form."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selfwise.data.text.labelled import open_texts


def test_sst2_as_it_is_distributed(real_data):
    found = open_texts(real_data / "glue_data" / "SST-2" / "train.tsv", labelled=True)
    assert len(found) == 67349
    assert found.texts[0] == "hide new secretions from the parental units "
    assert found.labels[:5].tolist() == [0, 0, 1, 0, 0]
    assert found.classes == ["0", "1"]
    assert found.pairs is None
    with pytest.raises(ValueError, match="these texts have no labels"):
        open_texts(real_data / "glue_data" / "SST-2" / "test.tsv", labelled=True)
    rte = open_texts(real_data / "glue_data" / "RTE" / "dev.tsv")
    assert rte.classes == ["entailment", "not_entailment"]
    assert len(rte.pairs) == len(rte) == 277


@pytest.fixture
def root(tmp_path):
    return tmp_path


def written(path, text):
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_quotes_are_text_in_tsv_and_quotes_in_csv(root):
    tsv = open_texts(written(root / "a.tsv", 'sentence\tlabel\n"open and\t1\n"b" c\t0\n'))
    assert tsv.texts == ['"open and', '"b" c']
    csv = open_texts(written(root / "a.csv", 'label,text\npos,"a, ""b""\nc"\nneg,d\n'))
    assert csv.texts == ['a, "b"\nc', "d"]
    assert csv.classes == ["neg", "pos"]
    assert csv.labels.tolist() == [1, 0]


def test_jsonl_and_parquet(root):
    rows = [{"premise": "a", "hypothesis": "b", "target": 2}, {"premise": "c", "hypothesis": "d", "target": 0}]  # fmt: skip  # noqa: E501
    pq.write_table(pa.Table.from_pylist(rows), root / "a.parquet")
    found = open_texts(root / "a.parquet")
    assert (found.texts, found.pairs) == (["a", "c"], ["b", "d"])
    assert found.labels.tolist() == [2, 0]
    assert found.classes == ["0", "1", "2"]
    single = open_texts(root / "a.parquet", field="hypothesis", label="premise")
    assert (single.texts, single.pairs, single.classes) == (["b", "d"], None, ["a", "c"])
    both = open_texts(root / "a.parquet", field="hypothesis,premise")
    assert (both.texts, both.pairs) == (["b", "d"], ["a", "c"])
    lines = '{"text": "a", "class": "x"}\n{"text": "b", "class": "y"}\n'
    assert open_texts(written(root / "b.jsonl", lines)).classes == ["x", "y"]


def test_folders_and_lines(root):
    written(root / "f" / "neg" / "1.txt", "bad\nfilm")
    written(root / "f" / "pos" / "deep" / "2.txt", "good")
    found = open_texts(root / "f", labelled=True)
    assert found.texts == ["bad\nfilm", "good"]
    assert found.labels.tolist() == [0, 1]
    assert found.classes == ["neg", "pos"]
    assert list(found.ids) == ["neg/1.txt", "pos/deep/2.txt"]
    written(root / "f" / "3.txt", "no class")
    assert open_texts(root / "f").labels is None
    lines = open_texts(written(root / "l.txt", "one\n\ntwo\n"))
    assert lines.texts == ["one", "two"]
    assert list(lines.ids) == ["0", "1"]


def test_python_objects_and_parts_of_them():
    found = open_texts((["a", "b", "c"], ["x", "y", "x"]))
    assert found.labels.tolist() == [0, 1, 0]
    part = found.take(np.array([2, 0]))
    assert (part.texts, part.labels.tolist(), list(part.ids)) == (["c", "a"], [0, 0], ["2", "0"])
    assert part.fingerprint != found.fingerprint
    assert open_texts(["a", "b"]).labels is None
    assert len(open_texts(("a", "b"))) == 2  # two texts and no pair
    assert open_texts(["a"]).fingerprint != open_texts(["b"]).fingerprint
    assert (
        open_texts((["a", "b"], [0, 1])).fingerprint != open_texts((["a", "b"], [1, 0])).fingerprint
    )


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("a.csv", "text,label\nx,\n", {}, "line 2: the label in 'label' is empty"),
        ("a.csv", "text,labl\nx,y\n", {"label": "label"}, "no field 'label'.*mean 'labl'"),
        ("a.csv", "text,b\nx,y\n", {"field": "txt"}, "no field 'txt'.*mean 'text'"),
        ("a.csv", "a,b\nx,y\n", {}, "the field with the text is unclear"),
        ("a.csv", "text,b\nx,y\n", {"labelled": True}, "these texts have no labels"),
        ("a.csv", "text,label\n", {}, "it contains no text"),
        ("a.jsonl", '{"text": null}\n', {}, "line 1: 'text' is not text but of type NoneType"),
        ("a.docx", "x", {}, "expected a folder, or a file that ends in .txt"),
        ("a.txt", "", {}, "it contains no text"),
    ],
)
def test_mistakes_are_one_sentence(root, name, content, options, message):
    path = written(root / name, content)
    with pytest.raises(ValueError, match=message) as told:
        open_texts(path, **options)
    assert "\n" not in str(told.value)


def test_mistakes_in_python_are_one_sentence(root):
    with pytest.raises(ValueError, match="there are 2 texts and 1 labels"):
        open_texts((["a", "b"], [1]))
    with pytest.raises(ValueError, match="text 1 is not a str"):
        open_texts(["a", 1])
    with pytest.raises(ValueError, match="got int"):
        open_texts(3)
    written(root / "a.csv", "")
    with pytest.raises(ValueError, match=r"does not exist; did you mean 'a\.csv'"):
        open_texts(root / "b.csv")
    with pytest.raises(ValueError, match="no txt file in this folder"):
        open_texts(root)
