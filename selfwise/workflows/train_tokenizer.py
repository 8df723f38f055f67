"""Train a tokenizer on a corpus."""

from pathlib import Path
from typing import Literal

from selfwise.core.extras import check_extra
from selfwise.data.text.documents import open_documents
from selfwise.tokenizers.tokenizer import Tokenizer, train_tokenizer


def make_tokenizer(
    corpus: object,
    *,
    out: Path,
    kind: Literal["wordpiece", "bpe", "unigram", "chars"] = "wordpiece",
    vocab_size: int | None = None,
    lowercase: bool = False,
    text_column: str = "",
    documents: str = "auto",
) -> Tokenizer:
    """Train a tokenizer on a corpus and write it into a folder, as tokenizer.json.

    Args:
        corpus: text, in any form that `pretrain` takes.
        out: folder, which must not exist yet.
        kind: wordpiece, bpe (byte-level), unigram or chars.
        vocab_size: tokens of the vocabulary; by default 8,192, and for chars all characters.
        lowercase: train on lowercased text.
        text_column: the column that holds the text, in jsonl, csv, tsv and parquet.
        documents: the unit of a document in a txt file: file, blank or line.
    """
    check_extra("text")
    if out.exists():
        raise ValueError(f"--out {out} exists already, and selfwise never overwrites")
    texts = open_documents(corpus, field=text_column, documents=documents)
    if texts.left_out:
        print(texts.left_out)
    tokenizer = train_tokenizer(kind, texts, vocab_size=vocab_size, lower=lowercase, progress=print)
    out.mkdir(parents=True)
    tokenizer.save(out)
    return tokenizer
