"""K-means in mini-batches, and the nearest centre of every row; not in the issue's table."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.row import Contest, Prepared, Run, Setting
from selfwise.core.rng import generator
from selfwise.targets.kmeans import MiniBatchCentres, assign_clusters, centre_distances

PEER = (
    "scikit-learn's `MiniBatchKMeans`, from the same centres, with HuBERT's settings: no "
    "reassignment, no early end, no labels at the end. `fit` draws its own batches, of the same "
    "number and size; `partial_fit` gets the very batches of selfwise. `nearest`: its `predict`"
)
PACKAGES = ("scikit-learn",)
CASES = {
    "fit": "100 steps of 10,000 of a million rows of 39 numbers (as MFCC are), 100 centres",
    "nearest": "the nearest of 100 centres for each of these rows",
}
OURS, THEIRS, SAME_BATCHES = "selfwise", "scikit-learn fit", "scikit-learn partial_fit"
ON_CPU = ("fit", "nearest")
QUICK_IS_LESS = True
GOALS = {
    "fit": [Contest(OURS, THEIRS, 1), Contest(OURS, SAME_BATCHES, 1)],
    "nearest": [Contest(OURS, "scikit-learn predict", 1)],
}
ROWS, DIM, CLUSTERS, BATCH = 1_000_000, 39, 100, 10_000
Fit = Callable[[int], np.ndarray]  # given a seed, centres (k d)


def clouds(rows: int) -> np.ndarray:
    """(rows, dim) float32: as wide as they lie apart, scales as different as those of MFCC."""
    draw = np.random.default_rng(0)
    middles = draw.standard_normal((3 * CLUSTERS, DIM), dtype=np.float32)
    x = middles[draw.integers(len(middles), size=rows)]
    x += draw.standard_normal((rows, DIM), dtype=np.float32)
    return x * np.geomspace(20, 0.5, DIM, dtype=np.float32)


def selfwise_fit(x: np.ndarray, start: np.ndarray) -> Fit:
    own, first = torch.from_numpy(x), torch.from_numpy(start)

    def fit(seed: int) -> np.ndarray:
        draw, mini = generator(seed, "batches"), MiniBatchCentres(first)
        for _ in range(len(x) // BATCH):
            mini.step(own.index_select(0, torch.randint(len(x), (BATCH,), generator=draw)))
        return mini.centres.numpy()

    return fit


def sklearn_fit(x: np.ndarray, start: np.ndarray) -> Fit:
    def fit(seed: int) -> np.ndarray:
        return sklearn_model(start, seed).fit(x).cluster_centers_  # type: ignore[no-any-return]

    return fit


def partial_fit(x: np.ndarray, start: np.ndarray) -> Fit:
    """scikit-learn on the batches of `selfwise_fit`, gathered in the same way."""
    own = torch.from_numpy(x)

    def fit(seed: int) -> np.ndarray:
        draw, model = generator(seed, "batches"), sklearn_model(start)
        for _ in range(len(x) // BATCH):
            rows = torch.randint(len(x), (BATCH,), generator=draw)
            model.partial_fit(own.index_select(0, rows).numpy())
        return model.cluster_centers_  # type: ignore[no-any-return]

    return fit


def sklearn_model(start: np.ndarray, seed: int = 0) -> Any:
    from sklearn.cluster import MiniBatchKMeans

    return MiniBatchKMeans(
        CLUSTERS, init=start, n_init=1, batch_size=BATCH, max_iter=1, tol=0.0,
        max_no_improvement=None, reassignment_ratio=0.0, compute_labels=False, random_state=seed,
    )  # fmt: skip


def inertia(x: np.ndarray, centres: np.ndarray) -> float:
    """Mean squared distance to the nearest centre."""
    rows, found = torch.from_numpy(x), torch.from_numpy(centres)
    parts = (
        centre_distances(part, found, assign_clusters(part, found)) for part in rows.split(BATCH)
    )
    return float(torch.cat(list(parts)).double().mean())


def fits(x: np.ndarray, start: np.ndarray) -> tuple[dict[str, Run], str]:
    """The three ways, and what was found equal: centres where batches are, else their quality.

    Raises:
        AssertionError: they differ.
    """
    made = {OURS: selfwise_fit(x, start), THEIRS: sklearn_fit(x, start)}
    made[SAME_BATCHES] = partial_fit(x, start)
    centres = {name: fit(99) for name, fit in made.items()}
    wide = x.std(axis=0)
    off = float((np.abs(centres[OURS] - centres[SAME_BATCHES]) / wide).max())
    assert off <= 1e-2, f"centres from the same batches differ by {off:.1e} deviations"
    cost = {name: inertia(x, found) for name, found in centres.items()}
    before, mine = inertia(x, start), cost[OURS]
    assert mine < 0.99 * before, f"nothing was learned: {before:.4g}, then {mine:.4g}"
    apart = max(abs(value / mine - 1) for value in cost.values())
    assert apart <= 2e-3, f"mean squared distances differ: {cost}"
    equal = (
        f"centres from the same batches agree within {off:.0e} deviations, and mean squared "
        f"distances from batches of their own within {apart:.0e}"
    )
    return {name: run_of(fit, len(x)) for name, fit in made.items()}, equal


def run_of(fit: Fit, rows: int) -> Run:
    def run(number: int) -> float:
        fit(number)
        return rows

    return run


def nearest_sides(x: np.ndarray, start: np.ndarray) -> tuple[dict[str, Run], str]:
    """By each side, and for how many rows they name the same centre.

    Raises:
        AssertionError: for more than one row in ten thousand they do not.
    """
    own, first = torch.from_numpy(x), torch.from_numpy(start)
    model = sklearn_model(start).fit(x[: 2 * BATCH])
    model.cluster_centers_ = start
    other = float((model.predict(x) != assign_clusters(own, first).numpy()).mean())
    assert other <= 1e-4, f"another centre for {other:.2%} of the rows"
    sides = {
        OURS: run_of(lambda seed: assign_clusters(own, first).numpy(), len(x)),
        "scikit-learn predict": run_of(lambda seed: model.predict(x), len(x)),
    }
    return sides, f"the same centre for all but {other:.0e} of the rows"


def prepare(case: str, setting: Setting) -> Prepared:
    if setting.device != "cpu":
        raise ValueError("kmeans: scikit-learn computes on the CPU alone; take --device cpu")
    from threadpoolctl import threadpool_limits

    threadpool_limits(setting.threads)  # for as long as the process lives
    x = clouds(ROWS // 5 if setting.quick else ROWS)
    start = x[np.random.default_rng(1).choice(len(x), CLUSTERS, replace=False)]
    sides, equal = (fits if case == "fit" else nearest_sides)(x, start)
    told = {"rows": len(x), "dim": DIM, "clusters": CLUSTERS, "batch": BATCH}
    return Prepared("rows", sides, equal, dict(told), in_a_run=True)
