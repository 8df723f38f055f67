"""Train a tokenizer: CORPUS --kind wordpiece|bpe|unigram|chars --out FOLDER."""

from collections.abc import Callable, Mapping
from typing import Any

COMMAND = "tokenizer"
WORDS = "CORPUS"


def function() -> Callable[..., Any]:
    """What is called with the options."""
    from selfwise.workflows.train_tokenizer import make_tokenizer

    return make_tokenizer


def say(result: Any, options: Mapping[str, Any]) -> str:
    """What is printed at the end."""
    return f"a tokenizer with {result.vocabulary.size} tokens is in {options['out']}"
