"""Types in run.yaml: each wrong one is a sentence with the file and the place."""

import pytest

from selfwise.runs.run_yaml import read_record
from tests.helpers.run_file_cases import write_run_file


def test_a_right_file_is_read(tmp_path):
    record = read_record(write_run_file(tmp_path))
    assert record.method == "simclr"
    assert (record.steps, record.seed, record.training.batch_size) == (4, 0, 8)


WRONG = {
    "resolved": [
        5,
        [],
        {},
        None,
        {"lr": 3},
        {"lr": {"value": 3}},
        {"lr": {"value": 1, "source": 2}},
    ],
    "config": [5, [], None, {"data": "digits", "epochs": "x"}],
    "method": [5, None, []],
    "modality": [5, None, "smell"],
    "data_info": [5, [], None, {"size": "wide"}],
    "environment": [5, None],
    "needs": [5, {"a": 5}],
    "about": [[], {"a": "b"}],
    "code": [5, {"method": 5}],
    "imported": [5, {"from": "x"}, {"from": 5, "family": "x"}],
    "continuations": [5, [5], {"a": 1}, [{"start": 1}]],
}


@pytest.mark.parametrize(("key", "value"), [(k, v) for k, vs in WRONG.items() for v in vs])
def test_a_wrong_type_is_a_sentence_with_the_file(key, value, tmp_path):
    write_run_file(tmp_path, **{key: value})
    with pytest.raises(ValueError, match=r"run\.yaml cannot be read: ") as error:
        read_record(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", "many"), ("steps", None), ("seed", 1.5), ("seed", float("nan")), ("data", 5),
        ("data", [5]), ("encoder", {}), ("batch_size", "x"), ("batch_size", -1), ("lr", "x"),
    ],
)  # fmt: skip
def test_a_wrong_value_of_an_option_is_a_sentence_with_the_file(name, value, tmp_path):
    write_run_file(tmp_path, options={name: value})
    spelled = name.replace("_", "[-_]")
    with pytest.raises(ValueError, match=rf"run\.yaml cannot be read: .*{spelled}"):
        read_record(tmp_path)


@pytest.mark.parametrize("name", ["data", "encoder", "steps", "seed"])
def test_a_missing_option_is_named(name, tmp_path):
    write_run_file(tmp_path, without=name)
    with pytest.raises(ValueError, match=rf"cannot be read: it lacks the option '{name}'"):
        read_record(tmp_path)
