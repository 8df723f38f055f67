"""Presets: config files that ship with the package, which `--config NAME` chooses by name.

A preset is a file NAME.yaml in this folder. Its first line is a comment that describes it.
"""

from pathlib import Path

from selfwise.core.errors import did_you_mean

FOLDER = Path(__file__).parent
SUFFIX = ".yaml"


def preset_names() -> list[str]:
    """Return the names of all presets."""
    return sorted(path.stem for path in FOLDER.glob(f"*{SUFFIX}"))


def describe_presets() -> list[tuple[str, str]]:
    """Return the name of each preset, and its description."""
    return [(name, _read_description(name)) for name in preset_names()]


def find_config_file(text: str) -> Path:
    """Return the file that `--config` names: a path, or the name of a preset.

    A name has neither a suffix nor a slash, and a file of that name takes precedence.

    Raises ValueError with the nearest name for a name that is neither a file nor a preset.
    """
    path, names = Path(text), preset_names()
    if path.suffix or len(path.parts) != 1 or path.is_file():
        return path
    if text in names:
        return FOLDER / f"{text}{SUFFIX}"
    near, listed = did_you_mean(text, names), ", ".join(names)
    raise ValueError(
        f"--config {text} is neither a file nor a preset (presets: {listed})"
        f"{near if 'did you mean' in near else ''}"
    )


def _read_description(name: str) -> str:
    first = (FOLDER / f"{name}{SUFFIX}").read_text(encoding="utf-8").splitlines()[0]
    return first.removeprefix("#").strip()
