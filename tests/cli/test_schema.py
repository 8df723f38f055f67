"""`selfwise schema` says of every option what the config classes check."""

import json

import pytest

import selfwise
from selfwise import commands, methods
from selfwise.cli import main as cli


def test_a_method_has_its_options_with_types_ranges_and_meanings():
    schema = selfwise.make_schema("simclr")
    options = schema["properties"]
    assert options["steps"]["anyOf"][0] == {"minimum": 1, "type": "integer"}
    assert options["steps"]["description"].startswith("Number of optimizer steps.")
    assert options["precision"]["enum"] == ["auto", "bf16", "fp16", "float32"]
    assert options["temperature"]["type"] == "number"
    assert options["temperature"]["default"] == 0.5
    assert options["encoder.stem"]["default"] == "auto"
    assert {"data", "out", "seed", "init_from", "image_size", "quiet"} <= options.keys()
    assert "mask_prob" not in options
    assert schema["additionalProperties"] is False
    assert "required" not in schema, "the command line may have what a file has not"
    assert schema["patternProperties"] == {"^encoder[.]": {}}, "timm's models have their own"


def test_another_encoder_has_other_options():
    options = selfwise.make_schema("simclr", encoder="beit-tiny")
    assert "encoder.depth" in options["properties"]
    assert "encoder.stem" not in options["properties"]
    assert "patternProperties" not in options


@pytest.mark.run
@pytest.mark.parametrize("name", sorted(commands.import_commands()))
def test_every_command_has_a_schema_that_is_json(name):
    schema = selfwise.make_schema(name)
    assert json.loads(json.dumps(schema)) == schema
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    several = schema.get("anyOf")
    assert (several is not None) == (commands.takes_method(commands.import_commands()[name]))
    assert several or schema["type"] == "object"


def test_a_command_says_what_it_needs():
    schema = selfwise.make_schema("probe")
    assert schema["title"] == "selfwise probe"
    assert schema["required"] == ["train"]
    assert schema["properties"]["seeds"]["type"] == "integer"
    assert "plugins" not in schema["properties"]


def test_without_a_name_there_is_one_for_each_method(capsys):
    assert cli.main(["schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert [one["title"] for one in schema["anyOf"]] == methods.own_names()


def test_the_command_line_prints_what_python_returns(capsys):
    assert cli.main(["schema", "bert", "--encoder", "bert-mini"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == selfwise.make_schema("bert", encoder="bert-mini")


def test_a_name_with_a_slip_is_one_line(capsys):
    assert cli.main(["schema", "simclrr"]) == 2
    error = capsys.readouterr().err
    assert error == "selfwise: 'simclrr' is not a method or a command; did you mean 'simclr'?\n"
    assert cli.main(["schema", "zzz"]) == 2
    error = capsys.readouterr().err
    assert "'zzz' is not a method or a command; methods: albert, beit, " in error
    assert "; commands: bench, completion, doctor, " in error
    assert cli.main(["schema", "simclr", "bert"]) == 2
    assert "unexpected 'bert': an option" in capsys.readouterr().err
