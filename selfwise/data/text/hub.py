"""Data sets of the Hugging Face hub as corpora, through the extra `hub`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from selfwise.core.extras import import_extra
from selfwise.data.text.plain_files import cut_pieces
from selfwise.data.text.tables import choose_column

ROWS_PER_BATCH = 1024


@runtime_checkable
class HubRows(Protocol):
    """The part of `datasets.Dataset` that selfwise uses."""

    column_names: list[str]
    features: Mapping[str, Any]
    info: object
    _fingerprint: str

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[dict[str, object]]: ...

    def iter(self, batch_size: int) -> Iterator[dict[str, list[Any]]]: ...

    def select_columns(self, column_names: list[str]) -> "HubRows": ...


@dataclass
class HubColumn:
    """A column of a data set that `datasets` keeps on the disk."""

    rows: HubRows
    field: str
    bytes: int
    read: int = 0

    def pieces(self) -> Iterator[tuple[str, bool]]:
        done = 0
        for batch in self.rows.iter(batch_size=ROWS_PER_BATCH):
            for text in batch[self.field]:
                if text:
                    yield from cut_pieces(text)
            done += len(batch[self.field])
            self.read = self.bytes * done // max(len(self.rows), 1)


def open_hub(source: str, field: str) -> tuple[HubColumn, str]:
    """Return the part for `hub:NAME:SPLIT` (`train` without a split), and its fingerprint.

    Raises ValueError if the extra is not installed, or the library finds no such data set.
    """
    name, _, split = source.removeprefix("hub:").partition(":")
    rows = load_split(source, name, split=split or "train")
    text = choose_column(rows.column_names, field, source)
    size = int(getattr(rows.info, "dataset_size", None) or 0)
    column = HubColumn(rows.select_columns([text]), text, size)
    return column, f"{source} {text} {rows._fingerprint}"


def load_split(source: str, name: str, *, split: str, config: str | None = None) -> HubRows:
    """Return a split of a data set of the hub, as the library `datasets` keeps it. `source` is for
    errors.

    Raises ValueError if the extra is not installed, or the library finds no such data set.
    """
    datasets = import_extra("datasets", source)
    if not name:
        raise ValueError(
            f"{source}: the name of the data set is missing; use hub:NAME or hub:NAME:SPLIT"
        )
    try:
        if config is None:
            return datasets.load_dataset(name, split=split)
        return datasets.load_dataset(name, split=split, name=config)
    except Exception as error:  # of many types: not found, no network, no such split
        why = " ".join(str(error).split())
        raise ValueError(f"{source}: the data set cannot be loaded ({why})") from error
