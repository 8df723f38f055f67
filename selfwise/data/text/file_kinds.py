"""What a file of text really is: its name says it, and its first bytes say it where that misleads.

Text with a structure is read as what it is, or refused with the form that would be right; it is
never read as plain text.
"""

import json
import re
import zlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from selfwise.data.text import tables
from selfwise.data.text.plain_files import COMPRESSED, inner_suffix, open_uncompressed

HEAD_BYTES = 4096  # bytes of a file that are looked at
PLAIN_SUFFIXES = (".txt", ".text", ".md", ".rst")
_TEXT_TABLES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv")
WIKI = "wiki"  # the files of WikiExtractor
_WIKI = re.compile(rb'\s*<doc id="[^"\n]*"[^\n]*>\r?\n')
_COMMENTS = rb"\s*(?s:<!--.*?-->\s*)*"
_OBJECT = re.compile(r'\s*\[?\s*\{\s*"[^"\n]*"\s*:')  # as far as the first field
_MARKUP = "extract the text from its markup first, into .txt or .jsonl"
_UNPACK = "unpack it first"
_REFUSED_SUFFIXES = {
    **dict.fromkeys((".html", ".htm", ".xhtml"), ("HTML", _MARKUP)),
    **dict.fromkeys((".xml",), ("XML", _MARKUP)),
    ".warc": ("a web archive (WARC)", "extract its text first, into .txt or .jsonl"),
    **dict.fromkeys((".pdf", ".docx", ".doc", ".odt", ".rtf", ".epub", ".pptx", ".xlsx", ".xls"),
                    ("a document of an office program", "save it as .txt first")),
    ".ipynb": ("a notebook", "save it as .md or .py first"),
    **dict.fromkeys((".zip", ".tar", ".tgz", ".7z", ".rar"), ("an archive", _UNPACK)),
    **dict.fromkeys((".bz2", ".xz", ".lz4", ".lzma"),
                    ("compressed in an unsupported way", f"{_UNPACK}, or use .gz")),
}  # fmt: skip
_MAGIC_BYTES = (
    (rb"\x1f\x8b", "compressed with gzip", "rename it to end in .gz"),
    (rb"\x28\xb5\x2f\xfd", "compressed with zstd", "rename it to end in .zst"),
    (rb"BZh[1-9]|\xfd7zXZ\0", "compressed in an unsupported way", _UNPACK),
    (rb"PAR1", "a parquet file", "rename it to end in .parquet"),
    (rb"ARROW1\0\0", "an Arrow file", "rename it to end in .arrow"),
    (rb"FEA1", "a feather file of version 1", "save it again as version 2"),
    (rb"%PDF-", "a PDF", "save it as .txt first"),
    (rb"PK\x03\x04", "a zip archive or an office document", f"{_UNPACK}, or save it as .txt"),
    (rb"(?s:.{257})ustar", "a tar archive", _UNPACK),
    (rb"WARC/\d", "a web archive (WARC)", "extract its text first, into .txt or .jsonl"),
    (rb"\{\\rtf", "a document of an office program", "save it as .txt first"),
    (_COMMENTS + rb"(?i:<!doctype html|<html\b)", "HTML", _MARKUP),
    (_COMMENTS + rb"(?i:<\?xml|<mediawiki|<rss|<feed|<svg|<tei|<teicorpus)\b", "XML", _MARKUP),
)
# files that Hugging Face's datasets writes next to its tables
_DATASETS_FILES = ("dataset_info.json", "dataset_dict.json", "state.json")


def detect_form(path: Path) -> str:
    """Return how a file is read: .txt, a suffix of a table, or `wiki`.

    Raises ValueError with one sentence for text with a structure that is not read here.
    """
    suffix = inner_suffix(path)
    refusal = _REFUSED_SUFFIXES.get(suffix) or _REFUSED_SUFFIXES.get(path.suffix.lower())
    start = _read_head(path)
    if suffix in tables.TABLE_SUFFIXES and suffix not in _TEXT_TABLES:
        if path.suffix.lower() in COMPRESSED:
            raise ValueError(f"{path}: compressed {suffix[1:]} files are not supported; {_UNPACK}")
        if start.startswith(b"FEA1"):
            raise ValueError(f"{path}: feather of version 1 is not supported; save it as version 2")
        return suffix
    if refusal is None:
        refusal = next((entry[1:] for entry in _MAGIC_BYTES if re.match(entry[0], start)), None)
    if refusal is not None:
        raise ValueError(f"{path}: this is {refusal[0]}, not plain text; {refusal[1]}")
    if suffix in _TEXT_TABLES:
        return suffix
    if _WIKI.match(start):
        return WIKI
    if not _is_json(start):
        return ".txt"
    if suffix in PLAIN_SUFFIXES:
        raise ValueError(
            f"{path}: this is JSON, not plain text; rename it to end in .jsonl, or in .json for an "
            "array"
        )
    return ".json"


def detect_forms(
    root: Path, files: Iterable[Path], field: str
) -> tuple[list[tuple[Path, str]], str]:
    """(the files to read, each with its form; a sentence on the others, or nothing)."""
    forms_by_path: list[tuple[Path, str]] = []
    rest: Counter[str] = Counter()
    for path in files:
        suffix = inner_suffix(path)
        if suffix in tables.TABLE_SUFFIXES or suffix in PLAIN_SUFFIXES:
            form = detect_form(path)
            if suffix == ".json" and not _has_text(path, field):
                form = ""
        else:
            form = _detect_without_suffix(path) if not suffix else ""
        if form:
            forms_by_path.append((path, form))
        else:
            rest["".join(path.suffixes[-2:]).lower() or "without a suffix"] += 1
    if not rest:
        return forms_by_path, ""
    listed = ", ".join(f"{count:,} {suffix}" for suffix, count in rest.most_common(8))
    return (
        forms_by_path,
        f"{root}: {rest.total():,} files are skipped, since they are not text ({listed})",
    )


def _detect_without_suffix(path: Path) -> str:
    """Return files without a suffix are read in a folder if they are WikiExtractor's, or JSON."""
    try:
        form = detect_form(path)
    except ValueError:
        return ""  # counted with the other files that are not text
    return "" if form == ".txt" else form


def _has_text(path: Path, field: str) -> bool:
    """Return whether a .json file has a field of text; other .json files are settings of a
    corpus."""
    if path.name in _DATASETS_FILES:
        return False
    start = _read_head(path)
    names = (field,) if field else tables.TEXT_FIELDS
    strings = re.match(rb'\s*\[\s*"', start) is not None
    return strings or any(f'"{name}"'.encode() in start for name in names)


def _is_json(start: bytes) -> bool:
    """Return whether text begins with an object, or with an array of objects or of texts."""
    text = start.decode("utf-8", "replace").lstrip()
    inside = text.removeprefix("[").lstrip()
    if not inside.startswith(('"', "{") if text.startswith("[") else "{"):
        return False
    try:
        value, end = json.JSONDecoder().raw_decode(inside)
    except json.JSONDecodeError:  # the value may be longer than what is looked at
        return len(start) >= HEAD_BYTES and _OBJECT.match(text) is not None
    behind = inside[end:].lstrip()[:1]
    return isinstance(value, dict) or (isinstance(value, str) and behind in (",", "]"))


def _read_head(path: Path) -> bytes:
    """Return the first bytes of a file, uncompressed where its name says that it is compressed."""
    with path.open("rb") as raw:
        if path.suffix.lower() not in COMPRESSED:
            return _to_utf8(raw.read(HEAD_BYTES))
        try:
            with open_uncompressed(path, raw) as stream:
                return _to_utf8(stream.read(HEAD_BYTES))
        except (OSError, EOFError, zlib.error):
            return b""  # reading will say that it is damaged


def _to_utf8(start: bytes) -> bytes:
    """Return the bytes without their mark; those of UTF-16 as UTF-8."""
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        return start.decode("utf-16", "ignore").encode("utf-8", "ignore")
    return start.removeprefix(b"\xef\xbb\xbf")


def check_plain_text(path: Path) -> None:
    """Raise ValueError with one sentence for what is not plain text."""
    if detect_form(path) != ".txt":
        raise ValueError(f"{path}: these are structured documents, not one text per line")
