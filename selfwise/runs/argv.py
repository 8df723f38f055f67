"""Options as a command line."""

from collections.abc import Sequence
from typing import Any

import yaml

from selfwise.core.errors import did_you_mean


def as_argv(options: dict[str, Any], known: Sequence[str]) -> list[str]:
    """A mapping of options as command line, so that flags behind it win.

    Raises ValueError for a name that is no flag.
    """
    tokens: list[str] = []
    for name, value in options.items():
        if name == "encoder" and isinstance(value, dict):
            inner = {k: v for k, v in value.items() if k != "name"}
            tokens += [f"--encoder={value['name']}"] if "name" in value else []
            tokens += [f"--encoder.{k}={_yaml(v)}" for k, v in inner.items()]
        elif name not in known:
            raise ValueError(
                f"unknown option {name!r} in the configuration{did_you_mean(name, known)}"
            )
        elif value not in (None, ""):
            tokens.append(f"--{name}={value if isinstance(value, str) else _yaml(value)}")
    return tokens


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True).split("\n...", 1)[0].strip()
