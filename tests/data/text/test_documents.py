"""Corpora of every form, read as they are written, and what is wrong with them in one sentence."""

import csv
import gzip
import json
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selfwise.data.text import plain_files
from selfwise.data.text.documents import open_documents
from selfwise.data.text.plain_files import find_border

FIRST = "Мама мыла раму.\nLine two — naïve.\n\n今日は。 😀"
SECOND = "A second document.\n  Indented."
BOTH = [FIRST, SECOND]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SELFWISE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    return folder


def zstd(data: bytes) -> bytes:
    return pa.Codec("zstd").compress(data, asbytes=True)


def test_a_file_is_a_document_and_folders_are_nested(root):
    (root / "b").mkdir()
    (root / "b" / "x.txt").write_text(FIRST, encoding="utf-8")
    (root / "c.txt").write_text(SECOND, encoding="utf-8")
    (root / ".hidden.txt").write_text("no")
    (root / "picture.png").write_bytes(b"\x89PNG\0")
    found = open_documents(root)
    assert list(found) == BOTH
    assert list(found) == BOTH  # again and again
    assert found.bytes == len("".join(BOTH).encode())


def test_blank_lines_and_lines_divide(root):
    path = root / "x.txt"
    path.write_text("a\nb\n\n \nc\n\n\n\nd\n", encoding="utf-8")
    assert list(open_documents(path, documents="blank")) == ["a\nb", "c", "d"]
    assert list(open_documents(path, documents="line")) == ["a", "b", "c", "d"]
    assert list(open_documents(path, documents="file")) == ["a\nb\n\n \nc\n\n\n\nd\n"]


@pytest.mark.parametrize("block", [1, 3, 7, 2**20])
def test_what_is_read_does_not_depend_on_the_blocks(root, block, monkeypatch):
    monkeypatch.setattr(plain_files, "BLOCK_BYTES", block)
    text = "é😀 a\r\nb\r\n\r\n  c\rd\n \n\n\ne"
    path = root / "x.txt"
    path.write_bytes(text.encode())
    assert list(open_documents(path)) == ["é😀 a\nb\n\n  c\nd\n \n\n\ne"]
    blank = ["é😀 a\nb", "c\nd", "e"]
    assert list(open_documents(path, documents="blank")) == blank
    assert list(open_documents(path, documents="line")) == ["é😀 a", "b", "  c", "d", "e"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_encodings_and_compression(root, encoding, suffix):
    data = FIRST.replace("\n", "\r\n").encode(encoding)
    pack = {"": bytes, ".gz": gzip.compress, ".zst": zstd}[suffix]
    (root / f"x.txt{suffix}").write_bytes(pack(data))
    assert list(open_documents(root)) == [FIRST]
    half = len(data) // 2
    if suffix:  # members one after the other, as tools that append write them
        (root / f"x.txt{suffix}").write_bytes(pack(data[:half]) + pack(data[half:]))
        assert list(open_documents(root)) == [FIRST]


def table(path, rows):
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        tabs = path.suffix == ".tsv"
        with path.open("w", newline="", encoding="utf-8") as stream:
            if tabs:
                stream.writelines(
                    "\t".join(r) + "\n" for r in [rows[0].keys(), *map(dict.values, rows)]
                )
            else:
                writer = csv.DictWriter(stream, rows[0])
                writer.writeheader()
                writer.writerows(rows)


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "tsv", "parquet"])
def test_tables(root, suffix):
    texts = BOTH if suffix != "tsv" else ['He said "no', "it's 😀"]
    path = root / f"x.{suffix}"
    table(path, [{"id": str(i), "text": t, "other": "o"} for i, t in enumerate(texts)])
    assert list(open_documents(path)) == texts
    assert list(open_documents(path, field="other")) == ["o", "o"]
    with pytest.raises(
        ValueError, match=r"no field 'txet' \(the file has: id, text, other\).*'text'"
    ):
        list(open_documents(path, field="txet"))
    table(path, [{"a": "x", "b": "y"}])
    with pytest.raises(ValueError, match=r"the field with the text is unclear.*the file has: a, b"):
        list(open_documents(path))
    if suffix != "parquet":
        packed = root / f"{path.name}.gz"
        table(path, [{"text": t} for t in texts])
        packed.write_bytes(gzip.compress(path.read_bytes()))
        assert list(open_documents(packed)) == texts


def test_long_documents_come_in_pieces_and_stay_one(root, monkeypatch):
    monkeypatch.setattr(plain_files, "PIECE_CHARACTERS", 100)
    monkeypatch.setattr(plain_files, "BORDER_REACH", 25)
    text = "".join(f"word{i} \n" if i % 9 == 0 else f"word{i} " for i in range(300)) + "x" * 450
    (root / "a.txt").write_text(text)
    (root / "b.txt").write_text("short")
    found = open_documents(root)
    pieces = list(found.pieces())
    assert list(found) == [text, "short"]
    assert [p.last for p in pieces] == [False] * (len(pieces) - 2) + [True, True]
    assert max(len(p.text) for p in pieces) <= 100
    assert all(p.text[0] in " \n" for p in pieces[1:20])  # white space goes with what follows
    assert [p.part for p in pieces] == [0] * (len(pieces) - 1) + [1]
    assert [p.text for p in found.pieces(1)] == ["short"]
    assert pieces[-1].done == found.bytes
    for how in ("blank", "line"):
        (root / "a.txt").write_text("x y " * 200 + "\n\nnext\n\n" + "z" * 300)
        found = open_documents(root, documents=how)
        assert [t.strip() for t in found] == [("x y " * 200).strip(), "next", "z" * 300, "short"]


def test_pieces_end_at_the_best_border():
    size = plain_files.PIECE_CHARACTERS
    text = "a" * (size - 100) + "\n\n" + "b" * 20 + "\n" + "c" * 20 + " " + "d" * size
    assert find_border(text) == size - 100
    assert find_border(text.replace("\n\n", "xx")) == size - 100 + 22
    assert find_border(text.replace("\n", "x")) == size - 100 + 43
    assert find_border(text.replace("\n", "x").replace(" ", "x")) == size


def test_strings_and_the_python_documentation():
    assert list(open_documents(BOTH)) == BOTH
    found = open_documents("python-docs")
    texts = list(found)
    assert len(texts) > 300
    assert sum(map(len, texts)) > 10**6
    assert texts == list(open_documents("python-docs"))
    assert found.fingerprint == open_documents("python-docs").fingerprint
    assert any("Assert statements" in text for text in texts[:3])
    assert any(json.__doc__.strip()[:60] in text for text in texts)


def test_a_fingerprint_is_of_content_names_and_division(root):
    path = root / "a.txt"
    path.write_text("abc")
    (root / "b.txt").write_text("def")
    first = open_documents(root).fingerprint
    assert open_documents(root).fingerprint == first
    assert open_documents(root, documents="line").fingerprint != first
    path.write_text("abd")  # as many bytes
    changed = open_documents(root).fingerprint
    assert changed != first
    path.write_text("abc")
    assert open_documents(root).fingerprint == first
    path.rename(root / "c.txt")
    assert open_documents(root).fingerprint != first
    assert open_documents(["a"]).fingerprint != open_documents(["b"]).fingerprint


def read(path, **options):
    return list(open_documents(path, **options))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.txt", b"caf\xc3\xa9 caf\xe9", "not UTF-8 at byte 9"),
        ("x.txt", b"\xef\xbb\xbfabc\xff", "not UTF-8 at byte 6"),
        ("x.txt", b"abc\xe2\x82", "not UTF-8 at byte 3"),
        ("x.txt", b"\xff\xfea\x00\x00\xd8", "not UTF-16 at byte 4"),
        ("x.txt", b"\x7fELF\0\0", "a binary file, not text .byte 4"),
        ("x.txt", b"", "the corpus is empty"),
        (
            "x.txt.gz",
            gzip.compress(b"ab\xff", mtime=0),
            "not UTF-8 at byte 2 of the uncompressed text",
        ),
        ("x.txt.gz", gzip.compress(b"abc" * 99, mtime=0)[:-9], "the compressed file is damaged"),
        ("x.txt.zst", b"nothing", "the compressed file is damaged"),
        ("x.jsonl", b'{"text": "a"}\n{"text"', "line 2: not JSON"),
        ("x.jsonl", b'{"text": 3}', "line 1: 'text' is not text but of type int"),
        ("x.jsonl", b'{"text": "a"}\n{"test": "a"}', "line 2: there is no field 'text'"),
        ("x.jsonl", b"[1]", "line 1: expected an object, got list"),
        ("x.csv", b"text,b\nx", "line 2: expected 2 fields"),
        ("x.csv", b'text,b\n"x', "line 2: malformed csv"),
        ("x.tsv", b"text\tb\nx\ty\nx\n", "line 3: expected 2 fields"),
        ("x.parquet", b"PAR1 and so on", "cannot be read as parquet"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(root, name, content, message):
    (root / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as told:
        read(root / name)
    assert "\n" not in str(told.value)
    assert str(root / name) in str(told.value)


def test_a_byte_is_counted_through_all_blocks(root, monkeypatch):
    monkeypatch.setattr(plain_files, "BLOCK_BYTES", 5)
    (root / "x.txt").write_bytes("é".encode() * 20 + b"ab\xff")
    with pytest.raises(ValueError, match="byte 42 "):
        read(root)


def test_mistakes_are_one_sentence(root):
    with pytest.raises(ValueError, match="did you mean 'line'"):
        read(root, documents="lines")
    with pytest.raises(ValueError, match="no corpus in this folder"):
        read(root)
    (root / "novel.txt").write_text("a")
    with pytest.raises(ValueError, match=r"does not exist; did you mean 'novel.txt'"):
        read(root / "novle.txt")
    with pytest.raises(ValueError, match="did you mean 'python-docs'"):
        read("python-doc")
    with pytest.raises(ValueError, match="document 1 is of type int"):
        read(["a", 3])
    with pytest.raises(ValueError, match="the corpus is empty"):
        read(["", " "])
    with pytest.raises(ValueError, match="a path or a sequence of str, got int"):
        read(3)


def test_the_hub_needs_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ValueError, match=r"pip install 'selfwise\[hub\]'"):
        read("hub:owner/name")


def test_the_hub_is_read_through_datasets(monkeypatch):
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_list([{"id": i, "text": t} for i, t in enumerate([*BOTH, ""])])
    asked = []

    def load(name, split):
        asked.append((name, split))
        return rows

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert read("hub:owner/name") == BOTH
    assert read("hub:owner/name:test", field="text") == BOTH
    assert asked == [("owner/name", "train"), ("owner/name", "test")]
    with pytest.raises(ValueError, match="there is no field 'body'"):
        read("hub:owner/name", field="body")


@pytest.mark.parametrize(("spelt", "fine"), [(r"a \ud83d b", False), (r"a \ud83d\ude42 b", True)])
def test_half_a_character_in_json_is_named(tmp_path, spelt, fine):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one"}\n{"text": "' + spelt + '"}\n')
    found = open_documents(path)
    if fine:
        assert list(found) == ["one", "a 🙂 b"]
    else:
        with pytest.raises(ValueError, match=r"line 2: 'text' has a lone \\ud83d"):
            list(found)
