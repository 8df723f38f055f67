"""A probe while training: how good are the features now? It changes nothing of the run."""

from math import nan

import numpy as np

from selfwise.data import Images, in_memory
from selfwise.evaluate.features import extract
from selfwise.evaluate.knn import knn
from selfwise.methods.method import Method
from selfwise.rng import shuffled

REFERENCE, ASKED = 4_000, 1_000  # examples at most; enough for half a point of standard error


class OnlineKNN:
    """Accuracy of the weighted kNN (k = 20) on labelled examples that are held out from it.

    Nothing is trained, so there is no state to save, and a resumed run finds the same numbers.
    Image files are read once and kept, up to 1 GiB for each of the two parts. The examples are
    part of the training data: this watches a run, it does not report a result.
    """

    def __init__(self, images: Images, *, size: int, seed: int, every: int):
        assert images.labels is not None, "the caller has checked that there are labels"
        order = shuffled(len(images), seed, "online probe")
        asked = min(ASKED, len(order) // 5)
        self.asked = in_memory(images.take(np.sort(order[:asked])))
        self.reference = in_memory(images.take(np.sort(order[asked : asked + REFERENCE])))
        self.size, self.every = size, every

    def __call__(self, method: Method) -> dict[str, float]:
        device = next(method.parameters()).device
        known, asked = (
            extract(method.encoder, part, size=self.size, device=device)  # type: ignore[arg-type]
            for part in (self.reference, self.asked)
        )
        if not (np.isfinite(known).all() and np.isfinite(asked).all()):
            return {"online_knn": nan}  # the loop then says that the run diverged
        assert self.reference.labels is not None
        predicted = knn(known, self.reference.labels, asked, k=20)
        return {"online_knn": float((predicted == self.asked.labels).mean())}

    def warning(self, values: dict[str, float]) -> None:
        """None: an accuracy alone says nothing of what is wrong."""
