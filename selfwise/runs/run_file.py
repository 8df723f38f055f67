"""The types of run.yaml, checked before any of its values is used."""

from collections.abc import Mapping
from typing import Annotated, Any

from annotated_types import Len
from pydantic import AfterValidator, BaseModel, ConfigDict, Strict

from selfwise.core.plain_data import parse_fields

Text = Annotated[str, Strict()]
Names = dict[str, Any]


def _has_texts(*names: str) -> AfterValidator:
    """Return a check that a mapping is empty, or has texts of these names."""

    def check(values: Names) -> Names:
        if missing := [n for n in names if values and not isinstance(values.get(n), str)]:
            raise ValueError(f"{missing[0]} must be a text")
        return values

    return AfterValidator(check)


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
    imported: Annotated[Names, _has_texts("family", "from")] = {}
    continuations: list[Annotated[Names, _has_texts("about")]] = []


def parse_run_file(content: Mapping[str, Any]) -> RunFile:
    """Return the contents with their types. Raises ValueError naming the place of a wrong value."""
    return parse_fields(RunFile, content)
