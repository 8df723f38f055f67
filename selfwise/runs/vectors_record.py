"""init_tokens.json in a run folder: the options of a run that trains word vectors first."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from selfwise.core.files import read_json, write_file
from selfwise.core.plain_data import parse_fields

FILE = "init_tokens.json"
FORMAT = 1


@dataclass(frozen=True)
class VectorsRecord:
    """The contents of init_tokens.json."""

    config: Mapping[str, Any]
    """The user's options with the method, as in run.yaml."""
    fingerprint: str
    """Of the data."""
    seconds: float = 0.0
    """Time that the vectors have taken; of processes that were killed, that of the logged steps."""


def write_vectors_record(folder: Path, record: VectorsRecord) -> None:
    """Write init_tokens.json completely or not at all."""
    write_file(folder / FILE, json.dumps({"format": FORMAT, **asdict(record)}, indent=1) + "\n")


def read_vectors_record(folder: Path) -> VectorsRecord | None:
    """Read init_tokens.json of a run; None if the run trained no vectors.

    Raises ValueError naming the file if it cannot be read.
    """
    return read_json(folder / FILE, FORMAT, _build_record)


class _VectorsFile(BaseModel):
    """The types of init_tokens.json."""

    model_config = ConfigDict(strict=True)
    config: dict[str, Any]
    fingerprint: str
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]


def _build_record(content: Mapping[str, Any]) -> VectorsRecord:
    return VectorsRecord(**dict(parse_fields(_VectorsFile, content)))
