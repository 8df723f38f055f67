"""What `run`, `use` and `proof` ask of a modality. Each file beside this one answers.

A modality is a module with these functions:

- `opened(data, kind, *, open_run, folder, encoder, device, ...) -> Data`: the examples to train on.
  Its other keyword arguments are the options of reading, and become flags. `folder` is the run
  that already keeps what the reading made (a tokenizer, units), or None; `encoder` the name and
  options of the
  encoder that will be trained, `device` where units are learned, and `open_run` opens the earlier
  run that units are made of, for those who need them.
- `kept(folder, open_run) -> Any`: what the run folder keeps for reading, a tokenizer or units,
  loaded again; or None.
- `supplied(found, kept) -> dict`: what a method may ask for by name.
- `encoder(settings, kept, seed)`, `fresh(settings, kept, seed)`: the encoder with random weights
  or published ones, and its untrained twin.
- `inherited(start)`: options of reading that go with the weights of an earlier run.
- `unpublished(settings)`: the same settings without published weights.
- `examples(run, data, *, labelled, ...)`: a set of examples for probes and embeddings.
- `embedder(run, *, layer, device, pooling, window, ...)`: features of any encoder of this shape,
  cached.
- `PROBE_POOLING`, where a probe pools in another way than `embedder` does by itself.
- `unread(run, examples, window)`, where parts of examples may stay unread: sentences that say so.
- `layered(run, *, device)`, where there is such a probe: the features of all layers (n, L, d).
- `twins(run, known, asked, *, embed, device)`, `raw(run, known, asked)`: the two baselines.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from selfwise.methods import Method
from selfwise.training.config import Resolved
from selfwise.training.loop import Probe


@runtime_checkable
class EarlierRun(Protocol):
    """A run in a folder, with its method in eval mode on the CPU."""

    @property
    def config(self) -> dict[str, Any]: ...

    @property
    def method(self) -> Method: ...

    @property
    def weights(self) -> str:
        """SHA-256 of the weights."""
        ...

    @property
    def step(self) -> int: ...


OpenRun = Callable[[Path], EarlierRun]  # raises ValueError if the folder is no run


@runtime_checkable
class Steps(Protocol):
    """Batches by step, and how many there are in a pass over the data."""

    @property
    def steps_per_epoch(self) -> int: ...

    def __getitem__(self, step: int) -> Any: ...


@runtime_checkable
class Data(Protocol):
    """The examples of a run, and what depends on them."""

    told: dict[str, Any]  # the options of reading, as resolved
    kept: Any  # what the run folder keeps for reading: a tokenizer, units, or None
    found: dict[str, Any]  # what the data turned out to be; complete after `source`

    @property
    def batch(self) -> int | None:
        """Examples in a step, where the data decide on it, or None."""
        ...

    @property
    def workers(self) -> int:
        """Processes that reading is worth, unless the user says otherwise."""
        ...

    def follow(self, found: Mapping[str, Any]) -> None:
        """Take over from an earlier run, whose `found` this is, what its weights depend on."""
        ...

    def source(self, method: Method, *, batch: int, seed: int) -> Steps:
        """The batches that the loop reads. Raises ValueError if the data make none."""
        ...

    def probes(self, method: Method, training: Resolved, *, seed: int) -> list[Probe]:
        """What watches the run."""
        ...

    def join(self, folder: Path) -> None:
        """What another process of the run does, where the first one has called `keep`."""
        ...

    def keep(self, folder: Path) -> None:
        """Write what reading needs again into the run folder."""
        ...


@runtime_checkable
class Trained(Protocol):
    """What a modality needs of a run."""

    @property
    def folder(self) -> Path: ...

    @property
    def config(self) -> dict[str, Any]: ...

    @property
    def kept(self) -> Any: ...

    @property
    def encoder(self) -> Any: ...

    def fresh(self, seed: int) -> Any: ...
