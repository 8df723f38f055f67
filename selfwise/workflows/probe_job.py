"""A probe as the user asked for it, and which of its options go together."""

from collections.abc import Mapping
from dataclasses import dataclass

from selfwise.core.device import choose_evaluation
from selfwise.evaluation.probes.frozen import SEARCHES
from selfwise.evaluation.scores.names import AUTO, CHOSEN, RETRIEVAL
from selfwise.modalities.feature_options import FeatureOptions
from selfwise.modalities.reading_options import ReadingOptions
from selfwise.runs.open import Run


@dataclass(frozen=True)
class ProbeJob:
    """A run, and how to probe it."""

    run: Run
    kind: str
    features: FeatureOptions
    reading: ReadingOptions
    data: Mapping[str, str | None]  # locations of the examples
    budgets: list[int | None]
    seeds: int
    k: int | None = None
    supervised: bool = False  # whether to train the encoder from scratch too
    auto: bool = False  # whether training labels choose layer and pooling
    with_raw: bool = False  # whether to measure the encoder's vectors together with the raw input

    @property
    def precision(self) -> str:
        """Precision of the features: that of training, on a device of the same kind."""
        return choose_evaluation(self.run.record.training, self.features.device)[1]

    def describe(self) -> dict[str, object]:
        """Describe how the features were computed, for the score file."""
        names = ("layer", "pooling", "window")
        options: dict[str, object] = {name: getattr(self.features, name) for name in names}
        options |= {"layer": AUTO} if self.auto else {}
        options["precision"] = self.precision
        return options | ({"k": self.k or CHOSEN} if self.kind == "knn" else {})


def check_job(job: ProbeJob) -> None:
    """Raise ValueError for options that do not go together, before computing anything."""
    run, kind, modality = job.run, job.kind, job.run.method.modality
    if job.k is not None and kind != "knn":
        raise ValueError(
            f"--k is the number of neighbors that vote: use it with --kind knn, not {kind}"
        )
    if modality != "image" and (job.supervised or kind == "finetune"):
        raise ValueError(
            f"training with labels is only available for images, and {run.folder} is on "
            f"{modality}: probe it frozen (--kind linear or knn, no --supervised-baseline)"
        )
    for option, is_used in (("--layer auto", job.auto), ("--with-raw", job.with_raw)):
        if is_used and kind not in SEARCHES:
            raise ValueError(
                f"{option} chooses on held-out training labels, which --kind {kind} does not do: "
                f"use --kind {' or '.join(SEARCHES)}"
            )
    if kind == "weighted":
        _check_weighted(job)
    if kind == RETRIEVAL and (job.supervised or job.budgets != [None]):
        option = "--supervised-baseline" if job.supervised else "--labels-per-class"
        raise ValueError(
            f"{option} does not go with --kind retrieval, which does not learn from labels"
        )


def _check_weighted(job: ProbeJob) -> None:
    """Raise ValueError if the layers cannot be weighted."""
    run, features = job.run, job.features
    if run.modality.make_layered_embed(run, FeatureOptions()) is None:
        raise ValueError(
            f"--kind weighted is for speech, and {run.folder} is on {run.method.modality}: probe "
            "its layers one by one, with --kind linear --layer NUMBER"
        )
    if features.layer is not None or features.pooling:
        option = "--pooling" if features.layer is None else "--layer"
        raise ValueError(f"{option} does not go with --kind weighted, which uses every layer")
