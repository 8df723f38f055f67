"""Bugs that the tests of tokenizers notice."""

from functools import partial

import numpy as np
import pytest

from selfwise.tokenizers import cached_encode
from selfwise.tokenizers.plain_text import remove_special_names
from selfwise.tokenizers.tokenizer import TOKENIZER_KINDS, Tokenizer, train_tokenizer
from tests.helpers.planted import Bug, assert_caught, changed_arguments, changed_output
from tests.tokenizers import test_special_tokens as special
from tests.tokenizers import test_tokenizer as facts


def on_trained(test, kinds=TOKENIZER_KINDS):
    """The tokenizers are trained with the bug in them."""

    def check():
        sizes = {"chars": None}
        made = {k: train_tokenizer(k, facts.CORPUS, vocab_size=sizes.get(k, 420)) for k in kinds}
        test(made)

    return check


def shift(found):
    return found[0] + 1, found[1]


BUGS = [
    Bug("special tokens that are words are special in a text", remove_special_names,
        lambda _: lambda library, special: library,
        partial(special.test_a_special_token_that_is_a_word_is_text, "words")),
    Bug("ids are shifted", cached_encode.CharacterEncoder.__call__, changed_output(shift),
        on_trained(facts.test_word_by_word_gives_the_ids_of_the_library)),
    Bug("words are split at every character", cached_encode._split_before_spaces,
        lambda _: list, on_trained(facts.test_word_by_word_gives_the_ids_of_the_library)),
    Bug("everything is in lower case", train_tokenizer, changed_arguments(lower=True),
        on_trained(facts.test_characters_and_bytes_lose_nothing)),
    Bug("a token too few is learned", train_tokenizer,
        changed_arguments(vocab_size=lambda asked: asked and asked - 1),
        on_trained(facts.test_the_vocabulary_is_as_large_as_asked_for)),
    Bug("the last id is lost", Tokenizer.encode,
        lambda healthy: lambda self, texts, *, special=False: [
            np.asarray(ids[:-1]) for ids in healthy(self, texts, special=special)],
        on_trained(facts.test_characters_and_bytes_lose_nothing)),
]  # fmt: skip


@pytest.mark.parametrize("bug", BUGS, ids=str)
def test_a_planted_bug_is_noticed(bug):
    assert_caught(bug)
