"""Help, errors, docstrings, comments and documents keep the rules of CONTRIBUTING.md for prose.

Each rule is a pattern in tests/helpers/prose.py, with the contexts that are allowed and why.
"""

import json
from pathlib import Path

import pytest

from selfwise import commands, methods, recipes
from selfwise.cli import main as cli
from tests.helpers import prose
from tests.helpers.prose import Text

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "selfwise"
# the log keeps its sentences as they were written
SITE = {"_build", "_generated"}
PAGES = sorted(p for p in ROOT.glob("docs/**/*.md") if not {*p.parts} & SITE)
TOP = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
READ = [*TOP, *(p for p in PAGES if p.stem != "log")]
LONGEST = 100
FAULTS = {  # a planted sentence for each rule
    "write 'is not an X'": "photos is no folder",
    "say 'has none'": "of none of the runs",
    "name the subject, no clause with 'what'": "What is found is written to a file.",
    "say who does it": "the encoder is told the size",
    "write 'continue' or 'resume'": "the run goes on",
    "write 'is'": "the score stands beside its baselines",
    "write 'compared with' or 'next to'": "the encoder beside pixels",
    "write 'is stored' or 'is'": "the plan lies on the disk",
    "write 'and this one has none'": "needs a mask token, which this one has not.",
    "leave out 'that there is'": "for a probe that there is not, before",
    "write 'again' or 'from scratch'": "the head is drawn anew",
    "name the person": "whoever has died",
    "spell as in America": "the colour of unlabelled neighbours, normalised",
}
FINE = [
    "The score has not been measured.",
    "The run is no longer locked.",
    "What is read\n\nA file is a document.",
    "What is the task?",
    "There is no blur.",
    "labelled/train and triplet_labelled",
    "The options are kept by the run.",
    "Raise ValueError for an exercise, a promise, or a precise size.",
]


def list_rooms() -> list[str]:
    return sorted({p.relative_to(PACKAGE).parts[0] for p in PACKAGE.rglob("*.py")})


def list_help_lines() -> list[list[str]]:
    """A command line for each help text."""
    by_word = commands.import_commands()
    lines = [[], *([word] for word in by_word)]
    lines += [["pretrain", name] for name in methods.method_names()]
    lines += [["iterate", "hubert"], ["bench", "simclr"]]
    lines += [["run", name] for name in recipes.recipe_names()]
    return [[*line, "--help"] for line in lines]


def read_help(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> Text:
    capsys.readouterr()
    assert cli.main(arguments) == 0
    return Text(f"selfwise {' '.join(arguments)}", 1, capsys.readouterr().out)


def report(faults: list[str]) -> None:
    assert not faults, f"{len(faults)} sentences or names:\n" + "\n".join(faults)


@pytest.mark.parametrize("hint", prose.SENTENCES)
def test_each_rule_finds_its_planted_sentence(hint):
    found = prose.find_sentence_faults(Text("planted", 1, FAULTS[hint]))
    assert any(hint in fault for fault in found)


@pytest.mark.parametrize("words", FINE)
def test_plain_sentences_pass(words):
    assert not prose.find_sentence_faults(Text("planted", 1, words))


def test_a_fault_is_found_across_lines_and_named_with_its_line():
    (fault,) = prose.find_sentence_faults(Text("page.md", 3, "One.\nThe run goes\n  on."))
    assert fault.startswith("page.md:4: ")


@pytest.mark.parametrize("name", ["--batch 8", "--mask-share=0.1", "`partner_first`"])
def test_old_names_are_found_and_new_ones_are_not(name):
    assert prose.find_renamed(Text("planted", 1, f"with {name} it runs"))
    assert not prose.find_renamed(Text("planted", 1, "--batch-size 8 --labels-per-class knn_top1"))


def test_code_of_a_page_is_left_out_and_its_lines_are_counted():
    page = Text("page.md", 1, "`is no folder`\n```bash\nis no folder\n```\nthis is no folder\n")
    (fault,) = prose.find_sentence_faults(prose.drop_code(page))
    assert fault.startswith("page.md:5: ")


def test_messages_of_errors_and_progress_are_collected(tmp_path):
    file = tmp_path / "module.py"
    file.write_text('raise ValueError(\n    f"{x} is no folder"\n)\nprint_progress("it goes on")\n')
    assert [text.line for text in prose.list_messages(file, tmp_path)] == [1, 4]
    found = [prose.find_sentence_faults(t) for t in prose.list_messages(file, tmp_path)]
    assert all(found)
    assert len(list(prose.list_strings(file, tmp_path))) == 2


def test_comments_of_adjacent_lines_are_one_text(tmp_path):
    file = tmp_path / "module.py"
    file.write_text("# it goes\n# on here\nx = 1  # fine\n")
    (text, other) = prose.list_comments(file, tmp_path)
    (fault,) = prose.find_sentence_faults(text)
    assert other.words == "fine"
    assert fault.startswith("module.py:1: ")


@pytest.mark.parametrize("room", list_rooms())
def test_errors_docstrings_and_comments_keep_the_rules(room):
    check_modules(sorted((PACKAGE / room).rglob("*.py")) or [PACKAGE / room])


def test_generated_pages_keep_the_rules():
    check_modules([*ROOT.glob("docs/generate/*.py"), ROOT / "docs" / "conf.py"])


def check_modules(paths: list[Path]) -> None:
    faults = set()
    for path in paths:
        texts = [*prose.list_strings(path, ROOT), *prose.list_comments(path, ROOT)]
        for text in [*texts, *prose.list_messages(path, ROOT)]:
            faults |= {*prose.find_sentence_faults(text), *prose.find_renamed(text)}
    report(sorted(faults))


@pytest.mark.run  # it imports every command and recipe
def test_help_keeps_the_rules_and_shows_no_raw_values(capsys):
    faults = []
    for arguments in list_help_lines():
        text = read_help(arguments, capsys)
        faults += prose.find_faults(text, prose.RAW_VALUES, "a raw value of Python")
        faults += prose.find_sentence_faults(text) + prose.find_renamed(text)
    report(faults)


def test_raw_values_are_found_in_help():
    for raw in ("<class 'Path'>", "(default: null)", "(default: None)"):
        assert prose.RAW_VALUES.search(raw)


@pytest.mark.parametrize("path", READ, ids=lambda path: str(path.relative_to(ROOT)))
def test_pages_keep_the_rules(path):
    page = prose.read_page(path, ROOT)
    report(prose.find_sentence_faults(prose.drop_code(page)) + prose.find_renamed(page))


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("docs/notebooks/*.ipynb")), ids=lambda path: path.stem
)
def test_notebooks_keep_the_rules(path):
    cells = [(c["cell_type"], "".join(c["source"])) for c in json.loads(path.read_text())["cells"]]
    texts = [Text(f"{path.name}, cell {i}", 1, words) for i, (_, words) in enumerate(cells)]
    faults = [fault for text in texts for fault in prose.find_renamed(text)]
    for (kind, _), text in zip(cells, texts):
        if kind == "markdown":
            faults += prose.find_sentence_faults(prose.drop_code(text))
    report(faults)


@pytest.mark.parametrize("path", [*TOP, ROOT / "CHANGELOG.md", *PAGES], ids=lambda p: p.stem)
def test_lines_of_pages_wrap(path):
    words = prose.FENCE.sub("", prose.read_page(path, ROOT).words)
    long = [
        line
        for line in words.splitlines()
        if len(line) > LONGEST and not line.lstrip().startswith("|") and not is_one_word(line)
    ]
    assert not long, f"{path.name}: wrap at {LONGEST} columns:\n" + "\n".join(long)


def is_one_word(line: str) -> bool:
    """A link or a name that is too long for any line."""
    return max(len(word) for word in line.split()) > LONGEST - 20
