"""`open_documents`: one door for corpora, read as a stream however long they are."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from selfwise.core.data_sources import DataSources, unwrap_sources
from selfwise.core.errors import did_you_mean
from selfwise.core.files import digest
from selfwise.data.regular_files import check_regular
from selfwise.data.text import plain_files, python_docs, tables
from selfwise.data.text.file_hashes import fingerprint_files
from selfwise.data.text.file_kinds import PLAIN_SUFFIXES, WIKI, detect_form, detect_forms
from selfwise.data.text.plain_files import cut_pieces, inner_suffix
from selfwise.data.text.structured_files import read_wiki_documents

DOCUMENT_MODES = ("auto", "file", "blank", "line")
READERS = {
    "file": plain_files.read_whole,
    "blank": plain_files.read_paragraphs,
    "line": plain_files.read_line_documents,
}
HUB_PREFIX = "hub:"


class CorpusPiece(NamedTuple):
    """Some text of a document. Only documents of more than a mebibyte have several pieces."""

    text: str
    last: bool  # whether the document ends here
    part: int  # number of the file
    done: int  # bytes read so far


@runtime_checkable
class CorpusPart(Protocol):
    """A file, or what takes the place of one."""

    bytes: int
    read: int  # how many of them were read so far

    def pieces(self) -> Iterator[tuple[str, bool]]: ...


@dataclass
class Documents:
    """A corpus. Iterating gives one str for each document, again and again."""

    parts: Sequence[CorpusPart]
    where: str
    _fingerprint: Callable[[], str]
    left_out: str = ""  # a sentence on the files of the folder that are not read, if there are any
    sources: Sequence["Documents"] = ()  # of a corpus that several sources make, in their order

    @property
    def first_parts(self) -> list[int]:
        """The number of the first part of each source."""
        counts = [len(source.parts) for source in self.sources or [self]]
        return [sum(counts[:i]) for i in range(len(counts))]

    @property
    def bytes(self) -> int:
        """Size of the files, compressed as they are."""
        return sum(part.bytes for part in self.parts)

    @cached_property
    def fingerprint(self) -> str:
        """The identity of the documents: content, names, and division."""
        return self._fingerprint()

    def pieces(self, first: int = 0) -> Iterator[CorpusPiece]:
        """Yield the text as a stream that is never in memory as a whole, from part `first` on."""
        before = sum(part.bytes for part in self.parts[:first])
        for number, part in enumerate(self.parts[first:], start=first):
            part.read = 0
            for text, last in part.pieces():
                yield CorpusPiece(text, last, number, before + part.read)
            before += part.bytes

    def __iter__(self) -> Iterator[str]:
        waiting: list[str] = []
        for piece in self.pieces():
            waiting.append(piece.text)
            if piece.last:
                yield "".join(waiting)
                waiting = []


@dataclass
class TextFile:
    """A text file or a table."""

    path: Path
    bytes: int
    mode: str  # how a text file is divided into documents
    field: str  # which column of a table
    form: str  # what `detect_forms` says it is
    read: int = 0

    def pieces(self) -> Iterator[tuple[str, bool]]:
        if self.form in tables.TABLE_SUFFIXES:
            return tables.read_texts(self.path, self.form, self.field, self._report_bytes)
        if self.form == WIKI:
            return read_wiki_documents(self.path, self._report_bytes)
        return READERS[self.mode](self.path, self._report_bytes)

    def _report_bytes(self, read: int) -> None:
        self.read = read


@dataclass
class TextList:
    """Documents that are in memory."""

    texts: Sequence[str]
    read: int = 0
    bytes: int = field(init=False)

    def __post_init__(self) -> None:
        self.bytes = sum(map(len, self.texts))

    def pieces(self) -> Iterator[tuple[str, bool]]:
        for text in self.texts:
            yield from cut_pieces(text)
            self.read += len(text)


def open_documents(data: object, *, field: str = "", documents: str = "auto") -> Documents:
    """Return documents from anything that holds some.

    Args:
        data: a text file or a table (txt, jsonl, json, csv, tsv, parquet, arrow; also .gz and
            .zst), WikiExtractor's files, a folder of these, `python-docs`, `hub:NAME:SPLIT`, a
            sequence of str, or several of these as `DataSources` or a list of `Path`.
        field: the column of a table that holds the text; by default the usual names are tried.
        documents: what a document is in a text file: `file`, the whole file, which `auto` means;
            `blank`, text between blank lines; or `line`.

    Raises ValueError for files that are missing, empty or of another form. Errors inside the files
    appear when they are read: then ValueError names file and byte, or file and line.
    """
    if documents not in DOCUMENT_MODES:
        raise ValueError(
            f"unknown way {documents!r} to divide text into "
            f"documents{did_you_mean(documents, DOCUMENT_MODES)}"
        )
    data = unwrap_sources(data)
    if isinstance(data, DataSources):
        places = data.places
        return join_documents(
            [open_documents(one, field=field, documents=documents) for one in places]
        )
    if isinstance(data, str | Path):
        return _open_path(str(data), field, "file" if documents == "auto" else documents)
    if not isinstance(data, Sequence):
        raise ValueError(f"a corpus is a path or a sequence of str, got {type(data).__name__}")
    for i, text in enumerate(data):
        if not isinstance(text, str):
            raise ValueError(f"a document is a str; document {i} is of type {type(text).__name__}")
    if not any(map(str.strip, data)):
        raise ValueError("the corpus is empty: there is no document with text")
    return Documents([TextList(data)], f"{len(data):,} documents", lambda: digest("str", *data))


def join_documents(sources: Sequence[Documents]) -> Documents:
    """Return one corpus of several: the documents of each source after those of the one before."""
    return Documents(
        [part for source in sources for part in source.parts],
        " + ".join(source.where for source in sources),
        lambda: digest("sources", *(source.fingerprint for source in sources)),
        "; ".join(source.left_out for source in sources if source.left_out),
        sources,
    )


def _open_path(data: str, field: str, mode: str) -> Documents:
    if data == python_docs.PYTHON_DOCS:
        parts = python_docs.list_parts()
        return Documents(parts, data, lambda: python_docs.fingerprint_docs())
    if data.startswith(HUB_PREFIX):
        from selfwise.data.text.hub import open_hub

        part, fingerprint = open_hub(data, field)
        return Documents([part], data, lambda: fingerprint)
    path = Path(data).expanduser()
    if not path.exists():
        nearby = [python_docs.PYTHON_DOCS]
        if path.absolute().parent.is_dir():
            nearby += [entry.name for entry in path.absolute().parent.iterdir()]
        hint = did_you_mean(path.name, nearby)
        raise ValueError(f"{path} does not exist" + (hint if "mean" in hint else ""))
    check_regular(path)
    forms_by_path, left_out = (
        _find_files(path, field) if path.is_dir() else ([(path, detect_form(path))], "")
    )
    files = [TextFile(name, name.stat().st_size, mode, field, of) for name, of in forms_by_path]
    if not sum(file.bytes for file in files):
        raise ValueError(f"{path}: the corpus is empty: it contains no text")
    names, forms = [name for name, _ in forms_by_path], {of for _, of in forms_by_path}
    how = "" if forms <= {*tables.TABLE_SUFFIXES} else WIKI if WIKI in forms else mode
    return Documents(
        files, str(path), lambda: digest(fingerprint_files(path, names), how, field), left_out
    )


def _find_files(root: Path, field: str) -> tuple[list[tuple[Path, str]], str]:
    """Return all text files and tables below a folder with their forms, sorted, and what is left
    out.

    Hidden files and folders are passed over.
    """
    paths: list[Path] = []
    visited: set[str] = set()
    for folder, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        folders[:] = [] if real in visited else [n for n in folders if n[0] != "."]
        if real not in visited:
            paths += [Path(folder, name) for name in names if name[0] != "."]
        visited.add(real)
    kinds = (*PLAIN_SUFFIXES, *tables.TABLE_SUFFIXES)
    for path in (path for path in paths if inner_suffix(path) in kinds):
        check_regular(path)
    forms_by_path, left_out = detect_forms(root, sorted(p for p in paths if p.is_file()), field)
    if not forms_by_path:
        listed = ", ".join(suffix[1:] for suffix in kinds)
        raise ValueError(
            f"{root}: there is no corpus in this folder or below it (supported: {listed}, and "
            "each with .gz or .zst)" + (f"; {left_out.partition(': ')[2]}" if left_out else "")
        )
    return forms_by_path, left_out
