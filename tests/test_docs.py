"""What the documents say is so: their code runs, their links lead somewhere, their names exist.

Fenced blocks, by language: `bash` is run as a script (outside of the README in this process, where
it holds plain commands of ours), `python` in one namespace, `console` holds commands after `$` with
what they print; all in order, in a folder with small real images, texts, and recordings of tones.
`text` and `csv` are only shown. Commands of the README that train for minutes train for a few steps
here.
"""

import os
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path
from pydoc_data.topics import topics
from typing import NamedTuple

import numpy as np
import pytest
import soundfile
from PIL import Image
from sklearn.datasets import load_digits

from selfwise import commands, methods, recipes
from selfwise.cli import main as cli
from tests.helpers.glue_cases import write_glue
from tests.test_layers import MAY_IMPORT

ROOT = Path(__file__).parents[1]
GUIDE = tuple(sorted(f"docs/guide/{page.name}" for page in ROOT.glob("docs/guide/*.md")))
CHAPTERS = ("choosing", "report", "exporting", "processes", "adding", "glue", "bench")
CHAPTERS += ("loggers", "own-data", "own-encoder")
GUIDES = ("README.md", *GUIDE, *(f"docs/{chapter}.md" for chapter in CHAPTERS))
MADE = ("_build", "_generated")  # by the build of the site, which checks them
PAGES = sorted(
    [*ROOT.glob("*.md"), *(p for p in ROOT.glob("docs/**/*.md") if not {*p.parts} & {*MADE})]
)
LANGUAGES = {"bash", "python", "console", "text", "csv", "{toctree}", "{glossary}"}
PHOTOS, TRAIN, TEST = 300, 10, 5  # images; the labelled ones for each class
WORDS = {"up": (400, 900), "down": (900, 400), "left": (600, 600)}  # Hz, first and last
SPEAKERS, TAKES, RATE = {"ann": 1.0, "bob": 0.75, "eve": 1.25}, 4, 8_000

SHORT = {  # in place of `--minutes N` in the README
    "simclr": "--steps 20 --batch-size 64",
    "hubert": "--steps 10 --encoder hubert-tiny --num-clusters 16 --batch-seconds 16 "
    "--max-clip-seconds 4",
}

VERBS = [
    v
    for v in commands.import_commands()
    if v not in ("pretrain", "run", "methods", "recipes", "doctor")
]

FENCE = re.compile(r"^```([\w{}]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FLAG = re.compile(r"--[a-z][a-z.-]*")


class Block(NamedTuple):
    language: str
    code: str
    line: int


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str) -> list[Block]:
    text = read(page)
    return [Block(m[1], m[2], text[: m.start()].count("\n") + 1) for m in FENCE.finditer(text)]


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A user's folder: digits as PNG files, documents, recordings, labels, and tasks of GLUE."""
    pixels, labels = load_digits(return_X_y=True)
    pictures = np.rint(pixels.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    # the labelled ones are taken class by class from the end, the photos from the start
    for label in range(10):
        rows = np.flatnonzero(labels == label)[-(TRAIN + TEST) :]
        for i, row in enumerate(rows):
            part = "train" if i < TRAIN else "test"
            write(tmp_path / "labelled" / part / str(label) / f"{row}.png", pictures[row])
    for row in range(PHOTOS):
        write(tmp_path / "photos" / f"{row:04d}.png", pictures[row])
    random = np.random.default_rng(0)
    for number in range(PHOTOS // 4):
        few = Image.fromarray(random.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        write(tmp_path / "holidays" / f"{number}.png", np.asarray(few.resize((32, 32))))
    for name in ("assert", "class", "compound", "typesmapping", "with", "yield"):
        document = tmp_path / "documents" / f"{name}.txt"
        document.parent.mkdir(exist_ok=True)
        document.write_text(topics[name] * 3)
    rows = [f"{('bad', 'good')[i % 2]} film number {i}\t{i % 2}" for i in range(300)]
    (tmp_path / "reviews.tsv").write_text("sentence\tlabel\n" + "\n".join(rows) + "\n")
    write_glue(tmp_path / "glue_data", tasks=("rte", "wnli"))
    record(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SELFWISE_CACHE", str(tmp_path / ".cache"))
    bin_folder = str(Path(sys.executable).parent)
    monkeypatch.setenv("PATH", os.pathsep.join([bin_folder, os.environ["PATH"]]))
    return tmp_path


def write(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)


def record(home: Path) -> None:
    """Words that are tones, by three speakers with voices of their own, and a silent file."""
    random, rows = np.random.default_rng(0), ["path,label,group"]
    folder = home / "recordings"
    folder.mkdir()
    for speaker, pitch in SPEAKERS.items():
        for take in range(TAKES):
            for word, (first, last) in WORDS.items():
                hertz = pitch * np.linspace(first, last, int(RATE * random.uniform(0.8, 1.2)))
                wave = np.sin(2 * np.pi * np.cumsum(hertz) / RATE)
                wave = 0.3 * wave + 0.02 * random.normal(size=len(wave))
                name = f"recordings/{word}_{speaker}_{take}.wav"
                soundfile.write(home / name, wave.astype(np.float32), RATE)
                rows.append(f"{name},{word},{speaker}")
    soundfile.write(folder / "pause.wav", np.zeros(RATE, dtype=np.float32), RATE)
    (home / "spoken.csv").write_text("\n".join(rows) + "\n")


def shorten(code: str) -> str:
    """Replace the minutes of each command by a few steps of a small encoder."""
    timed = r"(selfwise (?:pretrain|iterate) (\w+)(?:[^\n]|\\\n)*?)--minutes [\d.]+"
    short = re.sub(timed, lambda found: found[1] + SHORT[found[2]], code)
    commands = short.replace("\\\n", " ").splitlines()
    assert not [c for c in commands if "--minutes" in c and "selfwise plan" not in c], short
    return short


def run_script(block: Block, where: str) -> None:
    if "make " in block.code:
        return  # continuous integration runs them; below, their targets are looked up
    command = ["bash", "-euo", "pipefail", "-c", shorten(block.code)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, f"{where}\n{block.code}{found.stdout}{found.stderr}"


def plain_commands(code: str) -> list[list[str]]:
    """The arguments of each command of a script; none if the shell has more to do than to call."""
    lines = code.replace("\\\n", " ").splitlines()
    outside = [re.sub(r'"[^"$`]*"', "", line) for line in lines]
    plain = all(re.fullmatch(r"selfwise [^$`|&;<>~#*?(){}']*", line) for line in outside)
    return [shlex.split(line)[1:] for line in lines] if plain else []


def run_commands(commands: list[list[str]], where: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Run commands of ours here, without starting an interpreter for each."""
    for arguments in commands:
        capsys.readouterr()
        code = cli.main(arguments)
        assert code == 0, f"{where}: {arguments}\n{''.join(capsys.readouterr())}"


def run_session(block: Block, where: str, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    for session in block.code.split("$ selfwise ")[1:]:
        command, _, expected = session.partition("\n")
        code = cli.main(shlex.split(command))
        printed = capsys.readouterr()
        assert printed.out + printed.err == expected, f"{where}: {command}"
        assert code == (2 if expected.startswith("selfwise: ") else 0), where


@pytest.mark.run  # training, but every command of the documents runs in CI
@pytest.mark.parametrize("page", GUIDES)
def test_the_code_of_the_documents_runs(page, home, capsys):
    namespace = {"__name__": "documents"}
    for block in blocks(page):
        where = f"{page}:{block.line}"
        if block.language == "bash" and page != "README.md" and plain_commands(block.code):
            run_commands(plain_commands(block.code), where, capsys)
        elif block.language == "bash":
            run_script(block, where)
        elif block.language == "python":
            exec(compile("\n" * block.line + block.code, page, "exec"), namespace)
        elif block.language == "console":
            run_session(block, where, capsys)
    leftover = [path.name for path in home.glob("**/.*.writing*")]
    assert not leftover


def test_every_page_of_the_guide_is_read():
    kept = {"architecture", "log", "performance", "results"}  # they tell how it is built and was
    kept |= {"index", "glossary", "notebooks", "no-better-than-pixels"}
    assert {page.stem for page in ROOT.glob("docs/*.md")} - kept == {*CHAPTERS}


def test_every_block_has_a_language_that_says_whether_it_is_run():
    for page in PAGES:
        for block in blocks(str(page.relative_to(ROOT))):
            assert block.language in LANGUAGES, f"{page.name}:{block.line}"
    for page in GUIDES:
        shown = [block for block in blocks(page) if block.language == "text"]
        hidden = [block for block in shown if re.search(r"^(\$ )?selfwise ", block.code, re.M)]
        assert not hidden, f"{page}: commands that nobody runs: {hidden}"


def test_targets_of_make_exist():
    there = set(re.findall(r"^([a-z]+):", read("Makefile"), re.MULTILINE))
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        named = set(re.findall(r"(?:^|`)make ([a-z]+)(?:`|$)", text, re.MULTILINE))
        assert named <= there, f"{page.name}: {named - there}"
    assert {"quickstart", "test"} <= there


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        if "_generated" in path:  # which a build of the site writes
            assert path.partition("_generated/")[2] in generated_pages(), f"{page.name}: {target}"
            continue
        assert file.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in anchors(file), f"{page.name} links to {target}"


@cache
def generated_pages() -> frozenset[str]:
    """The pages of the site that are made from the code, below `docs/_generated`."""
    from docs.generate import make_pages

    return frozenset(make_pages())


def anchors(page: Path) -> set[str]:
    """The names that headings have in links."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("pages", [("README.md",), GUIDE], ids=["readme", "guide"])
def test_every_command_is_explained(pages):
    text = "\n".join(map(read, pages))
    missing = [
        verb for verb in commands.import_commands() if not re.search(rf"\bselfwise {verb}\b", text)
    ]
    assert not missing, f"{pages} do not mention {missing}"


def test_commands_and_options_that_are_named_exist(capsys):
    known = options(capsys)
    for page in GUIDES:
        text = read(page)
        code = "\n".join(block.code for block in blocks(page))
        named = re.findall(r"^(?:\$ )?selfwise (\w+)", code, re.MULTILINE)
        named += re.findall(r"`selfwise (\w+)", text)
        wrong = {*named} - set(commands.import_commands())
        assert not wrong, f"{page}: there is no command {wrong}"
        # a console shows mistakes on purpose
        code = [block.code for block in blocks(page) if block.language == "bash"]
        code += re.findall(r"`([^`\n]+)`", FENCE.sub("", text))
        named = {flag for piece in code for flag in FLAG.findall(piece)}
        wrong = {f for f in named - known if not f.startswith("--encoder.")}
        assert not wrong, f"{page}: there is no option {wrong}"


def test_the_table_of_parts_is_the_one_that_is_checked():
    rows = re.findall(r"^\| `(\w+)` \|.*\|(.*)\|$", read("docs/architecture.md"), re.MULTILINE)
    table = {part: set(re.findall(r"`([\w.]+)`", allowed)) for part, allowed in rows}
    assert table == {part: MAY_IMPORT[part] for part in MAY_IMPORT if "__" not in part}


def test_tree_of_the_readme_has_all_rooms_with_imports_pointing_downwards():
    rooms = re.findall(r"^  (\w+)/ ", read("README.md"), re.MULTILINE)
    assert set(rooms) == {room for room in MAY_IMPORT if "__" not in room}
    for place, room in enumerate(rooms):
        above = {part.partition(".")[0] for part in MAY_IMPORT[room]} & {*rooms[:place]}
        assert not above, f"{room} imports {above}"


def options(capsys: pytest.CaptureFixture[str]) -> set[str]:
    """Every option of every command, as the help lists them."""
    asked = [["--help"], *([verb, "--help"] for verb in VERBS)]
    asked += [["pretrain", name, "--help"] for name in methods.method_names()]
    asked += [["iterate", "hubert", "--help"], ["bench", "simclr", "--help"]]
    asked += [["run", name, "--help"] for name in recipes.recipe_names()]
    capsys.readouterr()
    for arguments in asked:
        assert cli.main(arguments) == 0
    return set(FLAG.findall(capsys.readouterr().out))
