"""JSON schemas of config classes, for editors and forms."""

from collections.abc import Sequence

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from selfwise.core.config_class import Config, list_option_paths, list_sections, open_prefixes

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, object]


class _AnyUnknown(GenerateJsonSchema):
    """Describes a type that JSON does not have, such as a class, as any value."""

    def handle_invalid_for_json_schema(
        self, schema: core_schema.CoreSchema, error_info: str
    ) -> JsonSchemaValue:
        return {}


def describe_options(kinds: Sequence[type[Config]], *, title: str, is_part: bool = False) -> Schema:
    """Return the JSON schema of a flat list of options, as in a --config file.

    Args:
        kinds: the config classes that have the options; the first class with a name decides.
        title: title of the schema.
        is_part: no option is required, since the command line may have the others.
    """
    properties: Schema = {}
    required: set[str] = set()
    anything: set[str] = set()
    for kind in reversed(kinds):
        properties |= _list_properties(kind)
        required |= {n for n in kind.model_fields if kind.model_fields[n].is_required()}
        required -= {*list_sections(kind)}
        anything |= open_prefixes(kind)
    schema: Schema = {"title": title, "type": "object", "properties": properties}
    if required and not is_part:
        schema["required"] = [name for name in properties if name in required]
    if anything:
        schema["patternProperties"] = {f"^{prefix.replace('.', '[.]')}": {} for prefix in anything}
    return schema | {"additionalProperties": False}


def _list_properties(kind: type[Config]) -> Schema:
    """Return the schema of each option, in the order of the class, including its sections."""
    own = kind.model_json_schema(schema_generator=_AnyUnknown).get("properties", {})
    properties: Schema = {}
    for section in list_sections(kind).values():
        properties |= _list_properties(section)
    paths = list_option_paths(kind)
    for name, described in own.items():
        described.pop("title", None)
        properties[kind.prefix + name] = described
    return {name: properties[name] for name in paths}
