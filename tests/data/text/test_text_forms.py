"""Text with a structure: read as what it is, or refused in one sentence; never as plain text."""

import gzip
import json

import pyarrow as pa
import pytest

from selfwise.data.text import plain_files
from selfwise.data.text.documents import open_documents
from selfwise.data.text.labelled import open_texts

# ruff: noqa: RUF001
TEXTS = ['First, with "quotes" and ] } braces.\nLine two.', "Zweiter – 今日 😀", "third"]
ROWS = [{"text": text, "meta": {"id": [i]}} for i, text in enumerate(TEXTS)]
WIKI = "".join(
    f'<doc id="{i}" url="https://x.org/?curid={i}" title="T &quot;{i}&quot;">\n{text}\n\n</doc>\n'
    for i, text in enumerate(TEXTS)
)
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


def zstd(data: bytes) -> bytes:
    return pa.Codec("zstd").compress(data, asbytes=True)


def arrow(*, stream: bool) -> bytes:
    table, out = pa.Table.from_pylist(ROWS), pa.BufferOutputStream()
    new = pa.ipc.new_stream if stream else pa.ipc.new_file
    with new(out, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return out.getvalue().to_pybytes()


FORMS = {
    "array.json": json.dumps(ROWS).encode(),
    "indented.json": json.dumps(ROWS, indent=2, ensure_ascii=False).encode(),
    "strings.json": json.dumps(TEXTS).encode(),
    "lines.json": LINES.encode(),
    "marked.json": b"\xef\xbb\xbf" + LINES.encode(),
    "c4-train.00000-of-01024.json.gz": gzip.compress(LINES.encode()),
    "array.json.gz": gzip.compress(json.dumps(ROWS).encode()),
    "dolma.json.zst": zstd(LINES.encode()),
    "file.arrow": arrow(stream=False),
    "stream.arrow": arrow(stream=True),
    "file.feather": arrow(stream=False),
    "file.ipc": arrow(stream=False),
    "wiki_00": WIKI.encode(),
    "wiki_01.gz": gzip.compress(WIKI.encode()),
    "wiki_02.txt": WIKI.replace("\n", "\r\n").encode(),
    "wiki_json": LINES.encode(),
    "wiki_03.gz": gzip.compress(LINES.encode()),
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SELFWISE_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("block", [3, 7, 2**20])
def test_documents_are_those_inside(tmp_path, name, block, monkeypatch):
    monkeypatch.setattr(plain_files, "BLOCK_BYTES", block)
    path = tmp_path / "corpus" / "AA" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(FORMS[name])
    assert list(open_documents(path)) == TEXTS
    assert list(open_documents(path.parent.parent)) == TEXTS  # and inside a folder


def test_texts_to_probe_come_in_the_same_tables(tmp_path):
    rows = [{"text": text, "label": text[0]} for text in TEXTS]
    (tmp_path / "x.json").write_text(json.dumps(rows), encoding="utf-8")
    found = open_texts(tmp_path / "x.json", labelled=True)
    assert (found.texts, found.classes) == (TEXTS, sorted("FZt"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.html", b"<p>a</p>", "this is HTML"),
        ("x.htm.gz", gzip.compress(b"<p>a</p>", mtime=0), "this is HTML"),
        ("x.txt", b"\n<!DOCTYPE html>\n<html>", "this is HTML"),
        ("x.md", b"<html lang='en'>", "this is HTML"),
        ("x.jsonl", b"<!doctype html>", "this is HTML"),
        ("x.xml", b"<a/>", "this is XML"),
        ("x.txt", b'<?xml version="1.0"?>', "this is XML"),
        ("x.warc.gz", gzip.compress(b"WARC/1.0\r\n", mtime=0), "a web archive"),
        ("x.txt.gz", gzip.compress(b"WARC/1.0\r\n", mtime=0), "a web archive"),
        ("x.pdf", b"%PDF-1.4", "office program"),
        ("x", b"%PDF-1.4", "a PDF"),
        ("x.docx", b"PK\x03\x04", "office program"),
        ("x.txt", b"PK\x03\x04", "a zip archive"),
        ("x.ipynb", b"{}", "a notebook"),
        ("x.tar.gz", b"", "an archive"),
        ("x.txt", b"a" * 257 + b"ustar\0", "a tar archive"),
        ("x.txt", gzip.compress(b"abc", mtime=0), r"compressed with gzip.* end in \.gz"),
        ("x.jsonl", gzip.compress(b"{}", mtime=0), r"compressed with gzip.* end in \.gz"),
        ("x", zstd(b"abc"), r"compressed with zstd.* end in \.zst"),
        ("x.txt.bz2", b"BZh9", "unpack it first"),
        ("x.txt", b"PAR1abc", r"a parquet file.* end in \.parquet"),
        ("x.txt", b"ARROW1\0\0", r"an Arrow file.* end in \.arrow"),
        ("x.txt", LINES.encode(), r"this is JSON.* end in \.jsonl"),
        ("x.txt", json.dumps(ROWS).encode(), r"this is JSON.* \.json for an array"),
        ("x.arrow", b"no arrow at all", "cannot be read as Arrow"),
        ("x.json", b'[{"text": "a"}, {"text"', "row 2: not JSON"),
        ("x.json", b'[{"text": "a"} {"text": "b"}]', "row 1: not JSON .no comma"),
        ("x.json", b'[{"text": "a"}, ]', "row 2: not JSON"),
        ("x.json", b'[{"text": "a"}', "row 1: not JSON|has no end"),
        ("x.json", b'[{"text": "a"}] x', "text behind the end"),
        ("x.json", b'[{"text": "a"}, {"meta": 1}]', "row 2: there is no field 'text'"),
        ("x.json", b'[{"text": "a"}, {"text": {"b": 1}}]', "row 2: 'text' is not text"),
        ("x.json", b'[{"id": 1, "data": {"text": "a"}}]', "row 1: the field with the text"),
        ("x.json", b"[1]", "row 1: expected an object, got int"),
        ("x.json", b'[{"text": "\\ud83d b"}]', "row 1: 'text' has a lone .ud83d"),
        ("wiki_00", (WIKI + "x").encode(), "line 14: there is text outside"),
        ("wiki_00", WIKI[:-8].encode(), "has no </doc>"),
    ],
)  # fmt: skip
def test_what_is_not_read_is_one_sentence(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    if not content:
        path.write_bytes(b"x")
    with pytest.raises(ValueError, match=message) as told:
        list(open_documents(path))
    assert "\n" not in str(told.value)
    assert str(path) in str(told.value)


@pytest.mark.parametrize(
    "text",
    ["[1] A reference.", '{"not json', "<doc> of mine", "{curly} words", "<p>a", "# md\n<html>"],
)
def test_plain_text_stays_plain(tmp_path, text):
    for name in ("x.txt", "x.md", "x.rst", "x", "x.log"):
        (tmp_path / name).write_text(text)
        assert list(open_documents(tmp_path / name)) == [text]
    assert open_texts(tmp_path / "x.txt").texts == text.split("\n")


def test_what_a_folder_leaves_out_is_counted(tmp_path):
    root = tmp_path / "corpus"
    root.mkdir()
    (root / "a.txt").write_text("a")
    assert open_documents(root).left_out == ""
    for name in ("b.html", "c.html", "d.warc.gz", "LICENSE", "e.pdf"):
        (root / name).write_bytes(b"some")
    (root / "state.json").write_text('{"text": 1}')
    (root / "settings.json").write_text('{"size": 1}')
    found = open_documents(root)
    assert list(found) == ["a"]
    told = (
        "7 files are skipped, since they are not text (2 .html, 2 .json, 1 without a suffix, 1 "
        ".warc.gz, 1 .pdf)"
    )
    assert sorted(found.left_out[len(str(root)) + 2 :].split()) == sorted(told.split())
    (root / "a.txt").unlink()
    with pytest.raises(ValueError, match=r"no corpus in this folder.*7 files are skipped"):
        open_documents(root)
