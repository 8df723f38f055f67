"""Published tokenizers from their files."""

import json
from collections.abc import Callable
from pathlib import Path

from tokenizers import Tokenizer as Library
from tokenizers import decoders, models, normalizers, pre_tokenizers

from selfwise.tokenizers.hf_settings import Settings, add_tokens, read_settings
from selfwise.tokenizers.sentencepiece import from_sentencepiece
from selfwise.tokenizers.special_tokens import NAMES
from selfwise.tokenizers.train import bert, byte_level, with_specials

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
        return from_model
    raise ValueError(f"{path}: this file's name is not that of a tokenizer; it may be {FORMS}")


def from_json(path: Path) -> Library:
    """The tokenizers library's own file."""
    made = Library.from_str(_text(path))
    if getattr(made.model, "dropout", None):
        raise ValueError(
            f"{path}: this tokenizer divides text at random (dropout {made.model.dropout}), and "
            "here a text has one division into pieces; set its dropout to null"
        )
    made.no_truncation()
    made.no_padding()
    return made


def from_wordpieces(path: Path) -> Library:
    """BERT's vocab.txt: a piece a line, its number the line's.

    How text is normalised is in a `tokenizer_config.json` beside it; where there is none, a
    vocabulary without a capital letter is of lower-cased text.

    Raises ValueError for a piece that occurs twice, a vocabulary without [UNK], and settings that
    are not understood.
    """
    settings = read_settings(path, "wordpiece", _object)
    _check_never_split(settings)
    lines = _text(path).split("\n")
    pieces = [line.removesuffix("\r") for line in (lines[:-1] if lines[-1] == "" else lines)]
    numbers: dict[str, int] = {}
    for i, piece in enumerate(pieces):
        if piece in numbers:
            raise ValueError(
                f"{path}, line {i + 1}: {piece!r} is already line {numbers[piece] + 1}"
            )
        numbers[piece] = i
    unknown = settings.word("unk_token", "[UNK]")
    if unknown not in numbers:
        count = f"{len(pieces):,} lines of this file"
        raise ValueError(f"{path}: there is no {unknown} among the {count}")
    prefix = settings.word("wordpieces_prefix", "##")
    model = models.WordPiece(
        vocab=numbers,
        unk_token=unknown,
        max_input_chars_per_word=100,
        continuing_subword_prefix=prefix,
    )
    made = bert(model, lower=_lowers(settings, pieces))
    made.normalizer = normalizers.BertNormalizer(
        clean_text=bool(settings.flag("clean_text", True)),
        handle_chinese_chars=bool(settings.flag("tokenize_chinese_chars", True)),
        strip_accents=settings.flag("strip_accents", None),
        lowercase=_lowers(settings, pieces),
    )
    made.decoder = decoders.WordPiece(prefix=prefix)
    return add_tokens(made, settings)


def _lowers(settings: Settings, pieces: list[str]) -> bool:
    told = settings.flag("do_lower_case", True if settings.family else None)
    if told is not None:
        return told
    return all(piece == piece.lower() for piece in pieces if not piece.startswith("["))


def _check_never_split(settings: Settings) -> None:
    """Raises ValueError for words that would be exempt from BERT's division into words."""
    if settings.flag("do_basic_tokenize", True) is False:
        raise ValueError(
            f"{settings.path}: do_basic_tokenize is false, and a vocab.txt is always read with "
            "BERT's division into words; save the tokenizer as tokenizer.json"
        )
    names = {token.content for token in settings.added.values()} | set(settings.special)
    for word in settings.config.get("never_split") or []:
        if word not in names and word not in NAMES:
            raise ValueError(
                f"{settings.path}: never_split has {word!r}, which is not an added token; name it "
                "in added_tokens_decoder instead"
            )


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
    settings = read_settings(vocab, "bytes", _object)
    made = byte_level(models.BPE(vocab=pieces, merges=_merges(merges, pieces)))
    prefix = bool(settings.flag("add_prefix_space", False))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    return add_tokens(with_specials(made, [n for n in NAMES if n in pieces]), settings)


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


def from_model(path: Path) -> Library:
    """SentencePiece's .model, with what the files beside it say."""
    settings = read_settings(path, "sentencepiece", _object)
    return add_tokens(from_sentencepiece(path, settings), settings)


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
