"""Runs from published weights, and runs as other tools read them."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from selfwise import config, methods, modalities
from selfwise.arguments import IMPORTED, check_free, method_options, reading_options
from selfwise.convert.folder import read_folder, write_folder
from selfwise.convert.hf import Imported, from_hf, to_hf
from selfwise.data.tokenizer import Tokenizer
from selfwise.methods import Method
from selfwise.names import nearest
from selfwise.run import Run, build, load
from selfwise.train import checkpoint
from selfwise.train.optim import build_optimizer
from selfwise.train.options import Options, resolve

FAMILIES = ("bert", "roberta", "albert", "gpt")
FORMS = ("hf", "onnx")
ROW = 512  # tokens in a row of an imported run, unless its encoder has fewer positions


def import_run(family: str, folder: Path, *, out: str | Path, tokenizer: str = "") -> Run:
    """A run made of a published checkpoint in Hugging Face's layout.

    It can fill, generate, embed and be probed, and `pretrain --start` trains it further. Parts
    that the checkpoint lacks, such as its heads, are drawn anew and named in run.yaml.

    Args:
        family: bert, roberta, albert or gpt (GPT-2).
        folder: with config.json, model.safetensors, and the tokenizer's files.
        out: folder of the run, which must not exist yet or be empty.
        tokenizer: file or folder of the tokenizer, if it is not in `folder`.

    Raises ValueError with one sentence for what is missing, does not fit, or is a pickle.
    """
    if family not in FAMILIES:
        raise ValueError(f"unknown family {family!r}{nearest(family, FAMILIES)}")
    kind, out = methods.find(family), Path(out)
    check_free(out, family)
    imported = from_hf(*read_folder(folder))
    if imported.family != family:
        raise ValueError(f"{folder} holds a model of the family {imported.family}, not {family}")
    words = Tokenizer.load(tokenizer or folder)
    if words.vocabulary.size > imported.vocab:
        raise ValueError(
            f"the tokenizer has {words.vocabulary.size} tokens, but the model in {folder} only "
            f"{imported.vocab}: they do not belong together"
        )
    settings = _settings(kind, family, imported, folder)
    model = build(settings, words)
    lost = set(imported.missing)
    own = {n: w for n, w in model.state_dict().items() if n.removeprefix("encoder.") in lost}
    theirs = {f"encoder.{n}": w for n, w in imported.encoder.items()} | imported.head | own
    checkpoint.fill(model, theirs, where=folder)
    out.mkdir(parents=True, exist_ok=True)
    modalities.of(kind).keep(words, out)
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
        run: folder of a run on text.
        to: hf, a folder that transformers' AutoModel and AutoTokenizer load; or onnx, the encoder
            with its tokenizer beside it.
        out: folder, which must not exist yet or be empty.

    Raises ValueError with one sentence for a run that has no counterpart there.
    """
    if to not in FORMS:
        raise ValueError(f"unknown form --to {to!r}{nearest(to, FORMS)}")
    found = load(run)
    if found.method.modality != "text":
        raise ValueError(f"{run} is on {found.method.modality}; only runs on text are exported yet")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"--out {out} is there already; nothing is written over")
    {"hf": _to_hf, "onnx": _to_onnx}[to](found, out)


def _to_hf(run: Run, out: Path) -> None:
    encoder, words = run.encoder, run.tokenizer
    family = encoder.name.partition("-")[0]
    heads = {n: w for n, w in run.method.state_dict().items() if not n.startswith("encoder.")}
    told, weights = to_hf(family, asdict(encoder.shape), _weights(encoder), heads, words.vocabulary)
    write_folder(
        out,
        told,
        weights,
        tokenizer=words.library.to_str(),
        vocabulary=words.vocabulary,
        length=encoder.length,
    )


def _to_onnx(run: Run, out: Path) -> None:
    from selfwise.convert.onnx import export_text

    out.mkdir(parents=True, exist_ok=True)
    export_text(run.encoder, out / "model.onnx")
    run.tokenizer.save(out)


def _weights(module: Any) -> dict[str, Tensor]:
    return dict(module.state_dict())


def _settings(
    kind: type[Method], family: str, imported: Imported, folder: Path
) -> Mapping[str, Any]:
    """What run.yaml says of a run that was not trained here."""
    training = asdict(resolve(Options(steps=1), kind, workers=0)) | {"steps": 0}
    length = min(ROW, imported.options["length"])
    options = {
        "data": IMPORTED,
        "encoder": {"name": family, **imported.options},
        "start": "",
        "seed": 0,
        **reading_options(kind),
        "length": length,
        **method_options(kind, {}),
        **training,
    }
    found = {
        "vocab": imported.vocab,
        "length": length,
        "examples": 0,
        "fingerprint": "",
        "imported": {
            "from": folder.resolve().name,
            "drawn anew": list(imported.missing),
            "notes": list(imported.notes),
        },
    }
    environment = config.environment(training["threads"], training["device"])
    return {"method": family, "options": options, "found": found, "environment": environment}
