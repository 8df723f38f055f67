"""What a tokenizer must do: known ids, beginnings of words, special tokens, nothing lost."""

import random
import subprocess
import sys

import numpy as np
import pytest

from selfwise.tokenizers.cached_encode import encode_with_library
from selfwise.tokenizers.plain_text import remove_special_names
from selfwise.tokenizers.tokenizer import (
    TOKENIZER_KINDS,
    Tokenizer,
    open_tokenizer,
    train_tokenizer,
)
from selfwise.tokenizers.train import BLOCK_CHARACTERS, TextSample

# ruff: noqa: RUF001
RUSSIAN = "Мама мыла раму, а папа читал газету."
MIXED = (
    "The cat's hat — naïve café! " + RUSSIAN + " 今日は天気がいい。 😀👍🏽 e\u0301te\u0301 "
    "don't  stop\x0cpage \x0cfoo\xa0bar\u3000baz [MASK] <mask> x\t\ty\n\nz \x1c q ##s ▁a Ġb\n"
)
CORPUS = [MIXED, "the cat sat on the mat. the hats of cats. " * 40, RUSSIAN * 10]


@pytest.fixture(scope="module")
def made() -> dict[str, Tokenizer]:
    return {
        kind: train_tokenizer(kind, CORPUS, vocab_size=None if kind == "chars" else 420)
        for kind in TOKENIZER_KINDS
    }


def test_official_vocabularies_give_the_known_ids(real_data):
    uncased = Tokenizer.load(real_data / "vocab" / "bert-base-uncased" / "vocab.txt")
    assert uncased.encode(["hello world"])[0].tolist() == [7592, 2088]
    assert uncased.encode(["Héllo WORLD"])[0].tolist() == [7592, 2088]  # lower, accents off
    cased = Tokenizer.load(real_data / "vocab" / "bert-base-cased")
    assert cased.encode(["Hello world"])[0].tolist() == [8667, 1362]
    gpt2 = Tokenizer.load(real_data / "vocab" / "gpt2")
    assert gpt2.encode(["Hello world"])[0].tolist() == [15496, 995]
    roberta = Tokenizer.load(real_data / "vocab" / "roberta-base" / "merges.txt")
    assert roberta.encode(["Hello world"])[0].tolist() == [31414, 232]
    assert uncased.vocabulary[2:] == ((0, 100, 101, 102, 103), 0, 100, 101, 102, 103)
    assert gpt2.vocabulary[2:] == ((50256,), None, None, 50256, 50256, None)
    assert roberta.vocabulary[3:] == (1, 3, 0, 2, 50264)


def test_roles_of_trained_tokenizers_are_those_of_bert_and_roberta(made):
    for kind in ("wordpiece", "unigram", "chars"):
        assert made[kind].vocabulary[2:] == ((0, 1, 2, 3, 4), 0, 1, 2, 3, 4), kind
        assert [made[kind].piece(i) for i in range(5)] == [
            "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]",
        ]  # fmt: skip
    assert made["bpe"].vocabulary[2:] == ((0, 1, 2, 3, 4), 1, 3, 0, 2, 4)
    assert [made["bpe"].piece(i) for i in range(5)] == ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def begun(tokenizer: Tokenizer, text: str) -> list[str]:
    """The text's pieces, put together into what begins with a start."""
    groups: list[str] = []
    for i in tokenizer.encode([text])[0]:
        if tokenizer.vocabulary.starts[i] or not groups:
            groups.append("")
        groups[-1] += tokenizer.piece(int(i)).removeprefix("##")
    return groups


def test_starts_are_the_beginnings_of_words(made):
    text = "tosthe cats, hatmat"
    assert begun(made["wordpiece"], text) == ["tosthe", "cats", ",", "hatmat"]
    assert begun(made["bpe"], text) == ["tosthe", "Ġcats,", "Ġhatmat"]
    assert begun(made["bpe"], "a\nb") == ["a", "Ċb"]
    assert begun(made["unigram"], text) == ["▁tosthe", "▁cats,", "▁hatmat"]
    assert begun(made["chars"], text) == list(text)
    divides = [kind for kind in made if kind != "words"]
    many = [len(made[kind].encode([text])[0]) > len(text.split()) for kind in divides]
    assert all(many), "no word was divided, so nothing was tested"
    for tokenizer in made.values():
        assert tokenizer.vocabulary.starts[list(tokenizer.vocabulary.special)].all()
        assert len(tokenizer.vocabulary.starts) == tokenizer.vocabulary.size


def test_word_by_word_gives_the_ids_of_the_library(made):
    draw = random.Random(0)
    pool = MIXED + " \n\t\r\x0c\xa0\u2003'.,aeB"
    texts = ["".join(draw.choice(pool) for _ in range(draw.randint(0, 60))) for _ in range(1500)]
    texts += ["", " ", "\n", "\xa0", "a\x0c", " a ", MIXED]
    for kind, tokenizer in made.items():
        ids, counts = tokenizer.encode_flat(texts)
        wanted, wanted_counts = encode_with_library(
            remove_special_names(tokenizer.library, tokenizer.vocabulary.special), texts
        )
        assert np.array_equal(counts, wanted_counts), kind
        assert np.array_equal(ids, wanted), kind
        assert type(tokenizer._flat).__name__ in ("WordEncoder", "CharacterEncoder"), kind


def test_forgetting_words_changes_no_id(made, monkeypatch):
    from selfwise.tokenizers import cached_encode

    tokenizer = Tokenizer(made["bpe"].library)
    wanted = tokenizer.encode(CORPUS)
    monkeypatch.setattr(cached_encode, "MAX_WORDS", 3)
    for _ in range(3):
        found = tokenizer.encode(CORPUS)
        assert all(np.array_equal(a, b) for a, b in zip(found, wanted))


def test_characters_and_bytes_lose_nothing(made):
    for kind in ("chars", "bpe"):
        ids = made[kind].encode([MIXED])[0]
        assert made[kind].decode(ids) == MIXED
        assert made[kind].vocabulary.unknown not in ids
    assert len(made["chars"].encode([MIXED])[0]) == len(MIXED)
    unseen = "Ελληνικά 漢 \x00 🦊"
    assert made["bpe"].decode(made["bpe"].encode([unseen])[0]) == unseen
    assert made["chars"].encode(["漢"])[0].tolist() == [made["chars"].vocabulary.unknown]


def test_every_script_goes_through_every_tokenizer(made):
    for kind, tokenizer in made.items():
        ids = tokenizer.encode([RUSSIAN])[0]
        assert tokenizer.vocabulary.unknown not in ids, kind
        words = "мама мыла раму а папа читал газету"
        expected = words if kind == "words" else RUSSIAN
        assert tokenizer.decode(ids).replace(" ", "") == expected.replace(" ", ""), kind
        assert ids.dtype == np.int64


def test_words_are_runs_of_letters_in_lower_case_by_frequency():
    corpus = ["The cat's hat, the CAT -- don't 7x", "the cat's 'hat' [UNK]", "don't"]
    made = train_tokenizer("words", corpus, min_count=2)
    pieces = [made.piece(i) for i in range(made.vocabulary.size)]
    assert pieces == ["[PAD]", "[UNK]", "the", "cat's", "don't", "hat"]
    ids = made.encode(["THE hat's cat's hat! [UNK]"])[0]
    assert [made.piece(int(i)) for i in ids] == ["the", "[UNK]", "cat's", "hat", "[UNK]"]
    assert train_tokenizer("words", corpus, vocab_size=4, min_count=1).id("cat's") == 3
    with pytest.raises(ValueError, match="no word occurs 9 times; a smaller --min-count"):
        train_tokenizer("words", corpus, min_count=9)


def test_special_tokens_in_a_text_are_text_unless_asked_for(made):
    for kind, name in [("wordpiece", "[MASK]"), ("bpe", "<mask>"), ("chars", "[MASK]")]:
        tokenizer = made[kind]
        text = f"the cat {name} sat"
        assert tokenizer.vocabulary.mask not in tokenizer.encode([text])[0], kind
        ids = tokenizer.encode([text], special=True)[0]
        assert (ids == tokenizer.vocabulary.mask).sum() == 1, kind
        again = tokenizer.encode([text, f"a new word{name}"])  # a word that is not remembered
        assert tokenizer.vocabulary.mask not in np.concatenate(again), kind
        assert name not in tokenizer.decode(ids)
        assert name in tokenizer.decode(ids, keep_special=True)


def test_what_is_saved_is_what_is_loaded(made, tmp_path):
    for kind, tokenizer in made.items():
        folder = tmp_path / kind
        folder.mkdir()
        tokenizer.save(folder)
        again = Tokenizer.load(folder)
        assert again.fingerprint == tokenizer.fingerprint
        assert np.array_equal(again.encode([MIXED])[0], tokenizer.encode([MIXED])[0])
        assert again.vocabulary[2:] == tokenizer.vocabulary[2:]
        assert [path.name for path in folder.iterdir()] == ["tokenizer.json"]
    assert len({tokenizer.fingerprint for tokenizer in made.values()}) == len(TOKENIZER_KINDS)


@pytest.mark.run  # a process
def test_the_same_texts_give_the_same_tokenizer_in_every_process(made):
    code = (
        "from tests.tokenizers.test_tokenizer import *\n"
        "sizes = {'chars': None}\n"
        "made = [train_tokenizer(k, CORPUS, vocab_size=sizes.get(k, 420)) "
        "for k in TOKENIZER_KINDS]\n"
        "print(*[tokenizer.fingerprint for tokenizer in made])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == [made[kind].fingerprint for kind in TOKENIZER_KINDS]


def test_lower_case(made):
    for kind in TOKENIZER_KINDS:
        tokenizer = train_tokenizer(
            kind, CORPUS, vocab_size=None if kind == "chars" else 420, lower=True
        )
        upper, lower = tokenizer.encode(["THE CAT", "the cat"])
        assert np.array_equal(upper, lower), kind
        upper, lower = made[kind].encode(["THE CAT", "the cat"])
        assert np.array_equal(upper, lower) == (kind == "words"), kind


def test_the_vocabulary_is_as_large_as_asked_for(made):
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefgh", k=draw.randint(2, 7))) for _ in range(200)]
    texts = [" ".join(draw.choices(words, k=4000))]
    for kind, vocab in [("wordpiece", 150), ("bpe", 400)]:
        assert train_tokenizer(kind, texts, vocab_size=vocab).vocabulary.size == vocab, kind
    assert 90 < train_tokenizer("unigram", texts, vocab_size=120).vocabulary.size <= 120
    few = train_tokenizer("chars", CORPUS, vocab_size=10)
    assert few.vocabulary.size == 10
    assert few.encode(["a"])[0].tolist() != [few.vocabulary.unknown]  # the frequent are kept


def test_a_sample_is_even_and_bounded():
    texts = [f"{i:06d} " * (BLOCK_CHARACTERS // 7 + 1) for i in range(400)]
    most = 50 * BLOCK_CHARACTERS
    sample = TextSample(most).fill(iter(texts))
    assert most // 3 < sample.size <= most
    first = [int(block[:6]) for block in sample.blocks if block[0] in "0"]
    assert max(first) > 350
    gaps = np.diff(sorted(set(first)))
    assert gaps.max() <= 2 * np.median(gaps)
    assert TextSample(most).fill(iter(texts)).blocks == sample.blocks
    told: list[str] = []
    train_tokenizer("bpe", CORPUS * 60, vocab_size=300, max_bytes=2**16, progress=told.append)
    assert len(told) == 1
    assert "sample" in told[0]
    train_tokenizer("bpe", CORPUS, vocab_size=300, progress=told.append)
    assert len(told) == 1


def test_no_word_is_cut_where_a_long_text_is_divided():
    text = "a" + " bcdefgh" * BLOCK_CHARACTERS  # a block's end falls on every place in a word
    made = train_tokenizer("words", [text])
    assert set(made.library.get_vocab()) == {"[PAD]", "[UNK]", "bcdefgh"}
    unbroken = "我们" * BLOCK_CHARACTERS  # no white space
    sample = TextSample(2**30).fill([text, unbroken])
    assert "".join(sample.blocks).replace("\n\n", "") == text + unbroken
    assert max(map(len, sample.blocks)) <= 2 * BLOCK_CHARACTERS


def test_mistakes_are_one_sentence(tmp_path):
    with pytest.raises(ValueError, match="did you mean 'wordpiece'"):
        train_tokenizer("wordpeice", CORPUS)
    with pytest.raises(ValueError, match="no text to train"):
        train_tokenizer("chars", [])
    with pytest.raises(ValueError, match="no text to train"):
        train_tokenizer("bpe", ["  \n"])
    with pytest.raises(ValueError, match="needs 261 tokens, got 100"):
        train_tokenizer("bpe", CORPUS, vocab_size=100)
    with pytest.raises(ValueError, match="whole number"):
        open_tokenizer("bpe:8k", lambda: CORPUS)
    with pytest.raises(ValueError, match="did you mean 'unigram'"):
        open_tokenizer("unigrm", lambda: CORPUS)
    with pytest.raises(ValueError, match="neither a path nor a kind"):
        open_tokenizer(tmp_path / "none.json", lambda: CORPUS)
    assert open_tokenizer("chars", lambda: CORPUS).vocabulary.size > 60
    chars = train_tokenizer("chars", ["ab"])
    with pytest.raises(ValueError, match="7 is not an id"):
        chars.decode([7])
    with pytest.raises(ValueError, match="7 is not an id"):
        chars.piece(7)
    assert chars.id("a") == 5
    assert chars.id("z") is None
