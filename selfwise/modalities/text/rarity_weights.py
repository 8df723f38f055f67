"""The pooling `sif`: means of word vectors that are weighted by how rare the words are."""

from collections.abc import Sequence
from typing import Any

from selfwise.encoders.word_table import WordTable
from selfwise.evaluation.features.sif import weigh_by_rarity
from selfwise.evaluation.features.text import check_pooling
from selfwise.evaluation.scores.names import SIF
from selfwise.modalities.feature_options import FeaturePlace
from selfwise.modalities.modality import TrainedRun
from selfwise.modalities.text.data import TextFacts

MEAN = "mean"


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
