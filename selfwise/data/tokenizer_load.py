"""Published tokenizers from their files."""

import json
from collections.abc import Callable
from pathlib import Path

from tokenizers import Tokenizer as Library
from tokenizers import models

from selfwise.data.tokenizer_pieces import from_sentencepiece
from selfwise.data.tokenizer_roles import NAMES
from selfwise.data.tokenizer_train import bert, byte_level, with_specials

FORMS = (
    "a tokenizer.json, a vocab.txt, a vocab.json with merges.txt, an encoder.json with vocab.bpe, "
    "a SentencePiece .model, or a folder that holds one of these"
)
PAIRS = {"vocab.json": "merges.txt", "encoder.json": "vocab.bpe"}  # GPT-2 had other names first
IN_FOLDER = ("tokenizer.json", "vocab.txt", *PAIRS)


def read(path: Path) -> Library:
    """The tokenizer in a file or folder. Raises ValueError for what is none, and says why."""
    if path.is_dir():
        path = _in_folder(path)
    if not path.is_file():
        raise ValueError(f"{path} does not exist; a tokenizer is {FORMS}")
    form = _form(path)
    try:
        return form(path)
    except ValueError:
        raise
    except Exception as error:  # the library raises nothing more specific
        raise ValueError(f"{path}: cannot be read as a tokenizer ({_one_line(error)})") from error


def _in_folder(folder: Path) -> Path:
    for name in IN_FOLDER:
        if (folder / name).is_file():
            return folder / name
    found = sorted(folder.glob("*.model"))
    if len(found) == 1:
        return found[0]
    raise ValueError(f"{folder}: there is no tokenizer in this folder; it may hold {FORMS}")


def _form(path: Path) -> Callable[[Path], Library]:
    if path.name in PAIRS or path.name in PAIRS.values():
        return from_merges
    if path.suffix == ".json":
        return from_json
    if path.suffix == ".txt":
        return from_wordpieces
    if path.suffix == ".model":
        return from_sentencepiece
    raise ValueError(f"{path}: this file's name is not that of a tokenizer; it may be {FORMS}")


def from_json(path: Path) -> Library:
    """The tokenizers library's own file."""
    made = Library.from_str(_text(path))
    made.no_truncation()
    made.no_padding()
    return made


def from_wordpieces(path: Path) -> Library:
    """BERT's vocab.txt: a piece a line, its number the line's.

    Whether text is lower-cased is in a `tokenizer_config.json` beside it; where there is none, a
    vocabulary without a capital letter is of lower-cased text.

    Raises ValueError for a piece that occurs twice and a vocabulary without [UNK].
    """
    lines = _text(path).split("\n")
    pieces = [line.removesuffix("\r") for line in (lines[:-1] if lines[-1] == "" else lines)]
    numbers: dict[str, int] = {}
    for i, piece in enumerate(pieces):
        if piece in numbers:
            raise ValueError(
                f"{path}, line {i + 1}: {piece!r} is already line {numbers[piece] + 1}"
            )
        numbers[piece] = i
    if "[UNK]" not in numbers:
        raise ValueError(f"{path}: there is no [UNK] among the {len(pieces):,} lines of this file")
    model = models.WordPiece(vocab=numbers, unk_token="[UNK]", max_input_chars_per_word=100)
    return bert(model, lower=_lowers(path, pieces))


def _lowers(path: Path, pieces: list[str]) -> bool:
    config = path.with_name("tokenizer_config.json")
    if config.is_file():
        told = _object(config).get("do_lower_case")
        if isinstance(told, bool):
            return told
    return all(piece == piece.lower() for piece in pieces if not piece.startswith("["))


def from_merges(path: Path) -> Library:
    """Byte-level BPE of GPT-2 and RoBERTa: a json of pieces and a text of merges beside it.

    Raises ValueError if one of the two is missing and for a vocabulary that is not of bytes.
    """
    names = next(pair for pair in PAIRS.items() if path.name in pair)
    vocab, merges = (path.with_name(name) for name in names)
    for file, other in ((vocab, merges), (merges, vocab)):
        if not file.is_file():
            raise ValueError(f"{other}: {file.name} has to lie beside it, and does not")
    pieces = _object(vocab)
    if not pieces or not all(isinstance(i, int) for i in pieces.values()):
        raise ValueError(f"{vocab}: expected an object of pieces and their numbers")
    if "Ġ" not in pieces:
        raise ValueError(f"{vocab}: this is not a byte-level vocabulary; there is no piece 'Ġ'")
    made = byte_level(models.BPE(vocab=pieces, merges=_merges(merges, pieces)))
    return with_specials(made, [name for name in NAMES if name in pieces])


def _merges(path: Path, pieces: dict[str, int]) -> list[tuple[str, str]]:
    found = []
    for i, line in enumerate(_text(path).split("\n")):
        line = line.removesuffix("\r")
        if not line or (i == 0 and line.startswith("#version")):
            continue
        left, _, right = line.partition(" ")
        if left + right not in pieces or left not in pieces or right not in pieces:
            raise ValueError(f"{path}, line {i + 1}: {line!r} does not join two pieces to a third")
        found.append((left, right))
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="strict")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 at byte {error.start:,}") from error


def _object(path: Path) -> dict:
    try:
        found = json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not JSON ({error})") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path}: expected a JSON object, got {type(found).__name__}")
    return found


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
