"""Checkpoints: whole, or absent.

    checkpoints/step-00000200/model.safetensors     every weight and buffer of the method
                              optimizer.pt          loadable with weights_only=True
                              manifest.json         step, loop state, checksums of the other files
                                                    and of the manifest itself

A checkpoint is written to a temporary name, flushed, and renamed. It has no random state, because
every draw is a function of the seed and the step.
"""

import json
import shutil
from collections.abc import Mapping, Set
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
from annotated_types import Ge
from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from selfwise.core.files import atomic_write, hash_file, remove_unfinished
from selfwise.core.own_files import check_folder
from selfwise.core.plain_data import read_json_file, require_mapping
from selfwise.core.process import is_loader_death
from selfwise.core.tensor_files import load_plain_objects, load_safetensors
from selfwise.training.optimizer_file import check_optimizer_state

PREFIX = "step-"
FILES = ("model.safetensors", "optimizer.pt")
MANIFEST, SEAL = "manifest.json", "manifest_sha256"


class Checkpoint(NamedTuple):
    folder: Path
    step: int  # optimizer steps done
    state: Mapping[str, Any]  # the rest of the loop's state, as plain JSON


class Manifest(BaseModel):
    """The types of manifest.json."""

    model_config = ConfigDict(strict=True)
    step: Annotated[int, Ge(0)]
    state: dict[str, Any]
    sha256: dict[str, str]


class TornCheckpoint(Exception):
    """A checkpoint whose files differ from the files that were written."""


def save_checkpoint(
    folder: Path, step: int, method: nn.Module, optimizer: Optimizer, state: Mapping[str, object]
) -> None:
    """Write the checkpoint of `step`; a kill at any moment leaves the earlier ones intact."""
    final = folder / f"{PREFIX}{step:08d}"
    check_folder(folder)
    try:
        with atomic_write(final) as temporary:
            temporary.mkdir()
            save_file(_weights(method), temporary / FILES[0])
            torch.save(optimizer.state_dict(), temporary / FILES[1])
            checksums = {name: hash_file_hex(temporary / name) for name in FILES}
            manifest = {"step": step, "state": state, "sha256": checksums}
            (temporary / MANIFEST).write_text(json.dumps(seal_manifest(manifest), indent=1))
            shutil.rmtree(final, ignore_errors=True)  # it is torn: steps are not done twice
    except (OSError, RuntimeError, SafetensorError) as error:  # torch raises RuntimeError
        if is_loader_death(error):
            raise
        raise OSError(_cannot_write(folder, step, error)) from error


def _cannot_write(folder: Path, step: int, error: Exception) -> str:
    free = shutil.disk_usage(folder).free / 2**20
    reason = str(error).splitlines()[0]
    return (
        f"the checkpoint of step {step} could not be written to {folder} ({free:.0f} MiB free; "
        f"{reason}); the earlier checkpoints are whole: free some space, then resume"
    )


def _weights(method: nn.Module) -> dict[str, Tensor]:
    return {
        name: tensor.detach().cpu().contiguous() for name, tensor in method.state_dict().items()
    }


def find_largest_value(method: nn.Module, optimizer: Optimizer) -> Tensor:
    """Return the largest absolute weight, buffer or optimizer state; NaN if one is NaN."""
    states = [v for state in optimizer.state.values() for v in state.values()]
    tensors = [*method.state_dict().values(), *(v for v in states if isinstance(v, Tensor))]
    real = [t.detach() for t in tensors if t.is_floating_point() and t.numel()]
    device = real[0].device
    return torch.stack([t.abs().amax().float().to(device) for t in real]).amax()


def remove_old_checkpoints(folder: Path, keep: int, *, also: Set[int] = frozenset()) -> None:
    """Delete half-written checkpoints, and all but the last `keep` and the steps `also`."""
    check_folder(folder)
    for path in list_checkpoints(folder)[:-keep]:
        if int(path.name.removeprefix(PREFIX)) not in also:
            shutil.rmtree(path, ignore_errors=True)
    remove_unfinished(folder)


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the folders of all checkpoints, oldest first, without looking inside."""
    digits = "[0-9]" * 8  # a user's copy with another name is not a checkpoint
    return sorted(p for p in folder.glob(PREFIX + digits) if p.is_dir())


def seal_manifest(manifest: Mapping[str, object]) -> dict[str, object]:
    """Return the manifest with a checksum of its own content."""
    unsealed = {name: value for name, value in manifest.items() if name != SEAL}
    return {**unsealed, SEAL: sha256(json.dumps(unsealed, sort_keys=True).encode()).hexdigest()}


def verify_checkpoint(folder: Path) -> Checkpoint:
    """Check the manifest, every file against the manifest, and the step against the folder's name.

    Loads nothing before the checks. Raises TornCheckpoint, naming the file that changed.
    """
    try:
        manifest = require_mapping(read_json_file(folder / MANIFEST), MANIFEST)
        if seal_manifest(manifest) != manifest:
            changed = f"{folder.name}: {MANIFEST} was changed (its own checksum differs)"
            raise TornCheckpoint(changed)
        content = Manifest.model_validate(manifest)
        expected, step, state = content.sha256, content.step, content.state
    except (OSError, ValueError) as error:
        raise TornCheckpoint(f"{folder.name}: {MANIFEST} is missing or damaged") from error
    if folder.name != f"{PREFIX}{step:08d}":
        raise TornCheckpoint(f"{folder.name}: the folder was renamed; it holds step {step}")
    for name in FILES:
        path = folder / name
        if not path.is_file():
            raise TornCheckpoint(f"{folder.name}: {name} is missing")
        if hash_file_hex(path) != expected.get(name):
            raise TornCheckpoint(
                f"{folder.name}: {name} is truncated or was changed (its checksum differs)"
            )
    return Checkpoint(folder, step, state)


def open_checkpoint(folder: Path) -> Checkpoint:
    """Return the checkpoint in `folder`. Raises ValueError if it is missing or torn."""
    if not folder.is_dir():
        existing = ", ".join(path.name for path in list_checkpoints(folder.parent)) or "none"
        raise ValueError(f"checkpoint {folder} does not exist; existing checkpoints: {existing}")
    try:
        return verify_checkpoint(folder)
    except TornCheckpoint as error:
        raise ValueError(f"{folder.parent}: {error}") from error


def find_latest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """Return the newest whole checkpoint, and a sentence for each newer checkpoint that is torn."""
    torn: list[str] = []
    for path in reversed(list_checkpoints(folder)):
        try:
            return verify_checkpoint(path), torn
        except TornCheckpoint as error:
            torn.append(str(error))
    return None, torn


def load_weights(checkpoint: Checkpoint, method: nn.Module) -> None:
    """Read the weights into the method, which must have equal names and shapes.

    Raises ValueError naming the first weights that differ, or a file that is not safetensors.
    """
    path = checkpoint.folder / FILES[0]
    weights = load_safetensors(path)
    copy_weights(method, weights, where=checkpoint.folder)


def copy_weights(module: nn.Module, weights: dict[str, Tensor], *, where: Path) -> None:
    """Copy weights that come from `where` into a module with equal names and shapes.

    Raises ValueError naming the first weights that differ, or a weight that is NaN or infinite.
    """
    own = module.state_dict()
    wrong = [n for n in sorted({*own, *weights}) if _shape(own, n) != _shape(weights, n)]
    if wrong:
        first = ", ".join(
            f"{n} {_shape(weights, n)} (expected {_shape(own, n)})" for n in wrong[:3]
        )
        count = "1 weight does" if len(wrong) == 1 else f"{len(wrong)} weights do"
        beginning = "the first three are " if len(wrong) > 3 else ""
        raise ValueError(f"{where}: {count} not fit: {beginning}{first}")
    for name, weight in weights.items():
        if weight.is_floating_point() and not bool(weight.isfinite().all()):
            raise ValueError(f"{where}: the weight {name} has NaN or infinite values")
    module.load_state_dict(weights)


def load_optimizer(checkpoint: Checkpoint, optimizer: Optimizer) -> None:
    """Read the optimizer's state.

    Raises ValueError for anything but tensors and plain data, which `weights_only` rejects.
    """
    path = checkpoint.folder / FILES[1]
    content = load_plain_objects(path)
    try:
        state = check_optimizer_state(content, optimizer)
    except ValueError as error:
        raise ValueError(f"{path} does not fit the optimizer of this run: {error}") from error
    optimizer.load_state_dict(state)


def _shape(weights: dict[str, Tensor], name: str) -> str:
    return str(list(weights[name].shape)) if name in weights else "absent"


def hash_file_hex(path: Path) -> str:
    """Return the SHA-256 of a file in hex."""
    return hash_file(path).hex()
