"""Checks of documents against what a method needs, before it trains on them."""

import numpy as np

from selfwise.core.progress import print_progress
from selfwise.data.text.corpus import Corpus
from selfwise.methods.method import Method

WARNING = "warning: "
FEW_PAIRS = 0.1  # of the documents have two sentences or more


def check_documents(trained: Corpus, held_out: Corpus | None, method: Method) -> None:
    """Raise ValueError if a method needs several documents and there are fewer.

    Documents that leave a method of sentence pairs little to learn cause a warning.
    """
    min_documents = method.least_documents
    if len(trained.documents) < min_documents:
        raise ValueError(
            f"{type(method).__name__} needs at least {min_documents} documents and there is "
            f"{len(trained.documents)} to train on: --documents blank splits a file at blank "
            "lines, --documents line at every line; albert needs only one document for its pairs"
        )
    if held_out is not None and len(held_out.documents) < min_documents:
        text = "the held-out text is one document, so its random pairs come from that document"
        print_progress(text, prefix=WARNING)
    if method.learns_pairs:
        _warn_of_single_sentences(trained, type(method).__name__)


def _warn_of_single_sentences(trained: Corpus, name: str) -> None:
    share = measure_pairs(trained)
    if 0 < share < FEW_PAIRS:
        print_progress(
            f"{share:.1%} of the documents have two sentences or more, and {name} learns from "
            "sentences that follow each other; roberta and word2vec do not need them",
            prefix=WARNING,
        )


def measure_pairs(corpus: Corpus) -> float:
    """Return the fraction of the documents that have two sentences or more."""
    if corpus.sentences is None or not len(corpus.documents):
        return 0.0
    bounds = np.searchsorted(corpus.sentences[:, 0], corpus.documents)
    return float((bounds[:, 1] - bounds[:, 0] > 1).mean())
