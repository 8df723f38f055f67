"""Lists of methods and recipes as text."""

from collections.abc import Sequence

from selfwise import methods


def list_methods() -> str:
    """A line for each method: its name, the kind of its data, and what it does."""
    rows = []
    for name in methods.method_names():
        kind = methods.find_method(name)
        rows.append((name, f"{kind.modality:<7} {first_line(kind)}"))
    return format_columns(rows)


def first_line(documented: object) -> str:
    """The first line of a docstring."""
    return (documented.__doc__ or "").strip().splitlines()[0]


def format_columns(rows: Sequence[tuple[str, str]]) -> str:
    """Names and their descriptions, a line each."""
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}} {text}" for name, text in rows)
