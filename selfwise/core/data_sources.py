"""Several data sets that one run reads."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from selfwise.core.config_class import spell_option


class Several:
    """Marks an option that may be given several times; the values become `DataSources`."""


SEVERAL = Several()


@dataclass(frozen=True, init=False)
class DataSources:
    """Several data sets that one run reads: paths and names, or examples in memory.

    A list of `pathlib.Path` means the same. A list of str does not: it is a data set of documents.
    """

    places: tuple[object, ...]

    def __init__(self, places: Iterable[object]):
        """Raises ValueError for no place, and for a path or name that is given twice."""
        object.__setattr__(self, "places", tuple(places))
        if not self.places:
            raise ValueError(f"{spell_option('data')} is an empty list: give at least one source")
        seen: set[str] = set()
        for place in self.places:
            if not isinstance(place, str | Path):
                continue
            whole = str(Path(place).expanduser().resolve())
            if whole in seen:
                raise ValueError(
                    f"{spell_option('data')} names {place} twice: name each source once, and give "
                    f"{spell_option('data_weights')} to read some sources more often than others"
                )
            seen.add(whole)


def unwrap_sources(data: object) -> object:
    """Return `DataSources` for several sources, one source as itself, and other data unchanged."""
    if isinstance(data, list | tuple) and data and all(isinstance(one, Path) for one in data):
        data = DataSources(data)
    if isinstance(data, DataSources) and len(data.places) == 1:
        return data.places[0]
    return data


def refuse_sources(data: object, modality: str) -> object:
    """Return the data of a modality that reads one source. Raises ValueError for several."""
    data = unwrap_sources(data)
    if isinstance(data, DataSources):
        raise ValueError(
            f"{spell_option('data')} has {len(data.places)} sources, and only methods on text mix "
            f"several: put the {modality} into one folder"
        )
    return data
