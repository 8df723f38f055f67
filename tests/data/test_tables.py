"""One reader for tables of images, recordings and texts: no row and no label is lost."""

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from PIL import Image

from selfwise.data.audio.open import open_recordings
from selfwise.data.image.open import open_images
from selfwise.data.text.documents import open_documents
from selfwise.data.text.labelled import open_texts

END = {"images": "png", "recordings": "wav"}
OPEN = {"images": open_images, "recordings": open_recordings}


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SELFWISE_CACHE", str(tmp_path / "cache"))


@pytest.fixture(params=["images", "recordings"])
def table(request, tmp_path):
    """A function: the rows of a table of eight files -> what its reader makes of it."""
    for i in range(8):
        if request.param == "images":
            Image.new("L", (12, 12), 20 * i).save(tmp_path / f"{i}.png")
        else:
            noise = np.random.default_rng(i).normal(0, 0.1, 1600)
            soundfile.write(tmp_path / f"{i}.wav", noise, 16000)

    def opened(rows, header="path,label", name="t.csv", encoding="utf-8", **options):
        text = "\n".join([header, *rows]).replace(".END", f".{END[request.param]}") + "\n"
        (tmp_path / name).write_bytes(text.encode(encoding))
        return OPEN[request.param](tmp_path / name, **options)

    return opened


def eight(changed: dict[int, str] | None = None, mark: str = ",") -> list[str]:
    rows = [f"{i}.END{mark}{'egret' if i % 2 else 'heron'}" for i in range(8)]
    for number, row in (changed or {}).items():
        rows[number] = row
    return rows


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({2: '2.END,"heron'}, r"t\.csv, line 4: malformed csv .*end of data.*line 9"),
        ({2: '"2.END,heron'}, r"t\.csv, line 4: malformed csv"),
        ({2: '2.END,"her"on'}, r"t\.csv, line 4: malformed csv"),
        ({2: '2.END,"heron', 5: '5.END,egret"'}, r"line 4: the label begins with 'heron'.*4 lines"),
        ({2: '"2.END,heron', 5: '5.END",egret'}, r"line 4: the path begins with '2\..*4 lines"),
        ({2: '2.END,"heron', 5: '5.END,"egret'}, r"line 4: malformed csv"),
        ({2: "2.END,heron,more"}, "line 4: expected a path and 2 fields"),
        ({2: "2.END"}, "line 4: expected a path and 2 fields"),
        ({2: "0.END,egret"}, r"line 4: 0\.... has the label 'egret', and 'heron' on line 2"),
        ({7: "./0.END,egret"}, r"line 9: \./0\.... has the label 'egret', and 'heron' on line 2"),
        ({3: "3.END," + "x" * 200_000}, r"t\.csv, line 5: the label has 200,000 characters"),
        ({3: "x" * 200_000}, r"t\.csv, line 5: expected a path and 2 fields"),
    ],
)
def test_no_row_is_lost(table, changed, message):
    with pytest.raises(ValueError, match=message) as caught:
        table(eight(changed))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("header", ["path,label,label", "path,Label,label ", "path,path,label"])
def test_a_column_that_is_there_twice(table, header):
    with pytest.raises(ValueError, match=r"t\.csv, line 1: there are two columns"):
        table([f"{i}.END,a,b" for i in range(8)], header)


def test_a_named_label_column_wins_over_the_usual_one(table):
    rows = [f"{row},{'big' if i % 3 else 'small'}" for i, row in enumerate(eight())]
    header = "path,label,size"
    assert table(rows, header).classes == ["egret", "heron"]
    found = table(rows, header, label_column="Size")
    assert found.classes == ["big", "small"]
    assert found.labels.tolist() == [0 if i % 3 else 1 for i in range(8)]


@pytest.mark.parametrize(
    ("header", "named", "message"),
    [
        ("path,label", "lable", r"t\.csv: no label column 'lable'; did you mean 'label'"),
        ("name,label", "label", r"t\.csv: .* needs a header with one of path"),
    ],
)
def test_a_named_column_that_is_not_there(table, header, named, message):
    with pytest.raises(ValueError, match=message):
        table(eight(), header, label_column=named)


def test_groups_of_a_named_column(tmp_path):
    for i in range(3):
        noise = np.random.default_rng(i).normal(0, 0.1, 1600)
        soundfile.write(tmp_path / f"{i}.wav", noise, 16000)
    text = "path,label,room,group\n0.wav,a,hall,x\n1.wav,b,attic,x\n2.wav,a,hall,x\n"
    (tmp_path / "t.csv").write_text(text)
    found = open_recordings(tmp_path / "t.csv", group_column="room")
    assert (found.group_names, found.groups.tolist()) == (["attic", "hall"], [1, 0, 1])
    with pytest.raises(ValueError, match="is not a csv or tsv, so it has no group column"):
        open_recordings(tmp_path, group_column="room")


def test_a_speaker_twice(table):
    rows = [*(f"{i}.END,a,x" for i in range(8)), "3.END,a,y"]
    with pytest.raises(ValueError, match=r"line 10: 3\.... has the group 'y', and 'x' on line 5"):
        table(rows, "path,label,speaker")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "utf-8"])
@pytest.mark.parametrize("end", ["csv", "tsv"])
def test_encodings_and_tabs(table, encoding, end):
    mark = "\t" if end == "tsv" else ","
    rows = eight({1: f"1.END{mark}café"}, mark)
    found = table(rows, f"path{mark}label", f"t.{end}", encoding)
    assert len(found) == 8
    assert found.classes == ["café", "egret", "heron"]


def test_another_encoding_is_named(table):
    with pytest.raises(ValueError, match=r"t\.csv: not UTF-8 at byte \d+ .*, line 3.*convert"):
        table(eight({1: "1.END,café"}), encoding="latin-1")


def test_what_was_right_is_still_read(table):
    rows = [f'{i}.END,"a, ""b""","two\nlines, of text"' for i in range(8)]
    found = table([*rows, '0.END,"a, ""b""",again'], "path,label,caption")
    assert (len(found), found.classes) == (9, ['a, "b"'])
    assert len(table(eight(), "path,label")) == 8
    assert len(table([f"{i}.END,a,," for i in range(8)], "path,label,,")) == 8


def test_rows_inside_an_unused_cell(table):
    rows = [f"{i}.END,a,bird" for i in range(8)]
    rows[2], rows[5] = '2.END,a,"bird', '5.END,a,bird"'
    with pytest.raises(ValueError, match=r"line 4: a cell begins with 'bird'.*4 lines"):
        table(rows, "path,label,caption")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "text,text\na,b\n", "line 1: there are two columns 'text'"),
        ("a.tsv", "text\tlabel\tlabel\na\tb\tc\n", "line 1: there are two columns 'label'"),
        ("a.jsonl", '{"text": "a", "text": "b"}\n', "line 1: the field 'text' occurs twice"),
        ("a.csv", 'text,label\na,x\n"b,x\nc,x\nd",x\n', "line 3: 'text' begins with 'b,x'"),
        ("a.csv", 'label,text\nx,a\ny,"b\nx,c\ny,d"\n', "line 3: 'text' begins with 'b'"),
        ("a.csv", 'text,label\na,x\nb,"x\nc,x"\n', "line 3: the label in 'label' begins with 'x'"),
        ("a.csv", 'text,label\na,x\nb,"x\n', "line 3: malformed csv"),
        ("a.jsonl", '{"text": "a", "label": ["x"]}\n', "line 1: the label in 'label' is a list"),
        ("a.jsonl", '{"text": "a", "label": {"x": 1}}\n', "the label in 'label' is a dict"),
    ],
)
def test_tables_of_texts(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        open_texts(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


def test_texts_of_several_lines_are_texts(tmp_path):
    rows = 'text,label\n"one, two\nthree, four",x\n"a, x\nb",y\n'.replace("a, x", "a; x")
    (tmp_path / "a.csv").write_text(rows)
    assert open_texts(tmp_path / "a.csv").texts == ["one, two\nthree, four", "a; x\nb"]
    (tmp_path / "b.csv").write_text('label,text\nyes,"Are you?\nyes, I am"\nno,b\n')
    assert open_texts(tmp_path / "b.csv").texts == ["Are you?\nyes, I am", "b"]


def test_parquet_with_a_column_twice_or_lists_as_labels(tmp_path):
    twice = pa.table([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    pq.write_table(twice, tmp_path / "a.parquet")
    for opened in (open_texts, lambda path: list(open_documents(path))):
        with pytest.raises(ValueError, match=r"a\.parquet: there are two columns 'text'"):
            opened(tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": ["a"], "label": [["x"]]}), tmp_path / "b.parquet")
    with pytest.raises(ValueError, match=r"b\.parquet, row 1: the label in 'label' is a list"):
        open_texts(tmp_path / "b.parquet")


def test_fields_inside_an_object_may_come_twice(tmp_path):
    rows = [json.dumps({"text": "a"})[:-1] + ', "meta": {"k": 1, "k": 2}}']
    (tmp_path / "a.jsonl").write_text("\n".join(rows))
    assert list(open_documents(tmp_path / "a.jsonl")) == ["a"]


# what is not a regular file

WAITING = """
import sys
from selfwise.data.{module} import {name}
try:
    found = {name}(sys.argv[1], **{options})
    print("read", len(list({first})))
except ValueError as error:
    print(error)
"""
READERS = {
    "images": ("image.open", "open_images", "{}", "found", "png"),
    "skipped images": ("image.open", "open_images", "{'skip_broken': True}", "found.ids", "png"),
    "recordings": ("audio.open", "open_recordings", "{}", "found.ids", "wav"),
    "texts": ("text.labelled", "open_texts", "{}", "found.texts", "txt"),
    "documents": ("text.documents", "open_documents", "{}", "found", "txt"),
}


def read_elsewhere(reader: str, path) -> str:
    """What another process says, which is killed if it waits."""
    module, name, options, first, _ = READERS[reader]
    code = WAITING.format(module=module, name=name, options=options, first=first)
    call = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(call, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.run  # a process
@pytest.mark.parametrize("reader", READERS)
def test_a_pipe_in_a_folder_is_not_waited_for(tmp_path, reader):
    end = READERS[reader][4]
    if end == "png":
        Image.new("L", (12, 12), 9).save(tmp_path / "a.png")
    elif end == "wav":
        soundfile.write(tmp_path / "a.wav", np.full(1600, 0.5), 16000)
    else:
        (tmp_path / "a.txt").write_text("text")
    os.mkfifo(tmp_path / f"pipe.{end}")
    said = read_elsewhere(reader, tmp_path)
    assert said == "read 1\n" if reader.startswith("skipped") else "named pipe" in said


@pytest.mark.parametrize("end", ["csv", "tsv", "npy", "npz", "txt", "jsonl", "parquet", "wav"])
def test_a_pipe_by_name_is_not_waited_for(tmp_path, end):
    os.mkfifo(tmp_path / f"pipe.{end}")
    readers = {"npy": [open_images], "npz": [open_images], "wav": [open_recordings]}
    tables = [open_images, open_recordings] if end in ("csv", "tsv") else []
    for opened in readers.get(end, [open_texts, open_documents, *tables]):
        with pytest.raises(ValueError, match=rf"pipe\.{end}: a named pipe cannot be read"):
            opened(tmp_path / f"pipe.{end}")


def test_a_pipe_a_socket_and_a_device_in_a_table(tmp_path, table, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the name of a socket is short
    os.mkfifo(tmp_path / "pipe.png")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("socket.png")
        for name, kind in {"pipe.png": "named pipe", "/dev/zero": "device", "socket.png": "socket"}.items():  # fmt: skip  # noqa: E501
            with pytest.raises(ValueError, match=f"{name} .a {kind}, not a file"):
                table(eight({3: f"{name},egret"}))
