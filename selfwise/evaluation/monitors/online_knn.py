"""A kNN probe of the features during training, which does not change the run."""

import json
from math import nan
from pathlib import Path

import numpy as np

from selfwise.core.own_files import read_own
from selfwise.core.rng import shuffle_indices
from selfwise.data.image import Images, load_into_memory
from selfwise.evaluation.features.compute import ComputeOptions
from selfwise.evaluation.features.image import extract_features
from selfwise.evaluation.probes.knn import choose_k, predict_knn
from selfwise.evaluation.probes.linear import check_two_classes
from selfwise.methods.method import Method

# examples at most; enough for half a point of standard error
MAX_REFERENCE, MAX_TEST = 4_000, 1_000
FORMER_K = 20  # of runs that were started before k was chosen
ACCURACY, CHOSEN_K = "knn_top1", "knn_k"  # as they are logged


class OnlineKNN:
    """Accuracy of the weighted kNN on labeled examples that are held out from it.

    The first evaluation chooses k on the reference examples, as `choose_k` does. Every line of the
    log contains k, and a resumed run reads it there, so it measures equal numbers without other
    state. Image files are read once and stay in memory, up to 1 GiB for each of the two parts. The
    examples are part of the training data: the accuracy monitors a run, it is not a result.

    Raises ValueError if the reference examples are of one class.
    """

    def __init__(self, images: Images, *, size: int, seed: int, every: int):
        assert images.labels is not None, "the caller has checked that there are labels"
        order = shuffle_indices(len(images), seed, "online probe")
        num_test = min(MAX_TEST, len(order) // 5)
        test, reference = order[:num_test], order[num_test : num_test + MAX_REFERENCE]
        self.test = load_into_memory(images.take(np.sort(test)))
        self.reference = load_into_memory(images.take(np.sort(reference)))
        self.size, self.every = size, every
        self.k: int | None = None
        self.log: Path | None = None
        assert self.reference.labels is not None
        check_two_classes(self.reference.labels, what="--knn-every")

    def begin(self, log: Path) -> None:
        """Take k from metrics.jsonl of the run, if it has one; what was measured before is not
        of the run."""
        self.k, self.log = None, log

    def __call__(self, method: Method) -> dict[str, float]:
        compute = ComputeOptions(next(method.parameters()).device)
        reference, test = (
            extract_features(method.encoder, part, size=self.size, compute=compute)
            for part in (self.reference, self.test)
        )
        if not (np.isfinite(reference).all() and np.isfinite(test).all()):
            return {ACCURACY: nan}  # the loop then says that the run diverged
        assert self.reference.labels is not None
        if self.k is None:
            self.k = _read_logged_k(self.log) or choose_k(reference, self.reference.labels)
        predicted = predict_knn(reference, self.reference.labels, test, k=self.k)
        return {ACCURACY: float((predicted == self.test.labels).mean()), CHOSEN_K: self.k}

    def warning(self, values: dict[str, float]) -> None:
        """Return None: an accuracy alone does not show what is wrong."""


def _read_logged_k(log: Path | None) -> int | None:
    """The k of the run's earlier evaluations; None where there was none."""
    if log is None or not log.is_file():
        return None
    lines = [json.loads(line) for line in read_own(log).splitlines()]
    probed = [line for line in lines if ACCURACY in line]
    return int(probed[0].get(CHOSEN_K, FORMER_K)) if probed else None
