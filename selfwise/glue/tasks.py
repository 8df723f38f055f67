"""GLUE (Wang et al. 2018, arXiv:1804.07461): the nine tasks and the diagnostic set as a table."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from selfwise.core.errors import did_you_mean

SCORES = (0.0, 5.0)  # of STS-B, the lowest and the highest


class GlueFile(NamedTuple):
    """One official TSV: its columns in their order, and how many rows it has."""

    names: tuple[str, ...]  # its names; the first is official
    rows: int
    columns: tuple[str, ...]
    headed: bool = True
    ragged: bool = False  # rows of another width are known to be in it: dropped, and counted


@dataclass(frozen=True)
class GlueTask:
    """A task: where it is read from, what it is scored by, and how it is submitted."""

    name: str  # also that of the task in the data set `glue` of the Hugging Face hub
    folder: str
    files: Mapping[str, GlueFile]
    text: tuple[str, ...]  # the column of the text, or the two of a pair
    labels: tuple[str, ...]  # as the files and submissions spell them; (): scores from 0 to 5
    metrics: tuple[str, ...]  # the first is compared
    label: str = "label"  # the column
    hub_labels: tuple[str, ...] = ()  # the hub's names of `labels`, where it has others
    hub_text: tuple[str, ...] = ()  # the hub's names of `text`, where it has others
    other_folders: tuple[str, ...] = ()

    @property
    def folders(self) -> tuple[str, ...]:
        """Names of its folder; the first is official."""
        return (self.folder, *self.other_folders)

    @property
    def submissions(self) -> dict[str, str]:
        """A split of test -> the file of its answers."""
        return {split: f"{self.folder}{part_suffix(split)}.tsv" for split in self.splits("test")}

    @property
    def hub_spelling(self) -> dict[str, str]:
        """The hub's name of a label -> the official spelling; {} for scores."""
        return dict(zip(self.hub_labels or self.labels, self.labels))

    @property
    def hub_columns(self) -> tuple[str, ...]:
        """The hub's columns of the text."""
        return self.hub_text or self.text

    def splits(self, kind: str) -> list[str]:
        """Return the names of its splits of a kind: `train`, `dev` or `test`; MNLI has two of
        each."""
        return [name for name in self.files if name.split("_")[0] == kind]


def part_suffix(split: str) -> str:
    """Return the end of official names of the two parts of MNLI: -m or -mm; else nothing."""
    return {"matched": "-m", "mismatched": "-mm"}.get(split.partition("_")[2], "")


def find_task(name: str) -> GlueTask:
    """Return the task of that name. Raises ValueError for an unknown name, with the nearest one."""
    task = next((task for task in TASKS if normalize_name(name) in _list_spellings(task)), None)
    if task is None:
        names = [task.name for task in TASKS]
        raise ValueError(f"unknown GLUE task {name!r}{did_you_mean(name.lower(), names)}")
    return task


def normalize_name(name: str) -> str:
    """Return a name without its case and strokes: `sst2` for SST-2."""
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
        "CoLA",
        _list_files(
            (8551, 1043, 1063), "source|label|star|sentence", "index|sentence", headed=False
        ),
        text=("sentence",),
        labels=("0", "1"),
        hub_labels=("unacceptable", "acceptable"),
        metrics=("matthews",),
    ),
    GlueTask(
        "sst2",
        "SST-2",
        _list_files((67349, 872, 1821), "sentence|label", "index|sentence"),
        text=("sentence",),
        labels=("0", "1"),
        hub_labels=("negative", "positive"),
        metrics=("accuracy",),
    ),
    GlueTask(
        "mrpc",
        "MRPC",
        _list_files((3668, 408, 1725), f"Quality|{_MRPC}", f"index|{_MRPC}"),
        text=("#1 String", "#2 String"),
        hub_text=_PAIR,
        label="Quality",
        labels=("0", "1"),
        hub_labels=("not_equivalent", "equivalent"),
        metrics=("f1", "accuracy"),
    ),
    GlueTask(
        "stsb",
        "STS-B",
        _list_files((5749, 1500, 1379), f"{_STS}|score", _STS),
        text=_PAIR,
        label="score",
        labels=(),
        metrics=("pearson", "spearman"),
    ),
    GlueTask(
        "qqp",
        "QQP",
        _list_files(  # a few rows of train lack columns; the official count is without them
            (363_846, 40_430, 390_965),
            "id|qid1|qid2|question1|question2|is_duplicate",
            "id|question1|question2",
            ragged=True,
        ),
        text=("question1", "question2"),
        label="is_duplicate",
        labels=("0", "1"),
        hub_labels=("not_duplicate", "duplicate"),
        metrics=("f1", "accuracy"),
    ),
    GlueTask(
        "mnli",
        "MNLI",
        {
            "train": GlueFile(("train.tsv",), 392_702, (*_MNLI, "label1", "gold_label")),
            "dev_matched": GlueFile(("dev_matched.tsv",), 9815, (*_MNLI, *_FIVE, "gold_label")),
            "dev_mismatched": GlueFile(
                ("dev_mismatched.tsv",), 9832, (*_MNLI, *_FIVE, "gold_label")
            ),
            "test_matched": GlueFile(("test_matched.tsv",), 9796, _MNLI),
            "test_mismatched": GlueFile(("test_mismatched.tsv",), 9847, _MNLI),
        },
        text=_PAIR,
        hub_text=("premise", "hypothesis"),
        label="gold_label",
        labels=_THREE,
        metrics=("accuracy",),
    ),
    GlueTask(
        "qnli",
        "QNLI",
        _list_files(
            (104_743, 5463, 5463), "index|question|sentence|label", "index|question|sentence"
        ),  # the second version
        text=("question", "sentence"),
        labels=_ENTAILED,
        metrics=("accuracy",),
    ),
    GlueTask(
        "rte",
        "RTE",
        _list_files(
            (2490, 277, 3000), "index|sentence1|sentence2|label", "index|sentence1|sentence2"
        ),
        text=_PAIR,
        labels=_ENTAILED,
        metrics=("accuracy",),
    ),
    GlueTask(
        "wnli",
        "WNLI",
        _list_files((635, 71, 146), "index|sentence1|sentence2|label", "index|sentence1|sentence2"),
        text=_PAIR,
        labels=("0", "1"),
        hub_labels=_ENTAILED,
        metrics=("accuracy",),
    ),
    GlueTask(  # no training data: it is answered by the model of MNLI
        "ax",
        "AX",
        {
            "test": GlueFile(
                ("diagnostic.tsv", "AX.tsv", "test.tsv"), 1104, ("index", "sentence1", "sentence2")
            )
        },
        text=_PAIR,
        hub_text=("premise", "hypothesis"),
        labels=_THREE,
        metrics=("matthews",),
        other_folders=("diagnostic",),
    ),
)
