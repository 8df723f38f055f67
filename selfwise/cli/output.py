"""Output whose reader is gone, as in `selfwise --help | head -1`."""

import os
import select

ENDED = 141  # as the shell reports a program that a closed pipe has ended


def find_closed_pipes() -> list[int]:
    """Those of stdout and stderr that are pipes whose reader is gone."""
    if not hasattr(select, "poll"):  # Windows
        return []
    poll = select.poll()
    for descriptor in (1, 2):
        poll.register(descriptor, 0)
    return [descriptor for descriptor, event in poll.poll(0) if event & select.POLLERR]


def redirect_to_devnull(descriptors: list[int]) -> None:
    """Let what Python still writes when it ends go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in descriptors:
        os.dup2(nowhere, descriptor)
