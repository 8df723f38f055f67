"""Runs from published weights, and runs as other tools read them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from selfwise import methods
from selfwise.core.config import flatten_config
from selfwise.core.errors import did_you_mean
from selfwise.interop.huggingface.folder import create_folder
from selfwise.methods import Method
from selfwise.modalities import modality_of
from selfwise.modalities.text.data import save_tokenizer
from selfwise.runs.build import RunCode, build_method, open_newest
from selfwise.runs.config import IMPORTED, make_request
from selfwise.runs.create import check_free
from selfwise.runs.environment import describe_environment
from selfwise.runs.open import Run, load
from selfwise.runs.record import Choice, RunRecord, write_record
from selfwise.training import checkpoint
from selfwise.training.config import TrainingConfig, resolve_training
from selfwise.training.optimizers import build_optimizer
from selfwise.workflows.exchange import audio, image, text, vision
from selfwise.workflows.exchange.imported_checkpoint import ImportedCheckpoint
from selfwise.workflows.exchange.model_card import FILE as CARD
from selfwise.workflows.exchange.model_card import FORMS, card

FAMILIES = (*text.FAMILIES, *audio.FAMILIES, *image.FAMILIES, *vision.FAMILIES)
_KINDS: dict[str, Any] = {"text": text, "audio": audio, "image": image}
# other spellings of a family: Hugging Face's name of it, or with a hyphen
_SPELT = {"gpt2": "gpt", "gpt-2": "gpt"}
# what only some families are asked, and which these are
_ASKED = {
    "tokenizer": ("text", text.FAMILIES),
    **dict.fromkeys(("method", "encoder", "size"), ("timm and torchvision", vision.FAMILIES)),
}


def import_run(
    family: str,
    folder: Path,
    *,
    out: str | Path,
    tokenizer: str = "",
    method: str = "",
    encoder: str = "",
    size: int = 0,
) -> Run:
    """A run made of published weights: of Hugging Face's layout, of timm, or of torchvision.

    It can embed and be probed, on text fill and generate, and `pretrain --start` trains it further.
    Parts that the checkpoint lacks, such as its heads, are drawn anew and named in run.yaml.

    Args:
        family: bert, roberta, albert, gpt (GPT-2), hubert, beit, timm or torchvision.
        folder: with config.json, model.safetensors, and the files of the tokenizer or of the
            preprocessor; of timm also a file of weights, with --encoder; of torchvision a file,
            .safetensors or .pth.
        out: folder of the run, which must not exist yet or be empty.
        tokenizer: file or folder of the tokenizer of a model of text, if it is not in `folder`.
        method: of a run of timm's or torchvision's weights, with new heads; by default simclr.
        encoder: timm's or torchvision's name of the model, where no config.json says it.
        size: side of the images in px for weights of timm or torchvision; by default theirs.

    Raises ValueError with one sentence for what is missing, does not fit, or is a pickle.
    """
    family = _SPELT.get(family.lower(), family.lower())
    options = {"tokenizer": tokenizer, "method": method, "encoder": encoder, "size": size}
    asked = {name: value for name, value in options.items() if value}
    kind, options = _asked(family, dict(asked))
    out = Path(out)
    check_free(out, method or family)
    folder = Path(folder)
    taken: ImportedCheckpoint = _takes(family).take(family, folder, **options)
    imported = {
        "family": family,
        "from": folder.resolve().name,
        "notes": list(taken.notes),
        "asked": asked,
    }
    record = _make_record(kind, taken, imported)
    model = _build(kind, record, taken)
    imported["drawn anew"] = _filled(model, taken, folder)
    out.mkdir(parents=True, exist_ok=True)
    if taken.tokenizer is not None:
        save_tokenizer(taken.tokenizer, out)
    write_record(out, record)
    training = record.training
    optimizer = build_optimizer(
        training.optimizer, model, lr=training.lr, weight_decay=training.weight_decay
    )
    state = {"meter": {}, "offset": 0, "newest": {}, "best": {}}
    checkpoint.save_checkpoint(out / "checkpoints", 0, model, optimizer, state)
    return load(out)


def _build(kind: type[Method], record: RunRecord, taken: ImportedCheckpoint) -> Method:
    """The method of an imported run, with random weights."""
    modality = modality_of(kind)
    with TemporaryDirectory(prefix="selfwise-") as folder:
        if taken.tokenizer is not None:
            save_tokenizer(taken.tokenizer, Path(folder))
        facts = modality.load_facts(Path(folder), record.info)
        inputs = modality.load_inputs(kind, Path(folder), facts, record.needs, open_newest)
    return build_method(record, RunCode(kind), facts, inputs)


def export_run(run: Path, *, to: str = "hf", out: Path) -> None:
    """Write a run for other tools, with a card (README.md) that says what it is.

    Args:
        run: folder of a run.
        to: hf, a folder that transformers' classes load, with the tokenizer or the preprocessor
            beside the weights; timm, a folder that timm loads; or of every encoder, alone: onnx,
            or safetensors.
        out: folder, which must not exist yet or be empty.

    Raises ValueError with one sentence for a run that has no counterpart there.
    """
    if to not in FORMS:
        raise ValueError(f"unknown form --to {to!r}{did_you_mean(to, FORMS)}")
    found = load(run)
    kind = _KINDS[found.method.modality]
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"--out {out} is there already; nothing is written over")
    write: Callable[[Run, Path], None] | None = getattr(kind, f"to_{to}", None)
    if write is None:
        raise ValueError(
            f"--to {to} is for runs on images, and {run} is on {found.method.modality}; there are: "
            f"{', '.join(form for form in FORMS if hasattr(kind, f'to_{form}'))}"
        )
    with create_folder(out) as partial:
        write(found, partial)
        (partial / CARD).write_text(card(found, to, kind.use(found, to)), "utf-8")


def _takes(family: str) -> Any:
    """The module that reads weights of this family."""
    return vision if family in vision.FAMILIES else _KINDS[methods.find_method(family).modality]


def _asked(family: str, told: dict[str, Any]) -> tuple[type[Method], dict[str, Any]]:
    """The method of the run, and what its family is told.

    Raises ValueError for a family that there is not, and for what it is not asked.
    """
    if family not in FAMILIES:
        raise ValueError(f"unknown family {family!r}{did_you_mean(family, FAMILIES)}")
    name = told.pop("method", vision.METHOD) if family in vision.FAMILIES else family
    kind = methods.find_method(name)
    for option in told:
        what, families = _ASKED[option]
        if family not in families:
            raise ValueError(f"--{option} is for {what}, and {family} is for {kind.modality}")
    if family in vision.FAMILIES:
        vision.check_method(kind, name)
    elif family in text.FAMILIES:
        told.setdefault("tokenizer", "")
    return kind, told


def _filled(model: Method, taken: ImportedCheckpoint, where: Path) -> list[str]:
    """Put the weights into the model. Returns the names of those that stay as they were drawn."""
    if taken.missing is None:
        checkpoint.copy_weights(model.encoder.model, taken.weights, where=where)
        return [name for name in model.state_dict() if not name.startswith("encoder.")]
    lost = set(taken.missing)
    own = {n: w for n, w in model.state_dict().items() if n.removeprefix("encoder.") in lost}
    theirs = {f"encoder.{n}": w for n, w in taken.weights.items()} | taken.head
    # an encoder and a method may have the same name for something: what is there is not lost
    checkpoint.copy_weights(model, own | theirs, where=where)
    return list(taken.missing)


def _make_record(
    kind: type[Method], taken: ImportedCheckpoint, imported: Mapping[str, Any]
) -> RunRecord:
    """What run.yaml says of a run that was not trained here."""
    training = resolve_training(TrainingConfig(steps=1), kind, workers=0).replace(steps=0)
    options = {f"encoder.{name}": value for name, value in taken.encoder_options.items()}
    values = {**taken.reading, **options}
    request = make_request(kind, values, data=IMPORTED, encoder=taken.encoder)
    flat = flatten_config(request.config) | {"data": IMPORTED, "encoder": taken.encoder}
    flat |= dict(training)
    flat |= {f"encoder.{name}": value for name, value in request.encoder.options}
    given = {*values, "encoder"}
    return RunRecord(
        method=request.method,
        modality=kind.modality,
        config={},
        resolved={
            name: Choice(value, "user" if name in given else "default")
            for name, value in flat.items()
            if value is not None or not name.startswith("encoder.")
        },
        info=taken.info,
        environment=describe_environment(training.threads, training.device),
        needs=taken.needs,
        imported=imported,
    )
