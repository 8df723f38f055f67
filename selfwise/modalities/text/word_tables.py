"""Tables of word vectors: their sub-words, and the pooling `sif` with its weights of rarity."""

from collections.abc import Mapping, Sequence
from typing import Any

from selfwise.core.config_class import spell_option
from selfwise.encoders.word_table import WordTable, build_word_table
from selfwise.evaluation.features.sif import weigh_by_rarity
from selfwise.evaluation.features.text import check_pooling
from selfwise.evaluation.scores.names import SIF
from selfwise.methods.needs import HasVocabulary
from selfwise.modalities.feature_options import FeaturePlace
from selfwise.modalities.modality import TrainedRun
from selfwise.modalities.text.data import OpenText, TextFacts

MEAN = "mean"


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


def check_rarity(run: TrainedRun, places: Sequence[FeaturePlace]) -> bool:
    """Return whether the pooling of all places is sif.

    Raises ValueError if only some of them are, if the run's encoder is not a table of word vectors,
    or if the run has not recorded the counts of its words.
    """
    chosen = [place.pooling == SIF for place in places]
    if not any(chosen):
        return False
    assert all(chosen), "--pooling sif leaves no other pooling to choose"
    if not isinstance(run.encoder, WordTable):
        raise ValueError(
            f"--pooling {SIF} weights word vectors, and {run.folder} has the encoder "
            f"{run.record.encoder_name}, whose vectors depend on the words around them: use "
            f"--pooling {MEAN}"
        )
    assert isinstance(run.facts, TextFacts), "a run on text"
    _ = run.facts.token_counts
    return True


def weigh_vectors(encoder: object, facts: TextFacts) -> Any:
    """Return a table of the encoder's vectors times a / (a + p); its mean is the pooling `sif`."""
    assert isinstance(encoder, WordTable), "checked before"
    return encoder.scale(weigh_by_rarity(facts.token_counts))
