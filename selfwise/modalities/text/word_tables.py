"""Tables of word vectors: their sub-words, and the pooling `sif` with its weights of rarity."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from selfwise.core.config_class import spell_option
from selfwise.encoders.word_table import WordTable, build_word_table
from selfwise.evaluation.features.sif import weigh_by_rarity
from selfwise.evaluation.features.text import check_pooling
from selfwise.evaluation.scores.names import SIF
from selfwise.methods.needs import HasVocabulary
from selfwise.modalities.feature_options import FeaturePlace
from selfwise.modalities.modality import TrainedRun
from selfwise.modalities.text.data import COUNTS_FILE, OpenText, TextFacts

MEAN = "mean"
LayerPooling = tuple[int | None, str]


@runtime_checkable
class Extract(Protocol):
    """Computes features of texts for several pairs of layer and pooling."""

    def __call__(
        self, encoder: Any, *, places: Sequence[LayerPooling]
    ) -> list[Float32[np.ndarray, "n _"]]: ...


def build_table(facts: HasVocabulary, seed: int, options: Mapping[str, Any]) -> WordTable:
    """Build the table of word vectors of a run.

    Raises ValueError for sub-words with a tokenizer that splits words.
    """
    vocabulary = facts.vocabulary
    words = _list_words(facts) if options.get("subwords") else []
    return build_word_table(
        vocab=facts.info.vocab, special=vocabulary.special, words=words, seed=seed, **options
    )


def _list_words(facts: HasVocabulary) -> list[str]:
    assert isinstance(facts, OpenText | TextFacts), "documents with their tokenizer"
    tokenizer, vocabulary = facts.tokenizer, facts.tokenizer.vocabulary
    words = [tokenizer.piece(number) for number in range(vocabulary.size)]
    for number in (~vocabulary.starts).nonzero()[:, 0].tolist():
        if number not in vocabulary.special:
            raise ValueError(
                f"{spell_option('encoder.subwords')} needs a tokenizer of whole words, and this "
                f"one has parts of words, such as {words[number]!r}: use "
                f"{spell_option('tokenizer')} words"
            )
    return words


def check_text_pooling(name: str) -> None:
    """Raise ValueError for an unknown pooling of text."""
    if name != SIF:
        check_pooling(name)


def mark_rarity(run: TrainedRun, places: Sequence[FeaturePlace]) -> list[bool]:
    """Return for each place whether its pooling is sif.

    Raises ValueError if one is and the run's encoder is not a table of word vectors, or the run has
    not recorded the counts of its words.
    """
    marks = [place.pooling == SIF for place in places]
    if any(marks):
        if not isinstance(run.encoder, WordTable):
            raise ValueError(
                f"--pooling {SIF} weights word vectors, and {run.folder} has the encoder "
                f"{run.record.encoder_name}, whose vectors depend on the words around them: use "
                f"--pooling {MEAN}"
            )
        assert isinstance(run.facts, TextFacts), "a run on text"
        _ = run.facts.token_counts
    return marks


def list_rarity_places(run: TrainedRun) -> list[FeaturePlace]:
    """Return the place of sif for a table of word vectors with its counts, else no place."""
    is_table = isinstance(run.encoder, WordTable) and (run.folder / COUNTS_FILE).exists()
    return [FeaturePlace(None, SIF)] if is_table else []


def extract_marked(
    extract: Extract, encoder: object, facts: TextFacts, marked: Sequence[tuple[LayerPooling, bool]]
) -> list[Float32[np.ndarray, "n _"]]:
    """Return features of each layer and pooling; marked ones are means of vectors times a / (a + p)
    (sif)."""
    plain = [i for i, (_, is_marked) in enumerate(marked) if not is_marked]
    weighed = [i for i, (_, is_marked) in enumerate(marked) if is_marked]
    found = dict[int, Float32[np.ndarray, "n _"]]()
    if plain:
        found |= zip(plain, extract(encoder, places=[marked[i][0] for i in plain]))
    if weighed:
        assert isinstance(encoder, WordTable), "checked before"
        table = encoder.scale(weigh_by_rarity(facts.token_counts))
        found |= zip(weighed, extract(table, places=[(marked[i][0][0], MEAN) for i in weighed]))
    return [found[i] for i in range(len(marked))]
