"""One case, measured in a process of its own, as a record for results.jsonl."""

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.circumstances import circumstances
from benchmarks.row import Contest, Prepared, Setting, find
from benchmarks.turns import Rates, by_turns, ratios, spread


@dataclass(frozen=True)
class Plan:
    """How long, and by which clock."""

    rounds: int = 7
    seconds: float = 6.0
    clock: str = "wall"


def measured(row: str, case: str, setting: Setting, plan: Plan) -> dict[str, Any]:
    """Prepare and time one case here."""
    import torch

    torch.set_num_threads(setting.threads)
    module, before = find(row), round(os.getloadavg()[0], 1)
    made: Prepared = module.prepare(case, setting)
    wanted, left_out = possible([one.on(setting.device) for one in module.GOALS[case]], setting)
    assert wanted, f"{row}:{case} has no contest that this machine can hold"
    sides = [side for one in wanted for side in (one.against, one.side)]
    assert set(sides) <= set(made.sides), wanted
    taken = {name: made.sides[name] for name in dict.fromkeys(sides)}
    rates = by_turns(taken, in_a_run=made.in_a_run, **asdict(plan))
    found = {
        "benchmark": "comparison", "row": row, "case": case, "unit": made.unit,
        "rates": {name: spread(values) for name, values in rates.items()},
        "contests": [contest(rates, one) for one in wanted],
        "left_out": [one._asdict() for one in left_out],
        "equal": made.equal, **made.told, **near_the_limit(made, rates, setting),
    }  # fmt: skip
    told = {**asdict(setting), **asdict(plan), "load_before": before}
    told["threads"] = torch.get_num_threads()  # some rows are of one core
    if setting.device != "cpu":
        told["gpu"] = torch.cuda.get_device_name()
    return found | circumstances(*module.PACKAGES, **told)


def possible(contests: list[Contest], setting: Setting) -> tuple[list[Contest], list[Contest]]:
    """Those that this machine can hold, and those that it cannot: it has to multiply in bf16."""
    from benchmarks.limit import multiplies_bf16

    if setting.device != "cpu" or multiplies_bf16():
        return contests, []
    left_out = [one for one in contests if "bf16" in one.side]
    return [one for one in contests if one not in left_out], left_out


def contest(rates: Rates, one: Contest) -> dict[str, Any]:
    """Its ratio with the spread over rounds, and the goal."""
    return {**one._asdict(), "ratio": spread(ratios(rates, one), 3)}


def near_the_limit(made: Prepared, rates: Rates, setting: Setting) -> dict[str, Any]:
    """For sides whose operations were counted: their share of a measured matrix product's rate."""
    if not made.flops:
        return {}
    from benchmarks.limit import matrix_rates

    kinds = {name: "bf16" if "bf16" in name else "float32" for name in made.flops if name in rates}
    limits = matrix_rates(sorted(set(kinds.values())), setting.device)
    shares = {
        name: round(spread(rates[name])[0] * flops / limits[kinds[name]], 3)
        for name, flops in made.flops.items()
        if name in rates
    }
    return {"matrix_flops_per_second": limits, "share_of_matrix_rate": shares}


def apart(row: str, case: str, setting: Setting, plan: Plan) -> dict[str, Any]:
    """The same in a fresh process: no case lives on the memory or the caches of another.

    Raises:
        RuntimeError: the process failed, or gave no record; with the end of what it said.
    """
    told = json.dumps({"row": row, "case": case, "setting": asdict(setting), "plan": asdict(plan)})
    own = {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "benchmarks.comparing", told],
        env=os.environ | own, capture_output=True, text=True,
    )  # fmt: skip
    if run.returncode:
        raise RuntimeError(f"{row}:{case} failed: {run.stderr.strip()[-2000:]}")
    try:
        return json.loads(run.stdout.splitlines()[-1])  # type: ignore[no-any-return]
    except (IndexError, ValueError) as error:
        said = f"{run.stdout}{run.stderr}".strip()[-2000:] or "nothing"
        raise RuntimeError(f"{row}:{case} ended without a record; it said: {said}") from error


def main() -> None:
    told = json.loads(sys.argv[1])
    setting, plan = Setting(**told["setting"]), Plan(**told["plan"])
    print(json.dumps(measured(told["row"], told["case"], setting, plan)))


if __name__ == "__main__":
    main()
