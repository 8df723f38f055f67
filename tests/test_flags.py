"""What a user types becomes what a function is given: text stays text, numbers become numbers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from selfwise.cli.flags import Flags
from selfwise.runs.argv import as_argv


def verb(
    *,
    data: Any,
    out: str | Path = "out",
    train: Any = None,
    encoder: str | Mapping[str, Any] = "resnet18",
    labels: str = "all",
    device: str | None = None,
    target: Path | None = None,
    layer: int | None = None,
    batch: int = 1,
    warmup: float = 0.1,
    skip_broken: bool = False,
    quiet: bool = False,
) -> None:
    """A verb with every type of option that there is."""


def plain(*, data: str) -> None:
    """A verb without an encoder."""


def parse(*argv: str) -> dict[str, Any]:
    given = Flags("try", "", [(verb, set())]).parse(["--data", "d", *argv])
    return given if "--data" in argv or any(t.startswith("--data=") for t in argv) else _rest(given)


def _rest(given: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if name != "data"}


def refusal(*argv: str) -> str:
    with pytest.raises(ValueError) as error:  # noqa: PT011
        parse(*argv)
    assert "\n" not in str(error.value)
    return str(error.value)


TYPED = ["2024", "on", "1e5", "1e3", "a: b", "7", "null", "~", "[1", "{a: 1}", "2024-01-01", "-x"]


@pytest.mark.parametrize("text", TYPED)
@pytest.mark.parametrize("flag", ["data", "out", "train", "labels", "device", "encoder"])
def test_text_stays_what_was_typed(flag, text):
    assert parse(f"--{flag}", text)[flag] == text
    assert parse(f"--{flag}={text}")[flag] == text


@pytest.mark.parametrize("text", TYPED)
def test_a_path_is_a_path_of_what_was_typed(text):
    assert parse("--target", text) == {"target": Path(text)}


def test_numbers():
    assert parse("--batch", "64") == {"batch": 64}
    assert parse("--warmup", "1e-2") == {"warmup": 0.01}
    assert parse("--warmup=10") == {"warmup": 10.0}
    assert refusal("--batch", "many") == "--batch must be int, not 'many'"
    assert refusal("--layer", "[1") == "--layer must be int, not '[1'"


@pytest.mark.parametrize(("text", "value"), [("-1", -1), ("-12", -12)])
def test_values_may_start_with_a_dash(text, value):
    assert parse("--layer", text) == {"layer": value}
    assert parse(f"--layer={text}") == {"layer": value}
    assert parse("--warmup", "-1e3") == {"warmup": -1000.0}
    assert parse("--encoder.shift", text) == {"encoder": {"name": "resnet18", "shift": value}}


def test_flags_of_truth_values():
    assert parse("--quiet") == {"quiet": True}
    assert parse("--quiet", "--skip-broken") == {"quiet": True, "skip_broken": True}
    assert parse("--skip-broken", "no", "--quiet=yes") == {"skip_broken": False, "quiet": True}
    assert parse("--skip-broken=false") == {"skip_broken": False}
    assert refusal("--quiet", "perhaps") == "--quiet must be yes or no, not 'perhaps'"


def test_dashes_and_underscores_are_the_same():
    assert parse("--skip-broken") == parse("--skip_broken") == {"skip_broken": True}
    dashed = parse("--encoder.drop-path-rate", "0.1")
    assert dashed == {"encoder": {"name": "resnet18", "drop_path_rate": 0.1}}
    assert parse("--out", "a-b_c") == {"out": "a-b_c"}  # in names only


def test_the_last_one_counts_and_an_equals_sign_may_be_part_of_a_value():
    assert parse("--batch", "1", "--batch", "2") == {"batch": 2}
    assert parse("--out=a=b", "--encoder.x=c=d")["out"] == "a=b"
    assert parse("--out=--odd") == {"out": "--odd"}


def test_options_of_the_encoder():
    given = parse("--encoder", "resnet50", "--encoder.layers", "[1, 2]", "--encoder.stem=half")
    assert given == {"encoder": {"name": "resnet50", "layers": [1, 2], "stem": "half"}}
    rates = parse("--encoder.a", "1e-3", "--encoder.b", "2.5E+2", "--encoder.c", "e3")
    assert rates["encoder"] == {"name": "resnet18", "a": 0.001, "b": 250.0, "c": "e3"}


@pytest.mark.parametrize("text", ["[1,1", "{a: ", "a: b: c", "'x", "!!python/name:os.system"])
def test_encoder_values_that_are_no_yaml(text):
    sentence = refusal("--encoder.layers", text)
    assert sentence.startswith("--encoder.layers is not a YAML value")
    assert text in sentence


@pytest.mark.parametrize(
    ("name", "flag"),
    [("name", "--encoder"), ("size", "--size"), ("seed", "--seed"), ("in_channels", "--channels")],
)
def test_what_the_run_gives_the_encoder_has_its_own_flag(name, flag):
    assert refusal(f"--encoder.{name}", "3").endswith(f"; {flag} sets it")
    assert refusal(f"--encoder.{name.replace('_', '-')}=3").endswith(f"; {flag} sets it")


def test_missing_values_and_strays():
    assert refusal("--out") == "--out needs a value"
    assert refusal("--out", "--quiet") == "--out needs a value"
    assert refusal("--encoder.layers", "--quiet") == "--encoder.layers needs a value"
    assert refusal("--encoder.layers=") == "--encoder.layers needs a value"
    assert "'stray'" in refusal("--out", "a", "stray")
    assert "'-b'" in refusal("-b", "3")


def test_missing_and_unknown_names():
    with pytest.raises(ValueError, match="--data must be given"):
        Flags("try", "", [(verb, set())]).parse(["--quiet"])
    assert refusal("--bach", "3") == "unknown option --bach; did you mean '--batch'?"
    assert "did you mean '--skip-broken'?" in refusal("--skip-brokn")
    with pytest.raises(ValueError, match=r"unknown option --encoder\.layers"):
        Flags("try", "", [(plain, set())]).parse(["--data", "d", "--encoder.layers", "[1]"])


def test_a_configuration_survives_the_way_through_the_command_line():
    options = {
        "data": "2024",
        "out": "--odd",
        "layer": -1,
        "warmup": 1e-5,
        "skip_broken": False,
        "encoder": {"name": "on", "stem": "half", "code": "1e3x", "tag": "7", "layers": [1] * 60},
    }
    names = Flags("try", "", [(verb, set())]).names
    assert parse(*as_argv(options, names)) == options
    assert as_argv({"device": None}, names) == []
    with pytest.raises(ValueError, match="did you mean 'batch'"):
        as_argv({"bach": 3}, names)
