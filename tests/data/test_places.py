"""Errors of readers name the file, and the row or line."""

import csv

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
import soundfile

from selfwise.data.audio.open import open_recordings
from selfwise.data.table_cells import read_cells
from selfwise.data.text.documents import open_documents
from selfwise.data.text.labelled import open_texts

BAD_TEXT = pa.array([b"good", b"fine", b"\xff\xfe"]).view(pa.binary()).cast(pa.binary())


def test_two_tables_with_long_cells_may_be_open_at_once(tmp_path):
    """The limit of the module csv is one for the process: a table that ended put it back."""
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("text,n\n" + f"{'x' * 200_000},1\n" * 2)
    first = read_cells(tmp_path / "a.csv", lambda read: None)
    second = read_cells(tmp_path / "b.csv", lambda read: None)
    assert next(first)
    assert next(second)
    assert len(list(second)) == 2
    assert [len(cells[0]) for _, cells in first] == [200_000] * 2
    assert csv.field_size_limit() > 200_000


def test_a_text_of_parquet_that_is_not_utf8_is_named_by_its_row(tmp_path):
    path = tmp_path / "a.parquet"
    texts = pa.Array.from_buffers(pa.string(), 3, BAD_TEXT.buffers())
    pq.write_table(pa.table({"text": texts}), path)
    with pytest.raises(ValueError, match=r"a\.parquet, row 3: a text is not UTF-8"):
        open_texts(path)


def test_a_text_of_arrow_that_is_not_utf8_is_named_by_its_file(tmp_path):
    path = tmp_path / "a.feather"
    texts = pa.Array.from_buffers(pa.string(), 3, BAD_TEXT.buffers())
    pyarrow.feather.write_feather(pa.table({"text": texts}), path)
    with pytest.raises(ValueError, match=r"a\.feather: cannot be read as Arrow"):
        list(open_documents(path))


@pytest.mark.parametrize("suffix", [".jsonl", ".json"])
@pytest.mark.parametrize("value", ["[" * 100_000, "9" * 5000])
def test_deep_and_long_values_of_json_are_named_by_their_place(suffix, value, tmp_path):
    path = tmp_path / f"a{suffix}"
    path.write_text(f'{{"text": "a"}}\n{{"text": {value}}}')
    with pytest.raises(ValueError, match=rf"a{suffix}, (line|row) 2: not JSON"):
        open_texts(path)


@pytest.mark.parametrize("channels", [1, 2])
def test_sound_beyond_all_numbers_is_refused(channels, tmp_path):
    path = tmp_path / "a.wav"
    sound = np.full((8000, channels), 3e38, dtype=np.float32)
    soundfile.write(path, sound, 16_000, subtype="FLOAT")
    with pytest.raises(ValueError, match=r"a\.wav \(has samples (up to 3e\+38|that are NaN)"):
        open_recordings(path, cache="no")
    with pytest.raises(ValueError, match=r"recording 0 of the list has samples up to 3e\+38"):
        open_recordings([sound[:, 0]])


def test_a_rate_that_no_sound_has_is_refused(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.full(8000, 0.1, dtype=np.float32), 2_000_000)
    with pytest.raises(ValueError, match="has 2000000 samples a second, but at most 1000000"):
        open_recordings(path, cache="no")
