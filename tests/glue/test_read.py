"""GLUE's files: the official ones, small ones in the same layout, the hub's, and wrong ones."""

import json
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selfwise.glue.read import list_splits, open_glue
from selfwise.glue.tasks import TASKS, find_task

# read by hand from the files: (task, split, rows, first row, last row); a row is the beginning of
# its text, the end of its second text or of its only one, and its label as the file has it
# fmt: off
OFFICIAL = [
    ("cola", "train", 8551, ("Our friends won't buy ", "e next one we propose.", "1"), ("What all did you get f", "you get for Christmas?", "1")),  # noqa: E501
    ("cola", "dev", 1043, ("The sailors rode the b", "ze clear of the rocks.", "1"), ("John talked to Bill ab", "to Bill about himself.", "1")),  # noqa: E501
    ("cola", "test", 1063, ("Bill whistled past the", "istled past the house.", None), ("A picture of himself f", "mself frightened John.", None)),  # noqa: E501
    ("sst2", "train", 67349, ("hide new secretions fr", "om the parental units ", "0"), ("this new jangle of noi", "ender for the title . ", "0")),  # noqa: E501
    ("sst2", "dev", 872, ("it 's a charming and o", "n affecting journey . ", "1"), ("looking aristocratic ,", " be improved upon . ' ", "1")),  # noqa: E501
    ("sst2", "test", 1821, ("uneasy mishmash of sty", "of styles and genres .", None), ("dazzling and sugar-swe", " damsels can deliver .", None)),  # noqa: E501
    ("mrpc", "train", 3668, ("Amrozi accused his bro", "storting his evidence.", "1"), ("The 30-year bond US30Y", "ercent late Wednesday.", "0")),  # noqa: E501
    ("mrpc", "dev", 408, ("He said the foodservic", "-term growth strategy.", "1"), ("Ex-KGB agent Putin add", " of an alien ideology.", "1")),  # noqa: E501
    ("mrpc", "test", 1725, ("PCCW's chief operating", "ena will report to So.", None), ("Sobig.F spreads when u", 'u!" and "Re: Details".', None)),  # noqa: E501
    ("stsb", "train", 5749, ("A plane is taking off.", "r plane is taking off.", "5.000"), ("Putin spokesman: Dopin", "in Texas After Tornado", "0")),  # noqa: E501
    ("stsb", "dev", 1500, ("A man with a hard hat ", "a hard hat is dancing.", "5.000"), ("New video shows US pol", "nded in hatchet attack", "0")),  # noqa: E501
    ("stsb", "test", 1379, ("A girl is styling her ", " is brushing her hair.", None), ("South Korea declares e", "South Korean Officials", None)),  # noqa: E501
    ("qnli", "dev", 5463, ("What came into force a", "ublic came into force.", "entailment"), ("Who discovered this an", "viously been supposed.", "not_entailment")),  # noqa: E501
    ("qnli", "test", 5463, ("What organization is d", "ritable organizations.", None), ("Who fought in the grea", "nd 300,000 in Prussia.", None)),  # noqa: E501
    ("rte", "train", 2490, ("No Weapons of Mass Des", "ruction Found in Iraq.", "not_entailment"), ("Turkey is unlikely to ", "urkish military bases.", "not_entailment")),  # noqa: E501
    ("rte", "dev", 277, ("Dana Reeve, the widow ", "Reeve had an accident.", "not_entailment"), ("Danny Kennedy, Greenpe", "at peace is terrorism.", "not_entailment")),  # noqa: E501
    ("rte", "test", 3000, ("Mangla was summoned af", " is related to Mangla.", None), ("A Helios airliner (Boe", " in an airplane crash.", None)),  # noqa: E501
    ("wnli", "train", 635, ("I stuck a pin through ", "The carrot had a hole.", "1"), ("Although they ran at a", " had such a bad start.", "1")),  # noqa: E501
    ("wnli", "dev", 71, ("The drain is clogged w", "air has to be cleaned.", "0"), ("George got free ticket", "larly eager to see it.", "0")),  # noqa: E501
    ("wnli", "test", 146, ("Maude and Dora had see", "nd Dora came in sight.", None), ("Edward dropped adhesiv", "ck on the window sill.", None)),  # noqa: E501
    ("qqp", "dev", 23497, ("How is the life of a m", "gh for the exam jlpt5?", "0"), ("How can I avoid daydre", "oncentrate on reality?", "1")),  # noqa: E501
]
# classes counted with grep and cut in these files
COUNTED = {
    ("cola", "dev"): [322, 721], ("sst2", "dev"): [428, 444], ("mrpc", "dev"): [129, 279],
    ("rte", "dev"): [131, 146], ("wnli", "dev"): [40, 31], ("wnli", "train"): [323, 312],
}
# fmt: on
PARSED = (
    "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\t"
    "sentence1_parse\tsentence2_parse\tsentence1\tsentence2"
)
PARSES = "f\t( a )\t( b )\t(ROOT a)\t(ROOT b)"
MNLI = {
    "train.tsv": f"{PARSED}\tlabel1\tgold_label\n"
    f'0\t3\t3n\t{PARSES}\tA "quote\tone\tneutral\tneutral\n'
    f"1\t4\t4e\t{PARSES}\tB\ttwo\tentailment\tentailment\n",
    # the first of five people was overruled
    "dev_matched.tsv": f"{PARSED}\tlabel1\tlabel2\tlabel3\tlabel4\tlabel5\tgold_label\n"
    f"0\t5\t5c\t{PARSES}\tC\tthree\tneutral\tcontradiction\tcontradiction\tneutral"
    "\tcontradiction\tcontradiction\n",
    "dev_mismatched.tsv": f"{PARSED}\tlabel1\tlabel2\tlabel3\tlabel4\tlabel5\tgold_label\n"
    f"0\t6\t6e\t{PARSES}\tD\tfour\tentailment\tentailment\tneutral\tneutral\tentailment\tentailment",
    "test_matched.tsv": f"{PARSED}\n0\t7\t7x\t{PARSES}\tE\tfive\n",
    "test_mismatched.tsv": f"{PARSED}\n0\t8\t8x\t{PARSES}\tF\tsix\n1\t9\t9x\t{PARSES}\tG\tseven\n",
}
QQP = {
    "train.tsv": "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n"
    "133273\t1\t2\tWhy?\tHow?\t0\n99\t3\t4\tbroken in two\n88\t5\t6\tWho?\tWho is it?\t1\n",
    "test.tsv": "id\tquestion1\tquestion2\n0\tWould it?\tCould it?\n1\tShe?\tHe?\n",
}
AX = {"diagnostic.tsv": "index\tsentence1\tsentence2\n0\tThe cat sat.\tThe cat did not sit.\n"}
RTE = "index\tsentence1\tsentence2\tlabel\n0\ta\tb\tentailment\n1\tc\td\tnot_entailment\n"


def put(folder, files):
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder.parent


@pytest.mark.parametrize("case", OFFICIAL, ids=lambda case: f"{case[0]}-{case[1]}")
def test_official_files(real_data, case):
    name, split, count, *rows = case
    task = find_task(name)
    found = open_glue(real_data / "glue_data", task, split)
    texts = found.texts
    assert len(found) == count
    for place, (begins, ends, label) in zip((0, count - 1), rows):
        assert texts.texts[place].startswith(begins)
        assert (texts.texts if texts.pairs is None else texts.pairs)[place].endswith(ends)
        if label is None:
            assert texts.labels is None
            assert found.scores is None
        elif name == "stsb":
            assert texts.labels is None
            assert found.scores[place] == float(label)
        else:
            assert texts.classes[texts.labels[place]] == label
    if split == "test":
        assert list(texts.ids) == [str(i) for i in range(count)]
    if (name, split) in COUNTED:
        assert np.bincount(texts.labels).tolist() == COUNTED[name, split]
    if name == "qqp":  # the shared file is a part
        assert [note.rpartition(": ")[2] for note in found.notes] == [
            "23,497 rows, the official file has 40,430"
        ]
    else:
        assert found.notes == ()


def test_quotation_marks_are_text(real_data):
    root = real_data / "glue_data"
    found = open_glue(root, find_task("qnli"), "dev").texts
    odd = sum((a + b).count('"') % 2 for a, b in zip(found.texts, found.pairs))
    assert odd == 90  # counted by awk


def test_which_splits_are_there(real_data):
    there = {task.name: list_splits(real_data / "glue_data", task) for task in TASKS}
    assert there["rte"] == ["train", "dev", "test"]
    assert there["qnli"] == ["dev", "test"]
    assert there["mnli"] == there["ax"] == []


def test_mnli_has_gold_labels_and_two_devs(tmp_path):
    root, task = put(tmp_path / "MNLI", MNLI), find_task("MNLI")
    assert list_splits(root, task) == list(task.files)
    assert task.splits("dev") == ["dev_matched", "dev_mismatched"]
    train = open_glue(root, task, "train")
    assert train.texts.texts == ['A "quote', "B"]
    assert train.texts.pairs == ["one", "two"]
    assert train.texts.classes == ["contradiction", "entailment", "neutral"]
    assert train.texts.labels.tolist() == [2, 1]
    assert open_glue(root, task, "dev_matched").texts.labels.tolist() == [0]
    assert open_glue(root, task, "dev_mismatched").texts.labels.tolist() == [1]
    test = open_glue(root, task, "test_mismatched")
    assert (test.texts.pairs, test.texts.labels) == (["six", "seven"], None)
    assert list(test.texts.ids) == ["0", "1"]
    (note,) = test.notes
    assert note.endswith("test_mismatched.tsv: 2 rows, the official file has 9,847")


def test_qqp_has_other_columns_in_test_and_broken_rows_in_train(tmp_path):
    root, task = put(tmp_path / "qqp", QQP), find_task("qqp")
    train = open_glue(root, task, "train")
    assert train.texts.texts == ["Why?", "Who?"]
    assert train.texts.labels.tolist() == [0, 1]
    assert list(train.texts.ids) == ["133273", "88"]
    broken, count = train.notes
    assert broken.endswith("train.tsv: 1 rows of other than 6 columns left out, first line 3")
    assert "2 rows, the official file has 363,846" in count
    test = open_glue(root, task, "test").texts
    assert (test.texts, test.pairs) == (["Would it?", "She?"], ["Could it?", "He?"])


@pytest.mark.parametrize("folder", ["diagnostic", "AX", "ax"])
def test_the_diagnostic_set_is_test_alone(tmp_path, folder):
    root, task = put(tmp_path / folder, AX), find_task("ax")
    assert list_splits(root, task) == ["test"]
    assert open_glue(root, task, "test").texts.pairs == ["The cat did not sit."]
    with pytest.raises(ValueError, match="ax has no split 'dev'"):
        open_glue(root, task, "dev")


def test_case_of_names_and_byte_order_marks(tmp_path):
    root = put(tmp_path / "sst_2", {"Dev.TSV": "\ufeffsentence\tlabel\nfine film\t1\n"})
    found = open_glue(root, find_task("SST-2"), "dev").texts
    assert (found.texts, found.labels.tolist(), list(found.ids)) == (["fine film"], [1], ["0"])


def test_a_fingerprint_is_of_texts_labels_and_scores(tmp_path):
    marks = set()
    for i, text in enumerate([RTE, RTE.replace("\tb\t", "\tB\t"), RTE.replace("not_", "")]):
        root = put(tmp_path / str(i) / "RTE", {"dev.tsv": text})
        marks.add(open_glue(root, find_task("rte"), "dev").texts.fingerprint)
    assert len(marks) == 3


# --- the hub's layout ------------------------------------------------------------------------

NAMED = {
    "rte": ["entailment", "not_entailment"],  # the other way round than the files' order here
    "mnli": ["entailment", "neutral", "contradiction"],
    "cola": ["unacceptable", "acceptable"],
}


def parquet(path, columns, names):
    told = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
    meta = {"huggingface": json.dumps(told)} if names is not None else None
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns).replace_schema_metadata(meta), path)


@pytest.mark.parametrize(
    "name", ["validation_matched-00000-of-00001.parquet", "validation_matched/0000.parquet"]
)
def test_the_hub_numbers_labels_otherwise(tmp_path, name):
    columns = {"premise": ["a", "b", "c"], "hypothesis": list("xyz"), "label": [0, 1, 2]}
    parquet(tmp_path / "mnli" / name, {**columns, "idx": [0, 1, 2]}, NAMED["mnli"])
    found = open_glue(tmp_path, find_task("mnli"), "dev_matched")
    labels = [found.texts.classes[i] for i in found.texts.labels]
    assert labels == NAMED["mnli"]
    assert found.texts.labels.tolist() == [1, 2, 0]
    assert list_splits(tmp_path, find_task("mnli")) == ["dev_matched"]


def test_the_hubs_names_are_spelled_as_in_the_files(tmp_path):
    columns = {"sentence": ["a", "b"], "label": [1, 0], "idx": [0, 1]}
    parquet(tmp_path / "cola" / "train-0-of-1.parquet", columns, NAMED["cola"])
    found = open_glue(tmp_path, find_task("cola"), "train").texts
    assert [found.classes[i] for i in found.labels] == ["1", "0"]
    parquet(tmp_path / "cola" / "test-0-of-1.parquet", columns | {"label": [-1, -1]}, NAMED["cola"])
    assert open_glue(tmp_path, find_task("cola"), "test").texts.labels is None


def test_the_hubs_scores(tmp_path):
    columns = {"sentence1": ["a"], "sentence2": ["b"], "label": [3.25], "idx": [0]}
    parquet(tmp_path / "stsb" / "validation-0-of-1.parquet", columns, None)
    assert open_glue(tmp_path, find_task("stsb"), "dev").scores.tolist() == [3.25]


@pytest.mark.parametrize(
    ("names", "label", "message"),
    [
        (None, 0, "does not name them"),
        (["entailed", "not_entailment"], 0, "unknown label 'entailed'; did you mean 'entailment'"),
        (NAMED["rte"], 2, "row 1: label 2 is not one of 0 to 1"),
        (NAMED["rte"], -1, "row 1: label -1 is not one of 0 to 1"),
    ],
)
def test_numbers_without_a_name(tmp_path, names, label, message):
    columns = {"sentence1": ["a"], "sentence2": ["b"], "label": [label], "idx": [0]}
    parquet(tmp_path / "rte" / "validation-0-of-1.parquet", columns, names)
    with pytest.raises(ValueError, match=message):
        open_glue(tmp_path, find_task("rte"), "dev")


def test_the_hub_by_name(monkeypatch):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        sentence1=datasets.Value("string"),
        sentence2=datasets.Value("string"),
        label=datasets.ClassLabel(names=NAMED["rte"]),
        idx=datasets.Value("int32"),
    )
    columns = {"sentence1": ["a", "c"], "sentence2": ["b", "d"], "label": [1, 0], "idx": [0, 1]}
    rows = datasets.Dataset.from_dict(columns, features=features)
    asked = []

    def load(path, **more):
        asked.append((path, more))
        return rows

    monkeypatch.setattr(datasets, "load_dataset", load)
    found = open_glue("hub:nyu-mll/glue", find_task("rte"), "dev")
    assert asked == [("nyu-mll/glue", {"split": "validation", "name": "rte"})]
    assert [found.texts.classes[i] for i in found.texts.labels] == ["not_entailment", "entailment"]
    assert found.notes == ("hub:nyu-mll/glue: 2 rows, the official file has 277",)


def test_the_hub_needs_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ValueError, match=r"pip install 'selfwise\[hub\]'"):
        open_glue("hub:nyu-mll/glue", find_task("rte"), "dev")


# --- what is wrong ---------------------------------------------------------------------------

HEADER = "index\tsentence1\tsentence2\tlabel\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "index\tsentence2\tsentence1\tlabel\n0\ta\tb\tentailment\n",
            r"dev.tsv, line 1: not the official header: column 2 is 'sentence2', but should be "
            "'sentence1'",
        ),
        ("0\ta\tb\tentailment\n", "line 1: not the official header: column 1 is '0'"),
        ("index\tsentence1\tsentence2\n0\ta\tb\n", "column 4 is nothing, but should be 'label'"),
        (HEADER.replace("label", "label\tmore"), "column 5 is 'more', but should be nothing"),
        (
            RTE + "2\te\tf\tneutral\n",
            "line 4: a label of rte must be not_entailment or entailment, got",
        ),
        (RTE + "2\te\tentailment\n", "line 4: expected 4 columns, got 3; 'label' is missing"),
        (RTE + "2\te\tf\tg\tentailment\n", "line 4: expected 4 columns, got 5"),
        (HEADER, "dev.tsv: it has no rows"),
    ],
)
def test_wrong_rows_are_named(tmp_path, text, message):
    root = put(tmp_path / "RTE", {"dev.tsv": text})
    with pytest.raises(ValueError, match=message) as caught:
        open_glue(root, find_task("rte"), "dev")
    assert str(root / "RTE" / "dev.tsv") in str(caught.value)


@pytest.mark.parametrize("score", ["5.1", "-0.1", "nan", "high", ""])
def test_scores_are_from_0_to_5(tmp_path, score):
    head = "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore"
    row = "0\tg\tf\ty\t0\tn\tn\ta\tb"
    root = put(tmp_path / "STS-B", {"dev.tsv": f"{head}\n{row}\t{score}\n"})
    with pytest.raises(
        ValueError, match=r"line 2: a score of stsb must be a number from 0 to 5, got"
    ):
        open_glue(root, find_task("stsb"), "dev")


def test_a_header_where_there_should_be_none(tmp_path):
    root = put(tmp_path / "CoLA", {"dev.tsv": "source\tlabel\tstar\tsentence\ng\t1\t\tFine.\n"})
    with pytest.raises(ValueError, match=r"line 1: a label of cola must be 0 or 1, got 'label'"):
        open_glue(root, find_task("cola"), "dev")


def test_an_id_of_test_comes_once_and_is_its_place(tmp_path):
    head = "index\tsentence1\tsentence2\n"
    root = put(tmp_path / "RTE", {"test.tsv": head + "1\ta\tb\n0\tc\td\n"})
    notes = open_glue(root, find_task("rte"), "test").notes
    assert notes[1].endswith("the ids are not 0 to 1 in order, as official ones are")
    (root / "RTE" / "test.tsv").write_text(head + "0\ta\tb\n0\tc\td\n")
    with pytest.raises(ValueError, match=r"line 3: the id '0' occurs twice"):
        open_glue(root, find_task("rte"), "test")


def test_missing_files_and_names(tmp_path):
    root = put(tmp_path / "RTE", {"dev.tsv": RTE})
    with pytest.raises(ValueError, match=r"RTE: there is no train.tsv \(nor rte/train-\*.parquet"):
        open_glue(root, find_task("rte"), "train")
    with pytest.raises(ValueError, match=r"there is no QNLI/dev.tsv .*; it has: RTE"):
        open_glue(root, find_task("qnli"), "dev")
    with pytest.raises(ValueError, match="is this the folder of GLUE"):
        open_glue(root / "RTE", find_task("qnli"), "dev")
    with pytest.raises(ValueError, match="is not a folder"):
        open_glue(root / "no", find_task("qnli"), "dev")
    with pytest.raises(ValueError, match="unknown GLUE task 'qnly'; did you mean 'qnli'"):
        find_task("qnly")
