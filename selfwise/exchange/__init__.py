"""Runs from published weights, and runs as other tools read them."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from selfwise import config, methods, modalities
from selfwise.arguments import IMPORTED, check_free, method_options, reading_options
from selfwise.exchange import audio, image, text
from selfwise.exchange.taken import Taken
from selfwise.methods import Method
from selfwise.names import nearest
from selfwise.run import Run, build, load
from selfwise.train import checkpoint
from selfwise.train.optim import build_optimizer
from selfwise.train.options import Options, resolve

FAMILIES = (*text.FAMILIES, *audio.FAMILIES, *image.FAMILIES)
FORMS = ("hf", "onnx")
_KINDS: dict[str, Any] = {"text": text, "audio": audio, "image": image}


def import_run(family: str, folder: Path, *, out: str | Path, tokenizer: str = "") -> Run:
    """A run made of a published checkpoint in Hugging Face's layout, or of BEiT in timm's.

    It can embed and be probed, on text fill and generate, and `pretrain --start` trains it further.
    Parts that the checkpoint lacks, such as its heads, are drawn anew and named in run.yaml.

    Args:
        family: bert, roberta, albert, gpt (GPT-2), hubert or beit.
        folder: with config.json, model.safetensors, and the files of the tokenizer or of the
            preprocessor.
        out: folder of the run, which must not exist yet or be empty.
        tokenizer: file or folder of the tokenizer of a model of text, if it is not in `folder`.

    Raises ValueError with one sentence for what is missing, does not fit, or is a pickle.
    """
    if family not in FAMILIES:
        raise ValueError(f"unknown family {family!r}{nearest(family, FAMILIES)}")
    kind, out = methods.find(family), Path(out)
    check_free(out, family)
    if tokenizer and kind.modality != "text":
        raise ValueError(f"--tokenizer is for text, and {family} is for {kind.modality}")
    told = {"tokenizer": tokenizer} if kind.modality == "text" else {}
    taken: Taken = _KINDS[kind.modality].take(family, folder, **told)
    settings = _settings(kind, family, taken, folder)
    model = build(settings, taken.kept)
    lost = set(taken.missing)
    own = {n: w for n, w in model.state_dict().items() if n.removeprefix("encoder.") in lost}
    theirs = {f"encoder.{n}": w for n, w in taken.weights.items()} | taken.head
    # an encoder and a method may have the same name for something: what is there is not lost
    checkpoint.fill(model, own | theirs, where=folder)
    out.mkdir(parents=True, exist_ok=True)
    if taken.kept is not None:
        modalities.of(kind).keep(taken.kept, out)
    config.write(out, settings)
    options = settings["options"]
    optimizer = build_optimizer(
        options["optimizer"], model, lr=options["lr"], weight_decay=options["weight_decay"]
    )
    state = {"meter": {}, "offset": 0, "newest": {}, "best": {}}
    checkpoint.save(out / "checkpoints", 0, model, optimizer, state)
    return load(out)


def export_run(run: Path, *, to: str = "hf", out: Path) -> None:
    """Write a run for other tools.

    Args:
        run: folder of a run.
        to: hf, a folder that transformers' classes load, with the tokenizer or the preprocessor
            beside the weights; or onnx, the encoder alone.
        out: folder, which must not exist yet or be empty.

    Raises ValueError with one sentence for a run that has no counterpart there.
    """
    if to not in FORMS:
        raise ValueError(f"unknown form --to {to!r}{nearest(to, FORMS)}")
    found = load(run)
    kind = _KINDS[found.method.modality]
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"--out {out} is there already; nothing is written over")
    write: Callable[[Run, Path], None] = {"hf": kind.to_hf, "onnx": kind.to_onnx}[to]
    write(found, out)


def _settings(kind: type[Method], family: str, taken: Taken, folder: Path) -> dict[str, Any]:
    """What run.yaml says of a run that was not trained here."""
    training = asdict(resolve(Options(steps=1), kind, workers=0)) | {"steps": 0}
    options = {
        "data": IMPORTED,
        "encoder": taken.encoder,
        "start": "",
        "seed": 0,
        **reading_options(kind),
        **taken.reading,
        **method_options(kind, {}),
        **training,
    }
    found = {
        **taken.found,
        "examples": 0,
        "fingerprint": "",
        "imported": {
            "from": folder.resolve().name,
            "drawn anew": list(taken.missing),
            "notes": list(taken.notes),
        },
    }
    environment = config.environment(training["threads"], training["device"])
    return {"method": family, "options": options, "found": found, "environment": environment}
