"""Iterations: a run, then another whose units are clusters of what the first has learned.

HuBERT, Hsu et al. 2021 (arXiv:2106.07447), section IV-C: MFCC, then layer 6 of the first model,
then layer 9 of the second. The same works for images, from patches.
"""

from pathlib import Path
from typing import Any

from selfwise import methods, modalities
from selfwise.runs.arguments import named, reading_options
from selfwise.runs.open import Run
from selfwise.runs.resume import pretrain_or_resume

FOLDER = "iteration-{}"


def iterate(
    method: str,
    *,
    data: Any,
    out: str | Path,
    iterations: int = 2,
    next_layer: int = -1,
    next_clusters: int = 0,
    next_steps: int = 0,
    warm: bool = False,
    quiet: bool = False,
    **options: Any,
) -> Run:
    """Train again and again, each time on clusters of a layer of the run before.

    Each iteration is a run of its own, OUT/iteration-1, OUT/iteration-2 and so on. The same call
    goes on where it was stopped, inside a run, inside clustering or between.

    Args:
        method: a method that predicts units: hubert or beit.
        data: where the examples are, as for `pretrain`.
        out: folder of the iterations.
        iterations: how many runs.
        next_layer: the layer that is clustered, counted from 0; negative counts from the last.
        next_clusters: units from the second iteration on; 0: as many as in the first.
        next_steps: steps from the second iteration on; 0: as in the first.
        warm: start from the weights of the run before, and not anew.
        quiet: print nothing.
        options: of `pretrain`: of the method, of training and of reading.

    Raises ValueError with one sentence for anything that cannot be.
    """
    if iterations < 1:
        raise ValueError(f"--iterations must be at least 1, got {iterations}")
    if not _predicts_units(method):
        right = " or ".join(name for name in methods.names() if _predicts_units(name))
        raise ValueError(f"{method} predicts no units that an iteration could renew; {right} does")
    if iterations > 1:
        _check(method, next_layer, next_clusters, options)
    told: dict[str, Any] = {**options, "data": data, "quiet": quiet}
    out, run = Path(out), None
    for number in range(1, iterations + 1):
        if run is not None:
            told |= {"units": str(run.folder), "units_layer": next_layer}
            told |= {"clusters": next_clusters} if next_clusters else {}
            told |= {"start": str(run.folder)} if warm else {}
            if next_steps:
                told |= {"steps": next_steps, "epochs": None, "minutes": None}
        run = pretrain_or_resume(method, out=out / FOLDER.format(number), **told)
    assert run is not None
    return run


def _predicts_units(method: str) -> bool:
    return "units" in reading_options(methods.find(method))


def _check(method: str, layer: int, clusters: int, options: dict[str, Any]) -> None:
    """Raises ValueError for what the second iteration would refuse, after hours of the first."""
    if clusters < 0 or clusters == 1:
        raise ValueError(f"--next-clusters must be at least 2, or 0 for the same, got {clusters}")
    kind = methods.find(method)
    depth = getattr(modalities.of(kind), "depth", None)  # what it has where names say it
    if depth is None or (options.get("start") and not options.get("encoder")):
        return
    n = depth(named(options.get("encoder", ""), kind))
    if not -n <= layer < n:
        raise ValueError(
            f"--next-layer {layer} does not exist: the encoder has layers 0 to {n - 1}"
        )
