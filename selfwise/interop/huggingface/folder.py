"""Folders of checkpoints: config.json, safetensors, and what makes the input."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from textwrap import shorten

from torch import Tensor

from selfwise.core.files import atomic_write
from selfwise.core.plain_data import read_json_file, require_mapping
from selfwise.core.tensor_files import load_plain_objects, load_safetensors, save_safetensors
from selfwise.core.types import Vocabulary
from selfwise.interop.huggingface.tokenizer_files import make_tokenizer_files
from selfwise.interop.types import JsonObject, Weights

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
PREPROCESSOR = "preprocessor_config.json"
PREPROCESSING = "preprocessing.json"  # for forms of export without a file for it
PICKLED = (".pth", ".pt")  # read by torch's loader that runs nothing


def read_folder(folder: Path) -> tuple[JsonObject, Weights]:
    """(config.json, all tensors) of a checkpoint, in one file of weights or several.

    Raises ValueError with one sentence for what is missing or broken, and for pickles, which are
    never loaded.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder with a checkpoint")
    config = _read_json(folder / CONFIG)
    if (folder / WEIGHTS).is_file():
        return config, load_safetensors(folder / WEIGHTS)
    if (folder / INDEX).is_file():
        return config, _load_shards(folder)
    pickles = [p.name for end in (".bin", *PICKLED) for p in sorted(folder.glob(f"*{end}"))]
    if pickles:
        raise ValueError(
            f"{folder} has its weights in {pickles[0]}, a pickle that could run code, and selfwise "
            f"loads no pickles; save the model again with transformers or timm, as {WEIGHTS}"
        )
    raise ValueError(f"{folder} has neither {WEIGHTS} nor {INDEX}")


def write_folder(
    folder: Path,
    config: JsonObject,
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
    model_type = config["model_type"]
    files = make_tokenizer_files(tokenizer, vocabulary, model_type=model_type, length=length)
    write_checkpoint(folder, config, weights, files)


def write_checkpoint(
    folder: Path,
    config: JsonObject,
    weights: Mapping[str, Tensor],
    files: Mapping[str, JsonObject],
) -> None:
    """config.json, weights and further json files in a new folder, whole or not at all.

    Raises ValueError if the folder is there already.
    """
    with create_folder(folder) as partial:
        for name, content in {CONFIG: config, **files}.items():
            write_json(partial / name, content)
        write_weights(partial / WEIGHTS, weights)


@contextmanager
def create_folder(folder: Path) -> Iterator[Path]:
    """A folder to write into, which becomes `folder` when all is done and is gone otherwise.

    Raises ValueError if there is something in `folder` already.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} exists already; choose another folder for the export")
    new = [parent for parent in folder.parents if not parent.exists()]
    try:
        with atomic_write(folder) as partial:
            partial.mkdir()
            yield partial
    except BaseException:
        with suppress(OSError):  # someone else has put something there
            for parent in new:
                parent.rmdir()
        raise


def write_json(path: Path, content: JsonObject) -> None:
    """An object, indented."""
    path.write_text(json.dumps(dict(content), indent=2, ensure_ascii=False) + "\n", "utf-8")


def write_weights(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Return tensors for safetensors, each in separate memory, as the format requires."""
    path.touch()
    mode = path.stat().st_mode  # safetensors would keep others of the machine from reading it
    own = {name: weight.contiguous().clone() for name, weight in weights.items()}
    save_safetensors(path, own, {"format": "pt"})
    path.chmod(mode)


def read_weights(path: Path) -> Weights:
    """Return the tensors of a .safetensors file, or of a .pth or .pt that holds nothing else.

    Raises ValueError for other files, for broken ones, and for pickles with more than tensors.
    """
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    if path.suffix == ".safetensors":
        return load_safetensors(path)
    if path.suffix not in PICKLED:
        raise ValueError(f"{path} is not a weights file: it must end in .safetensors, .pth or .pt")
    weights = load_plain_objects(path)
    tensors = isinstance(weights, dict) and all(
        isinstance(name, str) and isinstance(weight, Tensor) for name, weight in weights.items()
    )
    if not tensors or not weights:
        inside = (
            ", ".join(map(str, weights)) if isinstance(weights, dict) else type(weights).__name__
        )
        raise ValueError(
            f"{path} is not a state dict, a mapping from names to tensors, saved alone: it "
            f"holds {shorten(inside, 80) or 'nothing'}"
        )
    assert isinstance(weights, dict), "as checked above"
    return dict(weights)


def read_optional_json(path: Path) -> JsonObject | None:
    """A json file that may be there. Raises ValueError if it is broken."""
    return _read_json(path) if path.is_file() else None


def _read_json(path: Path) -> JsonObject:
    if not path.is_file():
        raise ValueError(
            f"{path.parent} has no {path.name}, so it is not a checkpoint of Hugging Face or timm"
        )
    return require_mapping(read_json_file(path), path)


def _load_shards(folder: Path) -> Weights:
    weight_map = _read_json(folder / INDEX).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(n, str) for n in weight_map.values()):
        raise ValueError(f"{folder / INDEX} has no weight_map of names to files")
    weights: Weights = {}
    for name in sorted(set(weight_map.values())):
        if Path(name).name != name or not (folder / name).is_file():
            raise ValueError(f"{folder / INDEX} names {name!r}, which is not a file of that folder")
        weights |= load_safetensors(folder / name)
    missing = sorted(weight_map.keys() - weights.keys())
    if missing:
        raise ValueError(
            f"{folder / INDEX} lists {missing[0]}, but {weight_map[missing[0]]} does not have it"
        )
    return weights
