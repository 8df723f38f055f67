"""Train a tokenizer: CORPUS --kind wordpiece|bpe|unigram|chars|words --out FOLDER."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import selfwise.tokenizers.tokenizer

COMMAND = "tokenizer"
WORDS = "CORPUS"
EXAMPLES = (
    "selfwise tokenizer documents/ --kind bpe --out words",
    "selfwise tokenizer corpus.jsonl --kind wordpiece --out words",
)


def load_function() -> Callable[..., Any]:
    """Import the function that is called with the options."""
    from selfwise.workflows.train_tokenizer import make_tokenizer

    return make_tokenizer


def format_result(
    result: "selfwise.tokenizers.tokenizer.Tokenizer", options: Mapping[str, object]
) -> str:
    """Return the text to print at the end."""
    return f"Wrote a tokenizer with {result.vocabulary.size} tokens to {options['out']}"
