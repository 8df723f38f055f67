"""Tensors and facts in one safetensors file, written atomically."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from selfwise.core.files import atomic_write
from selfwise.core.memory_limit import check_size
from selfwise.core.plain_data import parse_json, require_mapping
from selfwise.core.tensor_files import save_safetensors

FACTS = "facts"  # key in the safetensors header, as JSON, so that they stay with the tensors


def save_tensors(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write the file atomically, and create its folder."""
    own = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_write(path) as temporary:
        save_safetensors(temporary, own, {FACTS: json.dumps(facts)})


def load_tensors(path: Path, kind: str) -> tuple[dict[str, Tensor], Mapping[str, Any]]:
    """Load the tensors and facts of a `save_tensors` file; `kind` names the contents in errors.

    Raises ValueError if the file is missing or of another kind.
    """
    if not path.is_file():
        raise ValueError(f"{path.parent} has no {kind}: {path.name} is missing")
    check_size(path, path.stat().st_size)
    try:
        with safe_open(path, "pt") as file:
            facts = require_mapping(parse_json((file.metadata() or {})[FACTS], path), path)
            return {name: file.get_tensor(name) for name in file.keys()}, facts  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path} is not the file of a {kind}, or is damaged") from error
