"""The zip for GLUE's server: what is written passes, what is wrong is named with its row."""

import re
import zipfile

import numpy as np
import pytest

from selfwise.glue.read import list_splits, open_glue
from selfwise.glue.submission import (
    FILES,
    TaskAnswers,
    check_submission,
    find_problems,
    write_submission,
)
from selfwise.glue.tasks import TASKS, find_task

# from the card of the data set and the server's page, not from our table
ROWS = {
    "CoLA.tsv": 1063,
    "SST-2.tsv": 1821,
    "MRPC.tsv": 1725,
    "STS-B.tsv": 1379,
    "QQP.tsv": 390_965,
    "MNLI-m.tsv": 9796,
    "MNLI-mm.tsv": 9847,
    "QNLI.tsv": 5463,
    "RTE.tsv": 3000,
    "WNLI.tsv": 146,
    "AX.tsv": 1104,
}
SMALL = {name: [str(i) for i in range(3)] for name in ROWS}


def answers(rows=3):
    given = {}
    for name, (task, _) in FILES.items():
        count = ROWS[name] if rows is None else rows
        values = np.arange(count) % max(len(task.labels), 1)
        given[name] = TaskAnswers(
            [str(i) for i in range(count)], values if task.labels else np.linspace(-1, 6, count)
        )
    return given


def lines(path, name):
    with zipfile.ZipFile(path) as archive:
        return archive.read(name).decode().split("\n")


def changed(path, out, name, old, new):
    """The zip with one text replaced in one of its files."""
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(out, "w") as made:
        for entry in source.namelist():
            text = source.read(entry).decode()
            if entry == name:
                assert text.count(old) == 1
                text = text.replace(old, new)
            made.writestr(entry, text)
    return out


@pytest.fixture
def small(tmp_path):
    write_submission(answers(), tmp_path / "small.zip")
    return tmp_path / "small.zip"


def test_the_official_size_passes(tmp_path):
    write_submission(answers(None), tmp_path / "a.zip")
    check_submission(tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert sorted(archive.namelist()) == sorted(ROWS)
        for name, count in ROWS.items():
            assert archive.read(name).count(b"\n") == count + 1


def test_labels_are_spelled_as_in_the_files(small):
    assert lines(small, "MNLI-mm.tsv") == [
        "index\tprediction",
        "0\tcontradiction",
        "1\tentailment",
        "2\tneutral",
        "",
    ]
    assert lines(small, "AX.tsv")[1:4] == lines(small, "MNLI-m.tsv")[1:4]
    assert lines(small, "RTE.tsv")[1:3] == ["0\tnot_entailment", "1\tentailment"]
    assert lines(small, "QNLI.tsv")[1:3] == ["0\tnot_entailment", "1\tentailment"]
    for name in ("CoLA.tsv", "SST-2.tsv", "MRPC.tsv", "QQP.tsv", "WNLI.tsv"):
        assert lines(small, name)[1:3] == ["0\t0", "1\t1"]
    assert lines(small, "STS-B.tsv")[1:4] == ["0\t0.000", "1\t2.500", "2\t5.000"]


def test_the_same_answers_give_the_same_bytes(small, tmp_path):
    write_submission(answers(), tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == small.read_bytes()
    backwards = dict(reversed(answers().items()))
    write_submission(backwards, tmp_path / "backwards.zip")
    assert (tmp_path / "backwards.zip").read_bytes() == small.read_bytes()
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_small_ids_pass_when_they_are_told(small):
    check_submission(small, SMALL)
    assert len(find_problems(small)) == 11  # against the official counts none is long enough
    assert "QQP.tsv, line 5: 390,965 rows expected, got 3" in find_problems(small)


def test_the_ids_are_those_of_the_test_files(real_data, tmp_path):
    """Where the shared data has the test file, its ids are the ones that the checker expects."""
    root, given, seen = real_data / "glue_data", answers(None), []
    for task in TASKS:
        for split, name in task.submissions.items():
            if split in list_splits(root, task):
                ids = list(open_glue(root, task, split).texts.ids)
                assert len(ids) == ROWS[name]
                given[name] = given[name]._replace(ids=ids)
                seen.append(name)
    assert len(seen) == 7
    write_submission(given, tmp_path / "a.zip")
    check_submission(tmp_path / "a.zip")


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("RTE.tsv", "1\tentailment", "1\t1", "RTE.tsv, line 3: a label must be not_entailment or"),
        (
            "QQP.tsv",
            "2\t0",
            "2\tnot_duplicate",
            "QQP.tsv, line 4: a label must be 0 or 1, got 'not_",
        ),
        (
            "AX.tsv",
            "2\tneutral",
            "2\tNeutral",
            "AX.tsv, line 4: a label must be contradiction, ent",
        ),
        (
            "STS-B.tsv",
            "2\t5.000",
            "2\t5.001",
            "STS-B.tsv, line 4: a score must be a number from 0 to 5",
        ),
        (
            "STS-B.tsv",
            "2\t5.000",
            "2\tnan",
            "STS-B.tsv, line 4: a score must be a number from 0 to 5",
        ),
        ("CoLA.tsv", "1\t1", "7\t1", "CoLA.tsv, line 3: expected the id '1', got '7'"),
        ("CoLA.tsv", "1\t1", "1,1", "CoLA.tsv, line 3: an id and a prediction with a tab between"),
        ("CoLA.tsv", "1\t1", "1\t1\t1", "CoLA.tsv, line 3: an id and a prediction with a tab"),
        ("CoLA.tsv", "index", "id", "CoLA.tsv, line 1: the header is"),
        ("CoLA.tsv", "\n2\t0", "", "CoLA.tsv, line 4: 3 rows expected, got 2"),
        ("CoLA.tsv", "2\t0", "2\t0\n3\t0", "CoLA.tsv, line 5: 3 rows expected, got 4"),
    ],
)
def test_a_wrong_row_is_named(small, tmp_path, name, old, new, message):
    wrong = changed(small, tmp_path / "wrong.zip", name, old, new)
    with pytest.raises(ValueError, match=f"^{re.escape(f'{wrong}: {message}')}"):
        check_submission(wrong, SMALL)
    assert len(find_problems(wrong, SMALL)) == 1


def test_wrong_files_are_named(small, tmp_path):
    out = tmp_path / "wrong.zip"
    with zipfile.ZipFile(small) as source, zipfile.ZipFile(out, "w") as made:
        for name in source.namelist():
            if name != "WNLI.tsv":
                made.writestr(name.replace("SST-2", "SST2"), source.read(name))
        with pytest.warns(UserWarning, match="Duplicate name"):
            made.writestr("RTE.tsv", source.read("RTE.tsv"))
    assert find_problems(out, SMALL) == [
        "'SST2.tsv' is not a file of a submission; did you mean 'SST-2.tsv'?",
        "RTE.tsv occurs 2 times",
        "SST-2.tsv is missing",
        "WNLI.tsv is missing",
    ]
    with pytest.raises(ValueError, match=r"\(3 more files are wrong\)"):
        check_submission(out, SMALL)
    (tmp_path / "no.zip").write_text("no zip")
    with pytest.raises(ValueError, match="not a zip file"):
        check_submission(tmp_path / "no.zip")


def test_a_damaged_zip_is_a_finding(small):
    data = bytearray(small.read_bytes())
    with zipfile.ZipFile(small) as archive:
        entry = archive.getinfo("CoLA.tsv")
    data[entry.header_offset + 30 + len("CoLA.tsv") + 2] ^= 0xFF
    small.write_bytes(data)
    with pytest.raises(ValueError, match=r"CoLA\.tsv cannot be unpacked: it is damaged"):
        check_submission(small, {name: ["0", "1", "2"] for name in FILES})


def test_what_cannot_be_written(small, tmp_path):
    given, out = answers(), tmp_path / "new.zip"
    with pytest.raises(ValueError, match="exists already"):
        write_submission(given, small)
    lacking = {name: one for name, one in given.items() if name != "AX.tsv"}
    with pytest.raises(ValueError, match=r"missing: AX\.tsv"):
        write_submission(lacking, out)
    with pytest.raises(ValueError, match=r"named 'mnli'"):
        write_submission({**given, "mnli": given["AX.tsv"]}, out)
    with pytest.raises(ValueError, match=r"RTE.tsv: got 3 ids and 2 predictions"):
        write_submission({**given, "RTE.tsv": TaskAnswers(["0", "1", "2"], np.array([0, 1]))}, out)
    with pytest.raises(ValueError, match=r"rte: prediction 1 is 2"):
        write_submission({**given, "RTE.tsv": TaskAnswers(["0", "1"], np.array([0, 2]))}, out)
    with pytest.raises(ValueError, match=r"STS-B.tsv: the prediction for row 1 is not a number"):
        write_submission(
            {**given, "STS-B.tsv": TaskAnswers(["0", "1"], np.array([0, np.nan]))}, out
        )
    assert not out.exists()
    assert find_task("ax").submissions == {"test": "AX.tsv"}
