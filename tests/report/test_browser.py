"""A report as a reader meets it: in a browser, on a wide screen, on a phone, in the dark."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from selfwise.report.write import write_page
from tests.helpers.report_cases import EVIL

HERE = Path(__file__).parents[1] / "browser"
NODE = shutil.which("node")
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")

pytestmark = pytest.mark.skipif(
    not (NODE and CHROMIUM and (HERE / "node_modules").is_dir()),
    reason="no node, no chromium or no playwright-core: tests/browser/install gets them",
)


def seen(page: Path) -> dict:
    """What a reader of the page meets."""
    done = subprocess.run(
        [NODE, "open_report.mjs", str(page)],
        cwd=HERE,
        env={**os.environ, "CHROMIUM": CHROMIUM},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def sound(told: dict) -> None:
    """What must hold of every report."""
    assert told["errors"] == []
    assert told["dialogs"] == []
    assert all(url.startswith("file:") for url in told["requests"])
    assert len(set(told["requests"])) == 1  # the page itself
    contents = told["contents"]
    assert contents["plots"]
    for plot in contents["plots"]:
        assert min(plot["width"], plot["height"]) > 100
        assert plot["marks"] > 10
        assert plot["inks"] > 2  # none, the page's, and at least one of what is drawn
    assert all(width > 0 for width in contents["pictures"])
    assert contents["unnamed"] == contents["planted"] == 0
    for narrow in told["narrow"].values():
        assert narrow["width"] == 390
        assert narrow["wider"] == []
        assert narrow["smallest"] > 9  # px
    assert lightness(told["narrow"]["phone"]["paper"]) > 0.9
    assert lightness(told["narrow"]["phone"]["ink"]) < 0.2
    assert lightness(told["narrow"]["dark"]["paper"]) < 0.2
    assert lightness(told["narrow"]["dark"]["ink"]) > 0.8
    assert lightness(told["narrow"]["dark"]["plot"][0]) > 0.8  # figures follow the page


def lightness(color: str) -> float:
    """Of rgb(r, g, b), 0 to 1."""
    red, green, blue = (int(part) for part in color[4:-1].split(","))
    return (red + green + blue) / (3 * 255)


def pointed(told: dict, *, image: bool) -> None:
    """What must hold of a map that is pointed at, touched, or gone through with keys."""
    assert not told["before"]["shown"]
    assert not told["after"]["shown"]
    assert not told["escaped"]["shown"]
    for card in [*told["hovered"], *told["touched"]]:
        assert card["shown"]
        assert card["inside"]
        assert card["words"]
        assert card["image"] == image
        assert (card["width"] > 0) == image
        assert card["tags"] == 2  # what it is made of, and nothing that a name has planted
    first, second = told["keyed"]["first"], told["keyed"]["second"]
    assert first
    assert second
    assert first != second


@pytest.fixture(scope="module")
def images(home):
    """The page of a run on pictures, and what a reader meets."""
    run = home / "run"
    return run, seen(write_page([run]))


def test_pictures(images):
    _, told = images
    sound(told)
    pointed(told, image=True)
    assert told["contents"]["maps"] == [36]
    assert told["contents"]["scripts"] == 2
    assert told["faded"] == 24
    assert told["unfaded"] == 0


def test_a_file_that_is_called_like_an_element_does_nothing(images):
    _, told = images
    assert any(EVIL in card["words"] for card in told["hovered"])
    assert told["dialogs"] == []
    assert told["contents"]["planted"] == 0


@pytest.mark.run  # a process
def test_text(home):
    told = seen(write_page([home / "text"]))
    sound(told)
    pointed(told, image=False)
    assert told["token"]["shown"]


@pytest.mark.run  # a process
def test_several_runs(images, tmp_path):
    folder, _ = images
    shutil.copytree(folder, tmp_path / "other", ignore=shutil.ignore_patterns("*.html"))
    told = seen(write_page([folder, tmp_path / "other"], out=tmp_path / "both.html"))
    sound(told)
    assert told["contents"]["maps"] == []
