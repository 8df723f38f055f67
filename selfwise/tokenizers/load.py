"""Published tokenizers from their files."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from selfwise.core.memory_limit import check_size
from selfwise.core.own_files import read_own
from selfwise.core.plain_data import parse_json, require_mapping
from selfwise.tokenizers.hf_settings import TokenizerSettings, add_tokens, read_settings
from selfwise.tokenizers.library import decoders, models, normalizers, pre_tokenizers, tokenizers
from selfwise.tokenizers.sentencepiece import from_sentencepiece
from selfwise.tokenizers.special_tokens import NAMES
from selfwise.tokenizers.train import add_special_tokens, build_byte_level, build_wordpiece
from selfwise.tokenizers.trial import check_description, check_ids, try_tokenizer

FORMS = (
    "a tokenizer.json, a vocab.txt, a vocab.json with merges.txt, an encoder.json with vocab.bpe, "
    "a SentencePiece .model, or a folder that holds one of these"
)
MERGE_FILES = {
    "vocab.json": "merges.txt",
    "encoder.json": "vocab.bpe",
}  # GPT-2 had other names first
PANIC = "PanicException"  # of Rust in Python; only its name tells it from other BaseExceptions
TEXT_FACTOR = 8  # bytes of JSON in memory for one of its text, as a rule
FILE_NAMES = ("tokenizer.json", "vocab.txt", *MERGE_FILES)


def read_tokenizer(path: Path) -> "tokenizers.Tokenizer":
    """Return the tokenizer in a file or folder. Raises ValueError for what is none, and says
    why."""
    if path.is_dir():
        path = _find_in_folder(path)
    if not path.is_file():
        raise ValueError(f"{path} does not exist; a tokenizer is {FORMS}")
    form = _choose_reader(path)
    try:
        library = form(path)
    except ValueError:
        raise
    except Exception as error:  # the library raises nothing more specific
        raise ValueError(f"{path}: cannot be read as a tokenizer ({_one_line(error)})") from error
    except BaseException as error:
        if type(error).__name__ != PANIC:
            raise
        raise ValueError(f"{path}: cannot be read as a tokenizer ({_one_line(error)})") from error
    if form is not from_json:  # which tries the file itself first
        try_tokenizer(library.to_str(), path)
    if not library.get_vocab_size(with_added_tokens=True):
        raise ValueError(f"{path}: the tokenizer has no pieces")
    return library


def _find_in_folder(folder: Path) -> Path:
    for name in FILE_NAMES:
        if (folder / name).is_file():
            return folder / name
    model_files = sorted(folder.glob("*.model"))
    if len(model_files) == 1:
        return model_files[0]
    raise ValueError(f"{folder}: this folder contains no tokenizer; expected {FORMS}")


def _choose_reader(path: Path) -> "Callable[[Path], tokenizers.Tokenizer]":
    if path.name in MERGE_FILES or path.name in MERGE_FILES.values():
        return from_merges
    if path.suffix == ".json":
        return from_json
    if path.suffix == ".txt":
        return from_wordpieces
    if path.suffix == ".model":
        return from_sentencepiece_file
    raise ValueError(f"{path}: this is not the name of a tokenizer file; expected {FORMS}")


def from_json(path: Path) -> "tokenizers.Tokenizer":
    """Return the tokenizers library's own file."""
    text = _read_text(path)
    check_description(parse_json(text, path), path)
    try_tokenizer(text, path)
    library = tokenizers.Tokenizer.from_str(text)
    if getattr(library.model, "dropout", None):
        raise ValueError(
            f"{path}: this tokenizer divides text at random (dropout {library.model.dropout}), "
            "but selfwise needs one division of each text into pieces; set its dropout to null"
        )
    library.no_truncation()
    library.no_padding()
    return library


def from_wordpieces(path: Path) -> "tokenizers.Tokenizer":
    """BERT's vocab.txt: a piece a line, its number the line's.

    A `tokenizer_config.json` in its folder has the normalization of text; without this file, a
    vocabulary without a capital letter is of lower-cased text.

    Raises ValueError for a piece that occurs twice, a vocabulary without [UNK], and settings that
    are not understood.
    """
    settings = read_settings(path, "wordpiece", _read_object)
    _check_never_split(settings)
    lines = _read_text(path).split("\n")
    pieces = [line.removesuffix("\r") for line in (lines[:-1] if lines[-1] == "" else lines)]
    numbers: dict[str, int] = {}
    for i, piece in enumerate(pieces):
        if piece in numbers:
            raise ValueError(
                f"{path}, line {i + 1}: {piece!r} is already line {numbers[piece] + 1}"
            )
        numbers[piece] = i
    unknown = settings.read_word("unk_token", "[UNK]")
    if unknown not in numbers:
        count = f"{len(pieces):,} lines of this file"
        raise ValueError(f"{path}: there is no {unknown} among the {count}")
    prefix = settings.read_word("wordpieces_prefix", "##")
    model = models.WordPiece(
        vocab=numbers,
        unk_token=unknown,
        max_input_chars_per_word=100,
        continuing_subword_prefix=prefix,
    )
    library = build_wordpiece(model, lower=_is_lower_cased(settings, pieces))
    library.normalizer = normalizers.BertNormalizer(
        clean_text=bool(settings.read_flag("clean_text", True)),
        handle_chinese_chars=bool(settings.read_flag("tokenize_chinese_chars", True)),
        strip_accents=settings.read_flag("strip_accents", None),
        lowercase=_is_lower_cased(settings, pieces),
    )
    library.decoder = decoders.WordPiece(prefix=prefix)
    return add_tokens(library, settings)


def _is_lower_cased(settings: TokenizerSettings, pieces: list[str]) -> bool:
    declared = settings.read_flag("do_lower_case", True if settings.family else None)
    if declared is not None:
        return declared
    return all(piece == piece.lower() for piece in pieces if not piece.startswith("["))


def _check_never_split(settings: TokenizerSettings) -> None:
    """Raise ValueError for words that would be exempt from BERT's division into words."""
    if settings.read_flag("do_basic_tokenize", True) is False:
        raise ValueError(
            f"{settings.path}: do_basic_tokenize is false, but selfwise always reads a vocab.txt "
            "with BERT's division into words; save the tokenizer as tokenizer.json"
        )
    names = {token.content for token in settings.added.values()} | set(settings.special)
    for word in settings.config.get("never_split") or []:
        if word not in names and word not in NAMES:
            raise ValueError(
                f"{settings.path}: never_split has {word!r}, which is not an added token; name it "
                "in added_tokens_decoder instead"
            )


def from_merges(path: Path) -> "tokenizers.Tokenizer":
    """Byte-level BPE of GPT-2 and RoBERTa: a json of pieces, with a text file of merges.

    Raises ValueError if one of the two is missing and for a vocabulary that is not of bytes.
    """
    names = next(pair for pair in MERGE_FILES.items() if path.name in pair)
    vocab, merges = (path.with_name(name) for name in names)
    for file, other in ((vocab, merges), (merges, vocab)):
        if not file.is_file():
            raise ValueError(f"{other}: {file.name} must be in the same folder, and is missing")
    pieces = dict(_read_object(vocab))
    if not pieces or not all(isinstance(i, int) for i in pieces.values()):
        raise ValueError(f"{vocab}: expected an object with pieces and their ids")
    check_ids(pieces, vocab)
    if "Ġ" not in pieces:
        raise ValueError(f"{vocab}: this is not a byte-level vocabulary; there is no piece 'Ġ'")
    settings = read_settings(vocab, "bytes", _read_object)
    library = build_byte_level(models.BPE(vocab=pieces, merges=_read_merges(merges, pieces)))
    prefix = bool(settings.read_flag("add_prefix_space", False))
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    return add_tokens(add_special_tokens(library, [n for n in NAMES if n in pieces]), settings)


def _read_merges(path: Path, pieces: dict[str, int]) -> list[tuple[str, str]]:
    merges = []
    for i, line in enumerate(_read_text(path).split("\n")):
        line = line.removesuffix("\r")
        if not line or (i == 0 and line.startswith("#version")):
            continue
        first, _, second = line.partition(" ")
        if first + second not in pieces or first not in pieces or second not in pieces:
            raise ValueError(
                f"{path}, line {i + 1}: {line!r} does not join two pieces into a third"
            )
        merges.append((first, second))
    return merges


def from_sentencepiece_file(path: Path) -> "tokenizers.Tokenizer":
    """Read SentencePiece's .model, with the settings in the files next to it."""
    settings = read_settings(path, "sentencepiece", _read_object)
    return add_tokens(from_sentencepiece(path, settings), settings)


def _read_text(path: Path) -> str:
    check_size(path, TEXT_FACTOR * path.stat().st_size)
    try:
        return read_own(path).decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 at byte {error.start:,}") from error


def _read_object(path: Path) -> Mapping[str, Any]:
    return require_mapping(parse_json(_read_text(path), path), path)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
