"""Needs of methods on images: computed once, stored in the run folder, and read from there."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from selfwise.core.files import atomic_write
from selfwise.core.tensor_files import load_safetensors, save_safetensors
from selfwise.methods import Method
from selfwise.methods.needs import (
    Computed,
    FromData,
    FromFacts,
    ImageSampler,
    PatchTargetNeed,
    PatchTargetOptions,
)
from selfwise.modalities.earlier_run import OpenRun
from selfwise.modalities.image import targets
from selfwise.modalities.image.targets import ImageTargets
from selfwise.modalities.modality import Opening

FILE = targets.NEEDS


@dataclass
class ImageNeeds:
    """Keyword arguments of a method, and the data to store in the run folder for them."""

    inputs: dict[str, object] = field(default_factory=dict)
    about: dict[str, Mapping[str, object]] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    targets: ImageTargets | None = None

    def save(self, folder: Path) -> None:
        """Write them into a run folder, which can then be opened without its images."""
        if self.targets is not None:
            self.targets.save(folder)
        if self.tensors:
            with atomic_write(folder / FILE) as temporary:
                save_safetensors(temporary, self.tensors)


def add_needs(needs: ImageNeeds, images: Any, opening: Opening, *, decode: int) -> None:
    """Add everything that a method needs from its images, computed now or read from the run folder.

    `images` are the opened images of a run: see modalities.image.data.
    """
    if opening.folder is not None:
        needs.tensors = load_needed_tensors(opening.folder)
    for name, need in opening.method.needs.items():
        options = getattr(opening.needs, name, None)
        if isinstance(need, FromFacts):
            needs.inputs[name] = need.function(images)
        elif isinstance(need, FromData):
            _add_tensor(needs, name, need, images, options)
        elif isinstance(need, PatchTargetNeed):
            assert isinstance(options, PatchTargetOptions), "PatchTargetNeed has these options"
            needs.targets = targets.open_targets(images, opening, options, decode=decode)
            needs.inputs[name] = needs.targets.units
            needs.about[name] = needs.targets.about
        else:
            raise ValueError(f"{opening.method.__name__} needs {name}, which images do not have")


def load_inputs(
    method: type[Method],
    folder: Path,
    facts: Any,
    about: Mapping[str, Mapping[str, Any]],
    open_run: OpenRun,
) -> dict[str, object]:
    """Return the keyword arguments of a method from its run folder.

    An imported run has the number of targets, but cannot compute them.
    """
    inputs: dict[str, object] = {}
    tensors = load_needed_tensors(folder)
    for name, need in method.needs.items():
        if isinstance(need, FromFacts):
            inputs[name] = need.function(facts)
        elif isinstance(need, FromData):
            inputs[name] = _find_tensor(tensors, name, folder)
        elif (folder / targets.FOLDER).is_dir():
            inputs[name] = targets.load_targets(folder / targets.FOLDER, open_run).units
        else:
            inputs[name] = targets.UnknownTargets(int(about[name]["num_clusters"]))
    return inputs


def load_needed_tensors(folder: Path) -> dict[str, Tensor]:
    """Return the tensors in a run folder for its method."""
    return load_safetensors(folder / FILE) if (folder / FILE).is_file() else {}


def _add_tensor(
    needs: ImageNeeds, name: str, need: FromData, images: ImageSampler, options: Any
) -> None:
    if name in needs.tensors:  # of a resumed run
        computed = Computed(needs.tensors[name])
    else:
        computed = need.compute(images, options)
        needs.tensors[name] = computed.value.detach().clone(memory_format=torch.contiguous_format)
    needs.inputs[name], needs.about[name] = needs.tensors[name], computed.about


def _find_tensor(tensors: Mapping[str, Tensor], name: str, folder: Path) -> Tensor:
    if name not in tensors:
        raise ValueError(f"{folder / FILE} does not have {name}, which the method of the run needs")
    return tensors[name]
