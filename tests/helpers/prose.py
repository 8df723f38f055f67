"""The words and sentences that CONTRIBUTING.md rules out, and where texts are found."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

STEMS = "normal optim initial organ recogn util standard general token synchron summar visual"
STEMS += " quant maxim minim serial vector penal random discret special regular binar emphas"
PATTERNS: Mapping[str, str] = {
    "write 'is not an X'": (
        r"\bthere (?:is|are|was|were) no \w+ that\b"
        r"|(?<!there\s)\b(?:is|are|was|were) no (?!longer\b|better\b|more\b|worse\b)[a-z]+"
    ),
    "say 'has none'": r"\bof none\b",
    "name the subject, no clause with 'what'": (
        r"\bWhat (?:is|was|are|were|has) \w+(?: \w+){0,4} (?:is|are|was|were)\b(?![^.;:]{0,60}\?)"
    ),
    "say who does it": r"\b(?:is|are|was|were) (?:told|asked|said|kept|taken)\b(?! by\b)",
    "write 'continue' or 'resume'": r"\b(?:go|goes|went|going) on\b",
    "write 'is'": r"\bstands? (?:beside|for itself|in|on|there)\b",
    "write 'compared with' or 'next to'": r"\bbeside\b",
    "write 'is stored' or 'is'": r"\b(?:lies?|lay) (?:in|on|ready|there|together|beside)\b",
    "write 'and this one has none'": r"\b(?:has|have) not(?=[.,;:)]|$)",
    "leave out 'that there is'": r"\bthat there (?:is|are)(?: not)?(?=[.,;:)]|$)",
    "write 'again' or 'from scratch'": r"\banew\b",
    "name the person": r"\bwhoever\b",
    "spell as in America": (
        r"\b(?:\w*colour\w*|neighbour\w*|centre[sd]?|gr[e]y(?:ness|scale)?|behaviour\w*|licence\w*"
        r"|honour\w*|favour\w*|artefacts?|catalogues?|analys(?:ed?|es|ing)|modelling|metres?"
        rf"|\w*(?:{'|'.join(STEMS.split())})is(?:e|ed|es|er|ers|ing|ations?)"
        r"|(?<![_`])(?:un)?labelled(?![/_`\w]))\b"
    ),
}
SPACE = r"(?: +|\t+| *\n *)"  # also at the end of a line, but not across a blank line
SENTENCES = {
    hint: re.compile(pattern.replace(" ", SPACE), re.IGNORECASE if "What" not in pattern else 0)
    for hint, pattern in PATTERNS.items()
}
# options that were renamed, unless another command still has one of that name
OLD_OPTIONS = (
    "batch accumulate beta2 clip threads workers keep best probe-every health-every start field"
    " lower length held-out mask-share longest units units-layer clusters decode crop flip strength"
    " jitter blur gray dim per-identity label group scratch next-clusters next-layer vocab tokens"
    " wandb penalty alpha size"
)
# names of options and metrics that are not words of the language
OLD_NAMES = (
    "partner_first online_knn beta2 probe_every health_every mask_share units_layer per_identity"
    " next_clusters next_layer active_pairs"
)
RENAMED = re.compile(
    rf"(?<![\w-])--(?:{'|'.join(OLD_OPTIONS.split())})(?![\w-])"
    rf"|(?<![\w-])(?:{'|'.join(OLD_NAMES.split())})\b"
)
RAW_VALUES = re.compile(r"<class|default: (?:null|None)\b|PosixPath")
# the context of a finding, and why it is right there
ALLOWED: Mapping[str, str] = {
    r"core/foreign_names\.py:\d+: has another name now": "the table of old names for did-you-mean",
    r"\blabelled: |\btriplet_labelled\b": "an argument and a method, whose names stay",
    r"\b(?:is|are|was|were) asked for\b": "the agent is the caller, and no verb is shorter",
    r"probes/knn\.py.*number of neighbours\.\.\.": "the purpose of a random draw",
    r"--held-out yes\|no": "a switch of a recipe, not the old name of --val-fraction",
}

FENCE = re.compile(r"^[ ]*(```|~~~).*?^[ ]*\1[ ]*$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(`+)[^`]+?\1|\]\([^)\s]+\)|<!--.*?-->", re.DOTALL)
# also the examples of wrong sentences in CONTRIBUTING.md
GENERATED = re.compile(r"<!-- (\w+): begin -->.*?<!-- \1: end -->", re.DOTALL)


class Text(NamedTuple):
    """A text that somebody reads: its file or command, the line where it begins, the words."""

    place: str
    line: int
    words: str


def find_faults(text: Text, pattern: re.Pattern[str], hint: str) -> Iterator[str]:
    """A line for each match: the place, what to write, and the words around it."""
    for match in pattern.finditer(text.words):
        near = text.words[max(0, match.start() - 40) : match.end() + 40]
        line = text.line + text.words.count("\n", 0, match.start())
        fault = f"{text.place}:{line}: {hint}: ...{' '.join(near.split())}..."
        if not any(re.search(context, fault) for context in ALLOWED):
            yield fault


def find_sentence_faults(text: Text) -> list[str]:
    """The sentences of a text that match one of the patterns."""
    return [f for hint, pattern in SENTENCES.items() for f in find_faults(text, pattern, hint)]


def find_renamed(text: Text) -> list[str]:
    """The options and metrics of a text that have another name now."""
    return list(find_faults(text, RENAMED, "has another name now"))


def read_page(path: Path, root: Path) -> Text:
    """A page of the documents, without the parts that are generated."""
    words = GENERATED.sub(_blank, path.read_text(encoding="utf-8"))
    return Text(str(path.relative_to(root)), 1, words)


def drop_code(page: Text) -> Text:
    """A page without blocks of code, names in backticks and targets of links."""
    return page._replace(words=INLINE.sub(_blank, FENCE.sub(_blank, page.words)))


def _blank(match: re.Match[str]) -> str:
    """As many characters as the match, with its line breaks, and none that a pattern matches."""
    return re.sub(r"[^\n]", "~", match[0])


def list_strings(path: Path, root: Path) -> Iterator[Text]:
    """Every string of three words or more in a module: messages, docstrings, printed lines.

    An f-string is one text, with "{}" where it has a value.
    """
    source = path.read_text(encoding="utf-8")
    inside: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if id(node) in inside:
            continue
        words = ""
        if isinstance(node, ast.JoinedStr):
            inside.update(id(part) for part in node.values)
            words = "".join(
                str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            words = node.value
        if len(words.split()) > 2:
            yield Text(str(path.relative_to(root)), node.lineno, words)


def list_messages(path: Path, root: Path) -> Iterator[Text]:
    """The texts of errors and warnings in a module: in `raise X(...)`, print_progress and warn."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        call = node.exc if isinstance(node, ast.Raise) else node
        if not isinstance(call, ast.Call):
            continue
        name = getattr(call.func, "attr", getattr(call.func, "id", ""))
        if isinstance(node, ast.Raise) or name in ("print_progress", "warn"):
            words = " ".join(_list_constants(call))
            yield Text(str(path.relative_to(root)), call.lineno, words)


def _list_constants(node: ast.AST) -> Iterator[str]:
    """The strings of an expression in the order of the source."""
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value


def list_comments(path: Path, root: Path) -> Iterator[Text]:
    """The comments of a module; comments that fill adjacent lines are one text."""
    place, block = str(path.relative_to(root)), list[tokenize.TokenInfo]()
    for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline):
        if token.type != tokenize.COMMENT:
            continue
        alone = token.line.lstrip().startswith("#")
        if block and not (alone and token.start[0] == block[-1].start[0] + 1):
            yield _join_comments(place, block)
            block = []
        block.append(token)
    if block:
        yield _join_comments(place, block)


def _join_comments(place: str, block: list[tokenize.TokenInfo]) -> Text:
    words = "\n".join(token.string.lstrip("# ") for token in block)
    return Text(place, block[0].start[0], words)
