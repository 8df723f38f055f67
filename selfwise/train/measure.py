"""From minutes to steps."""

from collections.abc import Callable, Sequence
from time import monotonic

from selfwise.methods.method import Method
from selfwise.train.fit import Batches, Probe, assemble, load, train_step
from selfwise.train.options import Options
from selfwise.train.process import threads


def measure_steps(
    method: Callable[[], Method],
    batches: Batches,
    options: Options,
    *,
    seed: int,
    probes: Sequence[Probe] = (),
) -> int:
    """How many steps fit into `options.minutes`, measured on a copy that is thrown away.

    Five steps to warm up, then steps for 2 % of the time (at least 10); probes are timed too.
    """
    assert options.minutes is not None
    with threads(options.threads):
        trial, budget = method(), options.minutes * 60
        parts = assemble(trial, options)
        begun = monotonic()
        laps = 0
        for step, batch in load(batches, 0, 1_000, options.workers or 0):
            train_step(parts, batch, step, seed=seed, options=options)
            if step == 4:
                begun, laps = monotonic(), 0
            laps += 1
            if step >= 15 and monotonic() - begun > 0.02 * budget:
                break
        seconds = (monotonic() - begun) / max(laps - 1, 1)
        for probe in probes:
            begun = monotonic()
            probe(trial)
            seconds += (monotonic() - begun) / probe.every
    return max(1, int(budget / seconds))
