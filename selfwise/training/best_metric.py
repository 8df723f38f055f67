"""Check that a run will log the value in `--keep-best`, before creating anything of the run."""

from collections.abc import Callable, Sequence

from selfwise.core.process import explain_loader_death, limit_threads
from selfwise.distributed.collectives import local_only
from selfwise.distributed.process_group import DistributedEnv
from selfwise.methods.method import Method
from selfwise.training.config import ResolvedTraining
from selfwise.training.loop import Batches, Probe, load_batches
from selfwise.training.step import build_state, train_step


def check_best(
    method: Callable[[], Method],
    batches: Batches,
    options: ResolvedTraining,
    *,
    seed: int,
    probes: Sequence[Probe],
) -> None:
    """Take one step of a copy, and compare `--keep-best` with its values and those of the probes.

    Raises ValueError naming the values that the run will log.
    """
    name, names = options.keep_best.lstrip("-"), ["lr"]
    with limit_threads(options.cpu_threads), local_only(), explain_loader_death():
        names += _list_step_names(trial := method(), batches, options, seed=seed)
        for probe in probes if name not in names else ():
            names += probe(trial)
    if name in names:
        return
    hint = "; knn_top1 needs --knn-every" if name == "knn_top1" else ""
    raise ValueError(
        f"--keep-best {name}: the run will not log this value; it logs: {', '.join(names)}{hint}"
    )


def _list_step_names(
    trial: Method, batches: Batches, options: ResolvedTraining, *, seed: int
) -> list[str]:
    one = options.replace(steps=1, num_workers=0, compile=False)
    state = build_state(trial, one)
    _, batch = next(iter(load_batches(batches, 0, one, DistributedEnv(size=options.devices))))
    step = train_step(state, batch, 0, seed=seed, options=one)
    return [*step.terms, *step.metrics]
