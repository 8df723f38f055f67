"""The interface of a data set from Python: a length, and items by number."""

from typing import Protocol, runtime_checkable


@runtime_checkable
class Indexable(Protocol):
    """A list, an array or a map-style data set."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> object: ...
