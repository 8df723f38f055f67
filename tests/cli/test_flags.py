"""What a user types becomes what a function is given: text stays text, numbers become numbers."""

import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from selfwise.cli.flags import OptionTable, check_required, drop_lengths, typed_values
from selfwise.core.config_class import Config, make_config, make_options_class, nest_values
from selfwise.runs.pretrain_config import config_class, make_request
from selfwise.runs.reproduce import format_reproduce_command
from tests.helpers import show_cases


def verb(
    *,
    data: Any,
    out: str | Path = "out",
    train: Any = None,
    encoder: str = "resnet18",
    labels: str = "all",
    device: str | None = None,
    target: Path | None = None,
    layer: int | None = None,
    batch_size: int = 1,
    warmup: float = 0.1,
    skip_broken: bool = False,
    quiet: bool = False,
) -> None:
    """A verb with every type of option that there is."""


def made(*, drop_path_rate: float = 0.0, layers: list[int], stem: str = "auto") -> None:
    """An encoder whose options have types."""


def taken(**options: Any) -> None:
    """An encoder that takes options of any name, as those of timm do."""


class Typed(Config):
    """What a command that trains makes of its options."""

    encoder_options: make_options_class(made, prefix="encoder.")


class AnyNamed(Config):
    """The same for an encoder of timm."""

    encoder_options: make_options_class(taken, prefix="encoder.")


KIND = make_options_class(verb)


def parse(*argv: str) -> dict[str, Any]:
    """The options of a verb that were given, with their types."""
    given = OptionTable(KIND).read_values(argv)
    values = typed_values(KIND, {"data": "d"} | given)
    return {name: value for name, value in values.items() if name in given}


def encoder(*argv: str, kind: type[Config] = AnyNamed) -> dict[str, Any]:
    """The options of an encoder that were given."""
    values = OptionTable(KIND, kind).read_values(argv)
    config = make_config(kind, nest_values(kind, values))
    return {n: v for n, v in config.encoder_options if n in config.encoder_options.model_fields_set}


def refusal(*argv: str, read: Any = parse, **told: Any) -> str:
    with pytest.raises(ValueError) as error:  # noqa: PT011
        read(*argv, **told)
    assert "\n" not in str(error.value)
    return str(error.value)


TYPED = ["2024", "on", "1e5", "1e3", "a: b", "7", "null", "~", "[1", "{a: 1}", "2024-01-01", "-x"]


@pytest.mark.parametrize("text", TYPED)
@pytest.mark.parametrize("flag", ["data", "out", "train", "labels", "device", "encoder"])
def test_text_stays_what_was_typed(flag, text):
    assert parse(f"--{flag}", text)[flag] == text
    assert parse(f"--{flag}={text}")[flag] == text


@pytest.mark.parametrize("text", [text for text in TYPED if text[0] not in "[{"])
def test_text_of_an_encoder_that_has_a_type_stays_what_was_typed(text):
    assert encoder("--encoder.layers", "[1]", "--encoder.stem", text, kind=Typed)["stem"] == text


@pytest.mark.parametrize("text", TYPED)
def test_a_path_is_a_path_of_what_was_typed(text):
    assert parse("--target", text) == {"target": Path(text)}


def test_numbers():
    assert parse("--batch-size", "64") == {"batch_size": 64}
    assert parse("--warmup", "1e-2") == {"warmup": 0.01}
    assert parse("--warmup=10") == {"warmup": 10.0}
    assert [type(value) for value in parse("--warmup=10").values()] == [float]
    assert refusal("--batch-size", "many") == "--batch-size must be a whole number, not 'many'"
    assert refusal("--batch-size", "2.5") == "--batch-size must be a whole number, not '2.5'"
    assert refusal("--layer", "[1") == "--layer must be a whole number, not '[1'"
    assert refusal("--warmup", "long") == "--warmup must be a number, not 'long'"
    assert refusal("--warmup", "nan").startswith("--warmup must be finite, got ")


@pytest.mark.parametrize(("text", "value"), [("-1", -1), ("-12", -12)])
def test_values_may_start_with_a_dash(text, value):
    assert parse("--layer", text) == {"layer": value}
    assert parse(f"--layer={text}") == {"layer": value}
    assert parse("--warmup", "-1e3") == {"warmup": -1000.0}
    assert encoder("--encoder.shift", text) == {"shift": value}


def test_flags_of_truth_values():
    assert parse("--quiet") == {"quiet": True}
    assert parse("--quiet", "--skip-broken") == {"quiet": True, "skip_broken": True}
    assert parse("--skip-broken", "no", "--quiet=yes") == {"skip_broken": False, "quiet": True}
    assert parse("--skip-broken=false") == {"skip_broken": False}
    assert refusal("--quiet", "perhaps") == "--quiet must be yes or no, not 'perhaps'"


def test_dashes_and_underscores_are_the_same():
    assert parse("--skip-broken") == parse("--skip_broken") == {"skip_broken": True}
    for kind in (AnyNamed, Typed):
        dashed = encoder("--encoder.drop-path-rate", "0.1", "--encoder.layers=[1]", kind=kind)
        assert dashed == {"drop_path_rate": 0.1, "layers": [1]}
    assert parse("--out", "a-b_c") == {"out": "a-b_c"}  # in names only


def test_the_last_one_counts_and_an_equals_sign_may_be_part_of_a_value():
    assert parse("--batch-size", "1", "--batch-size", "2") == {"batch_size": 2}
    assert parse("--out=a=b") == {"out": "a=b"}
    assert encoder("--encoder.x=c=d") == {"x": "c=d"}
    assert parse("--out=--odd") == {"out": "--odd"}


def test_options_of_the_encoder():
    for kind in (AnyNamed, Typed):
        assert encoder("--encoder.layers", "[1, 2]", "--encoder.stem=half", kind=kind) == {
            "layers": [1, 2],
            "stem": "half",
        }
    rates = encoder("--encoder.a", "1e-3", "--encoder.b", "2.5E+2", "--encoder.c", "e3")
    assert rates == {"a": 0.001, "b": 250.0, "c": "e3"}
    wrong = refusal("--encoder.layers", "[1, a]", read=encoder, kind=Typed)
    assert wrong == "--encoder.layers must be a whole number, not 'a'"
    assert refusal("--encoder.stem=half", read=encoder, kind=Typed) == (
        "--encoder.layers must be given"
    )


@pytest.mark.parametrize("text", ["[1,1", "{a: ", "a: b: c", "'x", "!!python/name:os.system"])
def test_encoder_values_that_are_no_yaml(text):
    sentence = refusal("--encoder.layers", text, read=encoder)
    assert sentence.startswith("--encoder.layers is not a YAML value")
    assert text in sentence


def test_options_of_an_encoder_that_has_no_types():
    def make(width=8, *, act="relu", rate=None):
        """An encoder as people write them."""

    kind = config_class("simclr", make)
    options = {"--encoder.width": "16", "--encoder.act": "gelu", "--encoder.rate": "1e-3"}
    words = [word for pair in options.items() for word in pair]
    values = OptionTable(kind).read_values(words)
    assert values == {"encoder.width": 16, "encoder.act": "gelu", "encoder.rate": 0.001}
    request = make_request("simclr", values, data="digits", encoder=make)
    assert dict(request.encoder.options) == {"width": 16, "act": "gelu", "rate": 0.001}
    near = "unknown option --encoder.with; did you mean '--encoder.width'?"
    with pytest.raises(ValueError, match=re.escape(near)):
        OptionTable(kind).read_values(["--encoder.with", "3"])


def trained(*argv: str, encoder: Any = "resnet18", method: str = "simclr") -> Any:
    """What a command line would train."""
    name = encoder if isinstance(encoder, str) else "resnet18"
    values = OptionTable(config_class(method, name)).read_values(argv)
    return make_request(method, values, data="digits", encoder=encoder)


@pytest.mark.parametrize(
    ("name", "flag"),
    [
        ("name", "--encoder"),
        ("size", "--image-size"),
        ("seed", "--seed"),
        ("in_channels", "--channels"),
    ],
)
def test_what_the_run_gives_the_encoder_has_its_own_flag(name, flag):
    wanted = f"is not an option of the encoder; {flag} sets it"
    assert refusal(f"--encoder.{name}", "3", read=trained).endswith(wanted)
    assert refusal(f"--encoder.{name.replace('_', '-')}=3", read=trained).endswith(wanted)
    with pytest.raises(ValueError, match=wanted):
        make_request("simclr", {"encoder_options": {name: 3}}, data="digits", encoder="resnet18")
    # where no name is taken that has no type, there is no such option
    typed = refusal(f"--encoder.{name}", "3", read=trained, encoder="beit-tiny", method="beit")
    assert typed.startswith(f"unknown option --encoder.{name.replace('_', '-')}; did you mean")


def test_what_an_encoder_from_outside_is_given_has_its_own_flag_too():
    def make(*, in_channels: int, size: int = 3, **options: Any) -> torch.nn.Module:
        return torch.nn.Flatten()

    wanted = "--encoder.in-channels is not an option of the encoder; --channels sets it"
    assert refusal("--encoder.in_channels=3", read=trained, encoder=make) == wanted
    own = trained("--encoder.name=mine", encoder=make).encoder.options
    assert dict(own) == {"name": "mine"}


def test_missing_values_and_strays():
    assert refusal("--out") == "--out needs a value"
    assert refusal("--out", "--quiet") == "--out needs a value"
    for kind in (AnyNamed, Typed):
        told = {"read": encoder, "kind": kind}
        assert refusal("--encoder.layers", "--quiet", **told) == "--encoder.layers needs a value"
        assert refusal("--encoder.layers=", **told) == "--encoder.layers needs a value"
    assert "'stray'" in refusal("--out", "a", "stray")
    assert "'-b'" in refusal("-b", "3")


def test_missing_and_unknown_names():
    with pytest.raises(ValueError, match="--data must be given"):
        typed_values(KIND, {"quiet": "yes"})
    with pytest.raises(ValueError, match=r"^--out must be given$"):
        check_required(["data", "out"], {"data": "d"})
    assert refusal("--bach", "3") == "unknown option --bach; did you mean '--batch-size'?"
    assert "did you mean '--skip-broken'?" in refusal("--skip-brokn")
    assert refusal("--encoder.layer", "[1]", read=encoder, kind=Typed) == (
        "unknown option --encoder.layer; did you mean '--encoder.layers'?"
    )
    assert refusal("--encoder.layers", "[1]").startswith("unknown option --encoder.layers")


def test_a_length_of_the_command_line_takes_the_place_of_that_of_a_file():
    below = {"steps": 5, "batch_size": 2}
    assert drop_lengths(below, {"minutes": "1", "seed": "1"}) == {"batch_size": 2}
    assert drop_lengths(below, {"seed": "1"}) == below


@pytest.mark.parametrize("name", ["resnet18", "beit-tiny"])
def test_a_configuration_survives_the_way_through_the_command_line(name):
    odd = {"stem": "half", "code": "1e3x", "tag": "7", "on": "on", "rate": "1e3", "dash": "-"}
    odd |= {"nothing": "", "quoted": "'a' \"b\"", "yes": True, "layers": [1] * 60, "few": 1e-5}
    own = odd if name == "resnet18" else {"dim": 48, "drop_path": 1e-5}
    method = "simclr" if name == "resnet18" else "beit"
    options = {
        "lr": 1e-5,
        "skip_broken": False,
        "min_crop_scale": 0.5,
        "monitor_every": 0,
        "seed": 3,
    }
    options |= {"encoder": name, "keep_best": "--odd", "steps": 60, "data": "/2024's $HOME"}
    asked = {**options, **{f"encoder.{n}": value for n, value in own.items()}}
    record = replace(show_cases.settings(method, encoder=name), config={"method": method, **asked})
    command = format_reproduce_command(record, out="b").command.replace("\\\n", "")
    words = shlex.split(command)
    table = OptionTable(config_class(method, name), make_options_class(verb))
    values = table.read_values(words[3:])
    assert values.pop("out") == "b"
    again = make_request(method, values, data=values.pop("data"), encoder=values.pop("encoder"))
    chosen = {"device", "precision", "cpu_threads", "num_workers"}  # by the machine
    assert {n: v for n, v in again.requested.items() if n not in chosen or n in asked} == {
        n: value for n, value in asked.items() if value != ""
    }
    assert {n: getattr(again.encoder.options, n) for n in own} == own
