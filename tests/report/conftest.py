"""Runs that are trained once; the tests of a file get a copy, into which they may write."""

import shutil
from pathlib import Path

import pytest

from tests.helpers.report_cases import photos, roberta, sentences, simclr


@pytest.fixture(scope="session")
def trained_home(tmp_path_factory) -> Path:
    """A folder with `photos` and `text.txt`, and the runs `run` on images and `text` on them."""
    home = tmp_path_factory.mktemp("trained")
    simclr(photos(home / "photos"), home / "run")
    roberta(sentences(home / "text.txt"), home / "text")
    return home


@pytest.fixture(scope="module")
def home(trained_home, tmp_path_factory) -> Path:
    """A copy of that folder, whose runs know its data."""
    copy = tmp_path_factory.mktemp("copy") / "home"
    shutil.copytree(trained_home, copy)
    for name in ("run", "text"):
        record = copy / name / "run.yaml"
        record.write_text(record.read_text().replace(str(trained_home), str(copy)))
    return copy
