"""What loggers show of the first batch: one picture or text for each modality."""

import numpy as np
import pytest

import selfwise
from selfwise.runs import create
from tests.golden import golden_cases as golden

# options of tiny runs for each modality, whose data are made by the golden runs
NAMES = ["simclr", "rotation", "jigsaw", "beit", "fsq", "bert", "gpt", "hubert"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    golden.write_inputs(folder)
    return folder


@pytest.fixture
def pictures(home, tmp_path, monkeypatch):
    """A function: name of a golden run -> the pictures that its loggers would get."""
    monkeypatch.setenv("SELFWISE_CACHE", str(tmp_path / ".cache"))

    def draw(name):
        drawn = []
        original = create.make_listeners

        def make(prepared, *rest):
            listeners = original(prepared, *rest)
            before = [p.clone() for p in prepared.method.state_dict().values()]
            drawn.extend(listeners.draw_pictures())
            after = prepared.method.state_dict().values()
            assert all(bool((a == b).all()) for a, b in zip(before, after))
            return listeners

        monkeypatch.setattr(create, "make_listeners", make)
        method, data, options = golden.RUNS[name]
        told = options | {"steps": 1, "monitor_every": 0}
        place = golden.place(home, data)
        selfwise.pretrain(method, data=place, out=tmp_path / "run", quiet=True, **told)
        return drawn

    return draw


@pytest.mark.run
@pytest.mark.parametrize("name", NAMES)
def test_the_first_views_are_shown(name, pictures):
    (picture,) = pictures(name)
    assert picture.caption
    if name in ("bert", "gpt"):
        assert picture.image is None
        assert picture.text.startswith("text 1: ")
        assert ("to predict: " in picture.text) == (name == "bert")
        assert ("[MASK]" in picture.text) == (name == "bert")
        return
    assert picture.image.dtype == np.uint8
    assert picture.image.ndim == 3
    assert picture.image.std() > 10  # something is to be seen
    if name == "hubert":
        red, green = picture.image[..., 0].astype(int), picture.image[..., 1].astype(int)
        assert 0.05 < (red - green > 20).mean() < 0.95  # hidden frames, and others
