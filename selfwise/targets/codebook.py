"""A codebook: the centres of clusters, and the units that they make of features."""

from collections.abc import Callable
from pathlib import Path

from jaxtyping import Float, Int64
from torch import Tensor

from selfwise.targets import tensor_file
from selfwise.targets.kmeans import assign_clusters
from selfwise.targets.kmeans_streaming import KMeansFit, KMeansSettings, Report

FILE = "codebook.safetensors"


class Codebook:
    """Centres of clusters; a callable from features to the numbers of the nearest ones."""

    def __init__(self, centres: Float[Tensor, "k d"]):
        """Raises ValueError if a centre is not finite."""
        if not bool(centres.isfinite().all()):
            raise ValueError("a codebook has centres that are not finite")
        self.centres = centres.detach().float()

    @property
    def size(self) -> int:
        """How many units there are."""
        return len(self.centres)

    @property
    def dim(self) -> int:
        """Width of the features."""
        return self.centres.shape[1]

    def __call__(self, x: Float[Tensor, "*n d"]) -> Int64[Tensor, "*n"]:
        """The unit of each feature, on its device. Raises ValueError at another width."""
        if x.shape[-1] != self.dim:
            raise ValueError(
                f"these features are {x.shape[-1]} wide, and those that the codebook was learned "
                f"from are {self.dim}"
            )
        if self.centres.device != x.device:
            self.centres = self.centres.to(x.device)
        return assign_clusters(x.float().flatten(0, -2), self.centres).view(x.shape[:-1])

    def save(self, folder: Path) -> None:
        """Write `codebook.safetensors`."""
        facts = {"clusters": self.size, "dim": self.dim}
        tensor_file.save_tensors(folder / FILE, {"centres": self.centres}, facts)

    @classmethod
    def load(cls, folder: Path) -> "Codebook":
        """The codebook that `save` left. Raises ValueError if there is none, or it is damaged."""
        return cls(tensor_file.load_tensors(folder / FILE, "codebook")[0]["centres"])


def learn_codebook(
    batches: Callable[[int], Float[Tensor, "m d"]],
    count: int,
    *,
    clusters: int,
    seed: int,
    folder: Path | None = None,
    passes: int = 20,
    tolerance: float = 1e-4,
    sample: int = 30_000,
    tries: int = 5,
    memory: float = 1.0,
    progress: Report | None = None,
) -> Codebook:
    """Cluster features that come by batches and are never all held.

    Several k-means++ starts on a sample, the best of them moved by every batch once, in a keyed
    order, then exact Lloyd passes: sums in float64 over all batches. The result depends on the
    features, the seed and these options alone (on the CPU, bitwise); a fit that was killed goes on
    and ends with the same centres.

    Args:
        batches: features of batch j, (m, d), a pure function of j in range(count).
        count: number of batches.
        clusters: number of centres.
        seed: of the sample, the starts and the order.
        folder: where the state of the fit is kept while it runs; None keeps none. It has to be of
            these features alone: that they are others cannot be seen.
        passes: exact passes at most, 0 for none.
        tolerance: a pass ends the fit if the squared shifts of all centres add up to at most this
            share of the mean variance of the features, as in scikit-learn.
        sample: features that the starts are tried on; at least ten for each cluster are taken.
        tries: k-means++ starts, of which the one with the lowest inertia on the sample is taken.
        memory: GiB of features that are held so that they are not computed in each pass again.
        progress: called with a sentence now and then.

    Raises ValueError if there are more clusters than features, if features are not finite, or if
    `folder` keeps a fit of other settings.
    """
    settings = KMeansSettings(count, clusters, seed, passes, tolerance, sample, tries)
    return Codebook(
        KMeansFit(batches, settings, folder=folder, memory=memory, report=progress).run()
    )
