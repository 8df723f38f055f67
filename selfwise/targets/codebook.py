"""A codebook: cluster centers, which assign units to features."""

from collections.abc import Callable
from pathlib import Path

from jaxtyping import Float, Int64
from torch import Tensor

from selfwise.targets import tensor_file
from selfwise.targets.kmeans import assign_clusters
from selfwise.targets.kmeans_streaming import KMeansFit, KMeansSettings, Report

CODEBOOK_FILE = "codebook.safetensors"


class Codebook:
    """Cluster centers; a callable from features to the numbers of their nearest centers."""

    def __init__(self, centres: Float[Tensor, "k d"]):
        """Raises ValueError if a center is not finite."""
        if not bool(centres.isfinite().all()):
            raise ValueError("a codebook has centers that are not finite")
        self.centres = centres.detach().float()

    @property
    def size(self) -> int:
        """The number of units."""
        return len(self.centres)

    @property
    def dim(self) -> int:
        """The width of the features."""
        return self.centres.shape[1]

    def __call__(self, x: Float[Tensor, "*n d"]) -> Int64[Tensor, "*n"]:
        """Return the unit of each feature, on its device. Raises ValueError at another width."""
        if x.shape[-1] != self.dim:
            raise ValueError(
                f"these features have width {x.shape[-1]}, and the codebook was learned from "
                f"features of width {self.dim}"
            )
        if self.centres.device != x.device:
            self.centres = self.centres.to(x.device)
        return assign_clusters(x.float().flatten(0, -2), self.centres).view(x.shape[:-1])

    def save(self, folder: Path) -> None:
        """Write `codebook.safetensors`."""
        facts = {"clusters": self.size, "dim": self.dim}
        tensor_file.save_tensors(folder / CODEBOOK_FILE, {"centres": self.centres}, facts)

    @classmethod
    def load(cls, folder: Path) -> "Codebook":
        """Load the codebook that `save` wrote. Raises ValueError if it is missing or damaged."""
        return cls(tensor_file.load_tensors(folder / CODEBOOK_FILE, "codebook")[0]["centres"])


def learn_codebook(
    batches: Callable[[int], Float[Tensor, "m d"]],
    settings: KMeansSettings,
    *,
    folder: Path | None = None,
    memory: float = 1.0,
    progress: Report | None = None,
) -> Codebook:
    """Cluster features that arrive in batches and are never all in memory.

    Several k-means++ starts on a sample; every batch then moves the best of them once, in a keyed
    order; then exact Lloyd passes, with float64 sums over all batches. The result depends only on
    the features and the settings (on the CPU, bitwise); a killed fit resumes and ends with equal
    centers.

    Args:
        batches: features of batch j, (m, d), a pure function of j in range(settings.batches).
        settings: number of batches, clusters, and how to fit them.
        folder: where the fit saves its state while it runs; None saves nothing. A folder belongs
            to one set of features: the fit does not notice other features.
        memory: GiB of features to keep in memory, so that not every pass computes them again.
        progress: called with a sentence now and then.

    Raises ValueError if there are more clusters than features, if features are not finite, or if
    `folder` holds a fit with other settings.
    """
    return Codebook(
        KMeansFit(batches, settings, folder=folder, memory=memory, report=progress).run()
    )
