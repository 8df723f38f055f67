"""The types of run.yaml, checked before any of its values is used."""

from collections.abc import Mapping
from typing import Annotated, Any

from annotated_types import Len
from pydantic import BaseModel, ConfigDict, Strict, ValidationError

Text = Annotated[str, Strict()]
Names = dict[str, Any]


class ResolvedValue(BaseModel):
    """The value of an option, and its source."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    value: Any
    source: Text


class RunFile(BaseModel):
    """The contents of run.yaml, as plain data."""

    model_config = ConfigDict(frozen=True)
    method: Text
    modality: Text
    config: Names
    resolved: Annotated[dict[str, ResolvedValue], Len(1)]
    data_info: Names
    environment: Names
    needs: dict[str, Names] = {}
    about: dict[str, float] = {}
    code: dict[str, Text] = {}
    imported: Names = {}
    continuations: list[Names] = []


def parse_run_file(content: Mapping[str, Any]) -> RunFile:
    """Return the contents with their types. Raises ValueError naming the place of a wrong value."""
    try:
        return RunFile.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place, got = ".".join(map(str, first["loc"])), repr(first["input"])[:80]
        problem = first["msg"][:1].lower() + first["msg"][1:]
        raise ValueError(f"{place} is wrong ({problem}), and holds {got}") from None
