"""Print the JSON schema of the options of a method or a command, for editors: [NAME]."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from selfwise import commands

COMMAND = "schema"
WORDS = "[NAME]"
EXAMPLES = (
    "selfwise schema simclr > simclr.schema.json",
    "selfwise schema probe",
)


def make_schema(name: str = "", *, encoder: str = "") -> dict[str, object]:
    """Describe options as a JSON schema: names, types, ranges, defaults and descriptions.

    An editor that reads JSON schemas uses that of a method to complete and check a file for
    --config.

    Args:
        name: a method, for the options of `pretrain` with that method; or a command. By default the
            options common to all methods of this package.
        encoder: the encoder whose options are listed; by default the method's own.

    Raises ValueError with the nearest name if `name` is neither a method nor a command.
    """
    from selfwise import methods
    from selfwise.core.errors import did_you_mean
    from selfwise.core.json_schema import DIALECT, describe_options

    known_methods, known_commands = methods.method_names(), commands.import_commands()
    if name and name not in known_methods and name not in known_commands and ":" not in name:
        near = did_you_mean(name, [*known_methods, *known_commands])
        raise ValueError(
            f"{name!r} is not a method or a command"
            + (
                near
                or f"; methods: {', '.join(known_methods)}; commands: {', '.join(known_commands)}"
            )
        )
    command = known_commands.get(name, known_commands["pretrain"])
    if not commands.takes_method(command):
        kinds = [commands.make_option_class(command)]
        return {"$schema": DIALECT} | describe_options(kinds, title=f"selfwise {name}")
    chosen = methods.own_names() if name in ("", *known_commands) else [name]
    schemas = [
        describe_options(kinds, title=one, is_part=True)
        for one in chosen
        for kinds in [commands.make_method_classes(command.load_function(), one, encoder)]
    ]
    whole: dict[str, object]
    whole = schemas[0] if len(schemas) == 1 else {"title": "selfwise", "anyOf": schemas}
    return {"$schema": DIALECT} | whole


def load_function() -> Callable[..., Any]:
    """Import the function that is called with the options."""
    return make_schema


def format_result(result: dict[str, object], options: Mapping[str, object]) -> str:
    """Return the text to print at the end."""
    return json.dumps(result, indent=2)
