"""Tokenizers trained on a corpus: WordPiece, byte-level BPE, Unigram, characters."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np

from selfwise.tokenizers.cached_encode import (
    EVERY_CHARACTER,
    SPACE,
    WORD_PATTERN,
    lower_text,
)
from selfwise.tokenizers.library import (
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    tokenizers,
    trainers,
)
from selfwise.tokenizers.special_tokens import BERT, ROBERTA, WORDS_SPECIAL

MAX_TRAINING_BYTES = {
    "wordpiece": 2**26,
    "bpe": 2**26,
    "unigram": 2**24,
}  # bytes of text to learn from
BLOCK_CHARACTERS = 2**16  # characters that are used or left out together
MAX_ALPHABET = (
    1000  # characters of a WordPiece or Unigram vocabulary at most, as in tokenizers' own
)
MIN_COUNT = 2  # of a pair of pieces that is merged
MIN_WORD_COUNT = 5  # of a word (word2vec.c)
WORD = re.compile(WORD_PATTERN)


def train_wordpiece(texts: Iterable[str], vocab: int, *, lower: bool) -> "tokenizers.Tokenizer":
    """BERT's (arXiv:1810.04805): normalizer, white space, punctuation and Chinese characters."""
    untrained = build_wordpiece(models.WordPiece(unk_token="[UNK]"), lower=lower)
    sample = list(texts)
    alphabet = _choose_alphabet(sample, untrained.normalizer, min(MAX_ALPHABET, vocab // 4))
    # The library numbers the characters inside words in the order of a hash map, which is another
    # one in every process, and breaks ties between merges by these numbers. So they are given.
    inside = [f"##{c}" for c in alphabet if _can_continue(c, untrained)]
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab,
        min_frequency=MIN_COUNT,
        special_tokens=[*BERT, *inside],
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        show_progress=False,
    )
    learner = build_wordpiece(models.WordPiece(unk_token="[UNK]"), lower=lower)
    learner.train_from_iterator(sample, trainer)
    pieces = learner.get_vocab(with_added_tokens=True)
    return build_wordpiece(models.WordPiece(vocab=pieces, unk_token="[UNK]"), lower=lower)


def build_wordpiece(model: "models.Model", *, lower: bool) -> "tokenizers.Tokenizer":
    """Return a WordPiece model with what BERT does before and after it."""
    library = tokenizers.Tokenizer(model)
    library.normalizer = normalizers.BertNormalizer(lowercase=lower)
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    library.decoder = decoders.WordPiece()
    return add_special_tokens(library, BERT)


def train_bpe(texts: Iterable[str], vocab: int, *, lower: bool) -> "tokenizers.Tokenizer":
    """Byte-level BPE as in GPT-2 and RoBERTa (arXiv:1907.11692): no text is unknown to it."""
    library = build_byte_level(models.BPE())
    library.normalizer = normalizers.Lowercase() if lower else None
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        min_frequency=MIN_COUNT,
        special_tokens=list(ROBERTA),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    library.train_from_iterator(texts, trainer)
    return add_special_tokens(library, ROBERTA)


def build_byte_level(model: "models.Model") -> "tokenizers.Tokenizer":
    """Return a BPE model with GPT-2's division into words before it."""
    library = tokenizers.Tokenizer(model)
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    return library


def train_unigram(texts: Iterable[str], vocab: int, *, lower: bool) -> "tokenizers.Tokenizer":
    """Unigram (arXiv:1804.10959) with the text normalized as for ALBERT (arXiv:1909.11942)."""
    trainer = trainers.UnigramTrainer(
        vocab_size=vocab,
        special_tokens=list(BERT),
        unk_token="[UNK]",
        show_progress=False,
    )
    learner = _build_unigram(models.Unigram(), lower=lower)
    learner.train_from_iterator(texts, trainer)
    vocab_scores = json.loads(learner.to_str())["model"]["vocab"]
    scores = _settle_scores({piece: score for piece, score in vocab_scores if piece not in BERT})
    order = sorted(scores, key=lambda piece: (-scores[piece], piece))
    pieces = [*((name, 0.0) for name in BERT), *((piece, scores[piece]) for piece in order)]
    return add_special_tokens(
        _build_unigram(models.Unigram(pieces, BERT.index("[UNK]")), lower=lower), BERT
    )


def _settle_scores(scores: dict[str, float]) -> dict[str, float]:
    """Return scores that are the same in every process.

    The library adds counts in the order of a hash map, which is another one each time, so the last
    digits differ. Characters too rare to be a piece get scores 0.0001 apart just above the lowest,
    in that order, too; here they get them in the order of their code points.
    """
    low, step = min(scores.values()), 1e-4
    single = [piece for piece in scores if len(piece) == 1]
    rare = sorted(p for p in single if scores[p] <= low + step * (len(single) + 1))
    rest = {piece: round(score, 6) for piece, score in scores.items()}
    return rest | {piece: round(low + step * i, 6) for i, piece in enumerate(rare, start=1)}


def _build_unigram(model: "models.Model", *, lower: bool) -> "tokenizers.Tokenizer":
    library = tokenizers.Tokenizer(model)
    quotes = [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
    case = [normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()]
    library.normalizer = normalizers.Sequence(
        [
            *quotes,
            *(case if lower else [normalizers.NFKC()]),
            normalizers.Replace(tokenizers.Regex(r"\s+"), " "),
            normalizers.Strip(),
        ]
    )
    library.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="always")
    library.decoder = decoders.Metaspace(replacement=SPACE, prepend_scheme="always")
    return library


def build_character_tokenizer(
    texts: Iterable[str], vocab: int | None, *, lower: bool
) -> "tokenizers.Tokenizer":
    """Return one token for each Unicode character, sorted; above `vocab` the rarest are left
    out."""
    counts = _count_points(texts, lower=lower)
    points = np.flatnonzero(counts)
    room = len(points) if vocab is None else max(vocab - len(BERT), 0)
    frequent = np.sort(points[np.lexsort([points, -counts[points]])][:room])
    pieces = {name: i for i, name in enumerate([*BERT, *map(chr, frequent)])}
    library = tokenizers.Tokenizer(models.WordLevel(pieces, unk_token="[UNK]"))
    library.normalizer = normalizers.Lowercase() if lower else None
    library.pre_tokenizer = pre_tokenizers.Split(
        tokenizers.Regex(EVERY_CHARACTER), behavior="isolated"
    )
    library.decoder = decoders.Fuse()
    return add_special_tokens(library, BERT)


def train_words(
    texts: Iterable[str], vocab: int | None, *, min_count: int
) -> "tokenizers.Tokenizer":
    """Return one token for each word in lower case that occurs `min_count` times, the most frequent
    first.

    A word is a run of letters, digits and underscores, with apostrophes inside (don't). Everything
    else is left out of the text, as in the corpora of word2vec. There are no special tokens but
    [PAD] and [UNK], since nothing is put around a text.
    """
    counts: Counter[str] = Counter()
    for block in _join_blocks(texts):
        counts.update(WORD.findall(lower_text(block)))
    frequent = [word for word, count in counts.items() if count >= min_count]
    frequent.sort(key=lambda word: (-counts[word], word))
    room = None if vocab is None else max(vocab - len(WORDS_SPECIAL), 0)
    names = [*WORDS_SPECIAL, *frequent[:room]]
    library = tokenizers.Tokenizer(
        models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="[UNK]")
    )
    library.normalizer = normalizers.Lowercase()
    library.pre_tokenizer = pre_tokenizers.Split(
        tokenizers.Regex(WORD_PATTERN), behavior="removed", invert=True
    )
    return add_special_tokens(library, WORDS_SPECIAL)


def add_special_tokens(
    library: "tokenizers.Tokenizer", names: Iterable[str]
) -> "tokenizers.Tokenizer":
    """Declare special tokens, and puts the first and the last around a text where one asks."""
    present = [name for name in names if library.token_to_id(name) is not None]
    # as in RoBERTa: a mask takes the space before it along
    library.add_special_tokens(
        [tokenizers.AddedToken(n, lstrip=n == "<mask>", special=True) for n in present]
    )
    first, last = ("<s>", "</s>") if "<s>" in present else ("[CLS]", "[SEP]")
    if first in present and last in present:
        ids = [(name, library.token_to_id(name)) for name in (first, last)]
        two = f"{last} {last} $B" if first == "<s>" else f"{last} $B:1"
        tail = last if first == "<s>" else f"{last}:1"
        library.post_processor = processors.TemplateProcessing(
            single=f"{first} $A {last}", pair=f"{first} $A {two} {tail}", special_tokens=ids
        )
    return library


class TextSample:
    """Even, deterministic, and bounded: of a stream of any length, every 2^k-th block of text.

    Blocks stay until they are more than `most` bytes; then every second block is dropped, and
    from there on only every second block is used.
    """

    def __init__(self, max_bytes: int):
        self.max_bytes, self.every = max_bytes, 1
        self.blocks: list[str] = []
        self.size = self.total_bytes = self._number = 0

    def fill(self, texts: Iterable[str]) -> "TextSample":
        """Read the whole stream."""
        for block in _join_blocks(texts):
            size = len(block) if block.isascii() else len(block.encode("utf-8", "replace"))
            self.total_bytes += size
            if self._number % self.every == 0:
                self.blocks.append(block)
                self.size += size
            self._number += 1
            while self.size > self.max_bytes and len(self.blocks) > 1:
                self.blocks, self.every = self.blocks[::2], 2 * self.every
                self.size = sum(len(b.encode("utf-8", "replace")) for b in self.blocks)
        return self


def _join_blocks(texts: Iterable[str], between: str = "\n\n") -> Iterator[str]:
    """Cut long texts into blocks; join short ones with blank lines."""
    waiting: list[str] = []
    size = 0
    for text in texts:
        for block in _cut_text(text):
            waiting.append(block)
            size += len(block)
            if size >= BLOCK_CHARACTERS or len(block) < len(text):  # parts of a text stay apart
                yield between.join(waiting)
                waiting, size = [], 0
    if waiting:
        yield between.join(waiting)


def _cut_text(text: str) -> Iterator[str]:
    """Cut a text into blocks, before white space where there is any, so that words stay whole.

    A block has at most `BLOCK_CHARACTERS` characters.
    """
    start = 0
    while (end := start + BLOCK_CHARACTERS) < len(text):
        space = max(text.rfind(character, start, end + 1) for character in " \n\t")
        end = space if space > start else end
        yield text[start:end]
        start = end
    if start < len(text):
        yield text[start:]


def _count_points(texts: Iterable[str], *, lower: bool) -> np.ndarray:
    """Return how often each of Unicode's characters occurs."""
    counts = np.zeros(0x110000, dtype=np.int64)
    for block in _join_blocks(texts, ""):
        text = lower_text(block) if lower else block
        points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        part = np.bincount(points)
        counts[: len(part)] += part
    return counts


def _choose_alphabet(
    sample: Iterable[str], normalizer: "normalizers.Normalizer", max_characters: int
) -> list[str]:
    """Return the most frequent characters after normalizing, sorted; ties go to the lower code
    point."""
    raw = _count_points(sample, lower=False)
    counts: dict[str, int] = {}
    for point in np.flatnonzero(raw):
        if 0xD800 <= point < 0xE000:  # half a character: no text has it
            continue
        for c in normalizer.normalize_str(chr(point)).replace(" ", ""):
            counts[c] = counts.get(c, 0) + int(raw[point])
    return sorted(sorted(counts, key=lambda c: (-counts[c], c))[:max_characters])


def _can_continue(c: str, library: "tokenizers.Tokenizer") -> bool:
    """Return whether a character can be inside a word: Chinese ones and punctuation cannot."""
    text = library.normalizer.normalize_str(f"a{c}")
    return len(library.pre_tokenizer.pre_tokenize_str(text)) == 1
