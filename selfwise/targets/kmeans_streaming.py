"""The streaming fit of a codebook: a sample, mini-batches, exact passes; it survives a kill."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from selfwise.core.rng import generator, shuffle_indices
from selfwise.targets import tensor_file
from selfwise.targets.kmeans import (
    FarthestPoints,
    MiniBatchCentres,
    assign_clusters,
    centre_distances,
    check_num_clusters,
    find_farthest,
    init_plus_plus,
    run_lloyd,
    sum_clusters,
    update_centres,
)

Report = Callable[[str], None]
FIT_FILE = "fit.safetensors"
SAVE_SECONDS = 20.0  # between two saves of the state
MIN_PER_BATCH = 256  # features per batch in the sample, at least
START_ITERATIONS = 10  # Lloyd iterations on the sample, to compare starts


class KMeansSettings(NamedTuple):
    """Settings that determine the result, together with the features."""

    batches: int
    clusters: int
    seed: int
    passes: int = 20  # exact passes at most, 0 for none
    # a pass ends the fit if the squared shifts of all centers add up to at most this fraction of
    # the mean variance of the features, as in scikit-learn
    tolerance: float = 1e-4
    sample: int = 30_000  # features on which to try starts; at least ten for each cluster
    tries: int = 5  # k-means++ starts; the one with the lowest inertia on the sample wins

    def check(self) -> None:
        """Raise ValueError for settings that make no fit possible."""
        minima = {"batches": 1, "clusters": 2, "passes": 0, "tolerance": 0, "sample": 1, "tries": 1}
        for name, lowest in minima.items():
            if getattr(self, name) < lowest:
                raise ValueError(f"{name} must be at least {lowest}, got {getattr(self, name)}")


@dataclass
class FitProgress:
    """The progress of a fit, as in its file."""

    phase: str = "start"
    done: int = 0  # batches of the phase
    passes: int = 0  # exact passes over all batches
    inertia: list[float] = field(default_factory=list)  # of each pass: mean square distance

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> "FitProgress":
        return cls(facts["phase"], facts["done"], facts["pass"], facts["inertia"])

    def to_facts(self) -> dict[str, object]:
        return {
            "phase": self.phase,
            "done": self.done,
            "pass": self.passes,
            "inertia": self.inertia,
        }


class FeatureBatches:
    """Features by number; the first ones stay in memory, up to a limit."""

    def __init__(self, read: Callable[[int], Tensor], memory: float):
        self.read, self.free_bytes = read, memory * 2**30
        self.cache: dict[int, Tensor] = {}

    def __getitem__(self, j: int) -> Float[Tensor, "m d"]:
        if j in self.cache:
            return self.cache[j]
        x = self.read(j).detach().float()
        if not bool(x.isfinite().all()):
            raise ValueError(f"features of batch {j} are not finite, so they cannot be clustered")
        if x.nbytes <= self.free_bytes:
            self.cache[j], self.free_bytes = x, self.free_bytes - x.nbytes
        return x


class KMeansFit:
    """A fit as a chain of small steps, whose state is saved: `tensors` and `progress`."""

    def __init__(
        self,
        batches: Callable[[int], Tensor],
        settings: KMeansSettings,
        *,
        folder: Path | None,
        memory: float,
        report: Report | None,
    ):
        settings.check()
        self.batches, self.settings = FeatureBatches(batches, memory), settings
        self.path = None if folder is None else folder / FIT_FILE
        self.report = report or (lambda text: None)
        self.saved = time.monotonic()
        self.tensors: dict[str, Tensor] = {}
        self.progress = FitProgress()

    def run(self) -> Float[Tensor, "k d"]:
        """Return the centers, resuming an earlier process's fit."""
        if self.path is not None and self.path.is_file():
            self._resume(self.path)
        if self.progress.phase == "start":
            self._choose_start()
        if self.progress.phase == "mini-batches":
            self._mini_batches()
        while self.progress.phase == "passes":
            self._run_pass()
        return self.tensors["centres"]

    def _resume(self, path: Path) -> None:
        tensors, facts = tensor_file.load_tensors(path, "fit")
        stored = facts.get("settings", {})
        for name, value in self.settings._asdict().items():
            if stored.get(name) != value:
                raise ValueError(
                    f"{path.parent} holds a fit with {name} {stored.get(name)}, and this fit has "
                    f"{value}: give another folder, or remove that one"
                )
        self.tensors, self.progress = tensors, FitProgress.from_facts(facts)

    def _save(self, *, now: bool = False) -> None:
        if self.path is None or not (now or time.monotonic() - self.saved >= SAVE_SECONDS):
            return
        facts = {**self.progress.to_facts(), "settings": self.settings._asdict()}
        tensor_file.save_tensors(self.path, self.tensors, facts)
        self.saved = time.monotonic()

    def _enter_phase(self, phase: str) -> None:
        self.progress.phase, self.progress.done = phase, 0
        self._save(now=True)

    def _move_to(self, x: Tensor) -> None:
        """Move the state to the device of the features."""
        if self.tensors["centres"].device != x.device:
            self.tensors = {name: t.to(x.device) for name, t in self.tensors.items()}

    def _choose_start(self) -> None:
        """Choose the best of several k-means++ starts on a sample, each with some Lloyd
        iterations."""
        s = self.settings
        order = shuffle_indices(s.batches, s.seed, "order")
        sample = _draw_sample(self.batches, order, s)
        fits = [
            run_lloyd(
                sample,
                init_plus_plus(sample, s.clusters, generator(s.seed, "start", i)),
                START_ITERATIONS,
            )
            for i in range(s.tries)
        ]
        best = min(fits, key=lambda each: float(each.inertia))
        self.report(
            f"{s.clusters:,} clusters of width {sample.shape[1]}: best of {s.tries} starts on "
            f"{len(sample):,} features, mean square distance {best.inertia / len(sample):.4f}"
        )
        counts = torch.bincount(best.ids, minlength=s.clusters).double()
        variance = sample.double().var(dim=0, unbiased=False).mean()
        self.tensors = {"centres": best.centres, "counts": counts, "variance": variance}
        self._enter_phase("mini-batches")

    def _mini_batches(self) -> None:
        """Read every batch once; the centers start as the means of their sample points."""
        order = shuffle_indices(self.settings.batches, self.settings.seed, "order")
        while self.progress.done < len(order):
            x = self.batches[int(order[self.progress.done])]
            self._move_to(x)
            if len(x):
                mini = MiniBatchCentres(self.tensors["centres"], self.tensors["counts"])
                mini.step(x)
                self.tensors |= {"centres": mini.centres, "counts": mini.counts}
            self.progress.done += 1
            self._save()
        self._enter_phase("passes" if self.settings.passes else "over")

    def _run_pass(self) -> None:
        """Run one exact Lloyd iteration over all batches."""
        k = self.settings.clusters
        if not self.progress.done:
            self._clear_sums()
        while self.progress.done < self.settings.batches:
            x = self.batches[self.progress.done]
            self._move_to(x)
            if len(x):
                self._add_batch(x, k)
            self.progress.done += 1
            self._save()
        t = self.tensors
        far = FarthestPoints(t["far"], t["far distance"], t["far ids"])
        after = update_centres(t["sums"], t["counts"], far, t["centres"])
        shift = float((after - t["centres"]).double().square().sum())
        per = float(t["inertia"] / t["counts"].sum())
        t["centres"] = after
        self.progress.passes += 1
        self.progress.inertia.append(per)
        over = shift <= self.settings.tolerance * float(t["variance"])
        number = f"pass {self.progress.passes} of at most {self.settings.passes}"
        self.report(f"{number}, mean square distance {per:.4f}{', settled' if over else ''}")
        self._enter_phase(
            "over" if over or self.progress.passes >= self.settings.passes else "passes"
        )

    def _clear_sums(self) -> None:
        centres = self.tensors["centres"]
        zeros = torch.zeros_like(centres, dtype=torch.float64)
        self.tensors |= {
            "sums": zeros,
            "counts": zeros[:, 0].clone(),
            "inertia": zeros[0, 0].clone(),
            "far": centres.new_zeros((0, centres.shape[1])),
            "far distance": centres.new_zeros(0),
            "far ids": torch.zeros(0, dtype=torch.int64, device=centres.device),
        }

    def _add_batch(self, x: Tensor, k: int) -> None:
        """Add a batch's sums; keep the k farthest points so far, for clusters that end up empty."""
        t = self.tensors
        ids = assign_clusters(x, t["centres"])
        distance = centre_distances(x, t["centres"], ids)
        sums, counts = sum_clusters(x, ids, k)
        t["sums"], t["counts"] = t["sums"] + sums, t["counts"] + counts
        t["inertia"] = t["inertia"] + distance.double().sum()
        new = find_farthest(x, distance, ids, k)
        old = FarthestPoints(t["far"], t["far distance"], t["far ids"])
        both = FarthestPoints(*(torch.cat(pair) for pair in zip(old, new)))
        farthest = find_farthest(both.x, both.distance, both.ids, k)
        t |= {"far": farthest.x, "far distance": farthest.distance, "far ids": farthest.ids}


def _draw_sample(
    batches: FeatureBatches, order: np.ndarray, settings: KMeansSettings
) -> Float[Tensor, "n d"]:
    """Draw a keyed fraction of each batch, in the keyed order, until there are enough features."""
    target_size = max(settings.sample, 10 * settings.clusters)
    quota = max(MIN_PER_BATCH, math.ceil(target_size / settings.batches))
    while True:
        parts, whole, total = [], True, 0
        for j in order:
            x = batches[int(j)]
            rows = torch.from_numpy(
                shuffle_indices(len(x), settings.seed, "sample", int(j))[:quota]
            )
            parts.append(x[rows.to(x.device)])
            whole, total = whole and len(x) <= quota, total + len(parts[-1])
            if total >= target_size:
                return torch.cat(parts)[:target_size]
        if whole or total >= max(settings.clusters, target_size // 2):
            check_num_clusters(total, settings.clusters, "features")
            return torch.cat(parts)
        quota *= 4  # for a few large batches among many small ones
