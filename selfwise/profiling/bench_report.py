"""The result of `selfwise bench`: numbers, a table of them, and advice."""

from collections.abc import Mapping

from pydantic import ConfigDict

from selfwise.core.config_class import Config
from selfwise.core.html_table import write_html_table
from selfwise.core.progress import format_count

# the word for an example, and the other unit of its content
UNIT_NAMES = {
    "image": ("images", ""),
    "text": ("rows", "tokens"),
    "audio": ("recordings", "s of sound"),
}
WIDTH = 20


class StepSeconds(Config):
    """Seconds per step."""

    median: float
    p10: float
    p90: float
    mean: float


class FlopRates(Config):
    """Operations of a step, and the rate of a matrix product."""

    flops: float
    """Operations of a step."""
    products: float
    """Operations per second, in the precision of the training."""
    side: int
    """Side of the two matrices."""
    products_bf16: float | None = None
    """Operations per second in bf16, if training is in float32."""


class TriedOptions(Config):
    """Other options, and their speed relative to the training's options."""

    options: dict[str, str | int]
    ratio: float


class BenchReport(Config):
    """The measurements of `bench`. As text it is a table with advice."""

    model_config = ConfigDict(allow_inf_nan=True)

    date: str
    method: str
    modality: str
    options: dict[str, object]
    found: dict[str, object]
    """Facts about the data."""
    environment: dict[str, object]
    cores: int
    steps: int
    """Number of measured steps."""
    seconds: float
    examples_per_second: float
    amount_per_second: float
    """Tokens, or seconds of audio."""
    step_seconds: StepSeconds
    waiting: float
    """Fraction of the time spent waiting for data."""
    flops: FlopRates
    utilisation: float
    """Fraction of the rate of the fastest matrix product."""
    memory: int
    """Peak bytes."""
    tried: list[TriedOptions]
    no_gain: list[str]
    advice: list[str]
    """Sentences on options to change, or one that recommends no change."""

    def to_dict(self) -> dict[str, object]:
        """Return all numbers as plain data, as --out writes them."""
        left_out = {"flops": {"products_bf16"}} if self.flops.products_bf16 is None else None
        return self.model_dump(exclude=left_out)

    def text(self) -> str:
        """A line for each number, the options that were not faster, and the advice."""
        lines = [
            _format_heading(self),
            *(f"  {name:<{WIDTH}}{text}" for name, text in self._format_numbers().items()),
        ]
        if self.no_gain:
            lines += ["tried, and no faster", *(f"  {one}" for one in self.no_gain)]
        return "\n".join([*lines, "advice", *(f"  {one}" for one in self.advice)])

    def _format_numbers(self) -> dict[str, str]:
        """Return names and values of the numbers, as text."""
        unit, more = UNIT_NAMES[self.modality]
        step, flops = self.step_seconds, self.flops
        rates = f"{_format_number(self.examples_per_second)} {unit}"
        rates += f", {_format_number(self.amount_per_second)} {more}" if more else ""
        middle, low, high = map(_format_time, (step.median, step.p10, step.p90))
        limit = f"{flops.side} x {flops.side} in {self.options['precision']}"
        per_second = _format_flops(flops.flops / step.mean)
        device = _describe_memory(str(self.options["device"]))
        return {
            "a second": rates,
            "a step": f"{middle}, 80 % of them {low} to {high}",
            "waiting for data": f"{_format_share(self.waiting)} of the time",
            "products of a step": f"{_format_flops(flops.flops)}, so {per_second} a second",
            "fastest product": f"{_format_flops(flops.products)} a second, of {limit}",
            "utilisation": f"{_format_share(self.utilisation)} of that",
            "memory": f"{self.memory / 2**20:,.0f} MiB, {device}",
        }

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        unit = UNIT_NAMES[self.modality][0]
        speed = f"{_format_number(self.examples_per_second)} {unit} a second"
        use = f"{_format_share(self.utilisation)} of the fastest product"
        return f"BenchReport({self.method}, {speed}, {use})"

    def _repr_html_(self) -> str:
        return write_html_table(
            self._format_numbers().items(), caption=_format_heading(self), notes=self.advice
        )


def _format_heading(report: BenchReport) -> str:
    options, environment = report.options, report.environment
    where = environment["cpu"] if options["device"] == "cpu" else environment["device"]
    words = [
        f"{report.method}, {options['encoder']}",
        f"{options['batch_size']} {UNIT_NAMES[report.modality][0]} a step",
        str(options["precision"]),
        f"{_count(options, 'cpu_threads', 'thread')}, {_count(options, 'num_workers', 'worker')}",
        f"{report.steps} steps on {where}",
    ]
    if options["devices"] != 1:
        words.append(f"one of {options['devices']} processes, alone")
    return "; ".join(words)


def _count(options: Mapping[str, object], option: str, what: str) -> str:
    number = options[option]
    assert isinstance(number, int), "threads and workers are whole numbers"
    return format_count(number, what)


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
