"""Build the method of a run from its record, new or trained."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfwise.core.config_class import Config, make_config
from selfwise.core.extras import check_modality
from selfwise.core.files import digest
from selfwise.core.plugins import FROM_PYTHON, digest_code, is_import_path, load_allowed_object
from selfwise.core.progress import print_progress
from selfwise.core.rng import init_seed
from selfwise.encoders.custom import reset_weights
from selfwise.methods import Method, find_method
from selfwise.modalities import find_modality, modality_of
from selfwise.modalities.modality import AnyModality, EncoderChoice, EncoderFactory, Facts
from selfwise.runs.lengthen import DECAYED
from selfwise.runs.names import ModuleFactory, find_recorded_encoder
from selfwise.runs.pretrain_config import encoder_class, method_class_options
from selfwise.runs.resume_checks import check_unchanged
from selfwise.runs.run_yaml import RunRecord, read_record
from selfwise.training import checkpoint


@dataclass(frozen=True)
class RunCode:
    """The code that a run's record names: ours, or code that the user passed or allowed."""

    method: type[Method]
    encoder: EncoderFactory | None = None  # None: an encoder of this package, by name


@dataclass(frozen=True)
class MethodPlan:
    """A method and its encoder with their options, before building either."""

    kind: type[Method]
    options: Config
    """The method's options."""
    modality: AnyModality
    encoder: EncoderChoice
    seed: int

    def build(self, facts: Facts, inputs: Mapping[str, object]) -> Method:
        """Return the method with its encoder, with random weights that are a function of the seed.

        Args:
            facts: facts about the data.
            inputs: keyword arguments that the method needs from the data.
        """
        with init_seed(self.seed, "method"):
            encoder = self.modality.build_encoder(self.encoder, facts, self.seed)
            return self.kind(encoder, **inputs, **dict(self.options))


@dataclass(frozen=True)
class LoadedRun:
    """The contents of a run folder, with its method in eval mode on the CPU."""

    record: RunRecord
    facts: Facts
    method: Method
    weights: str  # SHA-256 of the weights
    step: int  # optimizer steps done
    code: RunCode


def find_code(
    folder: Path,
    record: RunRecord,
    *,
    method: type[Method] | None = None,
    encoder: EncoderFactory | None = None,
) -> RunCode:
    """Return the code that a run's record names.

    Args:
        folder: folder of the run.
        record: its run.yaml.
        method: the passed class, if the method exists only in Python.
        encoder: the passed factory or module, if the encoder exists only in Python.

    Raises ValueError naming what is missing: a plugin, or an object from Python.
    """
    kind = _find_method(folder, record, method)
    return RunCode(kind, find_recorded_encoder(folder, record) if encoder is None else encoder)


def _find_method(folder: Path, record: RunRecord, method: type[Method] | None) -> type[Method]:
    if method is not None:
        return method
    if record.method == FROM_PYTHON:
        raise ValueError(
            f"the method of {folder} was defined in Python: load or resume the run in Python, "
            "with method="
        )
    if not is_import_path(record.method):
        return find_method(record.method)
    kind = load_allowed_object(record.method, folder=folder)
    if not (isinstance(kind, type) and issubclass(kind, Method)):
        raise ValueError(f"{record.method}, the method of {folder}, is no longer a method")
    return kind


def check_code(folder: Path, record: RunRecord, code: RunCode, *, quiet: bool = False) -> None:
    """Warn if code from outside changed since the run was started.

    Raises ValueError if code that exists only in Python differs.
    """
    now = {"method": digest_code(code.method)}
    if code.encoder is not None:
        now["encoder"] = digest_factory(code.encoder)
    names = {"method": record.method, "encoder": record.encoder_name}
    for what, before in record.code.items():
        if before == now.get(what):
            continue
        if names[what] == FROM_PYTHON:
            raise ValueError(
                f"{folder} was started with another {what} than the one passed now: pass the "
                f"original {what}, or start another run"
            )
        text = f"warning: {names[what]} was changed since {folder} was started"
        print_progress(f"{text}: the result may differ", quiet=quiet)


def digest_factory(factory: EncoderFactory) -> str:
    """Return a digest of the code of a factory, or of the parts and the shapes of a module."""
    if not isinstance(factory, ModuleFactory):
        return digest_code(factory)
    shapes = [(name, tuple(w.shape)) for name, w in factory.module.state_dict().items()]
    return digest(repr(factory.module), repr(shapes))


def read_encoder_choice(record: RunRecord, code: RunCode) -> EncoderChoice:
    """Return the encoder of a run with its chosen options."""
    kind = encoder_class(modality_of(code.method), record.encoder_name, code.encoder)
    options = make_config(kind, record.encoder_options)
    return EncoderChoice(record.encoder_name, options, code.encoder)


def make_recorded_plan(record: RunRecord, code: RunCode, *, pretrained: bool = True) -> MethodPlan:
    """Return the method and the encoder that a run's record describes.

    Args:
        record: the options.
        code: the code that they name.
        pretrained: False leaves out published weights, because other weights are loaded afterwards.
    """
    modality, kind = modality_of(code.method), code.method
    choice = read_encoder_choice(record, code)
    choice = choice if pretrained else modality.without_pretrained_weights(choice)
    section = method_class_options(kind)
    values = {name: record.option(name) for name in section.model_fields if name in record.resolved}
    return MethodPlan(kind, make_config(section, values), modality, choice, record.seed)


def build_untrained(record: RunRecord, code: RunCode, facts: Facts, seed: int) -> Any:
    """Return the untrained version of a run's encoder."""
    modality: AnyModality = find_modality(record.modality)
    encoder = modality.build_untrained(read_encoder_choice(record, code), facts, seed)
    if isinstance(code.encoder, ModuleFactory):  # its weights may have been trained elsewhere
        with init_seed(seed, "encoder"):
            return reset_weights(encoder)
    return encoder


def load_at(folder: Path, saved: checkpoint.Checkpoint, code: RunCode | None = None) -> LoadedRun:
    """Load the run in `folder` as it was at a checkpoint."""
    record = read_record(folder)
    check_modality(record.modality)
    code = code or find_code(folder, record)
    modality = find_modality(record.modality)
    check_unchanged(folder, saved)
    facts = modality.load_facts(folder, record.info)
    inputs = modality.load_inputs(code.method, folder, facts, record.needs, open_newest)
    method = make_recorded_plan(record, code, pretrained=False).build(facts, inputs)
    checkpoint.load_weights(saved, method)
    weights = checkpoint.hash_file_hex(saved.folder / checkpoint.FILES[0])
    return LoadedRun(record, facts, method.eval(), weights, saved.step, code)


def open_newest(folder: Path) -> LoadedRun:
    """Load the run in `folder` as it was at its newest whole checkpoint.

    Raises ValueError if the folder is not a run, or has no whole checkpoint.
    """
    return load_at(folder, find_newest(folder))


def find_checkpoint(run: str | Path) -> tuple[Path, checkpoint.Checkpoint]:
    """Return a run folder and its newest whole checkpoint, or the one whose folder is given.

    Raises ValueError if the folder is not a run, or has no whole checkpoint.
    """
    folder = Path(run)
    if folder.parent.name in ("checkpoints", DECAYED):
        return folder.parent.parent, checkpoint.open_checkpoint(folder)
    steps = read_record(folder).steps
    newest, torn = _find_newest(folder)
    for sentence in torn:
        print_progress(f"warning: {sentence}; using the checkpoint of step {newest.step}")
    if newest.step < steps:
        print_progress(f"warning: {folder} is at step {newest.step} of {steps}")
    return folder, newest


def build_started(
    plan: MethodPlan, facts: Facts, inputs: Mapping[str, object], *, start: str
) -> Method:
    """Return the method before the first step, with the weights of the run `init_from` if any."""
    method = plan.build(facts, inputs)
    if start:
        folder, saved = find_checkpoint(start)
        earlier = load_at(folder, saved).method
        # a language model includes its heads; a projection head is discarded after each run
        whole = type(earlier) is type(method) and method.modality == "text"
        ours, theirs = (method, earlier) if whole else (method.encoder, earlier.encoder)
        checkpoint.copy_weights(ours, theirs.state_dict(), where=folder)
        if type(earlier) is type(method):
            for name in method.carried:
                getattr(method, name).data.copy_(getattr(earlier, name))
    return method


def find_newest(folder: Path) -> checkpoint.Checkpoint:
    """Return the newest whole checkpoint of a run.

    Raises ValueError if the folder is not a run, or has no whole checkpoint.
    """
    read_record(folder)
    return _find_newest(folder)[0]


def _find_newest(folder: Path) -> tuple[checkpoint.Checkpoint, list[str]]:
    """Return the newest whole checkpoint, and a sentence for each newer one that is torn."""
    newest, torn = checkpoint.find_latest(folder / "checkpoints")
    if newest is None:
        why = f" ({torn[0]})" if torn else ""
        raise ValueError(
            f"{folder} has no whole checkpoint{why}; `selfwise resume {folder}` restarts it"
        )
    return newest, torn
