"""Optional packages: the extra of `pip install` that installs each, and the features that need it.

A plain install covers images and reports. Every other package is imported at its first use; if it
is missing, the error is one sentence that names the extra.
"""

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType


@dataclass(frozen=True)
class Extra:
    """An extra of `pip install 'selfwise[NAME]'`."""

    modules: tuple[str, ...]
    """The modules that its packages bring and that selfwise imports."""
    used_for: str
    """The feature that needs it: the subject of the error, in the singular."""


EXTRAS = {
    "text": Extra(("tokenizers", "sentencepiece", "sentencex", "google.protobuf"), "text"),
    "speech": Extra(("soundfile", "soxr"), "speech"),
    "m4a": Extra(("av",), "reading m4a and aac"),
    "export": Extra(("onnx", "onnxscript", "onnxruntime"), "--to onnx"),
    "hub": Extra(("datasets",), "hub:NAME"),
    "tensorboard": Extra(("tensorboard",), "--logger tensorboard"),
    "wandb": Extra(("wandb",), "--logger wandb"),
    "mlflow": Extra(("mlflow",), "--logger mlflow"),
    "trackio": Extra(("trackio",), "--logger trackio"),
    "completion": Extra(("shtab",), "shell completion"),
}
MODALITY_EXTRAS = {"text": "text", "audio": "speech"}  # images need no extra


def check_extra(extra: str, used_for: str = "") -> None:
    """Check that the packages of an extra are installed. This imports nothing.

    Raises ValueError with the command that installs them.
    """
    if missing_modules(extra):
        raise ValueError(_describe_absence(extra, used_for))


def check_modality(modality: str) -> None:
    """Check that the packages for text or audio are installed.

    Raises ValueError with the command that installs them.
    """
    if modality in MODALITY_EXTRAS:
        check_extra(MODALITY_EXTRAS[modality])


def missing_modules(extra: str) -> list[str]:
    """Return the modules of an extra that are not installed."""
    return [module for module in EXTRAS[extra].modules if not _is_installed(module)]


def import_extra(module: str, used_for: str = "") -> ModuleType:
    """Import a module of an extra.

    Raises ValueError if it is not installed, with the command that installs it, or if it is
    installed but its import fails.
    """
    extra = find_extra(module)
    if not _is_installed(module):
        raise ValueError(_describe_absence(extra, used_for))
    try:
        return import_module(module)
    except (ImportError, OSError) as error:  # OSError: a shared library is missing
        raise ValueError(
            f"{module} is installed but cannot be imported ({' '.join(str(error).split())}); "
            f"pip install --force-reinstall 'selfwise[{extra}]' may repair it"
        ) from error


def find_extra(module: str) -> str:
    """Return the extra that installs a module or the module's package."""
    top = module.partition(".")[0]
    for name, extra in EXTRAS.items():
        if any(top == own.partition(".")[0] for own in extra.modules):
            return name
    raise AssertionError(f"EXTRAS does not list {module}")


class LazyModule(ModuleType):
    """A placeholder for a module of an extra, which is imported when one of its names is first
    used.

    That first use raises ValueError if the extra is not installed.
    """

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):  # Python and its tools look up these names in every module
            raise AttributeError(f"{self.__name__} has no {name} before its first use")
        value = getattr(import_extra(self.__name__), name)
        setattr(self, name, value)
        return value


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the package that it is in
        return False


def _describe_absence(extra: str, used_for: str) -> str:
    return f"{used_for or EXTRAS[extra].used_for} needs the extra: pip install 'selfwise[{extra}]'"
