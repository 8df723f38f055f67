"""GLUE (Wang et al. 2018, arXiv:1804.07461): the nine tasks and the diagnostic set as a table."""

from typing import NamedTuple

from selfwise.core.errors import did_you_mean

SCORES = (0.0, 5.0)  # of STS-B, the lowest and the highest


class GlueFile(NamedTuple):
    """One official TSV: its columns in their order, and how many rows it has."""

    names: tuple[str, ...]  # what it is called; the first is official
    rows: int
    columns: tuple[str, ...]
    headed: bool = True
    ragged: bool = False  # rows of another width are known to be in it: dropped, and counted


class HubNames(NamedTuple):
    """The same task in the data set `glue` of the Hugging Face hub."""

    config: str
    text: tuple[str, ...]
    labels: dict[str, str]  # their name of a label -> the official spelling; {}: scores


class GlueTask(NamedTuple):
    """A task: where it is read from, what it is scored by, and how it is submitted."""

    name: str
    folders: tuple[str, ...]  # the first is official
    files: dict[str, GlueFile]
    text: tuple[str, ...]  # the column of the text, or the two of a pair
    label: str
    labels: tuple[str, ...]  # as the files and submissions spell them; (): scores from 0 to 5
    metrics: tuple[str, ...]  # names in evaluate/glue_metrics.py; the first is compared
    submissions: dict[str, str]  # a split of test -> the file of its answers
    hub: HubNames

    def splits(self, kind: str) -> list[str]:
        """The names of its splits of a kind: `train`, `dev` or `test`; MNLI has two of each."""
        return [name for name in self.files if name.split("_")[0] == kind]


def find_task(name: str) -> GlueTask:
    """The task of that name. Raises ValueError for an unknown name, with the did_you_mean one."""
    task = next((task for task in TASKS if normalize_name(name) in _list_spellings(task)), None)
    if task is None:
        names = [task.name for task in TASKS]
        raise ValueError(f"unknown GLUE task {name!r}{did_you_mean(name.lower(), names)}")
    return task


def normalize_name(name: str) -> str:
    """A name without its case and strokes: `sst2` for SST-2."""
    return name.lower().replace("-", "").replace("_", "")


def _list_spellings(task: GlueTask) -> set[str]:
    return {normalize_name(name) for name in (task.name, *task.folders)}


def _list_files(
    rows: tuple[int, int, int],
    columns_text: str,
    test_columns: str,
    *,
    headed: bool = True,
    ragged: bool = False,
) -> dict[str, GlueFile]:
    """train.tsv, dev.tsv and test.tsv; a bar separates the names of columns."""
    columns = tuple(columns_text.split("|"))
    return {
        "train": GlueFile(("train.tsv",), rows[0], columns, headed, ragged),
        "dev": GlueFile(("dev.tsv",), rows[1], columns, headed, ragged),
        "test": GlueFile(("test.tsv",), rows[2], tuple(test_columns.split("|"))),
    }


_PARSED = (
    "index|promptID|pairID|genre|sentence1_binary_parse|sentence2_binary_parse"
    "|sentence1_parse|sentence2_parse|sentence1|sentence2"
)
_MNLI = tuple(_PARSED.split("|"))
_STS = "index|genre|filename|year|old_index|source1|source2|sentence1|sentence2"
_MRPC = "#1 ID|#2 ID|#1 String|#2 String"
_PAIR = ("sentence1", "sentence2")
_ENTAILED = ("not_entailment", "entailment")
_THREE = ("contradiction", "entailment", "neutral")
_FIVE = tuple(f"label{i}" for i in range(1, 6))  # of five people each, in dev alone

# Counts: the card of the hub's `glue`. Test columns differ from those of train in every task.
TASKS: tuple[GlueTask, ...] = (
    GlueTask(
        "cola",
        ("CoLA",),
        _list_files(
            (8551, 1043, 1063), "source|label|star|sentence", "index|sentence", headed=False
        ),
        ("sentence",),
        "label",
        ("0", "1"),
        ("matthews",),
        {"test": "CoLA.tsv"},
        HubNames("cola", ("sentence",), {"unacceptable": "0", "acceptable": "1"}),
    ),
    GlueTask(
        "sst2",
        ("SST-2",),
        _list_files((67349, 872, 1821), "sentence|label", "index|sentence"),
        ("sentence",),
        "label",
        ("0", "1"),
        ("accuracy",),
        {"test": "SST-2.tsv"},
        HubNames("sst2", ("sentence",), {"negative": "0", "positive": "1"}),
    ),
    GlueTask(
        "mrpc",
        ("MRPC",),
        _list_files((3668, 408, 1725), f"Quality|{_MRPC}", f"index|{_MRPC}"),
        ("#1 String", "#2 String"),
        "Quality",
        ("0", "1"),
        ("f1", "accuracy"),
        {"test": "MRPC.tsv"},
        HubNames("mrpc", _PAIR, {"not_equivalent": "0", "equivalent": "1"}),
    ),
    GlueTask(
        "stsb",
        ("STS-B",),
        _list_files((5749, 1500, 1379), f"{_STS}|score", _STS),
        _PAIR,
        "score",
        (),
        ("pearson", "spearman"),
        {"test": "STS-B.tsv"},
        HubNames("stsb", _PAIR, {}),
    ),
    GlueTask(
        "qqp",
        ("QQP",),
        _list_files(  # a few rows of train lack columns; the official count is without them
            (363_846, 40_430, 390_965),
            "id|qid1|qid2|question1|question2|is_duplicate",
            "id|question1|question2",
            ragged=True,
        ),
        ("question1", "question2"),
        "is_duplicate",
        ("0", "1"),
        ("f1", "accuracy"),
        {"test": "QQP.tsv"},
        HubNames("qqp", ("question1", "question2"), {"not_duplicate": "0", "duplicate": "1"}),
    ),
    GlueTask(
        "mnli",
        ("MNLI",),
        {
            "train": GlueFile(("train.tsv",), 392_702, (*_MNLI, "label1", "gold_label")),
            "dev_matched": GlueFile(("dev_matched.tsv",), 9815, (*_MNLI, *_FIVE, "gold_label")),
            "dev_mismatched": GlueFile(
                ("dev_mismatched.tsv",), 9832, (*_MNLI, *_FIVE, "gold_label")
            ),
            "test_matched": GlueFile(("test_matched.tsv",), 9796, _MNLI),
            "test_mismatched": GlueFile(("test_mismatched.tsv",), 9847, _MNLI),
        },
        _PAIR,
        "gold_label",
        _THREE,
        ("accuracy",),
        {"test_matched": "MNLI-m.tsv", "test_mismatched": "MNLI-mm.tsv"},
        HubNames("mnli", ("premise", "hypothesis"), {name: name for name in _THREE}),
    ),
    GlueTask(
        "qnli",
        ("QNLI",),
        _list_files(
            (104_743, 5463, 5463), "index|question|sentence|label", "index|question|sentence"
        ),  # the second version
        ("question", "sentence"),
        "label",
        _ENTAILED,
        ("accuracy",),
        {"test": "QNLI.tsv"},
        HubNames("qnli", ("question", "sentence"), {name: name for name in _ENTAILED}),
    ),
    GlueTask(
        "rte",
        ("RTE",),
        _list_files(
            (2490, 277, 3000), "index|sentence1|sentence2|label", "index|sentence1|sentence2"
        ),
        _PAIR,
        "label",
        _ENTAILED,
        ("accuracy",),
        {"test": "RTE.tsv"},
        HubNames("rte", _PAIR, {name: name for name in _ENTAILED}),
    ),
    GlueTask(
        "wnli",
        ("WNLI",),
        _list_files((635, 71, 146), "index|sentence1|sentence2|label", "index|sentence1|sentence2"),
        _PAIR,
        "label",
        ("0", "1"),
        ("accuracy",),
        {"test": "WNLI.tsv"},
        HubNames("wnli", _PAIR, {"not_entailment": "0", "entailment": "1"}),
    ),
    GlueTask(  # no training data: it is answered by the model of MNLI
        "ax",
        ("AX", "diagnostic"),
        {
            "test": GlueFile(
                ("diagnostic.tsv", "AX.tsv", "test.tsv"), 1104, ("index", "sentence1", "sentence2")
            )
        },
        _PAIR,
        "label",
        _THREE,
        ("matthews",),
        {"test": "AX.tsv"},
        HubNames("ax", ("premise", "hypothesis"), {name: name for name in _THREE}),
    ),
)
