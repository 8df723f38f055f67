"""SentencePiece models as tokenizers of the `tokenizers` library."""

from collections import defaultdict
from pathlib import Path
from typing import Any

from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Library

from selfwise.data.tokenizer_roles import NAMES
from selfwise.data.tokenizer_train import with_specials
from selfwise.data.tokenizer_words import SPACE

UNIGRAM, BPE = 1, 2  # TrainerSpec.ModelType
NORMAL, UNKNOWN, CONTROL, USER = 1, 2, 3, 4  # SentencePiece.Type


def from_sentencepiece(path: Path) -> Library:
    """A Unigram or BPE model, with its own normaliser.

    Raises ValueError for a damaged file, for word and character models, for models that write the
    space behind a word, and for BPE models with symbols of several characters of the user's own.
    """
    proto = _parse(path)
    kind = proto.trainer_spec.model_type
    if kind not in (UNIGRAM, BPE):
        raise ValueError(f"{path}: only Unigram and BPE models of SentencePiece can be read")
    if proto.trainer_spec.treat_whitespace_as_suffix:
        raise ValueError(f"{path}: models that write the space behind a word cannot be read")
    made = Library(_unigram(proto) if kind == UNIGRAM else _bpe(proto))
    if kind == BPE and any(p.type == USER and len(p.piece) > 1 for p in proto.pieces):
        raise ValueError(f"{path}: BPE models with the user's own symbols cannot be read")
    # pieces that span words need the whole text at once
    across = any(SPACE in piece.piece.lstrip(SPACE) for piece in proto.pieces)
    spec = proto.normalizer_spec
    scheme = "always" if spec.add_dummy_prefix and spec.remove_extra_whitespaces else "never"
    made.normalizer = _normalizer(spec)
    made.pre_tokenizer = pre_tokenizers.Metaspace(
        replacement=SPACE, prepend_scheme=scheme, split=not across
    )
    prefix = "always" if spec.add_dummy_prefix else "never"
    back = decoders.Metaspace(replacement=SPACE, prepend_scheme=prefix)
    made.decoder = decoders.Sequence([decoders.ByteFallback(), back])
    names = [piece.piece for piece in proto.pieces if piece.type in (UNKNOWN, CONTROL)]
    with_specials(made, [*names, *NAMES])
    return made


def _parse(path: Path) -> Any:
    from google.protobuf.message import DecodeError
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]
    try:
        proto.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise ValueError(f"{path}: not a SentencePiece model, or damaged ({error})") from error
    if not any(piece.type == UNKNOWN for piece in proto.pieces):
        raise ValueError(f"{path}: not a SentencePiece model, or damaged (no unknown piece)")
    return proto


def _unigram(proto: Any) -> models.Unigram:
    best = max(piece.score for piece in proto.pieces if piece.type == NORMAL)
    pieces = [(piece.piece, _score(piece, best)) for piece in proto.pieces]
    return models.Unigram(pieces, proto.trainer_spec.unk_id, proto.trainer_spec.byte_fallback)


def _score(piece: Any, best: float) -> float:
    """A symbol that the user defined always wins, as SentencePiece's own lattice has it."""
    return len(piece.piece.encode()) * best - 0.1 if piece.type == USER else piece.score


def _bpe(proto: Any) -> models.BPE:
    """The merges are not in the file: every division of a piece into two others is one.

    They are done in the order of the merged piece's score; among divisions of one piece, in the
    order of the parts' numbers.
    """
    numbers = {piece.piece: i for i, piece in enumerate(proto.pieces)}
    scores = {piece.piece: piece.score for piece in proto.pieces}
    made: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for piece in numbers:
        for cut in range(1, len(piece)):
            if piece[:cut] in numbers and piece[cut:] in numbers:
                made[piece].append((piece[:cut], piece[cut:]))
    order = sorted(made, key=lambda piece: (-scores[piece], numbers[piece]))
    merges = [
        pair
        for piece in order
        for pair in sorted(made[piece], key=lambda p: (numbers[p[0]], numbers[p[1]]))
    ]
    return models.BPE(
        vocab=numbers,
        merges=merges,
        unk_token=proto.pieces[proto.trainer_spec.unk_id].piece,
        fuse_unk=True,
        byte_fallback=proto.trainer_spec.byte_fallback,
    )


def _normalizer(spec: Any) -> normalizers.Normalizer | None:
    parts: list[Any] = []
    if spec.precompiled_charsmap:
        parts.append(normalizers.Precompiled(spec.precompiled_charsmap))
    if spec.remove_extra_whitespaces:
        parts += [normalizers.Replace(Regex(" {2,}"), " "), normalizers.Strip()]
    elif spec.add_dummy_prefix:  # even before a space
        parts.append(normalizers.Prepend(" "))
    return normalizers.Sequence(parts) if parts else None
