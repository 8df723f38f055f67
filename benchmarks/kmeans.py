"""K-means on 1 M x 39: selfwise against scikit-learn's MiniBatchKMeans, by turns, on the same data.

    python -m benchmarks.kmeans [--threads 2] [--rounds 7] [--clock wall]

Both take 100 steps of 10,000 rows drawn at random, from the same 100 centres, with HuBERT's
settings (no reassignment, no early end, no labels at the end); then each finds the nearest centre
of all rows. The data are clouds as wide as they lie apart, with scales as different as those of
MFCC. Each draws its own batches, so that the inertia is printed too, which must be the same within
a per mille; `partial_fit` gets the very batches of selfwise. On a machine that does other work too,
`--threads 1 --clock processor` counts only what each side takes itself.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import torch
from sklearn.cluster import MiniBatchKMeans
from threadpoolctl import threadpool_limits

from benchmarks.circumstances import circumstances, write
from selfwise.rng import generator
from selfwise.units.kmeans import MiniBatch, distances, nearest

ROWS, DIM, CLUSTERS, BATCH = 1_000_000, 39, 100, 10_000
STEPS = ROWS // BATCH
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
LINE = "{:24s} {:8.3f} s ({:.3f} to {:.3f})  {:5.2f} times as fast ({:.2f} to {:.2f})"
Fit = Callable[[int], Any]  # given a seed, centres (k d)


def clouds() -> np.ndarray:
    """(rows, dim) float32."""
    draw = np.random.default_rng(0)
    middles = draw.standard_normal((3 * CLUSTERS, DIM), dtype=np.float32)
    x = middles[draw.integers(len(middles), size=ROWS)]
    x += draw.standard_normal((ROWS, DIM), dtype=np.float32)
    return x * np.geomspace(20, 0.5, DIM, dtype=np.float32)


def selfwise_fit(x: np.ndarray, start: np.ndarray) -> Fit:
    own, first = torch.from_numpy(x), torch.from_numpy(start)

    def fit(seed: int) -> np.ndarray:
        draw, mini = generator(seed, "batches"), MiniBatch(first)
        for _ in range(STEPS):
            mini.step(own.index_select(0, torch.randint(ROWS, (BATCH,), generator=draw)))
        return mini.centres.numpy()

    return fit


def sklearn_fit(x: np.ndarray, start: np.ndarray) -> Fit:
    def fit(seed: int) -> np.ndarray:
        return sklearn_model(start, seed).fit(x).cluster_centers_

    return fit


def partial_fit(x: np.ndarray, start: np.ndarray) -> Fit:
    """scikit-learn on the batches of `selfwise_fit`, gathered in the same way."""
    own = torch.from_numpy(x)

    def fit(seed: int) -> np.ndarray:
        draw, model = generator(seed, "batches"), sklearn_model(start)
        for _ in range(STEPS):
            rows = torch.randint(ROWS, (BATCH,), generator=draw)
            model.partial_fit(own.index_select(0, rows).numpy())
        return model.cluster_centers_

    return fit


def sklearn_model(start: np.ndarray, seed: int = 0) -> MiniBatchKMeans:
    return MiniBatchKMeans(
        CLUSTERS,
        init=start,
        n_init=1,
        batch_size=BATCH,
        max_iter=1,
        tol=0.0,
        max_no_improvement=None,
        reassignment_ratio=0.0,
        compute_labels=False,
        random_state=seed,
    )


def assignments(x: np.ndarray, start: np.ndarray) -> dict[str, Fit]:
    """The nearest of 100 centres for every row, by each side."""
    own, first = torch.from_numpy(x), torch.from_numpy(start)
    model = sklearn_model(start).fit(x[: 2 * BATCH])
    model.cluster_centers_ = start
    return {
        "scikit-learn nearest": lambda seed: model.predict(x),
        "selfwise nearest": lambda seed: nearest(own, first),
    }


def compare(sides: dict[str, Fit], rounds: int, clock: str) -> dict[str, list[float]]:
    """Seconds of each side in each round."""
    now, found = CLOCKS[clock], {name: [] for name in sides}  # type: ignore[var-annotated]
    for turn in range(rounds):
        for name, side in sides.items():
            begun = now()
            side(turn)
            found[name].append(now() - begun)
    return found


def summary(found: dict[str, list[float]]) -> dict[str, Any]:
    """Medians and extremes, and ratios to the first side by rounds; printed too."""
    base, sides = next(iter(found.values())), {}
    for name, seconds in found.items():
        ratios = [a / b for a, b in zip(base, seconds, strict=True)]
        cells = (median(seconds), min(seconds), max(seconds))
        print(LINE.format(name, *cells, median(ratios), min(ratios), max(ratios)))
        sides[name] = {
            "seconds": round(cells[0], 3),
            "spread": [round(cells[1], 3), round(cells[2], 3)],
            "ratio": round(median(ratios), 2),
            "ratio_spread": [round(min(ratios), 2), round(max(ratios), 2)],
        }
    return sides


def inertia(x: np.ndarray, centres: np.ndarray) -> float:
    """Mean squared distance to the nearest centre."""
    rows, found = torch.from_numpy(x), torch.from_numpy(centres)
    parts = (distances(part, found, nearest(part, found)) for part in rows.split(BATCH))
    return float(torch.cat(list(parts)).double().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7, help="turns of each side")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    x = clouds()
    start = x[np.random.default_rng(1).choice(ROWS, CLUSTERS, replace=False)]
    fits = {
        "scikit-learn fit": sklearn_fit(x, start),
        "scikit-learn partial_fit": partial_fit(x, start),
        "selfwise": selfwise_fit(x, start),
    }
    with threadpool_limits(options.threads):
        quality = {name: round(inertia(x, fit(99)), 3) for name, fit in fits.items()}
        print("mean squared distance:", quality)
        sides = summary(compare(fits, options.rounds, options.clock))
        sides |= summary(compare(assignments(x, start), options.rounds, options.clock))
    record = {"benchmark": "kmeans", "rows": ROWS, "dim": DIM, "clusters": CLUSTERS}
    record |= {"batch": BATCH, "steps": STEPS, "sides": sides, "inertia": quality}
    told = {"threads": options.threads, "rounds": options.rounds, "clock": options.clock}
    write(record | circumstances("scikit-learn", **told))


if __name__ == "__main__":
    main()
