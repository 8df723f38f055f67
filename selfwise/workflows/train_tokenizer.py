"""Train a tokenizer on a corpus."""

from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge

from selfwise.core.extras import check_extra
from selfwise.core.files import atomic_write
from selfwise.core.memory_limit import takes_memory_limit
from selfwise.core.visible_text import escape_invisible
from selfwise.data.text.documents import open_documents
from selfwise.tokenizers.tokenizer import Tokenizer, train_tokenizer
from selfwise.tokenizers.train import MIN_WORD_COUNT


@takes_memory_limit
def make_tokenizer(
    corpus: object,
    *,
    out: Path,
    kind: Literal["wordpiece", "bpe", "unigram", "chars", "words"] = "wordpiece",
    vocab_size: int | None = None,
    lowercase: bool = False,
    min_count: Annotated[int, Ge(1)] = MIN_WORD_COUNT,
    text_column: str = "",
    documents: str = "auto",
    max_memory: str = "",
) -> Tokenizer:
    """Train a tokenizer on a corpus and write it into a folder, as tokenizer.json.

    Args:
        corpus: text, in any form that `pretrain` takes.
        out: folder, which must not exist yet or be empty.
        kind: wordpiece, bpe (byte-level), unigram, chars, or words (whole words in lower case).
        vocab_size: tokens of the vocabulary; by default 8,192, for chars all characters, for words
            all that are frequent enough.
        lowercase: train on lowercased text.
        min_count: rarer words are unknown; for words alone.
        text_column: the column that holds the text, in jsonl, csv, tsv and parquet.
        documents: the unit of a document in a txt file: file, blank or line.
        max_memory: most memory for reading one file, as in 4G; by default half of what is free.
    """
    check_extra("text")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"--out {out} exists already, and selfwise never overwrites")
    texts = open_documents(corpus, field=text_column, documents=documents)
    if texts.left_out:
        print(escape_invisible(texts.left_out))
    tokenizer = train_tokenizer(
        kind, texts, vocab_size=vocab_size, lower=lowercase, min_count=min_count, progress=print
    )
    with atomic_write(out) as partial:
        tokenizer.save(partial)
    return tokenizer
