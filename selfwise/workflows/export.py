"""Write a run for other tools."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from selfwise.core.extras import check_extra
from selfwise.core.memory_limit import takes_memory_limit
from selfwise.interop.huggingface.folder import create_folder
from selfwise.runs.open import Run, load
from selfwise.workflows.import_export import audio, image, text
from selfwise.workflows.import_export.model_card import FILE as CARD
from selfwise.workflows.import_export.model_card import FORMS, Form, write_card

_MODALITIES: dict[str, ModuleType] = {"text": text, "audio": audio, "image": image}


@takes_memory_limit
def export_run(run: Path, *, to: Form = "hf", out: Path, max_memory: str = "") -> None:
    """Write a run for other tools, with a model card (README.md).

    Args:
        run: folder of a run.
        to: hf, a folder that transformers' classes load, with the tokenizer or the preprocessor
            next to the weights; timm, a folder that timm loads; word2vec, word vectors as text and
            binary (vectors.vec and vectors.bin); or the encoder alone, for every encoder: onnx,
            or safetensors.
        out: folder, which must not exist yet or be empty.
        max_memory: most memory for reading one file, as in 4G; by default half of what is free.

    Raises ValueError with one sentence for a run that the target cannot represent.
    """
    if to == "onnx":
        check_extra("export")
    trained = load(run)
    modality = trained.method.modality
    exporter = _MODALITIES[modality]
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"--out {out} exists already, and selfwise never overwrites")
    write: Callable[[Run, Path], None] | None = getattr(exporter, f"to_{to}", None)
    if write is None:
        raise ValueError(
            f"--to {to} is for runs on {_name_modality(to)}, and {run} is on {modality}; choose "
            f"one of {', '.join(form for form in FORMS if hasattr(exporter, f'to_{form}'))}"
        )
    with create_folder(out) as partial:
        write(trained, partial)
        usage = exporter.describe_usage(trained, to)
        (partial / CARD).write_text(write_card(trained, to, usage), "utf-8")


def _name_modality(form: Form) -> str:
    """Return the only modality that has this form of export."""
    (name,) = (name for name, one in _MODALITIES.items() if hasattr(one, f"to_{form}"))
    return {"image": "images"}.get(name, name)
