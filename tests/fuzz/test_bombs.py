"""Small files that would take gigabytes are refused by their headers, or while they are read."""

import re
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from selfwise.core.memory_limit import VARIABLE, limit_memory
from selfwise.data.audio.open import open_recordings
from selfwise.data.image.open import open_images
from selfwise.data.labels import encode_labels
from selfwise.data.text.documents import open_documents
from selfwise.data.text.labelled import open_texts
from selfwise.data.text.plain_files import cut_pieces
from selfwise.interop.huggingface.folder import read_weights
from selfwise.tokenizers.tokenizer import Tokenizer
from tests.fuzz import bombs
from tests.fuzz.targets import read_documents, read_image, read_mnist
from tests.fuzz.worker import find_faults

LIMIT = 64 * 2**20
IDX = "train-images-idx3-ubyte.gz"


def read_lines(path: Path) -> None:
    for _ in open_documents(path, documents="line"):
        pass


# the file, what writes it, what reads it, and what the sentence says
CASES = [
    ("a.npz", bombs.write_npz, open_images, "the limit is 64.0 MiB (--max-memory)"),
    ("a.npz", bombs.write_npz_that_promises, open_images, "promises more than it holds"),
    ("a.npy", bombs.write_npy_that_promises, open_images, "the file is incomplete"),
    ("a.npy", bombs.write_npy_of_wide_texts, open_images, "each of its values takes 400,000,000"),
    (IDX, bombs.write_idx, read_mnist, "at least 600 MiB"),
    ("pictures/a.png", bombs.write_png, read_image, "13000 x 13000 pixels; reading it takes at"),
    ("a.txt.gz", bombs.write_line, read_lines, "a line: reading it takes"),
    ("a.txt.zst", bombs.write_line, read_lines, "a line: reading it takes"),
    ("a.csv.gz", bombs.write_csv, open_texts, "reading it takes"),
    ("a.csv.gz", bombs.write_line, read_documents, "a line: reading it takes"),
    ("a.jsonl", bombs.write_jsonl, open_texts, "line 1: reading it takes"),
    ("a.json.gz", bombs.write_line, read_documents, ""),
    ("a.feather", bombs.write_feather, open_texts, "a.feather: reading it takes at least 300 MiB"),
    ("a.arrow", partial(bombs.write_feather, stream=True), read_documents, "at least 300 MiB"),
    ("a.arrow", bombs.write_dictionary, read_documents, "a.arrow: reading it takes at least"),
    ("m.safetensors", bombs.write_safetensors, read_weights, "cannot be read as safetensors"),
    ("m.pt", bombs.write_pt, read_weights, "reading it takes at least 300 MiB"),
    ("a.wav", bombs.write_wav, partial(open_recordings, cache="no"), ""),
    ("tokenizer.json", bombs.write_huge_id, Tokenizer.load, "the id of 'b' is 4294967295"),
]


@pytest.fixture(autouse=True)
def limits(monkeypatch, tmp_path):
    monkeypatch.setenv(VARIABLE, str(LIMIT))
    monkeypatch.setenv("SELFWISE_CACHE", str(tmp_path / "cache"))


@pytest.mark.run
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")  # Pillow's own limit
@pytest.mark.parametrize(
    ("file", "write", "read", "text"), CASES, ids=[f"{i}-{case[0]}" for i, case in enumerate(CASES)]
)
def test_a_bomb_is_a_sentence_and_takes_no_memory(file, write, read, text, tmp_path):
    path = tmp_path / file
    write_file = partial(write, path)
    path.parent.mkdir(exist_ok=True)
    write_file()

    def read_once(number: int) -> None:
        with pytest.raises(ValueError, match=re.escape(text)) as error:
            read(path)
        raise error.value

    faults = find_faults(read_once, range(1), Path(file).name, LIMIT)
    assert not faults, faults


@pytest.mark.run
def test_a_text_that_a_page_repeats_is_read_row_by_row(tmp_path):
    """A parquet file of 26 kB with 600 MB of text: documents are a stream, texts are not."""
    path = tmp_path / "a.parquet"
    bombs.write_parquet(path)
    lengths = []

    def read(number: int) -> None:
        if number:
            lengths.extend(len(text) for text in open_documents(path))
            assert lengths == [3_000_000] * 200
        else:
            open_texts(path)
            raise AssertionError("all texts do not fit")

    assert not find_faults(read, range(2), "a.parquet", LIMIT)


def test_one_long_label_does_not_make_all_long():
    labels = ["x" * 100_000, *("ab" for _ in range(20_000))]

    def read(number: int) -> None:
        codes, names = encode_labels(labels, "a.csv")
        assert codes.tolist() == [1] + [0] * 20_000
        assert names == ["ab", "x" * 100_000]

    assert not find_faults(read, range(1), "a.csv", LIMIT)


@pytest.mark.parametrize(
    ("labels", "codes", "names"),
    [
        (["b", "a", "b"], [1, 0, 1], ["a", "b"]),
        (["2", "0", "2"], [2, 0, 2], ["0", "1", "2"]),
        (["02", "2"], [0, 1], ["02", "2"]),
        (["9" * 5000, "1"], [1, 0], ["1", "9" * 5000]),
        (["70000", "5"], [1, 0], ["5", "70000"]),
        ([b"b", b"a"], [1, 0], ["a", "b"]),
        (["a", 1, 2.5], [2, 0, 1], ["1", "2.5", "a"]),
        (np.array(["b", "a"]), [1, 0], ["a", "b"]),
        (np.array([2.0, 0.0]), [2, 0], ["0", "1", "2"]),
    ],
)
def test_labels_are_coded_as_before(labels, codes, names):
    assert encode_labels(labels, "f")[0].tolist() == codes
    assert encode_labels(labels, "f")[1] == names


@pytest.mark.parametrize("labels", [[1.5], [float("inf"), 1.0], [float("nan")], [1e300]])
def test_labels_that_are_not_whole_numbers_are_refused(labels):
    with pytest.raises(ValueError, match="f: labels must be whole numbers or text, got float64"):
        encode_labels(labels, "f")


def test_a_line_of_many_pieces_takes_time_in_proportion(tmp_path, monkeypatch):
    """Each piece of a long line was a copy of all that follows it: 300 MB took minutes."""
    monkeypatch.setenv(VARIABLE, "4G")
    path = tmp_path / "a.txt"
    path.write_text("x y " * (24 * 2**18))  # 24 pieces
    whole = path.read_text()
    assert "".join(text for text, _ in cut_pieces(whole)) == whole
    assert "".join(text for document in [open_documents(path)] for text in document) == whole
    begun = time.monotonic()
    list(cut_pieces("x" * (150 * 2**20)))
    assert time.monotonic() - begun < 10


def test_a_higher_limit_reads_what_a_lower_one_refuses(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x=np.zeros((70, 1024, 1024), dtype=np.uint8))
    with pytest.raises(ValueError, match=r"a.npz: reading it takes at least 70.0 MiB"):
        open_images(path)
    with limit_memory("1G"):
        assert len(open_images(path)) == 70
