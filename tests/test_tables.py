"""One strictness for all tables of files and of texts; what is not a regular file never waits."""

import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from PIL import Image

from selfwise.data.documents import open_documents
from selfwise.data.open import open_images
from selfwise.data.recordings import open_recordings
from selfwise.data.texts import open_texts

N = 8


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Eight images and eight recordings."""
    monkeypatch.setenv("SELFWISE_CACHE", str(tmp_path / "cache"))
    sound = np.random.default_rng(0).standard_normal((N, 4000)).astype("f4") * 0.1
    for i in range(N):
        Image.fromarray(np.full((12, 12, 3), 20 * i, "u1")).save(tmp_path / f"{i}.png")
        soundfile.write(tmp_path / f"{i}.wav", sound[i], 16000)
    return tmp_path


def open_any(path, suffix):
    if suffix == "png":
        return open_images(path, cache="no")
    if suffix == "wav":
        return open_recordings(path, cache="no", workers=0)
    return open_texts(path, field="path")


def table(root, suffix, change, kind="csv"):
    """Rows `path,label` of all files, changed."""
    rows = ["path,label", *(f"{i}.{suffix},{'ab'[i % 2]}" for i in range(N))]
    change(rows)
    path = root / f"t.{kind}"
    path.write_text("\n".join(rows) + "\n", "utf-8")
    return path


def set_row(row, text):
    def change(rows):
        rows[row] = text

    return change


def set_two(one, other):
    def change(rows):
        rows[one[0]], rows[other[0]] = one[1], other[1]

    return change


@pytest.mark.parametrize("suffix", ["png", "wav", "txt"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_row(3, '2.{0},"a'), r"t\.csv, line 4 to 9: malformed csv"),
        (set_row(3, '"2.{0},a'), r"t\.csv, line 4 to 9: malformed csv"),
        (set_row(3, '2.{0},"a"b'), r"t\.csv, line 4: malformed csv"),
        (set_two((3, '2.{0},"a'), (5, '4.{0},a"')), r"t\.csv, line 4: the label.*several lines"),
        (set_row(4, "3.{0}"), r"t\.csv, line 5: expected 2 fields"),
        (set_row(4, "3.{0},a,b"), r"t\.csv, line 5: expected 2 fields"),
        (set_row(4, "3.{0},"), r"t\.csv, line 5: the label.*is empty"),
        (set_row(0, "path,path"), r"t\.csv: two columns have the name 'path'"),
        (set_row(2, "1.{0}," + "x" * 200000), r"t\.csv, line 3: the label.*200,000 characters"),
    ],
)
def test_no_row_of_a_table_is_lost(root, suffix, change, message):
    def write(rows):
        change(rows)
        rows[:] = [row.replace("{0}", suffix) for row in rows]

    with pytest.raises(ValueError, match=message) as error:
        open_any(table(root, suffix, write), suffix)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", ["png", "wav", "txt"])
def test_quotes_that_match_are_read(root, suffix):
    path = table(root, suffix, set_row(1, f'"0.{suffix}","a ""b"", c"'))
    read = open_any(path, suffix)
    assert len(read) == N
    assert 'a "b", c' in read.classes


@pytest.mark.parametrize("suffix", ["png", "wav"])
def test_a_path_between_two_stray_quotes_is_refused(root, suffix):
    change = set_two((3, f'"2.{suffix},a'), (5, f'4.{suffix}",a'))
    with pytest.raises(ValueError, match=r"t\.csv, line 4: .* is not a path"):
        open_any(table(root, suffix, change), suffix)


@pytest.mark.parametrize("suffix", ["png", "wav"])
@pytest.mark.parametrize("again", ["1.{}", "./1.{}"])
def test_a_path_with_two_labels_is_refused(root, suffix, again):
    path = table(root, suffix, lambda rows: rows.append(again.format(suffix) + ",a"))
    with pytest.raises(ValueError, match=r"t\.csv, lines 3 and 10: .*1\..* is there as b and a"):
        open_any(path, suffix)
    twice = table(root, suffix, lambda rows: rows.append(again.format(suffix) + ",b"))
    assert len(open_any(twice, suffix)) == N + 1


@pytest.mark.parametrize("suffix", ["png", "wav", "txt"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
def test_encodings_of_a_table(root, suffix, encoding):
    text = "path,label\n" + "".join(f"{i}.{suffix},café\n" for i in range(3))
    (root / "t.csv").write_bytes(text.encode(encoding))
    if encoding == "latin-1":
        with pytest.raises(ValueError, match=r"t\.csv: not UTF-8 at byte"):
            open_any(root / "t.csv", suffix)
    else:
        assert open_any(root / "t.csv", suffix).classes == ["café"]


@pytest.mark.parametrize("suffix", ["png", "wav", "txt"])
def test_tabs_separate_in_tsv(root, suffix):
    def change(rows):
        rows[:] = [row.replace(",", "\t") for row in rows]
        rows[1] = f'0.{suffix}\t"a'

    read = open_any(table(root, suffix, change, "tsv"), suffix)
    assert (len(read), read.classes) == (N, ['"a', "a", "b"])


def test_tables_of_texts_lose_no_column_and_no_label(root):
    (root / "a.jsonl").write_text('{"text": "a", "text": "b"}\n')
    with pytest.raises(ValueError, match=r"a\.jsonl, line 1: the field 'text' is there twice"):
        list(open_documents(root / "a.jsonl"))
    (root / "b.csv").write_text("text,text\na,b\n")
    with pytest.raises(ValueError, match=r"b\.csv: two columns have the name 'text'"):
        list(open_documents(root / "b.csv"))
    twice = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    pq.write_table(twice, root / "c.parquet")
    with pytest.raises(ValueError, match=r"c\.parquet: two columns have the name 'text'"):
        list(open_documents(root / "c.parquet"))


@pytest.mark.parametrize("label", ['["x"]', '{"a": 1}', "null", "NaN", '""'])
def test_a_label_is_one_value(root, label):
    rows = f'{{"text": "a", "label": {label}}}\n{{"text": "b", "label": "x"}}'
    (root / "d.jsonl").write_text(rows)
    with pytest.raises(ValueError, match=r"d\.jsonl, line 1: the label in 'label' is"):
        open_texts(root / "d.jsonl", labelled=True)


@pytest.mark.parametrize("suffix", ["png", "wav", "txt"])
def test_a_named_pipe_does_not_wait(root, suffix):
    folder = root / "more"
    folder.mkdir()
    os.mkfifo(folder / f"pipe.{suffix}")
    if suffix != "txt":
        (folder / f"0.{suffix}").write_bytes((root / f"0.{suffix}").read_bytes())
    with pytest.raises(ValueError, match=rf"pipe\.{suffix}.*a named pipe, not a file"):
        open_any(folder, suffix)


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.csv", "x.tsv"])
def test_no_input_is_a_named_pipe(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(ValueError, match="a named pipe, not a file"):
        open_images(tmp_path / name)


@pytest.mark.parametrize("name", ["x.txt", "x.jsonl", "x.parquet", "x.csv.gz"])
def test_no_corpus_is_a_named_pipe(tmp_path, name):
    os.mkfifo(tmp_path / name)
    for read in (open_documents, open_texts):
        with pytest.raises(ValueError, match="a named pipe, not a file"):
            read(tmp_path / name)
