"""Going on with a run that was stopped."""

import sys
from pathlib import Path
from typing import Any

from selfwise import methods
from selfwise.distributed.process_group import detect_env
from selfwise.runs import config
from selfwise.runs.arguments import (
    FROM_PYTHON,
    named,
    where,
)
from selfwise.runs.create import pretrain
from selfwise.runs.launch import check_as_many, check_together, joined, reopened, together
from selfwise.runs.open import Run, load
from selfwise.runs.settled import NAME, settled
from selfwise.training.config import recorded, resolve_device
from selfwise.training.loop import fit


def resume(run: str | Path, *, data: Any = None, quiet: bool = False) -> Run:
    """Go on with a run that was stopped; the result is that of the run that was not.

    Args:
        run: folder of the run.
        data: only for a run that was given its data in Python: the same data again.
        quiet: print nothing but differences of the environment.
    """
    folder = Path(run)
    training = recorded(config.read(folder)["options"])
    check_as_many(folder, training.devices)
    if (env := detect_env()) is not None and env.rank:
        joined(folder, env, data=data, device=training.device)
        return load(folder)
    again = reopened(folder, data)
    examples_of = again.settings["options"]["data"] if data is None else data
    check_together(training.devices, training.device, examples_of)
    now = config.environment(training.threads, resolve_device(training.device))
    for difference in config.differences(again.settings["environment"], now):
        text = f"warning: {difference}: the result may differ in the last bits"
        print(text, file=sys.stderr, flush=True)
    probes = again.examples.probes(again.method, training, seed=again.seed)
    again.examples.keep(folder)  # after the probes, since some write there
    told: dict[str, Any] = {"seed": again.seed, "out": folder, "probes": probes, "quiet": quiet}
    told["beside"] = {NAME: settled(folder)}
    with together(folder, training) as env:
        fit(again.method, again.source, training, **told, env=env)
    return load(folder)


def pretrain_or_resume(method: str, *, out: str | Path, **told: Any) -> Run:
    """`pretrain`, or `resume` where the folder holds a run that was told the same.

    Raises ValueError if it holds another run, naming the first option that differs.
    """
    folder = Path(out)
    if not (folder / config.FILE).is_file():
        return pretrain(method, out=folder, **told)
    settings = config.read(folder)
    before = {**settings["options"], **settings["found"].get("asked", {})}
    wanted = {**told, "encoder": named(told.get("encoder", ""), methods.find(method))}
    wanted["data"] = where(told["data"])
    for name in ("start", "units"):
        if told.get(name) and before.get(name) == str(Path(told[name]).resolve()):
            wanted[name] = before[name]  # of a run that may be gone; "patches" is no path
    for name, value in wanted.items():
        if name != "quiet" and value is not None and before.get(name) != value:
            raise ValueError(
                f"{folder} holds a run with {name} {before.get(name)}, not {value}; "
                "give another --out"
            )
    again = told["data"] if before["data"] == FROM_PYTHON else None
    return resume(folder, data=again, quiet=told.get("quiet", False))
