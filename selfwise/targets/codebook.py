"""A codebook: the centres of clusters, and the units that they make of features."""

from collections.abc import Callable
from pathlib import Path

from jaxtyping import Float, Int64
from torch import Tensor

from selfwise.targets import tensor_file
from selfwise.targets.kmeans import assign_clusters
from selfwise.targets.kmeans_streaming import KMeansFit, KMeansSettings, Report

CODEBOOK_FILE = "codebook.safetensors"


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
        tensor_file.save_tensors(folder / CODEBOOK_FILE, {"centres": self.centres}, facts)

    @classmethod
    def load(cls, folder: Path) -> "Codebook":
        """The codebook that `save` left. Raises ValueError if there is none, or it is damaged."""
        return cls(tensor_file.load_tensors(folder / CODEBOOK_FILE, "codebook")[0]["centres"])


def learn_codebook(
    batches: Callable[[int], Float[Tensor, "m d"]],
    settings: KMeansSettings,
    *,
    folder: Path | None = None,
    memory: float = 1.0,
    progress: Report | None = None,
) -> Codebook:
    """Cluster features that come by batches and are never all held.

    Several k-means++ starts on a sample, the best of them moved by every batch once, in a keyed
    order, then exact Lloyd passes: sums in float64 over all batches. The result depends on the
    features and the settings alone (on the CPU, bitwise); a killed fit resumes and ends with the
    same centres.

    Args:
        batches: features of batch j, (m, d), a pure function of j in range(settings.batches).
        settings: number of batches, clusters, and how to fit them.
        folder: where the fit saves its state while it runs; None saves nothing. A folder belongs
            to one set of features: the fit does not notice others.
        memory: GiB of features to keep in memory, so that not every pass computes them anew.
        progress: called with a sentence now and then.

    Raises ValueError if there are more clusters than features, if features are not finite, or if
    `folder` keeps a fit of other settings.
    """
    return Codebook(
        KMeansFit(batches, settings, folder=folder, memory=memory, report=progress).run()
    )
