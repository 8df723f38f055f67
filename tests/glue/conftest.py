"""A run that is trained once, and files of GLUE's layout that are written once."""

import pytest

import selfwise
from tests.helpers.glue_cases import write_glue


@pytest.fixture(scope="session")
def trained_bert(tmp_path_factory):
    """A BERT of one layer after one step, not to be written into: copy its folder."""
    folder = tmp_path_factory.mktemp("trained")
    line = "the old sea was calm and a small boat went far. it was old.\n"
    (folder / "lines.txt").write_text(line * 20)
    told = {"encoder": "bert-tiny", "encoder_options": {"dim": 16, "heads": 2, "depth": 1}}
    told |= {
        "tokenizer": "wordpiece:120",
        "val_fraction": 0.0,
        "cpu_threads": 1,
        "documents": "line",
    }
    told |= {"steps": 1, "batch_size": 2, "max_length": 16, "precision": "float32", "quiet": True}
    return selfwise.pretrain("bert", data=folder / "lines.txt", out=folder / "run", **told)


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """All tasks, a few rows each."""
    return write_glue(tmp_path_factory.mktemp("data") / "glue_data")
