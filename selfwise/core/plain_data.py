"""YAML, JSON and TOML from files that strangers may have written: plain data, in bounded time.

Each function raises ValueError with one sentence that names the file.
"""

import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from selfwise.core.own_files import check_readable

Model = TypeVar("Model", bound=BaseModel)
MAX_BYTES = 2**22  # of a configuration file; one that selfwise writes has some kilobytes
MAX_DEPTH = 64  # of lists and mappings inside each other
SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C it is ten times faster
# what PyYAML's constructors raise for texts that their tags do not fit, such as !!int ""
_YAML_ERRORS = (
    *(yaml.YAMLError, ValueError, KeyError, IndexError, AttributeError, TypeError),
    *(RecursionError, OverflowError),
)


def read_yaml_file(path: Path) -> object:
    """Return the plain data in a YAML file. Raises ValueError for other files, and for aliases."""
    return parse_yaml(read_config_text(path), path)


def read_json_file(path: Path) -> object:
    """Return the value in a JSON file. Raises ValueError for other files."""
    return parse_json(read_config_text(path), path)


def read_toml_file(path: Path) -> dict[str, Any]:
    """Return the table in a TOML file. Raises ValueError for other files."""
    try:
        content = tomllib.loads(read_config_text(path))
        _check_depth(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not readable TOML: {_shorten(error)}") from error
    return content


def read_config_text(path: Path) -> str:
    """Return the text of a small file. Raises ValueError for a large one and for other bytes."""
    check_readable(path)
    with path.open("rb") as stream:
        content = stream.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(
            f"{path} is larger than {MAX_BYTES // 2**20} MiB, which no file of settings is: give "
            "another file"
        )
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        where = f"byte {error.start:,}"
        raise ValueError(f"{path} is not text in UTF-8 at {where}: save it as UTF-8") from error


def parse_yaml(text: str, where: object) -> object:
    """Return the plain data in a YAML text.

    Aliases are refused, because a text of 500 bytes could repeat itself a billion times with them.
    """
    try:
        depth = 0
        for event in yaml.parse(text, SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                raise ValueError(f"it has the alias *{event.anchor}: write the value out")
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise ValueError(_describe_depth())
        loader = SafeLoader(text)  # of plain data only
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except _YAML_ERRORS as error:
        raise ValueError(f"{where} is not readable YAML: {_shorten(error)}") from error


def parse_json(text: str | bytes, where: object) -> object:
    """Return the value of a JSON text."""
    try:
        content = json.loads(text)
        _check_depth(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} is not JSON: {_shorten(error)}") from error
    return content


def require_mapping(content: object, where: object) -> dict[str, Any]:
    """Return an object with names. Raises ValueError for any other value."""
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        of_type = type(content).__name__
        raise ValueError(f"{where} must hold names and values, not a value of type {of_type}")
    return content


def parse_fields(kind: type[Model], content: object) -> Model:
    """Return the contents with their types. Raises ValueError naming the place of a wrong value."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place, got = ".".join(map(str, first["loc"])), repr(first["input"])[:80]
        problem = first["msg"][:1].lower() + first["msg"][1:]
        raise ValueError(f"{place} is wrong ({problem}), and holds {got}") from None


def _check_depth(content: object) -> None:
    """Raise ValueError for lists and mappings too deep for the code that reads them."""
    level: list[object] = [content]
    for _ in range(MAX_DEPTH + 1):
        level = [child for value in level for child in _list_children(value)]
        if not level:
            return
    raise ValueError(_describe_depth())


def _list_children(value: object) -> Iterator[object]:
    if isinstance(value, Mapping):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _describe_depth() -> str:
    return f"it has more than {MAX_DEPTH} lists or mappings inside each other"


def _shorten(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return _describe_depth()
    if isinstance(error, LookupError | AttributeError | TypeError):
        return "a value does not fit its tag, such as !!int before a text"
    return " ".join(str(error).split())[:300] or type(error).__name__
