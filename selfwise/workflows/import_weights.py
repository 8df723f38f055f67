"""Make a run of published weights."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

from selfwise import methods
from selfwise.core.config_class import flatten_config, format_flag
from selfwise.core.errors import did_you_mean
from selfwise.core.extras import check_modality
from selfwise.core.memory_limit import takes_memory_limit
from selfwise.core.own_files import make_parents
from selfwise.core.ranges import NonNegativeInt
from selfwise.methods import Method
from selfwise.modalities import modality_of
from selfwise.modalities.text.data import save_tokenizer
from selfwise.runs.build import RunCode, make_recorded_plan, open_newest
from selfwise.runs.create import check_free
from selfwise.runs.environment import describe_environment
from selfwise.runs.names import IMPORTED
from selfwise.runs.open import Run, load
from selfwise.runs.pretrain_config import make_request
from selfwise.runs.run_yaml import Choice, RunRecord, write_record
from selfwise.training import checkpoint as checkpoints
from selfwise.training.config import TrainingConfig, resolve_training
from selfwise.training.optimizers import build_optimizer
from selfwise.workflows.import_export import audio, image, import_vision, text
from selfwise.workflows.import_export.imported_checkpoint import ImportedCheckpoint, ImportOptions

FAMILIES = (*text.FAMILIES, *audio.FAMILIES, *image.FAMILIES, *import_vision.FAMILIES)
_MODALITIES: dict[str, ModuleType] = {"text": text, "audio": audio, "image": image}
# other spellings of a family: Hugging Face's name, or with a hyphen
_SPELLINGS = {"gpt2": "gpt", "gpt-2": "gpt"}
# options that only some families take, with the name of these families and the families
_TAKEN_BY = {
    "tokenizer": ("text", text.FAMILIES),
    **dict.fromkeys(
        ("method", "encoder", "image_size"), ("timm and torchvision", import_vision.FAMILIES)
    ),
}


@takes_memory_limit
def import_weights(
    family: str,
    folder: Path,
    *,
    out: str | Path,
    tokenizer: str = "",
    method: str = "",
    encoder: str = "",
    image_size: NonNegativeInt = 0,
    max_memory: str = "",
) -> Run:
    """Make a run of published weights: in Hugging Face's layout, of timm, or of torchvision.

    The run can be embedded and probed, on text also fill and generate, and `pretrain --init-from`
    trains it further. Parts that the checkpoint lacks, such as its heads, are drawn at random, and
    run.yaml names them.

    Args:
        family: bert, roberta, albert, gpt (GPT-2), hubert, beit, timm or torchvision.
        folder: folder with config.json, model.safetensors, and the files of the tokenizer or of the
            preprocessor; for timm also a file of weights, with --encoder; for torchvision a
            .safetensors or .pth file.
        out: folder of the run, which must not exist yet or be empty.
        tokenizer: file or folder of the tokenizer of a text model, if it is not in `folder`.
        method: for timm's or torchvision's weights: the method of the run, with new heads; default
            simclr.
        encoder: timm's or torchvision's name of the model, if no config.json has it.
        image_size: side of the images in px for weights of timm or torchvision; by default theirs.
        max_memory: most memory for reading one file, as in 4G; by default half of what is free.

    Raises ValueError with one sentence for a missing part, a misfit, or a pickle.
    """
    family = _SPELLINGS.get(family.lower(), family.lower())
    options = ImportOptions(tokenizer, method, encoder, image_size)
    kind = _choose_method(family, options)
    check_modality(kind.modality)
    out = Path(out)
    check_free(out, method or family)
    folder = Path(folder)
    checkpoint: ImportedCheckpoint = _find_reader(family).read_checkpoint(family, folder, options)
    imported = {
        "family": family,
        "from": folder.resolve().name,
        "notes": list(checkpoint.notes),
        "asked": options.list_given(),
    }
    record = _make_record(kind, checkpoint, imported)
    model = _build_model(kind, record, checkpoint)
    imported["drawn anew"] = _fill_weights(model, checkpoint, folder)
    make_parents(out)
    if checkpoint.tokenizer is not None:
        save_tokenizer(checkpoint.tokenizer, out)
    write_record(out, record)
    training = record.training
    optimizer = build_optimizer(
        training.optimizer, model, lr=training.lr, weight_decay=training.weight_decay
    )
    state = {"meter": {}, "offset": 0, "newest": {}, "best": {}}
    checkpoints.save_checkpoint(out / "checkpoints", 0, model, optimizer, state)
    return load(out)


def _build_model(kind: type[Method], record: RunRecord, checkpoint: ImportedCheckpoint) -> Method:
    """Build the method of an imported run, with random weights."""
    modality = modality_of(kind)
    with TemporaryDirectory(prefix="selfwise-") as folder:
        if checkpoint.tokenizer is not None:
            save_tokenizer(checkpoint.tokenizer, Path(folder))
        facts = modality.load_facts(Path(folder), record.info)
        inputs = modality.load_inputs(kind, Path(folder), facts, record.needs, open_newest)
    return make_recorded_plan(record, RunCode(kind)).build(facts, inputs)


def _find_reader(family: str) -> ModuleType:
    """Return the module that reads weights of this family."""
    return (
        import_vision
        if family in import_vision.FAMILIES
        else _MODALITIES[methods.find_method(family).modality]
    )


def _choose_method(family: str, options: ImportOptions) -> type[Method]:
    """Return the method of the run.

    Raises ValueError for an unknown family, and for an option that this family does not take.
    """
    if family not in FAMILIES:
        raise ValueError(f"unknown family {family!r}{did_you_mean(family, FAMILIES)}")
    name = (options.method or import_vision.METHOD) if family in import_vision.FAMILIES else family
    kind = methods.find_method(name)
    for option in options.list_given():
        what, families = _TAKEN_BY[option]
        if family not in families:
            raise ValueError(
                f"{format_flag(option)} is for {what}, and {family} is for {kind.modality}"
            )
    if family in import_vision.FAMILIES:
        import_vision.check_vision_method(kind, name)
    return kind


def _fill_weights(model: Method, checkpoint: ImportedCheckpoint, where: Path) -> list[str]:
    """Put the weights into the model. Returns the names of those that stay random."""
    if checkpoint.missing is None:
        checkpoints.copy_weights(model.encoder.model, checkpoint.weights, where=where)
        return [name for name in model.state_dict() if not name.startswith("encoder.")]
    lost = set(checkpoint.missing)
    own = {n: w for n, w in model.state_dict().items() if n.removeprefix("encoder.") in lost}
    theirs = {f"encoder.{n}": w for n, w in checkpoint.weights.items()} | checkpoint.head
    # an encoder and a method may use one name for two things: keep what is there
    checkpoints.copy_weights(model, own | theirs, where=where)
    return list(checkpoint.missing)


def _make_record(
    kind: type[Method], checkpoint: ImportedCheckpoint, imported: Mapping[str, object]
) -> RunRecord:
    """Make the record of a run that was not trained here."""
    training = resolve_training(TrainingConfig(steps=1), kind, num_workers=0).replace(steps=0)
    options = {f"encoder.{name}": value for name, value in checkpoint.encoder_options.items()}
    values = {**checkpoint.reading, **options}
    request = make_request(kind, values, data=IMPORTED, encoder=checkpoint.encoder)
    flat = flatten_config(request.config) | {"data": IMPORTED, "encoder": checkpoint.encoder}
    flat |= dict(training)
    flat |= {f"encoder.{name}": value for name, value in request.encoder.options}
    chosen = {*values, "encoder"}
    return RunRecord(
        method=request.method,
        modality=kind.modality,
        config={},
        resolved={
            name: Choice(value, "user" if name in chosen else "default")
            for name, value in flat.items()
            if value is not None or not name.startswith("encoder.")
        },
        info=checkpoint.info,
        environment=describe_environment(training.cpu_threads, training.device),
        needs=checkpoint.needs,
        imported=imported,
    )
