"""The numbers of `selfwise bench` as lines that are read."""

from collections.abc import Mapping
from typing import Any

from selfwise.profiling.advice import format_count

# what an example is called, and what else there is of it
UNIT_NAMES = {
    "image": ("images", ""),
    "text": ("rows", "tokens"),
    "audio": ("recordings", "s of sound"),
}
WIDTH = 20


def format_table(report: Mapping[str, Any]) -> str:
    """A line for each number, what was tried in vain, and the advice."""
    options = report["options"]
    each, more = UNIT_NAMES[report["modality"]]
    step, flops = report["step_seconds"], report["flops"]
    rates = f"{_format_number(report['examples_per_second'])} {each}"
    rates += f", {_format_number(report['amount_per_second'])} {more}" if more else ""
    middle, low, high = (_format_time(step[name]) for name in ("median", "p10", "p90"))
    limit = f"{flops['side']} x {flops['side']} in {options['precision']}"
    work = flops["flops"]
    per_second = _format_flops(work / step["mean"])
    rows = {
        "a second": rates,
        "a step": f"{middle}, 80 % of them {low} to {high}",
        "waiting for data": f"{_format_share(report['waiting'])} of the time",
        "products of a step": f"{_format_flops(work)}, so {per_second} a second",
        "fastest product": f"{_format_flops(flops['products'])} a second, of {limit}",
        "utilisation": f"{_format_share(report['utilisation'])} of that",
        "memory": f"{report['memory'] / 2**20:,.0f} MiB, {_describe_memory(options['device'])}",
    }
    lines = [
        _format_heading(report, each),
        *(f"  {name:<{WIDTH}}{text}" for name, text in rows.items()),
    ]
    if report["no_gain"]:
        lines += ["tried, and no faster", *(f"  {one}" for one in report["no_gain"])]
    return "\n".join([*lines, "advice", *(f"  {one}" for one in report["advice"])])


def _format_heading(report: Mapping[str, Any], each: str) -> str:
    options, environment = report["options"], report["environment"]
    where = environment["cpu"] if options["device"] == "cpu" else environment["device"]
    threads = format_count(options["threads"], "thread")
    words = [
        f"{report['method']}, {options['encoder']}",
        f"{options['batch']} {each} a step",
        options["precision"],
        f"{threads}, {format_count(options['workers'], 'worker')}",
        f"{report['steps']} steps on {where}",
    ]
    if options["devices"] > 1:
        words.append(f"one of {options['devices']} processes, alone")
    return "; ".join(words)


def _describe_memory(device: str) -> str:
    return "the peak of this process" if device == "cpu" else "the peak of torch on the GPU"


def _format_number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _format_share(value: float) -> str:
    return f"{100 * value:.1f} %"


def _format_time(seconds: float) -> str:
    return f"{1000 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def _format_flops(value: float) -> str:
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if value >= size:
            return f"{value / size:.3g} {unit}FLOP"
    return f"{value:.0f} FLOP"
