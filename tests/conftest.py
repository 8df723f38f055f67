"""Shapes and types are checked while the tests run; small shared helpers."""

import os
import sys
from pathlib import Path

import pytest
import torch
from jaxtyping import install_import_hook

from tests.helpers.no_network import REACHED, watch_the_network

# before the first import of selfwise; child processes of the tests run without it. An int is
# welcome where a float is asked for, as everywhere in Python.
CHECKER = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
hook = install_import_hook("selfwise", CHECKER)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What has no other mark is fast; tests/helpers/measure.py sets the others."""
    for item in items:
        if not any(item.iter_markers("run")) and not any(item.iter_markers("slow")):
            item.add_marker("fast")


@pytest.fixture(autouse=True)
def one_thread():
    """Small tensors are faster on one thread, and results do not depend on the machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


sys.addaudithook(watch_the_network)


@pytest.fixture(autouse=True)
def no_network():
    """Nothing here, ours or a library's, asks another machine for anything."""
    REACHED.clear()
    yield
    assert not REACHED


@pytest.fixture
def rng():
    """A function: seed -> Rng."""
    from selfwise.core.rng import Rng, generator

    return lambda seed=0: Rng(generator(seed, "test"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets, where the environment names one."""
    folder = os.environ.get("SELFWISE_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("SELFWISE_DATA does not name a folder of real data")
    return Path(folder)
