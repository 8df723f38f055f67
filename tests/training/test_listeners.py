"""Callbacks are called at each log line, with values that they cannot change."""

import json

import pytest

from selfwise.training.listeners import Listeners, check_callbacks
from tests.training.loggers.test_loggers import StopsAt, train


class Collect:
    def __init__(self):
        self.lines = []

    def __call__(self, step, values):
        self.lines.append((step, values))


def test_a_callback_gets_each_line_of_the_log(tmp_path):
    collect = Collect()
    train(tmp_path, listeners=Listeners(callbacks=(collect,)))
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [{"step": step, **values} for step, values in collect.lines] == lines
    values = collect.lines[0][1]
    assert values.folder == tmp_path
    assert values.times["steps_per_second"] > 0
    with pytest.raises(TypeError):
        values["lr"] = 1.0
    with pytest.raises(AttributeError):
        values.folder = None


def test_a_failing_callback_is_named_with_its_step(tmp_path):
    def broken(step, values):
        if step == 4:
            raise KeyError("loss")

    expected = r"callback .*broken failed at step 4: KeyError: 'loss'; the checkpoints in .* whole"
    with pytest.raises(ValueError, match=expected):
        train(tmp_path, listeners=Listeners(callbacks=(broken,)))
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-00000003"]


def test_a_stop_in_a_callback_is_a_stop(tmp_path):
    def stop(step, values):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, listeners=Listeners(callbacks=(stop,)))


def test_callbacks_are_handed_over_again_at_resume(tmp_path):
    first, second = Collect(), Collect()
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, StopsAt(5), listeners=Listeners(callbacks=(first,)))
    train(tmp_path, listeners=Listeners(callbacks=(second,)))
    assert [step for step, _ in first.lines] == [2, 4]
    assert [step for step, _ in second.lines] == [4, 6]


@pytest.mark.parametrize("wrong", [[1], "watch", 3])
def test_what_cannot_be_called_is_refused(wrong):
    with pytest.raises(ValueError, match="callbacks must be"):
        check_callbacks(wrong)
