"""Folders in Hugging Face's layout: config.json, safetensors, and what makes the input."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from selfwise.convert.tokenizer import tokenizer_files
from selfwise.types import Vocabulary

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
PREPROCESSOR = "preprocessor_config.json"


def read_folder(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(config.json, all tensors) of a checkpoint, in one file of weights or several.

    Raises ValueError with one sentence for what is missing or broken, and for pickles, which are
    never loaded.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder with a checkpoint")
    config = _json(folder / CONFIG)
    if (folder / WEIGHTS).is_file():
        return config, _load(folder / WEIGHTS)
    if (folder / INDEX).is_file():
        return config, _shards(folder)
    pickles = sorted(p.name for p in folder.glob("*.bin")) + sorted(
        p.name for p in folder.glob("*.pt")
    )
    if pickles:
        raise ValueError(
            f"{folder} has its weights in {pickles[0]}, a pickle that could run code, and none are "
            f"loaded; save it again with transformers, which writes {WEIGHTS}"
        )
    raise ValueError(f"{folder} has neither {WEIGHTS} nor {INDEX}")


def write_folder(
    folder: Path,
    config: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    *,
    tokenizer: str,
    vocabulary: Vocabulary,
    length: int,
) -> None:
    """Everything that AutoModel and AutoTokenizer read, in a new folder, whole or not at all.

    `tokenizer`: the text of a tokenizer.json. `length`: the longest row. Raises ValueError if the
    folder is there already.
    """
    kind = config["model_type"]
    files = tokenizer_files(tokenizer, vocabulary, kind=kind, length=length)
    write_parts(folder, config, weights, files)


def write_parts(
    folder: Path,
    config: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    files: Mapping[str, Mapping[str, Any]],
) -> None:
    """config.json, weights and further json files in a new folder, whole or not at all.

    Raises ValueError if the folder is there already.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is there already; choose another folder for the export")
    parts = {CONFIG: dict(config), **files}
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name, value in parts.items():
        (partial / name).write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")
    save_file(dict(weights), partial / WEIGHTS, metadata={"format": "pt"})
    if folder.exists():
        folder.rmdir()
    partial.rename(folder)


def read_optional(path: Path) -> dict[str, Any] | None:
    """A json file that may be there. Raises ValueError if it is broken."""
    return _json(path) if path.is_file() else None


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"{path.parent} has no {path.name}, so it is no Hugging Face checkpoint")
    try:
        found = json.loads(path.read_text("utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} must hold an object in braces")
    return found


def _load(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} cannot be read as safetensors: {error}") from error


def _shards(folder: Path) -> dict[str, Tensor]:
    where = _json(folder / INDEX).get("weight_map")
    if not isinstance(where, dict) or not all(isinstance(n, str) for n in where.values()):
        raise ValueError(f"{folder / INDEX} has no weight_map of names to files")
    found: dict[str, Tensor] = {}
    for name in sorted(set(where.values())):
        if Path(name).name != name or not (folder / name).is_file():
            raise ValueError(f"{folder / INDEX} names {name!r}, which is no file of that folder")
        found |= _load(folder / name)
    lost = sorted(where.keys() - found.keys())
    if lost:
        raise ValueError(f"{folder / INDEX} lists {lost[0]}, but {where[lost[0]]} has it not")
    return found
