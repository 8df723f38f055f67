"""Shapes and types are checked while the tests run; small shared helpers."""

import os
import socket
import sys
from pathlib import Path

import pytest
import torch
from jaxtyping import install_import_hook

# before the first import of selfwise; child processes of the tests run without it. An int is
# welcome where a float is asked for, as everywhere in Python.
CHECKER = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
hook = install_import_hook("selfwise", CHECKER)


@pytest.fixture(autouse=True)
def one_thread():
    """Small tensors are faster on one thread, and results do not depend on the machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


REACHED: list[str] = []  # what tests asked of the network, beyond this machine
OWN = {"", "localhost", "127.0.0.1", "::1", "0.0.0.0", "::", socket.gethostname(), None}


def watch_the_network(event: str, args: tuple) -> None:
    """Refuse names and addresses of other machines, and keep them: libraries swallow errors."""
    if event == "socket.connect" and isinstance(args[1], tuple):
        host = args[1][0]
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = args[0].decode() if isinstance(args[0], bytes) else args[0]
    else:
        return
    if host not in OWN:
        REACHED.append(f"{event} {host}")
        raise OSError(f"a test reached for the network: {event} {host}")


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
