"""Files of settings from strangers: plain data, in bounded time, or one sentence."""

import time

import pytest

from selfwise.core import plain_data
from selfwise.core.plain_data import (
    MAX_BYTES,
    parse_json,
    parse_yaml,
    read_json_file,
    read_toml_file,
    read_yaml_file,
    require_mapping,
)

BOMB = "a0: &a0 [x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10)
)


def test_aliases_are_refused_before_they_repeat_anything():
    begun = time.monotonic()
    with pytest.raises(ValueError, match=r"f\.yaml is not readable YAML: it has the alias"):
        parse_yaml(BOMB, "f.yaml")
    assert time.monotonic() - begun < 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[" * 70 + "]" * 70, "more than 64 lists"),
        ("[" * 5000 + "]" * 5000, "nesting depth"),
        ("a: " + "9" * 5000, "4300 digits"),
        ("a: !!int ''", "does not fit its tag"),
        ("a: !!bool x", "does not fit its tag"),
        ("a: !!timestamp x", "does not fit its tag"),
        ("a: 2020-99-99", "month"),
        ("a: !!python/object/apply:os.system ['false']", "could not determine a constructor"),
        ("? [1]\n: 2", "unhashable"),
        ("a: [", "line"),
        ("a: \x07", "special characters are not allowed|control characters"),
    ],
)
def test_yaml_that_is_not_plain_data_is_one_sentence(text, why):
    with pytest.raises(ValueError, match=rf"^f\.yaml is not readable YAML: .*({why})") as error:
        parse_yaml(text, "f.yaml")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[" * 100_000, "more than 64 lists"),
        ("[" * 70 + "]" * 70, "more than 64 lists"),
        ('{"a": ' * 70 + "1" + "}" * 70, "more than 64 lists"),
        ("9" * 5000, "4300 digits"),
        ("{", "Expecting"),
    ],
)
def test_json_that_is_too_deep_or_malformed_is_one_sentence(text, why):
    with pytest.raises(ValueError, match=rf"^f\.json is not JSON: .*{why}"):
        parse_json(text, "f.json")


@pytest.mark.parametrize(
    "text", ["a = " + "[" * 5000, "a = " + "9" * 5000, "a = [" * 70, "a", "a = 2020-99-99"]
)
def test_toml_that_cannot_be_read_is_one_sentence(text, tmp_path):
    (tmp_path / "f.toml").write_text(text)
    with pytest.raises(ValueError, match=r"f\.toml is not readable TOML: "):
        read_toml_file(tmp_path / "f.toml")


@pytest.mark.parametrize("read", [read_yaml_file, read_json_file, read_toml_file])
def test_large_files_and_other_encodings_are_refused(read, tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b" " * (MAX_BYTES + 1))
    with pytest.raises(ValueError, match=r"f is larger than 4 MiB"):
        read(path)
    path.write_bytes(b"a: \xff")
    with pytest.raises(ValueError, match=r"f is not text in UTF-8 at byte 3"):
        read(path)


def test_plain_data_are_read_as_before():
    text = "a: 1e-3\nb: [1, 2.5, yes, null]\nc: {d: x}\n"
    assert parse_yaml(text, "f") == {"a": "1e-3", "b": [1, 2.5, True, None], "c": {"d": "x"}}
    assert parse_json('{"a": [1, {"b": null}]}', "f") == {"a": [1, {"b": None}]}
    assert parse_json("[" * 64 + "]" * 64, "f")


def test_names_and_values_are_required():
    assert require_mapping({"a": 1}, "f") == {"a": 1}
    for content in ([], None, 5, {1: 2}):
        with pytest.raises(ValueError, match="f must hold names and values, not a value of type"):
            require_mapping(content, "f")


def test_without_libyaml_the_loader_is_the_one_in_python(monkeypatch):
    monkeypatch.setattr(plain_data, "SafeLoader", plain_data.yaml.SafeLoader)
    test_aliases_are_refused_before_they_repeat_anything()
    test_plain_data_are_read_as_before()
