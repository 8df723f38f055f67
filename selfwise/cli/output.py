"""Pipes into which commands print, and which their readers may have closed."""

import os
import select

ENDED = 141  # the shell's code for a program that a closed pipe ended


def find_closed_pipes() -> list[int]:
    """Return which of stdout and stderr are pipes whose reader is gone."""
    if not hasattr(select, "poll"):  # Windows
        return []
    poll = select.poll()
    for descriptor in (1, 2):
        poll.register(descriptor, 0)
    return [descriptor for descriptor, event in poll.poll(0) if event & select.POLLERR]


def redirect_to_devnull(descriptors: list[int]) -> None:
    """Discard Python's remaining output at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in descriptors:
        os.dup2(nowhere, descriptor)
