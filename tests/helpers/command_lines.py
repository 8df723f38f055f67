"""Command lines that tests make of shared words."""

from collections.abc import Sequence


def replace_options(words: Sequence[object], *options: object) -> list[object]:
    """The words with these options, in place of those of the same name; each has one value."""
    rest = list(words)
    for name in options[::2]:
        if name in rest:
            at = rest.index(name)
            del rest[at : at + 2]
    return [*rest, *options]
