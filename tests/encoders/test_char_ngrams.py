"""Character n-grams of words: which there are (arXiv:1607.04606, section 3.2), and their rows."""

import pytest

from selfwise.encoders.char_ngrams import hash_ngram, hash_words, list_ngrams


def test_the_ngrams_of_where_are_those_of_the_paper():
    assert list_ngrams("where", 3, 3) == ["<wh", "whe", "her", "ere", "re>"]


def test_ngrams_have_three_to_six_characters_and_the_ends_count():
    assert list_ngrams("at", 3, 6) == ["<at", "<at>", "at>"]
    assert {len(one) for one in list_ngrams("straße", 3, 6)} == {3, 4, 5, 6}
    assert len(list_ngrams("straße", 3, 6)) == 6 + 5 + 4 + 3


def test_the_hash_is_fnv_1a():
    # the published values of FNV-1a, 32 bits
    assert hash_ngram("") == 0x811C9DC5
    assert hash_ngram("a") == 0xE40C292C
    assert hash_ngram("foobar") == 0xBF9CF968


@pytest.mark.parametrize("ngram", ["<wh", "ere", "ß>", "日本", "naïv"])
def test_hashes_are_those_of_a_loop_over_signed_bytes(ngram):
    value = 2166136261
    for byte in ngram.encode():
        signed = byte - 256 if byte > 127 else byte
        value = ((value ^ (signed % 2**32)) * 16777619) % 2**32
    assert hash_ngram(ngram) == value


@pytest.mark.parametrize("ngram", ["<wh", "ere", "ß>", "日本", "naïv"])
def test_hashes_are_those_of_gensim(ngram):
    theirs = pytest.importorskip("gensim.models.fasttext_inner")
    assert hash_ngram(ngram) == theirs.ft_hash_bytes(ngram.encode())


def test_every_word_has_its_rows_and_special_tokens_have_none():
    rows, starts = hash_words(["[PAD]", "at", "cat"], (0,), buckets=97, shortest=3, longest=6)
    assert starts.tolist() == [0, 0, 3, 9]
    words = [list_ngrams(word, 3, 6) for word in ("at", "cat")]
    expected = [hash_ngram(one) % 97 for one in [*words[0], *words[1]]]
    assert rows.tolist() == expected
