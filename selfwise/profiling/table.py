"""The numbers of `selfwise bench` as lines that are read."""

from collections.abc import Mapping
from typing import Any

from selfwise.profiling.advice import count

# what an example is called, and what else there is of it
NAMES = {"image": ("images", ""), "text": ("rows", "tokens"), "audio": ("recordings", "s of sound")}
WIDTH = 20


def table(found: Mapping[str, Any]) -> str:
    """A line for each number, what was tried in vain, and the advice."""
    options = found["options"]
    each, more = NAMES[found["modality"]]
    step, flops = found["step_seconds"], found["flops"]
    rates = f"{_number(found['examples_per_second'])} {each}"
    rates += f", {_number(found['amount_per_second'])} {more}" if more else ""
    middle, low, high = (_time(step[name]) for name in ("median", "p10", "p90"))
    limit = f"{flops['side']} x {flops['side']} in {options['precision']}"
    work = flops["flops"]
    rows = {
        "a second": rates,
        "a step": f"{middle}, 80 % of them {low} to {high}",
        "waiting for data": f"{_share(found['waiting'])} of the time",
        "products of a step": f"{_flop(work)}, so {_flop(work / step['mean'])} a second",
        "fastest product": f"{_flop(flops['products'])} a second, of {limit}",
        "utilisation": f"{_share(found['utilisation'])} of that",
        "memory": f"{found['memory'] / 2**20:,.0f} MiB, {_of_what(options['device'])}",
    }
    lines = [_head(found, each), *(f"  {name:<{WIDTH}}{said}" for name, said in rows.items())]
    if found["no_gain"]:
        lines += ["tried, and no faster", *(f"  {one}" for one in found["no_gain"])]
    return "\n".join([*lines, "advice", *(f"  {one}" for one in found["advice"])])


def _head(found: Mapping[str, Any], each: str) -> str:
    options, environment = found["options"], found["environment"]
    where = environment["cpu"] if options["device"] == "cpu" else environment["device"]
    words = [
        f"{found['method']}, {options['encoder']}",
        f"{options['batch']} {each} a step",
        options["precision"],
        f"{count(options['threads'], 'thread')}, {count(options['workers'], 'worker')}",
        f"{found['steps']} steps on {where}",
    ]
    if options["devices"] > 1:
        words.append(f"one of {options['devices']} processes, alone")
    return "; ".join(words)


def _of_what(device: str) -> str:
    return "the peak of this process" if device == "cpu" else "the peak of torch on the GPU"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"


def _time(seconds: float) -> str:
    return f"{1000 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def _flop(value: float) -> str:
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if value >= size:
            return f"{value / size:.3g} {unit}FLOP"
    return f"{value:.0f} FLOP"
