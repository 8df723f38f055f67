"""Iterations: a run, then another run that predicts clusters of the first run's features.

HuBERT, Hsu et al. 2021 (arXiv:2106.07447), section IV-C: MFCC, then layer 6 of the first model,
then layer 9 of the second. The same works for images, from patches.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from selfwise import methods
from selfwise.core.data_sources import SEVERAL
from selfwise.core.memory_limit import takes_memory_limit
from selfwise.core.ranges import NonNegativeInt, PositiveInt
from selfwise.methods.needs import FrameTargetNeed, PatchTargetNeed
from selfwise.modalities import modality_of
from selfwise.runs.names import find_method_class
from selfwise.runs.open import Run
from selfwise.runs.pretrain_config import make_request
from selfwise.runs.resume import pretrain_or_resume
from selfwise.training.listeners import Callback

FOLDER = "iteration-{}"


@takes_memory_limit
def iterate(
    method: str,
    *,
    data: Annotated[object, SEVERAL],
    out: str | Path,
    iterations: PositiveInt = 2,
    next_target_layer: int = -1,
    next_num_clusters: NonNegativeInt = 0,
    next_steps: NonNegativeInt = 0,
    warm: bool = False,
    max_memory: str = "",
    quiet: bool = False,
    callbacks: Sequence[Callback] = (),
    **options: Any,
) -> Run:
    """Train repeatedly, each time on clusters of a layer of the previous run.

    Each iteration is a separate run, OUT/iteration-1, OUT/iteration-2 and so on. Repeat the call to
    continue from where it stopped, inside a run, inside clustering or between.

    Args:
        method: a method that predicts units: hubert or beit.
        data: location of the examples, as for `pretrain`.
        out: folder of the iterations.
        iterations: number of runs.
        next_target_layer: the layer to cluster, counted from 0; negative counts from the last.
        next_num_clusters: units from the second iteration on; 0: as many as in the first.
        next_steps: steps from the second iteration on; 0: as in the first.
        warm: start from the weights of the previous run instead of random weights.
        max_memory: most memory for reading one file, as in 4G; by default half of what is free.
        quiet: print nothing.
        callbacks: functions of (step, values) that are called at each log line, as by `pretrain`.
        options: options of `pretrain`: of the method, training and reading.

    Raises ValueError with one sentence for an invalid request.
    """
    if not _predicts_units(method):
        right = " or ".join(name for name in methods.own_names() if _predicts_units(name))
        raise ValueError(
            f"{method} does not predict units, which an iteration would renew; use {right}"
        )
    if iterations > 1:
        _check_next(method, next_target_layer, next_num_clusters, options, data)
    run: Run | None = None
    for number in range(1, iterations + 1):
        if run is not None:
            options |= {"targets": str(run.folder), "target_layer": next_target_layer}
            options |= {"num_clusters": next_num_clusters} if next_num_clusters else {}
            options |= {"init_from": str(run.folder)} if warm else {}
            if next_steps:
                options |= {"steps": next_steps, "epochs": None, "minutes": None}
        folder = Path(out) / FOLDER.format(number)
        run = pretrain_or_resume(
            method, data=data, out=folder, quiet=quiet, callbacks=callbacks, **options
        )
    assert run is not None, "there is at least one iteration"
    return run


def _predicts_units(method: str) -> bool:
    needs = find_method_class(method).needs.values()
    return any(isinstance(need, PatchTargetNeed | FrameTargetNeed) for need in needs)


def _check_next(
    method: str, layer: int, clusters: int, options: Mapping[str, Any], data: object
) -> None:
    """Raise ValueError for options that the second iteration would refuse after the first."""
    if clusters == 1:
        raise ValueError(
            "--next-num-clusters must be at least 2, or 0 to keep the number of the first "
            f"iteration, got {clusters}"
        )
    own = {n: v for n, v in options.items() if n not in ("encoder", "init_from")}
    encoder, start = options.get("encoder", ""), options.get("init_from", "")
    request = make_request(method, own, data=data, encoder=encoder, init_from=start)
    n = modality_of(request.kind).find_depth(request.encoder)
    if n is not None and not -n <= layer < n:
        raise ValueError(
            f"--next-target-layer {layer} does not exist: the encoder has layers 0 to {n - 1}"
        )
