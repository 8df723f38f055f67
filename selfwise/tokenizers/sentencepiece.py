"""SentencePiece models as tokenizers of the `tokenizers` library."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from math import isfinite
from pathlib import Path
from typing import Protocol, runtime_checkable

from selfwise.core.extras import check_extra
from selfwise.core.memory_limit import check_size
from selfwise.tokenizers.cached_encode import SPACE
from selfwise.tokenizers.hf_settings import TokenizerSettings
from selfwise.tokenizers.library import decoders, models, normalizers, pre_tokenizers, tokenizers
from selfwise.tokenizers.special_tokens import NAMES
from selfwise.tokenizers.train import add_special_tokens

FILE_FACTOR = 20  # bytes of a model in memory for one of its file, as a rule
UNIGRAM, BPE = 1, 2  # TrainerSpec.ModelType
NORMAL, UNKNOWN, CONTROL, USER = 1, 2, 3, 4  # SentencePiece.Type


@runtime_checkable
class PieceProto(Protocol):
    """SentencePiece of sentencepiece_model.proto."""

    piece: str
    score: float
    type: int

    @classmethod
    def FromString(cls, content: bytes) -> "PieceProto": ...

    def SerializeToString(self) -> bytes: ...


@runtime_checkable
class PieceList(Protocol):
    """A repeated field of pieces."""

    def __iter__(self) -> Iterator[PieceProto]: ...

    def __getitem__(self, index: int) -> PieceProto: ...

    def __delitem__(self, items: slice) -> None: ...

    def add(self, *, piece: str, score: float, type: int) -> PieceProto: ...

    def extend(self, pieces: Iterable[PieceProto]) -> None: ...


@runtime_checkable
class TrainerSpec(Protocol):
    """The training settings of a model that determine the ids."""

    model_type: int
    treat_whitespace_as_suffix: bool
    unk_id: int
    byte_fallback: bool


@runtime_checkable
class NormalizerSpec(Protocol):
    """The changes to a text before its division."""

    add_dummy_prefix: bool
    remove_extra_whitespaces: bool
    precompiled_charsmap: bytes


@runtime_checkable
class ModelProto(Protocol):
    """A SentencePiece model, as sentencepiece_model.proto has it."""

    pieces: PieceList
    trainer_spec: TrainerSpec
    normalizer_spec: NormalizerSpec


def from_sentencepiece(path: Path, settings: TokenizerSettings) -> "tokenizers.Tokenizer":
    """Return a Unigram or BPE model, with its own normalizer and what its class does before it.

    Raises ValueError for a damaged file, for word and character models, for models that write the
    space behind a word, and for BPE models with symbols of several characters of the user's own.
    """
    proto = _read_proto(path)
    if settings.family == "XLMRoberta":
        _renumber(proto)
    kind = proto.trainer_spec.model_type
    if kind not in (UNIGRAM, BPE):
        raise ValueError(f"{path}: only Unigram and BPE models of SentencePiece can be read")
    if proto.trainer_spec.treat_whitespace_as_suffix:
        raise ValueError(f"{path}: models that write the space behind a word cannot be read")
    library = tokenizers.Tokenizer(_build_unigram(proto) if kind == UNIGRAM else _build_bpe(proto))
    if kind == BPE and any(p.type == USER and len(p.piece) > 1 for p in proto.pieces):
        raise ValueError(f"{path}: BPE models with the user's own symbols cannot be read")
    # pieces that span words need the whole text at once
    across = any(SPACE in piece.piece.lstrip(SPACE) for piece in proto.pieces)
    spec = proto.normalizer_spec
    prefix_flags = [
        settings.read_flag(name, True) for name in ("add_prefix_space", "add_dummy_prefix")
    ]
    spec.add_dummy_prefix = spec.add_dummy_prefix and all(prefix_flags)
    scheme = "always" if spec.add_dummy_prefix and spec.remove_extra_whitespaces else "never"
    library.normalizer = _build_normalizer(spec, _build_class_normalizers(settings))
    library.pre_tokenizer = pre_tokenizers.Metaspace(
        replacement=SPACE, prepend_scheme=scheme, split=not across
    )
    prefix = "always" if spec.add_dummy_prefix else "never"
    back = decoders.Metaspace(replacement=SPACE, prepend_scheme=prefix)
    library.decoder = decoders.Sequence([decoders.ByteFallback(), back])
    names = [piece.piece for piece in proto.pieces if piece.type in (UNKNOWN, CONTROL)]
    add_special_tokens(library, [*names, *NAMES])
    return library


def _read_proto(path: Path) -> ModelProto:
    check_extra("text")
    from google.protobuf.message import DecodeError
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]
    try:
        check_size(path, FILE_FACTOR * path.stat().st_size)
        proto.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise ValueError(f"{path}: not a SentencePiece model, or damaged ({error})") from error
    if not all(isfinite(piece.score) for piece in proto.pieces):
        raise ValueError(f"{path}: not a SentencePiece model, or damaged (a score is not finite)")
    if not any(piece.type == UNKNOWN for piece in proto.pieces):
        raise ValueError(f"{path}: not a SentencePiece model, or damaged (no unknown piece)")
    return proto


def _build_unigram(proto: ModelProto) -> "models.Unigram":
    best = max((piece.score for piece in proto.pieces if piece.type == NORMAL), default=0.0)
    pieces = [(piece.piece, _piece_score(piece, best)) for piece in proto.pieces]
    return models.Unigram(pieces, proto.trainer_spec.unk_id, proto.trainer_spec.byte_fallback)


def _piece_score(piece: PieceProto, best: float) -> float:
    """Return a symbol that the user defined always wins, as SentencePiece's own lattice has it."""
    return len(piece.piece.encode()) * best - 0.1 if piece.type == USER else piece.score


def _build_bpe(proto: ModelProto) -> "models.BPE":
    """Build the merges, which are not in the file: every division of a piece into two others is
    one.

    They are done in the order of the merged piece's score; among divisions of one piece, in the
    order of the parts' numbers.
    """
    numbers = {piece.piece: i for i, piece in enumerate(proto.pieces)}
    joined = {piece.piece for piece in proto.pieces if piece.type in (NORMAL, USER)}
    scores = {piece.piece: piece.score for piece in proto.pieces}
    divisions: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for piece in joined:
        for cut in range(1, len(piece)):
            if piece[:cut] in joined and piece[cut:] in joined:
                divisions[piece].append((piece[:cut], piece[cut:]))
    order = sorted(divisions, key=lambda piece: (-scores[piece], numbers[piece]))
    merges = [
        pair
        for piece in order
        for pair in sorted(divisions[piece], key=lambda p: (numbers[p[0]], numbers[p[1]]))
    ]
    return models.BPE(
        vocab=numbers,
        merges=merges,
        unk_token=proto.pieces[proto.trainer_spec.unk_id].piece,
        fuse_unk=True,
        byte_fallback=proto.trainer_spec.byte_fallback,
    )


def _renumber(proto: ModelProto) -> None:
    """XLM-R's ids are fairseq's: four special tokens first, and the mask behind all pieces."""
    pieces = list(proto.pieces)
    names = [piece.piece for piece in pieces]
    rest = [p for p, name in zip(pieces, names) if name not in ("<unk>", "<s>", "</s>", "<pad>")]
    copies = [type(piece).FromString(piece.SerializeToString()) for piece in rest]
    del proto.pieces[:]
    for name in ("<s>", "<pad>", "</s>", "<unk>"):
        proto.pieces.add(piece=name, score=0.0, type=UNKNOWN if name == "<unk>" else CONTROL)
    proto.pieces.extend(copies)
    proto.pieces.add(piece="<mask>", score=0.0, type=CONTROL)
    proto.trainer_spec.unk_id = 3


def _build_class_normalizers(settings: TokenizerSettings) -> "list[normalizers.Normalizer]":
    """Build the changes that ALBERT's tokenizer makes before SentencePiece reads a text."""
    albert = settings.family == "Albert"
    lower = settings.read_flag("do_lower_case", albert)
    if settings.family not in ("", "Albert") and lower:
        raise ValueError(
            f"{settings.path}: do_lower_case needs AlbertTokenizer, since "
            f"{settings.family}Tokenizer never changes the case; remove it"
        )
    parts: "list[normalizers.Normalizer]" = []
    if settings.read_flag("remove_space", albert):
        parts += [normalizers.Replace(tokenizers.Regex(r"\s+"), " "), normalizers.Strip()]
    if albert:
        parts += [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
    if not settings.read_flag("keep_accents", not albert):
        parts += [normalizers.NFKD(), normalizers.StripAccents()]
    return [*parts, normalizers.Lowercase()] if lower else parts


def _build_normalizer(
    spec: NormalizerSpec, before: "list[normalizers.Normalizer]"
) -> "normalizers.Normalizer | None":
    parts = list(before)
    if spec.precompiled_charsmap:
        parts.append(normalizers.Precompiled(spec.precompiled_charsmap))
    if spec.remove_extra_whitespaces:
        parts += [
            normalizers.Replace(tokenizers.Regex(" {2,}"), " "),
            normalizers.Replace(tokenizers.Regex("^ | $"), ""),
        ]
    elif spec.add_dummy_prefix:  # even before a space
        parts.append(normalizers.Prepend(" "))
    return normalizers.Sequence(parts) if parts else None
